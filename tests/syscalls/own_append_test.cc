// Files that are open to be appended to. A kernel may let threads append to the host's file by themselves (sentry/task/own_files.h), but nobody may notice:
// each write lies behind the one before, whoever made it, and the position is behind the last one of this open file, whatever others do to the file.
#include <fcntl.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <map>
#include <thread>

#include "tests/syscalls/partner.h"

namespace run9::guest {
namespace {

constexpr int kOften = 40;

struct OwnAppendTest : DirTest {
  void SetUp() override { path_ = make_file("file", "begin"); }
  Fd opened(int flags = O_WRONLY) const { return Fd(open(path_.c_str(), flags | O_APPEND)); }
  off_t size() const {
    struct stat st = {};
    EXPECT_OK(stat(path_.c_str(), &st));
    return st.st_size;
  }
  // Threads may append to it by themselves by now, if they ever will.
  Fd hot() {
    Fd fd = opened();
    append_often(fd);
    return fd;
  }
  void append_often(int fd) {
    for (int i = 0; i < kOften; ++i) append(fd, std::string(1, static_cast<char>('a' + i % 26)));
  }
  void append(int fd, const std::string& text) {
    ASSERT_EQ(static_cast<ssize_t>(text.size()), write(fd, text.data(), text.size()));
    want_ += text;
  }
  std::string path_, want_ = "begin";
};

TEST_F(OwnAppendTest, BytesAndPositions) {
  for (const int flags : {O_WRONLY, O_RDWR}) {
    Fd fd = opened(flags);
    EXPECT_EQ(0, where(fd));
    for (int i = 0; i < 2 * kOften; ++i) {
      append(fd, std::string(static_cast<size_t>(1 + i * 37 % 2999), static_cast<char>('A' + i % 26)));
      if (i % 3 != 0) EXPECT_EQ(static_cast<off_t>(want_.size()), where(fd));
      char a[] = "first", b[] = "second";
      const iovec parts[3] = {{a, 5}, {nullptr, 0}, {b, 6}};
      ASSERT_EQ(11, writev(fd, parts, 3));
      want_ += "firstsecond";
    }
    EXPECT_EQ(static_cast<off_t>(want_.size()), where(fd));
    EXPECT_EQ(want_, read_file(path_));
  }
}

TEST_F(OwnAppendTest, WhereverItIs) {
  Fd fd = hot();
  EXPECT_EQ(2, lseek(fd, 2, SEEK_SET));
  EXPECT_EQ(2, where(fd));
  append(fd, "+");
  EXPECT_EQ(size(), where(fd));
  append_often(fd);
  EXPECT_EQ(3, lseek(fd, 3, SEEK_SET));
  EXPECT_EQ(4, lseek(fd, 1, SEEK_CUR));
  append_often(fd);
  EXPECT_EQ(size() - 4, lseek(fd, -4, SEEK_CUR));
  EXPECT_EQ(size(), lseek(fd, 0, SEEK_END));
  append_often(fd);
  const off_t before = where(fd);
  EXPECT_EQ(1, pwrite(fd, "p", 1, 0));  // which appends too (pwrite(2), BUGS), and does not move
  want_ += "p";
  EXPECT_EQ(before, where(fd));
  EXPECT_EQ(want_, read_file(path_));
  struct stat st;
  ASSERT_OK(fstat(fd, &st));
  EXPECT_EQ(static_cast<off_t>(want_.size()), st.st_size);
}

TEST_F(OwnAppendTest, BadMemory) {
  Fd fd = hot();
  for (void* p : bad_pointers()) EXPECT_ERR(EFAULT, sys(SYS_write, fd, p, 10));
  const iovec parts[] = {{bad<char>(), 10}};
  EXPECT_ERR(EFAULT, sys(SYS_writev, fd, parts, 1));
  EXPECT_ERR(EFAULT, sys(SYS_writev, fd, bad<iovec>(), 1));
  EXPECT_ERR(EINVAL, sys(SYS_writev, fd, parts, -1));
  EXPECT_EQ(0, write(fd, "", 0));
  char byte;
  EXPECT_ERR(EBADF, sys(SYS_read, fd, &byte, 1));
  EXPECT_EQ(size(), where(fd));
  EXPECT_EQ(want_, read_file(path_));
}

TEST_F(OwnAppendTest, OthersChangeTheSize) {
  const std::function<void()> changes[] = {
      [&] { EXPECT_OK(truncate(path_.c_str(), 3)); },
      [&] { Fd fd(open(path_.c_str(), O_WRONLY | O_TRUNC)); },
      [&] { EXPECT_OK(truncate(path_.c_str(), 5000)); },
      [&] {
        Fd fd(open(path_.c_str(), O_RDWR));
        EXPECT_EQ(3, pwrite(fd, "far", 3, 10'000));
      },
      [&] {
        Fd fd = opened();
        EXPECT_EQ(4, write(fd, "more", 4));
        for (int i = 0; i < kOften; ++i) EXPECT_EQ(1, write(fd, "m", 1));
      },
      [&] {
        Fd fd(open(path_.c_str(), O_WRONLY));
        EXPECT_OK(posix_fallocate(fd, 20'000, 1));
      },
  };
  for (const auto& change : changes) {
    const Partner partner(change);
    Fd fd = hot();
    const off_t before = where(fd);
    EXPECT_EQ(size(), before);
    partner.act();
    EXPECT_EQ(before, where(fd));
    const off_t now = size();
    EXPECT_EQ(1, write(fd, "x", 1));
    EXPECT_EQ(now + 1, where(fd));
    EXPECT_EQ(now + 1, size());
    append_often(fd);
    EXPECT_EQ(size(), where(fd));
  }
}

TEST_F(OwnAppendTest, NotSinceThen) {
  for (const bool asked_first : {true, false}) {
    Fd fd = hot();
    if (asked_first) EXPECT_EQ(size(), where(fd));
    ASSERT_OK(fcntl(fd, F_SETFL, 0));
    append(fd, "at the end");
    EXPECT_EQ(1, lseek(fd, 1, SEEK_SET));
    ASSERT_EQ(1, write(fd, "!", 1));
    want_[1] = '!';
    EXPECT_EQ(2, where(fd));
    for (int i = 0; i < kOften; ++i) ASSERT_EQ(1, pwrite(fd, "0", 1, 0));
    want_[0] = '0';
    EXPECT_EQ(2, where(fd));
    ASSERT_OK(fcntl(fd, F_SETFL, O_APPEND));
    append_often(fd);
    EXPECT_EQ(size(), where(fd));
    EXPECT_EQ(want_, read_file(path_));
  }
}

TEST_F(OwnAppendTest, AnotherProcessSeesWhereItIs) {
  const int number = next_descriptor();
  const pid_t self = getpid();
  const Partner looks([&] { EXPECT_EQ(size(), position_in_proc(self, number)); });
  Fd fd = hot();
  ASSERT_EQ(number, static_cast<int>(fd));
  looks.act();
}

// Lines of the writers, each in one piece and in its own order.
void expect_lines(const std::string& text, int writers, int lines) {
  std::map<std::string, int> next;
  size_t at = text.find('\n') + 1;
  for (int i = 0; i < writers * lines; ++i) {
    const size_t end = text.find('\n', at);
    ASSERT_NE(std::string::npos, end) << i;
    const std::string line = text.substr(at, end - at);
    const size_t space = line.find(' ');
    ASSERT_NE(std::string::npos, space) << line;
    ASSERT_EQ(std::to_string(next[line.substr(0, space)]++), line.substr(space + 1));
    at = end + 1;
  }
  EXPECT_EQ(text.size(), at);
  EXPECT_EQ(static_cast<size_t>(writers), next.size());
}

void write_lines(int fd, int writer, int lines) {
  for (int i = 0; i < lines; ++i) {
    const std::string line = "writer" + std::to_string(writer) + " " + std::to_string(i) + "\n";
    ASSERT_EQ(static_cast<ssize_t>(line.size()), write(fd, line.data(), line.size()));
  }
}

TEST_F(OwnAppendTest, SeveralWriters) {
  constexpr int kWriters = 4, kLines = 300;
  const auto in_processes = [&](const std::function<void(int)>& body) {
    std::vector<pid_t> pids;
    for (int w = 0; w < kWriters; ++w) {
      pids.push_back(fork());
      if (pids.back() == 0) {
        body(w);
        _exit(testing::Test::HasFailure() ? 1 : 0);
      }
    }
    for (const pid_t pid : pids) {
      int status = -1;
      EXPECT_EQ(pid, waitpid(pid, &status, 0));
      EXPECT_EQ(0, status);
    }
  };
  const auto in_threads = [&](const std::function<void(int)>& body) {
    std::vector<std::thread> threads;
    for (int w = 0; w < kWriters; ++w) threads.emplace_back(body, w);
    for (std::thread& t : threads) t.join();
  };
  for (const bool processes : {true, false}) {
    for (const bool share : {true, false}) {
      write_file(path_, "lines\n");
      Fd shared = opened();
      const auto body = [&](int w) {
        Fd own = share ? Fd(dup(shared)) : opened();
        write_lines(own, w, kLines);
        if (!share) EXPECT_LE(where(own), size());
      };
      processes ? in_processes(body) : in_threads(body);
      expect_lines(read_file(path_), kWriters, kLines);
      EXPECT_EQ(share ? size() : 0, where(shared));
    }
  }
}

TEST_F(OwnAppendTest, SizeLimits) {
  Fd fd = hot();
  in_child([&] {
    signal(SIGXFSZ, SIG_IGN);
    append_often(fd);
    const auto now = static_cast<rlim_t>(size());
    rlimit limit = {now + 2, RLIM_INFINITY};
    ASSERT_OK(setrlimit(RLIMIT_FSIZE, &limit));
    EXPECT_EQ(2, write(fd, "1234", 4));
    EXPECT_ERR(EFBIG, write(fd, "5", 1));
    EXPECT_EQ(static_cast<off_t>(now + 2), where(fd));
  });
}

TEST_F(OwnAppendTest, WithoutAName) {
  Fd fd = hot();
  Fd reads(open(path_.c_str(), O_RDONLY));
  ASSERT_OK(unlink(path_.c_str()));
  append_often(fd);
  std::string text(want_.size() + 1, ' ');
  EXPECT_EQ(static_cast<ssize_t>(want_.size()), pread(reads, text.data(), text.size(), 0));
  text.resize(want_.size());
  EXPECT_EQ(want_, text);
  EXPECT_EQ(static_cast<off_t>(want_.size()), where(fd));
}

TEST_F(OwnAppendTest, WhoeverWatchesHearsOfIt) {
  Fd fd = hot();
  Fd watch(inotify_init1(IN_NONBLOCK));
  in_child([&] { ASSERT_OK(inotify_add_watch(watch, path_.c_str(), IN_MODIFY)); });
  inotify_event event;
  for (int i = 0; i < 3; ++i) {
    append(fd, "x");
    EXPECT_EQ(ssize_t{sizeof event}, read(watch, &event, sizeof event));
  }
}

}  // namespace
}  // namespace run9::guest
