// Open files and directories of an export. Owned by their fid; they keep their node.
#pragma once
#include <vector>

#include "gofer/host_node.h"

namespace run9::gofer {

// A regular file.
class HostFile final : public p9::OpenFile {
 public:
  HostFile(HostNode::Ref node, UniqueFd fd);
  ~HostFile() override;

  Result<size_t> read(uint64_t offset, std::span<std::byte> out) override;
  Result<size_t> write(uint64_t offset, ByteSpan data) override;
  Result<void> fsync(bool datasync) override;
  Result<p9::LockStatus> lock(const p9::LockRequest& request) override;
  Result<p9::LockRequest> get_lock(const p9::LockRequest& request) override;
  Result<p9::LockStatus> lock_open_file(const p9::OpenFileLock& lock) override;
  Result<std::unique_ptr<p9::LockWait>> wait_for_lock(const p9::OpenFileLock& lock) override;
  Result<void> allocate(uint32_t mode, uint64_t offset, uint64_t length) override;
  Result<uint64_t> seek(uint64_t offset, uint8_t whence) override;
  Result<uint64_t> copy_from(p9::OpenFile& in, uint64_t from, uint64_t to, uint64_t length) override;
  // A duplicate: the client shares the file description and so its offset, which we never use.
  Result<UniqueFd> donate() override { return fd_.dup(); }
  Result<UniqueFd> give_up() override { return std::move(fd_); }
  BorrowedFd fd() const { return fd_.borrow(); }

 private:
  const HostNode::Ref node_;
  UniqueFd fd_;
  std::string lock_client_;  // what get_lock's answer points to
};

class HostDir final : public p9::OpenFile {
 public:
  HostDir(HostNode::Ref node, UniqueFd fd) : node_(std::move(node)), fd_(std::move(fd)) { node_->file_opened(); }
  ~HostDir() override { node_->file_closed(); }
  Result<bool> read_dir(uint64_t offset, uint64_t attrmask, p9::DirSink& sink) override;
  Result<void> fsync(bool datasync) override;

 private:
  enum class Fill { kMore, kEnd };
  Result<Fill> fill();
  // False: the sink is full. Entries that are hidden or just went away count as taken.
  Result<bool> emit(const char* name, uint64_t ino, uint64_t next, uint8_t type,
                    uint64_t attrmask, p9::DirSink& sink);

  const HostNode::Ref node_;
  const UniqueFd fd_;
  // Entries that getdents64 gave and the sink has not taken, from `resume_` on.
  std::vector<char> entries_;
  size_t begin_ = 0;
  size_t end_ = 0;
  uint64_t resume_ = 0;
};

}  // namespace run9::gofer
