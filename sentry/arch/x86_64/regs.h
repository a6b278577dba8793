// Regs: a guest thread's integer registers, in the order of ptrace(2)'s user_regs_struct.
#pragma once
#include <cstdint>

namespace run9::sentry {

struct Regs {
  uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
  uint64_t orig_rax;  // system call number while in a call, -1 otherwise
  uint64_t rip, cs, eflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs;
};
static_assert(sizeof(Regs) == 27 * 8);

inline constexpr uint64_t kUserCs = 0x33;
inline constexpr uint64_t kUserSs = 0x2b;

}  // namespace run9::sentry
