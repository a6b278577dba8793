// HostFile: a descriptor that the container got from outside: its standard input, output and error. The
// other end belongs to somebody else, so its flags are never changed (O_NONBLOCK is a property of the
// description we share), and it is asked with poll(2) before every call that might block the worker.
#pragma once
#include <memory>

#include "base/unique_fd.h"
#include "base/wait_queue.h"
#include "sentry/fs/anon.h"
#include "sentry/sched/event_loop.h"
#include "vfs/file.h"

namespace run9::sentry {

enum class HostTerminal { kNo, kYes };

// The host's side, shared by the inode and by every file opened through /proc/PID/fd.
class HostStream final : public FdHandler {
 public:
  HostStream(Kernel& kernel, UniqueFd fd, uint32_t type, uint32_t host_flags, HostTerminal terminal);
  ~HostStream() override;

  Kernel& kernel() const { return kernel_; }
  int fd() const { return fd_->get(); }
  const std::shared_ptr<UniqueFd>& shared_fd() const { return fd_; }
  uint32_t type() const { return type_; }
  uint32_t host_flags() const { return host_flags_; }
  bool regular() const { return type_ == S_IFREG; }
  bool terminal() const { return terminal_ == HostTerminal::kYes; }
  WaitQueue& queue() { return queue_; }

  // poll(2) bits that hold now. Those of `wanted` that do not will notify queue() when they do.
  uint32_t poll(uint32_t wanted);
  // One transfer that does not block; EAGAIN when it would.
  Result<size_t> read_once(std::span<std::byte> dst);
  Result<size_t> write_once(ByteSpan src);

  void on_ready(uint32_t epoll_events) override;

 private:
  Kernel& kernel_;
  std::shared_ptr<UniqueFd> fd_;
  uint32_t type_;
  uint32_t host_flags_;
  HostTerminal terminal_;
  WaitQueue queue_;
  uint32_t watched_ = 0;   // epoll bits; 0: not in the event loop
  bool nowait_ = true;     // RWF_NOWAIT works on it
};

class HostFile final : public vfs::File {
 public:
  // owner: whose uid and gid the file shows (those of the program that gets it).
  static Result<vfs::FileRef> create(Kernel& kernel, UniqueFd fd, const vfs::OpContext& owner,
                                     HostTerminal terminal = HostTerminal::kNo);
  HostFile(vfs::Path path, uint32_t flags, std::shared_ptr<HostStream> stream)
      : File(std::move(path), flags), stream_(std::move(stream)) {}

  Result<size_t> pread(vfs::OpContext&, std::span<std::byte> dst, uint64_t offset) override;
  Result<size_t> pwrite(vfs::OpContext&, ByteSpan src, uint64_t offset) override;
  Result<size_t> append(vfs::OpContext&, ByteSpan src, uint64_t& end) override;
  Result<size_t> read(vfs::OpContext&, std::span<std::byte> dst) override;
  Result<size_t> write(vfs::OpContext&, ByteSpan src) override;
  bool is_stream() const override { return !stream_->regular(); }
  Result<uint64_t> seek(vfs::OpContext&, int64_t offset, int whence) override;
  uint32_t poll(vfs::OpContext&) override;
  WaitQueue* wait_queue() override { return &stream_->queue(); }
  Result<uint64_t> ioctl(vfs::OpContext&, uint32_t request, uint64_t arg) override;
  Result<vfs::MapSource> map_source(vfs::OpContext&, bool shared, bool writable) override;
  Result<void> fsync(vfs::OpContext&, bool data_only) override;
  bool closes_quietly() const override;

 private:
  Result<size_t> write_stream(vfs::OpContext&, ByteSpan src);
  Result<void> wait_ready(vfs::OpContext&, uint32_t bits);
  void follow_host_offset();
  std::shared_ptr<HostStream> stream_;
};

}  // namespace run9::sentry
