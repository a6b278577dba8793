// Shared helpers of the system-call tests. The tests are guests: they include nothing of the rest
// of the tree, are linked statically, and must behave the same on the host kernel (the oracle) and
// inside the sandbox.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace run9::guest {

inline constexpr size_t kPage = 4096;
inline constexpr uid_t kNobody = 65534;

// --- results
// -------------------------------------------------------------------------------------------------

inline std::string errno_name(int err) {
  const char* name = strerrorname_np(err);
  return name != nullptr ? name : std::to_string(err);
}

// mmap and friends answer pointers; everything else an integer. Either way -1 is the failure.
template <typename T>
long as_result(T value) {
  if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<long>(value);
  } else {
    return static_cast<long>(value);
  }
}

template <typename T>
testing::AssertionResult check_fails(const char*, const char* expr, int want, T value) {
  const int got = errno;
  const long result = as_result(value);
  if (result != -1) {
    return testing::AssertionFailure()
           << expr << " gave " << result << ", not " << errno_name(want);
  }
  if (got != want) {
    return testing::AssertionFailure()
           << expr << " failed with " << errno_name(got) << ", not " << errno_name(want);
  }
  return testing::AssertionSuccess();
}

template <typename T>
testing::AssertionResult check_ok(const char* expr, T value) {
  const int got = errno;
  if (as_result(value) != -1) return testing::AssertionSuccess();
  return testing::AssertionFailure() << expr << " failed with " << errno_name(got);
}

// The call answers -1 with exactly this errno.
#define EXPECT_ERR(want, call) EXPECT_PRED_FORMAT2(::run9::guest::check_fails, want, call)
// The call does not answer -1.
#define EXPECT_OK(call) EXPECT_PRED_FORMAT1(::run9::guest::check_ok, call)
#define ASSERT_OK(call) ASSERT_PRED_FORMAT1(::run9::guest::check_ok, call)

#define SKIP_UNLESS_ROOT() \
  if (geteuid() != 0) GTEST_SKIP() << "needs root"

// --- bad memory
// -------------------------------------------------------------------------------------------------

// Addresses that no test ever maps: low, in a hole of user space, the first beyond user space, not
// canonical, kernel half.
inline constexpr uintptr_t kBadAddresses[] = {0x10, 0x0f'ffff'f000, 0x7fff'ffff'f000,
                                              0x8000'0000'0000'0000, 0xffff'8000'0000'0000};

template <typename T = void>
T* bad(uintptr_t address = kBadAddresses[1]) {
  return reinterpret_cast<T*>(address);
}

inline std::vector<void*> bad_pointers() {
  std::vector<void*> out;
  for (uintptr_t address : kBadAddresses) out.push_back(reinterpret_cast<void*>(address));
  return out;
}

// Mapped pages followed by a page that is not mapped and stays so: the kernel never places a
// mapping in this region by itself.
class Straddle {
 public:
  explicit Straddle(size_t pages = 1) : size_(pages * kPage) {
    static uintptr_t next = 0x10'0000'0000;
    void* at = reinterpret_cast<void*>(next);
    next += size_ + 16 * kPage;
    start_ = static_cast<char*>(mmap(at, size_, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    if (start_ == MAP_FAILED) abort();
    memset(start_, 'S', size_);
  }
  ~Straddle() { munmap(start_, size_); }
  Straddle(const Straddle&) = delete;
  Straddle& operator=(const Straddle&) = delete;

  char* start() const { return start_; }
  // A pointer whose first `bytes` bytes are mapped and whose next is not.
  template <typename T = char>
  T* last(size_t bytes) const {
    return reinterpret_cast<T*>(start_ + size_ - bytes);
  }

 private:
  char* start_;
  size_t size_;
};

// --- descriptors
// -------------------------------------------------------------------------------------------------

// Owns a descriptor. Converts to int, unlike the kernel's UniqueFd: here nearly every use is an
// argument of a raw call.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Fd() { reset(); }
  operator int() const { return fd_; }
  void forget() { fd_ = -1; }  // somebody else has closed it
  void reset() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

// A pipe; also the way that tests wait for each other, since none of them may depend on time.
struct Pipe {
  Fd r, w;
  explicit Pipe(int flags = O_CLOEXEC) {
    int fds[2];
    if (pipe2(fds, flags) != 0) abort();
    r = Fd(fds[0]);
    w = Fd(fds[1]);
  }
  void notify(char value = 'n') const {
    while (write(w, &value, 1) == -1 && errno == EINTR) {
    }
  }
  // The next byte, or -1 at the end of the file.
  int await() const {
    char value;
    ssize_t n;
    while ((n = read(r, &value, 1)) == -1 && errno == EINTR) {
    }
    return n == 1 ? value : -1;
  }
};

template <typename T>
long widen(const T& value) {
  if constexpr (std::is_same_v<T, Fd>) {
    return static_cast<int>(value);
  } else if constexpr (std::is_null_pointer_v<T>) {
    return 0;
  } else if constexpr (std::is_pointer_v<std::decay_t<T>>) {
    return reinterpret_cast<long>(static_cast<const volatile void*>(value));
  } else {
    return static_cast<long>(value);
  }
}

// syscall(2) with each argument made a whole register: an int -1 passed to a variadic function need
// not be.
template <typename... Args>
long sys(long nr, const Args&... args) {
  return syscall(nr, widen(args)...);
}

inline int dead_fd() { return 9999; }  // never open: above what any test opens

// --- files
// -------------------------------------------------------------------------------------------------

void remove_tree(const std::string& path);

// A fresh directory below $TMPDIR or /tmp; everything in it goes when the test ends. Mode 0755, so
// that a child which gave up root can still walk into it.
class TempDir {
 public:
  TempDir();
  ~TempDir() { remove_tree(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Most tests touch files, so the fixture has a directory and short ways to name things in it.
class DirTest : public testing::Test {
 protected:
  TempDir dir_;
  std::string at(const std::string& name) const { return dir_ / name; }
  std::string make_file(const std::string& name, const std::string& content = "",
                        mode_t mode = 0644) const;
  Fd open_file(const std::string& name, const std::string& content = "") const;  // O_RDWR, offset 0
};

void write_file(const std::string& path, const std::string& content, mode_t mode = 0644);
std::string read_file(const std::string& path);
bool exists(const std::string& path);

// What /proc says of the mapping that holds an address.
struct Mapping {
  uintptr_t start = 0, end = 0;  // both 0: none
  uint64_t offset = 0;
  std::string prot, name;
};
Mapping mapping_at(const void* at, const std::string& process = "self");

// --- processes
// -------------------------------------------------------------------------------------------------

// Runs `body` in a forked child, which exits 1 if an expectation failed there and 0 otherwise;
// answers the wait status.
template <typename F>
int child_status(F&& body) {
  fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    body();
    fflush(nullptr);
    _exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = -1;
  while (waitpid(pid, &status, 0) == -1 && errno == EINTR) {
  }
  return status;
}

template <typename F>
void in_child(F&& body) {
  EXPECT_EQ(0, child_status(std::forward<F>(body))) << "the child failed";
}

// The signal that a child gets who reads this byte, or writes it first; 0: none.
int touch(const volatile void* p, bool write = false);

// Starts a child and leaves waiting for it to the caller.
template <typename F>
pid_t spawn(F&& body) {
  fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    body();
    fflush(nullptr);
    _exit(testing::Test::HasFailure() ? 1 : 0);
  }
  return pid;
}

inline int reap(pid_t pid) {
  int status = -1;
  while (waitpid(pid, &status, 0) == -1 && errno == EINTR) {
  }
  return status;
}

// Runs `body` in a child that is an ordinary user with no supplementary groups.
template <typename F>
void in_user_child(F&& body) {
  in_child([&] {
    ASSERT_EQ(0, sys(SYS_setgroups, 0, nullptr));
    ASSERT_EQ(0, sys(SYS_setresgid, kNobody, kNobody, kNobody));
    ASSERT_EQ(0, sys(SYS_setresuid, kNobody, kNobody, kNobody));
    body();
  });
}

inline pid_t get_tid() { return static_cast<pid_t>(syscall(SYS_gettid)); }

// Returns when thread `tid` of `pid` sleeps in the kernel, as /proc says. Only a hint (it gives up
// in the end): no test may fail when the thread was not asleep yet.
void await_sleep(pid_t pid, pid_t tid);

// The absolute path of this program, and of a helper program beside it.
const std::string& self_path();
std::string helper_path(const std::string& name);

inline void* map_anonymous(size_t size, int prot = PROT_READ | PROT_WRITE,
                           int flags = MAP_PRIVATE) {
  return mmap(nullptr, size, prot, flags | MAP_ANONYMOUS, -1, 0);
}

// One zeroed T that forked children share with their parent.
template <typename T>
class SharedMemory {
 public:
  SharedMemory()
      : at_(static_cast<T*>(map_anonymous(sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED))) {
    if (at_ == MAP_FAILED) abort();
  }
  ~SharedMemory() { munmap(const_cast<std::remove_cv_t<T>*>(at_), sizeof(T)); }
  T* operator->() const { return at_; }
  T& operator*() const { return *at_; }

 private:
  T* at_;
};

// Installs a handler for the life of the object.
class ScopedHandler {
 public:
  template <typename H>
  ScopedHandler(int sig, H handler, int flags = 0) : sig_(sig) {
    struct sigaction action = {};
    if constexpr (std::is_convertible_v<H, void (*)(int, siginfo_t*, void*)>) {
      action.sa_sigaction = handler;
      flags |= SA_SIGINFO;
    } else {
      action.sa_handler = handler;
    }
    action.sa_flags = flags;
    sigaction(sig, &action, &old_);
  }
  ~ScopedHandler() { sigaction(sig_, &old_, nullptr); }
  ScopedHandler(const ScopedHandler&) = delete;
  ScopedHandler& operator=(const ScopedHandler&) = delete;

 private:
  int sig_;
  struct sigaction old_ = {};
};

// Blocks signals for the life of the object.
class ScopedBlock {
 public:
  explicit ScopedBlock(std::initializer_list<int> sigs) {
    sigset_t set;
    sigemptyset(&set);
    for (int sig : sigs) sigaddset(&set, sig);
    pthread_sigmask(SIG_BLOCK, &set, &old_);
  }
  ~ScopedBlock() { pthread_sigmask(SIG_SETMASK, &old_, nullptr); }
  ScopedBlock(const ScopedBlock&) = delete;
  ScopedBlock& operator=(const ScopedBlock&) = delete;

 private:
  sigset_t old_;
};

inline uint64_t sig_bit(int sig) { return 1ull << (sig - 1); }

// SIGALRM every 2 ms, with a handler that does nothing, until the object goes: a call that blocks
// for good must then answer EINTR, whenever it began to block.
class AlarmStorm {
 public:
  explicit AlarmStorm(int handler_flags = 0);
  ~AlarmStorm();

 private:
  ScopedHandler handler_;
};

}  // namespace run9::guest

// Defined by a test program that runs itself with "--helper ARGS" (exec tests); called with those
// ARGS.
extern "C" __attribute__((weak)) int helper_main(int argc, char** argv);
