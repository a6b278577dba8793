// Files that are opened and read next. A kernel may put their first bytes where the thread finds them before it asks
// (sentry/task/file_answers.h), but nobody may notice: neither what the file is by then, nor where the descriptor is, nor when it was read.
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <functional>

#include "tests/syscalls/partner.h"

namespace run9::guest {
namespace {

constexpr int kOften = 4;
constexpr size_t kRoom = 100'000;

std::string pattern(size_t size, char first = 'a') {
  std::string text(size, ' ');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(first + i % 23);
  return text;
}

std::string read_up_to(int fd, size_t count = kRoom) {
  std::string text(count, '\0');
  const ssize_t n = read(fd, text.data(), count);
  EXPECT_OK(n);
  text.resize(static_cast<size_t>(std::max<ssize_t>(n, 0)));
  return text;
}

struct FirstReadTest : DirTest {
  // Read not long ago, and not written since: to read it once more changes no time (relatime in mount(8)).
  std::string settled_file(const std::string& name, const std::string& text) const {
    const std::string path = make_file(name, text);
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const timespec times[] = {{now.tv_sec + 5, 0}, {now.tv_sec - 100, 0}};
    EXPECT_OK(utimensat(AT_FDCWD, path.c_str(), times, 0));
    return path;
  }
  // Until whatever is told after some repetition is told.
  void read_often(const std::string& path) const {
    for (int i = 0; i < kOften; ++i) {
      Fd fd(open(path.c_str(), O_RDONLY));
      struct stat st;
      ASSERT_OK(fstat(fd, &st));
      read_up_to(fd);
    }
  }
};

TEST_F(FirstReadTest, AllSizes) {
  for (const size_t size : {0, 1, 8, 100, 1855, 1856, 1857, 4096, 15999, 16000, 16001, 16383, 16384, 16385, 70000}) {
    const std::string text = pattern(size), path = settled_file("file" + std::to_string(size), text);
    for (int i = 0; i < kOften; ++i) {
      for (const size_t more : {size_t{1}, kRoom - size, size_t{0}}) {
        Fd fd(open(path.c_str(), O_RDONLY));
        ASSERT_EQ(text, read_up_to(fd, size + more)) << size;
        EXPECT_EQ("", read_up_to(fd));
        EXPECT_EQ("", read_up_to(fd, 1));
        EXPECT_EQ(static_cast<off_t>(size), where(fd));
        EXPECT_EQ("", read_up_to(fd));
        ASSERT_EQ(0, lseek(fd, 0, SEEK_SET));
        ASSERT_EQ(text, read_up_to(fd));
      }
    }
  }
}

// pread(2) of any part of them: the position stays.
TEST_F(FirstReadTest, AtAPlace) {
  for (const size_t size : {100, 4096, 40'000}) {
    const std::string text = pattern(size), path = settled_file("file" + std::to_string(size), text);
    read_often(path);
    for (const size_t at : {size_t{0}, size_t{50}, size_t{99}, size_t{800}, size - 1, size, size + 1, size_t{100'000}}) {
      Fd fd(open(path.c_str(), O_RDONLY));
      std::string some(64, '\0');
      for (int twice = 0; twice < 2; ++twice) {
        const ssize_t n = pread(fd, some.data(), some.size(), static_cast<off_t>(at));
        ASSERT_EQ(at < size ? text.substr(at, 64) : "", some.substr(0, static_cast<size_t>(n))) << size << " " << at;
      }
      EXPECT_EQ(0, where(fd));
      EXPECT_EQ(text.substr(0, 10), read_up_to(fd, 10));
      EXPECT_EQ(10, where(fd));
    }
    Fd fd(open(path.c_str(), O_RDONLY));
    char c;
    EXPECT_ERR(EINVAL, pread(fd, &c, 1, -1));
    EXPECT_ERR(EFAULT, pread(fd, static_cast<char*>(bad()), 1, 0));
    EXPECT_EQ(1, pread(fd, &c, 1, 5));
    EXPECT_EQ(text[5], c);
    const std::string next_path = settled_file("next", pattern(size, 'B'));
    read_often(next_path);
    Fd other(open(settled_file("other", text).c_str(), O_RDONLY)), next(open(next_path.c_str(), O_RDONLY));
    EXPECT_EQ(1, pread(other, &c, 1, 5));
    EXPECT_EQ(text[5], c) << "not the other one's";
    Fd writer(open(path.c_str(), O_WRONLY));
    EXPECT_EQ(1, pwrite(writer, "!", 1, 5));
    EXPECT_EQ(1, pread(fd, &c, 1, 5));
    EXPECT_EQ('!', c);
  }
}

TEST_F(FirstReadTest, InParts) {
  const std::string text = pattern(1000), path = settled_file("file", text);
  read_often(path);
  for (int i = 0; i < kOften; ++i) {
    Fd fd(open(path.c_str(), O_RDONLY));
    EXPECT_EQ(text.substr(0, 999), read_up_to(fd, 999));
    EXPECT_EQ(text.substr(999), read_up_to(fd));
    EXPECT_EQ("", read_up_to(fd));
    read_often(path);
    Fd second(open(path.c_str(), O_RDONLY));
    char part[400];
    const iovec parts[] = {{part, 300}, {part + 300, 100}};
    EXPECT_EQ(400, readv(second, parts, 2));
    EXPECT_EQ(text.substr(400), read_up_to(second));
    read_often(path);
    Fd third(open(path.c_str(), O_RDONLY));
    EXPECT_EQ(400, pread(third, part, 400, 500));
    EXPECT_EQ(text.substr(500, 400), std::string(part, 400));
    EXPECT_EQ(text, read_up_to(third));
    read_often(path);
    Fd fourth(open(path.c_str(), O_RDONLY));
    EXPECT_EQ(300, lseek(fourth, 300, SEEK_SET));
    EXPECT_EQ(text.substr(300), read_up_to(fourth));
  }
}

TEST_F(FirstReadTest, InManyParts) {
  for (const size_t size : {10, 1000, 3000, 70000}) {
    const std::string text = pattern(size), path = settled_file("file" + std::to_string(size), text);
    for (const size_t part : {size_t{1}, size_t{7}, std::min(size, size_t{64}), size / 2, size - 1}) {
      for (int i = 0; i < kOften; ++i) {
        Fd fd(open(path.c_str(), O_RDONLY));
        size_t at = 0;
        for (int n = 0; n < 20 && at < size; ++n) {
          ASSERT_EQ(text.substr(at, part), read_up_to(fd, part)) << size << ' ' << part << ' ' << at;
          at = std::min(size, at + part);
        }
        EXPECT_EQ(static_cast<off_t>(at), where(fd));
        EXPECT_EQ(text.substr(at), read_up_to(fd));
        EXPECT_EQ("", read_up_to(fd, 1));
      }
      for (int i = 0; i < kOften; ++i) {
        Fd fd(open(path.c_str(), O_RDONLY));
        EXPECT_EQ(text.substr(0, part), read_up_to(fd, part));
        EXPECT_EQ("", read_up_to(fd, 0));
        EXPECT_EQ(text.substr(part), read_up_to(fd));
        Fd second(open(path.c_str(), O_RDONLY));
        EXPECT_EQ(text.substr(0, part), read_up_to(second, part));
        EXPECT_EQ(static_cast<off_t>(part), where(second));
        EXPECT_EQ(text.substr(part), read_up_to(second));
      }
    }
  }
}

TEST_F(FirstReadTest, BadMemory) {
  const std::string text = pattern(1000), path = settled_file("file", text);
  for (void* p : bad_pointers()) {
    read_often(path);
    Fd fd(open(path.c_str(), O_RDONLY));
    EXPECT_ERR(EFAULT, sys(SYS_read, fd, p, text.size()));
    EXPECT_EQ(0, where(fd));
    EXPECT_EQ(text, read_up_to(fd));
    EXPECT_EQ(1000, where(fd));
  }
  read_often(path);
  Fd fd(open(path.c_str(), O_RDONLY));
  Straddle page;
  const long some = sys(SYS_read, fd, page.last(600), text.size());  // a kernel may give those that fit
  EXPECT_TRUE(some == 600 || some == -EFAULT || (some == -1 && errno == EFAULT)) << some;
  EXPECT_EQ(text.substr(static_cast<size_t>(std::max<long>(some, 0))), read_up_to(fd));
}

TEST_F(FirstReadTest, WhatIsNotForReading) {
  const std::string text = pattern(100), path = settled_file("file", text);
  read_often(path);
  char byte;
  for (int i = 0; i < kOften; ++i) {
    Fd fd(open(path.c_str(), O_WRONLY));
    EXPECT_ERR(EBADF, sys(SYS_read, fd, &byte, 1));
    Fd named(open(path.c_str(), O_PATH));
    EXPECT_ERR(EBADF, sys(SYS_read, named, &byte, 1));
    EXPECT_ERR(EBADF, sys(SYS_read, static_cast<int>(named) + 1, &byte, 1));
    Fd dir(open(dir_.path().c_str(), O_RDONLY));
    EXPECT_ERR(EISDIR, sys(SYS_read, dir, &byte, 1));
    Fd both(open(path.c_str(), O_RDWR));
    EXPECT_EQ(text, read_up_to(both));
  }
}

TEST_F(FirstReadTest, AfterOwnChanges) {
  const std::string text = pattern(100);
  for (int i = 0; i < 2 * kOften; ++i) {
    const std::string path = settled_file("file", text);
    Fd writer(open(path.c_str(), O_RDWR));
    read_often(path);
    Fd fd(open(path.c_str(), O_RDONLY));
    ASSERT_EQ(2, pwrite(writer, "XY", 2, 0));
    EXPECT_EQ("XY" + text.substr(2), read_up_to(fd));
    ASSERT_EQ(3, pwrite(writer, "end", 3, 100));
    EXPECT_EQ("end", read_up_to(fd));
    read_often(path);
    Fd second(open(path.c_str(), O_RDONLY));
    ASSERT_OK(truncate(path.c_str(), 3));
    EXPECT_EQ("XY" + text.substr(2, 1), read_up_to(second));
  }
}

TEST_F(FirstReadTest, AfterOwnWritesThatNeedNoKernel) {
  const std::string text = pattern(4096), path = settled_file("file", text);
  Fd writer(open(path.c_str(), O_RDWR));
  read_often(path);
  for (int i = 0; i < 64; ++i) {
    Fd fd(open(path.c_str(), O_RDONLY));
    const char c = static_cast<char>('A' + i % 26);
    ASSERT_EQ(1, pwrite(writer, &c, 1, 0));
    EXPECT_EQ(c, read_up_to(fd)[0]);
    Fd again(open(path.c_str(), O_RDONLY));
    EXPECT_EQ(c, read_up_to(again)[0]);
    ASSERT_EQ(1, pwrite(writer, "-", 1, 0));
  }
}

TEST_F(FirstReadTest, AfterOwnStoresToMappedMemory) {
  const std::string path = settled_file("file", pattern(4096));
  Fd writer(open(path.c_str(), O_RDWR));
  read_often(path);
  auto* const memory = static_cast<char*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, writer, 0));
  ASSERT_NE(MAP_FAILED, static_cast<void*>(memory));
  for (int i = 0; i < 2 * kOften; ++i) {
    Fd fd(open(path.c_str(), O_RDONLY));
    memory[7] = static_cast<char>('A' + i);
    EXPECT_EQ('A' + i, read_up_to(fd)[7]);
  }
  munmap(memory, kPage);
}

TEST_F(FirstReadTest, AfterAnotherProcessChangedIt) {
  const std::string text = pattern(4096);
  std::string path;
  const std::function<void()> changes[] = {
      [&] {
        Fd fd(open(path.c_str(), O_RDWR));
        EXPECT_EQ(1, pwrite(fd, "X", 1, 0));
      },
      [&] { EXPECT_OK(truncate(path.c_str(), 2)); },
      [&] { Fd fd(open(path.c_str(), O_WRONLY | O_TRUNC)); },
      [&] {
        Fd fd(open(path.c_str(), O_RDWR));
        auto* const memory = static_cast<char*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
        ASSERT_NE(MAP_FAILED, static_cast<void*>(memory));
        memory[0] = 'X';
      },
      [&] {
        Fd fd(open(path.c_str(), O_RDWR));
        auto* const memory = static_cast<char*>(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd, 0));
        ASSERT_NE(MAP_FAILED, static_cast<void*>(memory));
        ASSERT_OK(mprotect(memory, kPage, PROT_READ | PROT_WRITE));
        memory[0] = 'X';
      },
  };
  for (size_t i = 0; i < std::size(changes); ++i) {
    path = settled_file("file" + std::to_string(i), text);
    const Partner partner(changes[i]);
    read_often(path);
    Fd fd(open(path.c_str(), O_RDONLY));
    partner.act();
    const std::string now = read_up_to(fd);
    EXPECT_NE(text, now) << i;
    EXPECT_EQ(read_file(path), now) << i;
  }
}

TEST_F(FirstReadTest, AfterItsEndAnotherProcessAppends) {
  const std::string text = pattern(100), path = settled_file("file", text);
  const Partner partner([&] {
    Fd fd(open(path.c_str(), O_WRONLY | O_APPEND));
    EXPECT_EQ(3, write(fd, "end", 3));
  });
  read_often(path);
  Fd fd(open(path.c_str(), O_RDONLY));
  EXPECT_EQ(text, read_up_to(fd));
  partner.act();
  EXPECT_EQ("end", read_up_to(fd));
  EXPECT_EQ(103, where(fd));
}

// Each while the reader does nothing, and has not said that it has read.
TEST_F(FirstReadTest, AnotherProcessSeesWhereItIs) {
  const std::string text = pattern(100), path = settled_file("file", text);
  const int number = next_descriptor();
  const pid_t self = getpid();
  const Partner before([&] { EXPECT_EQ(0, position_in_proc(self, number)); }), after([&] { EXPECT_EQ(100, position_in_proc(self, number)); });
  read_often(path);
  Fd fd(open(path.c_str(), O_RDONLY));
  ASSERT_EQ(number, static_cast<int>(fd));
  before.act();
  EXPECT_EQ(text, read_up_to(fd));
  read_often(path);
  ASSERT_EQ(0, lseek(fd, 0, SEEK_SET));
  fd.reset();
  read_often(path);
  Fd again(open(path.c_str(), O_RDONLY));
  ASSERT_EQ(number, static_cast<int>(again));
  EXPECT_EQ(text, read_up_to(again));
  after.act();
  EXPECT_EQ("", read_up_to(again));
}

TEST_F(FirstReadTest, AnotherProcessTakesTheDescriptor) {
  const std::string text = pattern(100), path = settled_file("file", text);
  Fd self(static_cast<int>(sys(SYS_pidfd_open, getpid(), 0)));
  ASSERT_OK(static_cast<int>(self));
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);  // where only a parent may otherwise
  const int number = next_descriptor();
  const Partner there([&] {
    Fd taken(static_cast<int>(sys(SYS_pidfd_getfd, self, number, 0)));
    EXPECT_EQ(100, where(taken));
    EXPECT_EQ(10, lseek(taken, 10, SEEK_SET));
  });
  read_often(path);
  Fd fd(open(path.c_str(), O_RDONLY));
  EXPECT_EQ(number, static_cast<int>(fd));
  EXPECT_EQ(text, read_up_to(fd));
  there.act();
  EXPECT_EQ(text.substr(10), read_up_to(fd));
}

TEST_F(FirstReadTest, AForkedChildGoesOnWhereItIs) {
  const std::string text = pattern(100), path = settled_file("file", text);
  read_often(path);
  Fd fd(open(path.c_str(), O_RDONLY));
  EXPECT_EQ(text, read_up_to(fd));
  in_child([&] {
    EXPECT_EQ(100, where(fd));
    EXPECT_EQ(0, lseek(fd, 0, SEEK_SET));
  });
  EXPECT_EQ(text, read_up_to(fd));
  read_often(path);
  Fd unread(open(path.c_str(), O_RDONLY));
  in_child([&] { EXPECT_EQ(text, read_up_to(unread)); });
  EXPECT_EQ("", read_up_to(unread));
}

TEST_F(FirstReadTest, AnotherFileUnderTheSameNumber) {
  const std::string a = pattern(100), b = pattern(200, 'b');
  const std::string first = settled_file("a", a), second = settled_file("b", b);
  read_often(first);
  for (int i = 0; i < kOften; ++i) {
    const int fd = open(first.c_str(), O_RDONLY);
    if (i % 2 == 0) EXPECT_EQ(a, read_up_to(fd));
    ASSERT_OK(close(fd));
    char byte;
    EXPECT_ERR(EBADF, sys(SYS_read, fd, &byte, 1));
    const int next = open(second.c_str(), O_RDONLY);
    EXPECT_EQ(fd, next);
    EXPECT_EQ(0, where(next));
    EXPECT_EQ(b, read_up_to(next));
    const int third = open(first.c_str(), O_RDONLY);
    ASSERT_OK(dup2(next, third));
    EXPECT_EQ("", read_up_to(third));
    close(third);
    close(next);
    read_often(first);
  }
}

TEST_F(FirstReadTest, TwoThreads) {
  const std::string text = pattern(100), path = settled_file("file", text);
  read_often(path);
  int fd = -1;
  PartnerThread other({[&] { EXPECT_EQ(text.substr(0, 50), read_up_to(fd, 50)); }, [&] { EXPECT_EQ(50, lseek(fd, -50, SEEK_END)); }});
  fd = open(path.c_str(), O_RDONLY);
  ASSERT_OK(fd);
  other.act();
  EXPECT_EQ(text.substr(50), read_up_to(fd));
  other.act();
  EXPECT_EQ(text.substr(50), read_up_to(fd));
  close(fd);
}

// relatime: a file that was written after it was last read.
TEST_F(FirstReadTest, TimesOfReading) {
  const std::string path = make_file("file", pattern(100));
  const auto times = [&](time_t read, time_t written) {
    const timespec t[] = {{read, 0}, {written, 0}};
    ASSERT_OK(utimensat(AT_FDCWD, path.c_str(), t, 0));
  };
  const auto read_at = [&] {
    struct stat st;
    EXPECT_OK(stat(path.c_str(), &st));
    return st.st_atim.tv_sec;
  };
  const std::string settled = settled_file("settled", pattern(100));
  for (int i = 0; i < kOften; ++i) {
    read_often(settled);
    times(1000, 2000);
    {
      Fd fd(open(path.c_str(), O_RDONLY));
      struct stat st;
      ASSERT_OK(fstat(fd, &st));
    }
    EXPECT_EQ(1000, read_at()) << "opened, not read";
    read_often(settled);
    Fd fd(open(path.c_str(), O_RDONLY));
    read_up_to(fd);
    if (i == 0 && read_at() == 1000) GTEST_SKIP() << "a file system that does not note reads";
    EXPECT_LT(1000, read_at());
  }
}

TEST_F(FirstReadTest, WhoeverWatchesHearsOfReading) {
  const std::string path = settled_file("file", pattern(100));
  read_often(path);
  Fd fd(open(path.c_str(), O_RDONLY));
  Fd watch(inotify_init1(IN_NONBLOCK));
  Fd before(open(path.c_str(), O_RDONLY));
  const Partner watcher([&] { ASSERT_OK(inotify_add_watch(watch, path.c_str(), IN_ACCESS)); });
  Fd last(open(path.c_str(), O_RDONLY));
  watcher.act();
  read_up_to(last);
  inotify_event event;
  EXPECT_EQ(ssize_t{sizeof event}, read(watch, &event, sizeof event));
  EXPECT_EQ(uint32_t{IN_ACCESS}, event.mask);
}

}  // namespace
}  // namespace run9::guest
