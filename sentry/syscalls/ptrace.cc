#include "sentry/syscalls/ptrace.h"

#include <asm/unistd.h>
#include <elf.h>
#include <linux/audit.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include <algorithm>

#include "sentry/task/access.h"
#include "sentry/task/kernel.h"
#include "sentry/task/ptrace.h"
#include "sentry/task/seccomp.h"

namespace run9::sentry {
namespace {

constexpr uint32_t kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
                              PTRACE_O_TRACEEXEC | PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACEEXIT |
                              PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL;
constexpr size_t kFxsave = sizeof(user_fpregs_struct);
constexpr uint64_t kUserFlags = 0x40dd5 | 0x200000;  // of eflags, what user code may set; no TF

Result<uint64_t> trace_me(Task& task) {
  const auto parent = task.process().parent.lock();
  if (task.tracee || !parent || parent->tasks.empty()) return Errno{EPERM};
  attach_tracee(task, parent->leader != nullptr ? *parent->leader : *parent->tasks.front(), false, 0);
  return 0;
}

Result<uint64_t> attach(Task& task, int32_t pid, bool seize, uint64_t address, uint64_t options) {
  if (seize && (address != 0 || (options & ~uint64_t{kOptions}) != 0)) return Errno{EIO};
  Task* target = task.kernel().find_task(pid);
  if (target == nullptr) return Errno{ESRCH};
  if (&target->process() == &task.process() || target->exiting() || target->memory_ref() == nullptr) return Errno{EPERM};
  if (!may_trace(task, *target, TraceIds::kReal) || target->tracee) return Errno{EPERM};
  attach_tracee(*target, task, seize, seize ? static_cast<uint32_t>(options) : 0);
  if (!seize) TRY(task.kernel().send_task_signal(*target, SigInfo::kernel(SIGSTOP)));
  if (!target->process().stopped) return 0;
  // One that stands still is the tracer's when this returns (JOBCTL_TRAPPING of Linux).
  const auto keep = target->shared_from_this();
  keep->wake();
  while (keep->tracee && !keep->tracee->stopped && !keep->exiting() && !task.must_die()) task.kernel().loop().yield();
  return 0;
}

Result<uint64_t> peek(Task& task, Task& target, uint64_t address, uint64_t out) {
  uint64_t word = 0;
  if (!target.memory().copy_in(&word, address, sizeof word).has_value()) return Errno{EIO};
  TRY(task.memory().copy_out(out, &word, sizeof word));
  return 0;
}

// Text is not writable: the debugger's word goes in between two changes of the protection.
Result<uint64_t> poke(Task& task, Task& target, uint64_t address, uint64_t word) {
  if (!target.memory().force_write(address, std::as_bytes(std::span(&word, 1))).has_value()) return Errno{EIO};
  return 0;
}

// struct user: the registers, much else that reads as zero, the debug registers.
Result<uint64_t> peek_user(Task& task, Task& target, uint64_t offset, uint64_t out) {
  if (offset % 8 != 0 || offset >= sizeof(struct user)) return Errno{EIO};
  uint64_t word = 0;
  if (offset < sizeof(Regs)) std::memcpy(&word, reinterpret_cast<const char*>(&target.regs()) + offset, sizeof word);
  TRY(task.memory().copy_out(out, &word, sizeof word));
  return 0;
}

// A guest's segments are what they are; flags are cut to what user code may set.
Result<void> set_regs(Task& target, const Regs& wanted) {
  if (wanted.fs_base >= kGuestEnd || wanted.gs_base >= kGuestEnd) return Errno{EIO};
  Regs& r = target.regs();
  const Regs old = r;
  r = wanted;
  r.eflags = (old.eflags & ~kUserFlags) | (wanted.eflags & kUserFlags);
  r.cs = old.cs, r.ss = old.ss, r.ds = old.ds, r.es = old.es, r.fs = old.fs, r.gs = old.gs;
  target.context().set_regs_changed();
  return ok();
}

Result<uint64_t> poke_user(Task& target, uint64_t offset, uint64_t word) {
  if (offset % 8 != 0 || offset >= sizeof(struct user)) return Errno{EIO};
  if (offset < sizeof(Regs)) {
    Regs r = target.regs();
    std::memcpy(reinterpret_cast<char*>(&r) + offset, &word, sizeof word);
    TRY(set_regs(target, r));
    return 0;
  }
  // TODO(compat): hardware breakpoints. Clearing one that was never set is fine.
  const bool debug = offset >= offsetof(struct user, u_debugreg) && word == 0;
  return debug ? Result<uint64_t>(0) : Errno{EIO};
}

Result<std::vector<std::byte>> fp_state(Task& target, size_t size) {
  auto state = TRY(target.context().xstate());
  if (size != 0 && state.size() > size) state.resize(size);
  return state;
}

// Over the front of the state that is there: a shorter one leaves the rest.
Result<void> set_fp_state(Task& task, Task& target, uint64_t from, size_t size) {
  auto state = TRY(target.context().xstate());
  size = std::min(size, state.size());
  // The bytes that say how long the state is, in the part software may use, stay.
  constexpr size_t kSoftware = 464, kSoftwareEnd = 512;
  const auto keep = state;
  TRY(task.memory().copy_in(state.data(), from, size));
  if (state.size() >= kSoftwareEnd) std::copy(keep.begin() + kSoftware, keep.begin() + kSoftwareEnd, state.begin() + kSoftware);
  return target.context().set_xstate(state);
}

struct GuestIovec {
  uint64_t base, length;
};

Result<uint64_t> regset(Task& task, Task& target, uint64_t type, uint64_t vec, bool set) {
  auto v = TRY(task.memory().read(UserPtr<GuestIovec>{vec}));
  if (type == NT_PRSTATUS) {
    v.length = std::min<uint64_t>(v.length, sizeof(Regs));
    if (v.length % 8 != 0) return Errno{EINVAL};
    Regs r = target.regs();
    if (set) {
      TRY(task.memory().copy_in(&r, v.base, v.length));
      TRY(set_regs(target, r));
    } else {
      TRY(task.memory().copy_out(v.base, &r, v.length));
    }
  } else if (type == NT_PRFPREG || type == NT_X86_XSTATE) {
    const auto state = TRY(fp_state(target, type == NT_PRFPREG ? kFxsave : 0));
    v.length = std::min<uint64_t>(v.length, state.size());
    if (v.length % 8 != 0) return Errno{EINVAL};
    if (set) {
      TRY(set_fp_state(task, target, v.base, v.length));
    } else {
      TRY(task.memory().copy_out(v.base, state.data(), v.length));
    }
  } else {
    return Errno{EINVAL};
  }
  TRY(task.memory().write(UserPtr<uint64_t>{vec + offsetof(GuestIovec, length)}, v.length));
  return 0;
}

Result<uint64_t> call_info(Task& task, Task& target, uint64_t size, uint64_t out) {
  const Tracee& t = *target.tracee;
  const Regs& r = target.regs();
  __ptrace_syscall_info info{};
  info.arch = AUDIT_ARCH_X86_64;
  info.instruction_pointer = r.rip;
  info.stack_pointer = r.rsp;
  size_t used = offsetof(__ptrace_syscall_info, entry);
  const uint64_t args[6] = {r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9};
  switch (t.call) {
    case Tracee::Call::kEntry:
      info.op = PTRACE_SYSCALL_INFO_ENTRY;
      info.entry.nr = r.orig_rax;
      std::copy(args, args + 6, info.entry.args);
      used = offsetof(__ptrace_syscall_info, entry.args) + sizeof args;
      break;
    case Tracee::Call::kSeccomp:
      info.op = PTRACE_SYSCALL_INFO_SECCOMP;
      info.seccomp.nr = r.orig_rax;
      std::copy(args, args + 6, info.seccomp.args);
      info.seccomp.ret_data = t.seccomp_data;
      used = offsetof(__ptrace_syscall_info, seccomp.ret_data) + sizeof(uint32_t);
      break;
    case Tracee::Call::kExit:
      info.op = PTRACE_SYSCALL_INFO_EXIT;
      info.exit.rval = static_cast<int64_t>(r.rax);
      info.exit.is_error = info.exit.rval < 0 && info.exit.rval >= -4095;
      used = offsetof(__ptrace_syscall_info, exit.is_error) + 1;
      break;
    default: break;
  }
  TRY(task.memory().copy_out(out, &info, std::min<uint64_t>(used, size)));
  return used;
}

Result<uint64_t> signal_mask(Task& task, Task& target, uint64_t size, uint64_t at, bool set) {
  if (size != 8) return Errno{EINVAL};
  if (set) {
    target.set_mask(SignalSet{TRY(task.memory().read(UserPtr<uint64_t>{at}))});
  } else {
    TRY(task.memory().write(UserPtr<uint64_t>{at}, target.mask().bits));
  }
  return 0;
}

Result<uint64_t> go_on(Task& target, int64_t request, uint64_t signal) {
  if (signal > static_cast<uint64_t>(kMaxSignal)) return Errno{EIO};
  const int signo = static_cast<int>(signal);
  switch (request) {
    case PTRACE_DETACH: detach_tracee(target, signo); return 0;
    case PTRACE_SYSCALL: resume_tracee(target, Tracee::Mode::kSyscalls, signo); return 0;
    case PTRACE_SINGLESTEP: resume_tracee(target, Tracee::Mode::kStep, signo); return 0;
    case PTRACE_SYSEMU: resume_tracee(target, Tracee::Mode::kEmulate, signo); return 0;
    case PTRACE_SYSEMU_SINGLESTEP: resume_tracee(target, Tracee::Mode::kEmulateStep, signo); return 0;
    default: resume_tracee(target, Tracee::Mode::kRun, signo); return 0;
  }
}

Result<uint64_t> listen(Task& target) {
  Tracee& t = *target.tracee;
  if (!t.seized || !t.group_stop) return Errno{EIO};
  t.listening = true;
  return 0;
}

// Requests that ask a stopped tracee something, or change it.
Result<uint64_t> examine(Task& task, Task& target, int64_t request, uint64_t address, uint64_t data) {
  Tracee& t = *target.tracee;
  switch (request) {
    case PTRACE_PEEKTEXT:
    case PTRACE_PEEKDATA: return peek(task, target, address, data);
    case PTRACE_POKETEXT:
    case PTRACE_POKEDATA: return poke(task, target, address, data);
    case PTRACE_PEEKUSER: return peek_user(task, target, address, data);
    case PTRACE_POKEUSER: return poke_user(target, address, data);
    case PTRACE_GETREGS: TRY(task.memory().write(UserPtr<Regs>{data}, target.regs())); return 0;
    case PTRACE_SETREGS: TRY(set_regs(target, TRY(task.memory().read(UserPtr<Regs>{data})))); return 0;
    case PTRACE_GETFPREGS: {
      const auto state = TRY(fp_state(target, kFxsave));
      TRY(task.memory().copy_out(data, state.data(), state.size()));
      return 0;
    }
    case PTRACE_SETFPREGS: TRY(set_fp_state(task, target, data, kFxsave)); return 0;
    case PTRACE_GETREGSET: return regset(task, target, address, data, false);
    case PTRACE_SETREGSET: return regset(task, target, address, data, true);
    case PTRACE_SETOPTIONS:
      if ((data & ~uint64_t{kOptions}) != 0) return Errno{EINVAL};
      t.options = static_cast<uint32_t>(data);
      return 0;
    case PTRACE_GETEVENTMSG: TRY(task.memory().write(UserPtr<uint64_t>{data}, t.message)); return 0;
    case PTRACE_GETSIGINFO:
      if (!t.has_info) return Errno{EINVAL};
      TRY(task.memory().write(UserPtr<SigInfo>{data}, t.info));
      return 0;
    case PTRACE_SETSIGINFO:
      if (!t.has_info) return Errno{EINVAL};
      t.info = TRY(task.memory().read(UserPtr<SigInfo>{data}));
      return 0;
    case PTRACE_GETSIGMASK: return signal_mask(task, target, address, data, false);
    case PTRACE_SETSIGMASK: return signal_mask(task, target, address, data, true);
    case PTRACE_GET_SYSCALL_INFO: return call_info(task, target, address, data);
    case PTRACE_LISTEN: return listen(target);
    case PTRACE_CONT: case PTRACE_DETACH: case PTRACE_SYSCALL: case PTRACE_SINGLESTEP: case PTRACE_SYSEMU:
    case PTRACE_SYSEMU_SINGLESTEP: return go_on(target, request, data);
    default: return Errno{EIO};
  }
}

}  // namespace

Result<uint64_t> sys_ptrace(Task& task, int64_t request, int32_t pid, uint64_t address, uint64_t data) {
  if (request == PTRACE_TRACEME) return trace_me(task);
  if (request == PTRACE_ATTACH || request == PTRACE_SEIZE) {
    return attach(task, pid, request == PTRACE_SEIZE, address, data);
  }
  Task* found = task.kernel().find_task(pid);
  if (found == nullptr || !found->tracee || found->tracee->tracer.lock().get() != &task) return Errno{ESRCH};
  const auto target = found->shared_from_this();
  Tracee& t = *target->tracee;
  if (request == PTRACE_KILL) {
    if (t.stopped) (void)task.kernel().send_signal(target->process(), SigInfo::kernel(SIGKILL));
    return 0;
  }
  if (request == PTRACE_INTERRUPT) {
    if (!t.seized) return Errno{EIO};
    t.stop_wanted = true;
    if (t.listening) {
      resume_tracee(*target, t.mode, 0);
    } else {
      target->interrupt();
    }
    return 0;
  }
  if (!t.stopped || t.listening || target->memory_ref() == nullptr) return Errno{ESRCH};
  return examine(task, *target, request, address, data);
}

}  // namespace run9::sentry
