// The inodes of the overlay. Private to this folder.
#pragma once
#include <string>
#include <unordered_map>
#include <vector>

#include "vfs/dentry.h"
#include "vfs/file.h"
#include "vfs/overlay/overlay.h"
#include "vfs/permission.h"

namespace run9::vfs {

inline constexpr std::string_view kOpaque = "trusted.overlay.opaque";
// The inode number that the file had below, kept over copy-up: 8 bytes.
inline constexpr std::string_view kOrigin = "trusted.overlay.origin";
inline constexpr std::string_view kPrivatePrefix = "trusted.overlay.";

// The overlay's own work (copy-up, whiteouts) is not the caller's to be refused.
class OverlayContext : public OpContext {
 public:
  explicit OverlayContext(OpContext& caller) : caller_(caller) {
    creds_.cap_permitted = creds_.cap_effective = kAllCaps;
  }
  const Credentials& creds() const override { return creds_; }
  Timespec now() const override { return caller_.now(); }
  int32_t tgid() const override { return 0; }
  uint64_t moment() const override { return caller_.moment(); }
  Result<void> wait(WaitQueue& q, uint32_t events, std::optional<uint64_t> deadline) override {
    return caller_.wait(q, events, deadline);
  }
  void host_call(const std::function<void()>& call) override { caller_.host_call(call); }
  void copied_up() override { caller_.copied_up(); }

 private:
  OpContext& caller_;
  Credentials creds_;
};

// An inode of a layer, and the mount to open it through.
struct Real {
  InodeRef inode;
  MountRef mount;
  uint32_t layer = 0;  // 0: upper
  explicit operator bool() const { return inode != nullptr; }
  Path path() const { return {mount, std::make_shared<Dentry>(nullptr, "", inode)}; }
  // Numbers of different layers may not meet.
  uint64_t ino() const { return inode->ino() ^ (uint64_t{layer == 0 ? 0xffu : layer - 1} << 48); }
};

class OvlInode;
class OvlDir;

class Overlay : public FileSystem {
 public:
  Overlay(OverlayLayer upper, std::vector<OverlayLayer> lowers);
  std::string_view type() const override { return "overlay"; }
  InodeRef root() override;
  Result<StatFs> statfs(OpContext&) override;
  Result<void> sync(OpContext&) override;
  bool read_only() const override { return !upper_; }

  // Hard links of the upper tree share one inode.
  std::shared_ptr<OvlInode> known(const Inode& upper);
  void remember(const Inode& upper, std::shared_ptr<OvlInode> inode);
  void forget(const Inode& upper) { by_upper_.erase(&upper); }
  OvlDir& root_dir() { return *root_; }

 private:
  MountRef upper_;
  std::vector<MountRef> lowers_;
  std::unordered_map<const Inode*, std::weak_ptr<OvlInode>> by_upper_;
  std::shared_ptr<OvlDir> root_;
};

class OvlInode : public Inode {
 public:
  OvlInode(Overlay& fs, uint64_t ino, uint32_t mode, KeepFs keep, Real upper,
           std::vector<Real> lowers, std::shared_ptr<OvlDir> parent, std::string name);
  ~OvlInode() override;

  Result<Stat> getattr(OpContext&) override;
  Result<void> setattr(OpContext&, const SetAttr&) override;
  Result<std::string> readlink(OpContext& ctx) override { return real().inode->readlink(ctx); }
  Result<UniqueFd> connect(OpContext& ctx, int type) override { return real().inode->connect(ctx, type); }
  Result<FileRef> open(OpContext&, const Path& self, uint32_t flags) override;
  Result<std::vector<std::byte>> getxattr(OpContext&, std::string_view name) override;
  Result<void> setxattr(OpContext&, std::string_view name, ByteSpan value, int flags) override;
  Result<void> removexattr(OpContext&, std::string_view name) override;
  Result<std::vector<std::string>> listxattr(OpContext&) override;

  Overlay& overlay() const { return static_cast<Overlay&>(fs()); }
  const Real& real() const { return upper_ ? upper_ : lowers_.front(); }
  const Real& upper() const { return upper_; }
  const std::vector<Real>& lowers() const { return lowers_; }
  // Makes it, and the directories above, part of the upper tree. Of a file's data, `bytes` at most.
  Result<void> copy_up(OpContext&, uint64_t bytes = ~uint64_t{0});
  // The name it is known by is gone; below, it stays.
  void lost_name();
  bool written_unseen() const override { return real().inode->written_unseen(); }
  bool moves_unseen() const override { return real().inode->moves_unseen(); }
  Inode& holder() override { return real().inode->holder(); }
  // Somebody reads its bytes where they are now.
  void read_at_host() { read_at_host_ = true; }

 protected:
  Real upper_;
  std::vector<Real> lowers_;  // a file has one at most

 private:
  Result<void> copy_up_one(OpContext&, uint64_t bytes);
  Result<InodeRef> copy_node(OpContext&, Inode& dir, const Stat& st, uint64_t bytes, bool& linked);
  Result<void> copy_metadata(OpContext&, Inode& to, const Stat& st);

  std::shared_ptr<OvlDir> parent_;  // where copy-up puts it; null for the root
  std::string name_;
  uint32_t lost_names_ = 0;
  bool copying_ = false;
  bool read_at_host_ = false;
  WaitQueue copied_;
};

class OvlDir : public OvlInode {
 public:
  using OvlInode::OvlInode;
  Result<InodeRef> lookup(OpContext&, std::string_view name) override;
  Result<std::vector<InodeRef>> lookup_many(OpContext&,
                                            std::span<const std::string_view> names,
                                            Intent intent = Intent::kLook) override;
  Result<InodeRef> create(OpContext&, std::string_view name, uint32_t mode) override;
  Result<InodeRef> mkdir(OpContext&, std::string_view name, uint32_t mode) override;
  Result<InodeRef> mknod(OpContext&, std::string_view name, uint32_t mode, uint64_t rdev) override;
  Result<InodeRef> symlink(OpContext&, std::string_view name, std::string_view target) override;
  Result<void> link(OpContext&, std::string_view name, Inode& target) override;
  Result<InodeRef> tmpfile(OpContext&, uint32_t mode, bool linkable) override;
  Result<void> unlink(OpContext&, std::string_view name, Inode& victim) override;
  Result<void> rmdir(OpContext&, std::string_view name, Inode& victim) override;
  Result<void> rename(OpContext&, std::string_view name, Inode& victim, Inode& new_dir,
                      std::string_view new_name, Inode* target, uint32_t flags) override;
  Result<FileRef> open(OpContext&, const Path& self, uint32_t flags) override;

  struct Name {
    std::string name;
    uint64_t ino;
    uint8_t type;
  };
  // What the layers show together, without the dots.
  Result<std::vector<Name>> names(OpContext&);

 private:
  std::shared_ptr<OvlInode> wrap(OpContext&, std::string_view name, Real upper,
                                 std::vector<Real> lowers);
  // In the upper tree: removes the whiteout of a name; true if there was one.
  Result<bool> clear_whiteout(OpContext&, std::string_view name);
  Result<void> put_whiteout(OpContext&, std::string_view name);
  // Would the name show through from below if the upper tree had none?
  Result<bool> shows_below(OpContext&, std::string_view name);
  Result<void> empty_upper(OpContext&);
  Result<void> make_opaque(OpContext&);
  Result<void> may_rename(OpContext&, OvlInode& moved, OvlDir& to, OvlInode* target, bool exchange);
  template <typename Make>
  Result<InodeRef> add(OpContext&, std::string_view name, Make make);
};

bool is_whiteout(OpContext&, Inode&);
bool is_opaque(OpContext&, Inode&);

}  // namespace run9::vfs
