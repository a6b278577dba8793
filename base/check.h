// CHECK is for our own invariants, on in every build. Bytes from a guest or a peer never reach it.
#pragma once

namespace run9 {
[[noreturn]] void check_failed(const char* expr, const char* file, int line);
}

#define CHECK(expr)                                                  \
  do {                                                               \
    if (!(expr)) [[unlikely]]                                        \
      ::run9::check_failed(#expr, __FILE__, __LINE__);               \
  } while (0)
