// UniqueFd owns a descriptor, BorrowedFd refers to one that somebody else keeps open.
// By value = takes ownership. Neither converts to int or bool.
#pragma once
#include <sys/stat.h>

#include <utility>

#include "base/result.h"

namespace run9 {

class BorrowedFd {
 public:
  constexpr BorrowedFd() = default;
  constexpr explicit BorrowedFd(int fd) : fd_(fd) {}
  constexpr int get() const { return fd_; }
  constexpr bool valid() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& o) noexcept {
    if (this != &o) {
      reset();
      fd_ = std::exchange(o.fd_, -1);
    }
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  BorrowedFd borrow() const { return BorrowedFd{fd_}; }
  int release() { return std::exchange(fd_, -1); }
  void reset();
  // F_DUPFD_CLOEXEC.
  Result<UniqueFd> dup() const;

 private:
  int fd_ = -1;
};

// fstat(2), and no other call: glibc's goes by newfstatat, which takes a path and is not in the Sentry's
// filter.
int host_fstat(int fd, struct stat* st);

// The result of a host call that returns a descriptor or -1.
inline Result<UniqueFd> take_fd(int fd) {
  if (fd < 0) return last_errno();
  return UniqueFd{fd};
}

}  // namespace run9
