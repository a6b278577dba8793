// What tests of file systems share: a context with a manual clock, and a namespace with short names for
// the calls of path_walk.h.
#pragma once
#include <gmock/gmock.h>

#include <functional>
#include <set>
#include <string>

#include "vfs/path_walk.h"
#include "vfs/permission.h"

namespace run9::vfs::testing {

class TestContext : public OpContext {
 public:
  const Credentials& creds() const override { return creds_; }
  Timespec now() const override { return now_; }
  int32_t tgid() const override { return tgid_; }
  uint64_t file_size_limit() const override { return file_size_limit_; }
  // Nothing else runs in a test: `on_wait` plays the others; without it a wait is interrupted.
  Result<void> wait(WaitQueue&, uint32_t, std::optional<uint64_t>) override {
    if (!on_wait) return kErestartsys;
    std::exchange(on_wait, nullptr)();
    return ok();
  }
  void copied_up() override { ++copied_up_; }

  void become_root() {
    creds_ = {};
    creds_.cap_permitted = creds_.cap_effective = kAllCaps;
  }
  void become(uint32_t uid, uint32_t gid) {
    creds_ = {};
    creds_.ruid = creds_.euid = creds_.suid = creds_.fsuid = uid;
    creds_.rgid = creds_.egid = creds_.sgid = creds_.fsgid = gid;
  }
  void tick(int64_t seconds = 1) { now_.sec += seconds; }

  Credentials creds_;
  Timespec now_{1000, 0};
  int32_t tgid_ = 1;
  uint64_t file_size_limit_ = ~uint64_t{0};
  std::function<void()> on_wait;
  int copied_up_ = 0;
};

// A namespace over one file system, its caller, and every call by path relative to the root.
class Tree {
 public:
  explicit Tree(FileSystemRef fs, uint32_t flags = 0) : ns(std::move(fs), flags, "none") {
    ctx.become_root();
    fc.root = fc.cwd = ns.root();
    fc.umask = 0;
  }

  Result<Path> at(std::string_view p, uint32_t flags = kFollow) {
    return ns.walk(ctx, fc, fc.cwd, p, flags);
  }
  Result<FileRef> open(std::string_view p, uint32_t flags, uint32_t mode = 0644) {
    return ns.open(ctx, fc, fc.cwd, p, OpenHow{.flags = flags, .mode = mode});
  }
  Result<void> mkdir(std::string_view p, uint32_t mode = 0755) {
    return ns.mkdir(ctx, fc, fc.cwd, p, mode);
  }
  Result<void> symlink(std::string_view target, std::string_view p) {
    return ns.symlink(ctx, fc, fc.cwd, p, target);
  }
  Result<void> link(std::string_view from, std::string_view to) {
    return ns.link(ctx, fc, TRY(at(from, 0)), fc.cwd, to);
  }
  Result<void> mknod(std::string_view p, uint32_t mode, uint64_t rdev = 0) {
    TRY(ns.mknod(ctx, fc, fc.cwd, p, mode, rdev));
    return ok();
  }
  Result<void> unlink(std::string_view p) { return ns.unlink(ctx, fc, fc.cwd, p); }
  Result<void> rmdir(std::string_view p) { return ns.rmdir(ctx, fc, fc.cwd, p); }
  Result<void> rename(std::string_view a, std::string_view b, uint32_t flags = 0) {
    return ns.rename(ctx, fc, fc.cwd, a, fc.cwd, b, flags);
  }
  Result<Stat> stat(std::string_view p) { return ns.stat(ctx, TRY(at(p))); }
  Result<Stat> lstat(std::string_view p) { return ns.stat(ctx, TRY(at(p, 0))); }
  Result<void> chmod(std::string_view p, uint32_t mode) {
    return ns.setattr(ctx, TRY(at(p)), {.valid = kSetMode, .mode = mode});
  }
  Result<void> chown(std::string_view p, uint32_t uid, uint32_t gid) {
    return ns.setattr(ctx, TRY(at(p)), {.valid = kSetUid | kSetGid, .uid = uid, .gid = gid});
  }
  Result<void> truncate(std::string_view p, uint64_t size) {
    return ns.setattr(ctx, TRY(at(p)), {.valid = kSetSize, .size = size});
  }
  Result<std::string> readlink(std::string_view p) { return ns.readlink(ctx, TRY(at(p, 0))); }

  // Makes or replaces a file.
  Result<void> put(std::string_view p, std::string_view text, uint32_t mode = 0644) {
    auto f = TRY(open(p, O_CREAT | O_WRONLY | O_TRUNC, mode));
    if (TRY(f->write(ctx, as_bytes(text))) != text.size()) return Errno{EIO};
    return ok();
  }
  Result<std::string> get(std::string_view p) { return slurp(*TRY(open(p, O_RDONLY))); }
  Result<std::string> slurp(File& f) {
    std::string out(TRY(f.getattr(ctx)).size, '\0');
    const size_t n = TRY(f.pread(ctx, std::as_writable_bytes(std::span(out)), 0));
    out.resize(n);
    return out;
  }
  // Names of a directory without the dots; each must come once.
  Result<std::set<std::string>> list(std::string_view p) {
    return list(*TRY(open(p, O_RDONLY | O_DIRECTORY)));
  }
  Result<std::set<std::string>> list(File& dir, size_t at_a_time = 3) {
    struct Sink : DirSink {
      bool add(const DirEntry& e) override {
        if (room == 0) return false;
        --room;
        if (e.name == "." || e.name == "..") return true;
        if (!names.emplace(e.name).second) twice = true;
        return true;
      }
      size_t room = 0;
      std::set<std::string> names;
      bool twice = false;
    } sink;
    do {
      sink.room = at_a_time;
      TRY(dir.readdir(ctx, sink));
    } while (sink.room != at_a_time);
    if (sink.twice) return Errno{EEXIST};
    return sink.names;
  }

  TestContext ctx;
  MountNamespace ns;
  FsContext fc;
};

// EXPECT_THAT(result, Fails(ENOENT)), EXPECT_THAT(result, Works()).
MATCHER(Works, "") {
  if (arg.has_value()) return true;
  *result_listener << describe(arg.error());
  return false;
}
MATCHER_P(Fails, code, "") {
  if (arg.has_value()) {
    *result_listener << "worked";
    return false;
  }
  *result_listener << describe(arg.error());
  return arg.error() == Errno{code};
}
MATCHER_P(Gives, value, "") {
  if (!arg.has_value()) {
    *result_listener << describe(arg.error());
    return false;
  }
  return ::testing::ExplainMatchResult(value, arg.assume_value(), result_listener);
}

}  // namespace run9::vfs::testing
