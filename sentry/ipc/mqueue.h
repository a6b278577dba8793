// POSIX message queues (mq_overview(7)). A queue lives as long as its name or an open description of it.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/wait_queue.h"
#include "sentry/signal/signal.h"
#include "vfs/file.h"

namespace run9::sentry {

class Kernel;

struct PosixQueue {
  struct Notify {
    int32_t pid = 0;  // 0: nobody asked
    int signo = 0;    // 0: SIGEV_NONE
    uint64_t value = 0;
  };
  int64_t max_messages = 10, max_size = 8192;
  uint32_t uid = 0, gid = 0, mode = 0;
  // The highest priority first, and in it the oldest.
  std::multimap<uint32_t, std::string, std::greater<>> messages;
  uint64_t bytes = 0;
  int receivers = 0;  // asleep
  Notify notify;
  WaitQueue queue;
};
using PosixQueueRef = std::shared_ptr<PosixQueue>;

// The names of a sandbox's queues, without the slash.
using PosixQueues = std::map<std::string, PosixQueueRef, std::less<>>;

class MqueueFile final : public vfs::File {
 public:
  MqueueFile(vfs::Path path, uint32_t flags, PosixQueueRef queue);
  PosixQueue& queue() { return *queue_; }
  bool is_stream() const override { return true; }
  // Its state as text.
  Result<size_t> read(vfs::OpContext&, std::span<std::byte> dst) override;
  Result<uint64_t> seek(vfs::OpContext&, int64_t offset, int whence) override;
  uint32_t poll(vfs::OpContext&) override;
  WaitQueue* wait_queue() override { return &queue_->queue; }
  void on_close(vfs::OpContext&) override;

  Result<void> send(vfs::OpContext&, Kernel&, std::string text, uint32_t priority, std::optional<uint64_t> deadline);
  struct Message {
    std::string text;
    uint32_t priority;
  };
  Result<Message> receive(vfs::OpContext&, size_t room, std::optional<uint64_t> deadline);

 private:
  const PosixQueueRef queue_;
};

}  // namespace run9::sentry
