#include "gofer/jail.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "gofer/landlock.h"

namespace run9::gofer {
namespace {

Result<UniqueFd> open_dir(const char* path) {
  return take_fd(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
}

// Says which step failed: set-up errors are for the person who reads the log.
template <typename T>
Result<T> step(const char* what, std::string_view subject, Result<T> r) {
  if (!r) log_error("{} {}: {}", what, quoted(subject), describe(r.assume_error()));
  return r;
}

Result<void> write_file(const char* path, const std::string& text) {
  const UniqueFd fd = TRY(take_fd(open(path, O_WRONLY | O_CLOEXEC)));
  if (write(fd.get(), text.data(), text.size()) < 0) return last_errno();
  return ok();
}

// The caller keeps its number: the guest, who has it too, sees its files as its own.
Result<void> make_user_namespace() {
  const auto uid = geteuid();
  const auto gid = getegid();
  TRY(check_call(unshare(CLONE_NEWUSER)));
  TRY(write_file("/proc/self/setgroups", "deny"));
  TRY(write_file("/proc/self/uid_map", fmt::format("{0} {0} 1", uid)));
  return write_file("/proc/self/gid_map", fmt::format("{0} {0} 1", gid));
}

Result<void> make_namespaces() {
  if (!has_capability(kCapSysAdmin)) {
    TRY(step("user namespace", "", make_user_namespace()));
  }
  TRY(step("mount namespace", "", check_call(unshare(CLONE_NEWNS))));
  // The wall is the mount namespace, no capabilities and seccomp; these are a second one.
  for (const int flag : {CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP}) {
    if (unshare(flag) < 0) log_info("unshare({:#x}): {}", flag, describe(last_errno()));
  }
  return step("private mounts", "/",
              check_call(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr)));
}

// A detached copy of the directory's mount and, as a user namespace demands, of those below.
Result<UniqueFd> clone_tree(const ExportSpec& spec) {
  UniqueFd tree(spec.tree_fd);
  if (!tree.valid()) {
    tree = TRY(take_fd(open_tree(AT_FDCWD, spec.dir.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE)));
  }
  mount_attr attr{};
  attr.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  if (spec.read_only) attr.attr_set |= MOUNT_ATTR_RDONLY;
  attr.propagation = MS_PRIVATE;
  TRY(check_call(mount_setattr(tree.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr)));
  return tree;
}

Result<UniqueFd> make_tmpfs() {
  const UniqueFd fs = TRY(take_fd(fsopen("tmpfs", FSOPEN_CLOEXEC)));
  TRY(check_call(fsconfig(fs.get(), FSCONFIG_SET_STRING, "mode", "0755", 0)));
  TRY(check_call(fsconfig(fs.get(), FSCONFIG_SET_STRING, "nr_inodes", "4096", 0)));
  TRY(check_call(fsconfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0)));
  return take_fd(fsmount(fs.get(), FSMOUNT_CLOEXEC,
                         MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
}

Result<void> move_to_path(BorrowedFd tree, const char* path) {
  return check_call(move_mount(tree.get(), "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH));
}

// The new root covers some directory for a moment: the first that will have it.
Result<void> attach_root(BorrowedFd tmpfs, const std::string& dir) {
  Result<void> r = Errno{ENOENT};
  for (const char* at : {dir.c_str(), "/tmp", "/etc", "/usr"}) {
    if (std::string_view(at) == "/") continue;
    r = move_to_path(tmpfs, at);
    if (r) break;
  }
  return r;
}

Result<void> pivot(BorrowedFd new_root) {
  TRY(check_call(fchdir(new_root.get())));
  TRY(check_call(static_cast<int>(syscall(SYS_pivot_root, ".", "."))));
  // Now the old root lies on top of the new one.
  TRY(check_call(umount2(".", MNT_DETACH)));
  return check_call(chdir("/"));
}

std::string mount_point(size_t i) { return fmt::format("/export{}", i); }

// An export that is a file becomes a directory with nothing but the file in it, under this name: the
// protocol's root has to be a directory, and the file's neighbours are nobody's business.
constexpr char kFileName[] = "/file";

Result<void> attach_exports(const std::vector<UniqueFd>& trees) {
  for (size_t i = 0; i < trees.size(); ++i) {
    std::string at = mount_point(i);
    TRY(check_call(mkdir(at.c_str(), 0755)));
    if (!S_ISDIR(TRY(stat_fd(trees[i].borrow(), 0)).attr.mode)) {
      at += kFileName;
      TRY(take_fd(open(at.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0)));
    }
    TRY(move_to_path(trees[i].borrow(), at.c_str()));
  }
  TRY(check_call(mkdir("/empty", 0755)));
  // Covers hidden files. mknod would need a capability that a user namespace may lack.
  return take_fd(open("/blank", O_CREAT | O_WRONLY | O_CLOEXEC, 0)) ? Result<void>(ok())
                                                                   : last_errno();
}

// `path` relative to the export's directory; nothing if it is not below.
std::optional<std::string_view> below(std::string_view path, std::string_view dir) {
  while (dir.ends_with('/')) dir.remove_suffix(1);
  if (!path.starts_with(dir)) return std::nullopt;
  path.remove_prefix(dir.size());
  if (!path.starts_with('/')) return std::nullopt;
  const size_t name = path.find_first_not_of('/');
  return name == path.npos ? std::nullopt : std::optional(path.substr(name));
}

enum class Which { kAny, kPseudo };

// Mounts nothing over it, so that the gofer itself cannot reach it either. What is not there needs
// no cover.
void cover(BorrowedFd root, std::string_view relative, Which which = Which::kAny) {
  open_how how{};
  how.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
  const UniqueFd at(static_cast<int>(
      syscall(SYS_openat2, root.get(), std::string(relative).c_str(), &how, sizeof how)));
  if (!at.valid()) return;
  const auto st = stat_fd(at.borrow(), 0);
  if (!st || S_ISLNK(st.assume_value().attr.mode)) return;
  if (which == Which::kPseudo && !is_pseudo(at.borrow())) return;
  std::string with = "/blank";
  if (S_ISDIR(st.assume_value().attr.mode)) {
    // One each: clients tell directories apart by their inode numbers.
    with = fmt::format("/empty/{}-{}", st.assume_value().id.dev, st.assume_value().id.ino);
    if (mkdir(with.c_str(), 0555) < 0 && errno != EEXIST) with = "/empty";
  }
  const UniqueFd tree(open_tree(AT_FDCWD, with.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!tree.valid() || move_mount(tree.get(), "", at.get(), "",
                                  MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) {
    // The server's own check still hides it.
    log_warn("cannot cover {}: {}", quoted(relative), describe(last_errno()));
  }
}

enum class Cover { kNo, kYes };

Result<void> hide_names(Export& exp, const JailOptions& options, Cover cover_too) {
  if (exp.spec.cross_mounts && cover_too == Cover::kYes) {
    // The server shows them as empty anyway, wherever they are; a gofer that has been taken over
    // shall not find /proc/sys in the usual place.
    for (const char* name : {"proc", "sys"}) cover(exp.root.borrow(), name, Which::kPseudo);
  }
  for (const std::string& path : options.hide) {
    const auto relative = below(path, exp.spec.dir);
    if (!relative) continue;
    const auto added = exp.hidden.add(exp.root.borrow(), *relative);
    if (!added && added.assume_error() != Errno{ENOENT}) {
      return step("hide", path, Result<void>(added.assume_error()));
    }
    if (cover_too == Cover::kYes) cover(exp.root.borrow(), *relative);
  }
  for (const std::string& path : options.empty) {
    const auto relative = below(path, exp.spec.dir);
    if (!relative) continue;
    TRY(step("empty", path, exp.sealed.add(exp.root.borrow(), *relative)));
    if (cover_too == Cover::kYes) cover(exp.root.borrow(), *relative);
  }
  return ok();
}

Result<void> seal_root() {
  mount_attr attr{};
  attr.attr_set = MOUNT_ATTR_RDONLY;
  return check_call(mount_setattr(AT_FDCWD, "/", 0, &attr, sizeof attr));
}

}  // namespace

Result<Exports> enter_jail(const JailOptions& options) {
  if (options.ids == Ids::kChanging) {
    for (const int cap : {kCapSetgid, kCapSetuid, kCapSysAdmin}) {
      if (has_capability(cap)) continue;
      log_error("--multi-user: who acts for many users must be started by root (capability {} is missing)", cap);
      return Errno{EPERM};
    }
  }
  TRY(make_namespaces());
  std::vector<UniqueFd> trees;
  for (const ExportSpec& spec : options.exports) {
    trees.push_back(TRY(step("export", spec.dir, clone_tree(spec))));
  }
  {
    const UniqueFd tmpfs = TRY(step("new root", "", make_tmpfs()));
    TRY(step("attach root", "", attach_root(tmpfs.borrow(), options.exports[0].dir)));
    TRY(step("pivot_root", "", pivot(tmpfs.borrow())));
  }
  TRY(step("attach exports", "", attach_exports(trees)));
  Exports exports;
  for (size_t i = 0; i < trees.size(); ++i) {
    UniqueFd root = TRY(open_dir(mount_point(i).c_str()));
    exports.push_back(TRY(step("export", options.exports[i].dir,
                               make_export(options.exports[i], std::move(root)))));
    TRY(hide_names(*exports.back(), options, Cover::kYes));
  }
  TRY(step("read-only root", "", seal_root()));
  return exports;
}

Result<Exports> open_exports(const JailOptions& options) {
  Exports exports;
  for (const ExportSpec& spec : options.exports) {
    UniqueFd root = TRY(step("export", spec.dir, open_dir(spec.dir.c_str())));
    exports.push_back(TRY(step("export", spec.dir, make_export(spec, std::move(root)))));
    TRY(hide_names(*exports.back(), options, Cover::kNo));
  }
  return exports;
}

Result<void> drop_privileges(const std::vector<int>& keep, const Exports& exports, Ids ids) {
  std::vector<int> open = keep;
  for (const auto& e : exports) open.push_back(e->root.get());
  TRY(step("close_range", "", close_others(std::move(open))));
  TRY(step("limits", "", set_limits()));
  TRY(step("capabilities", "", drop_capabilities(ids)));
  const auto fenced = fence_exports(exports);
  if (!fenced && fenced.assume_error() != Errno{ENOSYS} && fenced.assume_error() != Errno{EOPNOTSUPP}) {
    return step("landlock", "", fenced);
  }
  return ok();
}

}  // namespace run9::gofer
