// Locks in a shared tree: what the host's processes lock is in the way of the guest, and the other way round.
#include <sys/file.h>

#include "vfs/gofer/testing.h"
#include "vfs/locks.h"

namespace run9::vfs::gofer {
namespace {

constexpr auto kR = LockType::kRead;
constexpr auto kW = LockType::kWrite;
LockOwner proc(int32_t n) { return LockOwner::posix(n); }

template <typename R>
int code(const R& r) {
  return r.has_value() ? 0 : to_int(r.error());
}

class LockTest : public testing::Test {
 protected:
  explicit LockTest(RigOptions options = {.caching = Caching::kRevalidate}) : rig(options) {
    rig.host_write("f", "text");
    host_ = UniqueFd(::open(rig.at_host("f").c_str(), O_RDWR | O_CLOEXEC));
    file_ = rig.open("/f", O_RDWR).value();
    rig.channel->take();
  }
  // As another process of the host; its errno.
  int host_lock(short type, off_t start, off_t length) {
    struct flock l = {};
    l.l_type = type;
    l.l_start = start;
    l.l_len = length;
    return fcntl(host_.get(), F_OFD_SETLK, &l) == 0 ? 0 : errno;
  }
  LockTable& locks() { return file_->inode().locks(); }
  int lock(LockOwner o, LockType type, uint64_t first, uint64_t last, LockWait wait = LockWait::kNo) {
    return code(locks().lock(rig.ctx, o, type, {first, last}, wait));
  }
  Rig rig;
  UniqueFd host_;
  FileRef file_;
};

TEST_F(LockTest, EachIsInTheOthersWay) {
  ASSERT_EQ(host_lock(F_WRLCK, 0, 10), 0);
  EXPECT_EQ(lock(proc(1), kR, 5, 5), EAGAIN);
  const auto in_the_way = locks().conflict(rig.ctx, proc(1), kR, {5, 5});
  ASSERT_TRUE(in_the_way.has_value());
  EXPECT_EQ(in_the_way->range.first, 0u);
  EXPECT_EQ(in_the_way->range.last, 9u);
  EXPECT_EQ(in_the_way->type, kW);
  EXPECT_EQ(lock(proc(1), kW, 10, 19), 0);
  EXPECT_EQ(lock(proc(2), kW, 20, LockRange::kEof), 0);
  EXPECT_EQ(host_lock(F_RDLCK, 19, 1), EAGAIN);
  EXPECT_EQ(host_lock(F_RDLCK, 1000, 1), EAGAIN);
  locks().unlock(proc(1), {15, 19});
  EXPECT_EQ(host_lock(F_RDLCK, 15, 5), 0);
  EXPECT_EQ(host_lock(F_RDLCK, 14, 1), EAGAIN);
  locks().release_process(1);
  locks().release_process(2);
  EXPECT_EQ(host_lock(F_WRLCK, 0, 0), 0);
}

TEST_F(LockTest, OwnersOfOneSandboxAreStrangersToTheHostToo) {
  EXPECT_EQ(lock(proc(1), kR, 0, 9), 0);
  EXPECT_EQ(lock(proc(2), kR, 0, 9), 0);
  locks().release_process(1);
  EXPECT_EQ(host_lock(F_WRLCK, 0, 1), EAGAIN) << "the other one still reads";
  EXPECT_EQ(lock(proc(2), kW, 0, 4), 0);
  EXPECT_EQ(host_lock(F_RDLCK, 0, 1), EAGAIN);
  EXPECT_EQ(host_lock(F_RDLCK, 5, 1), 0);
}

TEST_F(LockTest, AnOwnerAsksOnce) {
  ASSERT_EQ(lock(proc(1), kW, 0, 9), 0);
  EXPECT_EQ(rig.channel->take(), 1);
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(lock(proc(1), kW, 0, 9), 0);
    locks().unlock(proc(1), {0, 9});
  }
  EXPECT_EQ(rig.channel->take(), 0);
}

TEST_F(LockTest, WholeFileLocksAreAWorldOfTheirOwn) {
  ASSERT_EQ(flock(host_.get(), LOCK_EX), 0);
  EXPECT_EQ(lock(proc(1), kW, 0, LockRange::kEof), 0);
  EXPECT_EQ(code(locks().flock(rig.ctx, *file_, kR, LockWait::kNo)), EAGAIN);
  ASSERT_EQ(flock(host_.get(), LOCK_UN), 0);
  EXPECT_EQ(code(locks().flock(rig.ctx, *file_, kR, LockWait::kNo)), 0);
  EXPECT_EQ(flock(host_.get(), LOCK_EX | LOCK_NB), -1);
  EXPECT_EQ(flock(host_.get(), LOCK_SH | LOCK_NB), 0);
  EXPECT_EQ(code(locks().flock(rig.ctx, *file_, kW, LockWait::kNo)), EAGAIN);
  locks().funlock(*file_);
  EXPECT_EQ(flock(host_.get(), LOCK_EX | LOCK_NB), 0);
}

TEST_F(LockTest, TheGoferWaits) {
  for (const bool whole : {false, true}) {
    ASSERT_EQ(whole ? flock(host_.get(), LOCK_EX) : host_lock(F_WRLCK, 0, 10), 0);
    std::thread other([&] {
      // Until the gofer has the request, which it logs to nobody: after that it does no harm to be early.
      while (rig.channel->count() < 2) sched_yield();
      EXPECT_EQ(whole ? flock(host_.get(), LOCK_UN) : host_lock(F_UNLCK, 0, 10), 0);
    });
    if (whole) {
      EXPECT_EQ(code(locks().flock(rig.ctx, *file_, kW, LockWait::kYes)), 0);
      EXPECT_EQ(flock(host_.get(), LOCK_SH | LOCK_NB), -1);
    } else {
      EXPECT_EQ(lock(proc(1), kW, 0, 9, LockWait::kYes), 0);
      EXPECT_EQ(host_lock(F_RDLCK, 9, 1), EAGAIN);
    }
    other.join();
    rig.channel->take();
  }
}

TEST_F(LockTest, AFileWithoutANameIsLockedByUsAlone) {
  ASSERT_EQ(code(rig.unlink("/f")), 0);
  ASSERT_EQ(host_lock(F_WRLCK, 0, 10), 0);
  EXPECT_EQ(lock(proc(1), kW, 0, 9), 0);
  EXPECT_EQ(lock(proc(2), kW, 0, 9), EAGAIN);
}

class OwnTreeLockTest : public LockTest {
 protected:
  OwnTreeLockTest() : LockTest({.caching = Caching::kAuthoritative}) {}
};

TEST_F(OwnTreeLockTest, IsLockedByUsAlone) {
  ASSERT_EQ(host_lock(F_WRLCK, 0, 10), 0);
  EXPECT_EQ(lock(proc(1), kW, 0, 9), 0);
  EXPECT_EQ(rig.channel->take(), 0);
}

}  // namespace
}  // namespace run9::vfs::gofer
