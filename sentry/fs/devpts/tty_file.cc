#include "sentry/fs/devpts/tty_file.h"

#include <fmt/format.h>
#include <poll.h>

#include "sentry/fs/devpts/devpts_fs.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

constexpr uint32_t kTiocgptpeer = 0x5441;

}  // namespace

Result<vfs::FileRef> SlaveFile::open(vfs::OpContext& ctx, std::shared_ptr<Tty> tty,
                                     const vfs::Path& path, uint32_t flags) {
  if (tty->locked) return Errno{EIO};
  if (tty->exclusive() && !ctx.creds().has_cap(CAP_SYS_ADMIN)) return Errno{EBUSY};
  auto file = std::make_shared<SlaveFile>(path, flags & ~uint32_t{O_NOCTTY}, tty);
  tty->maybe_acquire(ctx, flags);
  return vfs::FileRef(std::move(file));
}

SlaveFile::SlaveFile(vfs::Path path, uint32_t flags, std::shared_ptr<Tty> tty)
    : File(std::move(path), flags), tty_(std::move(tty)), generation_(tty_->generation()) {
  tty_->slave_opened();
}

SlaveFile::~SlaveFile() { tty_->slave_closed(generation_); }

Result<size_t> SlaveFile::read(vfs::OpContext& ctx, std::span<std::byte> dst) {
  return tty_->read(ctx, {generation_, nonblocking()}, dst);
}

Result<size_t> SlaveFile::write(vfs::OpContext& ctx, ByteSpan src) {
  return tty_->write(ctx, {generation_, nonblocking()}, src);
}

Result<uint64_t> SlaveFile::ioctl(vfs::OpContext& ctx, uint32_t request, uint64_t arg) {
  if (generation_ != tty_->generation()) return Errno{request == TIOCSPGRP ? ENOTTY : EIO};
  const auto keep = tty_;
  return keep->ioctl(ctx, request, arg, false);
}

MasterFile::MasterFile(vfs::Path path, uint32_t flags, std::shared_ptr<DevptsFs> fs,
                       std::shared_ptr<Tty> tty)
    : File(std::move(path), flags), fs_(std::move(fs)), tty_(std::move(tty)) {
  tty_->set_peer(this);
}

MasterFile::~MasterFile() {
  fs_->remove(tty_->index());
  tty_->master_closed();
}

void MasterFile::output_ready() {
  queue_.notify_all(POLLIN | POLLRDNORM | POLLPRI | (tty_->slave_gone() ? uint32_t{POLLHUP} : 0u));
}

void MasterFile::input_room() { queue_.notify_all(POLLOUT | POLLWRNORM); }

Result<size_t> MasterFile::read(vfs::OpContext& ctx, std::span<std::byte> dst) {
  if (dst.empty()) return 0;
  const auto keep = shared_from_this();
  while (true) {
    if (tty_->packet_mode()) {
      if (const uint8_t status = tty_->take_packet_status(); status != 0) {
        dst[0] = std::byte{status};
        return 1;
      }
      if (!tty_->output().empty()) {
        dst[0] = std::byte{TIOCPKT_DATA};
        return 1 + tty_->take_output(dst.subspan(1));
      }
    } else if (!tty_->output().empty()) {
      return tty_->take_output(dst);
    }
    if (tty_->slave_gone()) return Errno{EIO};
    if (nonblocking()) return Errno{EAGAIN};
    TRY(ctx.wait(queue_, POLLIN));
  }
}

Result<size_t> MasterFile::write(vfs::OpContext& ctx, ByteSpan src) {
  const auto keep = shared_from_this();
  size_t done = 0;
  while (done < src.size()) {
    const size_t n = tty_->input(src.subspan(done));
    done += n;
    if (n > 0) continue;
    if (nonblocking()) return done > 0 ? Result<size_t>(done) : Errno{EAGAIN};
    const auto waited = ctx.wait(queue_, POLLOUT);
    if (!waited.has_value()) return done > 0 ? Result<size_t>(done) : waited.error();
  }
  return done;
}

uint32_t MasterFile::poll(vfs::OpContext&) {
  uint32_t bits = 0;
  if (!tty_->output().empty()) bits |= POLLIN | POLLRDNORM;
  if (tty_->packet_mode() && tty_->packet_status() != 0) bits |= POLLPRI | POLLIN | POLLRDNORM;
  if (tty_->has_room()) bits |= POLLOUT | POLLWRNORM;
  if (tty_->slave_gone()) bits |= POLLHUP;
  return bits;
}

Result<uint64_t> MasterFile::open_peer(vfs::OpContext& ctx, uint32_t flags) {
  Task* task = task_of(ctx);
  vfs::MountRef mount;
  // The slave is a file of the instance's mount, wherever the master was opened.
  if (path().mount && path().mount->fs == fs_) mount = path().mount;
  else (void)find_devpts(fs_->kernel(), &mount);
  const auto node = fs_->node(tty_->index());
  if (mount == nullptr || mount->fs != fs_ || node == nullptr) return Errno{EIO};
  const std::string name = std::to_string(tty_->index());
  auto dentry = mount->root->child(name);
  if (dentry == nullptr || dentry->inode_ref() != node) dentry = mount->root->add_child(name, node);
  const vfs::Path at{mount, std::move(dentry)};
  auto file = TRY(SlaveFile::open(ctx, tty_, at, flags & ~uint32_t{O_CLOEXEC}));
  const auto fd = TRY(task->fds().install(std::move(file), (flags & O_CLOEXEC) != 0,
                                          task->process().limit(RLIMIT_NOFILE)));
  return static_cast<uint64_t>(to_int(fd));
}

Result<uint64_t> MasterFile::ioctl(vfs::OpContext& ctx, uint32_t request, uint64_t arg) {
  Task* task = task_of(ctx);
  if (task == nullptr) return Errno{ENOTTY};
  MemoryManager& memory = task->memory();
  const auto keep = shared_from_this();
  switch (request) {
    case TIOCGPTN: TRY(memory.write(UserPtr<int>{arg}, tty_->index())); return 0;
    case TIOCSPTLCK: tty_->locked = TRY(memory.read(UserPtr<int>{arg})) != 0; return 0;
    case TIOCGPTLCK: TRY(memory.write(UserPtr<int>{arg}, tty_->locked ? 1 : 0)); return 0;
    case kTiocgptpeer: return open_peer(ctx, static_cast<uint32_t>(arg));
    case TIOCPKT: tty_->set_packet_mode(TRY(memory.read(UserPtr<int>{arg})) != 0); return 0;
    case TIOCGPKT: TRY(memory.write(UserPtr<int>{arg}, tty_->packet_mode() ? 1 : 0)); return 0;
    case FIONREAD:
      TRY(memory.write(UserPtr<int>{arg}, static_cast<int>(tty_->output_size())));
      return 0;
    case TIOCOUTQ: TRY(memory.write(UserPtr<int>{arg}, 0)); return 0;
    default: return tty_->ioctl(ctx, request, arg, true);
  }
}

std::string MasterFile::fdinfo() const { return fmt::format("tty-index:\t{}\n", tty_->index()); }

}  // namespace run9::sentry
