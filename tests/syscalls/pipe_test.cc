// Pipes and FIFOs, splice, tee, vmsplice, sendfile.
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

using PipeTest = DirTest;

TEST_F(PipeTest, PipeAndPipe2) {
  int fds[2];
  EXPECT_OK(sys(SYS_pipe, fds));
  EXPECT_EQ(0, fcntl(fds[0], F_GETFD));
  EXPECT_EQ(O_WRONLY, fcntl(fds[1], F_GETFL) & O_ACCMODE);
  EXPECT_EQ(3, write(fds[1], "abc", 3));
  char buffer[8] = {};
  EXPECT_EQ(3, read(fds[0], buffer, 8));
  EXPECT_STREQ("abc", buffer);
  EXPECT_ERR(EBADF, read(fds[1], buffer, 8));
  EXPECT_ERR(EBADF, write(fds[0], buffer, 8));
  close(fds[1]);
  EXPECT_EQ(0, read(fds[0], buffer, 8));
  close(fds[0]);
  EXPECT_OK(sys(SYS_pipe2, fds, O_CLOEXEC | O_NONBLOCK));
  EXPECT_EQ(FD_CLOEXEC, fcntl(fds[0], F_GETFD));
  EXPECT_NE(0, fcntl(fds[1], F_GETFL) & O_NONBLOCK);
  EXPECT_ERR(EAGAIN, read(fds[0], buffer, 8));
  close(fds[0]);
  close(fds[1]);
  EXPECT_ERR(EINVAL, sys(SYS_pipe2, fds, 1));
  for (void* p : bad_pointers()) {
    EXPECT_ERR(EFAULT, sys(SYS_pipe, p));
    EXPECT_ERR(EFAULT, sys(SYS_pipe2, p, 0));
  }
  const int next = dup(0);
  Straddle page;
  EXPECT_ERR(EFAULT, sys(SYS_pipe, page.last(4)));
  const int same = dup(0);
  EXPECT_EQ(next + 1, same);  // the failed calls left no descriptor behind
  close(next);
  close(same);
}

TEST_F(PipeTest, FullAndAtomic) {
  Pipe p(O_NONBLOCK);
  std::vector<char> big(70000, 'x');
  EXPECT_EQ(65536, write(p.w, big.data(), big.size()));
  EXPECT_ERR(EAGAIN, write(p.w, "x", 1));
  EXPECT_EQ(100, read(p.r, big.data(), 100));
  EXPECT_ERR(EAGAIN, write(p.w, big.data(), 4096));  // no more than PIPE_BUF: all or nothing
  int n = 0;
  EXPECT_OK(ioctl(p.r, FIONREAD, &n));
  EXPECT_EQ(65436, n);
}

TEST_F(PipeTest, Size) {
  Pipe p;
  EXPECT_EQ(65536, fcntl(p.r, F_GETPIPE_SZ));
  EXPECT_EQ(4096, fcntl(p.r, F_SETPIPE_SZ, 100));
  EXPECT_EQ(131072, fcntl(p.w, F_SETPIPE_SZ, 100000));
  std::vector<char> big(131072);
  EXPECT_EQ(131072, write(p.w, big.data(), big.size()));
  EXPECT_ERR(EBUSY, fcntl(p.w, F_SETPIPE_SZ, 4096));
  Fd file = open_file("f");
  EXPECT_ERR(EBADF, fcntl(file, F_GETPIPE_SZ));
}

TEST_F(PipeTest, BrokenPipe) {
  signal(SIGPIPE, SIG_IGN);
  Pipe p;
  p.r.reset();
  EXPECT_ERR(EPIPE, write(p.w, "x", 1));
  signal(SIGPIPE, SIG_DFL);
  EXPECT_EQ(SIGPIPE, WTERMSIG(child_status([&] { (void)!write(p.w, "x", 1); })));
}

TEST_F(PipeTest, BlockedReaderSeesTheEnd) {
  Pipe p;
  const pid_t pid = spawn([&] {
    p.w.reset();
    EXPECT_EQ(-1, p.await());
  });
  await_sleep(pid, pid);
  p.w.reset();
  EXPECT_EQ(0, reap(pid));
}

TEST_F(PipeTest, BlockedWriterSeesTheReaderGo) {
  Pipe p;
  const pid_t pid = spawn([&] {
    signal(SIGPIPE, SIG_IGN);
    p.r.reset();
    std::vector<char> big(1 << 20);
    EXPECT_EQ(65536, write(p.w, big.data(), big.size()));  // what went in before
    EXPECT_ERR(EPIPE, write(p.w, "x", 1));
  });
  await_sleep(pid, pid);
  p.r.reset();
  EXPECT_EQ(0, reap(pid));
}

TEST_F(PipeTest, MuchDataThroughAPipe) {
  Pipe p;
  const pid_t pid = spawn([&] {
    p.r.reset();
    std::string chunk(10000, 0);
    for (int i = 0; i < 200; ++i) {
      for (size_t j = 0; j < chunk.size(); ++j) chunk[j] = static_cast<char>(i + j);
      ASSERT_EQ(static_cast<ssize_t>(chunk.size()), write(p.w, chunk.data(), chunk.size()));
    }
  });
  p.w.reset();
  size_t total = 0;
  char buffer[7777];
  ssize_t n;
  bool same = true;
  while ((n = read(p.r, buffer, sizeof(buffer))) > 0) {
    for (ssize_t i = 0; i < n; ++i, ++total) {
      same = same && buffer[i] == static_cast<char>(total / 10000 + total % 10000);
    }
  }
  EXPECT_EQ(2000000u, total);
  EXPECT_TRUE(same);
  EXPECT_EQ(0, reap(pid));
}

TEST_F(PipeTest, StraddlingBuffers) {
  Pipe p(O_NONBLOCK);
  Straddle page;
  const long n = sys(SYS_write, p.w, page.last(3), 10);
  EXPECT_TRUE(n == 3 || (n == -1 && errno == EFAULT)) << n;
  ASSERT_EQ(10, write(p.w, "0123456789", 10));
  EXPECT_ERR(EFAULT, sys(SYS_read, p.r, bad(), 10));
}

TEST_F(PipeTest, PacketMode) {
  Pipe p(O_DIRECT);
  ASSERT_EQ(3, write(p.w, "abc", 3));
  ASSERT_EQ(2, write(p.w, "de", 2));
  char buffer[16] = {};
  EXPECT_EQ(3, read(p.r, buffer, 16));
  EXPECT_EQ(1, read(p.r, buffer, 1));  // the rest of the packet is dropped
  EXPECT_EQ('d', buffer[0]);
  ASSERT_EQ(1, write(p.w, "f", 1));
  EXPECT_EQ(1, read(p.r, buffer, 16));
  EXPECT_EQ('f', buffer[0]);
}

TEST_F(PipeTest, Fifo) {
  ASSERT_OK(mkfifo(at("fifo").c_str(), 0600));
  EXPECT_ERR(ENXIO, open(at("fifo").c_str(), O_WRONLY | O_NONBLOCK));
  Fd reader(open(at("fifo").c_str(), O_RDONLY | O_NONBLOCK));
  ASSERT_OK(+reader);
  char buffer[8] = {};
  EXPECT_EQ(0, read(reader, buffer, 8));  // nobody writes
  Fd writer(open(at("fifo").c_str(), O_WRONLY | O_NONBLOCK));
  ASSERT_OK(+writer);
  EXPECT_ERR(EAGAIN, read(reader, buffer, 8));
  EXPECT_EQ(2, write(writer, "hi", 2));
  EXPECT_EQ(2, read(reader, buffer, 8));
  writer.reset();
  EXPECT_EQ(0, read(reader, buffer, 8));
  Fd both(open(at("fifo").c_str(), O_RDWR));
  EXPECT_OK(+both);
}

short polled(int fd, short events) {
  pollfd p{fd, events, 0};
  EXPECT_OK(poll(&p, 1, 0));
  return p.revents;
}

// fifo(7), poll(2): POLLHUP once the last writer has gone, but not before there was one.
TEST_F(PipeTest, FifoHangsUp) {
  const std::string path = at("fifo");
  ASSERT_OK(mkfifo(path.c_str(), 0600));
  for (int i = 0; i < 2; ++i) {
    const Fd early(open(path.c_str(), O_RDONLY | O_NONBLOCK));
    EXPECT_EQ(0, polled(early, POLLIN)) << i;
    Fd writer(open(path.c_str(), O_WRONLY));
    EXPECT_EQ(0, polled(early, POLLIN)) << i;
    const Fd late(open(path.c_str(), O_RDONLY | O_NONBLOCK)), waits(open(path.c_str(), O_RDONLY));
    EXPECT_EQ(0, polled(late, POLLIN)) << i;
    ASSERT_EQ(1, write(writer, "x", 1));
    EXPECT_EQ(POLLIN, polled(late, POLLIN)) << i;
    writer.reset();
    for (const int fd : {static_cast<int>(early), static_cast<int>(late), static_cast<int>(waits)}) {
      EXPECT_EQ(POLLIN | POLLHUP, polled(fd, POLLIN)) << i;
    }
    char byte;
    ASSERT_EQ(1, read(late, &byte, 1));
    EXPECT_EQ(POLLHUP, polled(waits, POLLIN)) << i;
    const Fd another(open(path.c_str(), O_RDONLY | O_NONBLOCK));
    EXPECT_EQ(0, polled(another, POLLIN)) << i;
    writer = Fd(open(path.c_str(), O_WRONLY | O_NONBLOCK));
    EXPECT_EQ(0, polled(early, POLLIN)) << i;
    writer.reset();
    EXPECT_EQ(POLLHUP, polled(another, POLLIN)) << i;
  }
}

// Both ends at once, each waiting for the other.
TEST_F(PipeTest, FifoHangsUpForWhoWaitedForAWriter) {
  const std::string path = at("fifo");
  ASSERT_OK(mkfifo(path.c_str(), 0600));
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      const int writer = open(path.c_str(), O_WRONLY);
      _exit(writer >= 0 && write(writer, "x", 1) == 1 ? 0 : 1);
    }
    Fd reader(open(path.c_str(), O_RDONLY));
    int status;
    ASSERT_EQ(child, waitpid(child, &status, 0));
    EXPECT_EQ(0, status);
    EXPECT_EQ(POLLIN | POLLHUP, polled(reader, POLLIN));
  }
}

TEST_F(PipeTest, FifoOpenWaitsForTheOtherEnd) {
  ASSERT_OK(mkfifo(at("fifo").c_str(), 0600));
  const pid_t pid = spawn([&] {
    Fd writer(open(at("fifo").c_str(), O_WRONLY));
    EXPECT_EQ(2, write(writer, "hi", 2));
  });
  Fd reader(open(at("fifo").c_str(), O_RDONLY));
  char buffer[8] = {};
  EXPECT_EQ(2, read(reader, buffer, 8));
  EXPECT_EQ(0, read(reader, buffer, 8));
  EXPECT_EQ(0, reap(pid));
}

TEST_F(PipeTest, ReopenThroughProc) {
  Pipe p;
  Fd again(open(("/proc/self/fd/" + std::to_string(p.w)).c_str(), O_WRONLY));
  ASSERT_OK(+again);
  ASSERT_EQ(1, write(again, "x", 1));
  EXPECT_EQ('x', p.await());
}

TEST_F(PipeTest, Poll) {
  Pipe p;
  pollfd fds[2] = {{p.r, POLLIN, 0}, {p.w, POLLOUT, 0}};
  EXPECT_EQ(1, poll(fds, 2, 0));
  EXPECT_EQ(POLLOUT, fds[1].revents);
  p.notify();
  EXPECT_EQ(2, poll(fds, 2, 0));
  EXPECT_EQ(POLLIN, fds[0].revents);
  p.await();
  p.w.reset();
  EXPECT_EQ(1, poll(fds, 1, 0));
  EXPECT_EQ(POLLHUP, fds[0].revents);
  Pipe q;
  q.r.reset();
  fds[0] = {q.w, POLLOUT, 0};
  EXPECT_EQ(1, poll(fds, 1, 0));
  EXPECT_EQ(POLLOUT | POLLERR, fds[0].revents);
}

TEST_F(PipeTest, Splice) {
  Pipe p, q;
  Fd in = open_file("in", "0123456789"), out = open_file("out");
  int64_t offset = 2;
  EXPECT_EQ(5, sys(SYS_splice, in, &offset, p.w, nullptr, 5, 0));
  EXPECT_EQ(7, offset);
  EXPECT_EQ(3, sys(SYS_splice, p.r, nullptr, q.w, nullptr, 3, 0));
  EXPECT_EQ(3, sys(SYS_splice, q.r, nullptr, out, nullptr, 100, 0));
  EXPECT_EQ("234", read_file(at("out")));
  EXPECT_ERR(EINVAL, sys(SYS_splice, in, nullptr, out, nullptr, 5, 0));  // no pipe
  EXPECT_ERR(ESPIPE, sys(SYS_splice, p.r, &offset, out, nullptr, 5, 0));
  EXPECT_ERR(EBADF, sys(SYS_splice, dead_fd(), nullptr, p.w, nullptr, 5, 0));
  EXPECT_ERR(EBADF, sys(SYS_splice, p.r, nullptr, dead_fd(), nullptr, 5, 0));
  EXPECT_ERR(EINVAL, sys(SYS_splice, in, nullptr, p.w, nullptr, 5, 64));
  EXPECT_ERR(EFAULT, sys(SYS_splice, in, bad(), p.w, nullptr, 5, 0));
  EXPECT_ERR(EAGAIN, sys(SYS_splice, q.r, nullptr, out, nullptr, 5, SPLICE_F_NONBLOCK));
}

TEST_F(PipeTest, Tee) {
  Pipe p, q(O_NONBLOCK);
  ASSERT_EQ(5, write(p.w, "hello", 5));
  EXPECT_EQ(5, sys(SYS_tee, p.r, q.w, 100, 0));
  char buffer[16] = {};
  EXPECT_EQ(5, read(q.r, buffer, 16));
  EXPECT_EQ(5, read(p.r, buffer, 16));
  EXPECT_ERR(EAGAIN, sys(SYS_tee, p.r, q.w, 100, SPLICE_F_NONBLOCK));
  Fd file = open_file("f");
  EXPECT_ERR(EINVAL, sys(SYS_tee, file, q.w, 100, 0));
  EXPECT_ERR(EINVAL, sys(SYS_tee, p.r, p.w, 100, 0));
  EXPECT_ERR(EINVAL, sys(SYS_tee, p.r, q.w, 100, 64));
  EXPECT_ERR(EBADF, sys(SYS_tee, dead_fd(), q.w, 100, 0));
}

TEST_F(PipeTest, Vmsplice) {
  Pipe p;
  iovec v = {const_cast<char*>("hello"), 5};
  EXPECT_EQ(5, sys(SYS_vmsplice, p.w, &v, 1, 0));
  char buffer[16] = {};
  iovec in = {buffer, 16};
  EXPECT_EQ(5, sys(SYS_vmsplice, p.r, &in, 1, 0));
  EXPECT_STREQ("hello", buffer);
  EXPECT_ERR(EBADF, sys(SYS_vmsplice, dead_fd(), &v, 1, 0));
  EXPECT_ERR(EINVAL, sys(SYS_vmsplice, p.w, &v, 1, 64));
  EXPECT_ERR(EFAULT, sys(SYS_vmsplice, p.w, bad(), 1, 0));
  Fd file = open_file("f");
  EXPECT_ERR(EBADF, sys(SYS_vmsplice, file, &v, 1, 0));
}

// It waits for room, and then takes what fits.
TEST_F(PipeTest, VmspliceOfMoreThanFits) {
  Pipe p;
  constexpr size_t kMuch = 1 << 20;
  void* much = mmap(nullptr, kMuch, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_OK(much);
  iovec v = {much, kMuch};
  EXPECT_EQ(65536, sys(SYS_vmsplice, p.w, &v, 1, 0));
  EXPECT_ERR(EAGAIN, sys(SYS_vmsplice, p.w, &v, 1, SPLICE_F_NONBLOCK));
  munmap(much, kMuch);
}

TEST_F(PipeTest, Sendfile) {
  Fd in = open_file("in", "0123456789"), out = open_file("out");
  EXPECT_EQ(4, sys(SYS_sendfile, out, in, nullptr, 4));
  EXPECT_EQ(4, lseek(in, 0, SEEK_CUR));
  int64_t offset = 8;
  EXPECT_EQ(2, sys(SYS_sendfile, out, in, &offset, 100));
  EXPECT_EQ(10, offset);
  EXPECT_EQ(4, lseek(in, 0, SEEK_CUR));
  EXPECT_EQ("012389", read_file(at("out")));
  EXPECT_EQ(0, sys(SYS_sendfile, out, in, &offset, 100));
  Pipe p;
  EXPECT_EQ(6, sys(SYS_sendfile, p.w, in, nullptr, 100));
  EXPECT_ERR(EBADF, sys(SYS_sendfile, dead_fd(), in, nullptr, 1));
  EXPECT_ERR(EBADF, sys(SYS_sendfile, out, dead_fd(), nullptr, 1));
  EXPECT_ERR(EBADF, sys(SYS_sendfile, p.r, in, nullptr, 1));
  EXPECT_ERR(EFAULT, sys(SYS_sendfile, out, in, bad(), 1));
  EXPECT_ERR(EINVAL, sys(SYS_sendfile, out, p.r, nullptr, 1));
  offset = -1;
  EXPECT_ERR(EINVAL, sys(SYS_sendfile, out, in, &offset, 1));
  Fd append(open(at("out").c_str(), O_WRONLY | O_APPEND));
  EXPECT_ERR(EINVAL, sys(SYS_sendfile, append, in, nullptr, 1));
}

}  // namespace
}  // namespace run9::guest
