// signalfd(2): reads take pending signals of the reading task and its process.
#pragma once
#include "base/wait_queue.h"
#include "sentry/signal/signal.h"
#include "sentry/task/process.h"
#include "vfs/file.h"

namespace run9::sentry {

class SignalFile final : public vfs::File {
 public:
  SignalFile(vfs::Path path, uint32_t flags, SignalSet mask, ProcessRef owner);
  void set_mask(SignalSet mask);
  bool is_stream() const override { return true; }
  Result<size_t> read(vfs::OpContext&, std::span<std::byte> dst) override;
  uint32_t poll(vfs::OpContext&) override;
  // That of the process that made it: a child that inherits the file can read it, not wait by poll.
  WaitQueue* wait_queue() override;
  std::string fdinfo() const override;

 private:
  SignalSet mask_;
  const ProcessRef owner_;
};

}  // namespace run9::sentry
