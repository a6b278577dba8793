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
  auto held = table.conflict(proc(3), kR, {50, LockRange::kEof});
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

TEST_F(LocksTest, FileLocksGoWithTheFile) {
  Tree t(make_tmpfs({.mode = 0755}, {}));
  auto a = t.open("/f", O_CREAT | O_RDWR).value();
  auto b = t.open("/f", O_RDWR).value();
  LockTable& locks = a->inode().locks();
  ASSERT_THAT(locks.flock(t.ctx, *a, kW, LockWait::kNo), Works());
  EXPECT_THAT(locks.flock(t.ctx, *b, kR, LockWait::kNo), Fails(EAGAIN));
  ASSERT_THAT(locks.lock(t.ctx, LockOwner::ofd(*a), kW, {}, LockWait::kNo), Works());
  EXPECT_EQ(locks.conflict(proc(1), kR, {})->pid, -1);
  a.reset();
  EXPECT_THAT(locks.flock(t.ctx, *b, kW, LockWait::kNo), Works());
  EXPECT_THAT(locks.lock(t.ctx, proc(1), kW, {}, LockWait::kNo), Works());
}

}  // namespace
}  // namespace run9::vfs::testing
