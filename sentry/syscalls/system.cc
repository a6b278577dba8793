#include "sentry/syscalls/system.h"

#include <linux/kcmp.h>
#include <sched.h>
#include <sys/random.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>

#include "sentry/fs/devpts/tty.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

constexpr uint32_t kNamespaceFlags = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                     CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | 0x80;  // NEWTIME

template <size_t N>
void put_name(char (&field)[N], std::string_view s) {
  std::memcpy(field, s.data(), std::min(s.size(), N - 1));
}

Result<void> set_name(Task& task, std::string& name, uint64_t from, int length) {
  if (!task.creds().has_cap(CAP_SYS_ADMIN)) return Errno{EPERM};
  if (length < 0 || length > 64) return Errno{EINVAL};
  std::string next(static_cast<size_t>(length), '\0');
  if (length > 0) TRY(task.memory().copy_in(next.data(), from, next.size()));
  name = std::move(next);
  return ok();
}

Result<uint64_t> refuse(Task& task, int cap, std::string_view what) {
  if (!task.creds().has_cap(cap)) return Errno{EPERM};
  task.kernel().note_missing(task, what);
  return Errno{ENOSYS};
}

std::string boot_log_text(Kernel& kernel) {
  std::string text;
  for (const auto& line : kernel.boot_log_lines()) text += "<6>" + line + "\n";
  return text;
}

}  // namespace

Result<uint64_t> sys_uname(Task& task, uint64_t out) {
  utsname u{};
  put_name(u.sysname, "Linux");
  put_name(u.nodename, task.kernel().hostname);
  put_name(u.release, "6.12.0-run9");
  put_name(u.version, "#1 SMP Run9");
  put_name(u.machine, "x86_64");
  put_name(u.domainname, task.kernel().domainname);
  TRY(task.memory().copy_out(out, &u, sizeof u));
  return 0;
}

Result<uint64_t> sys_sethostname(Task& task, uint64_t name, int length) {
  TRY(set_name(task, task.kernel().hostname, name, length));
  return 0;
}

Result<uint64_t> sys_setdomainname(Task& task, uint64_t name, int length) {
  TRY(set_name(task, task.kernel().domainname, name, length));
  return 0;
}

Result<uint64_t> sys_sysinfo(Task& task, uint64_t out) {
  Kernel& k = task.kernel();
  struct sysinfo s {};
  s.mem_unit = 1;
  s.uptime = static_cast<long>((EventLoop::now_ns() - k.boot_time_ns + 999'999'999) / 1'000'000'000);  // rounded up
  // Boot sets the limit; without one (tests) the size of the machine is nobody's business.
  constexpr uint64_t kShownWithoutLimit = uint64_t{4} << 30;
  const uint64_t limit = k.options().limits.memory;
  s.totalram = limit != 0 ? limit : kShownWithoutLimit;
  s.freeram = s.totalram > k.charged_memory() ? s.totalram - k.charged_memory() : 0;
  s.procs = static_cast<unsigned short>(std::min<size_t>(k.task_count(), 65535));
  for (auto& load : s.loads) load = 0;
  TRY(task.memory().copy_out(out, &s, sizeof s));
  return 0;
}

// syslog(2): the boot lines, never consumed. Types by number, as the man page has no header for them.
Result<uint64_t> sys_syslog(Task& task, int type, uint64_t buffer, int length) {
  constexpr int kRead = 2, kReadAll = 3, kReadClear = 4, kSizeUnread = 9, kSizeBuffer = 10;
  if (type < 0 || type > kSizeBuffer) return Errno{EINVAL};
  if (type != kReadAll && type != kSizeBuffer && !task.creds().has_cap(CAP_SYSLOG)) {
    return Errno{EPERM};
  }
  const std::string text = boot_log_text(task.kernel());
  switch (type) {
    case kReadAll:
    case kReadClear: {
      if (buffer == 0 || length < 0) return Errno{EINVAL};
      const size_t n = std::min(text.size(), static_cast<size_t>(length));
      TRY(task.memory().copy_out(buffer, text.data() + text.size() - n, n));
      return n;
    }
    case kRead: return Errno{EAGAIN};
    case kSizeUnread: return 0;
    case kSizeBuffer: return std::max<uint64_t>(text.size(), 1 << 17);
    default: return 0;
  }
}

Result<uint64_t> sys_getcpu(Task& task, UserPtr<uint32_t> cpu, UserPtr<uint32_t> node) {
  const auto allowed = task.cpu_affinity[0];
  const uint32_t first = allowed != 0 ? static_cast<uint32_t>(__builtin_ctzll(allowed)) : 0;
  if (!cpu.is_null()) TRY(task.memory().write(cpu, first));
  if (!node.is_null()) TRY(task.memory().write(node, 0u));
  return 0;
}

Result<uint64_t> sys_getrandom(Task& task, uint64_t buffer, uint64_t count, uint32_t flags) {
  constexpr uint32_t kNonblock = 1, kRandom = 2, kInsecure = 4;
  if ((flags & ~(kNonblock | kRandom | kInsecure)) != 0) return Errno{EINVAL};
  if ((flags & (kRandom | kInsecure)) == (kRandom | kInsecure)) return Errno{EINVAL};
  count = std::min<uint64_t>(count, INT32_MAX);
  std::byte chunk[1024];
  uint64_t done = 0;
  while (done < count) {
    const size_t n = std::min<size_t>(sizeof chunk, count - done);
    const ssize_t got = ::getrandom(chunk, n, 0);
    if (got < 0) return last_errno();
    const auto bytes = ByteSpan(chunk).first(static_cast<size_t>(got));
    const auto copied = task.memory().copy_out_some(buffer + done, bytes);
    if (!copied.has_value() || copied.value() == 0) {
      if (done > 0) return done;
      return copied.has_value() ? Errno{EFAULT} : copied.error();
    }
    done += copied.value();
    if (copied.value() < bytes.size()) break;
    if (done % (64 * 1024) == 0 && task.interrupted()) break;
  }
  return done;
}

Result<uint64_t> sys_vhangup(Task& task) {
  if (!task.creds().has_cap(CAP_SYS_TTY_CONFIG)) return Errno{EPERM};
  const auto& group = task.process().group;
  if (group && group->session && group->session->tty) group->session->tty->hang_up();
  return 0;
}

Result<uint64_t> sys_set_tid_address(Task& task, uint64_t address) {
  task.context().set_clear_tid(address);
  return static_cast<uint64_t>(task.tid());
}

Result<uint64_t> sys_personality(Task& task, uint32_t persona) {
  const uint64_t old = task.process().personality;
  if (persona != 0xffff'ffff) task.process().personality = persona;
  return old;
}

Result<uint64_t> sys_unshare(Task& task, uint64_t flags) {
  constexpr uint64_t kKnown = kNamespaceFlags | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM |
                              CLONE_THREAD | CLONE_SIGHAND | CLONE_VM;
  if ((flags & ~kKnown) != 0) return Errno{EINVAL};
  if ((flags & (CLONE_THREAD | CLONE_SIGHAND | CLONE_VM)) != 0 &&
      task.process().tasks.size() > 1) {
    return Errno{EINVAL};
  }
  if ((flags & CLONE_NEWUSER) != 0) return Errno{EPERM};
  if ((flags & kNamespaceFlags) != 0) {
    return Errno{task.creds().has_cap(CAP_SYS_ADMIN) ? EINVAL : EPERM};
  }
  Task::Parts parts{task.memory_ref(), task.fds_ref(), task.fs_ref(), task.creds_ref()};
  // Counted: the reference in `parts`, too.
  if ((flags & CLONE_FILES) != 0 && parts.fds.use_count() > 2) parts.fds = task.fds().clone();
  if ((flags & CLONE_FS) != 0 && parts.fs.use_count() > 2) {
    parts.fs = std::make_shared<vfs::FsContext>(task.fs());
  }
  task.set_parts(std::move(parts));
  return 0;
}

Result<uint64_t> sys_setns(Task& task, GuestFd fd, int) {
  (void)TRY(task.fds().get(fd));
  return Errno{EINVAL};
}

Result<uint64_t> sys_kcmp(Task& task, int32_t pid1, int32_t pid2, int type, uint64_t a,
                          uint64_t b) {
  Task* t1 = task.kernel().find_task(pid1);
  Task* t2 = task.kernel().find_task(pid2);
  if (t1 == nullptr || t2 == nullptr) return Errno{ESRCH};
  if (!Kernel::may_signal(task, t1->process(), 0) || !Kernel::may_signal(task, t2->process(), 0)) {
    return Errno{EPERM};
  }
  const void *p = nullptr, *q = nullptr;
  switch (type) {
    case KCMP_FILE:
      for (Task* t : {t1, t2}) task.kernel().files().settle(*t, task);
      p = TRY(t1->fds().get(GuestFd{static_cast<int32_t>(a)})).get();
      q = TRY(t2->fds().get(GuestFd{static_cast<int32_t>(b)})).get();
      break;
    case KCMP_VM: p = &t1->memory(), q = &t2->memory(); break;
    case KCMP_FILES: p = &t1->fds(), q = &t2->fds(); break;
    case KCMP_FS: p = &t1->fs(), q = &t2->fs(); break;
    case KCMP_SIGHAND:
      p = t1->process().actions.get(), q = t2->process().actions.get();
      break;
    case KCMP_IO:
    case KCMP_SYSVSEM: return 0;  // nobody has any of his own
    default: return Errno{EINVAL};
  }
  return p == q ? 0 : p < q ? 1 : 2;
}

Result<uint64_t> sys_acct(Task& task) { return refuse(task, CAP_SYS_PACCT, "acct"); }
Result<uint64_t> sys_swapon(Task& task) { return refuse(task, CAP_SYS_ADMIN, "swapon"); }
Result<uint64_t> sys_swapoff(Task& task) { return refuse(task, CAP_SYS_ADMIN, "swapoff"); }
Result<uint64_t> sys_reboot(Task& task) { return refuse(task, CAP_SYS_BOOT, "reboot"); }
Result<uint64_t> sys_kexec_load(Task& task) { return refuse(task, CAP_SYS_BOOT, "kexec_load"); }
Result<uint64_t> sys_init_module(Task& t) { return refuse(t, CAP_SYS_MODULE, "init_module"); }
Result<uint64_t> sys_delete_module(Task& t) { return refuse(t, CAP_SYS_MODULE, "delete_module"); }
Result<uint64_t> sys_finit_module(Task& t) { return refuse(t, CAP_SYS_MODULE, "finit_module"); }
Result<uint64_t> sys_iopl(Task& task) { return refuse(task, CAP_SYS_RAWIO, "iopl"); }
Result<uint64_t> sys_ioperm(Task& task) { return refuse(task, CAP_SYS_RAWIO, "ioperm"); }

}  // namespace run9::sentry
