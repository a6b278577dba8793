#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "bench/p9/subject.h"

namespace run9::bench {

namespace {

Result<void> check(ssize_t r) { return r < 0 ? last_errno() : Result<void>(ok()); }

class Host final : public Subject {
 public:
  Host(UniqueFd dir, UniqueFd big) : dir_(std::move(dir)), big_(std::move(big)) {}
  Result<void> getattr() override { return stat_at(big_.get(), "", AT_EMPTY_PATH); }
  Result<void> stat(const char* path) override { return stat_at(dir_.get(), path, AT_SYMLINK_NOFOLLOW); }
  Result<void> read_small() override {
    const UniqueFd fd = TRY(take_fd(openat(dir_.get(), "a/b/c/small", O_RDONLY | O_CLOEXEC)));
    char buffer[4096];
    return check(pread(fd.get(), buffer, sizeof buffer, 0));
  }
  Result<void> list() override {
    DIR* const d = fdopendir(TRY(take_fd(openat(dir_.get(), "many", O_RDONLY | O_DIRECTORY | O_CLOEXEC))).release());
    Result<void> done = ok();
    while (const dirent* e = readdir(d)) {
      if (done) done = stat_at(dirfd(d), e->d_name, AT_SYMLINK_NOFOLLOW);
    }
    closedir(d);
    return done;
  }
  Result<void> create(std::string_view name) override {
    const UniqueFd fd =
        TRY(take_fd(openat(dir_.get(), std::string(name).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)));
    const char block[4096] = {};
    return check(pwrite(fd.get(), block, sizeof block, 0));
  }
  Result<void> unlink(std::string_view name) override { return check(unlinkat(dir_.get(), std::string(name).c_str(), 0)); }
  Result<void> write_big(uint64_t offset, ByteSpan bytes) override {
    return check(pwrite(big_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)));
  }
  Result<void> read_big(uint64_t offset, std::span<std::byte> to) override {
    return check(pread(big_.get(), to.data(), to.size(), static_cast<off_t>(offset)));
  }

 private:
  static Result<void> stat_at(int fd, const char* path, int flags) {
    struct statx st;
    return check(statx(fd, path, flags, STATX_BASIC_STATS, &st));
  }
  UniqueFd dir_, big_;
};

}  // namespace

Result<std::unique_ptr<Subject>> open_host(const std::string& directory) {
  UniqueFd dir = TRY(take_fd(open(directory.c_str(), O_PATH | O_CLOEXEC)));
  UniqueFd big = TRY(take_fd(openat(dir.get(), "big", O_RDWR | O_CLOEXEC)));
  return std::unique_ptr<Subject>(std::make_unique<Host>(std::move(dir), std::move(big)));
}

}  // namespace run9::bench
