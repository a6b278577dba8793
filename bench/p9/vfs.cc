// The file system of the Sentry, without a Sentry.
#include "bench/p9/subject.h"
#include "tests/vfs_alone/mounted.h"

namespace run9::bench {

namespace {

class Vfs final : public Subject {
 public:
  Vfs(std::unique_ptr<tests::Mounted> mounted, vfs::FileRef big) : mounted_(std::move(mounted)), big_(std::move(big)) {}
  Result<void> getattr() override {
    static_cast<void>(TRY(big_->getattr(caller())));
    return ok();
  }
  Result<void> stat(const char* path) override {
    static_cast<void>(TRY(mounted_->stat(path)));
    return ok();
  }
  Result<void> read_small() override {
    const vfs::FileRef file = TRY(mounted_->open("a/b/c/small", O_RDONLY));
    std::byte buffer[4096];
    static_cast<void>(TRY(file->pread(caller(), buffer, 0)));
    return ok();
  }
  Result<void> list() override {
    struct Sink final : vfs::DirSink {
      std::vector<std::string> paths;
      bool add(const vfs::DirEntry& e) override {
        paths.push_back("many/" + std::string(e.name));
        return true;
      }
    } sink;
    TRY(mounted_->list("many", sink));
    for (const std::string& path : sink.paths) TRY(stat(path.c_str()));
    return ok();
  }
  Result<void> create(std::string_view name) override {
    const vfs::FileRef file = TRY(mounted_->open(name, O_RDWR | O_CREAT | O_EXCL));
    const std::byte block[4096] = {};
    static_cast<void>(TRY(file->write(caller(), block)));
    return ok();
  }
  Result<void> unlink(std::string_view name) override {
    return mounted_->names().unlink(caller(), mounted_->place(), mounted_->place().root, name);
  }
  Result<void> write_big(uint64_t offset, ByteSpan bytes) override {
    static_cast<void>(TRY(big_->pwrite(caller(), bytes, offset)));
    return ok();
  }
  Result<void> read_big(uint64_t offset, std::span<std::byte> to) override {
    static_cast<void>(TRY(big_->pread(caller(), to, offset)));
    return ok();
  }
  uint64_t messages() const override { return mounted_->channel().requests(); }

 private:
  vfs::OpContext& caller() { return mounted_->caller(); }
  std::unique_ptr<tests::Mounted> mounted_;
  vfs::FileRef big_;
};

}  // namespace

Result<std::unique_ptr<Subject>> open_vfs(UniqueFd socket, const std::string& aname, ClientChoice choice) {
  auto mounted = TRY(tests::Mounted::create(std::move(socket), aname, vfs::Caching::kRevalidate,
                                            {.dialect = choice.dialect, .ring = choice.ring ? 256 * 1024u : 0}));
  vfs::FileRef big = TRY(mounted->open("big", O_RDWR));
  return std::unique_ptr<Subject>(std::make_unique<Vfs>(std::move(mounted), std::move(big)));
}

}  // namespace run9::bench
