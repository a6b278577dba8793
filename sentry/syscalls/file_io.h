// read(2), write(2) and their vectored and positioned forms.
#pragma once
#include <sys/uio.h>

#include <algorithm>
#include <optional>
#include <span>

#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

// No call moves more (MAX_RW_COUNT).
inline constexpr uint64_t kMaxTransfer = 0x7ffff000;

// The guest memory of one transfer, consumed from the front.
class GuestSegments {
 public:
  // EFAULT for a range no guest has.
  static Result<GuestSegments> create(MemoryManager& memory, std::span<const iovec> segments);
  uint64_t remaining() const { return remaining_; }
  void limit(uint64_t bytes) { remaining_ = std::min(remaining_, bytes); }
  // EFAULT if not even the first byte can be written. A stream asks before it takes data out of its
  // queue, where it could not be put back.
  Result<void> check_writable() const;
  // As many bytes as do not fault; EFAULT if none.
  Result<size_t> copy_out(ByteSpan src);
  void skip(size_t bytes);
  // For the first part of it, perhaps none: memory that the guest can change. copy_out() takes it from there.
  std::span<std::byte> room() const;
  Result<size_t> copy_in(std::span<std::byte> dst);
  // For the pieces of a transfer that is larger than room() would be; none: it is not, or there is no such memory. The guest can change it.
  std::span<std::byte> passage() const;
  Result<size_t> pass_out(ByteSpan passage);
  Result<size_t> pass_in(std::span<std::byte> passage);
  // All that there is, if it is `n` bytes and at hand, in memory that the guest can change; else none.
  ByteSpan given(uint64_t n) const;

 private:
  GuestSegments(MemoryManager& memory, std::span<const iovec> segments)
      : memory_(&memory), segments_(segments) {}
  template <typename Copy>
  Result<size_t> advance(size_t wanted, Copy copy);
  MemoryManager* memory_;
  std::span<const iovec> segments_;
  uint64_t used_ = 0;  // of segments_.front()
  uint64_t remaining_ = 0;
};

// offset: none uses and moves the file's position. rwf: RWF_* of preadv2(2), checked already.
Result<uint64_t> read_file(Task& task, vfs::File& file, GuestSegments& dst,
                           std::optional<uint64_t> offset, int rwf = 0);
Result<uint64_t> write_file(Task& task, vfs::File& file, GuestSegments& src,
                            std::optional<uint64_t> offset, int rwf = 0);

// EOPNOTSUPP, EINVAL: flags that read_file() and write_file() do not take.
Result<void> check_rwf(int flags);

// How many of `count` bytes may be written at `at`: SIGXFSZ and EFBIG when none (RLIMIT_FSIZE and the
// largest offset). Files that are not regular have no limit.
Result<uint64_t> clip_to_file_size_limit(Task& task, vfs::File& file, uint64_t at, uint64_t count);

Result<uint64_t> sys_read(Task& task, GuestFd fd, uint64_t buf, uint64_t count);
Result<uint64_t> sys_write(Task& task, GuestFd fd, uint64_t buf, uint64_t count);
Result<uint64_t> sys_pread64(Task& task, GuestFd fd, uint64_t buf, uint64_t count, int64_t offset);
Result<uint64_t> sys_pwrite64(Task& task, GuestFd fd, uint64_t buf, uint64_t count, int64_t offset);
Result<uint64_t> sys_readv(Task& task, GuestFd fd, uint64_t iov, uint64_t count);
Result<uint64_t> sys_writev(Task& task, GuestFd fd, uint64_t iov, uint64_t count);
Result<uint64_t> sys_preadv(Task& task, GuestFd fd, uint64_t iov, uint64_t count, int64_t offset);
Result<uint64_t> sys_pwritev(Task& task, GuestFd fd, uint64_t iov, uint64_t count, int64_t offset);
// offset_high is not used on 64-bit machines.
Result<uint64_t> sys_preadv2(Task& task, GuestFd fd, uint64_t iov, uint64_t count, int64_t offset,
                             uint64_t offset_high, int flags);
Result<uint64_t> sys_pwritev2(Task& task, GuestFd fd, uint64_t iov, uint64_t count,
                              int64_t offset, uint64_t offset_high, int flags);

}  // namespace run9::sentry
