// Tracer: --strace. One line for each call when it returns, and one when it blocks first; to the log.
#pragma once
#include <unordered_map>

#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

class Tracer {
 public:
  void enter(Task& task, uint64_t number, const SyscallArgs& args);
  void leave(Task& task, uint64_t number, const SyscallArgs& args, const Result<uint64_t>& result);

 private:
  struct Started {
    uint64_t at_ns = 0;
    std::string arguments;  // decoded on entry: the call may change what they point at
  };
  std::unordered_map<int32_t, Started> started_;
};

}  // namespace run9::sentry
