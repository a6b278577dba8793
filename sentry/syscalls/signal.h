// Signals.
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_rt_sigaction(Task&, int sig, UserPtr<SigAction> act, UserPtr<SigAction> old,
                                  uint64_t size);
Result<uint64_t> sys_rt_sigprocmask(Task&, int how, UserPtr<SignalSet> set, UserPtr<SignalSet> old,
                                    uint64_t size);
Result<uint64_t> sys_rt_sigreturn(Task&);
Result<uint64_t> sys_rt_sigpending(Task&, UserPtr<SignalSet> set, uint64_t size);
Result<uint64_t> sys_rt_sigsuspend(Task&, UserPtr<SignalSet> set, uint64_t size);
Result<uint64_t> sys_rt_sigtimedwait(Task&, UserPtr<SignalSet> set, UserPtr<SigInfo> info,
                                     UserPtr<timespec> timeout, uint64_t size);
Result<uint64_t> sys_rt_sigqueueinfo(Task&, int32_t pid, int sig, UserPtr<SigInfo> info);
Result<uint64_t> sys_rt_tgsigqueueinfo(Task&, int32_t tgid, int32_t tid, int sig, UserPtr<SigInfo> info);
Result<uint64_t> sys_sigaltstack(Task&, UserPtr<AltStack> ss, UserPtr<AltStack> old);
Result<uint64_t> sys_kill(Task&, int32_t pid, int sig);
Result<uint64_t> sys_tkill(Task&, int32_t tid, int sig);
Result<uint64_t> sys_tgkill(Task&, int32_t tgid, int32_t tid, int sig);
Result<uint64_t> sys_pause(Task&);

}  // namespace run9::sentry
