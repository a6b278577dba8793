#include "sentry/syscalls/process.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cstring>

#include "sentry/ipc/pidfd.h"
#include "sentry/loader/loader.h"
#include "sentry/task/kernel.h"
#include "sentry/task/ptrace.h"

namespace run9::sentry {
namespace {

constexpr size_t kMaxVector = 1 << 20;  // entries of argv and of envp

// Guest memory by whole pages, the last one kept: the strings of a vector lie side by side.
class PageReader {
 public:
  explicit PageReader(MemoryManager& mm) : mm_(mm) {}

  // What the page of `addr` holds from there on.
  Result<std::string_view> at(uint64_t addr) {
    const uint64_t start = addr & ~(kPage - 1);
    if (start != start_ || length_ == 0) {
      length_ = 0;
      length_ = TRY(mm_.copy_in_some(std::as_writable_bytes(std::span(page_)), start));
      start_ = start;
    }
    if (addr - start >= length_) return Errno{EFAULT};
    return std::string_view(page_, length_).substr(addr - start);
  }
  Result<uint64_t> word(uint64_t addr) {
    const auto bytes = TRY(at(addr));
    uint64_t w;
    if (bytes.size() < sizeof w) return mm_.read(UserPtr<uint64_t>{addr});
    memcpy(&w, bytes.data(), sizeof w);
    return w;
  }
  Result<std::string> string(uint64_t addr) {
    constexpr size_t kMaxString = 128 << 10;  // MAX_ARG_STRLEN, with the NUL
    std::string out;
    for (;;) {
      const auto bytes = TRY(at(addr));
      const size_t end = bytes.find('\0');
      out.append(bytes.substr(0, end));
      if (out.size() >= kMaxString) return Errno{E2BIG};
      if (end != bytes.npos) return out;
      addr += bytes.size();
    }
  }

 private:
  MemoryManager& mm_;
  uint64_t start_ = 0;
  size_t length_ = 0;
  char page_[kPage];
};

Result<std::vector<std::string>> read_vector(PageReader& pointers, PageReader& strings, UserPtr<uint64_t> p) {
  std::vector<std::string> out;
  if (p.is_null()) return out;
  size_t total = 0;
  for (uint64_t at = p.addr;; at += sizeof(uint64_t)) {
    const uint64_t string = TRY(pointers.word(at));
    if (string == 0) return out;
    out.push_back(TRY(strings.string(string)));
    total += out.back().size();
    if (out.size() > kMaxVector || total > kMaxArgBytes) return Errno{E2BIG};
  }
}

// They often lie in the same pages.
Result<void> read_vectors(Task& task, UserPtr<uint64_t> argv, UserPtr<uint64_t> envp, ExecArgs& to) {
  PageReader pointers(task.memory()), strings(task.memory());
  to.argv = TRY(read_vector(pointers, strings, argv));
  to.envp = TRY(read_vector(pointers, strings, envp));
  return ok();
}

}  // namespace

Result<uint64_t> sys_clone(Task& task, uint64_t flags, uint64_t stack, uint64_t parent_tid,
                           uint64_t child_tid, uint64_t tls) {
  CloneArgs a;
  a.flags = static_cast<uint32_t>(flags) & ~uint64_t{CSIGNAL};
  a.exit_signal = static_cast<int>(flags & CSIGNAL);
  a.stack = stack;
  a.tls = tls;
  a.parent_tid = parent_tid;
  a.child_tid = child_tid;
  a.pidfd = parent_tid;  // clone(2): the same argument
  if ((a.flags & CLONE_PIDFD) && (a.flags & CLONE_PARENT_SETTID)) return Errno{EINVAL};
  return static_cast<uint64_t>(TRY(task.kernel().clone(task, a)));
}

Result<uint64_t> sys_clone3(Task& task, UserPtr<void> args, uint64_t size) {
  if (size < CLONE_ARGS_SIZE_VER0) return Errno{EINVAL};
  if (size > 4096) return Errno{E2BIG};
  clone_args c{};
  std::vector<std::byte> raw(size);
  TRY(task.memory().copy_in(raw.data(), args.addr, size));
  for (size_t i = sizeof c; i < size; ++i) {
    if (raw[i] != std::byte{0}) return Errno{E2BIG};
  }
  memcpy(&c, raw.data(), std::min<size_t>(size, sizeof c));
  constexpr uint64_t kKnown = 0xffff'ffff | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP;
  if ((c.flags & ~kKnown) != 0) return Errno{EINVAL};
  if ((c.flags & (CSIGNAL | CLONE_DETACHED)) != 0 || c.exit_signal > 64) return Errno{EINVAL};
  if ((c.flags & (CLONE_THREAD | CLONE_PARENT)) && c.exit_signal != 0) return Errno{EINVAL};
  if ((c.stack == 0) != (c.stack_size == 0)) return Errno{EINVAL};
  if (c.flags & CLONE_INTO_CGROUP) return Errno{EOPNOTSUPP};
  CloneArgs a;
  a.flags = c.flags;
  a.exit_signal = static_cast<int>(c.exit_signal);
  a.stack = c.stack == 0 ? 0 : c.stack + c.stack_size;
  a.tls = c.tls;
  a.parent_tid = c.parent_tid;
  a.child_tid = c.child_tid;
  a.pidfd = c.pidfd;
  if (c.set_tid_size != 0) {
    if (c.set_tid_size > 1 || c.set_tid == 0) return Errno{EINVAL};
    if (!task.creds().has_cap(CAP_SYS_ADMIN)) return Errno{EPERM};
    a.set_tid = TRY(task.memory().read(UserPtr<int32_t>{c.set_tid}));
    if (a.set_tid <= 0) return Errno{EINVAL};
  }
  return static_cast<uint64_t>(TRY(task.kernel().clone(task, a)));
}

Result<uint64_t> sys_fork(Task& task) {
  CloneArgs a;
  a.exit_signal = SIGCHLD;
  return static_cast<uint64_t>(TRY(task.kernel().clone(task, a)));
}

Result<uint64_t> sys_vfork(Task& task) {
  CloneArgs a;
  a.flags = CLONE_VFORK | CLONE_VM;
  a.exit_signal = SIGCHLD;
  return static_cast<uint64_t>(TRY(task.kernel().clone(task, a)));
}

Result<uint64_t> sys_execve(Task& task, UserString path, UserPtr<uint64_t> argv, UserPtr<uint64_t> envp) {
  ExecArgs a;
  a.path = TRY(task.memory().read_path(path));
  if (const auto read = read_vectors(task, argv, envp, a); !read) {
    TRY(open_executable(task.kernel(), task, a.path));  // what is wrong with that is said first
    return read.error();
  }
  const int32_t former_tid = task.tid();
  TRY(task.kernel().exec(task, std::move(a)));
  trap_exec(task, former_tid);
  return 0;
}

Result<uint64_t> sys_execveat(Task& task, GuestFd dirfd, UserString path, UserPtr<uint64_t> argv,
                              UserPtr<uint64_t> envp, int flags) {
  if (flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) return Errno{EINVAL};
  ExecArgs a;
  a.path = TRY(task.memory().read_path(path));
  TRY(read_vectors(task, argv, envp, a));
  const uint32_t follow = (flags & AT_SYMLINK_NOFOLLOW) ? 0 : vfs::kFollow;
  const uint32_t empty = (flags & AT_EMPTY_PATH) ? vfs::kEmptyPath : 0;
  const auto start = TRY(task.start_of(dirfd, a.path));
  const auto place = TRY(task.mounts().walk(task, task.fs(), start, a.path, follow | empty));
  if (place.inode()->is_symlink()) return Errno{ELOOP};
  a.file = TRY(task.mounts().open_path(task.kernel().context(), place, O_RDONLY));
  if (a.path.empty()) {
    a.path = "/dev/fd/" + std::to_string(to_int(dirfd));
  } else if (a.path.front() != '/' && to_int(dirfd) != AT_FDCWD) {
    a.path = "/dev/fd/" + std::to_string(to_int(dirfd)) + "/" + a.path;
  }
  const int32_t former_tid = task.tid();
  TRY(task.kernel().exec(task, std::move(a)));
  trap_exec(task, former_tid);
  return 0;
}

Result<uint64_t> sys_exit(Task& task, int status) {
  task.exit_thread((status & 0xff) << 8);
  return 0;
}

Result<uint64_t> sys_exit_group(Task& task, int status) {
  task.exit_group((status & 0xff) << 8);
  return 0;
}

Result<uint64_t> sys_restart_syscall(Task& task) { return task.run_restart(); }

// ---------------------------------------------------------------- wait

namespace {

struct WaitFor {
  int type = P_ALL;  // P_PID, P_PGID
  int32_t id = 0;
  int options = 0;
};

struct Reaped {
  int32_t pid = 0;
  uint32_t uid = 0;
  int code = 0;         // CLD_*
  int status = 0;       // exit status or signal, as siginfo has it
  int wait_status = 0;  // as wait4 gives it
  Rusage usage;
};

bool eligible(Process& self, Process& child, const WaitFor& w) {
  if (w.type == P_PID && child.pid != w.id) return false;
  if (w.type == P_PGID && child.pgid() != w.id) return false;
  const bool clone_child = child.exit_signal != SIGCHLD;
  if (!(w.options & __WALL) && clone_child != ((w.options & __WCLONE) != 0)) return false;
  (void)self;
  return true;
}

// A child in a state that is asked for; taken unless WNOWAIT.
std::optional<Reaped> take(Task& task, const ProcessRef& c, int options) {
  Reaped r;
  r.pid = c->pid;
  r.uid = c->exit_uid;
  const bool keep = (options & WNOWAIT) != 0;
  if (c->zombie && (options & WEXITED)) {
    r.wait_status = c->exit_status;
    const int sig = c->exit_status & 0x7f;
    r.code = sig != 0 ? CLD_KILLED : CLD_EXITED;
    r.status = sig != 0 ? sig : (c->exit_status >> 8) & 0xff;
    r.usage = c->usage_dead_threads;
    if (!keep) {
      // Children that nobody waits for are in nobody's sum.
      for (const Rusage* u : {&c->usage_dead_threads, &c->usage_children}) task.process().usage_children.add(*u);
      task.kernel().reap(c);
    }
    return r;
  }
  if (c->zombie) return {};
  if (c->stopped && !c->stop_reported && (options & WUNTRACED)) {
    r.code = CLD_STOPPED;
    r.status = c->stop_signal;
    r.wait_status = (c->stop_signal << 8) | 0x7f;
    if (!keep) c->stop_reported = true;
    return r;
  }
  if (!c->stopped && !c->continue_reported && (options & WCONTINUED)) {
    r.code = CLD_CONTINUED;
    r.status = SIGCONT;
    r.wait_status = 0xffff;
    if (!keep) c->continue_reported = true;
    return r;
  }
  return {};
}

bool names(const WaitFor& w, int32_t tid, int32_t pgid) {
  if (w.type == P_PID) return tid == w.id;
  return w.type != P_PGID || pgid == w.id;
}

// What there is to tell of the tasks that this process traces; `any`: it traces one that is asked for.
std::optional<Reaped> take_tracee(Process& self, const WaitFor& w, bool& any) {
  const bool keep = (w.options & WNOWAIT) != 0;
  for (Task* t : self.tracees) {
    if (!names(w, t->tid(), t->process().pgid())) continue;
    any = true;
    Tracee& tracee = *t->tracee;
    if (!tracee.stopped || tracee.told || tracee.listening) continue;
    Reaped r;
    r.pid = t->tid();
    r.uid = t->creds().ruid;
    r.code = tracee.group_stop ? CLD_STOPPED : CLD_TRAPPED;
    r.status = tracee.code;
    r.wait_status = (tracee.code << 8) | 0x7f;
    if (!keep) tracee.told = true;
    return r;
  }
  for (auto it = self.dead_tracees.begin(); it != self.dead_tracees.end(); ++it) {
    if (w.type == P_PID && it->tid != w.id) continue;
    any = true;
    if ((w.options & WEXITED) == 0) continue;
    Reaped r;
    r.pid = it->tid;
    r.uid = it->uid;
    r.wait_status = it->wait_status;
    const int sig = r.wait_status & 0x7f;
    r.code = sig != 0 ? CLD_KILLED : CLD_EXITED;
    r.status = sig != 0 ? sig : (r.wait_status >> 8) & 0xff;
    if (!keep) self.dead_tracees.erase(it);
    return r;
  }
  return {};
}

// Empty: WNOHANG and nothing there.
Result<std::optional<Reaped>> wait_for(Task& task, const WaitFor& w) {
  Process& self = task.process();
  for (;;) {
    bool any = false;
    for (const ProcessRef& c : self.children) {
      if (!eligible(self, *c, w)) continue;
      any = true;
      const ProcessRef keep = c;
      if (auto r = take(task, keep, w.options)) return r;
    }
    if (auto r = take_tracee(self, w, any)) return r;
    if (!any) return Errno{ECHILD};
    if (w.options & WNOHANG) return std::optional<Reaped>{};
    TRY(task.wait(self.child_changed, ~0u));
  }
}

// kernel_waitid(). Nothing: WNOHANG, and no child has changed.
Result<std::optional<Reaped>> wait_id(Task& task, int type, int32_t id, int options) {
  if (options & ~(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WALL | __WCLONE | __WNOTHREAD)) {
    return Errno{EINVAL};
  }
  if (!(options & (WEXITED | WSTOPPED | WCONTINUED))) return Errno{EINVAL};
  WaitFor w;
  w.options = options;
  w.type = type;
  w.id = id;
  switch (type) {
    case P_ALL:
      break;
    case P_PID:
      if (id <= 0) return Errno{EINVAL};
      break;
    case P_PGID:
      if (id < 0) return Errno{EINVAL};
      if (id == 0) w.id = task.process().pgid();
      break;
    case P_PIDFD: {
      const auto file = TRY(task.fds().get(GuestFd{id}));
      const ProcessRef target = process_of_pidfd(*file);
      if (!target) return Errno{EBADF};
      w.type = P_PID;
      w.id = target->pid;
      if (file->nonblocking()) w.options |= WNOHANG;
      break;
    }
    default:
      return Errno{EINVAL};
  }
  const auto r = TRY(wait_for(task, w));
  if (!r && type == P_PIDFD && !(options & WNOHANG)) return Errno{EAGAIN};
  return r;
}

struct UserRusage {
  int64_t utime_sec, utime_usec, stime_sec, stime_usec;
  int64_t rest[14];
};

Result<void> write_usage(Task& task, UserPtr<void> to, const Rusage& u) {
  if (to.is_null()) return ok();
  UserRusage out{};
  out.utime_sec = static_cast<int64_t>(u.user_ns / 1'000'000'000);
  out.utime_usec = static_cast<int64_t>(u.user_ns / 1000 % 1'000'000);
  out.rest[0] = static_cast<int64_t>(u.max_rss_kib);
  return task.memory().write(to.cast<UserRusage>(), out);
}

}  // namespace

Result<uint64_t> sys_wait4(Task& task, int32_t pid, UserPtr<int32_t> status, int options,
                           UserPtr<void> usage) {
  if (options & ~(WNOHANG | WUNTRACED | WCONTINUED | __WALL | __WCLONE | __WNOTHREAD)) return Errno{EINVAL};
  if (pid == INT32_MIN) return Errno{ESRCH};
  WaitFor w;
  w.options = options | WEXITED;
  if (pid > 0) {
    w.type = P_PID, w.id = pid;
  } else if (pid < -1) {
    w.type = P_PGID, w.id = -pid;
  } else if (pid == 0) {
    w.type = P_PGID, w.id = task.process().pgid();
  }
  const auto r = TRY(wait_for(task, w));
  if (!r) return 0;
  if (!status.is_null()) TRY(task.memory().write(status, r->wait_status));
  TRY(write_usage(task, usage, r->usage));
  return static_cast<uint64_t>(r->pid);
}

Result<uint64_t> sys_waitid(Task& task, int type, int32_t id, UserPtr<SigInfo> info, int options,
                            UserPtr<void> usage) {
  const auto found = wait_id(task, type, id, options);
  const Reaped* r = found.has_value() && found.value() ? &*found.value() : nullptr;
  if (r != nullptr) TRY(write_usage(task, usage, r->usage));
  if (!info.is_null()) {  // written also when there is nothing to tell, and when the call fails
    SigInfo out;
    if (r != nullptr) {
      out.signo = SIGCHLD;
      out.code = r->code;
      out.chld.pid = r->pid;
      out.chld.uid = r->uid;
      out.chld.status = r->status;
    }
    TRY(task.memory().write(info, out));
  }
  TRY(found);
  return 0;
}

}  // namespace run9::sentry
