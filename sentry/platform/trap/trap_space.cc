// TrapSpace: one stub process. Changes of its memory, forks and threads, by the agent or by orders to the
// calling guest thread.
#include <asm/unistd.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/layer_clock.h"
#include "base/log.h"
#include "sentry/platform/kill.h"
#include "sentry/platform/trap/agent_commands.h"
#include "sentry/platform/trap/trap_platform.h"
#include "sentry/sched/fiber.h"

namespace run9::sentry::trap {
namespace {

constexpr uint64_t kAgentTimeoutNs = 10'000'000'000;
constexpr uint64_t kRescueNs = 1'000'000;

}  // namespace

// Collects what an agent writes to its socket.
class TrapSpace::Answer : public FdHandler {
 public:
  explicit Answer(TrapSpace& space)
      : space_(space),
        timer_(space.platform_.loop_, [this] { wake(); }),
        rescue_(space.platform_.loop_, [&space] { space.platform_.wakes().now(space.agent_word()); }) {}

  ~Answer() override {
    if (then_) space_.platform_.await_agent(-1);
  }

  struct Message {
    int author = 0;
    std::vector<int64_t> results;
  };
  std::deque<Message> messages;

  // False: nothing came in time, or the stub died.
  bool wait() {
    const LayerScope time(Layer::kHost);  // the agent's, at work for us
    begin();
    while (!settled()) {
      waiter_ = space_.platform_.loop_.current();
      space_.platform_.loop_.park();
      waiter_ = nullptr;
    }
    end();
    return !messages.empty();
  }
  // The next message is nobody's: `then` when it has come, or will not come any more.
  void pass_over(std::function<void()> then) {
    begin();
    then_ = std::move(then);
    wake();
  }
  void wake() {
    if (waiter_ != nullptr) space_.platform_.loop_.ready(waiter_);
    if (!then_ || !settled()) return;
    end();
    const auto then = std::exchange(then_, nullptr);
    if (messages.empty()) {
      space_.agent_is_silent();
    } else {
      messages.pop_front();
    }
    then();
  }
  void on_ready(uint32_t) override {
    int64_t buffer[CMD_MAX];
    iovec iov{buffer, sizeof buffer};
    alignas(cmsghdr) char control[128];
    msghdr m{};
    m.msg_iov = &iov;
    m.msg_iovlen = 1;
    m.msg_control = control;
    m.msg_controllen = sizeof control;
    const ssize_t n = recvmsg(space_.socket_.get(), &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n <= 0) {
      if (n < 0 && errno == EAGAIN) return;
      closed_ = true;
      space_.platform_.loop_.unwatch(space_.socket_.borrow());
      return wake();
    }
    Message out;
    for (cmsghdr* c = CMSG_FIRSTHDR(&m); c != nullptr; c = CMSG_NXTHDR(&m, c)) {
      if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS) {
        ucred cred;
        memcpy(&cred, CMSG_DATA(c), sizeof cred);
        out.author = cred.pid;
      }
    }
    out.results.assign(buffer, buffer + n / 8);
    messages.push_back(std::move(out));
    wake();
  }

 private:
  void begin() {
    const uint64_t now = EventLoop::now_ns();
    timer_.arm(now + kAgentTimeoutNs);
    rescue_.arm(now + kRescueNs);
    space_.platform_.await_agent(1);
  }
  bool settled() const { return !messages.empty() || !timer_.armed() || space_.dead_ || closed_; }
  void end() {
    space_.platform_.await_agent(-1);
    timer_.disarm();
    rescue_.disarm();
  }

  TrapSpace& space_;
  Timer timer_;
  Timer rescue_;  // a guest thread that was to wake the agent may be stopped, or lie
  Fiber* waiter_ = nullptr;
  std::function<void()> then_;
  bool closed_ = false;
};

TrapSpace::TrapSpace(TrapPlatform& platform, StubSockets sockets, StubMemory memory, std::unique_ptr<const SleepBlock> sleep)
    : platform_(platform),
      socket_(std::move(sockets.agent)),
      files_(std::move(sockets.files)),
      memory_(std::move(memory)),
      sleep_(std::move(sleep)),
      agent_mutex_(platform.loop_),
      answer_(std::make_unique<Answer>(*this)) {
  CHECK(platform_.loop_.watch(socket_.borrow(), EPOLLIN, *answer_).has_value());
  auto* page = static_cast<CommandPage*>(memory_.commands.data());
  page->sleep_address = STUB_SLEEP_WORDS + 4 * uint64_t{agent_word()};
  static_assert(sizeof page->cpus == sizeof platform_.allowed_cpus_);
  memcpy(page->cpus, &platform_.allowed_cpus_, sizeof page->cpus);
}

TrapSpace::~TrapSpace() {
  if (!socket_.valid()) return;  // its successor has all that was the host's
  platform_.wakes().withdraw(&page(0), &page(STUB_SLOTS));
  platform_.loop_.unwatch(socket_.borrow());
  if (running_ > 0) platform_.remove(*this);
  end_process();
  if (pid_ == 0) return;
  platform_.reuse(pid_, std::move(memory_), next_slot_);
  platform_.by_pid_.erase(pid_);
}

void TrapSpace::process_died() {
  dead_ = true;
  answer_->wake();
  std::vector<TrapContext*> lost;
  for (auto& [slot, context] : contexts_) {
    if (context->running_) lost.push_back(context);
  }
  for (TrapContext* c : lost) {
    c->stop_running();
    c->gone_ = true;
    if (c->report_waiter_ != nullptr) {
      platform_.loop_.ready(c->report_waiter_);
    } else {
      platform_.sink_.on_event(*c, EventKind::kGone);
    }
  }
}

void TrapSpace::post(std::span<const Command> list, Then then, uint64_t become) {
  CHECK(list.size() <= CMD_MAX);
  auto* page = static_cast<CommandPage*>(memory_.commands.data());
  for (size_t i = 0; i < list.size(); ++i) page->commands[i] = list[i];
  page->count = static_cast<uint32_t>(list.size());
  page->become = become;
  // Whoever calls waits for the list: the agent wakes it and stops, on the same core.
  const TrapContext* c = then == Then::kWakeCaller ? waiting() : nullptr;
  page->wake_address = c != nullptr ? STUB_SLEEP_WORDS + 4 * uint64_t{c->space_->sleep_word(c->slot_)} : 0;
  __atomic_fetch_add(&page->seq, 1, __ATOMIC_SEQ_CST);
}

void TrapSpace::wake_agent(Then then) {
  TrapContext* c = waiting();
  if (c == nullptr || !c->waits_awake()) return platform_.wakes().now(agent_word());
  c->agent_to_wake_ = {agent_word(), then == Then::kWakeCaller};
}

Result<void> TrapSpace::send_descriptors(const UniqueFd& socket, std::span<const int> descriptors) {
  uint64_t data = 0;
  iovec iov{&data, sizeof data};
  alignas(cmsghdr) char control[64] = {};
  msghdr m{};
  m.msg_iov = &iov;
  m.msg_iovlen = 1;
  m.msg_control = control;
  m.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
  cmsghdr* c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(descriptors.size_bytes());
  memcpy(CMSG_DATA(c), descriptors.data(), descriptors.size_bytes());
  if (sendmsg(socket.get(), &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return last_errno();
  return ok();
}

Result<std::vector<int64_t>> TrapSpace::await_agent(int* author) {
  if (!answer_->wait()) {
    agent_is_silent();
    return Errno{EIO};
  }
  auto message = std::move(answer_->messages.front());
  answer_->messages.pop_front();
  if (author != nullptr) *author = message.author;
  return std::move(message.results);
}

void TrapSpace::pass_over_answer(std::function<void()> then) { answer_->pass_over(std::move(then)); }

void TrapSpace::agent_is_silent() const {
  if (dead_ || pid_ == 0) return;
  log_warn("stub {}: {}; ended", pid_, proves_ ? "a host thread of its last guest is left" : "its agent does not answer");
  kill_stub(pid_, agent_tid_);
}

Result<std::vector<int64_t>> TrapSpace::run_agent(std::span<const Command> list,
                                                  std::span<const int> descriptors, Then then) {
  if (dead_) return Errno{EIO};
  agent_mutex_.lock();
  struct Unlock {
    FiberMutex& m;
    ~Unlock() { m.unlock(); }
  } unlock{agent_mutex_};
  keep_agent_on({});
  if (!descriptors.empty()) TRY(send_descriptors(socket_, descriptors));
  post(list, then);
  wake_agent(then);
  return await_agent(nullptr);
}

Result<int64_t> TrapSpace::unmap_first(uint64_t addr, uint64_t length) {
  const Command unmap = command(__NR_munmap, addr, length);
  post(std::span(&unmap, 1));
  platform_.wakes().now(agent_word());
  int64_t result = 0;
  if (recv(socket_.get(), &result, sizeof result, 0) != sizeof result) return Errno{EIO};
  return result;
}

Result<void> TrapSpace::do_or_order(Context* via, const Command& c) {
  if (via != nullptr) {
    auto* context = static_cast<TrapContext*>(via);
    if (context->space_.get() == this && context->orders_.size() < kMaxOrders) {
      context->queue(as_order(c));
      return ok();
    }
  }
  const auto results = TRY(run_agent(std::span(&c, 1)));
  if (results.size() != 1) return Errno{EIO};
  if (results[0] < 0 && results[0] > -4096) return Errno{static_cast<int>(-results[0])};
  return ok();
}

Result<void> TrapSpace::map(Context* via, const MapRequest& r) {
  if (r.fd.valid() || r.shared) return map_all(via, std::span(&r, 1));
  forget_patches(r.addr, r.length);
  settle(via, r.addr, r.length);
  return do_or_order(via, map_command(r, -1));
}

Result<void> TrapSpace::map_all(Context* via, std::span<const MapRequest> list) {
  if (!std::exchange(needs_thread_, false)) return map_patched(via, list, {}, Then::kWakeCaller);
  // The thread that asks for this will not go on, or not before the new one has.
  proves_ = true;
  TRY(map_patched(nullptr, list, prepare_thread(), Then::kSleep));
  proves_ = false;
  fresh_slot_ = 0;
  first_tid_ = static_cast<int>(page(0).host_tid);  // no guest has run yet
  return ok();
}

Result<void> TrapSpace::map_patched(Context* via, std::span<const MapRequest> list, Around around, Then then) {
  std::vector<MapRequest> patched(list.begin(), list.end());
  const std::vector<Base> bases = platform_.patcher_ ? use_patches(patched) : std::vector<Base>();
  if (via == nullptr || !order_files(static_cast<TrapContext&>(*via), list, patched)) TRY(map_as_told(patched, std::move(around), then));
  for (const Base& b : bases) {
    const auto told = write_host(STUB_BASES + 8 * uint64_t{b.index}, std::as_bytes(std::span(&b.address, 1)));
    if (!told.has_value() || told.value() != sizeof b.address) return Errno{EIO};
  }
  return ok();
}

Result<void> TrapSpace::map_as_told(std::span<const MapRequest> list, Around around, Then then) {
  for (const MapRequest& r : list) settle(caller(), r.addr, r.length);
  // One message with each descriptor once, the mappings, and away with the descriptors. What does not fit
  // into one list goes in parts.
  constexpr size_t kOthers = 8;
  CHECK(around.before.size() + around.after.size() + 3 <= kOthers);
  while (!list.empty()) {
    std::vector<int> descriptors;
    std::vector<Command> commands = std::exchange(around.before, {});
    size_t taken = 0;
    for (; taken < list.size() && taken < CMD_MAX - kOthers; ++taken) {
      const MapRequest& r = list[taken];
      size_t at = 0;
      if (r.fd.valid()) {
        at = static_cast<size_t>(std::ranges::find(descriptors, r.fd.get()) - descriptors.begin());
        if (at == AGENT_DESCRIPTORS) break;
        if (at == descriptors.size()) descriptors.push_back(r.fd.get());
      }
      commands.push_back(map_command(r, r.fd.valid() ? static_cast<int>(received(at)) : -1));
    }
    list = list.subspan(taken);
    if (list.empty()) commands.insert(commands.end(), around.after.begin(), around.after.end());
    const size_t first = descriptors.empty() ? 0 : 1;
    if (!descriptors.empty()) commands.insert(commands.begin(), receive_command());
    close_received(commands, descriptors.size());
    const auto results = TRY(run_agent(commands, descriptors, then));
    if (results.size() != commands.size()) return Errno{EIO};
    for (size_t i = first; i < results.size(); ++i) {
      if (results[i] < 0 && results[i] > -4096) return Errno{static_cast<int>(-results[i])};
    }
  }
  return ok();
}

Result<void> TrapSpace::unmap(Context* via, uint64_t addr, uint64_t length) {
  forget_patches(addr, length);
  settle(via, addr, length);
  return do_or_order(via, command(__NR_munmap, addr, length));
}

Result<void> TrapSpace::protect(Context* via, uint64_t addr, uint64_t length, int prot) {
  if (prot & PROT_WRITE) TRY(undo_patches(addr, length));
  settle(via, addr, length);
  return do_or_order(via, command(__NR_mprotect, addr, length, static_cast<uint64_t>(prot)));
}

Result<void> TrapSpace::remap(Context* via, uint64_t old_addr, uint64_t old_length, uint64_t new_addr,
                              uint64_t new_length) {
  const bool moves = new_addr != old_addr;
  TRY(undo_patches(old_addr, old_length));
  if (moves) forget_patches(new_addr, new_length);
  settle(via, old_addr, old_length);
  settle(via, new_addr, new_length);
  return do_or_order(via, command(__NR_mremap, old_addr, old_length, new_length, moves ? MREMAP_MAYMOVE | MREMAP_FIXED : 0, new_addr));
}

Result<void> TrapSpace::advise(Context* via, uint64_t addr, uint64_t length, int advice) {
  settle(via, addr, length);
  return do_or_order(via, command(__NR_madvise, addr, length, static_cast<uint64_t>(advice)));
}

// What one thread is still unmapping must not be mapped by another. A thread that does not carry out its orders harms its own
// process.
void TrapSpace::settle(const Context* via, uint64_t addr, uint64_t length) {
  constexpr uint64_t kAwakeNs = 20'000, kPauseNs = 50'000, kGiveUpNs = 1'000'000'000;
  const uint64_t start = EventLoop::now_ns();
  const auto in_the_way = [&](const auto& entry) {
    return entry.second != via && entry.second->orders_outstanding(addr, length);
  };
  while (std::ranges::any_of(contexts_, in_the_way)) {
    const uint64_t now = EventLoop::now_ns();
    if (now > start + kGiveUpNs) return;
    if (now < start + kAwakeNs) {
      platform_.loop_.yield();
      continue;
    }
    // It waits for a core: ours.
    Timer pause(platform_.loop_, [this, fiber = platform_.loop_.current()] { platform_.loop_.ready(fiber); });
    pause.arm(now + kPauseNs);
    platform_.loop_.park();
  }
}

TrapContext* TrapSpace::waiting() const {
  const Fiber* fiber = platform_.loop_.current();
  return fiber != nullptr ? static_cast<TrapContext*>(fiber->context) : nullptr;
}

TrapContext* TrapSpace::caller() const {
  TrapContext* const context = waiting();
  return context != nullptr && context->space_.get() == this ? context : nullptr;
}

Result<size_t> TrapSpace::read(uint64_t addr, std::span<std::byte> dst) {
  if (TrapContext* c = caller()) {
    if (c->read_window(addr, dst)) return dst.size();
    c->flush_windows(addr, dst.size());
  }
  return read_host(addr, dst);
}

size_t TrapSpace::read_ahead(uint64_t addr, std::span<std::byte> dst) {
  const TrapContext* c = caller();
  return c != nullptr ? c->read_window_part(addr, dst) : 0;
}

ByteSpan TrapSpace::given(uint64_t addr, size_t size) {
  const TrapContext* c = caller();
  return c != nullptr ? c->given(addr, size) : ByteSpan();
}

Result<size_t> TrapSpace::write(uint64_t addr, ByteSpan src) {
  if (TrapContext* c = caller()) {
    if (c->write_window(addr, src)) return src.size();
    c->flush_windows(addr, src.size());
  }
  return write_host(addr, src);
}

Result<size_t> TrapSpace::write_mapped(uint64_t addr, ByteSpan src) {
  TrapContext* const c = caller();
  if (c != nullptr && c->write_bulk(addr, src)) return src.size();
  return write(addr, src);
}

std::span<std::byte> TrapSpace::room_for(uint64_t addr, size_t size) {
  const TrapContext* const c = caller();
  return c != nullptr ? c->room_for(addr, size) : std::span<std::byte>();
}

bool TrapSpace::write_all_mapped(std::span<const iovec> parts, ByteSpan src) {
  TrapContext* const c = caller();
  return c != nullptr && c->write_scattered(parts, src);
}

std::span<std::byte> TrapSpace::passage() {
  const TrapContext* const c = caller();
  return c != nullptr ? c->passage() : std::span<std::byte>();
}

bool TrapSpace::pass_out(uint64_t addr, size_t size) {
  TrapContext* const c = caller();
  return c != nullptr && c->pass(addr, size, true);
}

bool TrapSpace::pass_in(uint64_t addr, size_t size) {
  TrapContext* const c = caller();
  return c != nullptr && c->pass(addr, size, false);
}

std::span<std::byte> TrapSpace::room_for_all(std::span<const iovec> parts) {
  const TrapContext* const c = caller();
  return c != nullptr ? c->room_for_all(parts) : std::span<std::byte>();
}

Result<size_t> TrapSpace::read_host(uint64_t addr, std::span<std::byte> dst) {
  if (dead_) return Errno{EFAULT};
  iovec local{dst.data(), dst.size()};
  iovec remote{reinterpret_cast<void*>(addr), dst.size()};
  const LayerScope time(Layer::kHost);
  const ssize_t n = process_vm_readv(agent_tid_, &local, 1, &remote, 1, 0);
  if (n < 0) return Errno{EFAULT};
  return static_cast<size_t>(n);
}

Result<size_t> TrapSpace::write_host(uint64_t addr, ByteSpan src) {
  if (dead_) return Errno{EFAULT};
  iovec local{const_cast<std::byte*>(src.data()), src.size()};
  iovec remote{reinterpret_cast<void*>(addr), src.size()};
  const LayerScope time(Layer::kHost);
  const ssize_t n = process_vm_writev(agent_tid_, &local, 1, &remote, 1, 0);
  if (n < 0) return Errno{EFAULT};
  return static_cast<size_t>(n);
}

void TrapSpace::kill() {
  if (dead_) return;
  dead_ = true;
  answer_->wake();
  auto self = std::static_pointer_cast<TrapSpace>(shared_from_this());
  leaves_ = may_be_succeeded() && platform_.keep_left(self);
  if (leaves_) return;
  // Threads that wait awake, for an answer that does not come, have time to wake somebody.
  for (const auto& [slot, context] : contexts_) {
    if (!context->running_) context->has_time();
  }
  if (running_ > 0) end_process();  // code of a program that is over must not go on
  platform_.bury(std::move(self));
}

void TrapSpace::futex_wake(uint64_t addr) {
  if (addr >= kGuestEnd) return;
  const Command wake = command(__NR_futex, addr, FUTEX_WAKE, 1);
  [[maybe_unused]] const auto done = run_agent(std::span(&wake, 1));
}

void TrapSpace::keep_agent_on(const std::optional<cpu_set_t>& cpus) {
  const bool same = cpus && agent_cpus_ ? CPU_EQUAL(&*cpus, &*agent_cpus_) != 0 : cpus.has_value() == agent_cpus_.has_value();
  if (same || agent_tid_ == 0) return;
  sched_setaffinity(agent_tid_, sizeof(cpu_set_t), cpus ? &*cpus : &platform_.allowed_cpus_);
  agent_cpus_ = cpus;
}

void TrapSpace::move_first_thread(const std::function<void()>& wake) const {
  const auto others = platform_.other_cpus();
  const bool moved = others && sched_setaffinity(first_tid_, sizeof *others, &*others) == 0;
  wake();
  if (moved) sched_setaffinity(first_tid_, sizeof *others, &platform_.allowed_cpus_);
}

void TrapSpace::end_process() {
  if (pid_ != 0 && !killed_ && platform_.by_pid_.contains(pid_)) kill_stub(pid_, agent_tid_);
  killed_ = true;
}

uint64_t TrapSpace::cpu_time_ns() const {
  timespec ts{};
  const auto clock = static_cast<clockid_t>((~static_cast<unsigned>(pid_) << 3) | 2);
  if (pid_ == 0 || clock_gettime(clock, &ts) != 0) return 0;
  return static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(ts.tv_nsec) - cpu_before_ns_;
}

}  // namespace run9::sentry::trap
