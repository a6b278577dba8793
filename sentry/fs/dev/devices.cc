#include "sentry/fs/dev/devices.h"

#include <poll.h>
#include <sys/random.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstring>

#include "sentry/fs/devpts/devpts_fs.h"
#include "sentry/fs/devpts/tty_file.h"
#include "sentry/fs/special.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

// A device that ignores the position: seeks work and mean nothing.
class MemoryDevice : public vfs::File {
 public:
  using File::File;
  Result<size_t> pwrite(vfs::OpContext&, ByteSpan src, uint64_t) override { return src.size(); }
  Result<size_t> append(vfs::OpContext&, ByteSpan src, uint64_t&) override { return src.size(); }
  Result<size_t> write(vfs::OpContext&, ByteSpan src) override { return src.size(); }
  Result<size_t> read(vfs::OpContext& ctx, std::span<std::byte> dst) override {
    return pread(ctx, dst, 0);
  }
  Result<uint64_t> seek(vfs::OpContext&, int64_t, int) override { return 0; }
  bool closes_quietly() const override { return true; }
};

class NullFile final : public MemoryDevice {
 public:
  using MemoryDevice::MemoryDevice;
  Result<size_t> pread(vfs::OpContext&, std::span<std::byte>, uint64_t) override { return 0; }
};

class ZeroFile : public MemoryDevice {
 public:
  using MemoryDevice::MemoryDevice;
  Result<size_t> pread(vfs::OpContext&, std::span<std::byte> dst, uint64_t) override {
    std::memset(dst.data(), 0, dst.size());
    return dst.size();
  }
  Result<vfs::MapSource> map_source(vfs::OpContext&, bool, bool) override {
    return vfs::MapSource{};
  }
};

class FullFile final : public ZeroFile {
 public:
  using ZeroFile::ZeroFile;
  Result<size_t> pwrite(vfs::OpContext&, ByteSpan, uint64_t) override { return Errno{ENOSPC}; }
  Result<size_t> append(vfs::OpContext&, ByteSpan, uint64_t&) override { return Errno{ENOSPC}; }
  Result<size_t> write(vfs::OpContext&, ByteSpan) override { return Errno{ENOSPC}; }
  Result<vfs::MapSource> map_source(vfs::OpContext&, bool, bool) override { return Errno{ENODEV}; }
};

class RandomFile final : public MemoryDevice {
 public:
  using MemoryDevice::MemoryDevice;
  Result<size_t> pread(vfs::OpContext&, std::span<std::byte> dst, uint64_t) override {
    size_t done = 0;
    while (done < dst.size()) {
      const ssize_t n = ::getrandom(dst.data() + done, dst.size() - done, 0);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return last_errno();
      done += static_cast<size_t>(n);
    }
    return done;
  }
  Result<uint64_t> ioctl(vfs::OpContext& ctx, uint32_t request, uint64_t arg) override {
    constexpr uint32_t kRndGetEntCnt = 0x80045200;
    Task* task = task_of(ctx);
    if (request != kRndGetEntCnt || task == nullptr) return Errno{EINVAL};
    TRY(task->memory().write(UserPtr<int>{arg}, 256));
    return 0;
  }
};

template <typename T>
SpecialFiles::DeviceOpener plain() {
  return [](vfs::OpContext&, const vfs::Path& path, uint32_t flags) -> Result<vfs::FileRef> {
    return vfs::FileRef(std::make_shared<T>(path, flags & ~uint32_t{O_NOCTTY}));
  };
}

std::shared_ptr<Tty> session_tty(Process* p) {
  if (p == nullptr || !p->group || !p->group->session) return nullptr;
  return p->group->session->tty;
}

Result<vfs::FileRef> open_tty(vfs::OpContext& ctx, const vfs::Path& path, uint32_t flags) {
  Task* task = task_of(ctx);
  auto tty = session_tty(task != nullptr ? &task->process() : nullptr);
  if (tty == nullptr) return Errno{ENXIO};
  return SlaveFile::open(ctx, std::move(tty), path, flags | O_NOCTTY);
}

}  // namespace

bool discards_writes(const vfs::File& file) { return file.inode().type() == S_IFCHR && dynamic_cast<const NullFile*>(&file) != nullptr; }

void register_devices(Kernel& kernel) {
  SpecialFiles& s = kernel.special();
  s.register_device(makedev(1, 3), plain<NullFile>());
  s.register_device(makedev(1, 5), plain<ZeroFile>());
  s.register_device(makedev(1, 7), plain<FullFile>());
  s.register_device(makedev(1, 8), plain<RandomFile>());
  s.register_device(makedev(1, 9), plain<RandomFile>());
  s.register_device(makedev(5, 0), open_tty);
  s.register_device(makedev(5, 1), [&kernel](vfs::OpContext& ctx, const vfs::Path& path,
                                             uint32_t flags) -> Result<vfs::FileRef> {
    auto tty = session_tty(kernel.init().get());
    if (tty == nullptr) return Errno{ENXIO};
    return SlaveFile::open(ctx, std::move(tty), path, flags | O_NOCTTY);
  });
  s.register_device(makedev(5, 2), [&kernel](vfs::OpContext& ctx, const vfs::Path& path,
                                             uint32_t flags) -> Result<vfs::FileRef> {
    const auto fs = find_devpts(kernel);
    if (fs == nullptr) return Errno{ENODEV};
    return fs->open_master(ctx, path, flags & ~uint32_t{O_NOCTTY});
  });
}

}  // namespace run9::sentry
