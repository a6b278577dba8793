#include "sentry/ipc/pidfd.h"

#include <poll.h>

#include <string>

#include "sentry/fs/anon.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

class PidFile final : public vfs::File {
 public:
  PidFile(vfs::Path path, uint32_t flags, ProcessRef process)
      : File(std::move(path), O_RDWR | flags), process(std::move(process)) {}
  bool is_stream() const override { return true; }
  Result<size_t> read(vfs::OpContext&, std::span<std::byte>) override { return Errno{EINVAL}; }
  Result<size_t> write(vfs::OpContext&, ByteSpan) override { return Errno{EINVAL}; }
  uint32_t poll(vfs::OpContext&) override { return ended() ? POLLIN | POLLRDNORM : 0; }
  WaitQueue* wait_queue() override { return &process->pidfd_queue; }
  std::string fdinfo() const override {
    const std::string pid = ended() ? "-1" : std::to_string(process->pid);
    return "Pid:\t" + pid + "\nNSpid:\t" + pid + "\n";
  }
  const ProcessRef process;

 private:
  bool ended() const { return process->zombie || process->tasks.empty(); }
};

}  // namespace

vfs::FileRef make_pidfd(Kernel& kernel, ProcessRef process, uint32_t flags) {
  auto path = make_anon_path(kernel, "anon_inode:[pidfd]", 0600, kernel.context());
  return std::make_shared<PidFile>(std::move(path), flags, std::move(process));
}

ProcessRef process_of_pidfd(vfs::File& file) {
  auto* pid_file = dynamic_cast<PidFile*>(&file);
  return pid_file != nullptr ? pid_file->process : nullptr;
}

}  // namespace run9::sentry
