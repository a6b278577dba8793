// Pipes that two processes use again and again: whatever a kernel does to be quick then must not show. Each test warms a pipe up, and
// does something else with it.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/uio.h>

#include <atomic>
#include <thread>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

constexpr int kWarm = 400;

// A child that answers each byte on `there` by the next one on `back`, until the end of the file.
class Echo {
 public:
  explicit Echo(int rounds = kWarm) {
    pid_ = spawn([&] {
      there_.w = Fd();
      back_.r = Fd();
      for (int c; (c = there_.await()) >= 0;) back_.notify(static_cast<char>(c + 1));
    });
    there_.r = Fd();
    back_.w = Fd();
    for (int i = 0; i < rounds; ++i) ask();
  }
  ~Echo() {
    there_.w = Fd();
    if (pid_ > 0) EXPECT_EQ(0, reap(pid_));
  }
  void ask() {
    there_.notify('a');
    EXPECT_EQ('b', back_.await());
  }
  int to() const { return there_.w; }
  int from() const { return back_.r; }
  pid_t pid() const { return pid_; }
  void killed() { pid_ = -1; }

 private:
  Pipe there_, back_;
  pid_t pid_;
};

void warm(const Pipe& p) {
  for (int i = 0; i < kWarm; ++i) {
    p.notify();
    ASSERT_EQ('n', p.await());
  }
}

char pattern(size_t i) { return static_cast<char>(i * 7 + i / 251); }

TEST(HotPipeTest, TwoProcessesTalk) {
  Echo echo(20'000);
}

TEST(HotPipeTest, EndOfFileReachesWhoSleeps) {
  // Echo's destructor closes the last writer while the child waits.
  for (int i = 0; i < 20; ++i) Echo echo(150);
}

TEST(HotPipeTest, EndOfFileWhenTheWriterIsKilled) {
  Echo echo;
  ASSERT_OK(kill(echo.pid(), SIGKILL));
  char c;
  EXPECT_EQ(0, read(echo.from(), &c, 1));
  EXPECT_EQ(SIGKILL, reap(echo.pid()));
  echo.killed();
  ScopedHandler ignore(SIGPIPE, SIG_IGN);
  EXPECT_ERR(EPIPE, write(echo.to(), "x", 1));
}

TEST(HotPipeTest, AllBytesInOrderInPiecesOfAnySize) {
  Pipe p;
  constexpr size_t kTotal = 24 << 20;
  const pid_t child = spawn([&] {
    p.r = Fd();
    std::vector<char> bytes(300'000);
    size_t done = 0;
    for (size_t size = 1; done < kTotal; size = size * 5 % 299'993 + 1) {
      const size_t n = std::min(size, kTotal - done);
      for (size_t i = 0; i < n; ++i) bytes[i] = pattern(done + i);
      ASSERT_EQ(static_cast<ssize_t>(n), write(p.w, bytes.data(), n));  // all of it: nothing interrupts
      done += n;
    }
  });
  p.w = Fd();
  std::vector<char> bytes(200'000);
  size_t done = 0;
  for (size_t size = 3;; size = size * 7 % 199'999 + 1) {
    const ssize_t n = read(p.r, bytes.data(), size);
    ASSERT_GE(n, 0);
    if (n == 0) break;
    ASSERT_LE(static_cast<size_t>(n), size);
    for (ssize_t i = 0; i < n; ++i) ASSERT_EQ(pattern(done + static_cast<size_t>(i)), bytes[static_cast<size_t>(i)]) << done + static_cast<size_t>(i);
    done += static_cast<size_t>(n);
  }
  EXPECT_EQ(kTotal, done);
  EXPECT_EQ(0, reap(child));
}

TEST(HotPipeTest, PollAndFionreadSeeWhatIsThere) {
  Pipe p;
  warm(p);
  pollfd in{p.r, POLLIN, 0}, out{p.w, POLLOUT, 0};
  EXPECT_EQ(0, poll(&in, 1, 0));
  EXPECT_EQ(1, poll(&out, 1, 0));
  warm(p);
  EXPECT_EQ(5, write(p.w, "hello", 5));
  EXPECT_EQ(1, poll(&in, 1, -1));
  for (int i = 0; i < kWarm; ++i) {
    EXPECT_EQ(2, write(p.w, "xy", 2));
    char two[2];
    ASSERT_EQ(2, read(p.r, two, 2));
  }
  int n = 0;
  EXPECT_OK(ioctl(p.r, FIONREAD, &n));
  EXPECT_EQ(5, n);
  char rest[8] = {};
  EXPECT_EQ(5, read(p.r, rest, sizeof rest));
}

TEST(HotPipeTest, WhoPollsIsWokenByAHotWriter) {
  Echo echo;
  const int ep = epoll_create1(EPOLL_CLOEXEC);
  epoll_event e{.events = EPOLLIN, .data = {}};
  ASSERT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, echo.from(), &e));
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(1, write(echo.to(), "a", 1));
    ASSERT_EQ(1, epoll_wait(ep, &e, 1, -1));
    char c;
    ASSERT_EQ(1, read(echo.from(), &c, 1));
    ASSERT_EQ(0, epoll_wait(ep, &e, 1, 0));
  }
  close(ep);
}

TEST(HotPipeTest, NonblockingFromHereOn) {
  Pipe p;
  warm(p);
  ASSERT_OK(fcntl(p.r, F_SETFL, O_NONBLOCK));
  char c;
  EXPECT_ERR(EAGAIN, read(p.r, &c, 1));
  ASSERT_OK(fcntl(p.r, F_SETFL, 0));
  warm(p);
  ASSERT_OK(fcntl(p.w, F_SETFL, O_NONBLOCK));
  const std::vector<char> big(100'000);
  EXPECT_EQ(65536, write(p.w, big.data(), big.size()));
  EXPECT_ERR(EAGAIN, write(p.w, "x", 1));
}

TEST(HotPipeTest, SmallWritesAreNotTornApart) {
  Pipe p;
  constexpr int kWriters = 3, kEach = 3000, kSize = 1000;
  std::vector<pid_t> children;
  for (int w = 0; w < kWriters; ++w) {
    children.push_back(spawn([&] {
      const std::vector<char> record(kSize, static_cast<char>('a' + w));
      for (int i = 0; i < kEach; ++i) ASSERT_EQ(kSize, write(p.w, record.data(), kSize));
    }));
  }
  p.w = Fd();
  std::vector<char> all;
  std::vector<char> bytes(7000);
  for (ssize_t n; (n = read(p.r, bytes.data(), bytes.size())) > 0;) all.insert(all.end(), bytes.begin(), bytes.begin() + n);
  for (pid_t c : children) EXPECT_EQ(0, reap(c));
  ASSERT_EQ(size_t{kWriters} * kEach * kSize, all.size());
  for (size_t at = 0; at < all.size(); at += kSize) {
    for (size_t i = 1; i < kSize; ++i) ASSERT_EQ(all[at], all[at + i]) << at + i;
  }
}

TEST(HotPipeTest, ReadersShareWhatComes) {
  Pipe p;
  warm(p);
  std::atomic<size_t> got = 0;
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      char bytes[100];
      for (ssize_t n; (n = read(p.r, bytes, sizeof bytes)) > 0;) {
        for (ssize_t k = 0; k < n; ++k) EXPECT_EQ('z', bytes[k]);
        got += static_cast<size_t>(n);
      }
    });
  }
  const std::vector<char> some(977, 'z');
  constexpr size_t kWrites = 5000;
  for (size_t i = 0; i < kWrites; ++i) ASSERT_EQ(977, write(p.w, some.data(), some.size()));
  p.w = Fd();
  for (auto& t : readers) t.join();
  EXPECT_EQ(kWrites * 977, got.load());
}

// More than there is room for at once, of two threads on each side; some are polled in between.
TEST(HotPipeTest, ManyPipesOneAfterAnother) {
  constexpr size_t kPairs = 12, kThreads = 2;
  struct Pair {
    Pipe there, back;
  };
  std::vector<Pair> pairs(kPairs * kThreads);
  const auto on_threads = [](auto talk) {
    std::vector<std::thread> threads;
    for (size_t t = 0; t < kThreads; ++t) threads.emplace_back(talk, t * kPairs);
    for (auto& t : threads) t.join();
  };
  const pid_t child = spawn([&] {
    on_threads([&](size_t first) {
      for (size_t i = first; i < first + kPairs; ++i) {
        for (char c; (c = static_cast<char>(pairs[i].there.await())) != 'e';) pairs[i].back.notify(static_cast<char>(c + 1));
      }
    });
  });
  on_threads([&](size_t first) {
    for (size_t i = first; i < first + kPairs; ++i) {
      Pair& pair = pairs[i];
      for (int k = 0; k < kWarm; ++k) {
        pair.there.notify('a');
        pollfd p{pair.back.r, POLLIN, 0};
        if (i % 3 == 0 && k % 100 == 99) EXPECT_EQ(1, poll(&p, 1, -1));
        ASSERT_EQ('b', pair.back.await());
      }
      pair.there.notify('e');
    }
  });
  EXPECT_EQ(0, reap(child));
}

TEST(HotPipeTest, ASignalEndsAReadThatWaits) {
  Pipe p;
  warm(p);
  char c;
  {
    AlarmStorm storm;
    for (int i = 0; i < 10; ++i) EXPECT_ERR(EINTR, read(p.r, &c, 1));
  }
  warm(p);
  AlarmStorm restarts(SA_RESTART);
  const pid_t main = getpid();
  std::thread late([&] {
    await_sleep(main, main);
    usleep(20'000);
    p.notify('l');
  });
  EXPECT_EQ(1, read(p.r, &c, 1));
  EXPECT_EQ('l', c);
  late.join();
}

TEST(HotPipeTest, ASignalCutsAWriteThatWaits) {
  Pipe p;
  warm(p);
  AlarmStorm storm;
  const std::vector<char> big(200'000, 'q');
  const ssize_t n = write(p.w, big.data(), big.size());
  EXPECT_EQ(65536, n);
  EXPECT_ERR(EINTR, write(p.w, "x", 1));
}

TEST(HotPipeTest, OneDescriptorClosedAnotherStays) {
  Pipe p;
  warm(p);
  const int other = dup(p.w);
  p.w = Fd();
  EXPECT_EQ(1, write(other, "o", 1));
  EXPECT_EQ('o', p.await());
  close(other);
  EXPECT_EQ(-1, p.await());
}

TEST(HotPipeTest, ANumberThatBecomesAnotherFile) {
  Pipe p, q;
  warm(p);
  const int number = p.w;
  ASSERT_EQ(number, dup2(q.w, number));
  EXPECT_EQ(1, write(number, "q", 1));
  EXPECT_EQ('q', q.await());
  EXPECT_EQ(-1, p.await());
  warm(q);
  ASSERT_OK(close(number));
  EXPECT_ERR(EBADF, write(number, "q", 1));
  p.w.forget();
}

TEST(HotPipeTest, AForkedChildReadsAndWritesAsWell) {
  Pipe p;
  warm(p);
  EXPECT_EQ(3, write(p.w, "abc", 3));
  in_child([&] {
    EXPECT_EQ('a', p.await());
    p.notify('d');
  });
  EXPECT_EQ('b', p.await());
  EXPECT_EQ('c', p.await());
  EXPECT_EQ('d', p.await());
  warm(p);
}

TEST(HotPipeTest, AVforkedChildHasItsOwnDescriptors) {
  Pipe p, q;
  warm(p);
  const int w = p.w, other = q.w;
  const pid_t child = vfork();
  if (child == 0) {
    const bool good = dup2(other, w) == w && write(w, "v", 1) == 1;
    _exit(good ? 0 : 1);
  }
  EXPECT_EQ(0, reap(child));
  EXPECT_EQ('v', q.await());
  EXPECT_EQ(1, write(w, "p", 1));
  EXPECT_EQ('p', p.await());
}

TEST(HotPipeTest, AThreadWithDescriptorsOfItsOwn) {
  Pipe p, q;
  warm(p);
  std::thread([&] {
    ASSERT_OK(unshare(CLONE_FILES));
    ASSERT_EQ(p.w, dup2(q.w, p.w));
    EXPECT_EQ(1, write(p.w, "t", 1));
  }).join();
  EXPECT_EQ('t', q.await());
  EXPECT_EQ(1, write(p.w, "p", 1));
  EXPECT_EQ('p', p.await());
}

TEST(HotPipeTest, WithVectorsInBetween) {
  Pipe p;
  for (int round = 0; round < 3; ++round) {
    warm(p);
    char a[] = "one", b[] = "two";
    const iovec out[] = {{a, 3}, {b, 3}};
    EXPECT_EQ(6, writev(p.w, out, 2));
    char c[6];
    EXPECT_EQ(4, read(p.r, c, 4));
    const iovec in[] = {{c + 4, 1}, {c + 5, 1}};
    EXPECT_EQ(2, readv(p.r, in, 2));
    EXPECT_EQ(0, memcmp(c, "onetwo", 6));
  }
}

TEST(HotPipeTest, BadPointersAndNothing) {
  Pipe p;
  warm(p);
  EXPECT_EQ(1, write(p.w, "x", 1));
  for (void* bad : bad_pointers()) {
    EXPECT_ERR(EFAULT, read(p.r, bad, 1));
    EXPECT_ERR(EFAULT, write(p.w, bad, 1));
  }
  EXPECT_EQ(0, read(p.r, nullptr, 0));
  EXPECT_EQ(0, write(p.w, nullptr, 0));
  EXPECT_EQ('x', p.await());
}

TEST(HotPipeTest, ExecLeavesWhatWasWritten) {
  Pipe p(0);
  warm(p);
  EXPECT_EQ(4, write(p.w, "left", 4));
  const std::string r = std::to_string(static_cast<int>(p.r));
  const pid_t child = spawn([&] { execl(self_path().c_str(), "hot_pipe_test", "--helper", r.c_str(), nullptr); });
  EXPECT_EQ(0, reap(child));
}

TEST(HotPipeTest, AnotherUserReadsOn) {
  SKIP_UNLESS_ROOT();
  Pipe p;
  const pid_t child = spawn([&] {
    p.w = Fd();
    for (int i = 0; i < kWarm; ++i) ASSERT_EQ('n', p.await());
    ASSERT_EQ(0, sys(SYS_setresuid, kNobody, kNobody, kNobody));
    int n = kWarm;
    while (p.await() == 'n') ++n;
    EXPECT_EQ(3 * kWarm, n);
  });
  p.r = Fd();
  for (int i = 0; i < 3 * kWarm; ++i) p.notify();
  p.w = Fd();
  EXPECT_EQ(0, reap(child));
}

}  // namespace
}  // namespace run9::guest

// Reads four bytes from the descriptor that it is told.
extern "C" int helper_main(int argc, char** argv) {
  char bytes[5] = {};
  if (argc < 1 || read(atoi(argv[0]), bytes, 4) != 4) return 1;
  return strcmp(bytes, "left") == 0 ? 0 : 2;
}
