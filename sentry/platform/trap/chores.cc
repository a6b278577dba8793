// TrapPlatform, the stubs' births and burials: what is made ahead of need, and what is put off until nobody waits.
#include <sched.h>

#include <algorithm>
#include <utility>

#include "sentry/platform/trap/trap_platform.h"

namespace run9::sentry::trap {
namespace {

constexpr size_t kPage = 0x1000;
constexpr size_t kMaxReady = 3;
constexpr size_t kUnbornAhead = 2;
constexpr size_t kMaxBuried = 16;
constexpr size_t kMaxLeft = 3;
constexpr uint64_t kLeftNs = 300'000'000;  // where programs come less often than that it does not matter
// So many that have ended are left alone for a while. The last one may run still, and to take it to our core would have us wait; and where
// programs come and go, the next fork gives us the time.
constexpr size_t kLinger = 1;
constexpr uint64_t kQuietNs = 40'000;
constexpr uint64_t kChoresLatestNs = 20'000'000;

}  // namespace

Result<AddressSpaceRef> TrapPlatform::create_address_space() {
  expect_chores();
  if (const auto it = std::ranges::find_if(left_, &TrapSpace::vacant); it != left_.end()) {
    const auto left = std::move(*it);
    left_.erase(it);
    if (auto next = left->succeed()) return AddressSpaceRef(std::move(next));
    bury(left);
  }
  if (ready_.empty()) {
    if (started_ && ready_wanted_ < kMaxReady) ++ready_wanted_;  // programs come faster than one at a time
    started_ = true;
    return AddressSpaceRef(TRY(template_->fork_new(other_cpus())));
  }
  auto space = std::move(ready_.back());
  ready_.pop_back();
  return AddressSpaceRef(std::move(space));
}

Result<Unborn> TrapPlatform::take_unborn() {
  expect_chores();
  if (unborn_.empty()) return make_unborn();
  Unborn next = std::move(unborn_.front());
  unborn_.pop_front();
  return next;
}

Result<Unborn> TrapPlatform::make_unborn() {
  if (renewed_.empty()) return Unborn::create(*this);
  StubMemory memory = std::move(renewed_.back());
  renewed_.pop_back();
  return Unborn::create(*this, std::move(memory));
}

void TrapPlatform::reuse(int pid, StubMemory memory, uint32_t slots) {
  if (renewed_.size() + dying_.size() >= kMaxReused) return;
  if (!by_pid_.contains(pid)) return renew(std::move(memory), slots);
  dying_.insert_or_assign(pid, Used{std::move(memory), slots});
}

// False: a guest has written where there was no thread of its.
bool TrapPlatform::renew_control(StubMemory& memory, uint32_t slots) {
  std::vector<SharedMemory::Part> used = {{0, (slots + 1) * kPage}};
  for (uint64_t i = 0; i < STUB_BULK_SLOTS; ++i) {
    if (memory.bulk_pages[i] != 0) used.push_back({bulk_address(i) - STUB_CTL, memory.bulk_pages[i] * kPage});
  }
  for (size_t i = 0; i < STUB_BULK_SLOTS * STUB_OWN_FILES_SIZE / kPage; ++i) {
    if ((memory.own_file_pages >> i & 1) != 0) used.push_back({STUB_OWN_FILES - STUB_CTL + i * kPage, kPage});
  }
  memory.bulk_pages = {};
  memory.own_file_pages = 0;
  return memory.control.renew(used);
}

// That keeps others from getting the page: its memory goes.
void TrapPlatform::renew(StubMemory memory, uint32_t slots) {
  const SharedMemory::Part commands{0, kPage};
  if (!memory.commands.renew(std::span(&commands, 1)) || !renew_control(memory, slots)) return;
  renewed_.push_back(std::move(memory));
}

bool TrapPlatform::keep_left(std::shared_ptr<TrapSpace> space) {
  if (left_.size() == kMaxLeft) return false;
  space->left_at_ = EventLoop::now_ns();
  left_.push_back(std::move(space));
  if (!left_expire_.armed()) left_expire_.arm(left_.back()->left_at_ + kLeftNs);
  return true;
}

// Those for which no successor has come; among them perhaps one whose thread does not leave.
void TrapPlatform::expire_left() {
  const uint64_t now = EventLoop::now_ns();
  while (!left_.empty() && now >= left_.front()->left_at_ + kLeftNs) {
    bury(std::move(left_.front()));
    left_.pop_front();
  }
  if (!left_.empty()) left_expire_.arm(left_.front()->left_at_ + kLeftNs);
}

// A storm of exits must not pile up processes.
void TrapPlatform::bury(std::shared_ptr<TrapSpace> space) {
  buried_.push_back(std::move(space));
  if (buried_.size() > kMaxBuried) bury_one();
  expect_chores();
}

// Its descriptors and pages go with it.
void TrapPlatform::bury_one() {
  const auto space = std::move(buried_.front());
  buried_.pop_front();
  space->end_process();
}

void TrapPlatform::expect_chores() {
  if (in_chores_ || (chores_.armed() && !chores_can_wait_)) return;
  const uint64_t now = EventLoop::now_ns();
  if (!std::exchange(chores_can_wait_, false)) chores_latest_ = now + kChoresLatestNs;
  activity_seen_ = requests_ + replies_;
  arm_chores(now);
}

void TrapPlatform::arm_chores(uint64_t now) {
  chores_at_ = now + kQuietNs;
  chores_.arm(chores_at_);
}

// What nobody waits for is done when nobody has asked for anything for a moment: guests compute then, or sleep. A process that is made
// or ends takes the core of whoever runs there.
void TrapPlatform::chores_due() {
  const uint64_t now = EventLoop::now_ns();
  const bool active = std::exchange(activity_seen_, requests_ + replies_) != requests_ + replies_;
  const bool quiet = !active && agents_awaited_ == 0 && now < chores_at_ + kQuietNs / 2;  // else we were at work until now
  if (now < chores_latest_) {
    chores_can_wait_ = buried_.size() <= kLinger && ready_.size() >= ready_wanted_ && unborn_.size() >= kUnbornAhead && !wakes_.leaving();
    if (chores_can_wait_) return chores_.arm(chores_latest_);
    if (!quiet) return arm_chores(now);
  }
  chores_can_wait_ = false;
  loop_.spawn([this] { do_chore(); });
}

// While the one who asked waits for an agent: for as long as that takes our core has nothing to do, and dying takes no longer.
void TrapPlatform::work_meanwhile() {
  const auto wanted = [this] { return !in_chores_ && (buried_.size() > kLinger || unborn_.size() < kUnbornAhead); };
  if (!wanted()) return;
  loop_.spawn([this, wanted] {
    if (!wanted()) return;
    in_chores_ = true;
    if (buried_.size() > kLinger) bury_here();
    if (unborn_.size() < kUnbornAhead) {
      if (auto next = make_unborn(); next.has_value()) unborn_.push_back(std::move(next).value());
    }
    in_chores_ = false;
  });
}

void TrapPlatform::bury_here() {
  cpu_set_t here;
  CPU_ZERO(&here);
  CPU_SET(std::max(sched_getcpu(), 0), &here);
  TrapSpace& space = *buried_.front();
  space.keep_agent_on(here);
  if (space.has_thread(space.first_tid_)) sched_setaffinity(space.first_tid_, sizeof here, &here);
  bury_one();
}

// One at a time: meanwhile somebody may ask for something. Processes are made and end on our core, which is free, and not on
// that of a guest which computes.
void TrapPlatform::do_chore() {
  in_chores_ = true;
  cpu_set_t here;
  CPU_ZERO(&here);
  CPU_SET(std::max(sched_getcpu(), 0), &here);
  wakes_.let_leave();
  bool more = true;
  if (!buried_.empty()) {
    bury_here();
  } else if (ready_.size() < ready_wanted_) {
    auto space = template_->fork_new(here);
    more = space.has_value();
    if (more) {
      space.value()->made_here_ = true;
      ready_.push_back(std::move(space).value());
    }
  } else if (unborn_.size() < kUnbornAhead) {
    auto next = make_unborn();
    more = next.has_value();
    if (more) unborn_.push_back(std::move(next).value());
  } else {
    more = false;
  }
  in_chores_ = false;
  if (more || !buried_.empty() || wakes_.leaving()) arm_chores(EventLoop::now_ns());
}

}  // namespace run9::sentry::trap
