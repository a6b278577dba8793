#include "vfs/locks.h"

#include <gtest/gtest.h>

#include "vfs/testing/context.h"
#include "vfs/tmpfs/tmpfs.h"

namespace run9::vfs::testing {
namespace {

constexpr auto kR = LockType::kRead;
constexpr auto kW = LockType::kWrite;
LockOwner proc(int32_t n) { return LockOwner::posix(n); }

class LocksTest : public ::testing::Test {
 protected:
  Result<void> lock(LockOwner o, LockType type, uint64_t first, uint64_t last) {
    return table.lock(ctx, o, type, {first, last}, LockWait::kNo);
  }
  TestContext ctx;
  LockWaits waits;
  LockTable table{waits};
};

TEST_F(LocksTest, RangesSplitAndJoin) {
  ASSERT_THAT(lock(proc(1), kW, 0, 99), Works());
  table.unlock(proc(1), {40, 59});
  EXPECT_EQ(table.records().size(), 2u);
  EXPECT_THAT(lock(proc(2), kW, 40, 59), Works());
  EXPECT_THAT(lock(proc(2), kR, 39, 39), Fails(EAGAIN));
  table.release_process(2);
  ASSERT_THAT(lock(proc(1), kW, 40, 59), Works());
  EXPECT_EQ(table.records().size(), 1u);
  auto held = table.conflict(ctx, proc(3), kR, {50, LockRange::kEof});
  ASSERT_TRUE(held.has_value());
  EXPECT_EQ(held->range.first, 0u);
  EXPECT_EQ(held->range.last, 99u);
  EXPECT_EQ(held->pid, 1);
}

TEST_F(LocksTest, ReadersShare) {
  EXPECT_THAT(lock(proc(1), kR, 0, 9), Works());
  EXPECT_THAT(lock(proc(2), kR, 0, 9), Works());
  EXPECT_THAT(lock(proc(2), kW, 0, 9), Fails(EAGAIN));
  table.release_process(1);
  EXPECT_THAT(lock(proc(2), kW, 0, 9), Works());
}

TEST_F(LocksTest, WaitsAndIsInterrupted) {
  ASSERT_THAT(lock(proc(1), kW, 0, 9), Works());
  EXPECT_THAT(table.lock(ctx, proc(2), kW, {0, 9}, LockWait::kYes), Fails(to_int(kErestartsys)));
  ctx.on_wait = [&] { table.release_process(1); };
  EXPECT_THAT(table.lock(ctx, proc(2), kW, {0, 9}, LockWait::kYes), Works());
}

TEST_F(LocksTest, DeadlockIsSeen) {
  ASSERT_THAT(lock(proc(1), kW, 0, 0), Works());
  ASSERT_THAT(lock(proc(2), kW, 1, 1), Works());
  ctx.on_wait = [&] {
    // Process 1 waits for 2 now.
    EXPECT_THAT(table.lock(ctx, proc(2), kW, {0, 0}, LockWait::kYes), Fails(EDEADLK));
    table.release_process(2);
  };
  EXPECT_THAT(table.lock(ctx, proc(1), kW, {1, 1}, LockWait::kYes), Works());
}

// An inode that others lock too: everybody's locks but ours.
class Others final : public OuterLocks {
 public:
  Result<void> lock(OpContext& ctx, const OuterLock& l, LockWait wait) override {
    while (taken) {
      if (wait == LockWait::kNo) return Errno{EAGAIN};
      TRY(ctx.wait(released, ~0u));
    }
    log += l.whole ? 'W' : 'L';
    return ok();
  }
  void unlock(const OuterLock& l) override { log += l.whole ? 'w' : 'l'; }
  std::optional<HeldLock> conflict(OpContext&, const OuterLock&) override {
    if (!taken) return std::nullopt;
    return HeldLock{.type = kW, .pid = -1};
  }
  void forget(LockOwner) override { log += 'f'; }
  bool taken = false;
  WaitQueue released;
  std::string log;
};

TEST_F(LocksTest, OthersAreAskedAndTold) {
  auto owned = std::make_unique<Others>();
  Others& others = *owned;
  LockTable locks{waits, std::move(owned)};
  ASSERT_THAT(locks.lock(ctx, proc(1), kW, {0, 9}, LockWait::kNo), Works());
  // In the way are our own: the others are not asked.
  EXPECT_THAT(locks.lock(ctx, proc(2), kW, {0, 9}, LockWait::kNo), Fails(EAGAIN));
  EXPECT_EQ(others.log, "L");
  others.taken = true;
  EXPECT_THAT(locks.lock(ctx, proc(2), kW, {10, 19}, LockWait::kNo), Fails(EAGAIN));
  EXPECT_EQ(locks.conflict(ctx, proc(2), kR, {10, 19})->pid, -1);
  EXPECT_EQ(locks.conflict(ctx, proc(2), kR, {0, 9})->pid, 1);
  EXPECT_EQ(locks.records().size(), 1u);
  EXPECT_THAT(locks.lock(ctx, proc(2), kW, {10, 19}, LockWait::kYes), Fails(to_int(kErestartsys)));
  ctx.on_wait = [&] { others.taken = false; };
  EXPECT_THAT(locks.lock(ctx, proc(2), kW, {10, 19}, LockWait::kYes), Works());
  locks.unlock(proc(1), {20, 29});  // has nothing there
  locks.unlock(proc(1), {0, 4});
  locks.release_process(1);
  EXPECT_EQ(others.log, "LLllf");
}

TEST_F(LocksTest, FileLocksGoWithTheFile) {
  Tree t(make_tmpfs({.mode = 0755}, {}));
  auto a = t.open("/f", O_CREAT | O_RDWR).value();
  auto b = t.open("/f", O_RDWR).value();
  LockTable& locks = a->inode().locks();
  ASSERT_THAT(locks.flock(t.ctx, *a, kW, LockWait::kNo), Works());
  EXPECT_THAT(locks.flock(t.ctx, *b, kR, LockWait::kNo), Fails(EAGAIN));
  ASSERT_THAT(locks.lock(t.ctx, LockOwner::ofd(*a), kW, {}, LockWait::kNo), Works());
  EXPECT_EQ(locks.conflict(ctx, proc(1), kR, {})->pid, -1);
  a.reset();
  EXPECT_THAT(locks.flock(t.ctx, *b, kW, LockWait::kNo), Works());
  EXPECT_THAT(locks.lock(t.ctx, proc(1), kW, {}, LockWait::kNo), Works());
}

}  // namespace
}  // namespace run9::vfs::testing
