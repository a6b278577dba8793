// Files that a thread writes again and again. A kernel may let it write to the host's file by itself, and keep the position (sentry/task/own_files.h), but nobody
// may notice: not the thread, whatever it does in between, and not another process that gets the file, looks at it or changes it.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include <atomic>
#include <fstream>
#include <sstream>
#include <thread>

#include "tests/syscalls/partner.h"

namespace run9::guest {
namespace {

constexpr int kOften = 40;

std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream all;
  all << in.rdbuf();
  return all.str();
}

off_t size_of(const std::string& path) {
  struct stat st = {};
  EXPECT_OK(stat(path.c_str(), &st));
  return st.st_size;
}

// As the tests' file is written: `n` times one more letter of the alphabet.
std::string letters(int n) {
  std::string s;
  for (int i = 0; i < n; ++i) s += static_cast<char>('a' + i % 26);
  return s;
}

void write_letters(int fd, int from, int n) {
  for (int i = from; i < from + n; ++i) {
    const char letter = static_cast<char>('a' + i % 26);
    ASSERT_EQ(1, write(fd, &letter, 1));
  }
}

void pwrite_often(int fd) {
  for (int i = 0; i < kOften; ++i) ASSERT_EQ(1, pwrite(fd, "p", 1, i));
}

struct OwnWriteTest : DirTest, testing::WithParamInterface<int> {
  void SetUp() override { path_ = make_file("file", ""); }
  int opened() const { return open(path_.c_str(), GetParam()); }
  // The file is the thread's to write by now, if it will ever be, and stands at its end, kOften.
  Fd hot() const {
    Fd fd(opened());
    write_letters(fd, 0, kOften);
    return fd;
  }
  std::string path_;
};

TEST_P(OwnWriteTest, BytesAndPositions) {
  Fd fd(opened());
  std::string want;
  for (int i = 0; i < 2 * kOften; ++i) {
    const std::string text(static_cast<size_t>(1 + i * 37 % 2999), static_cast<char>('A' + i % 26));
    ASSERT_EQ(static_cast<ssize_t>(text.size()), write(fd, text.data(), text.size()));
    want += text;
    EXPECT_EQ(static_cast<off_t>(want.size()), where(fd));
    ASSERT_EQ(3, pwrite(fd, "pwr", 3, i));
    want.replace(static_cast<size_t>(i), std::min<size_t>(3, want.size() - static_cast<size_t>(i)), "pwr");
    char a[] = "first", b[] = "second";
    iovec parts[3] = {{a, 5}, {nullptr, 0}, {b, 6}};
    ASSERT_EQ(11, pwritev(fd, parts, 3, static_cast<off_t>(want.size())));
    ASSERT_EQ(11, writev(fd, parts, 3));
    want = want.substr(0, static_cast<size_t>(where(fd)) - 11) + "firstsecond";
    if (i % 10 == 9) {
      EXPECT_EQ(static_cast<off_t>(want.size()) - 4, lseek(fd, -4, SEEK_CUR));
      want.resize(want.size() - 4);
      ASSERT_EQ(4, write(fd, "back", 4));
      want += "back";
    }
  }
  EXPECT_EQ(static_cast<off_t>(want.size()), where(fd));
  EXPECT_EQ(want, read_all(path_));
}

TEST_P(OwnWriteTest, LargeWrites) {
  Fd fd(opened());
  std::string text(300'000, 0);
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7 + i / 251);
  for (int i = 0; i < 8; ++i) {
    ASSERT_EQ(300'000, write(fd, text.data(), text.size()));
    ASSERT_EQ(299'999, pwrite(fd, text.data() + 1, text.size() - 1, i * 300'000));
  }
  ASSERT_EQ(2'400'000, where(fd));
  const std::string all = read_all(path_);
  ASSERT_EQ(2'400'000u, all.size());
  for (size_t i = 0; i < 8; ++i) ASSERT_EQ(0, memcmp(all.data() + i * 300'000, text.data() + 1, 299'999));
  EXPECT_EQ(text.back(), all.back());
}

TEST_P(OwnWriteTest, HolesAndFarOffsets) {
  Fd fd = hot();
  EXPECT_EQ(1'000'000, lseek(fd, 1'000'000, SEEK_SET));
  write_letters(fd, 0, 1);
  EXPECT_EQ(1'000'001, size_of(path_));
  EXPECT_EQ(1'000'001, lseek(fd, 0, SEEK_END));
  ASSERT_OK(ftruncate(fd, 5));
  write_letters(fd, 0, 1);
  EXPECT_EQ(1'000'002, size_of(path_));
  EXPECT_EQ(letters(5) + std::string(1'000'001 - 5, '\0') + "a", read_all(path_));
  EXPECT_ERR(EINVAL, pwrite(fd, "x", 1, -1));
  EXPECT_ERR(EINVAL, pwrite(fd, "x", 1, INT64_MAX));
  EXPECT_EQ(1'000'002, where(fd));
}

TEST_P(OwnWriteTest, WrongArguments) {
  Fd fd = hot();
  const Straddle edge;
  EXPECT_ERR(EFAULT, write(fd, bad(), 1));
  for (void* p : bad_pointers()) EXPECT_ERR(EFAULT, pwrite(fd, p, 10, 3));
  EXPECT_EQ(5, write(fd, edge.last(5), 10));
  EXPECT_EQ(kOften + 5, where(fd));
  EXPECT_ERR(EFAULT, writev(fd, bad<iovec>(), 1));
  iovec one = {bad(), 1};
  EXPECT_ERR(EFAULT, writev(fd, &one, 1));
  EXPECT_ERR(EINVAL, writev(fd, &one, -1));
  EXPECT_EQ(0, writev(fd, &one, 0));
  EXPECT_EQ(0, write(fd, &one, 0));
  EXPECT_EQ(0, pwrite(fd, &one, 0, 1'000));
  one.iov_len = static_cast<size_t>(-1);
  EXPECT_ERR(EINVAL, writev(fd, &one, 1));
  void* const unreadable = mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_ERR(EFAULT, write(fd, unreadable, 1));
  munmap(unreadable, kPage);
  EXPECT_EQ(kOften + 5, where(fd));
  EXPECT_EQ(letters(kOften) + "SSSSS", read_all(path_));
}

TEST_P(OwnWriteTest, NotForReadingOrNotForWriting) {
  Fd fd = hot();
  char byte = 0;
  if (GetParam() == O_WRONLY) {
    for (int i = 0; i < kOften; ++i) {
      EXPECT_ERR(EBADF, read(fd, &byte, 1));
      EXPECT_ERR(EBADF, pread(fd, &byte, 1, 0));
    }
  } else {
    for (int i = 0; i < kOften; ++i) {
      ASSERT_EQ(1, pread(fd, &byte, 1, i));
      EXPECT_EQ('a' + i % 26, byte);
      EXPECT_EQ(0, read(fd, &byte, 1));
    }
    EXPECT_EQ(0, lseek(fd, 0, SEEK_SET));
    for (int i = 0; i < kOften / 2; ++i) {
      ASSERT_EQ(1, read(fd, &byte, 1));
      EXPECT_EQ('a' + 2 * i % 26, byte);
      ASSERT_EQ(1, write(fd, "w", 1));
    }
    EXPECT_EQ(kOften, where(fd));
  }
  Fd reads(open(path_.c_str(), O_RDONLY));
  for (int i = 0; i < kOften; ++i) {
    ASSERT_EQ(1, read(reads, &byte, 1));
    EXPECT_ERR(EBADF, write(reads, "x", 1));
    EXPECT_ERR(EBADF, pwrite(reads, "x", 1, 0));
  }
}

TEST_P(OwnWriteTest, Closed) {
  const std::string other = make_file("other", "");
  for (int i = 0; i < 4; ++i) {
    ASSERT_OK(truncate(path_.c_str(), 0));
    ASSERT_OK(truncate(other.c_str(), 0));
    const int fd = opened();
    write_letters(fd, 0, kOften);
    EXPECT_EQ(0, close(fd));
    EXPECT_ERR(EBADF, write(fd, "x", 1));
    EXPECT_ERR(EBADF, pwrite(fd, "x", 1, 0));
    ASSERT_EQ(fd, open(other.c_str(), GetParam()));
    EXPECT_EQ(1, write(fd, "o", 1));
    EXPECT_EQ(0, close(fd));
    ASSERT_EQ(fd, open(path_.c_str(), GetParam() | O_APPEND));
    EXPECT_EQ(1, write(fd, "+", 1));
    EXPECT_EQ(0, close(fd));
    ASSERT_EQ(fd, opened());
    write_letters(fd, 0, kOften);
    Fd over(open(other.c_str(), GetParam()));
    ASSERT_EQ(fd, i % 2 == 0 ? dup2(over, fd) : dup3(over, fd, O_CLOEXEC));
    EXPECT_EQ(2, write(fd, "tw", 2));
    EXPECT_EQ(2, where(over));
    EXPECT_EQ(0, close(fd));
    EXPECT_EQ(letters(kOften) + "+", read_all(path_));
    EXPECT_EQ("tw", read_all(other));
  }
}

TEST_P(OwnWriteTest, MoreFilesThanFit) {
  constexpr int kFiles = 40;
  std::vector<Fd> fds;
  for (int i = 0; i < kFiles; ++i) fds.emplace_back(open((dir_ / std::to_string(i)).c_str(), GetParam() | O_CREAT, 0600));
  for (int round = 0; round < kOften; ++round) {
    for (Fd& fd : fds) write_letters(fd, round, 1);
  }
  for (int i = 0; i < kFiles; ++i) EXPECT_EQ(letters(kOften), read_all(dir_ / std::to_string(i)));
}

TEST_P(OwnWriteTest, DuplicatesShareThePosition) {
  Fd fd = hot();
  Fd second(dup(fd));
  for (int i = 0; i < kOften; ++i) {
    write_letters(second, kOften + 2 * i, 1);
    write_letters(fd, kOften + 2 * i + 1, 1);
  }
  EXPECT_EQ(3 * kOften, where(second));
  second.reset();
  write_letters(fd, 3 * kOften, kOften);
  in_child([&] { write_letters(fd, 4 * kOften, kOften); });
  write_letters(fd, 5 * kOften, kOften);
  EXPECT_EQ(6 * kOften, where(fd));
  const pid_t pid = vfork();
  if (pid == 0) _exit(write(fd, "v", 1) == 1 ? 0 : 1);
  int status;
  ASSERT_EQ(pid, waitpid(pid, &status, 0));
  EXPECT_EQ(0, status);
  EXPECT_EQ(1, write(fd, "!", 1));
  EXPECT_EQ(letters(6 * kOften) + "v!", read_all(path_));
}

TEST_P(OwnWriteTest, SeenInProc) {
  Fd fd(opened());
  const int number = fd;
  const std::string info = "/proc/" + std::to_string(getpid()) + "/fdinfo/" + std::to_string(number);
  const Partner looks([&] { EXPECT_EQ(0u, read_all(info).find("pos:\t" + std::to_string(kOften) + "\n")); });
  // What is open in the other too has a position of both.
  fd.reset();
  ASSERT_EQ(number, opened());
  fd = Fd(number);
  write_letters(fd, 0, kOften);
  looks.act();
  write_letters(fd, kOften, 3);
  EXPECT_EQ(letters(kOften + 3), read_all(path_));
}

bool is_newer(const timespec& a, const timespec& b) { return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec; }

// However somebody asks, before and after the file is closed.
TEST_P(OwnWriteTest, SizesAndTimesMove) {
  struct stat before, after;
  const Partner looks([&] {
    EXPECT_EQ(2 * kOften, size_of(path_));
    Fd reads(open(path_.c_str(), O_RDONLY));
    struct stat st;
    ASSERT_OK(fstat(reads, &st));
    EXPECT_EQ(2 * kOften, st.st_size);
    EXPECT_EQ(2 * kOften, lseek(reads, 0, SEEK_END));
  });
  const Partner looks_again([&] { EXPECT_EQ(6 * kOften, size_of(path_)); });
  Fd fd = hot();
  for (int i = 0; i < 3; ++i) {
    const timespec old[2] = {{1000, 0}, {2000, 0}};
    ASSERT_OK(utimensat(AT_FDCWD, path_.c_str(), old, 0));
    ASSERT_OK(stat(path_.c_str(), &before));
    EXPECT_EQ(2000, before.st_mtim.tv_sec);
    usleep(20'000);
    if (i == 0) write_letters(fd, kOften, kOften);
    if (i == 1) pwrite_often(fd);
    if (i == 2) write_letters(fd, 2 * kOften, 1);
    ASSERT_OK(i % 2 == 0 ? stat(path_.c_str(), &after) : fstat(fd, &after));
    EXPECT_LT(2000, after.st_mtim.tv_sec);
    EXPECT_TRUE(is_newer(after.st_ctim, before.st_ctim));
    if (i == 0) looks.act();
  }
  const std::string text(8 * kPage, 'b');
  ASSERT_EQ(static_cast<ssize_t>(text.size()), pwrite(fd, text.data(), text.size(), 0));
  ASSERT_OK(fsync(fd));
  ASSERT_OK(fstat(fd, &after));
  EXPECT_EQ(static_cast<off_t>(text.size()), after.st_size);
  EXPECT_LE(static_cast<blkcnt_t>(text.size()) / 512, after.st_blocks);
  ASSERT_OK(ftruncate(fd, 2 * kOften));
  EXPECT_EQ(2 * kOften, lseek(fd, 2 * kOften, SEEK_SET));
  write_letters(fd, 0, 4 * kOften);
  fd.reset();
  EXPECT_EQ(6 * kOften, size_of(path_));
  looks_again.act();
  Fd again(open(path_.c_str(), O_RDONLY));
  ASSERT_OK(fstat(again, &after));
  EXPECT_EQ(6 * kOften, after.st_size);
}

// Somebody has read to the end, or looked at the size, and does so again when there is more.
TEST_P(OwnWriteTest, ReadersSeeMore) {
  Fd fd = hot();
  Fd reads(open(path_.c_str(), O_RDONLY));
  char text[100];
  struct stat st;
  ASSERT_EQ(kOften, read(reads, text, sizeof text));
  const Partner follows([&] {
    for (int i = 0; i < 3; ++i) EXPECT_EQ(i == 0 ? 3 : 0, read(reads, text, 3));
    EXPECT_EQ(kOften + 3, size_of(path_));
  });
  write_letters(fd, kOften, 3);
  follows.act();
  for (int i = 0; i < kOften; ++i) {
    Fd fresh(open(path_.c_str(), O_RDONLY));
    ASSERT_OK(fstat(fresh, &st));
    EXPECT_EQ(kOften + 3 + 2 * i, st.st_size);
    EXPECT_EQ(0, read(reads, text, sizeof text));
    write_letters(fd, 0, 2);
    ASSERT_OK(fstat(fresh, &st));
    EXPECT_EQ(kOften + 5 + 2 * i, st.st_size);
    EXPECT_EQ(2, read(reads, text, sizeof text));
  }
  void* const map = mmap(nullptr, kPage, PROT_READ, MAP_SHARED, reads, 0);
  ASSERT_NE(MAP_FAILED, map);
  ASSERT_EQ(5, pwrite(fd, "mmap!", 5, 0));
  EXPECT_EQ(0, memcmp(map, "mmap!", 5));
  munmap(map, kPage);
}

// Somebody has just opened the file, or come to its end, when more is written.
TEST_P(OwnWriteTest, WrittenBetweenTwoCallsOfAnother) {
  constexpr int kRounds = 5;
  auto* const turn = static_cast<std::atomic<int>*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(MAP_FAILED, static_cast<void*>(turn));
  const auto await = [turn](int n) {
    while (*turn != n) sched_yield();
  };
  const Partner looks([&] {
    int n = 0;
    const auto written = [&] {
      *turn = ++n;
      await(++n);
    };
    for (int i = 0; i < kRounds; ++i) {
      Fd reads(open(path_.c_str(), O_RDONLY));
      written();
      struct stat st;
      ASSERT_OK(fstat(reads, &st));
      EXPECT_EQ(kOften + 2 * i + 1, st.st_size);
      char text[2 * kOften];
      EXPECT_EQ(kOften + 2 * i + 1, read(reads, text, sizeof text));
      written();
      EXPECT_EQ(1, read(reads, text, sizeof text));
    }
  });
  Fd fd = hot();
  looks.begin();
  for (int i = 0; i < 2 * kRounds; ++i) {
    await(2 * i + 1);
    write_letters(fd, kOften + i, 1);
    *turn = 2 * i + 2;
  }
  looks.end();
  munmap(turn, kPage);
}

TEST_P(OwnWriteTest, OthersAppendAndCut) {
  const Partner appends([&] {
    Fd end(open(path_.c_str(), O_WRONLY | O_APPEND));
    for (int i = 1; i < 4; ++i) {
      EXPECT_EQ(4, write(end, "more", 4));
      EXPECT_EQ(2 * kOften + 4 * i, where(end));
    }
  });
  const Partner cuts([&] { EXPECT_OK(truncate(path_.c_str(), 3)); });
  const Partner goes([&] { EXPECT_OK(unlink(path_.c_str())); });
  Fd fd = hot();
  write_letters(fd, kOften, kOften);
  appends.act();
  EXPECT_EQ(letters(2 * kOften) + "moremoremore", read_all(path_));
  write_letters(fd, 2 * kOften, 4);
  EXPECT_EQ(letters(2 * kOften + 4) + "moremore", read_all(path_));
  cuts.act();
  EXPECT_EQ(1, write(fd, "x", 1));
  EXPECT_EQ("abc" + std::string(2 * kOften + 4 - 3, '\0') + "x", read_all(path_));
  Fd kept(open(path_.c_str(), O_RDONLY));
  goes.act();
  EXPECT_EQ(1, pwrite(fd, "y", 1, 0));
  char byte = 0;
  EXPECT_EQ(1, pread(kept, &byte, 1, 0));
  EXPECT_EQ('y', byte);
  struct stat st;
  ASSERT_OK(fstat(kept, &st));
  EXPECT_EQ(2 * kOften + 5, st.st_size);
  EXPECT_EQ(0u, st.st_nlink);
}

// O_APPEND that is set when the file is the thread's already: by itself, and by another process.
TEST_P(OwnWriteTest, AppendFromNowOn) {
  Fd fd = hot();
  EXPECT_EQ(0, lseek(fd, 0, SEEK_SET));
  write_letters(fd, 0, 1);
  ASSERT_OK(fcntl(fd, F_SETFL, O_APPEND));
  EXPECT_EQ(1, write(fd, "+", 1));
  EXPECT_EQ(kOften + 1, where(fd));
  EXPECT_EQ(1, pwrite(fd, "+", 1, 0));  // pwrite(2), BUGS
  EXPECT_EQ(kOften + 2, size_of(path_));
  ASSERT_OK(fcntl(fd, F_SETFL, 0));
  EXPECT_EQ(1, write(fd, "-", 1));
  EXPECT_EQ(letters(kOften) + "+-", read_all(path_));
  for (int i = 0; i < kOften; ++i) EXPECT_EQ(1, pwrite(fd, "0", 1, 0));
  in_child([&] { EXPECT_OK(fcntl(fd, F_SETFL, O_APPEND)); });
  EXPECT_EQ(1, pwrite(fd, "*", 1, 0));
  EXPECT_EQ("0" + letters(kOften).substr(1) + "+-*", read_all(path_));
}

TEST_P(OwnWriteTest, SizeLimits) {
  Fd fd = hot();
  in_child([&] {
    signal(SIGXFSZ, SIG_IGN);
    write_letters(fd, kOften, kOften);
    rlimit limit = {2 * kOften + 2, RLIM_INFINITY};
    ASSERT_OK(setrlimit(RLIMIT_FSIZE, &limit));
    EXPECT_EQ(2, write(fd, "1234", 4));
    EXPECT_ERR(EFBIG, write(fd, "5", 1));
    EXPECT_ERR(EFBIG, pwrite(fd, "5", 1, 1000));
    EXPECT_EQ(1, pwrite(fd, "p", 1, 0));
    limit.rlim_cur = RLIM_INFINITY;
    ASSERT_OK(setrlimit(RLIMIT_FSIZE, &limit));
    write_letters(fd, 0, kOften);
  });
  EXPECT_EQ("p" + letters(2 * kOften).substr(1) + "12" + letters(kOften), read_all(path_));
  const pid_t self = getpid();
  const Partner limits([&] {
    const rlimit limit = {1, RLIM_INFINITY};
    EXPECT_OK(prlimit(self, RLIMIT_FSIZE, &limit, nullptr));
  });
  signal(SIGXFSZ, SIG_IGN);
  write_letters(fd, 0, kOften);
  limits.act();
  EXPECT_ERR(EFBIG, write(fd, "x", 1));
  const rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
  ASSERT_OK(setrlimit(RLIMIT_FSIZE, &none));
  signal(SIGXFSZ, SIG_DFL);
  EXPECT_EQ(1, write(fd, "x", 1));
}

mode_t mode_of(const std::string& path) {
  struct stat st = {};
  EXPECT_OK(stat(path.c_str(), &st));
  return st.st_mode & 07777;
}

// A write takes them away, unless its author may set them (CAP_FSETID).
TEST_P(OwnWriteTest, SetIdBits) {
  SKIP_UNLESS_ROOT();
  ASSERT_OK(chmod(path_.c_str(), 0777));
  Fd fd = hot();
  ASSERT_OK(chmod(path_.c_str(), 06777));
  write_letters(fd, kOften, kOften);
  EXPECT_EQ(06777u, mode_of(path_));
  in_child([&] {
    ASSERT_OK(chmod(path_.c_str(), 0777));
    ASSERT_OK(setuid(kNobody));
    Fd own(opened());
    for (int i = 0; i < kOften; ++i) ASSERT_EQ(1, pwrite(own, "n", 1, i));
    EXPECT_EQ(0777u, mode_of(path_));
  });
  ASSERT_OK(chmod(path_.c_str(), 06777));
  in_child([&] {
    ASSERT_OK(setuid(kNobody));
    Fd own(opened());
    ASSERT_EQ(1, pwrite(own, "n", 1, 0));
    EXPECT_EQ(0777u, mode_of(path_));
  });
}

TEST_P(OwnWriteTest, SetIdBitsByAnother) {
  SKIP_UNLESS_ROOT();
  ASSERT_OK(chmod(path_.c_str(), 0777));
  const Partner sets([&] { EXPECT_OK(chmod(path_.c_str(), 06777)); });
  Fd fd = hot();
  sets.act();
  write_letters(fd, kOften, 1);
  EXPECT_EQ(06777u, mode_of(path_));
}

TEST_P(OwnWriteTest, WritesAreWatched) {
  Fd fd = hot();
  Fd watch(inotify_init1(IN_NONBLOCK));
  ASSERT_OK(inotify_add_watch(watch, path_.c_str(), IN_MODIFY));
  char event[512];
  for (int i = 0; i < 3; ++i) {
    write_letters(fd, kOften + i, 1);
    EXPECT_LT(0, read(watch, event, sizeof event));
    EXPECT_EQ(1, pwrite(fd, "x", 1, 0));
    EXPECT_LT(0, read(watch, event, sizeof event));
  }
}

TEST_P(OwnWriteTest, FiltersHaveTheirSay) {
  Fd fd = hot();
  in_child([&] {
    write_letters(fd, kOften, kOften);
    sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pwrite64, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program = {5, rules};
    ASSERT_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    ASSERT_OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
    EXPECT_ERR(EXDEV, write(fd, "x", 1));
    EXPECT_ERR(EXDEV, pwrite(fd, "x", 1, 0));
    EXPECT_EQ(2 * kOften, where(fd));
  });
  EXPECT_EQ(letters(2 * kOften), read_all(path_));
}

TEST_P(OwnWriteTest, RightsThatWereGivenUp) {
  SKIP_UNLESS_ROOT();
  ASSERT_OK(chmod(path_.c_str(), 0600));
  Fd fd = hot();
  in_child([&] {
    write_letters(fd, kOften, kOften);
    ASSERT_OK(setuid(kNobody));
    EXPECT_ERR(EACCES, open(path_.c_str(), O_WRONLY));
    write_letters(fd, 2 * kOften, kOften);
  });
  EXPECT_EQ(letters(3 * kOften), read_all(path_));
}

TEST_P(OwnWriteTest, ThreadsShareThePosition) {
  constexpr int kThreads = 3, kEach = 5'000;
  Fd fd = hot();
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&fd, t] {
      const char byte = static_cast<char>('0' + t);
      for (int i = 0; i < kEach; ++i) ASSERT_EQ(1, write(fd, &byte, 1));
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(kOften + kThreads * kEach, where(fd));
  std::string all = read_all(path_);
  for (int t = 0; t < kThreads; ++t) EXPECT_EQ(kEach, std::count(all.begin(), all.end(), '0' + t));
  write_letters(fd, 0, kOften);
  EXPECT_EQ(all + letters(kOften), read_all(path_));
}

// What it writes until then is in the file, and nothing afterwards.
TEST_P(OwnWriteTest, ClosedByAnotherThread) {
  const std::string other = make_file("other", std::string(kOften, 'o'));
  const int fd = opened();
  PartnerThread closes({[&] { close(fd); }, [&] { EXPECT_EQ(fd, open(other.c_str(), GetParam())); }});
  pwrite_often(fd);
  closes.begin();
  while (!closes.is_over()) ASSERT_TRUE(pwrite(fd, "q", 1, 0) == 1 || errno == EBADF);
  EXPECT_ERR(EBADF, pwrite(fd, "x", 1, 0));
  closes.act();
  EXPECT_EQ(1, pwrite(fd, "y", 1, 1));
  close(fd);
  EXPECT_EQ(std::string(kOften - 1, 'p'), read_all(path_).substr(1));
  EXPECT_EQ("oy" + std::string(kOften - 2, 'o'), read_all(other));
}

TEST_P(OwnWriteTest, OtherCallsUseThePosition) {
  Fd fd = hot();
  Fd from(open(make_file("from", "0123456789").c_str(), O_RDONLY));
  ASSERT_EQ(4, sendfile(fd, from, nullptr, 4));
  write_letters(fd, 0, kOften);
  ASSERT_EQ(3, copy_file_range(from, nullptr, fd, nullptr, 3, 0));
  write_letters(fd, 0, kOften);
  Pipe pipe;
  ASSERT_EQ(2, write(pipe.w, "PP", 2));
  ASSERT_EQ(2, splice(pipe.r, nullptr, fd, nullptr, 2, 0));
  write_letters(fd, 0, 1);
  EXPECT_EQ(letters(kOften) + "0123" + letters(kOften) + "456" + letters(kOften) + "PPa", read_all(path_));
  ASSERT_OK(fallocate(fd, 0, 0, 100'000));
  EXPECT_EQ(100'000, size_of(path_));
  write_letters(fd, 1, 1);
  EXPECT_EQ(100'000, size_of(path_));
}

TEST_P(OwnWriteTest, SynchronousFiles) {
  for (const int flag : {O_SYNC, O_DSYNC}) {
    Fd fd(open(path_.c_str(), GetParam() | flag));
    write_letters(fd, 0, kOften);
    EXPECT_OK(fdatasync(fd));
    EXPECT_EQ(letters(kOften), read_all(path_));
  }
}

// Of a process that is killed while it writes all that it has written is there, and everybody sees the same of it.
TEST_P(OwnWriteTest, KilledWriter) {
  for (int i = 0; i < 5; ++i) {
    ASSERT_OK(truncate(path_.c_str(), 0));
    const pid_t pid = fork();
    if (pid == 0) {
      Fd fd(opened());
      const std::string text(10'000, 'k');
      for (;;) {
        if (write(fd, text.data(), text.size()) < 0 || where(fd) > 50'000'000) pause();
      }
    }
    usleep(30'000);
    ASSERT_OK(kill(pid, SIGKILL));
    int status;
    ASSERT_EQ(pid, waitpid(pid, &status, 0));
    usleep(20'000);
    const off_t size = size_of(path_);
    EXPECT_EQ(static_cast<size_t>(size), read_all(path_).size());
    Fd end(open(path_.c_str(), O_WRONLY | O_APPEND));
    EXPECT_EQ(1, write(end, "x", 1));
    EXPECT_EQ(size + 1, where(end));
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, OwnWriteTest, testing::Values(O_WRONLY, O_RDWR));

}  // namespace
}  // namespace run9::guest
