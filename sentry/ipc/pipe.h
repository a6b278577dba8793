// Pipes and FIFOs (pipe(7), fifo(7)). A Pipe is shared by its ends' Files and dies with the last one; a FIFO
// inode's attachment refers to it weakly.
#pragma once
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "base/copy.h"
#include "base/wait_queue.h"
#include "sentry/fs/pipe_control.h"
#include "sentry/platform/shared_ring.h"
#include "sentry/task/fd_table.h"
#include "vfs/file.h"

namespace run9::sentry {

class AddressSpace;
class Kernel;
class Task;

// Sends SIGPIPE to the task behind ctx; gives EPIPE.
Errno broken_pipe(vfs::OpContext& ctx);
// The answer to an ioctl that stores an int at `arg`.
Result<uint64_t> answer_int(vfs::OpContext& ctx, uint64_t arg, int value);

class Pipe {
 public:
  explicit Pipe(bool packets) : packets_on_(packets) {}
  size_t read(std::span<std::byte> dst);  // what there is, a packet at most
  size_t peek(std::span<std::byte> dst) const;
  void write(ByteSpan src);  // fits
  size_t queued() const { return used_; }
  size_t space() const { return capacity_ - used_; }
  size_t capacity() const { return capacity_; }
  void set_capacity(size_t bytes);
  bool packets_on() const { return packets_on_; }

  void open_end(bool reads, bool writes);
  void close_end(bool reads, bool writes);
  int readers = 0, writers = 0;
  // How often each side was opened: a FIFO's open waits for the other to change.
  uint64_t reader_opens = 0, writer_opens = 0;
  bool anonymous = false;  // of pipe(2): opening it again never waits
  WaitQueue queue;

  // A task has read or written. Two processes that do so again and again get the pipe's memory, and need us no longer for these two
  // calls (docs/decisions/0023). Blocks.
  void used_by(Task& task, bool reads);
  // Before anything else is done with a pipe, or by anybody else: it is ours again, with what is in it.
  void take_back();
  // A descriptor in this table was closed.
  void closed_in(const FdTable& table);

 private:
  void grow(size_t needed);
  // Who reads, or who writes.
  struct Side {
    std::weak_ptr<AddressSpace> space;
    std::weak_ptr<FdTable> table;
    vfs::CredentialsRef creds;
    const void* who = nullptr;         // the space, to be compared only
    std::shared_ptr<MappedRing> ring;  // of shared_, or of prepared_
    bool is(const Task& task) const;
  };
  bool may_share() const;
  void share();
  Result<void> prepare();
  void expect_less();
  // The descriptors of one side's that may be served without us.
  std::vector<int> offers_for(const Side& side, bool reads) const;
  Side reader_, writer_;
  uint32_t uses_ = 0;         // by these two, since one of them became another
  static constexpr uint32_t kNever = ~uint32_t{0};
  uint32_t uses_wanted_ = 64;  // until the memory is shared
  std::unique_ptr<SharedRing> shared_;
  std::unique_ptr<SharedRing> prepared_;  // both sides have mapped it
  bool preparing_ = false;
  std::byte* ring() const { return ring_.bytes().data(); }
  TransferBuffer ring_;
  size_t ring_size_ = 0;  // a power of two, as much as was needed so far
  size_t head_ = 0;       // where the next read begins
  size_t used_ = 0;
  size_t capacity_ = 64 * 1024;
  const bool packets_on_;  // O_DIRECT
  std::deque<uint32_t> packets_;
};

class PipeFile final : public vfs::File, public PipeControl {
 public:
  // flags: access mode and status flags. Counts the end.
  PipeFile(vfs::Path path, uint32_t flags, std::shared_ptr<Pipe> pipe);
  ~PipeFile() override;

  bool is_stream() const override { return true; }
  Result<size_t> read(vfs::OpContext&, std::span<std::byte> dst) override;
  Result<size_t> write(vfs::OpContext&, ByteSpan src) override;
  uint32_t poll(vfs::OpContext&) override;
  Result<void> set_flags(uint32_t flags) override;
  void on_close(vfs::OpContext&) override;
  void take_back() override { pipe_->take_back(); }
  WaitQueue* wait_queue() override { return &ours().queue; }
  Result<uint64_t> ioctl(vfs::OpContext&, uint32_t request, uint64_t arg) override;
  Result<void> fsync(vfs::OpContext&, bool) override { return Errno{EINVAL}; }

  size_t capacity() const override { return pipe_->capacity(); }
  Result<size_t> set_capacity(vfs::OpContext&, size_t bytes) override;
  size_t queued() const override { return ours().queued(); }
  size_t space() const override { return ours().space(); }
  size_t peek(std::span<std::byte> dst) const override { return ours().peek(dst); }
  const void* identity() const override { return pipe_.get(); }
  // A FIFO that nobody writes to now: no POLLHUP before there was a new writer.
  void overlook_past_writers() { overlooked_ = pipe_->writer_opens; }

 private:
  Pipe& ours() const {
    pipe_->take_back();
    return *pipe_;
  }
  std::shared_ptr<Pipe> pipe_;
  uint64_t overlooked_ = 0;
};

struct PipeEnds {
  vfs::FileRef reader, writer;
};
// flags: O_NONBLOCK, O_DIRECT.
PipeEnds make_pipe(Kernel& kernel, const vfs::OpContext& owner, uint32_t flags);
Result<vfs::FileRef> open_fifo(Kernel& kernel, vfs::OpContext& ctx, const vfs::Path& path,
                               uint32_t flags);

}  // namespace run9::sentry
