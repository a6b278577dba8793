#include "sentry/ipc/signalfd.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>

#include <cstring>

#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

// Process::signal_queue is told of every signal that becomes pending.
template <typename P>
WaitQueue* signal_queue_of(P& process) {
  if constexpr (requires { process.signal_queue; }) {
    return &process.signal_queue;
  } else {
    return nullptr;
  }
}

signalfd_siginfo to_guest(const SigInfo& i) {
  signalfd_siginfo s{};
  s.ssi_signo = static_cast<uint32_t>(i.signo);
  s.ssi_errno = i.err;
  s.ssi_code = i.code;
  const bool from_kernel = i.code > 0 && i.code != SI_KERNEL;
  if (i.code == SI_TIMER) {
    s.ssi_tid = static_cast<uint32_t>(i.timer.timerid);
    s.ssi_overrun = static_cast<uint32_t>(i.timer.overrun);
    s.ssi_ptr = i.timer.value;
    s.ssi_int = static_cast<int32_t>(i.timer.value);
  } else if (from_kernel && i.signo == SIGCHLD) {
    s.ssi_pid = static_cast<uint32_t>(i.chld.pid);
    s.ssi_uid = i.chld.uid;
    s.ssi_status = i.chld.status;
    s.ssi_utime = static_cast<uint64_t>(i.chld.utime);
    s.ssi_stime = static_cast<uint64_t>(i.chld.stime);
  } else if (from_kernel && i.signo == SIGPOLL) {
    s.ssi_band = static_cast<uint32_t>(i.poll.band);
    s.ssi_fd = i.poll.fd;
  } else if (from_kernel) {
    s.ssi_addr = i.fault.addr;
  } else {
    s.ssi_pid = static_cast<uint32_t>(i.rt.pid);
    s.ssi_uid = i.rt.uid;
    s.ssi_ptr = i.rt.value;
    s.ssi_int = static_cast<int32_t>(i.rt.value);
  }
  return s;
}

std::optional<SigInfo> take(Task& task, SignalSet mask) {
  if (auto info = task.pending().take(mask)) return info;
  return task.process().pending.take(mask);
}

}  // namespace

SignalFile::SignalFile(vfs::Path path, uint32_t flags, SignalSet mask, ProcessRef owner)
    : File(std::move(path), O_RDWR | flags), owner_(std::move(owner)) {
  set_mask(mask);
}

void SignalFile::set_mask(SignalSet mask) {
  mask_ = mask & ~kUnblockable;
  if (auto* q = wait_queue()) q->notify(POLLIN);
}

Result<size_t> SignalFile::read(vfs::OpContext& ctx, std::span<std::byte> dst) {
  Task* task = task_of(ctx);
  if (task == nullptr || dst.size() < sizeof(signalfd_siginfo)) return Errno{EINVAL};
  const auto keep = shared_from_this();
  std::optional<SigInfo> info;
  while (!(info = take(*task, mask_))) {
    if (nonblocking()) return Errno{EAGAIN};
    task->sigwait_set = mask_;
    const auto slept = task->sleep({});
    task->sigwait_set = {};
    if (!slept.has_value() && !(info = take(*task, mask_))) return slept.error();
    if (info) break;
  }
  size_t done = 0;
  do {
    const auto out = to_guest(*info);
    std::memcpy(dst.data() + done, &out, sizeof out);
    done += sizeof out;
  } while (dst.size() - done >= sizeof(signalfd_siginfo) && (info = take(*task, mask_)));
  return done;
}

uint32_t SignalFile::poll(vfs::OpContext& ctx) {
  Task* task = task_of(ctx);
  if (task == nullptr) return 0;
  const SignalSet pending = task->pending().set() | task->process().pending.set();
  return (pending & mask_).empty() ? 0 : POLLIN | POLLRDNORM;
}

WaitQueue* SignalFile::wait_queue() { return signal_queue_of(*owner_); }

std::string SignalFile::fdinfo() const { return fmt::format("sigmask:\t{:016x}\n", mask_.bits); }

}  // namespace run9::sentry
