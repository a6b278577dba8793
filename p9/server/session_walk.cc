// Twalk and Twalkx.
#include "p9/server/session.h"

namespace run9::p9 {

Result<Rwalk> Session::handle(const Twalk& t) {
  FidEntry* from = TRY(fids_.find_node(t.fid));
  const bool in_place = t.newfid == t.fid;
  if (!in_place) TRY(fids_.check_free(t.newfid));
  if (in_place && from->state == FidState::kOpen && !t.names.empty()) return Errno{EINVAL};

  Rwalk reply;
  NodeRef node = from->node;
  for (const WalkName& name : t.names) {
    // diod's tools ask for it; not the backends' business.
    if (name.text == "." && is(node->qid(), QidType::kDir)) {
      reply.qids.push_back(node->qid());
      continue;
    }
    auto next = name.text == "." ? Errno{ENOTDIR} : node->walk(name, 0);
    if (!next) {
      // The first name's failure is the request's; after that the qids so far tell where it stopped
      // (at a missing name, a symlink, a file), and newfid stays as it was.
      if (reply.qids.empty()) return next.assume_error();
      return reply;
    }
    node = std::move(next.assume_value().node);
    reply.qids.push_back(node->qid());
  }
  if (in_place) from->node = std::move(node);
  else fids_.bind(t.newfid, std::move(node));
  return reply;
}

namespace {

// One Twalkx as it proceeds.
struct Walkx {
  const Twalkx& t;
  bool read_only;
  Rwalkx reply;
  std::vector<NodeRef> nodes;  // one for each component of the reply
  std::unique_ptr<OpenFile> file;

  bool wants(uint32_t flag) const { return (t.wflags & flag) != 0; }
  bool complete() const { return nodes.size() == std::max<size_t>(t.names.size(), 1); }
  void add(NodeRef node, const AttrX& attr) {
    reply.walked.push_back({node->qid(), attr});
    nodes.push_back(std::move(node));
  }
  void stop(WalkStatus status) { reply.status = status; }
  void fail(Errno error) {
    reply.status = WalkStatus::kFailed;
    reply.error = static_cast<uint32_t>(to_int(error));
  }
  OpenFlags open_flags() const {
    return OpenFlags{bits(t.oflags) & ~bits(kOCreat | kOExcl | kONoctty | kOCloexec)};
  }

  // False: the walk is over, the reply says why.
  // The watch begins before what it watches over is looked at.
  void lease(Node& node);
  bool step(NodeRef& node, size_t i);
  Result<void> make(Node& dir, std::string_view name);
  void walk(NodeRef node);
  void open_last();
};

Result<void> Walkx::make(Node& dir, std::string_view name) {
  if (read_only) return Errno{EROFS};
  const Owner owner{t.uid, t.gid};
  if (wants(kWalkMkdir)) {
    Walked made = TRY(dir.mkdir(name, t.mode & 07777, owner, t.attrmask));
    add(std::move(made.node), made.attr);
  } else {
    OpenFlags flags = open_flags() | kOCreat;
    if (wants(kWalkExclusive)) flags = flags | kOExcl;
    Created made = TRY(dir.create(name, flags, t.mode & 07777, owner, t.attrmask));
    add(std::move(made.node), made.attr);
    file = std::move(made.file);
  }
  stop(WalkStatus::kCreated);
  return ok();
}

void Walkx::lease(Node& node) {
  if (!wants(kWalkLease)) return;
  reply.leases.value.push_back(is(node.qid(), QidType::kDir) ? node.watch() : 0);
}

bool Walkx::step(NodeRef& node, size_t i) {
  const bool last = i + 1 == t.names.size();
  // What must be missing most often is. If this fails, the walk finds out why.
  if (last && wants(kWalkExclusive | kWalkMkdir) && make(*node, t.names[i])) return false;
  auto next = node->walk(t.names[i], t.attrmask);
  if (!next) {
    const Errno error = next.assume_error();
    if (error == Errno{ENOENT} && last && wants(kWalkCreate | kWalkMkdir)) {
      if (const auto made = make(*node, t.names[i]); !made) fail(made.error());
      return false;
    }
    if (error == Errno{ENOENT}) stop(WalkStatus::kMissing);
    else if (error == Errno{ENOTDIR}) stop(WalkStatus::kNotDir);
    else fail(error);
    return false;
  }
  if (last && wants(kWalkExclusive | kWalkMkdir)) return fail(Errno{EEXIST}), false;
  node = next.assume_value().node;
  add(node, next.assume_value().attr);
  lease(*node);
  if (wants(kWalkLease) && reply.leases.value.back() != 0) {
    if (auto attr = node->get_attr(t.attrmask, nullptr)) {
      reply.walked.back().attr = attr.assume_value();
    }
  }
  if (is(node->qid(), QidType::kSymlink)) return stop(WalkStatus::kSymlink), false;
  return true;
}

void Walkx::walk(NodeRef node) {
  lease(*node);
  if (t.names.empty()) {
    const auto attr = node->get_attr(t.attrmask, nullptr);
    if (!attr) return fail(attr.assume_error());
    if (is(node->qid(), QidType::kSymlink)) stop(WalkStatus::kSymlink);
    add(std::move(node), attr.assume_value());
    return;
  }
  for (size_t i = 0; i < t.names.size(); ++i) {
    if (!step(node, i)) return;
  }
}

void Walkx::open_last() {
  Node& last = *nodes.back();
  const bool is_dir = is(last.qid(), QidType::kDir);
  if (wants(kWalkDirectory) && !is_dir) return stop(WalkStatus::kNotDir);
  if (!wants(kWalkOpen)) return;
  if (is_dir && wants_write(t.oflags)) return fail(Errno{EISDIR});
  if (read_only && wants_write(t.oflags)) return fail(Errno{EROFS});
  auto opened = last.open(open_flags());
  if (!opened) return fail(opened.assume_error());
  file = std::move(opened.assume_value());
  // The open may have truncated what walk() looked at.
  if (!has(t.oflags, kOTrunc)) return;
  if (auto attr = last.get_attr(t.attrmask, file.get())) {
    reply.walked.back().attr = attr.assume_value();
  }
}

// What no walk can make sense of.
Result<void> check_flags(const Twalkx& t) {
  const auto wants = [&](uint32_t flag) { return (t.wflags & flag) != 0; };
  const bool opens = wants(kWalkOpen);
  if ((t.wflags & ~kWalkFlagsKnown) != 0) return Errno{EINVAL};
  if (wants(kWalkCreate) && (!opens || wants(kWalkMkdir | kWalkDirectory))) return Errno{EINVAL};
  if (wants(kWalkMkdir) && opens) return Errno{EINVAL};
  if (wants(kWalkExclusive) && !wants(kWalkCreate)) return Errno{EINVAL};
  if (wants(kWalkCreate | kWalkMkdir) && t.names.empty()) return Errno{EINVAL};
  if (wants(kWalkWantFd) && !opens) return Errno{EINVAL};
  if (wants(kWalkKeepControl) && wants(kWalkAllFids)) return Errno{EINVAL};
  // Without openfid the open has to leave a descriptor behind, or it were for nothing.
  if (opens && t.openfid == kNoFid && !wants(kWalkWantFd)) return Errno{EINVAL};
  return ok();
}

}  // namespace

Result<Rwalkx> Session::handle(const Twalkx& t) {
  TRY(check_flags(t));
  FidEntry* from = TRY(fids_.find_node(t.fid));
  Walkx w{.t = t, .read_only = server_.read_only()};
  const bool keep = w.wants(kWalkKeepControl), all = w.wants(kWalkAllFids);
  const bool opens = w.wants(kWalkOpen) && t.openfid != kNoFid;
  const size_t controls = all ? std::max<size_t>(t.names.size(), 1) : keep ? 1 : 0;
  if (controls != 0) TRY(fids_.check_free(t.newfid, controls + (opens ? 1 : 0)));
  if (opens) {
    TRY(fids_.check_free(t.openfid, 1));
    const uint32_t distance = static_cast<uint32_t>(t.openfid) - static_cast<uint32_t>(t.newfid);
    if (controls != 0 && distance < controls) return Errno{EBADF};
  }

  w.walk(from->node);
  if (w.complete() && w.reply.status == WalkStatus::kOk) w.open_last();
  if (w.reply.status == WalkStatus::kSymlink) {
    if (auto target = w.nodes.back()->read_link()) {
      text_ = std::move(target.assume_value());
      w.reply.target = text_;
    } else {
      w.fail(target.assume_error());
    }
  }
  if (w.file != nullptr && w.wants(kWalkWantFd)) {
    const bool can = (server_.caps() & kCapFd) != 0;
    if (auto fd = !can ? Errno{EOPNOTSUPP} : opens ? w.file->donate() : w.file->give_up()) {
      donated_.push_back(std::move(fd.assume_value()));
      w.reply.rflags |= kWalkxFd;
    } else if (!opens) {
      w.fail(fd.assume_error());
    }
  }
  // Nothing fails from here on: bind what the reply says is bound.
  if (all) {
    for (size_t i = 0; i < w.nodes.size(); ++i) {
      fids_.bind(Fid{static_cast<uint32_t>(t.newfid) + static_cast<uint32_t>(i)}, w.nodes[i]);
    }
  } else if (keep && w.complete()) {
    fids_.bind(t.newfid, w.nodes.back());
  }
  if (w.file != nullptr && opens) {
    w.reply.iounit = w.file->iounit();
    fids_.bind_open(t.openfid, w.nodes.back(), std::move(w.file), t.oflags);
  }
  return std::move(w.reply);
}

}  // namespace run9::p9
