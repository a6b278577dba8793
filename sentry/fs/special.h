// SpecialFiles: how FIFOs and devices are opened, and what else the kernel's file calls share: AnonFs,
// the owners that F_SETOWN names, the buffer for big transfers. Owned by Kernel (kernel.special()).
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/copy.h"
#include "base/wait_queue.h"
#include "sentry/fs/anon.h"
#include "vfs/path_walk.h"

namespace run9::sentry {

class FileOwners;

class SpecialFiles final : public vfs::SpecialOpener {
 public:
  using DeviceOpener =
      std::function<Result<vfs::FileRef>(vfs::OpContext&, const vfs::Path&, uint32_t flags)>;

  explicit SpecialFiles(Kernel& kernel);
  ~SpecialFiles() override;

  Result<vfs::FileRef> open_special(vfs::OpContext&, const vfs::Path&, uint32_t flags) override;
  // rdev in makedev form; character devices.
  void register_device(uint64_t rdev, DeviceOpener opener);
  // Every minor of a major that has no opener of its own (pts).
  void register_major(uint32_t major, DeviceOpener opener);

  AnonFs& anon() { return *anon_; }
  const vfs::MountRef& anon_mount() { return anon_mount_; }
  // The tmpfs that nobody can walk to: memfds, System V shared memory.
  const vfs::MountRef& internal_tmpfs() { return internal_tmpfs_; }
  FileOwners& owners() { return *owners_; }

  // Files whose position a call is moving now (PositionLock). Nearly always empty or one.
  struct BusyPositions {
    std::vector<const vfs::File*> files;
    WaitQueue queue;
  };
  BusyPositions& busy_positions() { return busy_positions_; }

  // The worker-wide transfer buffer, lent to one call at a time: a call that blocks while it has it (a 9P
  // round trip) keeps it, and others get memory of their own.
  static constexpr size_t kBigBuffer = 256 * 1024;
  class Loan {
   public:
    explicit Loan(SpecialFiles& owner, size_t wanted);
    ~Loan();
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    std::span<std::byte> bytes() const { return bytes_; }

   private:
    SpecialFiles* owner_ = nullptr;  // null: own_ is used
    TransferBuffer own_;
    std::span<std::byte> bytes_;
  };

 private:
  Kernel& kernel_;
  std::shared_ptr<AnonFs> anon_;
  vfs::MountRef anon_mount_, internal_tmpfs_;
  std::map<uint64_t, DeviceOpener> devices_;
  std::map<uint32_t, DeviceOpener> majors_;
  std::unique_ptr<FileOwners> owners_;
  BusyPositions busy_positions_;
  TransferBuffer big_;
  bool big_lent_ = false;
};

}  // namespace run9::sentry
