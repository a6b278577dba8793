#include "sentry/platform/trap/filters.h"

#include <asm/prctl.h>
#include <asm/unistd.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>

#include "sentry/platform/trap/stub_abi.h"

namespace run9::sentry::trap {
namespace {

constexpr uint32_t low(uint64_t v) { return static_cast<uint32_t>(v); }
constexpr uint32_t high(uint64_t v) { return static_cast<uint32_t>(v >> 32); }

// The flags of the only thread that a guest thread may make; those of the agent's clones are in filters.h.
constexpr uint32_t kThreadFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                                  CLONE_SYSVSEM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

struct Checks {
  BpfProgram& p;
  BpfProgram::Label trap;

  void arg_is(int n, uint32_t value) {
    p.load_arg_low(n);
    p.jump_if_ne(value, trap);
  }
  // [arg n, arg n + arg m) begins behind the table and ends below the stub's region: the sum of the upper halves, and a carry of at
  // most 1, stay below it.
  void range_is_the_guests(int n, int m) {
    p.load_arg_high(m);
    p.jump_if_gt(0x7fff, trap);
    p.op(BPF_MISC | BPF_TAX, 0);
    p.load_arg_high(n);
    p.jump_if_gt(0x7fff, trap);
    p.op(BPF_ALU | BPF_ADD | BPF_X, 0);
    p.jump_if_ge(high(STUB_TEXT) - 1, trap);
    const auto behind = p.label();
    p.load_arg_high(n);
    p.jump_if_ne(0, behind);
    p.load_arg_low(n);
    p.jump_if_ge(low(STUB_TABLE + STUB_TABLE_SIZE), behind);
    p.jump(trap);
    p.bind(behind);
  }
};

// Ends the program with what is allowed at the ORDER gate: what mmap on itself would give the guest.
void order_gate(BpfProgram& p, BpfProgram::Label allow, BpfProgram::Label trap) {
  Checks c{p, trap};
  const auto rule = [&](uint32_t nr, auto checks) {
    const auto next = p.label();
    p.load_nr();
    p.jump_if_ne(nr, next);
    checks();
    p.jump(allow);
    p.bind(next);
  };
  // The only files in its table are those that the Sentry sends it to map, read or write (STUB_FD_FILES): nobody can write by them who may not.
  for (const uint32_t nr : {__NR_pread64, __NR_preadv, __NR_pwrite64, __NR_pwritev}) rule(nr, [] {});
  rule(__NR_pwritev2, [&] {  // at the end: an offset of -1 would be for what is no file
    p.load_arg_high(3);
    p.jump_if_ne(0, trap);
    c.arg_is(3, 0);
    c.arg_is(5, RWF_APPEND);
  });
  rule(__NR_mmap, [&] {
    const auto good = p.label();
    p.load_arg_low(3);
    p.op(BPF_ALU | BPF_AND | BPF_K, ~uint32_t{MAP_NORESERVE | MAP_POPULATE});
    for (uint32_t kind : {MAP_PRIVATE | MAP_ANONYMOUS, MAP_PRIVATE}) p.jump_if_eq(kind | MAP_FIXED, good);
    p.jump_if_ne(MAP_SHARED | MAP_FIXED, trap);
    p.bind(good);
    c.range_is_the_guests(0, 1);
  });
  rule(__NR_recvmsg, [&] { c.arg_is(0, STUB_FD_FILES); });
  rule(__NR_close, [&] {
    for (uint32_t fd : {STUB_FD_AGENT, STUB_FD_WAKE, STUB_FD_FILES}) {
      p.load_arg_low(0);
      p.jump_if_eq(fd, trap);
    }
  });
  rule(__NR_munmap, [&] { c.range_is_the_guests(0, 1); });
  rule(__NR_mprotect, [&] { c.range_is_the_guests(0, 1); });
  rule(__NR_madvise, [&] { c.range_is_the_guests(0, 1); });
  rule(__NR_mremap, [&] {
    const auto in_place = p.label();
    c.range_is_the_guests(0, 1);
    p.load_arg_low(3);
    p.jump_if_eq(0, in_place);
    c.arg_is(3, MREMAP_MAYMOVE | MREMAP_FIXED);
    c.range_is_the_guests(4, 2);
    p.jump(allow);
    p.bind(in_place);
    c.range_is_the_guests(0, 2);
  });
  rule(__NR_clone, [&] { c.arg_is(0, kThreadFlags); });
  rule(__NR_arch_prctl, [&] {
    const auto good = p.label();
    p.load_arg_low(0);
    p.jump_if_eq(ARCH_SET_FS, good);
    p.jump_if_ne(ARCH_SET_GS, trap);
    p.bind(good);
  });
  rule(__NR_sigaltstack, [] {});
  rule(__NR_sched_yield, [] {});
  rule(__NR_clock_gettime, [&] { c.arg_is(0, CLOCK_THREAD_CPUTIME_ID); });
  rule(__NR_exit, [] {});
  p.jump(trap);
}

// futex(2) and futex_waitv(2) on the guest's own memory: never on the words in the stub's region, on which threads of
// other processes sleep too, but for those of pipes whose memory this process shares. From there no sleeper is moved elsewhere: who
// takes such a pipe back wakes them.
void guest_futex_gate(BpfProgram& p, BpfProgram::Label allow, BpfProgram::Label trap) {
  const auto two = p.label(), one = p.label(), guests = p.label();
  p.load_nr();
  p.jump_if_eq(__NR_futex_waitv, allow);
  p.jump_if_ne(__NR_futex, trap);
  p.load_arg_low(1);
  p.op(BPF_ALU | BPF_AND | BPF_K, ~uint32_t{FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME});
  for (uint32_t command : {FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET}) p.jump_if_eq(command, one);
  for (uint32_t command : {FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP}) p.jump_if_eq(command, two);
  p.jump(trap);
  p.bind(two);
  p.load_arg_high(4);
  p.jump_if_gt(STUB_GUEST_END_HIGH, trap);
  p.jump(guests);
  p.bind(one);
  p.load_arg_high(0);
  p.jump_if_eq(high(STUB_RINGS), allow);
  p.bind(guests);
  p.load_arg_high(0);
  p.jump_if_gt(STUB_GUEST_END_HIGH, trap);
  p.jump(allow);
}

// What the agent may do. Its commands come from a page that the guest cannot write, the key from registers that the guest
// cannot read (gates.S).
void agent_gate(BpfProgram& p, uint64_t key, BpfProgram::Label allow, BpfProgram::Label trap, BpfProgram::Label kill) {
  Checks c{p, trap};
  const auto mapping = p.label(), is_agent = p.label();
  p.load_nr();
  p.jump_if_eq(__NR_mmap, mapping);
  p.load_arg_low(5);
  p.jump_if_ne(low(key), kill);
  p.load_arg_high(5);
  p.jump_if_ne(high(key), kill);
  p.jump(is_agent);
  p.bind(mapping);
  p.load_arg_high(4);
  p.jump_if_ne(low(key), kill);
  p.bind(is_agent);
  p.load_nr();
  for (uint32_t nr : {__NR_futex, __NR_mmap, __NR_munmap, __NR_mprotect, __NR_mremap, __NR_madvise,
                      __NR_recvmsg, __NR_close_range, __NR_dup2, __NR_exit_group}) {
    p.jump_if_eq(nr, allow);
  }
  const auto not_write = p.label(), not_clone = p.label(), not_unshare = p.label();
  p.jump_if_ne(__NR_write, not_write);
  c.arg_is(0, STUB_FD_AGENT);
  p.jump(allow);
  p.bind(not_write);
  p.load_nr();
  p.jump_if_ne(__NR_clone, not_clone);
  p.load_arg_low(0);
  p.jump_if_eq(kForkFlags, allow);
  p.jump_if_eq(kAgentFlags, allow);
  p.jump_if_eq(kGuestFlags, allow);
  p.jump(trap);
  p.bind(not_clone);
  p.jump_if_ne(__NR_unshare, not_unshare);
  c.arg_is(0, CLONE_VM);
  p.jump(allow);
  p.bind(not_unshare);
  p.jump_if_ne(__NR_sched_setaffinity, trap);
  c.arg_is(0, 0);  // its own
  p.jump(allow);
}

}  // namespace

BpfProgram make_filter(uint64_t agent_key) {
  BpfProgram p;
  const auto trap = p.label(), allow = p.label(), order = p.label(), futex = p.label(),
             wake = p.label(), sigreturn = p.label(), special = p.label(), guest_futex = p.label(), kill = p.label();
  p.load_ip_high();
  p.jump_if_ne(high(STUB_TEXT), trap);
  p.load_arch();
  p.jump_if_ne(AUDIT_ARCH_X86_64, trap);
  p.load_ip_low();
  p.jump_if_eq(low(GATE_IP(GATE_GUEST_FUTEX)), guest_futex);
  p.jump_if_eq(low(GATE_IP(GATE_ORDER)), order);
  p.jump_if_eq(low(GATE_IP(GATE_FUTEX)), futex);
  p.jump_if_eq(low(GATE_IP(GATE_WAKE)), wake);
  p.jump_if_eq(low(GATE_IP(GATE_SIGRETURN)), sigreturn);
  p.jump_if_eq(low(GATE_IP(GATE_AGENT)), special);
  p.jump(trap);

  p.bind(sigreturn);
  p.load_nr();
  p.jump_if_eq(__NR_rt_sigreturn, allow);
  p.jump(trap);

  p.bind(futex);
  p.load_nr();
  p.jump_if_ne(__NR_futex, trap);
  p.load_arg_low(1);
  p.jump_if_eq(FUTEX_WAIT, allow);
  p.jump_if_ne(FUTEX_WAKE, trap);
  // The words that threads sleep on, and no other.
  p.load_arg_high(0);
  p.jump_if_ne(high(STUB_SLEEP_WORDS), trap);
  p.load_arg_low(0);
  p.op(BPF_ALU | BPF_AND | BPF_K, ~uint32_t{STUB_SLEEP_WORD_COUNT * 4 - 1});
  p.jump_if_ne(low(STUB_SLEEP_WORDS), trap);
  p.jump(allow);

  p.bind(wake);
  p.load_nr();
  p.jump_if_ne(__NR_write, trap);
  p.load_arg_low(0);
  p.jump_if_ne(STUB_FD_WAKE, trap);
  p.load_arg_low(2);
  p.jump_if_eq(8, allow);
  p.jump(trap);

  p.bind(guest_futex);
  guest_futex_gate(p, allow, trap);
  p.bind(order);
  order_gate(p, allow, trap);
  p.bind(special);
  agent_gate(p, agent_key, allow, trap, kill);
  p.bind(allow);
  p.ret(SECCOMP_RET_ALLOW);
  p.bind(trap);
  p.ret(SECCOMP_RET_TRAP);
  p.bind(kill);
  p.ret(SECCOMP_RET_KILL_PROCESS);
  return p;
}

}  // namespace run9::sentry::trap
