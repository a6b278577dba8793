// UserPtr<T>: an address in the guest's memory, typed. Nothing is behind it until MemoryManager has
// copied it: the guest may point anywhere and may change the bytes at any time.
#pragma once
#include <cstdint>

namespace run9::sentry {

template <typename T>
struct UserPtr {
  uint64_t addr = 0;
  bool is_null() const { return addr == 0; }
  UserPtr offset(int64_t n) const { return {addr + n * static_cast<int64_t>(sizeof(T))}; }
  template <typename U>
  UserPtr<U> cast() const { return {addr}; }
};
template <>
struct UserPtr<void> {
  uint64_t addr = 0;
  bool is_null() const { return addr == 0; }
  template <typename U>
  UserPtr<U> cast() const { return {addr}; }
};
struct UserString {  // NUL-terminated
  uint64_t addr = 0;
  bool is_null() const { return addr == 0; }
};

}  // namespace run9::sentry
