// Reads and writes of every size: a kernel may move small, middle and large ones in different ways.
#include <pthread.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

constexpr size_t kSizes[] = {1,    16,    17,    1023,  1024,  1025,  2047,  2048,  2049,  4095, 4096,
                             4097, 10240, 32767, 32768, 32769, 50000, 65535, 65536, 65537, 131071, 131072, 131073, 200'000};
constexpr size_t kMost = 200'000, kGuard = 64;

char pattern(size_t i, size_t seed) { return static_cast<char>((i * 31 + i / 251 + seed) & 0x7f); }

std::string made(size_t size, size_t seed) {
  std::string s(size, '\0');
  for (size_t i = 0; i < size; ++i) s[i] = pattern(i, seed);
  return s;
}

// Room with bytes around it that nobody may touch.
class Guarded {
 public:
  explicit Guarded(size_t size) : bytes_(size + 2 * kGuard, '\x7f') {}
  char* data() { return bytes_.data() + kGuard; }
  std::string content(size_t n) { return {data(), n}; }
  bool untouched_behind(size_t n) const {
    const auto odd = [](char c) { return c != '\x7f'; };
    return std::none_of(bytes_.begin(), bytes_.begin() + kGuard, odd) &&
           std::none_of(bytes_.begin() + static_cast<ptrdiff_t>(kGuard + n), bytes_.end(), odd);
  }

 private:
  std::string bytes_;
};

class TransferTest : public testing::Test {
 protected:
  TransferTest() : fd_(open("/tmp", O_TMPFILE | O_RDWR, 0600)) {}
  ~TransferTest() override { close(fd_); }
  const int fd_;
};

TEST_F(TransferTest, FilesAtAPosition) {
  ASSERT_OK(fd_);
  for (const size_t size : kSizes) {
    const std::string data = made(size, size);
    ASSERT_EQ(pwrite(fd_, data.data(), size, 100), static_cast<ssize_t>(size));
    Guarded back(size);
    ASSERT_EQ(pread(fd_, back.data(), size, 100), static_cast<ssize_t>(size));
    EXPECT_EQ(back.content(size), data);
    EXPECT_TRUE(back.untouched_behind(size));
  }
}

TEST_F(TransferTest, FilesOneAfterTheOther) {
  ASSERT_OK(fd_);
  std::string all;
  for (const size_t size : kSizes) {
    const std::string data = made(size, size + 1);
    ASSERT_EQ(write(fd_, data.data(), size), static_cast<ssize_t>(size));
    all += data;
  }
  ASSERT_EQ(lseek(fd_, 0, SEEK_SET), 0);
  size_t at = 0;
  for (const size_t size : kSizes) {
    Guarded back(size);
    ASSERT_EQ(read(fd_, back.data(), size), static_cast<ssize_t>(size));
    EXPECT_EQ(back.content(size), all.substr(at, size));
    EXPECT_TRUE(back.untouched_behind(size));
    at += size;
    EXPECT_EQ(lseek(fd_, 0, SEEK_CUR), static_cast<off_t>(at));
  }
}

// What is behind the end of the file stays as it is.
TEST_F(TransferTest, ShortFilesIntoLargeBuffers) {
  ASSERT_OK(fd_);
  for (const size_t size : kSizes) {
    const std::string data = made(size, 7);
    ASSERT_OK(ftruncate(fd_, 0));
    ASSERT_EQ(pwrite(fd_, data.data(), size, 0), static_cast<ssize_t>(size));
    for (const size_t room : {size + 1, size + 5000, size + 40'000}) {
      Guarded back(room);
      ASSERT_EQ(pread(fd_, back.data(), room, 0), static_cast<ssize_t>(size));
      EXPECT_EQ(back.content(size), data);
      EXPECT_TRUE(back.untouched_behind(size));
      EXPECT_EQ(pread(fd_, back.data(), room, static_cast<off_t>(size)), 0);
      EXPECT_TRUE(back.untouched_behind(size));
    }
  }
}

// From ends[1] to ends[0], which are closed then.
void through(const int (&ends)[2]) {
  const int out = ends[1], in = ends[0];
  for (const size_t size : kSizes) {
    const std::string data = made(size, 3);
    std::thread writer([&] {
      for (size_t done = 0; done < size;) {
        const ssize_t n = write(out, data.data() + done, size - done);
        ASSERT_GT(n, 0);
        done += static_cast<size_t>(n);
      }
    });
    Guarded back(size);
    for (size_t done = 0; done < size;) {
      const ssize_t n = read(in, back.data() + done, size - done);
      ASSERT_GT(n, 0);
      done += static_cast<size_t>(n);
    }
    writer.join();
    EXPECT_EQ(back.content(size), data);
    EXPECT_TRUE(back.untouched_behind(size));
  }
  close(in);
  close(out);
}

TEST_F(TransferTest, Pipes) {
  int p[2];
  ASSERT_OK(pipe(p));
  through(p);
}

TEST_F(TransferTest, Sockets) {
  int s[2];
  ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  through(s);
}

TEST_F(TransferTest, MessagesStayWhole) {
  int s[2];
  ASSERT_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
  for (const size_t size : kSizes) {
    if (size > 100'000) continue;  // net.core.wmem
    const std::string data = made(size, 9);
    ASSERT_EQ(send(s[0], data.data(), size, 0), static_cast<ssize_t>(size));
    Guarded back(kMost);
    ASSERT_EQ(read(s[1], back.data(), kMost), static_cast<ssize_t>(size));
    EXPECT_EQ(back.content(size), data);
    EXPECT_TRUE(back.untouched_behind(size));
  }
  close(s[0]);
  close(s[1]);
}

// So many parts of one buffer, some of them empty.
std::vector<iovec> parts_of(char* at, size_t size, size_t count) {
  std::vector<iovec> parts;
  for (size_t i = 0; i < count; ++i) {
    size_t n = i % 5 == 3 ? 0 : std::min(size, 1 + (i * 7919) % (2 * size / count + 1));
    if (i + 1 == count) n = size;
    parts.push_back({at, n});
    at += n;
    size -= n;
  }
  return parts;
}

constexpr size_t kCounts[] = {1, 2, 3, 17, 63, 64, 65, 300};

TEST_F(TransferTest, FilesInParts) {
  ASSERT_OK(fd_);
  for (const size_t size : kSizes) {
    std::string data = made(size, 11);
    for (const size_t count : kCounts) {
      ASSERT_OK(ftruncate(fd_, 0));
      auto parts = parts_of(data.data(), size, count);
      const auto n = static_cast<int>(count);
      ASSERT_EQ(pwritev(fd_, parts.data(), n, 50), static_cast<ssize_t>(size));
      Guarded back(size + 100);  // more room than there is
      parts = parts_of(back.data(), size + 100, count);
      ASSERT_EQ(preadv(fd_, parts.data(), n, 50), static_cast<ssize_t>(size));
      EXPECT_EQ(back.content(size), data);
      EXPECT_TRUE(back.untouched_behind(size));
    }
  }
}

TEST_F(TransferTest, SocketsInParts) {
  int s[2];
  ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  for (const size_t size : kSizes) {
    if (size > 60'000) continue;  // fits into it
    std::string data = made(size, 12);
    for (const size_t count : kCounts) {
      auto parts = parts_of(data.data(), size, count);
      const auto n = static_cast<int>(count);
      ASSERT_EQ(writev(s[1], parts.data(), n), static_cast<ssize_t>(size));
      Guarded back(size);
      for (size_t done = 0; done < size;) {
        parts = parts_of(back.data() + done, size - done, count);
        const ssize_t got = readv(s[0], parts.data(), n);
        ASSERT_GT(got, 0);
        done += static_cast<size_t>(got);
      }
      EXPECT_EQ(back.content(size), data);
      EXPECT_TRUE(back.untouched_behind(size));
    }
  }
  close(s[0]);
  close(s[1]);
}

// The same memory twice: as if one part came after the other.
TEST_F(TransferTest, PartsOfTheSameMemory) {
  ASSERT_OK(fd_);
  std::string data = made(3000, 1);
  const iovec twice[] = {{data.data(), 2000}, {data.data() + 1000, 2000}, {data.data(), 10}};
  ASSERT_EQ(pwritev(fd_, twice, 3, 0), 4010);
  std::string back(4010, '\0');
  ASSERT_EQ(pread(fd_, back.data(), 4010, 0), 4010);
  EXPECT_EQ(back, data.substr(0, 2000) + data.substr(1000) + data.substr(0, 10));
  std::string room(3000, '\0');
  const iovec over[] = {{room.data(), 2000}, {room.data() + 1000, 2000}};
  ASSERT_EQ(preadv(fd_, over, 2, 0), 4000);
  EXPECT_EQ(room, back.substr(0, 1000) + back.substr(2000, 2000));
  // The array's own memory is written: it was looked at before.
  iovec own[2] = {{own, sizeof own}, {room.data(), 100}};
  ASSERT_EQ(preadv(fd_, own, 2, 0), static_cast<ssize_t>(sizeof own + 100));
  EXPECT_EQ(memcmp(own, back.data(), sizeof own), 0);
  EXPECT_EQ(room.substr(0, 100), back.substr(sizeof own, 100));
}

TEST_F(TransferTest, HolesInTheParts) {
  ASSERT_OK(fd_);
  const std::string data = made(16 * kPage, 5);
  ASSERT_EQ(write(fd_, data.data(), data.size()), static_cast<ssize_t>(data.size()));
  auto* const room = static_cast<char*>(map_anonymous(8 * kPage, PROT_READ | PROT_WRITE));
  std::string other(kPage, '\0');
  for (const int left : {PROT_NONE, PROT_READ}) {
    ASSERT_OK(mprotect(room + 3 * kPage, kPage, left));
    const iovec parts[] = {{other.data(), 100}, {room + 2 * kPage, 3 * kPage}, {other.data() + 200, 100}};
    EXPECT_EQ(preadv(fd_, parts, 3, 0), static_cast<ssize_t>(100 + kPage));
    EXPECT_EQ(memcmp(room + 2 * kPage, data.data() + 100, kPage), 0);
    EXPECT_EQ(other.substr(200, 100), std::string(100, '\0'));
    const iovec bad_first[] = {{room + 3 * kPage, 100}, {other.data(), 100}};
    EXPECT_ERR(EFAULT, preadv(fd_, bad_first, 2, 0));
    const iovec bad_but_empty[] = {{room + 3 * kPage, 0}, {other.data(), 100}};
    EXPECT_EQ(preadv(fd_, bad_but_empty, 2, 0), 100);
    const ssize_t written = pwritev(fd_, parts, 3, static_cast<off_t>(data.size()));
    EXPECT_EQ(written, static_cast<ssize_t>(left == PROT_NONE ? 100 + kPage : 200 + 3 * kPage));
    ASSERT_OK(mprotect(room + 3 * kPage, kPage, PROT_READ | PROT_WRITE));
  }
  munmap(room, 8 * kPage);
}

// The list of mappings has a bound in the middle of the buffer, which is whole all the same.
TEST_F(TransferTest, BuffersInTwoMappings) {
  ASSERT_OK(fd_);
  const std::string data = made(4 * kPage, 6);
  ASSERT_EQ(pwrite(fd_, data.data(), data.size(), 0), static_cast<ssize_t>(data.size()));
  auto* const room = static_cast<char*>(map_anonymous(4 * kPage, PROT_READ | PROT_WRITE));
  ASSERT_OK(mprotect(room + 2 * kPage, 2 * kPage, PROT_READ | PROT_WRITE | PROT_EXEC));
  ASSERT_EQ(pread(fd_, room, 4 * kPage, 0), static_cast<ssize_t>(4 * kPage));
  EXPECT_EQ(memcmp(room, data.data(), 4 * kPage), 0);
  munmap(room, 4 * kPage);
}

// A page that is not there, or not to be written, in the middle of the buffer: what comes before it counts.
TEST_F(TransferTest, HolesInTheBuffer) {
  ASSERT_OK(fd_);
  const std::string data = made(16 * kPage, 5);
  ASSERT_EQ(write(fd_, data.data(), data.size()), static_cast<ssize_t>(data.size()));
  auto* const room = static_cast<char*>(map_anonymous(8 * kPage, PROT_READ | PROT_WRITE));
  for (const int left : {PROT_NONE, PROT_READ}) {
    ASSERT_OK(mprotect(room + 3 * kPage, kPage, left));
    for (const size_t size : {6 * kPage, 8 * kPage}) {
      memset(room, 0, 3 * kPage);
      ASSERT_EQ(lseek(fd_, 0, SEEK_SET), 0);
      EXPECT_EQ(read(fd_, room, size), static_cast<ssize_t>(3 * kPage));
      EXPECT_EQ(lseek(fd_, 0, SEEK_CUR), static_cast<off_t>(3 * kPage));
      EXPECT_EQ(memcmp(room, data.data(), 3 * kPage), 0);
      EXPECT_ERR(EFAULT, pread(fd_, room + 3 * kPage, size - 3 * kPage, 0));
    }
    ASSERT_OK(mprotect(room + 3 * kPage, kPage, PROT_READ | PROT_WRITE));
  }
  ASSERT_OK(munmap(room + 3 * kPage, kPage));
  EXPECT_EQ(pread(fd_, room, 8 * kPage, 0), static_cast<ssize_t>(3 * kPage));
  int p[2];
  ASSERT_OK(pipe(p));
  EXPECT_ERR(EFAULT, write(p[1], room + 3 * kPage, 4 * kPage));
  EXPECT_EQ(pwrite(fd_, room, 8 * kPage, 0), static_cast<ssize_t>(3 * kPage));
  close(p[0]);
  close(p[1]);
  munmap(room, 8 * kPage);
}

constexpr size_t kLarge[] = {262'144, 262'145, 1'000'003, (3 << 20) + 1};

TEST_F(TransferTest, LargeOnes) {
  ASSERT_OK(fd_);
  for (const size_t size : kLarge) {
    const std::string data = made(size, size);
    ASSERT_OK(lseek(fd_, 0, SEEK_SET));
    ASSERT_EQ(write(fd_, data.data(), size), static_cast<ssize_t>(size));
    ASSERT_EQ(pwrite(fd_, data.data(), size, 5000), static_cast<ssize_t>(size));
    Guarded back(size + 100);
    ASSERT_EQ(pread(fd_, back.data(), size, 5000), static_cast<ssize_t>(size));
    EXPECT_EQ(back.content(size), data);
    EXPECT_TRUE(back.untouched_behind(size));
    ASSERT_OK(lseek(fd_, 6000, SEEK_SET));
    ASSERT_EQ(read(fd_, back.data(), size), static_cast<ssize_t>(size - 1000));  // to the end of the file
    EXPECT_EQ(back.content(size - 1000), data.substr(1000));
    EXPECT_EQ(lseek(fd_, 0, SEEK_CUR), static_cast<off_t>(size + 5000));
    iovec one = {back.data(), size};
    ASSERT_EQ(preadv(fd_, &one, 1, 5000), static_cast<ssize_t>(size));
    EXPECT_EQ(back.content(size), data);
    ASSERT_OK(ftruncate(fd_, 0));
  }
}

// The same as HolesInTheBuffer, far behind its beginning.
TEST_F(TransferTest, HolesInALargeBuffer) {
  ASSERT_OK(fd_);
  constexpr size_t kPages = 200;
  const std::string data = made(kPages * kPage, 8);
  ASSERT_EQ(pwrite(fd_, data.data(), data.size(), 0), static_cast<ssize_t>(data.size()));
  for (const size_t hole : {size_t{1}, size_t{31}, size_t{32}, size_t{33}, size_t{100}}) {
    auto* const room = static_cast<char*>(map_anonymous(kPages * kPage, PROT_READ | PROT_WRITE));
    const auto before = static_cast<ssize_t>(hole * kPage);
    for (const int left : {PROT_READ, PROT_NONE, -1}) {
      ASSERT_OK(left == -1 ? munmap(room + before, kPage) : mprotect(room + before, kPage, left));
      memset(room, 0, hole * kPage);
      ASSERT_OK(lseek(fd_, 0, SEEK_SET));
      EXPECT_EQ(read(fd_, room, kPages * kPage), before);
      EXPECT_EQ(lseek(fd_, 0, SEEK_CUR), before);
      EXPECT_EQ(memcmp(room, data.data(), hole * kPage), 0);
      if (left == PROT_READ) continue;
      const int to = open("/tmp", O_TMPFILE | O_RDWR, 0600);
      EXPECT_EQ(write(to, room, kPages * kPage), before);
      EXPECT_EQ(lseek(to, 0, SEEK_CUR), before);
      EXPECT_EQ(lseek(to, 0, SEEK_END), before);
      close(to);
    }
    munmap(room, kPages * kPage);
  }
}

// A process that ends while its threads are in the midst of such transfers, under signals.
TEST_F(TransferTest, LargeOnesBrokenOff) {
  ASSERT_OK(fd_);
  const std::string data = made(2 << 20, 9);
  ASSERT_EQ(pwrite(fd_, data.data(), data.size(), 0), static_cast<ssize_t>(data.size()));
  for (int round = 0; round < 10; ++round) {
    const pid_t child = spawn([&] {
      struct sigaction action = {};
      action.sa_handler = [](int) {};
      sigaction(SIGALRM, &action, nullptr);
      const itimerval often = {{0, 300}, {0, 300}};
      setitimer(ITIMER_REAL, &often, nullptr);
      for (int t = 0; t < 3; ++t) {
        std::thread([&] {
          std::string back(data.size(), '\0');
          for (;;) {
            if (pread(fd_, back.data(), back.size(), 0) != static_cast<ssize_t>(back.size()) || back != data) _exit(1);
          }
        }).detach();
      }
      const timespec a_while = {0, 10'000'000};
      timespec left = a_while;
      while (nanosleep(&left, &left) != 0) {
      }
      _exit(7);
    });
    EXPECT_EQ(reap(child), 7 << 8);
  }
}

// A buffer on a stack that has not grown so far.
__attribute__((noinline)) bool read_deep(int fd, const std::string& data) {
  volatile char deep[300'000];
  auto* const at = const_cast<char*>(deep);
  return pread(fd, at, data.size(), 0) == static_cast<ssize_t>(data.size()) && memcmp(at, data.data(), data.size()) == 0;
}

TEST_F(TransferTest, BuffersOnTheStack) {
  ASSERT_OK(fd_);
  const std::string data = made(20'000, 2);
  ASSERT_EQ(pwrite(fd_, data.data(), data.size(), 0), static_cast<ssize_t>(data.size()));
  EXPECT_TRUE(read_deep(fd_, data));
}

// More threads at once than a kernel may have a fast way for.
TEST_F(TransferTest, ManyThreads) {
  ASSERT_OK(fd_);
  constexpr size_t kThreads = 80, kEach = 20'000;
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const std::string data = made(kEach, t);
      const auto at = static_cast<off_t>(t * kEach);
      for (int i = 0; i < 5; ++i) {
        std::string back(kEach, '\0');
        const bool good = pwrite(fd_, data.data(), kEach, at) == kEach && pread(fd_, back.data(), kEach, at) == kEach && back == data;
        if (!good) wrong.fetch_add(1);
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
}

// A signal while a large read waits, and one right after it.
TEST_F(TransferTest, SignalsDoNotLoseData) {
  int p[2];
  ASSERT_OK(pipe(p));
  struct sigaction action = {};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);
  const pid_t self = getpid();
  const long target = sys(SYS_gettid);
  const std::string data = made(20'000, 4);
  for (int i = 0; i < 20; ++i) {
    std::thread writer([&] {
      sys(SYS_tgkill, self, target, SIGUSR1);
      usleep(500);
      EXPECT_EQ(write(p[1], data.data(), data.size()), static_cast<ssize_t>(data.size()));
      sys(SYS_tgkill, self, target, SIGUSR1);
    });
    Guarded back(30'000);
    EXPECT_EQ(read(p[0], back.data(), 30'000), static_cast<ssize_t>(data.size()));
    EXPECT_EQ(back.content(data.size()), data);
    writer.join();
  }
  signal(SIGUSR1, SIG_DFL);
  close(p[0]);
  close(p[1]);
}

}  // namespace
}  // namespace run9::guest
