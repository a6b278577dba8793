// Terminals: pseudo-terminal pairs, the line discipline, window sizes, and job control.
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <termios.h>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

struct Pty {
  Fd master, slave;
  std::string name;
  Pty() : master(open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    int unlock = 0, number = -1;
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) != 0 ||
        ioctl(master, TIOCGPTN, &number) != 0)
      return;
    name = "/dev/pts/" + std::to_string(number);
    slave = Fd(open(name.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  }
  void type(const std::string& keys) const {
    EXPECT_EQ(static_cast<ssize_t>(keys.size()), write(master, keys.data(), keys.size()));
  }
  // What the terminal shows: reads until `size` bytes have come.
  std::string screen(size_t size) const {
    std::string out(size, 0);
    size_t got = 0;
    while (got < size) {
      const ssize_t n = read(master, out.data() + got, size - got);
      if (n <= 0) break;
      got += n;
    }
    out.resize(got);
    return out;
  }
  std::string line() const {
    char buffer[5000];
    const ssize_t n = read(slave, buffer, sizeof(buffer));
    return n < 0 ? "error" : std::string(buffer, n);
  }
  void change(void (*edit)(termios&)) const {
    termios t;
    EXPECT_OK(tcgetattr(slave, &t));
    edit(t);
    EXPECT_OK(tcsetattr(slave, TCSANOW, &t));
  }
  int waiting() const {
    int n = -1;
    EXPECT_OK(ioctl(slave, FIONREAD, &n));
    return n;
  }
};

class TtyTest : public testing::Test {
 protected:
  Pty pty_;
  void SetUp() override {
    if (pty_.slave < 0) GTEST_SKIP() << "no pseudo-terminals here";
  }
  // Runs `body` as the leader of a new session that has the terminal.
  template <typename F>
  void in_session(F&& body) {
    in_child([&] {
      ASSERT_EQ(getpid(), setsid());
      ASSERT_OK(ioctl(pty_.slave, TIOCSCTTY, 0));
      body();
    });
  }
};

TEST_F(TtyTest, Names) {
  struct stat st;
  ASSERT_OK(fstat(pty_.slave, &st));
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  EXPECT_EQ(136u, major(st.st_rdev));
  EXPECT_EQ(1, isatty(pty_.slave));
  EXPECT_EQ(1, isatty(pty_.master));
  char name[64] = {};
  EXPECT_EQ(0, ttyname_r(pty_.slave, name, sizeof(name)));
  EXPECT_EQ(pty_.name, name);
  Pipe p;
  EXPECT_EQ(0, isatty(p.r));
  EXPECT_EQ(ENOTTY, errno);
}

TEST_F(TtyTest, CanonicalModeGivesLines) {
  pty_.type("one\ntwo\n");
  EXPECT_EQ("one\n", pty_.line());
  EXPECT_EQ("two\n", pty_.line());
  pty_.type("partial");
  pollfd p = {pty_.slave, POLLIN, 0};
  EXPECT_EQ(0, poll(&p, 1, 0));  // not before the end of the line
  pty_.type("\n");
  EXPECT_EQ("partial\n", pty_.line());
}

TEST_F(TtyTest, CanonicalReadOfPartOfALine) {
  pty_.type("abcdef\n");
  char buffer[4] = {};
  EXPECT_EQ(3, read(pty_.slave, buffer, 3));
  EXPECT_STREQ("abc", buffer);
  EXPECT_EQ("def\n", pty_.line());
  pty_.type("xyz\n");
  EXPECT_ERR(EFAULT, sys(SYS_read, pty_.slave, bad(), 10));
}

TEST_F(TtyTest, EchoAndCarriageReturn) {
  pty_.type("hi\r");  // the Enter key; ICRNL makes it a newline
  EXPECT_EQ("hi\n", pty_.line());
  EXPECT_EQ("hi\r\n", pty_.screen(4));
  pty_.change([](termios& t) { t.c_lflag &= ~ECHO; });
  pty_.type("secret\n");
  EXPECT_EQ("secret\n", pty_.line());
  EXPECT_EQ(1, write(pty_.slave, "x", 1));
  EXPECT_EQ("x", pty_.screen(1));
}

TEST_F(TtyTest, ControlCharactersAreShownWithACaret) {
  pty_.type("\x01\n");
  EXPECT_EQ("^A\r\n", pty_.screen(4));
  EXPECT_EQ("\x01\n", pty_.line());
}

TEST_F(TtyTest, OutputNewlineBecomesCrLf) {
  EXPECT_EQ(2, write(pty_.slave, "a\n", 2));
  EXPECT_EQ("a\r\n", pty_.screen(3));
  pty_.change([](termios& t) { t.c_oflag &= ~OPOST; });
  EXPECT_EQ(2, write(pty_.slave, "a\n", 2));
  EXPECT_EQ("a\n", pty_.screen(2));
}

TEST_F(TtyTest, LineEditing) {
  pty_.change([](termios& t) { t.c_lflag &= ~ECHO; });
  pty_.type("abc\x7f\x7fX\n");  // erase twice
  EXPECT_EQ("aX\n", pty_.line());
  pty_.type("junk\x15good\n");  // kill the line
  EXPECT_EQ("good\n", pty_.line());
  pty_.type("two words\x17last\n");  // erase a word
  EXPECT_EQ("two last\n", pty_.line());
  pty_.type("\x16\x03\n");  // the next character literally
  EXPECT_EQ("\x03\n", pty_.line());
}

TEST_F(TtyTest, EraseIsEchoed) {
  pty_.type("a\x7f\n");
  EXPECT_EQ("a\b \b\r\n", pty_.screen(6));
  EXPECT_EQ("\n", pty_.line());
}

TEST_F(TtyTest, EndOfFile) {
  pty_.type("\x04");
  EXPECT_EQ("", pty_.line());
  pty_.type("abc\x04");  // in the middle of a line it only pushes
  EXPECT_EQ("abc", pty_.line());
  pty_.type("next\n");
  EXPECT_EQ("next\n", pty_.line());
}

TEST_F(TtyTest, RawMode) {
  pty_.change([](termios& t) { cfmakeraw(&t); });
  pty_.type("a\x03\r");
  char buffer[8] = {};
  EXPECT_EQ(3, read(pty_.slave, buffer, 8));
  EXPECT_STREQ("a\x03\r", buffer);
  // VMIN 0, VTIME 0: never waits.
  pty_.change([](termios& t) { t.c_cc[VMIN] = 0; });
  EXPECT_EQ(0, read(pty_.slave, buffer, 8));
  // VMIN 3 waits for three.
  pty_.change([](termios& t) { t.c_cc[VMIN] = 3; });
  const pid_t pid = spawn([&] {
    pty_.type("1");
    pty_.type("2");
    pty_.type("3");
  });
  EXPECT_EQ(3, read(pty_.slave, buffer, 8));
  EXPECT_EQ(0, reap(pid));
}

TEST_F(TtyTest, TermiosCalls) {
  termios t = {};
  // The kernel's struct is smaller than glibc's: 36 bytes.
  EXPECT_OK(sys(SYS_ioctl, pty_.slave, TCGETS, &t));
  EXPECT_NE(0u, t.c_lflag & ICANON);
  EXPECT_NE(0u, t.c_lflag & ISIG);
  EXPECT_NE(0u, t.c_iflag & ICRNL);
  EXPECT_NE(0u, t.c_oflag & ONLCR);
  EXPECT_OK(sys(SYS_ioctl, pty_.slave, TCSETS, &t));
  EXPECT_OK(sys(SYS_ioctl, pty_.slave, TCSETSW, &t));
  EXPECT_OK(sys(SYS_ioctl, pty_.slave, TCSETSF, &t));
  EXPECT_ERR(EFAULT, sys(SYS_ioctl, pty_.slave, TCGETS, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_ioctl, pty_.slave, TCSETS, bad()));
  EXPECT_ERR(EBADF, sys(SYS_ioctl, dead_fd(), TCGETS, &t));
  EXPECT_ERR(ENOTTY, sys(SYS_ioctl, pty_.slave, 0xdead, &t));
  Fd null(open("/dev/null", O_RDONLY));
  EXPECT_ERR(ENOTTY, sys(SYS_ioctl, null, TCGETS, &t));
}

TEST_F(TtyTest, Flush) {
  pty_.change([](termios& t) { t.c_lflag &= ~ECHO; });
  pty_.type("gone\n");
  pollfd p = {pty_.slave, POLLIN, 0};
  EXPECT_EQ(1, poll(&p, 1, -1));  // the line discipline may work behind the writer's back
  EXPECT_EQ(5, pty_.waiting());
  EXPECT_OK(tcflush(pty_.slave, TCIFLUSH));
  EXPECT_EQ(0, pty_.waiting());
  EXPECT_OK(tcdrain(pty_.slave));
}

TEST_F(TtyTest, NonBlocking) {
  char c;
  ASSERT_OK(fcntl(pty_.slave, F_SETFL, O_RDWR | O_NONBLOCK));
  EXPECT_ERR(EAGAIN, read(pty_.slave, &c, 1));
  ASSERT_OK(fcntl(pty_.master, F_SETFL, O_RDWR | O_NONBLOCK));
  EXPECT_ERR(EAGAIN, read(pty_.master, &c, 1));
}

TEST_F(TtyTest, HangUp) {
  char c;
  pty_.slave.reset();
  EXPECT_ERR(EIO, read(pty_.master, &c, 1));
  pollfd p = {pty_.master, POLLIN, 0};
  EXPECT_EQ(1, poll(&p, 1, 0));
  EXPECT_NE(0, p.revents & POLLHUP);
  pty_.slave = Fd(open(pty_.name.c_str(), O_RDWR | O_NOCTTY));
  ASSERT_OK(+pty_.slave);
  pty_.type("x\n");  // it works again
  EXPECT_EQ("x\n", pty_.line());
  pty_.master.reset();
  EXPECT_EQ(0, read(pty_.slave, &c, 1));
  EXPECT_ERR(EIO, write(pty_.slave, "x", 1));
}

TEST_F(TtyTest, WindowSizeAndWinch) {
  winsize w = {24, 80, 0, 0}, got = {};
  EXPECT_OK(ioctl(pty_.master, TIOCSWINSZ, &w));
  EXPECT_OK(ioctl(pty_.slave, TIOCGWINSZ, &got));
  EXPECT_EQ(24, got.ws_row);
  EXPECT_EQ(80, got.ws_col);
  EXPECT_ERR(EFAULT, ioctl(pty_.slave, TIOCGWINSZ, bad()));
  EXPECT_ERR(EFAULT, ioctl(pty_.slave, TIOCSWINSZ, bad()));
  in_session([&] {
    ScopedBlock block({SIGWINCH});
    ScopedHandler handler(
        SIGWINCH, +[](int) {});  // a signal whose default is to be ignored would be dropped
    ASSERT_OK(tcsetpgrp(pty_.slave, getpgrp()));
    w = {50, 132, 0, 0};
    EXPECT_OK(ioctl(pty_.master, TIOCSWINSZ, &w));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGWINCH);
    siginfo_t info;
    EXPECT_EQ(SIGWINCH, sigwaitinfo(&set, &info));
    EXPECT_OK(ioctl(pty_.master, TIOCSWINSZ, &w));  // no change, no signal
    const timespec zero = {};
    EXPECT_ERR(EAGAIN, sigtimedwait(&set, &info, &zero));
  });
}

TEST_F(TtyTest, KeysSendSignals) {
  in_session([&] {
    const std::pair<char, int> keys[] = {{'\x03', SIGINT}, {'\x1c', SIGQUIT}, {'\x1a', SIGTSTP}};
    for (auto [key, sig] : keys) {
      Pipe ready;
      const pid_t pid = spawn([&] {
        setpgid(0, 0);
        ready.notify();
        for (;;) pause();
      });
      ready.await();
      signal(SIGTTOU, SIG_IGN);
      ASSERT_OK(tcsetpgrp(pty_.slave, pid));
      EXPECT_EQ(pid, tcgetpgrp(pty_.slave));
      pty_.type(std::string(1, key));
      int status = 0;
      EXPECT_EQ(pid, waitpid(pid, &status, WUNTRACED));
      if (sig == SIGTSTP) {
        EXPECT_TRUE(WIFSTOPPED(status));
        EXPECT_EQ(SIGTSTP, WSTOPSIG(status));
        kill(pid, SIGKILL);
        reap(pid);
      } else {
        EXPECT_EQ(sig, WTERMSIG(status));
      }
    }
  });
}

TEST_F(TtyTest, IntrDropsTypedInputAndEchoesCaretC) {
  in_session([&] {
    signal(SIGINT, SIG_IGN);
    ASSERT_OK(tcsetpgrp(pty_.slave, getpgrp()));
    pty_.type("half\x03whole\n");
    EXPECT_EQ("whole\n", pty_.line());
    std::string shown;
    while (shown.find("whole\r\n") == std::string::npos) shown += pty_.screen(1);
    EXPECT_NE(std::string::npos, shown.find("^Cwhole")) << shown;
  });
}

TEST_F(TtyTest, BackgroundReadAndWriteStop) {
  in_session([&] {
    ASSERT_OK(tcsetpgrp(pty_.slave, getpgrp()));
    const pid_t reader = spawn([&] {
      setpgid(0, 0);
      char c;
      (void)!read(pty_.slave, &c, 1);
    });
    int status = 0;
    setpgid(reader, reader);
    EXPECT_EQ(reader, waitpid(reader, &status, WUNTRACED));
    EXPECT_TRUE(WIFSTOPPED(status));
    EXPECT_EQ(SIGTTIN, WSTOPSIG(status));
    kill(reader, SIGKILL);
    reap(reader);
    pty_.change([](termios& t) { t.c_lflag |= TOSTOP; });
    const pid_t writer = spawn([&] {
      setpgid(0, 0);
      (void)!write(pty_.slave, "x", 1);
    });
    EXPECT_EQ(writer, waitpid(writer, &status, WUNTRACED));
    EXPECT_TRUE(WIFSTOPPED(status));
    EXPECT_EQ(SIGTTOU, WSTOPSIG(status));
    kill(writer, SIGKILL);
    reap(writer);
    // With the signal ignored, a read answers EIO and a write goes through.
    const pid_t ignoring = spawn([&] {
      setpgid(0, 0);
      signal(SIGTTIN, SIG_IGN);
      signal(SIGTTOU, SIG_IGN);
      char c;
      EXPECT_ERR(EIO, read(pty_.slave, &c, 1));
      EXPECT_EQ(1, write(pty_.slave, "x", 1));
    });
    EXPECT_EQ(0, reap(ignoring));
  });
}

TEST_F(TtyTest, ControllingTerminal) {
  in_child([&] {
    ASSERT_EQ(getpid(), setsid());
    EXPECT_ERR(ENXIO, open("/dev/tty", O_RDWR));
    EXPECT_ERR(ENOTTY, tcgetpgrp(pty_.slave));
    ASSERT_OK(ioctl(pty_.slave, TIOCSCTTY, 0));
    Fd tty(open("/dev/tty", O_RDWR));
    EXPECT_OK(+tty);
    EXPECT_EQ(getpid(), tcgetsid(pty_.slave));
    EXPECT_EQ(getpgrp(), tcgetpgrp(tty));
    EXPECT_ERR(ESRCH, tcsetpgrp(pty_.slave, 999999));
    signal(SIGHUP, SIG_IGN);
    EXPECT_OK(ioctl(tty, TIOCNOTTY));
    EXPECT_ERR(ENXIO, open("/dev/tty", O_RDWR));
  });
  in_child([&] {
    ASSERT_EQ(getpid(), setsid());
    Fd again(open(pty_.name.c_str(), O_RDWR));  // without O_NOCTTY it becomes ours
    EXPECT_EQ(getpgrp(), tcgetpgrp(again));
  });
}

TEST_F(TtyTest, ClosingTheMasterHangsTheSessionUp) {
  const pid_t pid = spawn([&] {
    setsid();
    ioctl(pty_.slave, TIOCSCTTY, 0);
    Fd keep(std::move(pty_.slave));
    ScopedBlock block({SIGHUP});
    pty_.master.reset();
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    siginfo_t info;
    EXPECT_EQ(SIGHUP, sigwaitinfo(&set, &info));
  });
  pty_.master.reset();
  EXPECT_EQ(0, reap(pid));
}

TEST_F(TtyTest, SessionLeaderExitHangsUpTheForeground) {
  Pipe ready;
  Pipe result;
  const pid_t leader = spawn([&] {
    setsid();
    ioctl(pty_.slave, TIOCSCTTY, 0);
    const pid_t child = spawn([&] {
      ScopedBlock block({SIGHUP});
      ready.notify();
      sigset_t set;
      sigemptyset(&set);
      sigaddset(&set, SIGHUP);
      siginfo_t info;
      result.notify(sigwaitinfo(&set, &info) == SIGHUP ? 'y' : 'n');
      _exit(0);
    });
    (void)child;
    ready.await();
    _exit(0);
  });
  EXPECT_EQ(0, reap(leader));
  EXPECT_EQ('y', result.await());
}

TEST_F(TtyTest, Devpts) {
  EXPECT_ERR(ENOENT, open("/dev/pts/99999", O_RDWR | O_NOCTTY));
  // A closed pair loses its name. Another process may take the number at once, so look more than
  // once.
  bool vanished = false;
  for (int i = 0; i < 50 && !vanished; ++i) {
    Pty other;
    EXPECT_NE(pty_.name, other.name);
    other.slave.reset();
    other.master.reset();
    vanished = !exists(other.name);
  }
  EXPECT_TRUE(vanished);
  Fd locked(open("/dev/ptmx", O_RDWR | O_NOCTTY));
  int number = -1;
  ASSERT_OK(ioctl(locked, TIOCGPTN, &number));
  EXPECT_ERR(EIO, open(("/dev/pts/" + std::to_string(number)).c_str(),
                       O_RDWR | O_NOCTTY));  // not unlocked yet
}

}  // namespace
}  // namespace run9::guest
