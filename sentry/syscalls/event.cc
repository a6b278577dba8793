#include "sentry/syscalls/event.h"

#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "sentry/fs/anon.h"
#include "sentry/fs/proc/proc_fs.h"
#include "sentry/ipc/eventfd.h"
#include "sentry/ipc/inotify.h"
#include "sentry/ipc/pidfd.h"
#include "sentry/ipc/signalfd.h"
#include "sentry/syscalls/file_util.h"
#include "sentry/task/kernel.h"
#include "sentry/time/timerfd.h"

namespace run9::sentry {
namespace {

Result<std::shared_ptr<TimerFile>> timer_file(Task& task, GuestFd fd) {
  auto file = std::dynamic_pointer_cast<TimerFile>(TRY(task.fds().get_not_path(fd)));
  if (file == nullptr) return Errno{EINVAL};
  return file;
}

itimerspec shown(const IntervalTimer& t) {
  return {to_timespec(t.interval()), to_timespec(t.remaining())};
}

Result<ProcessRef> pidfd_process(Task& task, GuestFd fd) {
  auto process = process_of_pidfd(*TRY(task.fds().get(fd)));
  if (process == nullptr) return Errno{EBADF};
  return process;
}

}  // namespace

Result<uint64_t> sys_eventfd(Task& task, uint32_t count) { return sys_eventfd2(task, count, 0); }

Result<uint64_t> sys_eventfd2(Task& task, uint32_t count, int flags) {
  if ((flags & ~(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)) != 0) return Errno{EINVAL};
  auto path = make_anon_path(task.kernel(), "anon_inode:[eventfd]", 0600, task);
  auto file = std::make_shared<EventFile>(std::move(path), count, flags);
  return install_file(task, std::move(file), (flags & EFD_CLOEXEC) != 0);
}

Result<uint64_t> sys_inotify_init(Task& task) { return sys_inotify_init1(task, 0); }

Result<uint64_t> sys_inotify_init1(Task& task, int flags) {
  if ((flags & ~(IN_CLOEXEC | IN_NONBLOCK)) != 0) return Errno{EINVAL};
  auto path = make_anon_path(task.kernel(), "anon_inode:inotify", 0600, task);
  auto file = std::make_shared<InotifyFile>(std::move(path), flags & IN_NONBLOCK);
  return install_file(task, std::move(file), (flags & IN_CLOEXEC) != 0);
}

Result<uint64_t> sys_inotify_add_watch(Task& task, GuestFd fd, UserString path, uint32_t mask) {
  constexpr uint32_t kKnown = IN_ALL_EVENTS | IN_UNMOUNT | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK | IN_MASK_ADD |
                              IN_MASK_CREATE | IN_ISDIR | IN_ONESHOT | IN_Q_OVERFLOW | IN_IGNORED;
  if (mask == 0 || (mask & ~kKnown) != 0) return Errno{EINVAL};
  const auto file = TRY(task.fds().get_not_path(fd));
  if ((mask & IN_MASK_ADD) != 0 && (mask & IN_MASK_CREATE) != 0) return Errno{EINVAL};
  auto* inotify = dynamic_cast<InotifyFile*>(file.get());
  if (inotify == nullptr) return Errno{EINVAL};
  uint32_t lookup = (mask & IN_DONT_FOLLOW) != 0 ? 0 : vfs::kFollow;
  if ((mask & IN_ONLYDIR) != 0) lookup |= vfs::kDirectory;
  const Place at = TRY(resolve(task, kAtFdcwd, path, lookup));
  TRY(at.path.inode()->permission(task, R_OK));
  if ((mask & (IN_CLOSE_NOWRITE | IN_ACCESS)) != 0) task.kernel().files().close_at_once();
  if ((mask & IN_MODIFY) != 0) task.kernel().own_files().stop_writes();
  return static_cast<uint64_t>(TRY(inotify->add(task, at.path, mask)));
}

Result<uint64_t> sys_inotify_rm_watch(Task& task, GuestFd fd, int32_t wd) {
  const auto file = TRY(task.fds().get_not_path(fd));
  auto* inotify = dynamic_cast<InotifyFile*>(file.get());
  if (inotify == nullptr) return Errno{EINVAL};
  TRY(inotify->remove(wd));
  return 0;
}

Result<uint64_t> sys_signalfd(Task& task, GuestFd fd, UserPtr<uint64_t> mask, uint64_t size) {
  return sys_signalfd4(task, fd, mask, size, 0);
}

Result<uint64_t> sys_signalfd4(Task& task, GuestFd fd, UserPtr<uint64_t> mask, uint64_t size,
                               int flags) {
  if (size != 8) return Errno{EINVAL};
  const SignalSet set{TRY(task.memory().read(mask))};
  if ((flags & ~(SFD_CLOEXEC | SFD_NONBLOCK)) != 0) return Errno{EINVAL};
  if (to_int(fd) != -1) {
    auto* file = dynamic_cast<SignalFile*>(TRY(task.fds().get_not_path(fd)).get());
    if (file == nullptr) return Errno{EINVAL};
    file->set_mask(set);
    return static_cast<uint64_t>(to_int(fd));
  }
  auto path = make_anon_path(task.kernel(), "anon_inode:[signalfd]", 0600, task);
  auto file = std::make_shared<SignalFile>(std::move(path), flags & SFD_NONBLOCK, set,
                                           task.process_ref());
  return install_file(task, std::move(file), (flags & SFD_CLOEXEC) != 0);
}

Result<uint64_t> sys_timerfd_create(Task& task, int32_t clock, int flags) {
  if ((flags & ~(TFD_CLOEXEC | TFD_NONBLOCK)) != 0) return Errno{EINVAL};
  const bool alarm = clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM;
  if (!alarm && clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC && clock != CLOCK_BOOTTIME) {
    return Errno{EINVAL};
  }
  if (alarm && !task.creds().has_cap(CAP_WAKE_ALARM)) return Errno{EPERM};
  auto ref = TRY(ClockRef::find(task, clock));
  auto path = make_anon_path(task.kernel(), "anon_inode:[timerfd]", 0600, task);
  auto file = std::make_shared<TimerFile>(task.kernel().loop(), std::move(path),
                                          flags & TFD_NONBLOCK, clock, std::move(ref));
  return install_file(task, std::move(file), (flags & TFD_CLOEXEC) != 0);
}

Result<uint64_t> sys_timerfd_settime(Task& task, GuestFd fd, int flags, UserPtr<itimerspec> in,
                                     UserPtr<itimerspec> old) {
  const auto spec = TRY(task.memory().read(in));
  if ((flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)) != 0) return Errno{EINVAL};
  const uint64_t value = TRY(to_ns(spec.it_value)), interval = TRY(to_ns(spec.it_interval));
  const auto file = TRY(timer_file(task, fd));
  const auto before = shown(file->timer());
  const uint64_t base = (flags & TFD_TIMER_ABSTIME) != 0 ? 0 : file->timer().clock().now();
  file->set(value == 0 ? 0 : saturating_add(base, value), interval);
  if (!old.is_null()) TRY(task.memory().write(old, before));
  return 0;
}

Result<uint64_t> sys_timerfd_gettime(Task& task, GuestFd fd, UserPtr<itimerspec> out) {
  const auto file = TRY(timer_file(task, fd));
  TRY(task.memory().write(out, shown(file->timer())));
  return 0;
}

Result<uint64_t> sys_pidfd_open(Task& task, int32_t pid, uint32_t flags) {
  if ((flags & ~uint32_t{O_NONBLOCK}) != 0 || pid <= 0) return Errno{EINVAL};
  auto process = task.kernel().find_process(pid);
  if (process == nullptr) {
    // A thread that is no leader.
    return Errno{task.kernel().find_task(pid) != nullptr ? EINVAL : ESRCH};
  }
  return install_file(task, make_pidfd(task.kernel(), std::move(process), flags), true);
}

Result<uint64_t> sys_pidfd_send_signal(Task& task, GuestFd fd, int sig, uint64_t info,
                                       uint32_t flags) {
  if (flags != 0) return Errno{EINVAL};
  auto process = process_of_proc_dir(*TRY(task.fds().get(fd)));
  if (process == nullptr) process = TRY(pidfd_process(task, fd));
  if (sig < 0 || sig > kMaxSignal) return Errno{EINVAL};
  SigInfo send = SigInfo::user(sig, SI_USER, task.tgid(), task.creds().ruid);
  if (info != 0) {
    TRY(task.memory().copy_in(&send, info, sizeof send));
    if (send.signo != sig) return Errno{EINVAL};
    if ((send.code >= 0 || send.code == SI_TKILL) && process.get() != &task.process()) {
      return Errno{EPERM};
    }
  }
  if (process->tasks.empty() && !process->zombie) return Errno{ESRCH};
  if (task.kernel().find_process(process->pid) != process) return Errno{ESRCH};
  if (!Kernel::may_signal(task, *process, sig)) return Errno{EPERM};
  TRY(task.kernel().send_signal(*process, send));
  return 0;
}

Result<uint64_t> sys_pidfd_getfd(Task& task, GuestFd pidfd, GuestFd target, uint32_t flags) {
  if (flags != 0) return Errno{EINVAL};
  const auto process = TRY(pidfd_process(task, pidfd));
  if (process->tasks.empty()) return Errno{ESRCH};
  Task& other = *process->tasks.front();
  const auto &c = task.creds(), &t = other.creds();
  const bool same = c.fsuid == t.ruid && c.fsuid == t.euid && c.fsuid == t.suid &&
                    c.fsgid == t.rgid && c.fsgid == t.egid && c.fsgid == t.sgid;
  if (process.get() != &task.process() && !c.has_cap(CAP_SYS_PTRACE) &&
      !(same && other.memory().dumpable)) {
    return Errno{EPERM};
  }
  task.kernel().files().settle(other, task);
  return install_file(task, TRY(other.fds().get(target)), true);
}

}  // namespace run9::sentry
