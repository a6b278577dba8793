// TmpContent: the bytes of a tmpfs file. A small file without holes is a vector; one that grows, gets
// a hole, is mapped or often read moves to a memfd of its own and stays there.
#pragma once
#include <fcntl.h>

#include <memory>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "vfs/types.h"

namespace run9::vfs {

// What a mount of tmpfs has used. Shared with the inodes, for some outlive the mount.
struct TmpQuota {
  static constexpr uint64_t kPage = 4096;
  uint64_t max_pages = 0;  // 0: no limit
  uint64_t max_inodes = 0;
  uint64_t pages = 0;
  uint64_t inodes = 0;
  bool limited() const { return max_pages != 0; }
  bool has_inode() const { return max_inodes == 0 || inodes < max_inodes; }
  uint64_t free_pages() const { return max_pages > pages ? max_pages - pages : 0; }
};

// The first 64 KiB of a memfd, mapped here: a copy costs no host call. What is not there yet must not be touched.
class MappedStart {
 public:
  static constexpr size_t kSize = 64 * 1024;
  static bool has_room() { return count_ < kMost; }
  // Null: it cannot be had.
  static std::unique_ptr<MappedStart> of(int memfd);
  ~MappedStart();
  MappedStart(const MappedStart&) = delete;
  MappedStart& operator=(const MappedStart&) = delete;
  std::byte* data() const { return data_; }

 private:
  static constexpr int kMost = 1024;  // a process has 65,530 mappings, and the Sentry some 20,000 descriptors
  explicit MappedStart(std::byte* data) : data_(data) { ++count_; }
  static inline int count_ = 0;
  std::byte* const data_;
};

class TmpContent {
 public:
  explicit TmpContent(std::shared_ptr<TmpQuota> quota) : quota_(std::move(quota)) {}
  ~TmpContent();
  TmpContent(const TmpContent&) = delete;
  TmpContent& operator=(const TmpContent&) = delete;

  uint64_t size() const { return size_; }
  uint64_t blocks() const;  // of 512 bytes
  bool is_dense() const { return dense_; }
  Result<size_t> read(std::span<std::byte> dst, uint64_t offset);
  // ENOSPC if nothing fits under the limit; otherwise maybe less than all.
  Result<size_t> write(ByteSpan src, uint64_t offset);
  Result<void> resize(uint64_t size);
  Result<void> fallocate(int mode, uint64_t offset, uint64_t length);
  Result<uint64_t> seek_data_hole(uint64_t offset, int whence) const;
  // The memfd, made now if need be.
  Result<std::shared_ptr<UniqueFd>> host_fd();
  // To be read, which leaves its pages where they are. A small file's memfd is made now. Null: there are enough of these.
  std::shared_ptr<UniqueFd> fd_to_read();
  Timespec host_atime() const;  // the memfd's

  uint32_t seals = F_SEAL_SEAL;          // those of a memfd may be others
  std::shared_ptr<int> writable_maps = std::make_shared<int>(0);  // shared and writable ones

 private:
  Result<void> to_memfd();
  // Null: only the host can copy from and to there.
  std::byte* at_hand(uint64_t offset, uint64_t length);
  uint64_t missing_pages(uint64_t offset, uint64_t length) const;
  // How much of a write fits; charge() afterwards counts what was really used.
  uint64_t fitting(uint64_t offset, uint64_t length) const;
  void charge();

  std::shared_ptr<TmpQuota> quota_;
  std::vector<std::byte> small_;
  std::shared_ptr<UniqueFd> fd_;
  std::unique_ptr<MappedStart> mapped_;
  uint64_t size_ = 0;
  uint64_t charged_ = 0;  // pages
  bool dense_ = true;     // every page up to the end is there, as far as we alone have a hand in it
};

}  // namespace run9::vfs
