// PtraceSpace: one stub process, changed by calls that its agent makes.
#include <asm/unistd.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "base/layer_clock.h"
#include "sentry/platform/kill.h"
#include "sentry/platform/ptrace/layout.h"
#include "sentry/platform/ptrace/ptrace_platform.h"

namespace run9::sentry::ptrace {

PtraceSpace::PtraceSpace(PtracePlatform& platform, int pid) : platform_(platform), pid_(pid) {
  platform_.spaces_[pid_] = this;
}

PtraceSpace::~PtraceSpace() {
  kill();
  const auto it = platform_.spaces_.find(pid_);
  if (it != platform_.spaces_.end() && it->second == this) platform_.spaces_.erase(it);
}

Result<uint64_t> PtraceSpace::call(uint64_t nr, const CallArgs& args) {
  if (dead_) return Errno{EIO};
  return platform_.tracer_.inject(pid_, nr, args);
}

// The message is received at once, by this agent: the one socket serves all.
Result<void> PtraceSpace::pass_descriptor(BorrowedFd fd) {
  uint64_t data = 0;
  iovec iov{&data, sizeof data};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr m{};
  m.msg_iov = &iov;
  m.msg_iovlen = 1;
  m.msg_control = control;
  m.msg_controllen = sizeof control;
  cmsghdr* c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int));
  const int number = fd.get();
  memcpy(CMSG_DATA(c), &number, sizeof number);
  if (sendmsg(platform_.socket_.get(), &m, MSG_NOSIGNAL) < 0) return last_errno();
  // The host cannot write the lengths back into the header, and says EFAULT after the descriptor has arrived. What
  // counts is that nothing is left: it would go to another space.
  const auto got = call(__NR_recvmsg, {kSocketFd, kHeaderPage, MSG_DONTWAIT});
  char byte[8];
  if (recv(platform_.stub_end_.get(), byte, sizeof byte, MSG_DONTWAIT) < 0) return ok();
  return got.has_value() ? Errno{EIO} : got.error();
}

Result<void> PtraceSpace::map_one(const MapRequest& r) {
  const int flags = MAP_FIXED | r.extra_flags | (r.shared ? MAP_SHARED : MAP_PRIVATE) |
                    (r.fd.valid() ? 0 : MAP_ANONYMOUS);
  uint64_t fd = ~uint64_t{0};
  if (r.fd.valid()) {
    TRY(pass_descriptor(r.fd));
    fd = kReceivedFd;
  }
  const auto mapped = call(__NR_mmap, {r.addr, r.length, static_cast<uint64_t>(r.prot),
                                       static_cast<uint64_t>(flags), fd, r.offset});
  if (r.fd.valid()) (void)call(__NR_close, {kReceivedFd});
  if (!mapped.has_value()) return mapped.error();
  return ok();
}

Result<void> PtraceSpace::map(Context*, const MapRequest& r) { return map_one(r); }

Result<void> PtraceSpace::map_all(Context*, std::span<const MapRequest> list) {
  for (const MapRequest& r : list) TRY(map_one(r));
  return ok();
}

Result<void> PtraceSpace::unmap(Context*, uint64_t addr, uint64_t length) {
  TRY(call(__NR_munmap, {addr, length}));
  return ok();
}

Result<void> PtraceSpace::protect(Context*, uint64_t addr, uint64_t length, int prot) {
  TRY(call(__NR_mprotect, {addr, length, static_cast<uint64_t>(prot)}));
  return ok();
}

Result<void> PtraceSpace::remap(Context*, uint64_t old_addr, uint64_t old_length, uint64_t new_addr,
                                uint64_t new_length) {
  TRY(call(__NR_mremap, {old_addr, old_length, new_length, new_addr == old_addr ? 0u : MREMAP_MAYMOVE | MREMAP_FIXED, new_addr}));
  return ok();
}

Result<void> PtraceSpace::advise(Context*, uint64_t addr, uint64_t length, int advice) {
  TRY(call(__NR_madvise, {addr, length, static_cast<uint64_t>(advice)}));
  return ok();
}

Result<size_t> PtraceSpace::read(uint64_t addr, std::span<std::byte> dst) {
  if (dead_) return Errno{EFAULT};
  iovec local{dst.data(), dst.size()};
  iovec remote{reinterpret_cast<void*>(addr), dst.size()};
  const LayerScope time(Layer::kHost);
  const ssize_t n = process_vm_readv(pid_, &local, 1, &remote, 1, 0);
  if (n < 0) return Errno{EFAULT};
  return static_cast<size_t>(n);
}

Result<size_t> PtraceSpace::write(uint64_t addr, ByteSpan src) {
  if (dead_) return Errno{EFAULT};
  iovec local{const_cast<std::byte*>(src.data()), src.size()};
  iovec remote{reinterpret_cast<void*>(addr), src.size()};
  const LayerScope time(Layer::kHost);
  const ssize_t n = process_vm_writev(pid_, &local, 1, &remote, 1, 0);
  if (n < 0) return Errno{EFAULT};
  return static_cast<size_t>(n);
}

Result<std::shared_ptr<PtraceSpace>> PtraceSpace::fork_agent() {
  if (dead_) return Errno{EAGAIN};
  const auto pid = platform_.tracer_.inject_clone(pid_, kForkFlags);
  if (!pid.has_value()) return Errno{EAGAIN};
  return std::make_shared<PtraceSpace>(platform_, pid.value());
}

Result<std::unique_ptr<Context>> PtraceSpace::first_thread(const Regs& regs) {
  if (dead_) return Errno{EAGAIN};
  const auto tid = platform_.tracer_.inject_clone(pid_, kThreadFlags);
  if (!tid.has_value()) return Errno{EAGAIN};
  return std::make_unique<PtraceContext>(std::static_pointer_cast<PtraceSpace>(shared_from_this()),
                                         tid.value(), regs);
}

Result<std::unique_ptr<Context>> PtraceSpace::clone_thread(Context& parent, const Regs& regs, bool) {
  const auto state = TRY(parent.xstate());
  auto context = TRY(first_thread(regs));
  TRY(context->set_xstate(state));
  return context;
}

Result<AddressSpace::Child> PtraceSpace::fork(Context& parent, const Regs& regs) {
  auto space = TRY(fork_agent());
  auto context = TRY(space->clone_thread(parent, regs, false));
  return Child{space, std::move(context)};
}

void PtraceSpace::kill() {
  if (!dead_) kill_stub(pid_, pid_);
  dead_ = true;
}

uint64_t PtraceSpace::cpu_time_ns() const {
  timespec ts{};
  const auto clock = static_cast<clockid_t>((~static_cast<unsigned>(pid_) << 3) | 2);
  if (clock_gettime(clock, &ts) != 0) return 0;
  return static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(ts.tv_nsec);
}

}  // namespace run9::sentry::ptrace
