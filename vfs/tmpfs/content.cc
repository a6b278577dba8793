#include "vfs/tmpfs/content.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/copy.h"
#include "base/layer_clock.h"

namespace run9::vfs {
namespace {

constexpr uint64_t kSmallLimit = MappedStart::kSize;
constexpr uint64_t kPage = TmpQuota::kPage;

uint64_t pages_for(uint64_t bytes) { return (bytes + kPage - 1) / kPage; }

// The host's answer for a file it cannot grow, in the words of a full file system.
Errno storage_error(Errno e) {
  return e == Errno{EMFILE} || e == Errno{ENFILE} || e == Errno{ENOMEM} ? Errno{ENOSPC} : e;
}

Result<void> write_all(int fd, ByteSpan src, uint64_t offset, size_t& done) {
  const LayerScope time(Layer::kHost);
  while (done < src.size()) {
    const ssize_t n = ::pwrite(fd, src.data() + done, src.size() - done,
                               static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return last_errno();
    done += static_cast<size_t>(n);
  }
  return ok();
}

}  // namespace

std::unique_ptr<MappedStart> MappedStart::of(int memfd) {
  void* const at = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
  return at == MAP_FAILED ? nullptr : std::unique_ptr<MappedStart>(new MappedStart(static_cast<std::byte*>(at)));
}

MappedStart::~MappedStart() {
  ::munmap(data_, kSize);
  --count_;
}

TmpContent::~TmpContent() { quota_->pages -= charged_; }

uint64_t TmpContent::blocks() const {
  if (dense_) return pages_for(size_) * (kPage / 512);
  struct stat st {};
  return host_fstat(fd_->get(), &st) == 0 ? static_cast<uint64_t>(st.st_blocks) : 0;
}

void TmpContent::charge() {
  if (!quota_->limited()) return;
  const uint64_t now = blocks() / (kPage / 512);
  quota_->pages += now - charged_;
  charged_ = now;
}

Result<size_t> TmpContent::read(std::span<std::byte> dst, uint64_t offset) {
  if (offset >= size_) return 0;
  const size_t want = std::min<uint64_t>(dst.size(), size_ - offset);
  if (const std::byte* const from = at_hand(offset, want); from != nullptr) {
    copy_bytes(dst.data(), from, want);
    return want;
  }
  const LayerScope time(Layer::kHost);
  size_t done = 0;
  while (done < want) {
    const ssize_t n = ::pread(fd_->get(), dst.data() + done, want - done,
                              static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return last_errno();
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

Result<void> TmpContent::to_memfd() {
  if (fd_) return ok();
  auto fd = take_fd(::memfd_create("tmpfs", MFD_CLOEXEC));
  if (!fd) return storage_error(fd.error());
  size_t done = 0;
  if (auto r = write_all(fd.assume_value().get(), small_, 0, done); !r) {
    return storage_error(r.error());
  }
  fd_ = std::make_shared<UniqueFd>(std::move(fd).assume_value());
  small_ = {};
  return ok();
}

std::byte* TmpContent::at_hand(uint64_t offset, uint64_t length) {
  const uint64_t end = offset + length;
  if (end > size_) return nullptr;
  if (!fd_) return small_.data() + offset;
  // Where a hole may be, a look at it would fill it.
  return mapped_ && dense_ && end <= MappedStart::kSize ? mapped_->data() + offset : nullptr;
}

std::shared_ptr<UniqueFd> TmpContent::fd_to_read() {
  if (!fd_ && MappedStart::has_room() && to_memfd().has_value()) mapped_ = MappedStart::of(fd_->get());
  return fd_;
}

Result<std::shared_ptr<UniqueFd>> TmpContent::host_fd() {
  TRY(to_memfd());
  dense_ = false;
  return fd_;
}

Timespec TmpContent::host_atime() const {
  struct stat st = {};
  if (fd_ != nullptr) host_fstat(fd_->get(), &st);
  return {st.st_atim.tv_sec, static_cast<uint32_t>(st.st_atim.tv_nsec)};
}

uint64_t TmpContent::missing_pages(uint64_t offset, uint64_t length) const {
  const uint64_t first = offset / kPage;
  const uint64_t end = pages_for(offset + length);
  if (dense_) return end - std::min(end, std::max(first, pages_for(size_)));
  uint64_t present = 0;
  auto at = static_cast<off_t>(first * kPage);
  const auto limit = static_cast<off_t>(end * kPage);
  while (at < limit) {
    const off_t data = ::lseek(fd_->get(), at, SEEK_DATA);
    if (data < 0 || data >= limit) break;
    const off_t hole = std::min<off_t>(::lseek(fd_->get(), data, SEEK_HOLE), limit);
    if (hole <= data) break;
    present += pages_for(static_cast<uint64_t>(hole)) - static_cast<uint64_t>(data) / kPage;
    at = hole;
  }
  return end - first - std::min(present, end - first);
}

uint64_t TmpContent::fitting(uint64_t offset, uint64_t length) const {
  if (!quota_->limited() || length == 0) return length;
  const uint64_t free = quota_->free_pages();
  if (pages_for(length) + 1 <= free || missing_pages(offset, length) <= free) return length;
  uint64_t low = 0;
  uint64_t high = length;  // the most that fits lies in [low, high)
  while (high - low > 1) {
    const uint64_t mid = low + (high - low) / 2;
    (missing_pages(offset, mid) <= free ? low : high) = mid;
  }
  return low;
}

Result<size_t> TmpContent::write(ByteSpan src, uint64_t offset) {
  if (src.empty()) return 0;
  const uint64_t length = fitting(offset, src.size());
  if (length == 0) return Errno{ENOSPC};
  src = src.first(length);
  const uint64_t end = offset + length;
  // A gap of whole pages is a hole, which a vector cannot have.
  const bool gap = offset > pages_for(size_) * kPage;
  if (!fd_ && (end > kSmallLimit || gap)) TRY(to_memfd());
  if (gap) dense_ = false;
  if (!fd_ && end > size_) {
    small_.resize(end);
    size_ = end;
  }
  if (std::byte* const to = at_hand(offset, length); to != nullptr) {
    copy_bytes(to, src.data(), length);
    charge();
    return length;
  }
  size_t done = 0;
  const auto written = write_all(fd_->get(), src, offset, done);
  if (done > 0) size_ = std::max(size_, offset + done);
  if (!written) dense_ = false;
  charge();
  if (done == 0) TRY(written);
  return done;
}

Result<void> TmpContent::resize(uint64_t size) {
  if (size > INT64_MAX) return Errno{EFBIG};
  if (size > pages_for(size_) * kPage) {
    TRY(to_memfd());
    dense_ = false;
  }
  if (!fd_) {
    small_.resize(size);
    if (small_.capacity() > 2 * size) small_.shrink_to_fit();
  } else if (::ftruncate(fd_->get(), static_cast<off_t>(size)) != 0) {
    return last_errno() == Errno{EINVAL} ? Errno{EFBIG} : storage_error(last_errno());
  }
  size_ = size;
  charge();
  return ok();
}

Result<void> TmpContent::fallocate(int mode, uint64_t offset, uint64_t length) {
  constexpr int kFrees = FALLOC_FL_PUNCH_HOLE;
  if ((mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0) {
    return Errno{EOPNOTSUPP};
  }
  if ((mode & kFrees) == 0 && quota_->limited() &&
      missing_pages(offset, length) > quota_->free_pages()) {
    return Errno{ENOSPC};
  }
  TRY(to_memfd());
  dense_ = false;
  const int fd = fd_->get();
  const auto at = static_cast<off_t>(offset);
  const auto count = static_cast<off_t>(length);
  // The host's shmem has no ZERO_RANGE: punch what is there, and allocate anew.
  if ((mode & FALLOC_FL_ZERO_RANGE) != 0) {
    if (::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, count) != 0) {
      return storage_error(last_errno());
    }
    mode &= ~FALLOC_FL_ZERO_RANGE;
  }
  if (::fallocate(fd, mode, at, count) != 0) return storage_error(last_errno());
  if ((mode & FALLOC_FL_KEEP_SIZE) == 0) size_ = std::max(size_, offset + length);
  charge();
  return ok();
}

Result<uint64_t> TmpContent::seek_data_hole(uint64_t offset, int whence) const {
  if (offset >= size_) return Errno{ENXIO};
  if (!fd_) return whence == SEEK_DATA ? offset : size_;
  const off_t at = ::lseek(fd_->get(), static_cast<off_t>(offset), whence);
  if (at < 0) return last_errno();
  return static_cast<uint64_t>(at);
}

}  // namespace run9::vfs
