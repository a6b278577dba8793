#include "sentry/syscalls/futex.h"

#include <asm/unistd.h>
#include <linux/futex.h>

#include <array>

#include "sentry/ipc/futex.h"
#include "sentry/task/kernel.h"
#include "sentry/time/clocks.h"

namespace run9::sentry {
namespace {

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13  // Linux 5.14
#endif

constexpr uint64_t kRobustHeadSize = 24;

Result<uint64_t> wait(Task& task, uint64_t addr, bool is_private, uint32_t value, uint32_t bitset,
                      std::optional<uint64_t> deadline) {
  if (bitset == 0) return Errno{EINVAL};
  const auto r = task.kernel().futexes().wait(task, addr, is_private, value, bitset, deadline);
  if (r.has_value()) return 0;
  if (r.error() == kErestartsys && deadline) {
    return task.restart_with(
        [=](Task& t) { return wait(t, addr, is_private, value, bitset, deadline); });
  }
  return r.error();
}

// FUTEX_WAKE_OP's arithmetic on the second word, by copies: a guest thread's own update between the two is
// lost.
Result<bool> apply_op(Task& task, uint64_t addr, uint32_t code) {
  const auto sign12 = [](uint32_t v) { return static_cast<int32_t>(v << 20) >> 20; };
  const uint32_t op = (code >> 28) & 7, cmp = (code >> 24) & 15;
  int32_t arg = sign12((code >> 12) & 0xfff);
  const int32_t cmp_arg = sign12(code & 0xfff);
  if ((code >> 28) & FUTEX_OP_OPARG_SHIFT) arg = static_cast<int32_t>(1u << (arg & 31));
  const auto old = TRY(task.memory().read(UserPtr<int32_t>{addr}));
  uint32_t next = static_cast<uint32_t>(old);
  switch (op) {
    case FUTEX_OP_SET: next = static_cast<uint32_t>(arg); break;
    case FUTEX_OP_ADD: next += static_cast<uint32_t>(arg); break;
    case FUTEX_OP_OR: next |= static_cast<uint32_t>(arg); break;
    case FUTEX_OP_ANDN: next &= ~static_cast<uint32_t>(arg); break;
    case FUTEX_OP_XOR: next ^= static_cast<uint32_t>(arg); break;
    default: return Errno{ENOSYS};
  }
  TRY(task.memory().write(UserPtr<uint32_t>{addr}, next));
  switch (cmp) {
    case FUTEX_OP_CMP_EQ: return old == cmp_arg;
    case FUTEX_OP_CMP_NE: return old != cmp_arg;
    case FUTEX_OP_CMP_LT: return old < cmp_arg;
    case FUTEX_OP_CMP_GE: return old >= cmp_arg;
    case FUTEX_OP_CMP_LE: return old <= cmp_arg;
    case FUTEX_OP_CMP_GT: return old > cmp_arg;
    default: return Errno{ENOSYS};
  }
}

Result<uint64_t> wake_op(Task& task, uint64_t addr, uint64_t addr2, bool is_private, int n, int n2,
                         uint32_t code) {
  auto& table = task.kernel().futexes();
  const auto key = TRY(FutexKey::of(task.memory(), addr, is_private));
  const auto key2 = TRY(FutexKey::of(task.memory(), addr2, is_private));
  const bool second = TRY(apply_op(task, addr2, code));
  int woken = table.wake(key, n);
  if (second) woken += table.wake(key2, n2);
  return static_cast<uint64_t>(woken);
}

Result<uint64_t> requeue(Task& task, uint64_t addr, uint64_t addr2, bool is_private, int wake_n,
                         int move_n, std::optional<uint32_t> expected) {
  if (wake_n < 0 || move_n < 0) return Errno{EINVAL};
  const auto from = TRY(FutexKey::of(task.memory(), addr, is_private));
  const auto to = TRY(FutexKey::of(task.memory(), addr2, is_private));
  if (expected && TRY(task.memory().read(UserPtr<uint32_t>{addr})) != *expected) {
    return Errno{EAGAIN};
  }
  return static_cast<uint64_t>(task.kernel().futexes().requeue(from, to, wake_n, move_n));
}

// The monotonic deadline of a wait: relative for FUTEX_WAIT, absolute for the others.
Result<std::optional<uint64_t>> read_deadline(Task& task, int command, bool realtime,
                                              uint64_t addr) {
  auto t = TRY(read_timeout(task, addr));
  if (!t) return t;
  if (command == FUTEX_WAIT) return std::optional(saturating_add(EventLoop::now_ns(), *t));
  const auto clock = realtime ? ClockRef::realtime() : ClockRef::monotonic();
  return std::optional(clock.monotonic_deadline(*t));
}

bool is_of_locks(int command) {
  return command == FUTEX_LOCK_PI || command == FUTEX_LOCK_PI2 || command == FUTEX_TRYLOCK_PI || command == FUTEX_UNLOCK_PI;
}

// Whichever platform: of its memory no more is asked than one bit.
Result<uint64_t> lock_command(Task& task, uint64_t addr, int op, uint64_t timeout) {
  const bool is_private = (op & FUTEX_PRIVATE_FLAG) != 0, realtime = (op & FUTEX_CLOCK_REALTIME) != 0;
  const int command = op & FUTEX_CMD_MASK;
  PiFutexes& locks = task.kernel().futexes().locks();
  if (realtime && command != FUTEX_LOCK_PI2) return Errno{ENOSYS};
  if (command == FUTEX_UNLOCK_PI) {
    TRY(locks.unlock(task, addr, is_private));
  } else if (command == FUTEX_TRYLOCK_PI) {
    TRY(locks.lock(task, addr, is_private, {}, PiFutexes::IfTaken::kFail));
  } else {
    const auto deadline = TRY(read_deadline(task, command, realtime || command == FUTEX_LOCK_PI, timeout));
    TRY(locks.lock(task, addr, is_private, deadline, PiFutexes::IfTaken::kWait));
  }
  return 0;
}

// ---------------------------------------------------------------- where memory is the host's

using Args = std::array<uint64_t, 6>;

// The guest thread makes the call. It begins with most calls itself (the stub's dispatcher): here are those that it
// leaves to us, and those that a signal interrupted.
Result<uint64_t> wait_at_host(Task& task, uint64_t nr, const Args& args, std::optional<uint64_t> deadline) {
  timespec until{};
  if (deadline) {
    until = {static_cast<time_t>(*deadline / 1'000'000'000), static_cast<long>(*deadline % 1'000'000'000)};
  }
  if (!task.interrupted() && !task.context().broken_off()) {
    const auto r = task.context().futex(nr, args, deadline ? &until : nullptr);
    if (r.has_value() || r.error() != Errno{EINTR}) return r;
  }
  if (!deadline) return kErestartsys;
  return task.restart_with([=](Task& t) { return wait_at_host(t, nr, args, deadline); });
}

Result<uint64_t> futex_at_host(Task& task, const Args& args) {
  const auto op = static_cast<int>(args[1]);
  const int command = op & FUTEX_CMD_MASK;
  switch (command) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET: {
      const auto deadline = TRY(read_deadline(task, command, (op & FUTEX_CLOCK_REALTIME) != 0, args[3]));
      const uint64_t bits = command == FUTEX_WAIT ? FUTEX_BITSET_MATCH_ANY : args[5];
      const uint64_t wait = FUTEX_WAIT_BITSET | static_cast<uint64_t>(op & FUTEX_PRIVATE_FLAG);
      return wait_at_host(task, __NR_futex, {args[0], wait, args[2], 0, 0, bits}, deadline);
    }
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET:
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
    case FUTEX_WAKE_OP:
      if (task.context().broken_off()) return kErestartnointr;
      return task.context().futex(__NR_futex, args, nullptr);
    // The host's lock commands would look for its own thread ids in the word.
    default: return Errno{ENOSYS};
  }
}

}  // namespace

Result<uint64_t> sys_futex(Task& task, uint64_t addr, int op, uint32_t value, uint64_t timeout,
                           uint64_t addr2, uint32_t value3) {
  if (is_of_locks(op & FUTEX_CMD_MASK)) return lock_command(task, addr, op, timeout);
  if (task.context().has_futex()) {
    return futex_at_host(task, {addr, static_cast<uint32_t>(op), value, timeout, addr2, value3});
  }
  const int command = op & FUTEX_CMD_MASK;
  const bool is_private = (op & FUTEX_PRIVATE_FLAG) != 0;
  const bool realtime = (op & FUTEX_CLOCK_REALTIME) != 0;
  if (realtime && command != FUTEX_WAIT && command != FUTEX_WAIT_BITSET) return Errno{ENOSYS};
  const int n = static_cast<int>(value), n2 = static_cast<int>(timeout);
  switch (command) {
    case FUTEX_WAIT: value3 = FUTEX_BITSET_MATCH_ANY; [[fallthrough]];
    case FUTEX_WAIT_BITSET:
      return wait(task, addr, is_private, value, value3,
                  TRY(read_deadline(task, command, realtime, timeout)));
    case FUTEX_WAKE: value3 = FUTEX_BITSET_MATCH_ANY; [[fallthrough]];
    case FUTEX_WAKE_BITSET: {
      if (value3 == 0) return Errno{EINVAL};
      const auto key = TRY(FutexKey::of(task.memory(), addr, is_private));
      return static_cast<uint64_t>(task.kernel().futexes().wake(key, n, value3));
    }
    case FUTEX_REQUEUE: return requeue(task, addr, addr2, is_private, n, n2, {});
    case FUTEX_CMP_REQUEUE: return requeue(task, addr, addr2, is_private, n, n2, value3);
    case FUTEX_WAKE_OP: return wake_op(task, addr, addr2, is_private, n, n2, value3);
    default: return Errno{ENOSYS};
  }
}

Result<uint64_t> sys_futex_waitv(Task& task, uint64_t waiters, uint32_t count, uint32_t flags,
                                 uint64_t timeout, int32_t clock) {
  constexpr uint32_t kMax = 128, kSize32 = 2;
  if (flags != 0 || count == 0 || count > kMax || waiters == 0) return Errno{EINVAL};
  std::optional<uint64_t> deadline;
  if (timeout != 0) {
    if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC) return Errno{EINVAL};
    const auto ref = TRY(ClockRef::find(task, clock));
    deadline = ref.monotonic_deadline(*TRY(read_timeout(task, timeout)));
  }
  if (task.context().has_futex()) {
    return wait_at_host(task, __NR_futex_waitv, {waiters, count, flags, 0, CLOCK_MONOTONIC, 0}, deadline);
  }
  const auto in = TRY(task.memory().read_array(UserPtr<futex_waitv>{waiters}, count));
  std::vector<FutexTable::WaitSpec> specs;
  for (const auto& w : in) {
    if ((w.flags & ~(kSize32 | FUTEX_PRIVATE_FLAG)) != 0 || w.__reserved != 0) return Errno{EINVAL};
    if ((w.flags & 3) != kSize32) return Errno{EINVAL};
    specs.push_back({w.uaddr, (w.flags & FUTEX_PRIVATE_FLAG) != 0, static_cast<uint32_t>(w.val)});
  }
  return TRY(task.kernel().futexes().wait_any(task, specs, deadline));
}

Result<uint64_t> sys_set_robust_list(Task& task, uint64_t head, uint64_t length) {
  if (length != kRobustHeadSize) return Errno{EINVAL};
  task.context().set_robust_list(head);
  return 0;
}

Result<uint64_t> sys_get_robust_list(Task& task, int32_t tid, UserPtr<uint64_t> head,
                                     UserPtr<uint64_t> length) {
  Task* target = tid == 0 ? &task : task.kernel().find_task(tid);
  if (target == nullptr) return Errno{ESRCH};
  if (&target->process() != &task.process() && !task.creds().has_cap(CAP_SYS_PTRACE) &&
      task.creds().ruid != target->creds().ruid) {
    return Errno{EPERM};
  }
  TRY(task.memory().write(length, kRobustHeadSize));
  TRY(task.memory().write(head, target->context().robust_list()));
  return 0;
}

}  // namespace run9::sentry
