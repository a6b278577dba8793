#include "p9/client.h"

#include <algorithm>

namespace run9::p9 {

Result<uint32_t> IdPool::take(uint32_t count) {
  uint32_t run = 0;
  for (uint32_t id = lowest_; id < limit_; ++id) {
    if (id / kBits == used_.size()) used_.push_back(0);
    if (id % kBits == 0 && used_[id / kBits] == ~uint64_t{0}) {
      run = 0;
      id += kBits - 1;
      continue;
    }
    run = used(id) ? 0 : run + 1;
    if (run < count) continue;
    const uint32_t first = id + 1 - count;
    for (uint32_t i = first; i <= id; ++i) used_[i / kBits] |= uint64_t{1} << (i % kBits);
    if (first == lowest_) lowest_ = id + 1;
    in_use_ += count;
    return first;
  }
  return Errno{ENFILE};
}

void IdPool::give_back(uint32_t id) {
  CHECK(id / kBits < used_.size() && used(id));
  used_[id / kBits] &= ~(uint64_t{1} << (id % kBits));
  lowest_ = std::min(lowest_, id);
  --in_use_;
}

Result<Tag> Client::take_tag() {
  // Tags are fewer than fids: 0xffff is NOTAG, which the pool's limit leaves out.
  return static_cast<Tag>(TRY(tags_.take()));
}

Result<Fid> Client::alloc_fids(uint32_t count) { return static_cast<Fid>(TRY(fids_.take(count))); }

Result<Reply> Client::checked_round_trip(std::vector<std::byte> frame, Tag tag) {
  if (lost_) return Errno{EIO};
  return checked(channel_.round_trip(std::move(frame), tag), tag);
}

Result<Reply> Client::checked(Result<Reply> reply, Tag tag) {
  if (!reply) {
    lost_ = true;
    return Errno{EIO};
  }
  const ByteSpan bytes = reply.assume_value().frame;
  const Header h = TRY(decode_header(bytes));
  if (h.tag != tag) return Errno{EPROTO};
  if (h.type != MsgType::kRlerror) return reply;
  const uint32_t ecode = TRY(decode<Rlerror>(bytes)).ecode;
  // Restart codes and nonsense stop here: the kernel above gives them a meaning of their own.
  if (ecode == 0 || ecode >= 512) return Errno{EIO};
  return Errno{static_cast<int>(ecode)};
}

Result<Reply> Client::exchange(std::vector<std::byte> frame, Tag tag) {
  Result<Reply> reply =
      frame.size() > msize_ ? Errno{EMSGSIZE} : checked_round_trip(std::move(frame), tag);
  // After a lost connection too: nothing is ever sent on it again.
  tags_.give_back(static_cast<uint32_t>(tag));
  return reply;
}

void Client::exchange_all(std::span<Exchange> all) {
  if (!lost_) {
    channel_.round_trips(all);
    for (Exchange& e : all) e.take(checked(e.result(), e.tag));
  }
  for (const Exchange& e : all) tags_.give_back(static_cast<uint32_t>(e.tag));
}

Result<void> Client::try_version(std::string_view version) {
  auto reply = checked_round_trip(
      encode(kNoTag, Tversion{.msize = options_.msize, .version = version}), kNoTag);
  if (lost_) return Errno{EIO};
  if (!reply) return Errno{EPROTONOSUPPORT};
  const Rversion r = TRY(decode<Rversion>(reply.assume_value().frame));
  // A server may answer the plain version to the dialect's string: that is an agreement, and some
  // refuse a second Tversion after one.
  if (r.version != version && r.version != kVersionL) return Errno{EPROTONOSUPPORT};
  if (r.msize < kMinMsize) return Errno{EPROTO};
  msize_ = std::min(r.msize, options_.msize);
  channel_.set_msize(msize_);
  dialect_ = r.version == kVersionX;
  return ok();
}

Result<void> Client::start() {
  options_.msize = std::clamp(options_.msize, kMinMsize, kMaxMsize);
  Result<void> agreed = Errno{EPROTONOSUPPORT};
  if (options_.dialect) agreed = try_version(kVersionX);
  if (!agreed && agreed.assume_error() == Errno{EPROTONOSUPPORT}) agreed = try_version(kVersionL);
  TRY(std::move(agreed));
  if (dialect_) caps_ = TRY(call(Tcaps{.want = kCapAll}))->have & kCapAll;
  if (options_.ring != 0 && has_cap(kCapRing) && channel_.takes_ring()) return start_ring();
  return ok();
}

Result<void> Client::start_ring() {
  auto answer = call(Tring{.stream_size = options_.ring});
  // No memory for it, for instance: the socket goes on.
  if (!answer) return lost_ ? answer.assume_error() : Result<void>(ok());
  if (!answer.assume_value().fd.valid()) return Errno{EPROTO};
  return channel_.start_ring({std::move(answer.assume_value().fd), answer.assume_value()->stream_size});
}

Result<Attached> Client::attach(std::string_view aname, std::string_view uname,
                                uint32_t n_uname) {
  const Fid fid = TRY(alloc_fid());
  auto reply = call(Tattach{.fid = fid, .uname = uname, .aname = aname, .n_uname = n_uname});
  if (!reply) {
    free_fid(fid);
    return reply.assume_error();
  }
  return Attached{fid, reply.assume_value()->qid};
}

Result<void> Client::clunk(Fid fid) {
  auto reply = call_now(Tclunk{.fid = fid});
  free_fid(fid);
  if (!reply) return reply.assume_error();
  return ok();
}

void Client::flush_drops() {
  // Fibers may drop more while we are away: take the list first.
  std::vector<Fid> fids;
  fids.swap(dropped_);
  if (!has_cap(kCapClunkx)) {
    for (const Fid fid : fids) static_cast<void>(clunk(fid));
    return;
  }
  for (size_t at = 0; at < fids.size(); at += kMaxClunks) {
    const auto part = std::span(fids).subspan(at, std::min(kMaxClunks, fids.size() - at));
    Tmclunk request;
    request.fids.assign(part.begin(), part.end());
    static_cast<void>(call_now(request));
    for (const Fid fid : part) free_fid(fid);
  }
}

}  // namespace run9::p9
