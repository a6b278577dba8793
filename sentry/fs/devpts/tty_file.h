// The open files of a terminal: SlaveFile is what programs have as their terminal, MasterFile is what
// /dev/ptmx gives a terminal emulator.
#pragma once
#include "sentry/fs/devpts/tty.h"
#include "vfs/file.h"

namespace run9::sentry {

class SlaveFile final : public vfs::File {
 public:
  // The open(2) of a terminal: its errors, and the controlling terminal.
  static Result<vfs::FileRef> open(vfs::OpContext&, std::shared_ptr<Tty> tty, const vfs::Path& path,
                                   uint32_t flags);
  SlaveFile(vfs::Path path, uint32_t flags, std::shared_ptr<Tty> tty);
  ~SlaveFile() override;
  const std::shared_ptr<Tty>& tty() const { return tty_; }

  bool is_stream() const override { return true; }
  Result<size_t> read(vfs::OpContext&, std::span<std::byte> dst) override;
  Result<size_t> write(vfs::OpContext&, ByteSpan src) override;
  uint32_t poll(vfs::OpContext&) override { return tty_->poll(generation_); }
  WaitQueue* wait_queue() override { return &tty_->queue(); }
  Result<uint64_t> ioctl(vfs::OpContext&, uint32_t request, uint64_t arg) override;

 private:
  std::shared_ptr<Tty> tty_;
  uint64_t generation_;
};

class DevptsFs;

class MasterFile final : public vfs::File, private TtyPeer {
 public:
  MasterFile(vfs::Path path, uint32_t flags, std::shared_ptr<DevptsFs> fs, std::shared_ptr<Tty> tty);
  ~MasterFile() override;

  bool is_stream() const override { return true; }
  Result<size_t> read(vfs::OpContext&, std::span<std::byte> dst) override;
  Result<size_t> write(vfs::OpContext&, ByteSpan src) override;
  uint32_t poll(vfs::OpContext&) override;
  WaitQueue* wait_queue() override { return &queue_; }
  Result<uint64_t> ioctl(vfs::OpContext&, uint32_t request, uint64_t arg) override;
  std::string fdinfo() const override;

 private:
  void output_ready() override;
  void input_room() override;
  Result<uint64_t> open_peer(vfs::OpContext&, uint32_t flags);
  std::shared_ptr<DevptsFs> fs_;
  std::shared_ptr<Tty> tty_;
  WaitQueue queue_;
};

}  // namespace run9::sentry
