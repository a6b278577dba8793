#include "sentry/syscalls/pipe.h"

#include "sentry/ipc/pipe.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {

Result<uint64_t> install_and_tell(Task& task, vfs::FileRef a, vfs::FileRef b, bool cloexec,
                                  UserPtr<int> out) {
  const uint64_t limit = task.process().limit(RLIMIT_NOFILE);
  const auto [first, second] =
      TRY(task.fds().install_pair(std::move(a), std::move(b), cloexec, limit));
  const int numbers[2] = {to_int(first), to_int(second)};
  const auto told = task.memory().copy_out(out.addr, numbers, sizeof numbers);
  if (!told.has_value()) {
    (void)task.fds().remove(first).has_value();
    (void)task.fds().remove(second).has_value();
    return told.error();
  }
  return 0;
}

Result<uint64_t> sys_pipe2(Task& task, UserPtr<int> out, int flags) {
  if ((flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT)) != 0) return Errno{EINVAL};
  auto ends = make_pipe(task.kernel(), task, static_cast<uint32_t>(flags & ~O_CLOEXEC));
  return install_and_tell(task, std::move(ends.reader), std::move(ends.writer),
                          (flags & O_CLOEXEC) != 0, out);
}

Result<uint64_t> sys_pipe(Task& task, UserPtr<int> out) { return sys_pipe2(task, out, 0); }

}  // namespace run9::sentry
