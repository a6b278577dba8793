#include "cli/remote.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>

#include "p9/transport/address.h"

namespace run9::cli {

using namespace p9;

namespace {

constexpr int kMaxLinks = 40;
// Requests that are on their way together when many small things are asked.
constexpr size_t kTogether = 64;

std::string_view connect_hint(Errno e, const Address& a) {
  const bool is_unix = a.kind == Address::Kind::kUnix;
  switch (to_int(e)) {
    case ENOENT: return "there is no such socket: is the server running, and is this its --listen path?";
    case ECONNREFUSED:
      return is_unix ? "nobody listens at this socket any more: start the server again"
                     : "nothing listens at this port: is the server running, and is this its address?";
    case EACCES: return "you may not write to this socket: ask its owner, or use sudo";
    case EADDRNOTAVAIL: return "the host name is not known: check it, or use the number";
    case ENAMETOOLONG: return "a socket's path has at most 107 bytes: use a shorter or a relative one";
    case ETIMEDOUT: return "no answer from that host: a firewall, or the wrong address?";
    case EAFNOSUPPORT: return "this kernel has no such kind of socket";
    default: return {};
  }
}

std::string_view attach_hint(Errno e) {
  switch (to_int(e)) {
    case ENOENT:
    case EINVAL:
    case EPERM:
    case EACCES:
      return "there is no such export (--aname NAME; run9-gofer: the NAME of --export DIR:NAME, diod: the directory), or "
             "it is not for this user (--uid N, --uname NAME)";
    default: return {};
  }
}

Attr to_attr(const Qid& qid, const AttrX& x) {
  const auto time = [](const TimeX& t) { return Time{t.sec, t.nsec}; };
  return Attr{.valid = x.valid & kGetBasic, .qid = qid, .mode = x.mode, .uid = x.uid, .gid = x.gid,
              .nlink = x.nlink, .rdev = x.rdev, .size = x.size, .blksize = x.blksize, .blocks = x.blocks,
              .atime = time(x.atime), .mtime = time(x.mtime), .ctime = time(x.ctime), .btime = time(x.btime)};
}

template <typename E>
Result<uint64_t> take_entries(ByteSpan data, std::vector<Entry>& out) {
  uint64_t offset = 0;
  DirentReader<E> reader(data);
  while (auto e = TRY(reader.next())) {
    offset = e->offset;
    if (e->name == "." || e->name == "..") continue;
    Entry& entry = out.emplace_back(Entry{std::string(e->name), e->qid, e->type, {}});
    if constexpr (std::is_same_v<E, DirentX>) {
      if (e->attr.valid != 0) entry.attr = to_attr(e->qid, e->attr);
    }
  }
  return offset;
}

std::string joined(std::span<const std::string> names) {
  std::string out;
  for (const std::string& n : names) out += "/" + n;
  return out.empty() ? "/" : out;
}

}  // namespace

std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> out;
  while (!path.empty()) {
    const std::string_view name = path.substr(0, path.find('/'));
    if (!name.empty() && name != ".") out.emplace_back(name);
    path.remove_prefix(std::min(path.size(), name.size() + 1));
  }
  return out;
}

Result<std::unique_ptr<Remote>> Remote::connect(const ConnectOptions& o, Reporter& report) {
  const auto address = parse_address(o.address);
  if (!address) {
    return report.fail("understand the address", o.address, Errno{EINVAL},
                       "write unix:PATH, unix:@NAME, tcp:HOST:PORT, vsock:CID:PORT or fd:N");
  }
  auto socket = dial(*address, o.timeout);
  if (!socket) {
    const Errno e = socket.assume_error();
    return report.fail("connect to", o.address, e, connect_hint(e, *address));
  }
  std::unique_ptr<Remote> r(new Remote(report));
  r->channel_ = std::make_unique<BlockingChannel>(std::move(socket.assume_value()));
  r->client_ = std::make_unique<Client>(*r->channel_, ClientOptions{.msize = o.msize, .dialect = !o.plain});
  if (const auto started = r->client_->start(); !started) {
    const Errno e = started.assume_error();
    const bool other = e == Errno{EPROTONOSUPPORT};
    return report.fail("agree on 9P2000.L with", o.address, e,
                       other ? "the server speaks another dialect of 9P"
                             : "it hung up, sent no 9P, or did not answer in time (--timeout): is this a 9P server?");
  }
  const auto attached = r->client_->attach(o.aname, o.uname, o.uid);
  if (!attached) {
    const Errno e = attached.assume_error();
    return report.fail("attach to export", fmt::format("\"{}\"", o.aname), e, attach_hint(e));
  }
  r->root_ = attached.assume_value().fid;
  r->root_qid_ = attached.assume_value().qid;
  return r;
}

Remote::~Remote() {
  // A polite end: the server's log stays clean.
  if (client_ != nullptr) client_->flush_drops();
}

// All of the names, 16 in a request, or nothing: then *qids tells how far it went.
Result<Held> Remote::walk_names(Fid from, std::span<const std::string> names, std::vector<Qid>* qids) {
  Held at;
  Fid fid = from;
  do {
    const auto part = names.first(std::min(names.size(), kMaxWalk));
    names = names.subspan(part.size());
    const Fid next = TRY(client_->alloc_fid());
    Twalk t{.fid = fid, .newfid = next};
    t.names.assign(part.begin(), part.end());
    const auto got = client_->call(t);
    if (got && qids != nullptr) {
      const auto& told = got.assume_value()->qids;
      qids->insert(qids->end(), told.begin(), told.end());
    }
    if (!got || got.assume_value()->qids.size() != part.size()) {
      client_->free_fid(next);
      if (got) return Errno{ENOENT};
      return got.assume_error();
    }
    at = Held(*client_, next);
    fid = next;
  } while (!names.empty());
  return at;
}

Result<Held> Remote::child(Fid dir, std::string_view name) {
  const std::string text(name);
  return walk_names(dir, {&text, name.empty() ? size_t{0} : size_t{1}}, nullptr);
}

// One name at a time, so that a symbolic link is seen before a server would follow it itself, and a missing name is
// known. The way back is ours too: ".." is the name before in what was walked.
Result<Place> Remote::walk(std::string_view path, Follow follow) {
  std::deque<std::string> todo;
  for (auto& n : split_path(path)) todo.push_back(std::move(n));
  struct Step {
    Held held;
    Qid qid;
    std::string name;
  };
  std::vector<Step> way;
  const auto names = [&] {
    std::vector<std::string> out;
    for (const Step& s : way) out.push_back(s.name);
    return out;
  };
  int links = 0;
  while (!todo.empty()) {
    const std::string name = std::move(todo.front());
    todo.pop_front();
    if (name == "..") {
      if (!way.empty()) way.pop_back();
      continue;
    }
    std::vector<Qid> qids;
    const Fid from = way.empty() ? root_ : way.back().held.fid();
    auto next = walk_names(from, {&name, 1}, &qids);
    if (!next) {
      auto at = names();
      at.push_back(name);
      return report_.fail("find", joined(at), next.assume_error());
    }
    const bool is_link = is(qids.back(), QidType::kSymlink);
    if (!is_link || (todo.empty() && follow == Follow::kNo)) {
      way.push_back({std::move(next.assume_value()), qids.back(), name});
      continue;
    }
    if (++links > kMaxLinks) return report_.fail("follow", path, Errno{ELOOP});
    const std::string target = TRY(report_.step("read the link", path, read_link(next.assume_value().fid())));
    if (target.starts_with('/')) way.clear();  // below the export's root, as for a chroot
    const auto more = split_path(target);
    todo.insert(todo.begin(), more.begin(), more.end());
  }
  Place place{.held = {}, .qid = root_qid_, .names = names()};
  if (way.empty()) {
    place.held = TRY(report_.step("walk to", path, clone(root_)));
  } else {
    place.held = std::move(way.back().held);
    place.qid = way.back().qid;
  }
  return place;
}

Result<Slot> Remote::slot(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const size_t slash = path.rfind('/');
  const std::string_view name = path.substr(slash == path.npos ? 0 : slash + 1);
  if (const auto good = check_name(name); !good) {
    return report_.fail("use the name", path, good.assume_error(), "name something below the root");
  }
  Slot out{TRY(walk(path.substr(0, slash == path.npos ? 0 : slash), Follow::kYes)), std::string(name)};
  if (!is(out.dir.qid, QidType::kDir)) return report_.fail("look into", path.substr(0, slash), Errno{ENOTDIR});
  return out;
}

Result<Held> Remote::open(Fid fid, OpenFlags flags) {
  Held own = TRY(clone(fid));
  TRY(client_->call(Tlopen{.fid = own.fid(), .flags = flags}));
  return own;
}

Result<Attr> Remote::attr(Fid fid) {
  return TRY(client_->call(Tgetattr{.fid = fid, .request_mask = kGetAll})).msg;
}

Result<std::string> Remote::read_link(Fid fid) {
  return std::string(TRY(client_->call(Treadlink{.fid = fid}))->target);
}

Result<void> Remote::unlink_at(Fid dir, const std::string& name, bool is_dir) {
  const auto r = client_->call(Tunlinkat{.dirfid = dir, .name = name, .flags = is_dir ? kAtRemovedir : 0});
  if (r) return ok();
  if (r.assume_error() != Errno{EOPNOTSUPP}) return r.assume_error();
  const Fid fid = TRY(child(dir, name)).release();
  const auto removed = client_->call(Tremove{.fid = fid});
  client_->free_fid(fid);  // Tremove clunks it in any case
  if (!removed) return removed.assume_error();
  return ok();
}

Result<std::vector<Entry>> Remote::entries(Fid dir, WithAttr with_attr) {
  std::vector<Entry> out;
  if (with_attr == WithAttr::kYes && client_->has_cap(kCapReaddirx)) {
    TRY(read_with_attr(dir, out));
  } else {
    TRY(read_plain(dir, out));
    for (size_t at = 0; with_attr == WithAttr::kYes && at < out.size(); at += kTogether) {
      TRY(add_attr(dir, std::span(out).subspan(at, std::min(kTogether, out.size() - at))));
    }
  }
  std::sort(out.begin(), out.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return out;
}

Result<void> Remote::read_plain(Fid dir, std::vector<Entry>& out) {
  const Held open_dir = TRY(open(dir, kORdonly | kODirectory));
  for (uint64_t offset = 0;;) {
    const auto got = TRY(client_->call(
        Treaddir{.fid = open_dir.fid(), .offset = offset, .count = client_->max_io()}));
    if (got->data.empty()) return ok();
    offset = TRY(take_entries<Dirent>(got->data, out));
  }
}

Result<void> Remote::read_with_attr(Fid dir, std::vector<Entry>& out) {
  for (uint64_t offset = 0;;) {
    const auto got = TRY(client_->call(Treaddirx{.fid = dir, .offset = offset, .count = client_->max_io(),
                                                 .attrmask = kAttrBasic, .flags = kReaddirOpen}));
    if (!got->data.empty()) offset = TRY(take_entries<DirentX>(got->data, out));
    if (got->data.empty() || (got->flags & kReaddirEof) != 0) return ok();
  }
}

// Two flights for all of them: the walks, and the getattrs. What has gone meanwhile keeps no attributes.
Result<void> Remote::add_attr(Fid dir, std::span<Entry> part) {
  std::vector<Twalk> walks;
  for (const Entry& e : part) {
    Twalk& t = walks.emplace_back(Twalk{.fid = dir, .newfid = TRY(client_->alloc_fid())});
    t.names.emplace_back(e.name);
  }
  std::vector<Held> held;
  std::vector<Tgetattr> asks;
  std::vector<Entry*> asked;
  client_->call_all<Twalk>(walks, [&](size_t i, Result<Answer<Rwalk>> got) {
    if (!got || got.assume_value()->qids.size() != 1) return client_->free_fid(walks[i].newfid);
    held.emplace_back(*client_, walks[i].newfid);
    asks.push_back({.fid = walks[i].newfid, .request_mask = kGetBasic});
    asked.push_back(&part[i]);
  });
  client_->call_all<Tgetattr>(asks, [&](size_t i, Result<Answer<Rgetattr>> got) {
    if (got) asked[i]->attr = got.assume_value().msg;
  });
  return ok();
}

}  // namespace run9::cli
