// What programs do with a descriptor right after they got it: fstat, F_GETFL, reads that find the end, close. A kernel may tell a thread ahead what
// these will say, and let it close by itself (sentry/task/file_answers.h), but nobody may notice: not the thread, after whatever it does in
// between, and not another process that it has an understanding with by shared memory alone.
#include <dirent.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <functional>

#include "tests/syscalls/partner.h"

namespace run9::guest {
namespace {

constexpr int kOften = 4;

struct stat stat_by(long nr, int fd) {
  struct stat st = {};
  if (nr == SYS_fstat) {
    EXPECT_OK(sys(SYS_fstat, fd, &st));
  } else {
    EXPECT_OK(sys(SYS_newfstatat, fd, "", &st, AT_EMPTY_PATH));
  }
  return st;
}

off_t size_of(int fd) { return stat_by(SYS_newfstatat, fd).st_size; }

struct ToldFileTest : DirTest {
  // Until whatever is told after some repetition is told.
  void open_often(const std::string& path, int flags = O_RDONLY) const {
    for (int i = 0; i < kOften; ++i) {
      Fd fd(open(path.c_str(), flags));
      ASSERT_OK(static_cast<int>(fd));
      stat_by(SYS_fstat, fd);
    }
  }
};

TEST_F(ToldFileTest, StatIsThatOfTheFile) {
  const std::string path = make_file("file", "12345", 0640);
  struct stat by_name;
  ASSERT_OK(stat(path.c_str(), &by_name));
  struct stat of_dir;
  ASSERT_OK(stat(dir_.path().c_str(), &of_dir));
  for (int i = 0; i < kOften; ++i) {
    for (const long nr : {SYS_fstat, SYS_newfstatat}) {
      Fd fd(open(path.c_str(), O_RDONLY));
      const struct stat st = stat_by(nr, fd);
      EXPECT_EQ(0, memcmp(&st, &by_name, sizeof st));
      const struct stat again = stat_by(nr, fd);
      EXPECT_EQ(0, memcmp(&again, &by_name, sizeof st));
      Fd dir(open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY));
      const struct stat other = stat_by(nr, dir);
      EXPECT_EQ(of_dir.st_ino, other.st_ino);
      EXPECT_EQ(of_dir.st_mode, other.st_mode);
    }
  }
}

TEST_F(ToldFileTest, StatChecksItsArguments) {
  const std::string path = make_file("file", "12345");
  open_often(path);
  Fd fd(open(path.c_str(), O_RDONLY));
  for (void* p : bad_pointers()) EXPECT_ERR(EFAULT, sys(SYS_fstat, fd, p));
  Fd second(open(path.c_str(), O_RDONLY));
  Straddle page;
  EXPECT_ERR(EFAULT, sys(SYS_fstat, second, page.last(sizeof(struct stat) - 1)));
  EXPECT_OK(sys(SYS_fstat, second, page.last(sizeof(struct stat))));
  Fd third(open(path.c_str(), O_RDONLY));
  struct stat st;
  EXPECT_ERR(ENOENT, sys(SYS_newfstatat, third, "", &st, 0));
  EXPECT_ERR(EFAULT, sys(SYS_newfstatat, third, bad<char>(), &st, AT_EMPTY_PATH));
  EXPECT_ERR(ENOTDIR, sys(SYS_newfstatat, third, "x", &st, AT_EMPTY_PATH));
  EXPECT_ERR(EBADF, sys(SYS_newfstatat, static_cast<int>(third) + 1, "", &st, AT_EMPTY_PATH));
  EXPECT_ERR(EBADF, sys(SYS_fstat, -1, &st));
}

TEST_F(ToldFileTest, StatAfterOwnChanges) {
  const std::string path = make_file("file", "12345");
  open_often(path, O_RDWR);
  Fd fd(open(path.c_str(), O_RDWR));
  ASSERT_EQ(1, pwrite(fd, "x", 1, 9));
  EXPECT_EQ(10, size_of(fd));
  Fd second(open(path.c_str(), O_RDWR));
  ASSERT_OK(ftruncate(fd, 3));
  EXPECT_EQ(3, size_of(second));
  Fd third(open(path.c_str(), O_RDONLY));
  ASSERT_OK(fchmod(fd, 0600));
  EXPECT_EQ(0600u, stat_by(SYS_fstat, third).st_mode & 07777);
  Fd fourth(open(path.c_str(), O_RDONLY));
  ASSERT_OK(unlink(path.c_str()));
  EXPECT_EQ(0u, stat_by(SYS_fstat, fourth).st_nlink);
}

TEST_F(ToldFileTest, StatAfterAnotherProcessChangedIt) {
  const std::string path = make_file("file", "12345");
  Fd writer(open(path.c_str(), O_RDWR));
  open_often(path);
  const std::function<void()> changes[] = {
      [&] { EXPECT_EQ(1, pwrite(writer, "x", 1, 9)); },
      [&] { EXPECT_OK(truncate(path.c_str(), 2)); },
      [&] { Fd fd(open(path.c_str(), O_WRONLY | O_TRUNC)); },
      [&] { EXPECT_OK(chmod(path.c_str(), 0604)); },
      [&] { EXPECT_OK(link(path.c_str(), at("second").c_str())); },
      [&] { EXPECT_OK(unlink(path.c_str())); },
  };
  for (size_t i = 0; i < std::size(changes); ++i) {
    const Partner partner(changes[i]);
    Fd fd(open(path.c_str(), O_RDONLY));
    const struct stat before = stat_by(SYS_fstat, fd);
    Fd again(open(path.c_str(), O_RDONLY));
    partner.act();
    const struct stat after = stat_by(SYS_fstat, again);
    struct stat want;
    ASSERT_OK(fstat(writer, &want));
    EXPECT_EQ(0, memcmp(&want, &after, sizeof want)) << i;
    EXPECT_NE(0, memcmp(&before, &after, sizeof want)) << i;
  }
}

TEST_F(ToldFileTest, OfAFileThatWasMadeWhileAnotherIsToldOf) {
  const std::string path = make_file("file", "12345"), made = at("made");
  open_often(path);
  auto* const step = static_cast<uint32_t*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(MAP_FAILED, static_cast<void*>(step));
  const auto await = [step](uint32_t n) {
    while (__atomic_load_n(step, __ATOMIC_SEQ_CST) != n) sched_yield();
  };
  const Partner partner([&] {
    const Fd fd(open(made.c_str(), O_CREAT | O_RDWR, 0644));
    __atomic_store_n(step, 1, __ATOMIC_SEQ_CST);
    await(2);
    EXPECT_EQ(7, size_of(fd));
  });
  const Partner writer([&] {
    write_file(made, "1234567");
    __atomic_store_n(step, 2, __ATOMIC_SEQ_CST);
  });
  Fd fd(open(path.c_str(), O_RDONLY));
  partner.begin();
  await(1);
  writer.act();
  partner.end();
  EXPECT_EQ(5, size_of(fd));
  munmap(step, kPage);
}

TEST_F(ToldFileTest, FlagsAfterOpenAndDup) {
  const std::string path = make_file("file", "12345");
  for (const int flags : {O_RDONLY, O_RDWR | O_APPEND, O_WRONLY | O_NONBLOCK, O_RDONLY | O_CLOEXEC, O_PATH, O_PATH | O_CLOEXEC, O_RDONLY | O_NOFOLLOW}) {
    for (int i = 0; i < kOften; ++i) {
      Fd fd(open(path.c_str(), flags));
      const int cloexec = (flags & O_CLOEXEC) != 0 ? FD_CLOEXEC : 0;
      EXPECT_EQ(cloexec, fcntl(fd, F_GETFD));
      const int shown = fcntl(fd, F_GETFL);
      EXPECT_EQ(flags & ~O_CLOEXEC, shown & ~0100000);
      EXPECT_OK(fcntl(fd, F_SETFD, cloexec));
      EXPECT_EQ(cloexec, fcntl(fd, F_GETFD));
      EXPECT_OK(fcntl(fd, F_SETFD, FD_CLOEXEC - cloexec));
      EXPECT_EQ(FD_CLOEXEC - cloexec, fcntl(fd, F_GETFD));
      EXPECT_EQ(shown, fcntl(fd, F_GETFL));
      Fd copy(dup(fd));
      EXPECT_EQ(0, fcntl(copy, F_GETFD));
      EXPECT_EQ(shown, fcntl(copy, F_GETFL));
      Fd other(fcntl(fd, F_DUPFD_CLOEXEC, 0));
      EXPECT_EQ(FD_CLOEXEC, fcntl(other, F_GETFD));
      EXPECT_EQ(shown, fcntl(other, F_GETFL));
    }
  }
}

TEST_F(ToldFileTest, IsATerminalAndWhereItIs) {
  const std::string path = make_file("file", "12345");
  char text[8], terminal[64];
  for (int i = 0; i < kOften; ++i) {
    for (const int flags : {O_RDONLY, O_RDWR | O_APPEND, O_RDONLY | O_PATH}) {
      Fd fd(open(path.c_str(), flags));
      const bool by_path = (flags & O_PATH) != 0;
      EXPECT_ERR(by_path ? EBADF : ENOTTY, sys(SYS_ioctl, fd, 0x5401, terminal));
      if (by_path) {
        EXPECT_ERR(EBADF, lseek(fd, 0, SEEK_CUR));
        continue;
      }
      EXPECT_EQ(0, lseek(fd, 0, SEEK_CUR));
      EXPECT_EQ(0, lseek(fd, 0, SEEK_SET));
      EXPECT_ERR(EINVAL, lseek(fd, 0, 77));
      EXPECT_EQ(2, lseek(fd, 2, SEEK_SET));
      EXPECT_EQ(2, lseek(fd, 0, SEEK_CUR));
      EXPECT_EQ(3, read(fd, text, sizeof text));
      EXPECT_EQ(5, lseek(fd, 0, SEEK_CUR));
      Fd copy(dup(fd));
      EXPECT_EQ(5, lseek(copy, 0, SEEK_CUR));
      Fd second(open(path.c_str(), flags));
      EXPECT_EQ(5, lseek(second, 0, SEEK_END));
      EXPECT_EQ(5, lseek(second, 0, SEEK_CUR));
    }
    Fd null(open("/dev/null", O_RDWR));
    EXPECT_ERR(ENOTTY, sys(SYS_ioctl, null, 0x5401, terminal));
    if (Fd master(open("/dev/ptmx", O_RDWR | O_NOCTTY)); master >= 0) EXPECT_OK(sys(SYS_ioctl, master, 0x5401, terminal));
  }
}

TEST_F(ToldFileTest, FlagsThatWereChanged) {
  const std::string path = make_file("file", "12345");
  Fd shared(open(path.c_str(), O_RDONLY));
  const Partner partner([&] { EXPECT_OK(fcntl(shared, F_SETFL, O_NONBLOCK)); });
  Fd own(open(path.c_str(), O_RDWR));
  ASSERT_OK(fcntl(own, F_SETFL, O_APPEND));
  EXPECT_EQ(O_RDWR | O_APPEND, fcntl(own, F_GETFL) & ~0100000);
  Fd copy(dup(shared));
  partner.act();
  EXPECT_EQ(O_RDONLY | O_NONBLOCK, fcntl(copy, F_GETFL) & ~0100000);
}

TEST_F(ToldFileTest, ReadsThatFindTheEnd) {
  const std::string path = make_file("file", "12345");
  char text[16];
  for (int i = 0; i < kOften; ++i) {
    Fd fd(open(path.c_str(), O_RDWR));
    EXPECT_EQ(5, read(fd, text, sizeof text));
    EXPECT_EQ(0, read(fd, text, sizeof text));
    EXPECT_EQ(0, read(fd, text, sizeof text));
    EXPECT_EQ(0, lseek(fd, 0, SEEK_SET));
    EXPECT_EQ(3, read(fd, text, 3));
    EXPECT_EQ(2, read(fd, text, 3));
    EXPECT_EQ(0, lseek(fd, 0, SEEK_SET));
    EXPECT_EQ(5, read(fd, text, sizeof text));
    EXPECT_EQ(5, pread(fd, text, sizeof text, 0));
    EXPECT_EQ(0, read(fd, text, sizeof text));
    EXPECT_EQ(1, pwrite(fd, "6", 1, 5));
    EXPECT_EQ(1, read(fd, text, sizeof text));
    EXPECT_EQ('6', text[0]);
    EXPECT_EQ(0, read(fd, text, sizeof text));
    EXPECT_ERR(ENOTDIR, sys(SYS_getdents64, fd, text, sizeof text));
    ASSERT_OK(ftruncate(fd, 5));
  }
}

TEST_F(ToldFileTest, ReadsAfterAnotherProcessDidSomething) {
  const std::string path = make_file("file", "12345");
  Fd shared(open(path.c_str(), O_RDWR));
  const std::function<void()> things[] = {
      [&] { EXPECT_EQ(2, pwrite(shared, "67", 2, 5)); },
      [&] { EXPECT_EQ(5, lseek(shared, 5, SEEK_SET)); },
  };
  for (const auto& thing : things) {
    const Partner partner(thing);
    char text[16];
    ASSERT_EQ(0, lseek(shared, 0, SEEK_SET));
    ASSERT_LT(0, read(shared, text, sizeof text));
    partner.act();
    EXPECT_EQ(2, read(shared, text, sizeof text));
    EXPECT_EQ('6', text[0]);
  }
}

TEST_F(ToldFileTest, ListingsThatFindTheEnd) {
  make_file("a");
  char text[4096];
  for (int i = 0; i < kOften; ++i) {
    Fd fd(open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY));
    EXPECT_LT(0, sys(SYS_getdents64, fd, text, sizeof text));
    EXPECT_EQ(0, sys(SYS_getdents64, fd, text, sizeof text));
    EXPECT_EQ(0, sys(SYS_getdents64, fd, text, 1));
    EXPECT_EQ(-1, read(fd, text, sizeof text));
    EXPECT_EQ(0, lseek(fd, 0, SEEK_SET));
    EXPECT_LT(0, sys(SYS_getdents64, fd, text, 64));
    EXPECT_LT(0, sys(SYS_getdents64, fd, text, 64));
  }
  const std::string gone = at("gone");
  ASSERT_OK(mkdir(gone.c_str(), 0755));
  const Partner partner([&] { EXPECT_OK(rmdir(gone.c_str())); });
  Fd fd(open(gone.c_str(), O_RDONLY | O_DIRECTORY));
  EXPECT_LT(0, sys(SYS_getdents64, fd, text, sizeof text));
  partner.act();
  EXPECT_ERR(ENOENT, sys(SYS_getdents64, fd, text, sizeof text));
}

TEST_F(ToldFileTest, ClosedOnce) {
  const std::string path = make_file("file", "12345");
  char text[16];
  struct stat st;
  for (int i = 0; i < kOften; ++i) {
    const int fd = open(path.c_str(), O_RDONLY);
    EXPECT_EQ(0, close(fd));
    EXPECT_ERR(EBADF, close(fd));
    EXPECT_EQ(fd, open(path.c_str(), O_RDONLY));
    EXPECT_EQ(5, read(fd, text, sizeof text));
    EXPECT_EQ(0, close(fd));
    EXPECT_ERR(EBADF, read(fd, text, sizeof text));
    EXPECT_EQ(fd, open(path.c_str(), O_RDONLY));
    EXPECT_EQ(0, close(fd));
    EXPECT_ERR(EBADF, sys(SYS_fstat, fd, &st));
    EXPECT_EQ(fd, open(path.c_str(), O_RDONLY));
    EXPECT_EQ(0, close(fd));
    EXPECT_ERR(EBADF, fcntl(fd, F_GETFL));
    EXPECT_ERR(EBADF, fcntl(fd, F_SETFD, 0));
  }
}

TEST_F(ToldFileTest, ManyClosedAtOnce) {
  const std::string path = make_file("file", "12345");
  for (int i = 0; i < kOften; ++i) {
    int fds[8];
    for (int& fd : fds) fd = open(path.c_str(), O_RDONLY);
    for (const int fd : fds) EXPECT_EQ(0, close(fd));
    for (const int fd : fds) EXPECT_ERR(EBADF, fcntl(fd, F_GETFD));
    for (const int fd : fds) EXPECT_EQ(fd, open(path.c_str(), O_RDONLY));
    for (int n = 7; n >= 0; --n) EXPECT_EQ(0, close(fds[n]));
  }
}

TEST_F(ToldFileTest, AnotherFileUnderTheSameNumber) {
  const std::string path = make_file("file", "12345");
  char byte;
  for (int i = 0; i < kOften; ++i) {
    // Whoever reads is told of the end as soon as the last writer is gone, without our asking for anything else.
    Pipe pipe(0);
    const int fd = open(path.c_str(), O_RDONLY);
    ASSERT_EQ(fd, i % 2 == 0 ? dup2(pipe.w, fd) : dup3(pipe.w, fd, O_CLOEXEC));
    pipe.w.reset();
    const Partner partner([&] {
      close(fd);
      EXPECT_EQ(0, read(pipe.r, &byte, 1));
    });
    EXPECT_EQ(0, close(fd));
    partner.act();
  }
  for (int i = 0; i < kOften; ++i) {
    const int fd = open(path.c_str(), O_RDONLY);
    ASSERT_OK(sys(SYS_close_range, fd, fd, 0));
    int fds[2];
    ASSERT_OK(pipe(fds));
    ASSERT_EQ(fd, fds[0]);
    const Partner partner([&] {
      close(fds[0]);
      signal(SIGPIPE, SIG_IGN);
      EXPECT_ERR(EPIPE, write(fds[1], "x", 1));
    });
    EXPECT_EQ(0, close(fds[0]));
    partner.act();
    EXPECT_EQ(0, close(fds[1]));
  }
}

TEST_F(ToldFileTest, WhatAForkedChildHas) {
  const std::string path = make_file("file", "12345");
  for (int i = 0; i < kOften; ++i) {
    const int kept = open(path.c_str(), O_RDONLY), fd = open(path.c_str(), O_RDONLY);
    EXPECT_EQ(0, close(fd));
    in_child([&] {
      EXPECT_ERR(EBADF, fcntl(fd, F_GETFD));
      EXPECT_OK(fcntl(kept, F_GETFD));
      EXPECT_EQ(0, close(kept));
      EXPECT_ERR(EBADF, fcntl(kept, F_GETFD));
    });
    EXPECT_EQ(5, size_of(kept));
    EXPECT_EQ(0, close(kept));
    const pid_t pid = vfork();
    if (pid == 0) _exit(fcntl(kept, F_GETFD) == -1 && errno == EBADF ? 0 : 1);
    int status;
    ASSERT_EQ(pid, waitpid(pid, &status, 0));
    EXPECT_EQ(0, status);
  }
}

TEST_F(ToldFileTest, AfterTheLimitOfDescriptors) {
  const std::string path = make_file("file", "12345");
  const int last = open(path.c_str(), O_RDONLY);
  rlimit before;
  ASSERT_OK(getrlimit(RLIMIT_NOFILE, &before));
  const rlimit tight{static_cast<rlim_t>(last) + 1, before.rlim_max};
  ASSERT_OK(setrlimit(RLIMIT_NOFILE, &tight));
  for (int i = 0; i < kOften; ++i) {
    EXPECT_ERR(EMFILE, open(path.c_str(), O_RDONLY));
    EXPECT_EQ(0, close(last));
    EXPECT_EQ(last, open(path.c_str(), O_RDONLY));
  }
  ASSERT_OK(setrlimit(RLIMIT_NOFILE, &before));
  close(last);
}

TEST_F(ToldFileTest, AnotherProcessLooksAtTheDescriptors) {
  const std::string path = make_file("file", "12345");
  int fd = -1;
  const pid_t self = getpid();
  const std::string link = "/proc/" + std::to_string(self) + "/fd/";
  char text[256];
  const int number = next_descriptor();
  const Partner there([&] { EXPECT_LT(0, readlink((link + std::to_string(number)).c_str(), text, sizeof text)); });
  const Partner gone([&] { EXPECT_ERR(ENOENT, readlink((link + std::to_string(number)).c_str(), text, sizeof text)); });
  fd = open(path.c_str(), O_RDONLY);
  ASSERT_EQ(number, fd);
  there.act();
  EXPECT_EQ(0, close(fd));
  gone.act();
  EXPECT_EQ(number, open(path.c_str(), O_RDONLY));
  EXPECT_EQ(0, close(number));
}

TEST_F(ToldFileTest, LocksGoWithTheDescriptor) {
  const std::string path = make_file("file", "12345");
  open_often(path);
  for (int i = 0; i < kOften; ++i) {
    const Partner flocks([&] {
      Fd fd(open(path.c_str(), O_RDONLY));
      EXPECT_OK(flock(fd, LOCK_EX | LOCK_NB));
    });
    const Partner locks([&] {
      Fd fd(open(path.c_str(), O_RDWR));
      struct flock l = {};
      l.l_type = F_WRLCK;
      EXPECT_OK(fcntl(fd, F_SETLK, &l));
    });
    const int fd = open(path.c_str(), O_RDONLY);
    ASSERT_OK(flock(fd, LOCK_EX));
    EXPECT_EQ(0, close(fd));
    flocks.act();
    Fd holder(open(path.c_str(), O_RDWR));
    struct flock l = {};
    l.l_type = F_WRLCK;
    ASSERT_OK(fcntl(holder, F_SETLK, &l));
    const int other = open(path.c_str(), O_RDONLY);  // whose end is the lock's
    EXPECT_EQ(0, close(other));
    locks.act();
  }
}

TEST_F(ToldFileTest, ALockThatAChildTook) {
  const std::string path = make_file("file", "12345");
  open_often(path);
  const int fd = open(path.c_str(), O_RDONLY);
  in_child([&] { EXPECT_OK(flock(fd, LOCK_EX)); });
  const Partner partner([&] {
    close(fd);
    Fd own(open(path.c_str(), O_RDONLY));
    EXPECT_OK(flock(own, LOCK_EX | LOCK_NB));
  });
  EXPECT_EQ(0, close(fd));
  partner.act();
}

TEST_F(ToldFileTest, WhoeverWatchesHearsOfClose) {
  const std::string path = make_file("file", "12345");
  open_often(path);
  Fd watch(inotify_init1(IN_NONBLOCK));
  const int before = open(path.c_str(), O_RDONLY);
  ASSERT_OK(inotify_add_watch(watch, path.c_str(), IN_CLOSE_NOWRITE));
  const Partner partner([&] {
    close(before);
    inotify_event event;
    EXPECT_EQ(ssize_t{sizeof event}, read(watch, &event, sizeof event));
    EXPECT_EQ(uint32_t{IN_CLOSE_NOWRITE}, event.mask);
  });
  EXPECT_EQ(0, close(before));
  partner.act();
}

TEST_F(ToldFileTest, Unmounted) {
  SKIP_UNLESS_ROOT();
  const std::string where = at("mount");
  ASSERT_OK(mkdir(where.c_str(), 0755));
  if (unshare(CLONE_NEWNS) != 0 && errno != EINVAL && errno != ENOSYS) GTEST_SKIP() << "no mount namespace: " << errno_name(errno);
  if (mount("none", where.c_str(), "tmpfs", 0, nullptr) != 0) GTEST_SKIP() << "may not mount: " << errno_name(errno);
  write_file(where + "/file", "12345");
  const Partner partner([&] { EXPECT_OK(umount(where.c_str())); });
  const int fd = open((where + "/file").c_str(), O_RDONLY);
  EXPECT_EQ(0, close(fd));
  partner.act();
}

TEST_F(ToldFileTest, DescriptorsThatThreadsShare) {
  const std::string path = make_file("file", "12345");
  open_often(path);
  struct Shared {
    std::string path;
    int fd = -1;
    uint32_t step = 0;
  } shared{path};
  const auto await = [](Shared& s, uint32_t n) {
    while (__atomic_load_n(&s.step, __ATOMIC_SEQ_CST) != n) sched_yield();
  };
  static constexpr auto say = [](Shared& s, uint32_t n) { __atomic_store_n(&s.step, n, __ATOMIC_SEQ_CST); };
  pthread_t thread;
  const int early = open(path.c_str(), O_RDONLY);
  ASSERT_EQ(0, pthread_create(
                   &thread, nullptr,
                   [](void* arg) -> void* {
                     auto& s = *static_cast<Shared*>(arg);
                     while (__atomic_load_n(&s.step, __ATOMIC_SEQ_CST) != 1) sched_yield();
                     EXPECT_ERR(EBADF, fcntl(s.fd, F_GETFD));
                     EXPECT_EQ(s.fd, open(s.path.c_str(), O_RDONLY | O_CLOEXEC));
                     say(s, 2);
                     while (__atomic_load_n(&s.step, __ATOMIC_SEQ_CST) != 3) sched_yield();
                     EXPECT_EQ(0, close(s.fd));
                     say(s, 4);
                     return nullptr;
                   },
                   &shared));
  shared.fd = early;
  EXPECT_EQ(0, close(early));
  say(shared, 1);
  await(shared, 2);
  EXPECT_EQ(FD_CLOEXEC, fcntl(early, F_GETFD));
  say(shared, 3);
  await(shared, 4);
  EXPECT_ERR(EBADF, close(early));
  ASSERT_EQ(0, pthread_join(thread, nullptr));
  open_often(path);
}

// What one thread was told of a descriptor ends with what another one does to it.
TEST_F(ToldFileTest, AThreadThatChangesDescriptors) {
  const std::string path = make_file("file", "12345"), other = make_file("other", "1234567");
  open_often(path);
  struct Shared {
    std::function<void()> thing;
    uint32_t step = 0;
  };
  Fd second(open(other.c_str(), O_RDONLY));
  int fd = -1;
  char text[8];
  const std::function<void()> things[] = {
      [&] { EXPECT_EQ(fd, dup2(second, fd)); },
      [&] { EXPECT_EQ(fd, dup3(second, fd, O_CLOEXEC)); },
      [&] {
        EXPECT_EQ(0, close(fd));
        EXPECT_EQ(fd, open(other.c_str(), O_RDONLY));
      },
      [&] {
        EXPECT_OK(sys(SYS_close_range, fd, fd, 0));
        EXPECT_EQ(fd, fcntl(second, F_DUPFD, 0));
      },
  };
  for (const auto& thing : things) {
    for (const bool reads : {false, true}) {
      Shared s{thing};
      pthread_t thread;
      ASSERT_EQ(0, pthread_create(
                       &thread, nullptr,
                       [](void* arg) -> void* {
                         auto& s = *static_cast<Shared*>(arg);
                         while (__atomic_load_n(&s.step, __ATOMIC_SEQ_CST) != 1) sched_yield();
                         s.thing();
                         __atomic_store_n(&s.step, 2, __ATOMIC_SEQ_CST);
                         return nullptr;
                       },
                       &s));
      lseek(second, 0, SEEK_SET);
      fd = open(path.c_str(), O_RDONLY);
      if (reads) EXPECT_EQ(5, read(fd, text, sizeof text));
      __atomic_store_n(&s.step, 1, __ATOMIC_SEQ_CST);
      while (__atomic_load_n(&s.step, __ATOMIC_SEQ_CST) != 2) sched_yield();
      if (reads) {
        EXPECT_EQ(7, read(fd, text, sizeof text));
      } else {
        EXPECT_EQ(7, size_of(fd));
      }
      EXPECT_EQ(0, close(fd));
      ASSERT_EQ(0, pthread_join(thread, nullptr));
    }
  }
}

TEST_F(ToldFileTest, DescriptorsThatProcessesShare) {
  const std::string path = make_file("file", "12345");
  open_often(path);
  Pipe pipe;
  const int fd = open(path.c_str(), O_RDONLY), second = open(path.c_str(), O_RDONLY);
  EXPECT_EQ(0, close(second));
  const pid_t pid = static_cast<pid_t>(sys(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
  ASSERT_OK(pid);
  if (pid == 0) {
    pipe.await();
    const bool gone = fcntl(fd, F_GETFD) == -1 && fcntl(second, F_GETFD) == -1;
    _exit(gone ? 0 : 1);
  }
  const int third = open(path.c_str(), O_RDONLY);
  EXPECT_EQ(second, third);
  EXPECT_EQ(0, close(third));
  EXPECT_EQ(0, close(fd));
  pipe.notify();
  int status;
  ASSERT_EQ(pid, waitpid(pid, &status, 0));
  EXPECT_EQ(0, status);
}

TEST_F(ToldFileTest, AcrossExec) {
  const std::string path = make_file("file", "12345");
  open_often(path);
  const int fd = open(path.c_str(), O_RDONLY), kept = open(path.c_str(), O_RDONLY);
  EXPECT_EQ(0, close(fd));
  in_child([&] {
    const int own = open(path.c_str(), O_RDONLY);
    close(own);
    const std::string script = "test ! -e /proc/self/fd/" + std::to_string(own) + " -a -e /proc/self/fd/" + std::to_string(kept);
    execl("/bin/sh", "sh", "-c", script.c_str(), nullptr);
    _exit(2);
  });
  EXPECT_EQ(0, close(kept));
}

TEST_F(ToldFileTest, InASignalHandler) {
  static std::string path;
  static int fd;
  path = make_file("file", "12345");
  open_often(path);
  struct sigaction action = {};
  action.sa_handler = [](int) {
    struct stat st;
    EXPECT_OK(sys(SYS_fstat, fd, &st));
    EXPECT_EQ(5, st.st_size);
    EXPECT_EQ(0, close(fd));
    EXPECT_EQ(fd, open(path.c_str(), O_RDONLY));
  };
  ASSERT_OK(sigaction(SIGUSR1, &action, nullptr));
  for (int i = 0; i < kOften; ++i) {
    fd = open(path.c_str(), O_RDONLY);
    raise(SIGUSR1);
    EXPECT_EQ(5, size_of(fd));
    EXPECT_EQ(0, close(fd));
  }
}

}  // namespace
}  // namespace run9::guest
