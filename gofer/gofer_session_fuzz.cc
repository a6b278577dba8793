// The fuzzer of whole sessions (p9/session_fuzz.h) with a host directory behind them, which has links that lead out of it.
// Beside what holds for every session: nothing outside the export changes, no reply has a byte of it, no descriptor of it is
// donated; and nothing inside changes if the export is read-only. The first byte of the input says how the tree is exported.
//
// As root, and without the jail: it is the walk from descriptor to descriptor that has to hold.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/check.h"
#include "gofer/host_server.h"
#include "p9/codec.h"
#include "p9/session_fuzz.h"

namespace run9::gofer {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSecret = "what is outside stays outside";
// So that no fallocate fills the machine's memory; a ring's fits.
constexpr rlim_t kMaxFileSize = 4 << 20;

void write_file(const fs::path& path, std::string_view text) { std::ofstream(path) << text; }

// Everything that a client could have changed of it, and of what is below it.
std::string snapshot(const fs::path& top) {
  std::string out;
  const auto add = [&](const fs::path& path) {
    struct stat st;
    CHECK(lstat(path.c_str(), &st) == 0);
    out += path.native();
    for (const uint64_t n : {uint64_t{st.st_ino}, uint64_t{st.st_mode}, uint64_t{st.st_nlink}, uint64_t{st.st_uid}, uint64_t{st.st_gid},
                             static_cast<uint64_t>(st.st_size), static_cast<uint64_t>(st.st_mtim.tv_nsec),
                             static_cast<uint64_t>(st.st_ctim.tv_sec), static_cast<uint64_t>(st.st_ctim.tv_nsec)}) {
      out += ' ' + std::to_string(n);
    }
    out += '\n';
  };
  add(top);
  for (const auto& e : fs::recursive_directory_iterator(top)) add(e.path());
  return out;
}

// A directory beside the export, and the export.
class Host {
 public:
  Host() {
    char name[] = "/dev/shm/run9-gofer-fuzz-XXXXXX";
    CHECK(mkdtemp(name) != nullptr);
    top_ = name;
    fs::create_directories(outside() / "below");
    write_file(outside() / "secret", kSecret);
    write_file(outside() / "below" / "a", kSecret);
    fs::create_symlink("secret", outside() / "c");
  }
  ~Host() { fs::remove_all(top_); }

  fs::path outside() const { return top_ / "outside"; }
  fs::path inside() const { return top_ / "export"; }
  // As it was; the names are those that session_fuzz.cc knows.
  void make_inside() const {
    fs::remove_all(inside());
    fs::create_directories(inside() / "a");
    fs::create_symlink("../outside", inside() / "b");
    fs::create_symlink(outside() / "secret", inside() / "c");
    fs::create_symlink("../../outside/below", inside() / "a" / "a");
    write_file(inside() / "a" / "b", "inside");
    write_file(inside() / "a" / "c", "hidden");
  }

 private:
  fs::path top_;
};

class Watcher final : public p9::ReplyWatcher {
 public:
  explicit Watcher(const fs::path& outside) {
    for (const auto& e : fs::recursive_directory_iterator(outside)) inodes_.push_back(id_of(e.path()));
    inodes_.push_back(id_of(outside));
    inodes_.push_back(id_of(outside.parent_path()));
  }
  void replied(ByteSpan frame, std::span<const UniqueFd> fds) override {
    CHECK(as_chars(frame).find(kSecret) == std::string_view::npos);
    for (const UniqueFd& fd : fds) {
      struct stat st;
      CHECK(fstat(fd.get(), &st) == 0 && !S_ISDIR(st.st_mode));
      CHECK(std::count(inodes_.begin(), inodes_.end(), FileId{st.st_dev, st.st_ino}) == 0);
    }
  }

 private:
  static FileId id_of(const fs::path& path) {
    struct stat st;
    CHECK(lstat(path.c_str(), &st) == 0);
    return {st.st_dev, st.st_ino};
  }
  std::vector<FileId> inodes_;
};

// Leases take the thread from directory to directory.
class WorkingDirectory {
 public:
  WorkingDirectory() : before_(open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)) { CHECK(before_.valid()); }
  ~WorkingDirectory() { CHECK(fchdir(before_.get()) == 0); }

 private:
  UniqueFd before_;
};

class FileSizeLimit {
 public:
  // libFuzzer would take the signal for a finding.
  FileSizeLimit() {
    signal(SIGXFSZ, SIG_IGN);
    set(kMaxFileSize);
  }
  ~FileSizeLimit() { set(RLIM_INFINITY); }

 private:
  static void set(rlim_t soft) {
    const rlimit limit{soft, RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
};

// One session, from its connection to its end.
void serve(const Host& host, ExportSpec spec, bool hides, ByteSpan program) {
  UniqueFd root(open(host.inside().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  Exports exports;
  exports.push_back(make_export(std::move(spec), std::move(root)).assume_value());
  if (hides) {
    CHECK(exports[0]->hidden.add(exports[0]->root.borrow(), "a/c").has_value());
    CHECK(exports[0]->sealed.add(exports[0]->root.borrow(), "a").has_value());
  }
  const UniqueFd events = exports[0]->spec.leases ? make_events().assume_value() : UniqueFd();
  HostServer server(exports, 0, OtherExports::kRefused, 1, events.borrow());
  Watcher watcher(host.outside());
  const WorkingDirectory here;
  const FileSizeLimit limit;
  p9::fuzz_session_of(server, program, &watcher);
}

int fuzz_gofer(ByteSpan input) {
  static const Host host;
  if (input.empty()) return 0;
  host.make_inside();
  const auto how = static_cast<uint8_t>(input[0]);
  const ExportSpec spec{.dir = host.inside(), .name = "a", .read_only = how % 8 == 0, .cross_mounts = (how & 8) != 0,
                        .leases = (how & 16) != 0, .whiteouts = (how & 32) != 0};
  const bool hides = (how & 64) != 0;
  const std::string outside = snapshot(host.outside());
  const std::string inside = spec.read_only || hides ? snapshot(host.inside() / "a") : "";
  {
    const p9::DescriptorsCheck descriptors;
    serve(host, spec, hides, input.subspan(1));
  }
  CHECK(snapshot(host.outside()) == outside);
  if (spec.read_only) CHECK(snapshot(host.inside() / "a") == inside);
  return 0;
}

}  // namespace
}  // namespace run9::gofer

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return run9::gofer::fuzz_gofer({reinterpret_cast<const std::byte*>(data), size});
}
