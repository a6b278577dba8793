// Mounts a gofer's tree by vfs alone, and works in it: usage: vfs-alone ADDRESS ANAME. Says what it did; alone_test.py
// looks at the tree from the host.
#include <fmt/format.h>

#include <vector>

#include "p9/transport/address.h"
#include "tests/vfs_alone/mounted.h"

namespace run9::tests {
namespace {

struct Names final : vfs::DirSink {
  std::vector<std::string> all;
  bool add(const vfs::DirEntry& e) override {
    all.emplace_back(e.name);
    return true;
  }
};

Result<void> write_file(Mounted& m, std::string_view path, std::string_view text) {
  const vfs::FileRef file = TRY(m.open(path, O_CREAT | O_EXCL | O_WRONLY));
  if (TRY(file->write(m.caller(), as_bytes(text))) != text.size()) return Errno{EIO};
  return file->fsync(m.caller(), false);
}

Result<std::string> read_file(Mounted& m, std::string_view path) {
  const vfs::FileRef file = TRY(m.open(path, O_RDONLY));
  std::string text(4096, '\0');
  text.resize(TRY(file->read(m.caller(), std::as_writable_bytes(std::span(text)))));
  return text;
}

Result<void> work(UniqueFd socket, const std::string& aname) {
  const auto m = TRY(Mounted::create(std::move(socket), aname, vfs::Caching::kRevalidate));
  vfs::MountNamespace& names = m->names();
  const vfs::Path root = m->place().root;
  TRY(names.mkdir(m->caller(), m->place(), root, "made", 0755));
  TRY(write_file(*m, "made/file", "text\n"));
  TRY(names.symlink(m->caller(), m->place(), root, "made/link", "../from-host"));
  TRY(names.rename(m->caller(), m->place(), root, "made/file", root, "made/renamed", 0));
  TRY(names.link(m->caller(), m->place(), TRY(m->walk("made/renamed")), root, "made/second"));
  TRY(write_file(*m, "made/gone", ""));
  TRY(names.unlink(m->caller(), m->place(), root, "made/gone"));

  fmt::print("{}", TRY(read_file(*m, "made/link")));
  Names sink;
  TRY(m->list("made", sink));
  fmt::print("{}\n", fmt::join(sink.all, " "));
  fmt::print("links {} size {}\n", TRY(m->stat("made/second")).nlink, TRY(m->stat("made/renamed")).size);
  const auto missing = m->open("made/file", O_RDONLY);
  fmt::print("{}\n", missing ? "there" : describe(missing.error()));
  return names.setattr(m->caller(), TRY(m->walk("made/renamed")), {.valid = vfs::kSetMode, .mode = 0640});
}

int run(std::span<char*> args) {
  const auto address = args.size() == 3 ? p9::parse_address(args[1]) : std::nullopt;
  if (!address) {
    fmt::print(stderr, "usage: vfs-alone ADDRESS ANAME\n");
    return 2;
  }
  auto socket = p9::dial(*address);
  const auto done = socket ? work(std::move(socket.assume_value()), args[2]) : socket.assume_error();
  if (!done) fmt::print(stderr, "vfs-alone: {}\n", describe(done.error()));
  return done ? 0 : 1;
}

}  // namespace
}  // namespace run9::tests

int main(int argc, char** argv) { return run9::tests::run({argv, static_cast<size_t>(argc)}); }
