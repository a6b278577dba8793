// GoferFile: an open regular file, over a donated host descriptor or over an open fid. GoferDir: an
// open directory, over its inode's listing.
#pragma once
#include "vfs/file.h"
#include "vfs/gofer/cold_reads.h"
#include "vfs/gofer/gofer_inode.h"

namespace run9::vfs::gofer {

class GoferFile final : public File {
 public:
  GoferFile(Path path, uint32_t flags, std::shared_ptr<GoferInode> node, HostFd host)
      : File(std::move(path), flags), node_(std::move(node)), host_(std::move(host)) {}
  GoferFile(Path path, uint32_t flags, std::shared_ptr<GoferInode> node, OpenFid open)
      : File(std::move(path), flags), node_(std::move(node)), open_(open) {}
  ~GoferFile() override;

  Result<size_t> pread(OpContext&, std::span<std::byte> dst, uint64_t offset) override;
  bool moves_bytes() const override { return true; }
  Result<std::optional<size_t>> read_unnoticed(OpContext&, std::span<std::byte> dst) override;
  Result<size_t> pwrite(OpContext&, ByteSpan src, uint64_t offset) override;
  Result<size_t> append(OpContext&, ByteSpan src, uint64_t& end) override;
  Result<uint64_t> seek(OpContext&, int64_t offset, int whence) override;
  Result<MapSource> map_source(OpContext&, bool shared, bool writable) override;
  Result<MapSource> read_source(OpContext&) override;
  Result<WriteSource> write_source(OpContext&) override;
  Result<void> fsync(OpContext&, bool data_only) override;
  Result<void> fallocate(OpContext&, int mode, uint64_t offset, uint64_t length) override;
  Result<uint64_t> copy_from(OpContext&, File& in, uint64_t from, uint64_t to, uint64_t length) override;
  // For node_. skip: the end may be another than before, but not by this file's appends. stop: nobody appends unseen any more.
  void note_appends() override;
  void skip_appends();
  void stop_appends();
  Result<Stat> getattr(OpContext& ctx) override { return node_->getattr(ctx); }
  Result<void> setattr(OpContext&, const vfs::SetAttr& a) override {
    return node_->setattr_by(open_.fid, a);
  }

 private:
  Wire& wire() const;
  // The open one, or the inode's.
  Result<Fid> any_fid() const { return open_.fid != p9::kNoFid ? Result<Fid>(open_.fid) : node_->fid(); }
  Result<size_t> write_host(OpContext& ctx, ByteSpan src, uint64_t offset, int extra);
  Result<HostFd> private_copy(OpContext&);

  // Not inode(): a file system on top of ours may have put its own place into path().
  const std::shared_ptr<GoferInode> node_;
  const HostFd host_;     // null: open_ is used
  const OpenFid open_;
  ColdReads reads_;       // of host_
  HostFd copy_;           // what mappings show without a host descriptor
  uint64_t end_seen_ = 0;  // appends_unseen_: where the file ended
};

class GoferDir final : public File {
 public:
  GoferDir(Path path, uint32_t flags, std::shared_ptr<GoferInode> node)
      : File(std::move(path), flags), node_(std::move(node)) {}

  Result<size_t> pread(OpContext&, std::span<std::byte>, uint64_t) override { return Errno{EISDIR}; }
  Result<size_t> pwrite(OpContext&, ByteSpan, uint64_t) override { return Errno{EBADF}; }
  Result<void> readdir(OpContext&, DirSink&) override;
  Result<void> fsync(OpContext&, bool data_only) override;
  Result<Stat> getattr(OpContext& ctx) override { return node_->getattr(ctx); }
  Result<void> setattr(OpContext& ctx, const vfs::SetAttr& a) override {
    return node_->setattr(ctx, a);
  }

 private:
  const std::shared_ptr<GoferInode> node_;
  std::shared_ptr<Listing> listing_;  // of the iteration in progress
};

}  // namespace run9::vfs::gofer
