// What a reply asks of the guest thread before it goes on: orders, registers, its end.
#pragma once
#include <asm/prctl.h>
#include <asm/unistd.h>
#include <errno.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <ucontext.h>

#include "sentry/platform/trap/stub/hand_over.h"

namespace run9::sentry::trap::stub {

inline long clone_at_host(uint64_t sp, ControlPage* control) {
  return gate_order(__NR_clone,
                    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                        CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID,
                    sp, &control->host_tid, &control->alive, 0, 0);
}

// A thread of the guest, made by a call that came through the dispatcher: the host's clone copies what the guest has in
// its vector registers, the Sentry's first answer has the others, and flags and call site are the caller's.
inline long clone_thread_fast(const ThreadOrder& order, const ControlPage* c) {
  if (order.args[1] != 0) try_copy(reinterpret_cast<void*>(order.args[1]), &order.args[2], sizeof(int32_t));
  const uint64_t slot = order.args[0] % STUB_SLOTS;
  auto* control = reinterpret_cast<ControlPage*>(page_address(slot));
  control->mode = c->mode;
  control->flags = c->flags;
  control->tail = c->tail;
  const uint64_t top = STUB_STACKS + (slot + 1) * STUB_SLOT_STACK;
  *reinterpret_cast<uint64_t*>(top - 8) = reinterpret_cast<uint64_t>(&thread_entry_fast);
  return clone_at_host(top - 8, control);
}

// The same with a frame: the caller's is copied to the new slot's alternate stack, where thread_main finds it.
inline long clone_thread(const ThreadOrder& order, ucontext_t* uc) {
  const uint64_t slot = order.args[0] % STUB_SLOTS;
  const uint64_t here = reinterpret_cast<uint64_t>(uc);
  const uint64_t base = STUB_STACKS + slot_of(here) * STUB_SLOT_STACK;
  const uint64_t new_base = STUB_STACKS + slot * STUB_SLOT_STACK;
  const uint64_t delta = new_base - base;
  memcpy(reinterpret_cast<void*>(here + delta), uc, base + STUB_SLOT_STACK - here);
  auto* copy = reinterpret_cast<ucontext_t*>(here + delta);
  if (copy->uc_mcontext.fpregs != nullptr) {
    copy->uc_mcontext.fpregs = reinterpret_cast<fpregset_t>(
        reinterpret_cast<uint64_t>(copy->uc_mcontext.fpregs) + delta);
  }
  copy->uc_stack.ss_sp = reinterpret_cast<void*>(new_base);
  auto* control = reinterpret_cast<ControlPage*>(page_address(slot));
  control->frame = here + delta;
  control->fpstate = reinterpret_cast<uint64_t>(copy->uc_mcontext.fpregs);
  uint64_t sp = ((here + delta - 1024) & ~uint64_t{15}) - 8;
  *reinterpret_cast<uint64_t*>(sp) = reinterpret_cast<uint64_t>(&thread_entry);
  return clone_at_host(sp, control);
}

inline uint32_t& futex_waiters() { return header().futex_waiters; }

// Asleep at the host, by futex(2). -EINTR: a kick came.
inline long rest(ControlPage* c, const uint64_t* args) {
  __atomic_store_n(&c->line.state, kResting, __ATOMIC_RELEASE);
  const long r = gate_guest_futex(c, args);
  __atomic_store_n(&c->line.state, kIdle, __ATOMIC_RELEASE);
  // The request that follows makes the Sentry look for what the kick was about.
  if (r == -EINTR) c->kicked = 0;
  return r;
}

// The guest's own futex(2), where its memory is.
inline long rest_in_futex(ControlPage* c, const uint64_t* args) {
  __atomic_fetch_add(&futex_waiters(), 1, __ATOMIC_SEQ_CST);  // the host looks at the word afterwards
  const long r = rest(c, args);
  __atomic_fetch_sub(&futex_waiters(), 1, __ATOMIC_RELAXED);
  return r;
}

inline uint32_t futex_command(uint64_t op) {
  return static_cast<uint32_t>(op) & ~uint32_t{FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME};
}
inline bool waits(uint32_t command) { return command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET; }

// In a handler no kick would end a wait. Only guests that call with the trap, direction or alignment flag set come here
// (leave_to_dispatcher): their waits are over at once, as they may be for no reason.
inline long futex_in_handler(ControlPage* c, const uint64_t* args) {
  if (args[6] != __NR_futex || waits(futex_command(args[1]))) return -EAGAIN;
  c->kicked = 0;
  return gate_guest_futex(c, args);
}

// What a thread has received, to be mapped.
class Files {
 public:
  Files() = default;
  Files(const Files&) = delete;
  Files& operator=(const Files&) = delete;
  ~Files() {
    for (size_t i = 0; i < count_; ++i) gate_order(__NR_close, numbers_[i]);
  }
  long receive() {
    constexpr size_t kHeader = CMSG_LEN(0);
    uint64_t data;
    iovec iov{&data, sizeof data};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof numbers_)];
    msghdr m = {};
    m.msg_iov = &iov;
    m.msg_iovlen = 1;
    m.msg_control = control;
    m.msg_controllen = sizeof control;
    const long r = gate_order(__NR_recvmsg, STUB_FD_FILES, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (r < 0) return r;
    const auto* header = reinterpret_cast<const cmsghdr*>(control);
    if (m.msg_controllen < kHeader || header->cmsg_len < kHeader) return -EBADF;
    const size_t n = (header->cmsg_len - kHeader) / sizeof(int);
    count_ = n < kMaxFiles ? n : kMaxFiles;
    memcpy(numbers_, CMSG_DATA(header), count_ * sizeof(int));
    return 0;
  }
  long number(uint64_t i) const { return i < count_ ? numbers_[i] : -1; }
  // The last one, which is not closed then.
  long take() { return count_ != 0 ? numbers_[--count_] : -1; }

 private:
  int numbers_[kMaxFiles];
  size_t count_ = 0;
};

inline long carry_out_one(ControlPage* c, const ThreadOrder& o, ucontext_t* uc, Files& files) {
  const auto call = [&o](uint64_t fifth) {
    return gate_order(static_cast<long>(o.nr), o.args[0], o.args[1], o.args[2], o.args[3], fifth, o.args[5]);
  };
  switch (o.kind) {
    case kOrderThread: return uc != nullptr ? clone_thread(o, uc) : clone_thread_fast(o, c);
    case kOrderReceive: return files.receive();
    case kOrderKeepFile:
      if (o.args[3] != kDiscards) files.receive();
      keep_file(c, o, files.take());
      return 0;
    case kOrderCopy:
      return uc == nullptr ? try_copy(reinterpret_cast<void*>(o.args[0]), reinterpret_cast<const void*>(o.args[1]), o.args[2]) : -EFAULT;
    case kOrderMapFile: return call(static_cast<uint64_t>(files.number(o.args[4])));
    default: return call(o.args[4]);
  }
}

// False: an order failed, and the Sentry must hear of it.
inline bool carry_out(ControlPage* c, ucontext_t* uc) {
  const uint32_t n = c->order_count;
  Files files;
  for (uint32_t i = 0; i < n && i < kMaxOrders; ++i) {
    const ThreadOrder& o = c->orders[i];
    if (o.kind == kOrderFutex) {
      c->order_error = uc == nullptr ? rest_in_futex(c, o.args) : futex_in_handler(c, o.args);
      continue;
    }
    const long r = carry_out_one(c, o, uc, files);
    if (r < 0 && r > -4096) {
      c->order_error = r;
      return false;
    }
  }
  note(c->times.resumed);
  __atomic_fetch_add(&c->orders_done, 1, __ATOMIC_RELEASE);
  return true;
}

enum class Store { kHere, kDone };

[[noreturn]] inline void leave(ControlPage* c, Store store) {
  const Reply& reply = c->line.reply;
  drop_all_files(c);
  if (reply.flags & kClearTid) {
    const uint64_t word = reply.results[0].addr;
    const uint32_t zero = 0;
    if (store == Store::kHere) try_copy(reinterpret_cast<void*>(word), &zero, sizeof zero);
    const uint64_t args[7] = {word, FUTEX_WAKE, 1, 0, 0, 0, __NR_futex};
    c->kicked = 0;
    gate_guest_futex(c, args);
  }
  if (const uint32_t next = __atomic_exchange_n(&c->hand_to, kNobody, __ATOMIC_SEQ_CST); next != 0) wake_sleeper(next);
  gate_order(__NR_exit, 0);
  __builtin_trap();
}

inline void apply(ControlPage* c, ucontext_t* uc) {
  const uint32_t flags = c->line.reply.flags;
  if (flags & kExit) leave(c, Store::kDone);
  if (flags & kRegs) {
    for (int i = 0; i < kGregs; ++i) uc->uc_mcontext.gregs[i] = static_cast<greg_t>(c->gregs[i]);
  } else {
    uc->uc_mcontext.gregs[REG_RAX] = static_cast<greg_t>(c->line.reply.rax);
  }
  if (flags & kSetFs) gate_order(__NR_arch_prctl, ARCH_SET_FS, c->fs_base);
  if (flags & kSetGs) set_guest_gs(c, c->gs_base);
  if (flags & kResetFpu) uc->uc_mcontext.fpregs = nullptr;
}

// One request, the orders that come back first included; the reply is in the page then. `uc`: null in the
// dispatcher. `asked`: the request was made already. True: the Sentry wants a frame.
inline bool converse(ControlPage* c, ucontext_t* uc, uint64_t slot, bool asked = false) {
  for (;; asked = false) {
    if (asked) {
      await_reply(c);
    } else {
      call_sentry(c, slot);
    }
    note(c->times.answered);
    const uint32_t flags = c->line.reply.flags;
    if ((flags & kOrders) && !carry_out(c, uc)) {
      c->line.kind = kReqOrderFailed;
    } else if ((flags & kFrame) && uc == nullptr) {
      return true;
    } else if (flags & kReport) {
      c->line.kind = kReqOrdersDone;
    } else {
      if (c->keeps != 0) drop_stale(c);
      return false;
    }
  }
}

}  // namespace run9::sentry::trap::stub
