#pragma once
#include <cstddef>
#include <span>

#include "base/result.h"
#include "base/unique_fd.h"

namespace run9::sentry {

// Host memory shared with other processes, mapped here for its whole life.
class SharedMemory {
 public:
  // read_only_there: sealed so that nobody can map it writable again after us.
  static Result<SharedMemory> create(const char* name, size_t size, bool read_only_there);
  SharedMemory(SharedMemory&& o) noexcept;
  SharedMemory& operator=(SharedMemory&& o) noexcept;
  SharedMemory() = default;
  ~SharedMemory();
  void* data() const { return data_; }
  BorrowedFd fd() const { return fd_.borrow(); }
  void close_fd() { fd_.reset(); }
  // Zeroes these parts, in whole pages. False if they are not all that anybody has written, or the descriptor is closed.
  struct Part {
    size_t offset, size;
  };
  bool renew(std::span<const Part> used);

 private:
  UniqueFd fd_;
  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace run9::sentry
