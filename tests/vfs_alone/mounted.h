// vfs and vfs/gofer without a Sentry: what another kernel, a FUSE server or a library operating system would do to have
// a gofer's tree. Everything a kernel brings is here: whom it acts for, the time, and that nobody waits.
#pragma once
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "p9/transport/blocking_channel.h"
#include "vfs/file.h"
#include "vfs/gofer/gofer_fs.h"
#include "vfs/path_walk.h"

namespace run9::tests {

class Caller final : public vfs::OpContext {
 public:
  Caller() {
    creds_.ruid = creds_.euid = creds_.suid = creds_.fsuid = geteuid();
    creds_.rgid = creds_.egid = creds_.sgid = creds_.fsgid = getegid();
    creds_.cap_permitted = creds_.cap_effective = creds_.cap_bounding = vfs::kAllCaps;
  }
  const vfs::Credentials& creds() const override { return creds_; }
  vfs::Timespec now() const override {
    timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return {t.tv_sec, static_cast<uint32_t>(t.tv_nsec)};
  }
  int32_t tgid() const override { return getpid(); }
  uint64_t moment() const override { return moment_; }
  void next_call() { ++moment_; }
  Result<void> wait(WaitQueue&, uint32_t, std::optional<uint64_t>) override { return Errno{EAGAIN}; }

 private:
  vfs::Credentials creds_;
  uint64_t moment_ = 1;
};

// One gofer's tree as the root of a mount namespace. Single-threaded.
class Mounted {
 public:
  static Result<std::unique_ptr<Mounted>> create(UniqueFd socket, const std::string& aname, vfs::Caching caching,
                                                 p9::ClientOptions options = {}) {
    std::unique_ptr<Mounted> m(new Mounted);
    m->channel_ = std::make_shared<p9::BlockingChannel>(std::move(socket));
    const vfs::FileSystemRef fs = TRY(vfs::gofer::GoferFs::create(
        m->caller_, std::make_unique<p9::Client>(*m->channel_, options),
        {.aname = aname, .caching = caching, .source = "gofer", .channel = m->channel_}));
    m->names_ = std::make_unique<vfs::MountNamespace>(fs, 0, "gofer");
    m->place_.root = m->place_.cwd = m->names_->root();
    return m;
  }

  Result<vfs::FileRef> open(std::string_view path, uint32_t flags, uint32_t mode = 0600) {
    return names_->open(caller(), place_, place_.root, path, {.flags = flags, .mode = mode});
  }
  Result<vfs::Path> walk(std::string_view path, uint32_t flags = 0) {
    return names_->walk(caller(), place_, place_.root, path, flags);
  }
  Result<vfs::Stat> stat(std::string_view path) { return names_->stat(caller_, TRY(walk(path, vfs::kStatOnly))); }
  Result<void> list(std::string_view path, vfs::DirSink& sink) {
    return TRY(open(path, O_RDONLY | O_DIRECTORY))->readdir(caller_, sink);
  }
  // For one call.
  vfs::OpContext& caller() {
    caller_.next_call();
    return caller_;
  }
  vfs::MountNamespace& names() { return *names_; }
  const vfs::FsContext& place() const { return place_; }
  const p9::BlockingChannel& channel() const { return *channel_; }

 private:
  Mounted() = default;
  Caller caller_;
  std::shared_ptr<p9::BlockingChannel> channel_;
  std::unique_ptr<vfs::MountNamespace> names_;
  vfs::FsContext place_;
};

}  // namespace run9::tests
