// p9::Client, each operation in the fewest messages that the server has.
#include <sys/stat.h>
#include <unistd.h>

#include "bench/p9/subject.h"
#include "p9/bulk.h"
#include "p9/transport/blocking_channel.h"

namespace run9::bench {

using namespace p9;

namespace {

constexpr uint64_t kStatMask = kAttrBasic;

class ClientSubject final : public Subject {
 public:
  ClientSubject(UniqueFd socket, ClientChoice choice)
      : channel_(std::move(socket)),
        client_(channel_, {.msize = 1 << 20, .dialect = choice.dialect, .ring = choice.ring ? 256 * 1024u : 0}) {}

  Result<void> start(const std::string& aname) {
    TRY(client_.start());
    root_ = TRY(client_.attach(aname)).fid;
    if (has(kCapWalkx)) {
      auto r = TRY(walkx({"big"}, kWalkOpen | kWalkWantFd, kORdwr));
      big_ = std::move(r.fd);
    }
    big_fid_ = TRY(walk({"big"}));
    TRY(client_.call(Tlopen{.fid = big_fid_, .flags = kORdwr}));
    return ok();
  }

  Result<void> null() override { return done(client_.call(Tflush{.oldtag = Tag{0x7fff}})); }
  Result<void> getattr() override {
    return done(client_.call(Tgetattr{.fid = big_fid_, .request_mask = kGetBasic}));
  }
  Result<void> stat(const char* path) override {
    const auto names = split(path);
    if (has(kCapWalkx)) {
      const auto r = TRY(walkx(names, 0, {}));
      return r->walked.size() == names.size() ? Result<void>(ok()) : Errno{ENOENT};
    }
    const Fid fid = TRY(walk(names));
    TRY(client_.call(Tgetattr{.fid = fid, .request_mask = kGetBasic}));
    return client_.clunk(fid);
  }
  Result<void> read_small() override {
    const std::vector<std::string_view> names{"a", "b", "c", "small"};
    if (has(kCapFd)) {
      const auto r = TRY(walkx(names, kWalkOpen | kWalkWantFd, kORdonly));
      char buffer[4096];
      if (pread(r.fd.get(), buffer, sizeof buffer, 0) != sizeof buffer) return Errno{EIO};
      return ok();
    }
    const Fid fid = TRY(walk(names));
    TRY(client_.call(Tlopen{.fid = fid, .flags = kORdonly}));
    TRY(client_.call(Tread{.fid = fid, .count = 4096}));
    return client_.clunk(fid);
  }
  Result<void> list() override {
    const Fid fid = TRY(walk({"many"}));
    Result<void> read = has(kCapReaddirx) ? list_x(fid) : list_plain(fid);
    TRY(client_.clunk(fid));
    return read;
  }
  Result<void> create(std::string_view name) override {
    const std::byte block[4096] = {};
    if (has(kCapFd)) {
      const auto r = TRY(walkx({name}, kWalkOpen | kWalkCreate | kWalkExclusive | kWalkWantFd, kORdwr));
      if (pwrite(r.fd.get(), block, sizeof block, 0) != sizeof block) return Errno{EIO};
      return ok();
    }
    const Fid fid = TRY(walk({}));
    TRY(client_.call(Tlcreate{.fid = fid, .name = name, .flags = kORdwr | kOCreat, .mode = 0600, .gid = getegid()}));
    TRY(client_.call(Twrite{.fid = fid, .data = block}));
    return client_.clunk(fid);
  }
  Result<void> unlink(std::string_view name) override {
    const auto r = client_.call(Tunlinkat{.dirfid = root_, .name = name});
    if (r || r.error() != Errno{EOPNOTSUPP}) return done(r);
    return done(client_.call(Tremove{.fid = TRY(walk({name}))}));  // diod has no Tunlinkat
  }
  Result<void> write_big(uint64_t offset, ByteSpan bytes) override {
    if (big_.valid()) {
      return pwrite(big_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)) < 0 ? last_errno() : Result<void>(ok());
    }
    const Written w = write_pieces(client_, big_fid_, offset, bytes);
    return w.count == bytes.size() ? Result<void>(ok()) : Errno{EIO};
  }
  Result<void> read_big(uint64_t offset, std::span<std::byte> to) override {
    if (big_.valid()) {
      return pread(big_.get(), to.data(), to.size(), static_cast<off_t>(offset)) < 0 ? last_errno() : Result<void>(ok());
    }
    std::vector<Tread> reads;
    for (size_t at = 0; at < to.size(); at += client_.max_io()) {
      const auto n = static_cast<uint32_t>(std::min<size_t>(client_.max_io(), to.size() - at));
      reads.push_back({.fid = big_fid_, .offset = offset + at, .count = n});
    }
    size_t got = 0;
    client_.call_all<Tread>(reads, [&](size_t i, Result<Answer<Rread>> r) {
      if (!r || r.assume_value()->data.size() > reads[i].count) return;
      const ByteSpan data = r.assume_value()->data;
      std::memcpy(to.data() + (reads[i].offset - offset), data.data(), data.size());
      got += data.size();
    });
    return got == to.size() ? Result<void>(ok()) : Errno{EIO};
  }
  uint64_t messages() const override { return channel_.requests(); }

 private:
  using Names = std::vector<std::string_view>;
  bool has(uint64_t cap) const { return client_.has_cap(cap); }
  template <typename R>
  static Result<void> done(const R& r) {
    return r ? Result<void>(ok()) : r.error();
  }
  static Names split(std::string_view path) {
    Names names;
    for (size_t at = 0; at <= path.size();) {
      const size_t end = std::min(path.find('/', at), path.size());
      names.push_back(path.substr(at, end - at));
      at = end + 1;
    }
    return names;
  }
  Result<Fid> walk(const Names& names) {
    Twalk t{.fid = root_, .newfid = TRY(client_.alloc_fid())};
    t.names.assign(names.begin(), names.end());
    const auto r = client_.call(t);
    if (!r || r.assume_value()->qids.size() != names.size()) {
      client_.free_fid(t.newfid);
      return r ? Errno{ENOENT} : r.error();
    }
    return t.newfid;
  }
  Result<Answer<Rwalkx>> walkx(const Names& names, uint32_t wflags, OpenFlags oflags) {
    Twalkx t{.fid = root_, .wflags = wflags, .attrmask = kStatMask, .oflags = oflags, .mode = 0600};
    t.names.assign(names.begin(), names.end());
    auto r = TRY(client_.call(t));
    if (r->status > WalkStatus::kCreated || ((wflags & kWalkWantFd) != 0 && !r.fd.valid())) return Errno{EIO};
    return r;
  }
  Result<void> list_x(Fid fid) {
    for (uint64_t offset = 0;;) {
      const auto r = TRY(client_.call(Treaddirx{.fid = fid, .offset = offset, .count = client_.max_io(),
                                                .attrmask = kStatMask, .flags = kReaddirOpen}));
      DirentReader<DirentX> entries(r->data);
      while (const auto e = TRY(entries.next())) offset = e->offset;
      if ((r->flags & kReaddirEof) != 0) return ok();
    }
  }
  Result<void> list_plain(Fid dir) {
    Twalk t{.fid = dir, .newfid = TRY(client_.alloc_fid())};
    TRY(client_.call(t));
    TRY(client_.call(Tlopen{.fid = t.newfid, .flags = kORdonly | kODirectory}));
    for (uint64_t offset = 0;;) {
      const auto r = TRY(client_.call(Treaddir{.fid = t.newfid, .offset = offset, .count = client_.max_io()}));
      DirentReader<Dirent> entries(r->data);
      bool any = false;
      while (const auto e = TRY(entries.next())) {
        any = true;
        offset = e->offset;
        if (e->name == "." || e->name == "..") continue;
        Twalk one{.fid = dir, .newfid = TRY(client_.alloc_fid())};
        one.names.emplace_back(e->name);
        TRY(client_.call(one));
        TRY(client_.call(Tgetattr{.fid = one.newfid, .request_mask = kGetBasic}));
        TRY(client_.clunk(one.newfid));
      }
      if (!any) return client_.clunk(t.newfid);
    }
  }

  BlockingChannel channel_;
  Client client_;
  Fid root_{};
  Fid big_fid_{};
  UniqueFd big_;
};

}  // namespace

Result<std::unique_ptr<Subject>> open_client(UniqueFd socket, const std::string& aname, ClientChoice choice) {
  auto subject = std::make_unique<ClientSubject>(std::move(socket), choice);
  TRY(subject->start(aname));
  return std::unique_ptr<Subject>(std::move(subject));
}

}  // namespace run9::bench
