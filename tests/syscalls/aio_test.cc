// Linux native AIO: contexts, submission, completions, eventfds that are told.
#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include <thread>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

constexpr timespec kNoWait = {0, 0};

class AioTest : public DirTest {
 protected:
  void SetUp() override {
    if (sys(SYS_io_setup, 8, &ctx_) == -1 && errno == ENOSYS) GTEST_SKIP() << "no native AIO";
    ASSERT_NE(0u, ctx_);
    file_ = open_file("file");
  }
  void TearDown() override {
    if (ctx_ != 0) sys(SYS_io_destroy, ctx_);
  }
  static uint32_t number(const Fd& fd) { return static_cast<uint32_t>(static_cast<int>(fd)); }
  iocb make(int opcode, const void* buffer, size_t size, int64_t offset) {
    iocb cb = {};
    cb.aio_data = 0x5239;
    cb.aio_lio_opcode = static_cast<uint16_t>(opcode);
    cb.aio_fildes = number(file_);
    cb.aio_buf = reinterpret_cast<uintptr_t>(buffer);
    cb.aio_nbytes = size;
    cb.aio_offset = offset;
    return cb;
  }
  long submit(iocb& cb) {
    iocb* list[] = {&cb};
    return sys(SYS_io_submit, ctx_, 1, list);
  }
  long events(long min, long most, void* out, const timespec* timeout = nullptr) {
    return sys(SYS_io_getevents, ctx_, min, most, out, timeout);
  }
  // The result of one operation.
  long result_of(iocb cb) {
    if (submit(cb) != 1) return -errno;
    io_event e = {};
    EXPECT_EQ(1, events(1, 1, &e));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(&cb), e.obj);
    EXPECT_EQ(0x5239u, e.data);
    EXPECT_EQ(0, e.res2);
    return static_cast<long>(e.res);
  }

  aio_context_t ctx_ = 0;
  Fd file_;
};

TEST_F(AioTest, ReadsAndWrites) {
  char text[] = "asynchronous", got[16] = {};
  EXPECT_EQ(12, result_of(make(IOCB_CMD_PWRITE, text, 12, 0)));
  EXPECT_EQ(12, result_of(make(IOCB_CMD_PREAD, got, 16, 0)));
  EXPECT_STREQ(text, got);
  EXPECT_EQ(0, result_of(make(IOCB_CMD_PREAD, got, 16, 100)));
  char a[2], b[3];
  const iovec in[] = {{a, 2}, {b, 3}};
  EXPECT_EQ(5, result_of(make(IOCB_CMD_PREADV, in, 2, 7)));
  EXPECT_EQ("onous", std::string(a, 2) + std::string(b, 3));
  EXPECT_EQ(5, result_of(make(IOCB_CMD_PWRITEV, in, 2, 12)));
  EXPECT_EQ(17, lseek(file_, 0, SEEK_END));
  EXPECT_EQ(0, result_of(make(IOCB_CMD_FSYNC, nullptr, 0, 0)));
  EXPECT_EQ(0, result_of(make(IOCB_CMD_FDSYNC, nullptr, 0, 0)));
}

TEST_F(AioTest, PositionStaysAndAppendAppends) {
  char text[] = "abc";
  EXPECT_EQ(3, result_of(make(IOCB_CMD_PWRITE, text, 3, 0)));
  EXPECT_EQ(0, lseek(file_, 0, SEEK_CUR));
  auto cb = make(IOCB_CMD_PWRITE, text, 3, 0);
  cb.aio_rw_flags = RWF_APPEND;
  EXPECT_EQ(3, result_of(cb));
  EXPECT_EQ(6, lseek(file_, 0, SEEK_END));
}

TEST_F(AioTest, StreamsHaveNoOffset) {
  Pipe p;
  p.notify('x');
  char got = 0;
  auto cb = make(IOCB_CMD_PREAD, &got, 1, 55);
  cb.aio_fildes = number(p.r);
  EXPECT_EQ(1, result_of(cb));
  EXPECT_EQ('x', got);
  cb = make(IOCB_CMD_FSYNC, nullptr, 0, 0);
  cb.aio_fildes = number(p.r);
  EXPECT_ERR(EINVAL, submit(cb));
}

TEST_F(AioTest, SeveralAtOnceInOrder) {
  char text[] = "0123";
  iocb cbs[4];
  iocb* list[4];
  for (int i = 0; i < 4; ++i) {
    cbs[i] = make(IOCB_CMD_PWRITE, text + i, 1, i);
    cbs[i].aio_data = static_cast<uint64_t>(i);
    list[i] = &cbs[i];
  }
  EXPECT_EQ(4, sys(SYS_io_submit, ctx_, 4, list));
  io_event e[8] = {};
  EXPECT_EQ(2, events(1, 2, e) + events(0, 0, e));
  EXPECT_EQ(2, events(2, 8, e + 2));
  uint64_t seen = 0;
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(1, static_cast<long>(e[i].res));
    seen |= uint64_t{1} << e[i].data;
  }
  EXPECT_EQ(15u, seen);
  EXPECT_EQ(0, events(0, 8, e));
  EXPECT_EQ(0, events(1, 8, e, &kNoWait));
}

// What came before the first bad one counts, and the bad one alone is told about.
TEST_F(AioTest, TheFirstBadOneEndsTheCall) {
  char text[] = "x";
  iocb good = make(IOCB_CMD_PWRITE, text, 1, 0), wrong = make(99, text, 1, 0);
  iocb* list[] = {&good, &wrong, &good};
  EXPECT_EQ(1, sys(SYS_io_submit, ctx_, 3, list));
  EXPECT_ERR(EINVAL, sys(SYS_io_submit, ctx_, 2, list + 1));
  iocb* far[] = {bad<iocb>()};
  EXPECT_ERR(EFAULT, sys(SYS_io_submit, ctx_, 1, far));
  EXPECT_ERR(EFAULT, sys(SYS_io_submit, ctx_, 1, bad()));
  EXPECT_EQ(0, sys(SYS_io_submit, ctx_, 0, bad()));
  EXPECT_ERR(EINVAL, sys(SYS_io_submit, ctx_, -1, list));
  EXPECT_ERR(EINVAL, sys(SYS_io_submit, 0, 0, list));
  EXPECT_ERR(EINVAL, sys(SYS_io_submit, bad(), 1, list));
  io_event e = {};
  EXPECT_EQ(1, events(0, 8, &e));
}

TEST_F(AioTest, WrongOperations) {
  char text[] = "x";
  auto cb = make(IOCB_CMD_PWRITE, text, 1, 0);
  cb.aio_fildes = static_cast<uint32_t>(dead_fd());
  EXPECT_ERR(EBADF, submit(cb));
  cb = make(IOCB_CMD_PWRITE, text, 1, 0);
  cb.aio_reserved2 = 1;
  EXPECT_ERR(EINVAL, submit(cb));
  cb = make(IOCB_CMD_PWRITE, text, 1, 0);
  cb.aio_rw_flags = 1 << 30;
  EXPECT_ERR(EOPNOTSUPP, submit(cb));
  cb = make(IOCB_CMD_PWRITE, text, 1, -1);
  EXPECT_ERR(EINVAL, submit(cb));
  cb = make(IOCB_CMD_PWRITE, text, static_cast<size_t>(-1), 0);
  EXPECT_ERR(EINVAL, submit(cb));
  cb = make(IOCB_CMD_PREADV, bad(), 1, 0);
  EXPECT_ERR(EFAULT, submit(cb));
  cb = make(IOCB_CMD_PREADV, text, 1025, 0);
  EXPECT_ERR(EINVAL, submit(cb));
  cb = make(IOCB_CMD_FSYNC, nullptr, 1, 0);
  EXPECT_ERR(EINVAL, submit(cb));
  cb = make(IOCB_CMD_PREAD, text, 1, 0);
  const Fd writer(open(at("file").c_str(), O_WRONLY));
  cb.aio_fildes = number(writer);
  EXPECT_ERR(EBADF, submit(cb));
  const Fd directory(open(at("").c_str(), O_RDONLY | O_DIRECTORY));
  cb.aio_fildes = number(directory);
  EXPECT_ERR(EINVAL, submit(cb));
  // Memory that is not there fails the operation, not the call.
  EXPECT_EQ(1, result_of(make(IOCB_CMD_PWRITE, text, 1, 0)));
  EXPECT_EQ(-EFAULT, result_of(make(IOCB_CMD_PREAD, bad(), 1, 0)));
}

TEST_F(AioTest, TellsAnEventfd) {
  const Fd event(eventfd(0, EFD_NONBLOCK));
  char text[] = "x";
  auto cb = make(IOCB_CMD_PWRITE, text, 1, 0);
  cb.aio_flags = IOCB_FLAG_RESFD;
  cb.aio_resfd = number(event);
  EXPECT_EQ(1, submit(cb));
  EXPECT_EQ(1, submit(cb));
  pollfd p = {event, POLLIN, 0};
  EXPECT_EQ(1, poll(&p, 1, -1));
  uint64_t count = 0;
  EXPECT_EQ(8, read(event, &count, 8));
  EXPECT_EQ(2u, count);
  // One more than write(2) may make of it is an error, once.
  count = UINT64_MAX - 1;
  EXPECT_EQ(8, write(event, &count, 8));
  EXPECT_EQ(1, submit(cb));
  EXPECT_EQ(1, poll(&p, 1, -1));
  EXPECT_EQ(POLLIN | POLLERR, p.revents);
  EXPECT_EQ(8, read(event, &count, 8));
  EXPECT_EQ(UINT64_MAX, count);
  EXPECT_EQ(0, poll(&p, 1, 0));
  cb.aio_resfd = number(file_);
  EXPECT_ERR(EINVAL, submit(cb));
  cb.aio_resfd = static_cast<uint32_t>(dead_fd());
  EXPECT_ERR(EBADF, submit(cb));
}

TEST_F(AioTest, AFullQueueRefuses) {
  aio_context_t small = 0;
  ASSERT_OK(sys(SYS_io_setup, 1, &small));
  char text[] = "x";
  iocb cb = make(IOCB_CMD_PWRITE, text, 1, 0);
  iocb* list[] = {&cb};
  // Linux rounds up to what fits its pages, and to what its CPUs might hold back.
  int done = 0;
  while (done < 100'000 && sys(SYS_io_submit, small, 1, list) == 1) ++done;
  EXPECT_EQ(EAGAIN, errno);
  EXPECT_GE(done, 1);
  std::vector<io_event> all(static_cast<size_t>(done) + 1);
  EXPECT_EQ(done, sys(SYS_io_getevents, small, done, done + 1, all.data(), nullptr));
  EXPECT_EQ(1, sys(SYS_io_submit, small, 1, list));
  EXPECT_OK(sys(SYS_io_destroy, small));
}

TEST_F(AioTest, SetupAndDestroy) {
  aio_context_t other = 0;
  EXPECT_ERR(EINVAL, sys(SYS_io_setup, 0, &other));
  EXPECT_ERR(EINVAL, sys(SYS_io_setup, 0x7fff'ffff, &other));
  EXPECT_ERR(EAGAIN, sys(SYS_io_setup, 1'000'000, &other));
  other = 1;
  EXPECT_ERR(EINVAL, sys(SYS_io_setup, 1, &other));
  EXPECT_ERR(EFAULT, sys(SYS_io_setup, 1, bad()));
  auto* const readable = static_cast<char*>(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  EXPECT_ERR(EFAULT, sys(SYS_io_setup, 1, readable));
  munmap(readable, kPage);
  other = 0;
  EXPECT_OK(sys(SYS_io_setup, 1, &other));
  EXPECT_NE(ctx_, other);
  // libaio looks here for the ring.
  EXPECT_EQ(0u, other % kPage);
  (void)*reinterpret_cast<volatile uint32_t*>(other);
  EXPECT_OK(sys(SYS_io_destroy, other));
  EXPECT_ERR(EINVAL, sys(SYS_io_destroy, other));
  EXPECT_ERR(EINVAL, sys(SYS_io_destroy, 0));
  EXPECT_ERR(EINVAL, sys(SYS_io_destroy, bad()));
  EXPECT_ERR(EINVAL, sys(SYS_io_getevents, other, 0, 0, nullptr, &kNoWait));
  EXPECT_ERR(ENOMEM, msync(reinterpret_cast<void*>(other), kPage, MS_ASYNC)) << "still mapped";
}

TEST_F(AioTest, GetEventsErrors) {
  io_event e = {};
  EXPECT_ERR(EINVAL, events(2, 1, &e));
  EXPECT_ERR(EINVAL, events(-1, 1, &e));
  EXPECT_ERR(EINVAL, events(0, -1, &e));
  EXPECT_ERR(EFAULT, events(0, 1, &e, bad<timespec>()));
  char text[] = "x";
  iocb cb = make(IOCB_CMD_PWRITE, text, 1, 0);
  EXPECT_EQ(1, submit(cb));
  EXPECT_ERR(EFAULT, events(1, 1, bad()));
  EXPECT_EQ(1, events(1, 1, &e)) << "it is there still";
}

TEST_F(AioTest, WaitsForOthersAndForTime) {
  io_event e = {};
  const timespec soon = {0, 2'000'000};
  EXPECT_EQ(0, events(1, 1, &e, &soon));
  std::thread waiter([&] {
    EXPECT_EQ(1, events(1, 1, &e));
    EXPECT_EQ(1, static_cast<long>(e.res));
  });
  char text[] = "x";
  iocb cb = make(IOCB_CMD_PWRITE, text, 1, 0);
  EXPECT_EQ(1, submit(cb));
  waiter.join();
}

TEST_F(AioTest, ASignalEndsTheWait) {
  AlarmStorm storm;
  io_event e = {};
  EXPECT_ERR(EINTR, events(1, 1, &e));
}

TEST_F(AioTest, PgetEventsUnderAMask) {
  struct {
    const uint64_t* mask;
    size_t size;
  } set = {nullptr, 8};
  io_event e = {};
  const auto get = [&](const timespec* timeout, const void* s) {
    return sys(SYS_io_pgetevents, ctx_, 1, 1, &e, timeout, s);
  };
  EXPECT_EQ(0, get(&kNoWait, nullptr));
  EXPECT_EQ(0, get(&kNoWait, &set));
  const uint64_t none = 0;
  set.mask = &none;
  EXPECT_EQ(0, get(&kNoWait, &set));
  set.size = 4;
  EXPECT_ERR(EINVAL, get(&kNoWait, &set));
  set = {bad<uint64_t>(), 8};
  EXPECT_ERR(EFAULT, get(&kNoWait, &set));
  EXPECT_ERR(EFAULT, get(&kNoWait, bad()));
  EXPECT_ERR(EFAULT, get(bad<timespec>(), nullptr));
  // Blocked outside the call, let in by it.
  ScopedHandler handler(SIGUSR1, [](int) {});
  ScopedBlock block({SIGUSR1});
  set = {&none, 8};
  EXPECT_OK(raise(SIGUSR1));
  EXPECT_ERR(EINTR, get(nullptr, &set));
}

TEST_F(AioTest, NothingIsLeftToCancel) {
  char text[] = "x";
  iocb cb = make(IOCB_CMD_PWRITE, text, 1, 0);
  io_event e = {};
  EXPECT_ERR(EFAULT, sys(SYS_io_cancel, ctx_, bad(), &e));
  EXPECT_ERR(EFAULT, sys(SYS_io_cancel, 0, bad(), &e));
  EXPECT_ERR(EINVAL, sys(SYS_io_cancel, 0, &cb, &e));
  EXPECT_ERR(EINVAL, sys(SYS_io_cancel, ctx_, &cb, &e));
  EXPECT_EQ(1, submit(cb));
  EXPECT_ERR(EINVAL, sys(SYS_io_cancel, ctx_, &cb, &e));
}

TEST_F(AioTest, AForkedChildHasNone) {
  in_child([&] {
    io_event e = {};
    EXPECT_ERR(EINVAL, events(0, 1, &e));
    EXPECT_ERR(EINVAL, sys(SYS_io_destroy, ctx_));
    aio_context_t own = 0;
    EXPECT_OK(sys(SYS_io_setup, 1, &own));
  });
  io_event e = {};
  EXPECT_EQ(0, events(0, 1, &e));
}

}  // namespace
}  // namespace run9::guest
