// TrapPlatform: the template stub, the doorbells, and the deaths of stubs.
#include "sentry/platform/trap/trap_platform.h"

#include <cpuid.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/memfd.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <iterator>

#include "base/check.h"
#include "base/log.h"
#include "sentry/platform/trap/filters.h"

extern "C" const char run9_stub_begin[], run9_stub_end[];

namespace run9::sentry::trap {

// SIGCHLD of stubs, as a descriptor.
class TrapPlatform::ChildWatch : public FdHandler {
 public:
  ChildWatch(TrapPlatform& platform, UniqueFd fd) : platform_(platform), fd_(std::move(fd)) {}
  BorrowedFd fd() const { return fd_.borrow(); }
  void on_ready(uint32_t) override {
    signalfd_siginfo info[16];
    while (::read(fd_.get(), info, sizeof info) > 0) {
    }
    platform_.reap();
  }

 private:
  TrapPlatform& platform_;
  UniqueFd fd_;
};

namespace {

constexpr uint64_t kGuestSpinNs = 8'000;  // less than what sleeping and waking cost

// How many `pause`s that is: from 10 to 140 cycles each, as the processor likes.
uint32_t guest_spin() {
  constexpr uint32_t kSample = 500;
  const uint64_t start = EventLoop::now_ns();
  for (uint32_t i = 0; i < kSample; ++i) __builtin_ia32_pause();
  const uint64_t took = std::max<uint64_t>(EventLoop::now_ns() - start, 1);
  return static_cast<uint32_t>(std::min<uint64_t>(kGuestSpinNs * kSample / took, 2000));
}

// Of the extended state in the host's signal frames, as one says.
struct HostState {
  uint32_t size = sizeof(_fpstate);
  uint64_t features = 0;
};
HostState host_state;

void note_host_state(int, siginfo_t*, void* context) {
  const auto* state = static_cast<const ucontext_t*>(context)->uc_mcontext.fpregs;
  _fpx_sw_bytes said;
  static_assert(kStateSaid + sizeof said == sizeof *state);
  memcpy(&said, reinterpret_cast<const char*>(state) + kStateSaid, sizeof said);
  if (said.magic1 == FP_XSTATE_MAGIC1) host_state = {said.extended_size, said.xstate_bv};
}

HostState find_host_state() {
  struct sigaction action = {}, before;
  action.sa_sigaction = note_host_state;
  action.sa_flags = SA_SIGINFO;
  sigset_t urgent, mask;
  sigemptyset(&urgent);
  sigaddset(&urgent, SIGURG);
  sigaction(SIGURG, &action, &before);
  sigprocmask(SIG_UNBLOCK, &urgent, &mask);  // whoever started us may have blocked it
  raise(SIGURG);
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  sigaction(SIGURG, &before, nullptr);
  return host_state;
}

// The agent's recvmsg header: in a page that no guest can write. Only the buffers are in the guest's reach,
// and nobody reads those.
void make_message(char* at) {
  auto* header = reinterpret_cast<msghdr*>(at);
  auto* iov = reinterpret_cast<iovec*>(at + sizeof(msghdr));
  const uint64_t buffers = STUB_AGENT_PAGE + AGENT_BUFFERS;
  iov->iov_base = reinterpret_cast<void*>(buffers);
  iov->iov_len = sizeof(uint64_t);
  header->msg_iov = reinterpret_cast<iovec*>(STUB_MESSAGES + sizeof(msghdr));
  header->msg_iovlen = 1;
  header->msg_control = reinterpret_cast<void*>(buffers + 64);
  header->msg_controllen = CMSG_SPACE(AGENT_DESCRIPTORS * sizeof(int));
}

Result<StubSecrets> make_secrets() {
  StubSecrets s{};
  // Half of it alone must say something too (filters.cc).
  while (static_cast<uint32_t>(s.agent_key) == 0) {
    if (getrandom(&s.agent_key, sizeof s.agent_key, 0) != sizeof s.agent_key) return last_errno();
  }
  BpfProgram program = make_filter(s.agent_key);
  const auto& code = program.finish();
  CHECK(code.size() * sizeof code[0] <= sizeof s.filter);
  s.filter_length = code.size();
  memcpy(s.filter, code.data(), code.size() * sizeof code[0]);
  return s;
}

Result<UniqueFd> stub_file() {
  auto fd = TRY(take_fd(memfd_create("run9-stub", MFD_CLOEXEC | MFD_ALLOW_SEALING)));
  const size_t size = static_cast<size_t>(run9_stub_end - run9_stub_begin);
  if (write(fd.get(), run9_stub_begin, size) != static_cast<ssize_t>(size)) return last_errno();
  fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  return fd;
}

}  // namespace

Result<std::unique_ptr<TrapPlatform>> TrapPlatform::create(EventLoop& loop, EventSink& sink) {
  std::unique_ptr<TrapPlatform> p(new TrapPlatform(loop, sink));
  p->shared_ = TRY(SharedMemory::create("run9-shared", STUB_SHARED_SIZE, true));
  auto* base = static_cast<char*>(p->shared_.data());
  make_message(base + (STUB_MESSAGES - STUB_SHARED));
  p->patcher_ = TRY(TextPatcher::create());
  p->guest_spin_ = guest_spin();
  p->has_waitv_ = syscall(SYS_futex_waitv, nullptr, 0, 0, nullptr, 0) < 0 && errno == EINVAL;
  p->tell_cpu();
  cpu_set_t& cpus = p->allowed_cpus_;
  if (sched_getaffinity(0, sizeof cpus, &cpus) == 0) p->set_cores(INT_MAX);
  SharedPage& shared = p->shared();
  const HostState state = find_host_state();
  const bool fsgsbase = (getauxval(AT_HWCAP2) & 2) != 0;
  shared.xstate_size = state.size | (fsgsbase ? 0x80000000u : 0);
  shared.xfeatures = state.features;
  p->count_running(0);

  p->wake_ = TRY(take_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
  TRY(loop.watch(p->wake_.borrow(), EPOLLIN, *p));
  sigset_t chld;
  sigemptyset(&chld);
  sigaddset(&chld, SIGCHLD);
  sigprocmask(SIG_BLOCK, &chld, nullptr);
  p->children_ = std::make_unique<ChildWatch>(
      *p, TRY(take_fd(signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK))));
  TRY(loop.watch(p->children_->fd(), EPOLLIN, *p->children_));
  TRY(p->start_template());
  return p;
}

TrapPlatform::TrapPlatform(EventLoop& loop, EventSink& sink)
    : loop_(loop), sink_(sink), wakes_(*this), left_expire_(loop, [this] { expire_left(); }), chores_(loop, [this] { chores_due(); }) {}

TrapPlatform::~TrapPlatform() {
  chores_.disarm();
  left_expire_.disarm();
  // Spaces take themselves off our lists when they go.
  std::exchange(left_, {}).clear();
  std::exchange(buried_, {}).clear();
  ready_.clear();
  unborn_.clear();
  template_.reset();
  loop_.unwatch(wake_.borrow());
  if (children_) loop_.unwatch(children_->fd());
}

Result<void> TrapPlatform::start_template() {
  const UniqueFd stub = TRY(stub_file());
  auto [space, theirs] = TRY(Unborn::create(*this));
  template_ = std::move(space);
  const StubMemory& memory = template_->memory_;
  const int inherited[] = {theirs.agent.get(), wake_.get(), shared_.fd().get(), memory.commands.fd().get(),
                           memory.control.fd().get(), patcher_->shared_fd().get()};
  const pid_t pid = fork();
  if (pid < 0) return last_errno();
  if (pid == 0) {
    personality(ADDR_NO_RANDOMIZE);
    int high[std::size(inherited)];
    for (size_t i = 0; i < std::size(inherited); ++i) high[i] = fcntl(inherited[i], F_DUPFD, 100);
    const int exe = fcntl(stub.get(), F_DUPFD_CLOEXEC, 100);
    for (size_t i = 0; i < std::size(inherited); ++i) dup2(high[i], STUB_FD_AGENT + static_cast<int>(i));
    for (int fd : high) close(fd);
    // The sandbox's standard streams and sockets are not the stubs' business.
    syscall(SYS_close_range, 0, 2, 0);
    syscall(SYS_close_range, STUB_FD_AGENT + std::size(inherited), exe - 1, 0);
    syscall(SYS_close_range, exe + 1, ~0u, 0);
    char name[] = "run9-stub";
    char* argv[] = {name, nullptr};
    char* envp[] = {nullptr};
    syscall(SYS_execveat, exe, "", argv, envp, AT_EMPTY_PATH);
    _exit(111);
  }
  theirs = {};
  template_->memory_.commands.close_fd();
  template_->memory_.control.close_fd();
  template_->pid_ = template_->agent_tid_ = pid;
  by_pid_[pid] = template_.get();
  patcher_->close_fd();
  TRY(greet_template());
  return ok();
}

// Not on a fiber yet: waits for the stub here. It closes its end if it fails.
Result<void> TrapPlatform::greet_template() {
  const int socket = template_->socket_.get();
  const StubSecrets secrets = TRY(make_secrets());
  StubReady ready{};
  const bool sent = send(socket, &secrets, sizeof secrets, MSG_NOSIGNAL) == sizeof secrets;
  if (!sent || recv(socket, &ready, sizeof ready, 0) != sizeof ready) {
    int status = 0;
    waitpid(template_->pid_, &status, 0);
    log_error("the stub did not start (wait status {:#x}); memfds must be executable: vm.memfd_noexec", status);
    return Errno{ENOEXEC};
  }
  const int64_t unmapped = TRY(template_->unmap_first(ready.stack, ready.stack_end - ready.stack));
  if (unmapped != 0) {
    log_error("the stub cannot forget its key: {}", describe(Errno{static_cast<int>(-unmapped)}));
    return Errno{ENOEXEC};
  }
  vdso_ = shared().vdso = ready.vdso;
  if (ready.can_patch == 0 || (shared().xstate_size & 0x80000000u) == 0) {
    log_info("call sites are not patched: {}", ready.can_patch == 0 ? "vm.mmap_min_addr is too high" : "no FSGSBASE");
    patcher_.reset();
  }
  if (patcher_) patcher_->add_vdso_calls(ready.vdso_calls);
  return ok();
}

void TrapPlatform::add(TrapSpace& space) { active_.push_back(&space); }

void TrapPlatform::remove(TrapSpace& space) {
  const auto it = std::find(active_.begin(), active_.end(), &space);
  if (it == active_.end()) return;
  *it = active_.back();
  active_.pop_back();
}

void TrapPlatform::set_cores(int most) {
  cpus_ = std::clamp(most, 1, std::max(1, CPU_COUNT(&allowed_cpus_)));
  set_guest_spin();
}

void TrapPlatform::count_running(int change) {
  running_ += change;
  set_guest_spin();
}

void TrapPlatform::count_asleep(int change) {
  asleep_ += change;
  set_guest_spin();
}

// A guest thread waits a little for its answer. Where each core has one, the worker pushes another one aside to give it: that takes longer, but a core
// that falls idle takes longer still to wake, and the worker stays where it is. With more of them than cores somebody else wants this one.
void TrapPlatform::set_guest_spin() {
  constexpr uint32_t kPushedAside = 5;
  const int running = running_contexts();
  const uint32_t times = running < cpus_ ? 1 : running == cpus_ ? kPushedAside : 0;
  const uint32_t spin = cpus_ > 1 ? times * guest_spin_ : 0;
  if (shared().guest_spin != spin) shared().guest_spin = spin;
  // Whoever is waited for runs on another core, or soon does: one that sleeps now was awake not long ago. They need no
  // worker.
  const uint32_t futex_spin = running + asleep_ >= 2 && running <= cpus_ && cpus_ > 1 ? guest_spin_ : 1;
  if (shared().futex_spin != futex_spin) shared().futex_spin = futex_spin;
}

bool TrapPlatform::poll() {
  bool any = false;
  // An event may end spaces and contexts and start others: lists are read by index, and a missed one comes next time.
  for (size_t i = 0; i < polled_.size(); ++i) {
    TrapContext& c = *polled_[i];
    if (!c.running_) continue;
    const uint32_t state = __atomic_load_n(&c.page().line.state, __ATOMIC_RELAXED);
    if (state == kRequest || state == kRequestAsleep) {
      any |= poll_context(c);
    } else {
      c.note_rest(state);
    }
  }
  for (size_t i = 0; i < active_.size(); ++i) any |= poll_space(*active_[i]);
  wakes_.if_due();
  wakes_.say();
  return any;
}

std::optional<cpu_set_t> TrapPlatform::other_cpus() const {
  cpu_set_t others = allowed_cpus_;
  CPU_CLR(std::max(sched_getcpu(), 0), &others);
  if (CPU_COUNT(&others) == 0) return {};
  return others;
}

void TrapPlatform::tell_cpu() {
  const auto cpu = static_cast<uint32_t>(sched_getcpu());
  if (shared().worker_cpu != cpu) shared().worker_cpu = cpu;
}

bool TrapPlatform::spin() {
  tell_cpu();
  if (woken_) return false;  // they may be on our core
  for (int i = 0; i < 40; ++i) {
    if (waiting()) return true;
    __builtin_ia32_pause();
  }
  return false;
}

bool TrapPlatform::waiting() const {
  return std::ranges::any_of(polled_, [](const TrapContext* c) {
    if (!c->running_) return false;
    const uint32_t state = __atomic_load_n(&c->page().line.state, __ATOMIC_RELAXED);
    return state == kRequest || state == kRequestAsleep;
  });
}

bool TrapPlatform::poll_context(TrapContext& context) {
  const auto kind = context.take_request();
  if (!kind) return false;
  ++requests_;
  in_a_row_ = std::exchange(last_asked_, &context) == &context ? in_a_row_ + 1 : 0;
  if (wakes_.turn_is_over() && wakes_.waiting() > 0 && context.waits_awake()) {
    wakes_.next_turn();
    context.will_wait();
  }
  if (context.report_waiter_ != nullptr) {
    loop_.ready(context.report_waiter_);
  } else {
    sink_.on_event(context, *kind);
  }
  wakes_.say();
  return true;
}

bool TrapPlatform::poll_space(TrapSpace& space) {
  bool any = false;
  std::shared_ptr<AddressSpace> keep;
  for (size_t w = 0; w * 64 < space.next_slot_; ++w) {
    uint64_t& bell = space.header().bell[w];
    if (__atomic_load_n(&bell, __ATOMIC_RELAXED) == 0) continue;
    if (!keep) keep = space.shared_from_this();
    uint64_t bits = __atomic_exchange_n(&bell, 0, __ATOMIC_SEQ_CST);
    for (; bits != 0; bits &= bits - 1) {
      const auto it = space.contexts_.find(static_cast<uint32_t>(w * 64 + __builtin_ctzll(bits)));
      if (it != space.contexts_.end()) any |= poll_context(*it->second);
    }
  }
  return any;
}

// One that computes keeps its place, and may leave others to their bells.
void TrapPlatform::want_polled(TrapContext& context) {
  if (polled_.size() == kMaxPolled) {
    const auto quiet = std::ranges::find_if(polled_, [](const auto* c) { return !c->running_ || c->resting_; });
    if (quiet == polled_.end()) return;
    stop_polling(**quiet);
  }
  context.polled_ = true;
  context.page().line.polled = 1;
  polled_.push_back(&context);
}

void TrapPlatform::stop_polling(TrapContext& context) {
  if (!std::exchange(context.polled_, false)) return;
  std::erase(polled_, &context);
  // Either its next request sees that it has to ring, or we see the request: then we ring.
  __atomic_store_n(&context.page().line.polled, 0, __ATOMIC_SEQ_CST);
  const uint32_t state = __atomic_load_n(&context.page().line.state, __ATOMIC_SEQ_CST);
  if (!context.running_ || (state != kRequest && state != kRequestAsleep)) return;
  uint64_t& bell = context.space_->header().bell[context.slot_ / 64];
  __atomic_fetch_or(&bell, uint64_t{1} << (context.slot_ % 64), __ATOMIC_SEQ_CST);
}

void TrapPlatform::forget(TrapContext& context) {
  wakes_.forget(&context.page().line.state);
  stop_polling(context);
}

void TrapPlatform::before_sleep() {
  do {  // another worker may answer somebody meanwhile
    wakes_.all_now();
    wakes_.say();
  } while (wakes_.waiting() > 0);
  __atomic_store_n(&shared().worker_sleeps, 1, __ATOMIC_SEQ_CST);
}

void TrapPlatform::after_sleep() {
  __atomic_store_n(&shared().worker_sleeps, 0, __ATOMIC_SEQ_CST);
  tell_cpu();
}

void TrapPlatform::on_ready(uint32_t) {
  uint64_t n;
  [[maybe_unused]] const ssize_t got = ::read(wake_.get(), &n, sizeof n);
}

// Somebody called at the agents' gate without their key. It cannot be guessed in so few tries (filters.cc: 32 bits of it
// at least).
void TrapPlatform::count_guess(int pid) {
  log_warn("stub {}: a call in its agent's name, without the key; ended", pid);
  if (++guesses_ < kMaxGuesses) return;
  log_error("the guests have tried {} keys of agents: the sandbox ends", guesses_);
  _exit(128);
}

void TrapPlatform::reap() {
  int status;
  for (;;) {
    const pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);
    if (pid <= 0) return;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) count_guess(pid);
    if (auto used = dying_.extract(pid)) renew(std::move(used.mapped().memory), used.mapped().slots);
    const auto it = by_pid_.find(pid);
    if (it == by_pid_.end()) continue;
    TrapSpace* space = it->second;
    by_pid_.erase(it);
    log_debug("stub {} ended, wait status {:#x}", pid, status);
    const auto keep = space->shared_from_this();
    space->process_died();
  }
}

}  // namespace run9::sentry::trap
