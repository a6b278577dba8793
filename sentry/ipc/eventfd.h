// eventfd(2).
#pragma once
#include "base/wait_queue.h"
#include "vfs/file.h"

namespace run9::sentry {

class EventFile final : public vfs::File {
 public:
  // flags: EFD_NONBLOCK, EFD_SEMAPHORE.
  EventFile(vfs::Path path, uint64_t count, int flags);
  bool is_stream() const override { return true; }
  Result<size_t> read(vfs::OpContext&, std::span<std::byte> dst) override;
  Result<size_t> write(vfs::OpContext&, ByteSpan src) override;
  // Adds 1 and never waits, for what is told by an eventfd.
  void signal();
  uint32_t poll(vfs::OpContext&) override;
  WaitQueue* wait_queue() override { return &queue_; }
  std::string fdinfo() const override;

 private:
  uint64_t count_;
  const bool semaphore_;
  WaitQueue queue_;
};

}  // namespace run9::sentry
