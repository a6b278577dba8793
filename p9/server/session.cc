#include "p9/server/session.h"

#include <algorithm>
#include <array>

#include "base/log.h"
#include "p9/server/mutates.h"

namespace run9::p9 {

namespace {

// The dialect's replies are larger than the smallest msize; spec/9p2000Lx.md, "Negotiation".
constexpr uint32_t kMinDialectMsize = 16384;

// The capability a request of the dialect belongs to; 0 for Tcaps itself.
constexpr uint64_t cap_of(MsgType type) {
  switch (type) {
    case MsgType::kTwalkx: return kCapWalkx;
    case MsgType::kTreaddirx: return kCapReaddirx;
    case MsgType::kTwalkdir: return kCapWalkdir;
    case MsgType::kTmclunk: return kCapClunkx;
    case MsgType::kTsetx: return kCapSetx;
    case MsgType::kTgetxa:
    case MsgType::kTsetxa:
    case MsgType::kTlistxa:
    case MsgType::kTrmxa: return kCapXattr1;
    case MsgType::kTfdget: return kCapFd;
    case MsgType::kTfalloc: return kCapAlloc;
    case MsgType::kTseek: return kCapSeek;
    case MsgType::kTrename2: return kCapRename2;
    case MsgType::kTlease: return kCapLease;
    case MsgType::kTring: return kCapRing;
    case MsgType::kTmkx: return kCapMkx;
    case MsgType::kTcopy: return kCapCopy;
    case MsgType::kTsyncfs: return kCapSyncfs;
    case MsgType::kTmopen: return kCapMopen | kCapFd;
    case MsgType::kTlockx: return kCapLockx;
    case MsgType::kTsock: return kCapSock | kCapFd;
    case MsgType::kTevents: return kCapEvents | kCapFd;
    default: return 0;
  }
}

}  // namespace

template <typename T>
Result<void> Session::run(ByteSpan frame, Tag tag, ReplyBatch& out) {
  const T t = TRY(decode<T>(frame));
  if (server_.read_only() && mutates(t)) {
    if constexpr (std::is_same_v<T, Tremove>) fids_.erase(t.fid);  // it goes in any case
    return Errno{EROFS};
  }
  if constexpr (requires { handle(t, InPlace{tag, out}); }) {
    TRY(handle(t, InPlace{tag, out}));
  } else {
    encode_to(out.bytes, tag, TRY(handle(t)));
  }
  return ok();
}

// The table is built from the list, so a request without a handler does not compile.
struct Dispatch {
  using Handler = Result<void> (Session::*)(ByteSpan, Tag, ReplyBatch&);
  template <typename... T>
  static constexpr std::array<Handler, 256> make(TypeList<T...>) {
    std::array<Handler, 256> table{};
    ((table[to_int(T::kType)] = &Session::run<T>), ...);
    return table;
  }
};

Session::Session(FileServer& server, SessionOptions options)
    : server_(server), options_(options), fids_(options.max_fids) {
  options_.max_msize = std::clamp(options_.max_msize, kMinMsize, kMaxMsize);
}

Result<void> Session::dispatch(const Header& h, ByteSpan frame, ReplyBatch& out) {
  static constexpr auto kHandlers = Dispatch::make(Requests{});
  if (!is_request(h.type)) return Errno{EINVAL};
  const auto handler = kHandlers[to_int(h.type)];
  if (handler == nullptr) return Errno{EOPNOTSUPP};
  if (h.type != MsgType::kTversion && msize_ == 0) return Errno{EPROTO};
  if (is_dialect(h.type)) {
    const uint64_t cap = cap_of(h.type);
    if (!dialect_ || (caps() & cap) != cap) return Errno{EOPNOTSUPP};
  }
  return (this->*handler)(frame, h.tag, out);
}

Verdict Session::handle_frame(ByteSpan frame, ReplyBatch& out) {
  const auto header = decode_header(frame);
  if (!header) return Verdict::kClose;
  const Header h = header.assume_value();
  const size_t start = out.bytes.size();
  donated_.clear();
  // There is no telling which of the two a reply would be to.
  if (is_waiting(h.tag)) return Verdict::kClose;
  // One request may come before Tversion, and gets its refusal; a peer that goes on is no client.
  if (msize_ == 0 && h.type != MsgType::kTversion && ++stray_frames_ > 1) return Verdict::kClose;

  Result<void> done = dispatch(h, frame, out);
  // Never a frame of exactly msize: v9fs takes it for too large. Tversion's reply sets the limit.
  if (done && msize_ != 0 && out.bytes.size() - start >= msize_) done = Errno{EMSGSIZE};
  if (!done) {
    out.bytes.truncate(start);
    donated_.clear();
    Errno error = done.assume_error();
    if (error == Errno{EPROTO} && msize_ != 0) error = Errno{EINVAL};  // a malformed body
    encode_to(out.bytes, h.tag, Rlerror{.ecode = static_cast<uint32_t>(to_int(error))});
  }
  if (!donated_.empty()) {
    out.donations.push_back({start, out.bytes.size(), std::exchange(donated_, {})});
  }
  return Verdict::kContinue;
}

bool Session::is_waiting(Tag tag) const {
  return std::any_of(waiting_.begin(), waiting_.end(), [&](const Waiting& w) { return w.tag == tag; });
}

namespace {

void reply_late(ReplyBatch& out, Tag tag, const Result<void>& locked) {
  if (locked) {
    encode_to(out.bytes, tag, Rlockx{.status = LockStatus::kSuccess});
  } else {
    encode_to(out.bytes, tag, Rlerror{.ecode = static_cast<uint32_t>(to_int(locked.error()))});
  }
}

}  // namespace

void Session::take_late_replies(ReplyBatch& out) {
  server_.heard_news();
  std::erase_if(waiting_, [&](Waiting& w) {
    const auto locked = w.lock->result();
    if (locked) reply_late(out, w.tag, *locked);
    return locked.has_value();
  });
}

void Session::reset() {
  waiting_.clear();
  fids_.clear();
  msize_ = 0;
  dialect_ = false;
}

Result<Rversion> Session::handle(const Tversion& t) {
  // A second Tversion ends the session that was: its fids and locks are gone before the reply.
  reset();
  if (t.msize < kMinMsize) return Errno{EINVAL};
  const uint32_t msize = std::min(t.msize, options_.max_msize);
  if (t.version != kVersionL && t.version != kVersionX) {
    return Rversion{.msize = msize, .version = kVersionUnknown};
  }
  msize_ = msize;
  dialect_ = t.version == kVersionX && options_.dialect && server_.caps() != 0 &&
             msize >= kMinDialectMsize;
  return Rversion{.msize = msize, .version = dialect_ ? kVersionX : kVersionL};
}

// Nobody has to prove anything. Any error says so to most clients; diod's go on after this one alone.
Result<Rauth> Session::handle(const Tauth&) { return Errno{ENOENT}; }

Result<Rattach> Session::handle(const Tattach& t) {
  TRY(fids_.check_free(t.fid));
  if (t.afid != kNoFid) return Errno{EBADF};
  NodeRef root = TRY(
      server_.attach({.uname = t.uname, .aname = t.aname, .n_uname = t.n_uname}));
  const Qid qid = root->qid();
  fids_.bind(t.fid, std::move(root));
  return Rattach{.qid = qid};
}

// But for the locks that are waited for, every request was answered before the next one was read.
Result<void> Session::handle(const Tflush& t, InPlace reply) {
  std::erase_if(waiting_, [&](Waiting& w) {
    if (w.tag != t.oldtag) return false;
    w.lock->give_up();
    const auto locked = w.lock->result();
    CHECK(locked.has_value());
    reply_late(reply.out, w.tag, *locked);
    return true;
  });
  encode_to(reply.out.bytes, reply.tag, Rflush{});
  return ok();
}

// What a fid still has to do when it goes: Txattrcreate takes effect here.
Result<void> Session::finish(FidEntry entry) {
  if (entry.state != FidState::kXattrWrite) return ok();
  const XattrValue& x = entry.xattr;
  if (x.bytes.size() != x.expected) return Errno{EINVAL};
  // v9fs removes an attribute by replacing it with nothing.
  if (x.expected == 0 && x.flags == kXattrReplace) return entry.node->remove_xattr(x.name);
  return entry.node->set_xattr(x.name, x.bytes, x.flags);
}

Result<Rclunk> Session::handle(const Tclunk& t) {
  auto entry = fids_.erase(t.fid);
  if (!entry) return Errno{EBADF};
  TRY(finish(std::move(*entry)));
  return Rclunk{};
}

Result<Rremove> Session::handle(const Tremove& t) {
  TRY(fids_.find(t.fid));
  // The fid goes even if the file stays.
  const auto entry = fids_.erase(t.fid);
  if (entry->state != FidState::kWalked && entry->state != FidState::kOpen) return Errno{EBADF};
  TRY(entry->node->remove_self());
  return Rremove{};
}

uint64_t Session::caps() const {
  uint64_t caps = server_.caps() & kCapAll;
  if (options_.make_ring == nullptr || (caps & kCapFd) == 0) caps &= ~kCapRing;
  return caps;
}

Result<Rcaps> Session::handle(const Tcaps& t) {
  return Rcaps{.have = t.want & caps(),
               .maxwalk = kMaxWalkx,
               .maxclunk = kMaxClunks};
}

Result<Rlease> Session::handle(const Tlease&) {
  donated_.push_back(TRY(server_.events()));
  return Rlease{};
}

Result<Rsock> Session::handle(const Tsock& t) {
  donated_.push_back(TRY(TRY(fids_.find_node(t.fid))->node->connect(t.type)));
  return Rsock{};
}

Result<Revents> Session::handle(const Tevents& t) {
  FidEntry* e = TRY(fids_.find_node(t.fid));
  if ((t.flags & ~kEventsFd) != 0) return Errno{EINVAL};
  UniqueFd events;
  if ((t.flags & kEventsFd) != 0) events = TRY(server_.change_events());
  const uint32_t watch = TRY(e->node->report_changes(t.mask));
  if (events.valid()) donated_.push_back(std::move(events));
  return Revents{.watch = watch};
}

Result<Rring> Session::handle(const Tring& t) {
  RingMemory memory = TRY(options_.make_ring(t.stream_size));
  donated_.push_back(std::move(memory.fd));
  return Rring{.stream_size = memory.stream_size};
}

Result<Rmclunk> Session::handle(const Tmclunk& t) {
  Rmclunk reply;
  reply.errors.reserve(t.fids.size());
  for (const Fid fid : t.fids) {
    const auto r = handle(Tclunk{.fid = fid});
    reply.errors.push_back(r ? 0 : static_cast<uint32_t>(to_int(r.assume_error())));
  }
  return reply;
}

}  // namespace run9::p9
