#include "sentry/fs/special.h"

#include <sys/sysmacros.h>

#include <algorithm>

#include "sentry/ipc/pipe.h"
#include "sentry/syscalls/fd_owner.h"
#include "sentry/task/kernel.h"
#include "vfs/tmpfs/tmpfs.h"

namespace run9::sentry {

SpecialFiles::SpecialFiles(Kernel& kernel)
    : kernel_(kernel),
      anon_(AnonFs::create(kernel.next_dev())),
      anon_mount_(vfs::make_internal_mount(anon_)),
      owners_(std::make_unique<FileOwners>(kernel)) {
  auto tmpfs = vfs::make_tmpfs({}, kernel.context().now());
  tmpfs->set_dev(kernel.next_dev());
  internal_tmpfs_ = vfs::make_internal_mount(std::move(tmpfs));
}

SpecialFiles::~SpecialFiles() = default;

void SpecialFiles::register_device(uint64_t rdev, DeviceOpener opener) {
  devices_[rdev] = std::move(opener);
}

void SpecialFiles::register_major(uint32_t major, DeviceOpener opener) {
  majors_[major] = std::move(opener);
}

Result<vfs::FileRef> SpecialFiles::open_special(vfs::OpContext& ctx, const vfs::Path& path,
                                                uint32_t flags) {
  const auto type = path.inode()->type();
  if (type == S_IFIFO) return open_fifo(kernel_, ctx, path, flags);
  // Sockets are connected to, block devices do not exist here.
  if (type != S_IFCHR) return Errno{ENXIO};
  const uint64_t rdev = TRY(path.inode()->getattr(ctx)).rdev;
  if (auto it = devices_.find(rdev); it != devices_.end()) return it->second(ctx, path, flags);
  auto it = majors_.find(gnu_dev_major(rdev));
  if (it == majors_.end()) return Errno{ENXIO};
  return it->second(ctx, path, flags);
}

SpecialFiles::Loan::Loan(SpecialFiles& owner, size_t wanted) {
  wanted = std::min(wanted, kBigBuffer);
  if (owner.big_lent_) {
    own_ = TransferBuffer(wanted);
    bytes_ = own_.bytes();
    return;
  }
  if (owner.big_.size() == 0) owner.big_ = TransferBuffer(kBigBuffer);
  owner.big_lent_ = true;
  owner_ = &owner;
  bytes_ = owner.big_.first(wanted);
}

SpecialFiles::Loan::~Loan() {
  if (owner_ != nullptr) owner_->big_lent_ = false;
}

}  // namespace run9::sentry
