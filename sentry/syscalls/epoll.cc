#include "sentry/syscalls/epoll.h"

#include <limits.h>
#include <poll.h>

#include "sentry/fs/anon.h"
#include "sentry/ipc/epoll.h"
#include "sentry/mm/bounds.h"
#include "sentry/syscalls/file_util.h"
#include "sentry/syscalls/sigmask.h"
#include "sentry/task/kernel.h"
#include "sentry/time/clocks.h"

namespace run9::sentry {
namespace {

static_assert(sizeof(epoll_event) == 12);

// timeout: ns from now; none: for ever.
Result<uint64_t> wait(Task& task, GuestFd epfd, uint64_t events, int max,
                      std::optional<uint64_t> timeout) {
  const auto file = TRY(task.fds().get_not_path(epfd));
  if (max <= 0 || max > INT_MAX / static_cast<int>(sizeof(epoll_event))) return Errno{EINVAL};
  TRY(check_range(events, static_cast<uint64_t>(max) * sizeof(epoll_event)));
  auto* const epoll = dynamic_cast<Epoll*>(file.get());
  if (epoll == nullptr) return Errno{EINVAL};
  std::optional<uint64_t> deadline;
  if (timeout) deadline = saturating_add(EventLoop::now_ns(), *timeout);
  for (;;) {
    const auto found = epoll->collect(task, static_cast<size_t>(max));
    if (!found.empty()) {
      TRY(task.memory().copy_out(events, found.data(), found.size() * sizeof(epoll_event)));
      return found.size();
    }
    if (timeout && *timeout == 0) return 0;
    const auto waited = task.wait(*epoll->wait_queue(), POLLIN, deadline);
    if (waited.has_value()) continue;
    if (waited.error() == Errno{ETIMEDOUT}) return 0;
    return Errno{EINTR};  // never restarted: signal(7)
  }
}

std::optional<uint64_t> from_ms(int ms) {
  if (ms < 0) return {};
  return static_cast<uint64_t>(ms) * 1'000'000;
}

}  // namespace

Result<uint64_t> sys_epoll_create(Task& task, int size) {
  if (size <= 0) return Errno{EINVAL};
  return sys_epoll_create1(task, 0);
}

Result<uint64_t> sys_epoll_create1(Task& task, int flags) {
  if ((flags & ~EPOLL_CLOEXEC) != 0) return Errno{EINVAL};
  auto path = make_anon_path(task.kernel(), "anon_inode:[eventpoll]", 0600, task);
  return install_file(task, std::make_shared<Epoll>(std::move(path)), flags != 0);
}

Result<uint64_t> sys_epoll_ctl(Task& task, GuestFd epfd, int op, GuestFd fd, uint64_t event) {
  epoll_event e{};
  if (op != EPOLL_CTL_DEL) TRY(task.memory().copy_in(&e, event, sizeof e));
  const auto watcher = TRY(task.fds().get_not_path(epfd));
  const auto file = TRY(task.fds().get_not_path(fd));
  if (file->wait_queue() == nullptr) return Errno{EPERM};
  auto* epoll = dynamic_cast<Epoll*>(watcher.get());
  if (epoll == nullptr || watcher == file) return Errno{EINVAL};
  switch (op) {
    case EPOLL_CTL_ADD: TRY(epoll->add(task, fd, file, e)); return 0;
    case EPOLL_CTL_MOD: TRY(epoll->modify(task, fd, file, e)); return 0;
    case EPOLL_CTL_DEL: TRY(epoll->remove(fd, file)); return 0;
    default: return Errno{EINVAL};
  }
}

Result<uint64_t> sys_epoll_wait(Task& task, GuestFd epfd, uint64_t events, int max, int timeout) {
  return wait(task, epfd, events, max, from_ms(timeout));
}

Result<uint64_t> sys_epoll_pwait(Task& task, GuestFd epfd, uint64_t events, int max, int timeout,
                                 uint64_t mask, uint64_t size) {
  const auto set = TRY(read_sigmask(task, mask, size));
  return with_sigmask(task, set,
                      [&] { return wait(task, epfd, events, max, from_ms(timeout)); });
}

Result<uint64_t> sys_epoll_pwait2(Task& task, GuestFd epfd, uint64_t events, int max,
                                  uint64_t timeout, uint64_t mask, uint64_t size) {
  const auto ns = TRY(read_timeout(task, timeout));
  const auto set = TRY(read_sigmask(task, mask, size));
  return with_sigmask(task, set, [&] { return wait(task, epfd, events, max, ns); });
}

}  // namespace run9::sentry
