#include "sentry/platform/trap/wakes.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <utility>

#include "sentry/platform/trap/trap_platform.h"

namespace run9::sentry::trap {
namespace {

constexpr uint64_t kPatienceNs = 5'000, kLongPatienceNs = 60'000;
constexpr uint64_t kForkPatienceNs = 1'000'000;
constexpr uint64_t kTurnNs = 300'000;
constexpr uint64_t kCheckNs = 1'000'000;
constexpr int kTooOften = 8;
constexpr uint64_t kMoveAgainNs = 20'000'000;

bool sleeps_still(const uint32_t* state) { return __atomic_load_n(state, __ATOMIC_RELAXED) == kReply; }

}  // namespace

Wakes::Wakes(TrapPlatform& platform)
    : platform_(platform), patience_ns_(kPatienceNs), check_(platform.loop_, [this] { check_handed(); }) {}

uint32_t* Wakes::word(uint32_t n) const {
  auto* words = static_cast<char*>(platform_.shared_.data()) + (STUB_SLEEP_WORDS - STUB_SHARED);
  return reinterpret_cast<uint32_t*>(words) + n;
}

// All that sleep there: threads may share a word, and each looks for its own reply.
void Wakes::now(uint32_t n) {
  announce(n);
  if (syscall(SYS_futex, word(n), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0) > 0) platform_.woken_ = true;
}

void Wakes::later(uint32_t n) {
  if (platform_.loop_.workers() == nullptr) return now(n);
  announce(n);
  unsaid_.push_back(n);
}

void Wakes::say() {
  if (unsaid_.empty()) [[likely]] return;
  const auto words = std::exchange(unsaid_, {});
  const bool aside = platform_.loop_.step_aside();
  bool woken = false;
  for (const uint32_t n : words) woken |= syscall(SYS_futex, word(n), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0) > 0;
  if (aside) platform_.loop_.step_back(nullptr);
  platform_.woken_ |= woken;
}

uint32_t Wakes::announce(uint32_t n) {
  __atomic_fetch_add(word(n), 1, __ATOMIC_RELEASE);
  return n + 1;
}

void Wakes::soon(uint32_t n, const uint32_t* state) {
  if (left_to_offered({n, state}) || left_to_ending({n, state})) return;
  // The new one runs already by the platform's count.
  if (platform_.running_contexts() <= 1) return later(n);
  wait({n, state}, patience_ns_);
}

bool Wakes::left_to_offered(const Sleeper& sleeper) {
  ControlPage* const page = std::exchange(offered_, nullptr);
  if (page == nullptr || !waits_awake(*page) || !send_to_sleep(*page, announce(sleeper.word))) return false;
  to_check(sleeper);
  return true;
}

// Where it runs there is a core then.
bool Wakes::left_to_ending(const Sleeper& sleeper) {
  ControlPage* const page = std::exchange(ending_, nullptr);
  if (page == nullptr || platform_.running_contexts() + 2 < platform_.cpus_) return false;
  uint32_t nobody = 0;
  const uint32_t next = announce(sleeper.word);
  if (!__atomic_compare_exchange_n(&page->hand_to, &nobody, next, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) return false;
  to_check(sleeper);
  return true;
}

bool Wakes::send_to_sleep(ControlPage& page, uint32_t hand_to) {
  page.hand_to = hand_to;
  uint32_t expected = kRequest;
  if (__atomic_compare_exchange_n(&page.line.state, &expected, kRequestAsleep, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return true;
  page.hand_to = 0;
  return false;
}

// The child does not count as running yet. And the worker has a core.
void Wakes::after_child(uint32_t n, const uint32_t* state) {
  if (platform_.running_contexts() + 2 <= platform_.cpus_) return later(n);
  wait({n, state}, kForkPatienceNs);
}

void Wakes::wait(const Sleeper& sleeper, uint64_t patience) {
  announce(sleeper.word);
  const uint64_t now = EventLoop::now_ns();
  const bool first = waiting_.empty();
  if (first) begin_turn(now);
  due_ns_ = first ? now + patience : std::min(due_ns_, now + patience);
  waiting_.push_back(sleeper);
  platform_.set_guest_spin();
}

void Wakes::begin_turn(uint64_t now) {
  due_ns_ = now + patience_ns_;
  turn_ends_ns_ = now + kTurnNs;
  requests_seen_ = platform_.requests_;
  turn_over_ = false;
}

// Whoever is woken from here, while no core is free, takes ours: what the others ask for meanwhile waits.
void Wakes::due(uint64_t now) {
  const bool core_free = platform_.running_contexts() + 1 < platform_.cpus_;
  const bool others_ask = std::exchange(requests_seen_, platform_.requests_) != platform_.requests_;
  patience_ns_ = others_ask ? kLongPatienceNs : kPatienceNs;
  if (core_free || !others_ask || platform_.loop_.crowded()) return all_now();
  due_ns_ = now + patience_ns_;
  turn_over_ = now >= turn_ends_ns_;
}

void Wakes::next_turn() {
  std::rotate(waiting_.begin(), waiting_.begin() + 1, waiting_.end());
  begin_turn(EventLoop::now_ns());
}

void Wakes::handed() {
  const Sleeper sleeper = waiting_.back();
  waiting_.pop_back();
  platform_.set_guest_spin();
  to_check(sleeper);
}

void Wakes::to_check(const Sleeper& sleeper) {
  handed_.push_back(sleeper);
  if (!check_.armed()) check_.arm(EventLoop::now_ns() + kCheckNs);
}

void Wakes::all_now() {
  for (const Sleeper& s : std::exchange(waiting_, {})) later(s.word);
  platform_.set_guest_spin();
}

void Wakes::leave(uint32_t n) {
  announce(n);
  leaving_.push_back(n);
  platform_.expect_chores();
}

void Wakes::let_leave() {
  for (const uint32_t n : std::exchange(leaving_, {})) later(n);
}

void Wakes::check_handed() {
  for (const Sleeper& s : std::exchange(handed_, {})) {
    if (sleeps_still(s.state)) later(s.word);
  }
}

void Wakes::ran_on(uint32_t cpu) {
  const int here = sched_getcpu();
  together_ = here >= 0 && cpu == static_cast<uint32_t>(here) ? together_ + 1 : 0;
  // Where the other core is somebody else's, two switches on one cost less than a turn on that one.
  if (platform_.loop_.crowded()) return;
  if (together_ < kTooOften || platform_.running_contexts() >= platform_.cpus_) return;
  const uint64_t now = EventLoop::now_ns();
  if (now < next_move_ns_) return;
  next_move_ns_ = now + kMoveAgainNs;
  move_over();
}

// Away from here, and free again: where to is the host's choice.
void Wakes::move_over() {
  const auto others = platform_.other_cpus();
  if (!others || sched_setaffinity(0, sizeof *others, &*others) != 0) return;
  sched_setaffinity(0, sizeof *others, &platform_.allowed_cpus_);
}

void Wakes::forget(const uint32_t* state) {
  const auto same = [state](const Sleeper& s) { return s.state == state; };
  std::erase_if(waiting_, same);
  std::erase_if(handed_, same);
}

}  // namespace run9::sentry::trap
