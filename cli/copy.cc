// cp: between the server (":path") and the host, or from the server to itself. Files, directories and symbolic links;
// anything else is left out with a warning. Below the named directories no symbolic link is followed, on neither
// side: a server that swaps a directory for a link cannot make us write elsewhere.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json/object.hpp>

#include "cli/commands.h"
#include "cli/transfer.h"

namespace run9::cli {

using namespace p9;

namespace {

bool is_remote(std::string_view path) { return path.starts_with(':'); }

std::string base_name(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return std::string(path.substr(path.rfind('/') + 1));
}

struct Counts {
  uint64_t files = 0, directories = 0, symlinks = 0, skipped = 0;
};

class Copy {
 public:
  Copy(Remote& remote, const CpOptions& o)
      : remote_(remote), o_(o), progress_(o.quiet ? Progress::Show::kNever : Progress::Show::kOnTerminal) {}

  Result<void> run() {
    for (const std::string& from : o_.from) TRY(one(from));
    progress_.clear();
    if (remote_.report().json()) {
      remote_.report().result(boost::json::object{{"bytes", progress_.bytes()}, {"files", counts_.files},
                                                  {"directories", counts_.directories},
                                                  {"symlinks", counts_.symlinks}, {"skipped", counts_.skipped}});
    }
    return ok();
  }

 private:
  template <typename T>
  Result<T> step(std::string_view what, std::string_view path, Result<T> r) {
    if (!r) progress_.clear();
    return remote_.report().step(what, path, std::move(r));
  }
  void skip(std::string_view path, std::string_view why) {
    progress_.clear();
    ++counts_.skipped;
    remote_.report().warn("left out", path, why);
  }

  Result<void> one(const std::string& from);
  // The directory that the copy goes into, and its name there.
  Result<Slot> remote_target(const std::string& from);
  struct HostSlot {
    UniqueFd dir;
    std::string name;
  };
  Result<HostSlot> host_target(const std::string& from);

  Result<void> to_host(Fid from, const std::string& path, BorrowedFd dir, const std::string& name);
  Result<void> tree_to_host(Fid from, const Attr& a, const std::string& path, BorrowedFd dir, const std::string& name);
  Result<void> file_to_host(Fid from, const Attr& a, const std::string& path, BorrowedFd dir, const std::string& name);

  Result<void> to_remote(BorrowedFd dir, const std::string& name, const std::string& path, Fid to,
                         const std::string& to_name, int flags);
  Result<void> tree_to_remote(UniqueFd from, const struct stat& st, const std::string& path, Fid to,
                              const std::string& to_name);
  Result<void> within_remote(Fid from, const std::string& path, Fid to, const std::string& to_name);

  Result<Held> make_file(Fid dir, const std::string& name, uint32_t mode);
  Result<Held> make_dir(Fid dir, const std::string& name, uint32_t mode);

  Remote& remote_;
  const CpOptions& o_;
  Progress progress_;
  Counts counts_;
};

Result<void> Copy::one(const std::string& from) {
  const bool remote_to = is_remote(o_.to);
  if (!is_remote(from)) {
    if (!remote_to) {
      return remote_.report().fail("copy", from, Errno{EINVAL}, "the server's paths start with ':' (p9 cp ADDRESS file :dir/)");
    }
    const Slot to = TRY(remote_target(from));
    return to_remote(BorrowedFd{AT_FDCWD}, from, from, to.dir.fid(), to.name, 0);
  }
  const std::string path = from.substr(1);
  const Place place = TRY(remote_.walk(path, Follow::kYes));
  if (remote_to) {
    const Slot to = TRY(remote_target(path));
    return within_remote(place.fid(), path, to.dir.fid(), to.name);
  }
  const HostSlot to = TRY(host_target(path));
  return to_host(place.fid(), path, to.dir.borrow(), to.name);
}

Result<Slot> Copy::remote_target(const std::string& from) {
  const std::string to = o_.to.substr(1);
  const std::string name = base_name(from);
  const bool root = split_path(to).empty();
  if (root || to.ends_with('/') || o_.from.size() > 1) return Slot{TRY(remote_.walk(to, Follow::kYes)), name};
  Slot slot = TRY(remote_.slot(to));
  const auto there = remote_.child(slot.dir.fid(), slot.name);
  if (!there) return slot;
  Place place = TRY(remote_.walk(to, Follow::kYes));
  if (is(place.qid, QidType::kDir)) return Slot{std::move(place), name};
  return slot;
}

Result<Copy::HostSlot> Copy::host_target(const std::string& from) {
  const std::string name = base_name(from).empty() ? "." : base_name(from);
  UniqueFd dir(open(o_.to.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (dir.valid()) return HostSlot{std::move(dir), name};
  const size_t slash = o_.to.rfind('/');
  const std::string parent = slash == o_.to.npos ? "." : o_.to.substr(0, slash + 1);
  dir = TRY(step("open the directory", parent, take_fd(open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC))));
  return HostSlot{std::move(dir), base_name(o_.to)};
}

Result<void> Copy::to_host(Fid from, const std::string& path, BorrowedFd dir, const std::string& name) {
  const Attr a = TRY(step("stat", path, remote_.attr(from)));
  switch (a.mode & S_IFMT) {
    case S_IFDIR: return tree_to_host(from, a, path, dir, name);
    case S_IFREG: return file_to_host(from, a, path, dir, name);
    case S_IFLNK: {
      const std::string target = TRY(step("read the link", path, remote_.read_link(from)));
      ++counts_.symlinks;
      if (symlinkat(target.c_str(), dir.get(), name.c_str()) == 0) return ok();
      return step("make the link", name, Result<void>(last_errno()));
    }
    default: skip(path, "it is a " + type_name(a.mode)); return ok();
  }
}

Result<void> Copy::tree_to_host(Fid from, const Attr& a, const std::string& path, BorrowedFd dir,
                                const std::string& name) {
  if (!o_.recursive) return step("copy", path, Result<void>(Errno{EISDIR}));
  if (name != "." && mkdirat(dir.get(), name.c_str(), 0700) < 0 && errno != EEXIST) {
    return step("make the directory", name, Result<void>(last_errno()));
  }
  const UniqueFd made = TRY(step("open the directory", name,
                                 take_fd(openat(dir.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC))));
  ++counts_.directories;
  for (const Entry& e : TRY(step("list", path, remote_.entries(from, WithAttr::kNo)))) {
    const std::string below = path + "/" + e.name;
    const Held child = TRY(step("walk to", below, remote_.child(from, e.name)));
    TRY(to_host(child.fid(), below, made.borrow(), e.name));
  }
  // Last: it may forbid us to write.
  if (name != ".") static_cast<void>(fchmod(made.get(), a.mode & 0777));
  return ok();
}

Result<void> Copy::file_to_host(Fid from, const Attr& a, const std::string& path, BorrowedFd dir,
                                const std::string& name) {
  const Held open = TRY(step("open", path, remote_.open(from, kORdonly)));
  const UniqueFd out = TRY(step("make", name,
      take_fd(openat(dir.get(), name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, a.mode & 0777))));
  progress_.begin(path, a.size);
  TRY(step("copy", path, read_file(remote_.client(), open.fid(), 0, kToEnd, [&](ByteSpan b) -> Result<void> {
    TRY(step("write to", name, write_host(out.borrow(), b)));
    progress_.add(b.size());
    return ok();
  })));
  ++counts_.files;
  return ok();
}

// An open file of this name, empty.
Result<Held> Copy::make_file(Fid dir, const std::string& name, uint32_t mode) {
  if (const auto there = remote_.child(dir, name)) return remote_.open(there.assume_value().fid(), kOWronly | kOTrunc);
  Held file = TRY(remote_.clone(dir));
  TRY(remote_.client().call(Tlcreate{.fid = file.fid(), .name = name, .flags = kOWronly | kOCreat | kOExcl,
                                     .mode = mode & 0777, .gid = getegid()}));
  return file;
}

Result<Held> Copy::make_dir(Fid dir, const std::string& name, uint32_t mode) {
  const auto made = remote_.client().call(Tmkdir{.dfid = dir, .name = name, .mode = mode & 0777, .gid = getegid()});
  if (!made && made.assume_error() != Errno{EEXIST}) return made.assume_error();
  return remote_.child(dir, name);
}

// The named path's own link is followed (flags 0), those below are not.
Result<void> Copy::to_remote(BorrowedFd dir, const std::string& name, const std::string& path, Fid to,
                             const std::string& to_name, int flags) {
  struct stat st;
  if (fstatat(dir.get(), name.c_str(), &st, flags) < 0) return step("stat", path, Result<void>(last_errno()));
  if (S_ISLNK(st.st_mode)) {
    std::string target(4096, '\0');
    const ssize_t n = readlinkat(dir.get(), name.c_str(), target.data(), target.size());
    if (n < 0) return step("read the link", path, Result<void>(last_errno()));
    target.resize(static_cast<size_t>(n));
    TRY(step("make the link", to_name,
             remote_.client().call(Tsymlink{.dfid = to, .name = to_name, .target = target, .gid = getegid()})));
    ++counts_.symlinks;
    return ok();
  }
  if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) return skip(path, "it is a " + type_name(st.st_mode)), ok();
  const int nofollow = flags == 0 ? 0 : O_NOFOLLOW;
  UniqueFd from = TRY(step("open", path,
                           take_fd(openat(dir.get(), name.c_str(), O_RDONLY | O_NONBLOCK | nofollow | O_CLOEXEC))));
  if (S_ISDIR(st.st_mode)) return tree_to_remote(std::move(from), st, path, to, to_name);
  Held file = TRY(step("make", to_name, make_file(to, to_name, st.st_mode)));
  progress_.begin(path, static_cast<uint64_t>(st.st_size));
  FileWriter writer(remote_.client(), file.fid(), 0);
  TRY(step("read", path, read_host(from.borrow(), [&](ByteSpan b) -> Result<void> {
    TRY(step("write to", to_name, writer.write(b)));
    progress_.add(b.size());
    return ok();
  })));
  TRY(step("write to", to_name, writer.finish()));
  TRY(step("close", to_name, file.close()));
  ++counts_.files;
  return ok();
}

Result<void> Copy::tree_to_remote(UniqueFd from, const struct stat& st, const std::string& path, Fid to,
                                  const std::string& to_name) {
  if (!o_.recursive) return step("copy", path, Result<void>(Errno{EISDIR}));
  const Held made = TRY(step("make the directory", to_name, make_dir(to, to_name, st.st_mode | 0700)));
  ++counts_.directories;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(fdopendir(from.get()), closedir);
  if (dir == nullptr) return step("list", path, Result<void>(last_errno()));
  const BorrowedFd fd(from.release());  // the stream's now
  while (const dirent* e = readdir(dir.get())) {
    const std::string name = e->d_name;
    if (name == "." || name == "..") continue;
    TRY(to_remote(fd, name, path + "/" + name, made.fid(), name, AT_SYMLINK_NOFOLLOW));
  }
  return ok();
}

Result<void> Copy::within_remote(Fid from, const std::string& path, Fid to, const std::string& to_name) {
  const Attr a = TRY(step("stat", path, remote_.attr(from)));
  if (S_ISLNK(a.mode)) {
    const std::string target = TRY(step("read the link", path, remote_.read_link(from)));
    TRY(step("make the link", to_name,
             remote_.client().call(Tsymlink{.dfid = to, .name = to_name, .target = target, .gid = getegid()})));
    ++counts_.symlinks;
    return ok();
  }
  if (S_ISDIR(a.mode)) {
    if (!o_.recursive) return step("copy", path, Result<void>(Errno{EISDIR}));
    // Listed before the copy is made: a copy into itself ends.
    const auto entries = TRY(step("list", path, remote_.entries(from, WithAttr::kNo)));
    const Held made = TRY(step("make the directory", to_name, make_dir(to, to_name, a.mode | 0700)));
    ++counts_.directories;
    for (const Entry& e : entries) {
      const Held child = TRY(step("walk to", path + "/" + e.name, remote_.child(from, e.name)));
      TRY(within_remote(child.fid(), path + "/" + e.name, made.fid(), e.name));
    }
    return ok();
  }
  if (!S_ISREG(a.mode)) return skip(path, "it is a " + type_name(a.mode)), ok();
  const Held open = TRY(step("open", path, remote_.open(from, kORdonly)));
  if (const auto there = remote_.child(to, to_name)) {
    const Attr old = TRY(step("stat", to_name, remote_.attr(there.assume_value().fid())));
    if (old.qid.path == a.qid.path) {
      return remote_.report().fail("copy", path, Errno{EINVAL}, "source and target are the same file");
    }
  }
  Held file = TRY(step("make", to_name, make_file(to, to_name, a.mode)));
  progress_.begin(path, a.size);
  FileWriter writer(remote_.client(), file.fid(), 0);
  TRY(step("copy", path, read_file(remote_.client(), open.fid(), 0, kToEnd, [&](ByteSpan b) -> Result<void> {
    TRY(writer.write(b));
    progress_.add(b.size());
    return ok();
  })));
  TRY(step("write to", to_name, writer.finish()));
  TRY(step("close", to_name, file.close()));
  ++counts_.files;
  return ok();
}

}  // namespace

Result<void> cmd_cp(Remote& remote, const CpOptions& options) { return Copy(remote, options).run(); }

}  // namespace run9::cli
