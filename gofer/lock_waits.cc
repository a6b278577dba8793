#include "gofer/lock_waits.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>

#include "base/check.h"
#include "gofer/host_calls.h"
#include "gofer/seccomp.h"

namespace run9::gofer {
namespace {

constexpr size_t kStack = 64 * 1024;

enum class Sleep { kNo, kYes };

int record_lock(int file, const p9::OpenFileLock& lock, Sleep sleep) {
  struct flock l = {};
  l.l_type = lock.type == p9::LockType::kRead ? F_RDLCK : lock.type == p9::LockType::kWrite ? F_WRLCK : F_UNLCK;
  l.l_whence = SEEK_SET;
  l.l_start = static_cast<off_t>(lock.start);
  l.l_len = static_cast<off_t>(lock.length);
  return fcntl(file, sleep == Sleep::kYes ? F_OFD_SETLKW : F_OFD_SETLK, &l);
}

int whole_lock(int file, p9::LockType type, Sleep sleep) {
  const int kind = type == p9::LockType::kRead ? LOCK_SH : type == p9::LockType::kWrite ? LOCK_EX : LOCK_UN;
  return flock(file, kind | (sleep == Sleep::kYes ? 0 : LOCK_NB));
}

int call_lock(int file, const p9::OpenFileLock& lock, Sleep sleep) {
  return lock.whole ? whole_lock(file, lock.type, sleep) : record_lock(file, lock, sleep);
}

class ThreadWait final : public p9::LockWait {
 public:
  ThreadWait(UniqueFd file, const p9::OpenFileLock& lock, BorrowedFd news)
      : file_(std::move(file)), lock_(lock), news_(news) {}
  ~ThreadWait() override {
    if (!started_) return;
    give_up();
    CHECK(pthread_join(thread_, nullptr) == 0);
  }

  // What it cannot do without memory or threads of the host's it says by an errno.
  Result<void> start() {
    pthread_attr_t attributes;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, kStack) == 0);
    const int failed = pthread_create(&thread_, &attributes, run, this);
    pthread_attr_destroy(&attributes);
    if (failed != 0) return Errno{ENOLCK};
    started_ = true;
    return ok();
  }

  std::optional<Result<void>> result() override {
    const int e = error_.load(std::memory_order_acquire);
    if (e == kWaits) return std::nullopt;
    return e == 0 ? Result<void>(ok()) : Errno{e};
  }

  // A signal that comes just before the thread sleeps is for nothing: so there is another one, until it is awake.
  void give_up() override {
    given_up_.store(true, std::memory_order_relaxed);
    for (int tries = 0; !result(); ++tries) {
      pthread_kill(thread_, kEndWait);
      if (tries < 16) sched_yield();
      else poll(nullptr, 0, 1);
    }
  }

 private:
  static constexpr int kWaits = -1;

  static void* run(void* object) {
    static_cast<ThreadWait*>(object)->sleep();
    return nullptr;
  }
  void sleep() {
    int e = 0;
    do {
      e = call_lock(file_.get(), lock_, Sleep::kYes) == 0 ? 0 : errno;
    } while (e == EINTR && !given_up_.load(std::memory_order_relaxed));
    error_.store(e, std::memory_order_release);
    const uint64_t one = 1;
    CHECK(write(news_.get(), &one, sizeof one) == sizeof one);
  }

  const UniqueFd file_;
  const p9::OpenFileLock lock_;
  const BorrowedFd news_;
  std::atomic<int> error_ = kWaits;  // 0: locked
  std::atomic<bool> given_up_ = false;
  pthread_t thread_{};
  bool started_ = false;
};

}  // namespace

Result<p9::LockStatus> try_lock(BorrowedFd file, const p9::OpenFileLock& lock) {
  if (call_lock(file.get(), lock, Sleep::kNo) == 0) return p9::LockStatus::kSuccess;
  if (errno == EAGAIN || errno == EACCES) return p9::LockStatus::kBlocked;
  return last_errno();
}

Result<LockWaits> LockWaits::create() {
  struct sigaction sa = {};
  sa.sa_handler = [](int) {};
  CHECK(sigaction(kEndWait, &sa, nullptr) == 0);
  return LockWaits(TRY(take_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))));
}

void LockWaits::hear() {
  uint64_t n = 0;
  [[maybe_unused]] const ssize_t got = read(news_.get(), &n, sizeof n);
}

Result<std::unique_ptr<p9::LockWait>> LockWaits::start(UniqueFd file, const p9::OpenFileLock& lock) {
  auto wait = std::make_unique<ThreadWait>(std::move(file), lock, news_.borrow());
  TRY(wait->start());
  return std::unique_ptr<p9::LockWait>(std::move(wait));
}

}  // namespace run9::gofer
