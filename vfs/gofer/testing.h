// For the tests of this folder: a gofer on a temporary directory, served by a thread of this process,
// with the file system mounted as the root of a namespace, and every round trip counted.
#pragma once
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <time.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>

#include "gofer/host_server.h"
#include "p9/client.h"
#include "p9/transport/blocking_channel.h"
#include "p9/transport/serve_fd.h"
#include "vfs/file.h"
#include "vfs/gofer/gofer_fs.h"
#include "vfs/path_walk.h"

namespace run9::vfs::gofer {

class TestContext final : public OpContext {
 public:
  TestContext() {
    c_.ruid = c_.euid = c_.suid = c_.fsuid = getuid();
    c_.rgid = c_.egid = c_.sgid = c_.fsgid = getgid();
    c_.cap_permitted = c_.cap_effective = c_.cap_bounding = kAllCaps;
  }
  const Credentials& creds() const override { return c_; }
  Timespec now() const override {
    timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return {t.tv_sec, static_cast<uint32_t>(t.tv_nsec)};
  }
  int32_t tgid() const override { return 1; }
  uint64_t moment() const override { return moment_; }
  void next_call() { ++moment_; }
  Result<void> wait(WaitQueue&, uint32_t, std::optional<uint64_t>) override {
    return Errno{EAGAIN};
  }
  Credentials& mutable_creds() { return c_; }

 private:
  Credentials c_;
  uint64_t moment_ = 1;
};

class CountingChannel final : public p9::Channel {
 public:
  explicit CountingChannel(UniqueFd socket) : inner_(std::move(socket)) {}
  Result<p9::Reply> round_trip(std::vector<std::byte> frame, p9::Tag tag) override {
    answer_all();
    ++count_;
    log_ += p9::describe(frame) + "\n";
    return inner_.round_trip(std::move(frame), tag);
  }
  void round_trips(std::span<p9::Exchange> all) override {
    answer_all();
    ++count_;
    for (p9::Exchange& e : all) {
      log_ += p9::describe(e.frame) + "\n";
      e.take(inner_.round_trip(std::move(e.frame), e.tag));
    }
  }
  // Costs nothing unless somebody waits for it: the answers come with the next message, or answer_all().
  void begin(std::span<p9::SlowExchange* const> all) override {
    answer_all();
    begun_.insert(begun_.end(), all.begin(), all.end());
    if (p9::decode_header(all[0]->exchange.frame).value().type == p9::MsgType::kTlockx) wait(*all[0]);
  }
  void wait(p9::SlowExchange&) override {
    ++count_;
    answer_all();
  }
  void forget(p9::SlowExchange& e) override { std::erase(begun_, &e); }
  void answer_all() {
    for (p9::SlowExchange* e : std::exchange(begun_, {})) {
      log_ += p9::describe(e->exchange.frame) + "\n";
      e->exchange.take(inner_.round_trip(std::move(e->exchange.frame), e->exchange.tag));
      e->answered = true;
      e->queue.notify_all();
    }
  }
  size_t begun() const { return begun_.size(); }
  void set_msize(uint32_t msize) override { inner_.set_msize(msize); }
  int take() {
    log_.clear();
    return count_.exchange(0);
  }
  const std::string& log() const { return log_; }
  int count() const { return count_; }

 private:
  p9::BlockingChannel inner_;
  std::atomic<int> count_ = 0;
  std::string log_;
  std::vector<p9::SlowExchange*> begun_;
};

struct RigOptions {
  bool dialect = true;
  Caching caching = Caching::kAuthoritative;
  bool read_only = false;
  size_t max_host_files = 512;
  uint32_t msize = 128 * 1024;
  std::chrono::milliseconds staleness{0};
  bool leases = true;
  std::shared_ptr<FidBudget> fids{};
};

class Rig {
 public:
  explicit Rig(RigOptions o = {}) {
    char name[] = "/tmp/run9-gofer-fs-XXXXXX";
    host = mkdtemp(name);
    exports_.push_back(
        ::run9::gofer::make_export({.dir = host, .name = "root", .read_only = o.read_only},
                                   take_fd(::open(name, O_PATH | O_CLOEXEC)).value())
            .value());
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    server_end_ = UniqueFd{ends[0]};
    if (o.leases) events_ = ::run9::gofer::make_events().value();
    thread_ = std::thread([this] {
      EXPECT_TRUE(::run9::gofer::own_working_directory());
      ::run9::gofer::HostServer server(exports_, 0, ::run9::gofer::OtherExports::kRefused, 1,
                                       events_.borrow());
      server.wait_by(lock_waits_);
      static_cast<void>(p9::serve_fd(server_end_.borrow(), server).has_value());
    });
    channel = std::make_shared<CountingChannel>(UniqueFd{ends[1]});
    auto client = std::make_unique<p9::Client>(
        *channel, p9::ClientOptions{.msize = o.msize, .dialect = o.dialect});
    fs = GoferFs::create(ctx, std::move(client),
                         {.aname = "root",
                          .caching = o.caching,
                          .read_only = o.read_only,
                          .source = "test",
                          .staleness = o.staleness,
                          .max_host_files = o.max_host_files,
                          .fids = o.fids,
                          .channel = channel})
             .value();
    ns = std::make_unique<MountNamespace>(fs, 0, "test");
    fsc.root = fsc.cwd = ns->root();
    channel->take();
  }
  ~Rig() {
    fsc = {};
    ns.reset();
    fs.reset();
    kill_gofer();
    std::error_code ignored;
    std::filesystem::remove_all(host, ignored);
  }
  // The connection breaks, as when the gofer dies.
  void kill_gofer() {
    shutdown(server_end_.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
  }

  std::string at_host(std::string_view name) const { return host + "/" + std::string(name); }
  void host_write(std::string_view name, std::string_view text) const {
    std::ofstream(at_host(name)) << text;
  }
  std::string host_read(std::string_view name) const {
    std::ifstream in(at_host(name));
    return {std::istreambuf_iterator<char>(in), {}};
  }

  // For one call of a guest's.
  TestContext& call() {
    ctx.next_call();
    return ctx;
  }
  Result<Path> walk(std::string_view path, uint32_t flags = 0) {
    return ns->walk(call(), fsc, fsc.root, path, flags);
  }
  Result<Stat> stat(std::string_view path, uint32_t flags = 0) {
    return ns->stat(ctx, TRY(walk(path, flags)));
  }
  Result<FileRef> open(std::string_view path, uint32_t flags, uint32_t mode = 0644) {
    return ns->open(call(), fsc, fsc.root, path, {.flags = flags, .mode = mode});
  }
  // One read or write of a whole file.
  Result<std::string> read(std::string_view path) { return read_all(TRY(open(path, O_RDONLY))); }
  Result<std::string> read_all(const FileRef& file) {
    std::string text(1 << 20, 0);
    const size_t n = TRY(file->pread(ctx, std::as_writable_bytes(std::span(text)), 0));
    text.resize(n);
    return text;
  }
  Result<void> write(std::string_view path, std::string_view text,
                     uint32_t flags = O_CREAT | O_WRONLY | O_TRUNC) {
    const FileRef file = TRY(open(path, flags));
    const size_t n = TRY(file->write(ctx, as_bytes(text)));
    return n == text.size() ? Result<void>(ok()) : Errno{EIO};
  }
  Result<void> mkdir(std::string_view path) { return ns->mkdir(call(), fsc, fsc.root, path, 0755); }
  Result<void> unlink(std::string_view path) { return ns->unlink(call(), fsc, fsc.root, path); }
  Result<void> rmdir(std::string_view path) { return ns->rmdir(call(), fsc, fsc.root, path); }
  Result<void> rename(std::string_view from, std::string_view to, uint32_t flags = 0) {
    return ns->rename(call(), fsc, fsc.root, from, fsc.root, to, flags);
  }
  Result<void> symlink(std::string_view path, std::string_view target) {
    return ns->symlink(call(), fsc, fsc.root, path, target);
  }
  Result<void> link(std::string_view from, std::string_view to) {
    return ns->link(ctx, fsc, TRY(walk(from)), fsc.root, to);
  }
  // The names in a directory, in the order that it is read in; not those that begin with a dot.
  std::vector<std::string> in_order(std::string_view path) {
    struct Sink final : DirSink {
      std::vector<std::string> names;
      bool add(const DirEntry& e) override {
        if (!e.name.starts_with('.')) names.emplace_back(e.name);
        return true;
      }
    } sink;
    const FileRef dir = open(path, O_RDONLY | O_DIRECTORY).value();
    EXPECT_TRUE(dir->readdir(ctx, sink));
    return sink.names;
  }
  // Names to inode numbers, without "." and "..".
  Result<std::map<std::string, uint64_t>> list(std::string_view path) {
    struct Sink final : DirSink {
      std::map<std::string, uint64_t> names;
      bool add(const DirEntry& e) override {
        if (e.name != "." && e.name != "..") names.emplace(e.name, e.ino);
        return true;
      }
    } sink;
    const FileRef dir = TRY(open(path, O_RDONLY | O_DIRECTORY));
    TRY(dir->readdir(ctx, sink));
    return sink.names;
  }

  TestContext ctx;
  std::string host;
  std::shared_ptr<CountingChannel> channel;
  FileSystemRef fs;
  std::unique_ptr<MountNamespace> ns;
  FsContext fsc;

 private:
  ::run9::gofer::Exports exports_;
  UniqueFd server_end_;
  UniqueFd events_;
  ::run9::gofer::LockWaits lock_waits_ = ::run9::gofer::LockWaits::create().value();
  std::thread thread_;
};

}  // namespace run9::vfs::gofer
