#include "sentry/boot_mounts.h"

#include <fcntl.h>
#include <sys/mount.h>

#include <algorithm>

#include "base/log.h"
#include "p9/client.h"
#include "sentry/boot_copy_up.h"
#include "sentry/fs/fs_types.h"
#include "sentry/fs/gofer_channel.h"
#include "sentry/fs/special.h"
#include "vfs/gofer/gofer_fs.h"
#include "vfs/overlay/overlay.h"
#include "vfs/tmpfs/tmpfs.h"

namespace run9::sentry {
namespace {

// What a file that is exported is called in its export's directory (gofer/jail.cc).
constexpr std::string_view kGoferFileName = "file";

// Descriptors that a tree keeps of files which nobody has open: a part of what the host gives us, for it also has to do for
// those that somebody has.
size_t kept_files(size_t host_files) { return std::clamp<size_t>(host_files / 8, 64, 32768); }

// Fids of all trees together: the gofer has as many descriptors as we have, and needs some for what it is doing; and a tree has p9's
// max_fids at most.
size_t most_fids(size_t host_files) { return std::min<size_t>(host_files / 4 * 3, 49152); }
constexpr size_t kNamesAtOnce = 256;

// What is known of trees takes memory that nobody can take back: a share of what the sandbox may use. A known name takes
// 1.5 KiB, one in a listing 80 bytes.
size_t most_names(uint64_t memory) { return std::clamp<uint64_t>(memory >> 16, 8192, 131072); }
size_t most_listed_names(uint64_t memory) { return std::clamp<uint64_t>(memory >> 12, 65536, 1 << 20); }

// Calls a function when a descriptor is readable, as long as it lives.
class OnReadable final : private FdHandler {
 public:
  static std::shared_ptr<OnReadable> create(EventLoop& loop, BorrowedFd fd, std::function<void()> call) {
    std::shared_ptr<OnReadable> r(new OnReadable(loop, fd, std::move(call)));
    const auto watching = loop.watch(fd, EPOLLIN, *r);
    if (!watching) log_warn("inotify: {}", describe(watching.error()));
    return r;
  }
  ~OnReadable() override { loop_.unwatch(fd_); }

 private:
  OnReadable(EventLoop& loop, BorrowedFd fd, std::function<void()> call) : loop_(loop), fd_(fd), call_(std::move(call)) {}
  void on_ready(uint32_t) override { call_(); }

  EventLoop& loop_;
  const BorrowedFd fd_;
  const std::function<void()> call_;
};

// What the trees of the gofer share.
struct Shares {
  size_t host_files;
  size_t listed_names;
  std::shared_ptr<vfs::gofer::FidBudget> fids;
};

Result<vfs::FileSystemRef> connect_gofer(Kernel& kernel, MountSpec& m, const Shares& shares) {
  auto channel = TRY(GoferChannel::create(kernel.loop(), std::move(m.gofer)));
  vfs::gofer::GoferOptions options;
  options.aname = m.aname;
  options.caching = m.exclusive || m.overlay ? vfs::Caching::kAuthoritative : vfs::Caching::kRevalidate;
  options.read_only = (m.flags & vfs::kMntReadOnly) != 0 && !m.overlay;
  options.source = m.source;
  options.max_host_files = kept_files(shares.host_files);
  options.max_listed_names = shares.listed_names;
  options.fids = shares.fids;
  options.on_readable = [&loop = kernel.loop()](BorrowedFd fd, std::function<void()> call) {
    return std::shared_ptr<void>(OnReadable::create(loop, fd, std::move(call)));
  };
  options.channel = channel;
  return vfs::gofer::GoferFs::create(kernel.context(), std::make_unique<p9::Client>(*channel), options);
}

Result<vfs::FileSystemRef> make_fs(Kernel& kernel, MountSpec& m, const Shares& shares) {
  vfs::FileSystemRef fs;
  if (m.type == "gofer") {
    fs = TRY(connect_gofer(kernel, m, shares));
  } else {
    fs = TRY(make_file_system(kernel, kernel.context(), m.type, m.source, m.data));
  }
  if (fs->dev() == 0) fs->set_dev(kernel.next_dev());
  if (!m.overlay) return fs;
  vfs::TmpfsOptions upper;
  upper.mode = 0755;
  // What statfs(2) shows as room: installers refuse a root that has none.
  upper.size = memory_size(kernel);
  auto upper_fs = vfs::make_tmpfs(upper, kernel.context().now());
  upper_fs->set_dev(kernel.next_dev());
  auto overlay = TRY(vfs::make_overlay({upper_fs, upper_fs->root()}, {{fs, fs->root()}}));
  if (overlay->dev() == 0) overlay->set_dev(kernel.next_dev());
  return overlay;
}

// The mount point, made where it is missing (as runc does).
Result<vfs::Path> mount_point(Kernel& kernel, const std::string& path, bool file) {
  auto& ns = kernel.mounts();
  auto& ctx = kernel.context();
  vfs::FsContext fs{ns.root(), ns.root(), 0};
  auto found = ns.walk(ctx, fs, fs.root, path, vfs::kFollow);
  if (found.has_value() || found.error() != Errno{ENOENT}) return found;
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    const bool last = slash == path.npos;
    if (last && file) {
      TRY(ns.mknod(ctx, fs, fs.root, part, S_IFREG | 0644, 0));
    } else {
      const auto made = ns.mkdir(ctx, fs, fs.root, part, 0755);
      if (!made.has_value() && made.error() != Errno{EEXIST}) return made.error();
    }
    if (last) break;
  }
  return ns.walk(ctx, fs, fs.root, path, vfs::kFollow);
}

// The gofer serves directories; one with a file in it stands for the file (kFileName). It is mounted for a
// moment over the directory of the file's place, which is the one that surely exists.
Result<void> mount_file(Kernel& kernel, vfs::FileSystemRef fs, const vfs::Path& where, const MountSpec& m) {
  auto& ns = kernel.mounts();
  auto& ctx = kernel.context();
  const vfs::FsContext at_root{ns.root(), ns.root(), 0};
  const std::string parent = m.destination.substr(0, std::max<size_t>(m.destination.rfind('/'), 1));
  const vfs::Path over = TRY(ns.walk(ctx, at_root, at_root.root, parent, vfs::kFollow));
  const vfs::MountRef carrier = TRY(ns.mount(ctx, std::move(fs), over, m.flags, m.source));
  const vfs::Path top{carrier, carrier->root};
  const vfs::FsContext in_carrier{top, top, 0};
  const auto file = ns.walk(ctx, in_carrier, top, kGoferFileName, 0);
  Result<void> done = ok();
  if (file.has_value()) {
    const auto bound = ns.bind(ctx, file.value(), where, false, m.flags);
    if (!bound.has_value()) done = bound.error();
  } else {
    done = file.error();
  }
  TRY(ns.umount(ctx, top, MNT_DETACH));
  return done;
}

}  // namespace

Result<void> make_mounts(Kernel& kernel, std::vector<MountSpec>& mounts, size_t host_files, std::string& error) {
  if (mounts.empty() || mounts.front().destination != "/") {
    error = "the first mount must be /";
    return Errno{EINVAL};
  }
  // The first tree has no names to forget before it is mounted.
  auto forget_some = [&kernel] {
    if (kernel.has_mounts()) kernel.mounts().forget_names(kNamesAtOnce);
  };
  const uint64_t memory = kernel.options().limits.memory;
  const Shares shares{host_files, most_listed_names(memory), std::make_shared<vfs::gofer::FidBudget>(most_fids(host_files), forget_some)};
  for (MountSpec& m : mounts) {
    auto fs = make_fs(kernel, m, shares);
    if (!fs.has_value() && fs.error() == Errno{ENODEV}) {
      log_warn("mount {}: no file system {}", m.destination, m.type);
      continue;
    }
    if (!fs.has_value()) {
      error = fmt::format("mount {} ({}): {}", m.destination, m.type, describe(fs.error()));
      return fs.error();
    }
    kernel.boot_log(fmt::format("mounted {} on {}", m.overlay ? "overlay of " + m.type : m.type, m.destination));
    const uint32_t flags = m.overlay ? m.flags & ~vfs::kMntReadOnly : m.flags;
    if (m.destination == "/") {
      auto ns = std::make_unique<vfs::MountNamespace>(std::move(fs).value(), flags, m.source);
      ns->set_special_opener(&kernel.special());
      ns->set_cache_limit(most_names(memory));
      kernel.set_mounts(std::move(ns));
      continue;
    }
    auto where = mount_point(kernel, m.destination, m.is_file);
    if (!where.has_value()) {
      error = fmt::format("mount {}: the mount point: {}{}", m.destination, describe(where.error()),
                          where.error() == Errno{EROFS} ? "; make it in the root file system, or say --overlay=tmpfs" : "");
      return where.error();
    }
    Result<void> done = ok();
    if (m.copy_up) done = copy_up(kernel, where.value(), *fs.value(),
                                  m.data.find("mode=") == m.data.npos ? RootMode::kCopied : RootMode::kOwn);
    if (!done.has_value()) {
      error = fmt::format("mount {}: tmpcopyup: {}", m.destination, describe(done.error()));
      return done.error();
    }
    if (m.is_file) {
      done = mount_file(kernel, std::move(fs).value(), where.value(), m);
    } else if (auto mounted =
                   kernel.mounts().mount(kernel.context(), std::move(fs).value(), where.value(), flags, m.source);
               !mounted.has_value()) {
      done = mounted.error();
    }
    if (!done.has_value()) {
      error = fmt::format("mount {}: {}", m.destination, describe(done.error()));
      return done.error();
    }
  }
  return ok();
}

Result<void> hide_paths(Kernel& kernel, const std::vector<std::string>& masked,
                        const std::vector<std::string>& read_only, std::string& error) {
  auto& ns = kernel.mounts();
  auto& ctx = kernel.context();
  const vfs::FsContext fs{ns.root(), ns.root(), 0};
  const auto done = [&](const std::string& path, const auto& result) {
    if (!result.has_value()) error = fmt::format("{}: {}", path, describe(result.error()));
    return result.has_value();
  };
  for (const auto& path : read_only) {
    const auto where = ns.walk(ctx, fs, fs.root, path, vfs::kFollow);
    if (!where.has_value()) continue;
    const auto bound = ns.bind(ctx, where.value(), where.value(), true, where.value().mount->flags | vfs::kMntReadOnly);
    if (!done(path, bound)) return bound.error();
  }
  for (const auto& path : masked) {
    const auto where = ns.walk(ctx, fs, fs.root, path, vfs::kFollow);
    if (!where.has_value()) continue;
    if (where.value().inode()->is_dir()) {
      auto empty = make_file_system(kernel, ctx, "tmpfs", "tmpfs", "mode=555");
      if (!empty.has_value()) return empty.error();
      const auto mounted = ns.mount(ctx, std::move(empty).value(), where.value(), vfs::kMntReadOnly, "tmpfs");
      if (!done(path, mounted)) return mounted.error();
      continue;
    }
    const auto null = ns.walk(ctx, fs, fs.root, "/dev/null", vfs::kFollow);
    if (!null.has_value()) continue;
    const auto bound = ns.bind(ctx, null.value(), where.value(), false, 0);
    if (!done(path, bound)) return bound.error();
  }
  return ok();
}

}  // namespace run9::sentry
