// Opening, and everything that works on an open file.
#include "p9/server/session.h"

namespace run9::p9 {

namespace {

bool may_read(const FidEntry& e) { return access_mode(e.flags) != kOWronly; }
bool may_write(const FidEntry& e) { return access_mode(e.flags) != kORdonly; }

// v9fs sends the flags of open(2) as they are; names are made by Tlcreate only.
OpenFlags without_creation(OpenFlags f) {
  return OpenFlags{bits(f) & ~bits(kOCreat | kOExcl | kONoctty | kOCloexec)};
}

Result<std::unique_ptr<OpenFile>> open_node(Node& node, OpenFlags flags) {
  const Qid qid = node.qid();
  if (is(qid, QidType::kSymlink)) return Errno{ELOOP};
  if (is(qid, QidType::kDir) && wants_write(flags)) return Errno{EISDIR};
  return node.open(without_creation(flags));
}

// Starts a frame whose last field is data[count], written in place; ends it with the right sizes.
class DataFrame {
 public:
  template <typename... Before>
  DataFrame(ReplyBatch& out, MsgType type, Tag tag, Before... before)
      : out_(out.bytes), start_(out_.size()) {
    out_.write(uint32_t{0});
    out_.write(to_int(type));
    out_.write(static_cast<uint16_t>(tag));
    (out_.write(before), ...);
    out_.write(uint32_t{0});
    data_ = out_.size();
  }
  size_t data_size() const { return out_.size() - data_; }
  FrameBuffer& buffer() { return out_; }
  size_t start() const { return start_; }
  void finish() {
    out_.patch(data_ - 4, static_cast<uint32_t>(data_size()));
    out_.patch(start_, static_cast<uint32_t>(out_.size() - start_));
  }

 private:
  FrameBuffer& out_;
  size_t start_;
  size_t data_ = 0;
};

template <typename Entry>
class FrameDirSink final : public DirSink {
 public:
  FrameDirSink(DataFrame& frame, size_t limit) : frame_(frame), limit_(limit) {}
  bool emit(const DirentX& e) override {
    constexpr size_t kFixed = std::is_same_v<Entry, Dirent> ? kDirentFixed : kDirentXFixed;
    if (frame_.data_size() + kFixed + e.name.size() > limit_) {
      full_ = true;
      return false;
    }
    if constexpr (std::is_same_v<Entry, Dirent>) {
      codec_detail::put(frame_.buffer(), Dirent{e.qid, e.offset, e.type, e.name});
    } else {
      codec_detail::put(frame_.buffer(), e);
    }
    return true;
  }
  // Not even one entry had room: an answer without entries would mean the end of the directory.
  bool too_small() const { return full_ && frame_.data_size() == 0; }

 private:
  DataFrame& frame_;
  size_t limit_;
  bool full_ = false;
};

}  // namespace

Result<Rlopen> Session::handle(const Tlopen& t) {
  FidEntry* e = TRY(fids_.find_node(t.fid));
  if (e->state == FidState::kOpen) return Errno{EINVAL};
  e->file = TRY(open_node(*e->node, t.flags));
  e->flags = t.flags;
  e->state = FidState::kOpen;
  return Rlopen{.qid = e->node->qid(), .iounit = e->file->iounit()};
}

Result<void> Session::handle(const Tread& t, InPlace reply) {
  FidEntry* e = TRY(fids_.find(t.fid));
  const size_t count = std::min(t.count, max_io());
  DataFrame frame(reply.out, MsgType::kRread, reply.tag);
  if (e->state == FidState::kXattrRead) {
    const ByteSpan value = e->xattr.bytes;
    const size_t from = std::min<uint64_t>(t.offset, value.size());
    frame.buffer().append(value.subspan(from, std::min(count, value.size() - from)));
  } else {
    if (e->state != FidState::kOpen || !may_read(*e)) return Errno{EBADF};
    if (e->is_dir()) return Errno{EISDIR};
    const size_t start = frame.buffer().size();
    const size_t n = TRY(e->file->read(t.offset, frame.buffer().extend(count)));
    CHECK(n <= count);
    frame.buffer().truncate(start + n);
  }
  frame.finish();
  return ok();
}

Result<Rwrite> Session::handle(const Twrite& t) {
  FidEntry* e = TRY(fids_.find(t.fid));
  if (e->state == FidState::kXattrWrite) {
    XattrValue& x = e->xattr;
    if (t.offset != x.bytes.size() || t.data.size() > x.expected - x.bytes.size()) {
      return Errno{EINVAL};
    }
    x.bytes.insert(x.bytes.end(), t.data.begin(), t.data.end());
    return Rwrite{.count = static_cast<uint32_t>(t.data.size())};
  }
  if (e->state != FidState::kOpen || !may_write(*e)) return Errno{EBADF};
  const size_t n = TRY(e->file->write(t.offset, t.data));
  return Rwrite{.count = static_cast<uint32_t>(n)};
}

Result<void> Session::handle(const Treaddir& t, InPlace reply) {
  FidEntry* e = TRY(fids_.find_open(t.fid));
  if (!e->is_dir()) return Errno{ENOTDIR};
  DataFrame frame(reply.out, MsgType::kRreaddir, reply.tag);
  FrameDirSink<Dirent> sink(frame, std::min(t.count, max_io()));
  TRY(e->file->read_dir(t.offset, 0, sink));
  if (sink.too_small()) return Errno{EINVAL};
  frame.finish();
  return ok();
}

Result<void> Session::handle(const Treaddirx& t, InPlace reply) {
  FidEntry* e = TRY(fids_.find_node(t.fid));
  if (!e->is_dir()) return Errno{ENOTDIR};
  OpenFile* file = e->file.get();
  std::unique_ptr<OpenFile> for_now;
  if (file == nullptr) {
    if ((t.flags & kReaddirOpen) == 0) return Errno{EBADF};
    for_now = TRY(e->node->open(kORdonly | kODirectory));
    file = for_now.get();
  }
  DataFrame frame(reply.out, MsgType::kRreaddirx, reply.tag, uint32_t{0});
  FrameDirSink<DirentX> sink(frame, std::min(t.count, max_io()));
  const bool at_end = TRY(file->read_dir(t.offset, t.attrmask, sink));
  if (sink.too_small()) return Errno{EINVAL};
  frame.finish();
  if (at_end) reply.out.bytes.patch(frame.start() + kHeaderSize, kReaddirEof);
  return ok();
}

Result<void> Session::handle(const Twalkdir& t, InPlace reply) {
  NodeRef node = TRY(fids_.find_node(t.fid))->node;
  if (t.newfid != kNoFid) TRY(fids_.check_free(t.newfid));
  for (const Name& name : t.names) node = TRY(node->walk(name, 0)).node;
  if (!is(node->qid(), QidType::kDir)) return Errno{ENOTDIR};
  const auto file = TRY(node->open(kORdonly | kODirectory));
  DataFrame frame(reply.out, MsgType::kRwalkdir, reply.tag, uint32_t{0});
  FrameDirSink<DirentX> sink(frame, std::min(t.count, max_io()));
  const bool at_end = TRY(file->read_dir(0, t.attrmask, sink));
  if (sink.too_small()) return Errno{EINVAL};
  frame.finish();
  if (at_end) reply.out.bytes.patch(frame.start() + kHeaderSize, kReaddirEof);
  if (t.newfid != kNoFid) fids_.bind(t.newfid, std::move(node));
  return ok();
}

Result<Rfsync> Session::handle(const Tfsync& t) {
  FidEntry* e = TRY(fids_.find_open(t.fid));
  TRY(e->file->fsync(t.datasync.value != 0));
  return Rfsync{};
}

Result<Rlock> Session::handle(const Tlock& t) {
  FidEntry* e = TRY(fids_.find_open(t.fid));
  if (t.type > LockType::kUnlock) return Errno{EINVAL};
  const LockStatus status = TRY(e->file->lock({.type = t.type,
                                               .flags = t.flags,
                                               .start = t.start,
                                               .length = t.length,
                                               .proc_id = t.proc_id,
                                               .client_id = t.client_id}));
  return Rlock{.status = status};
}

Result<Rgetlock> Session::handle(const Tgetlock& t) {
  FidEntry* e = TRY(fids_.find_open(t.fid));
  if (t.type > LockType::kUnlock) return Errno{EINVAL};
  const LockRequest r = TRY(e->file->get_lock({.type = t.type,
                                               .start = t.start,
                                               .length = t.length,
                                               .proc_id = t.proc_id,
                                               .client_id = t.client_id}));
  return Rgetlock{.type = r.type,
                  .start = r.start,
                  .length = r.length,
                  .proc_id = r.proc_id,
                  .client_id = r.client_id};
}

Result<void> Session::handle(const Tlockx& t, InPlace reply) {
  FidEntry* e = TRY(fids_.find_open(t.fid));
  if (t.type > LockType::kUnlock || (t.flags & ~kLockFlagsKnown) != 0) return Errno{EINVAL};
  const bool whole = (t.flags & kLockWhole) != 0;
  if (whole && (t.start != 0 || t.length != 0)) return Errno{EINVAL};
  if (t.start > INT64_MAX || t.length > INT64_MAX - t.start) return Errno{EINVAL};
  const OpenFileLock lock{.type = t.type, .whole = whole, .start = t.start, .length = t.length};
  const LockStatus status = TRY(e->file->lock_open_file(lock));
  if (status == LockStatus::kBlocked && (t.flags & kLockWait) != 0) {
    if (waiting_.size() >= kMaxLockWaits) return Errno{ENOLCK};
    waiting_.push_back({reply.tag, TRY(e->file->wait_for_lock(lock))});
    return ok();
  }
  encode_to(reply.out.bytes, reply.tag, Rlockx{.status = status});
  return ok();
}

Result<Rfdget> Session::handle(const Tfdget& t) {
  FidEntry* e = TRY(fids_.find_node(t.fid));
  const auto file = TRY(open_node(*e->node, t.oflags));
  donated_.push_back(TRY(file->give_up()));
  return Rfdget{.qid = e->node->qid()};
}

Result<Rmopen> Session::handle(const Tmopen& t) {
  FidEntry* dir = TRY(fids_.find_node(t.fid));
  Rmopen reply;
  for (const Name& name : t.names) {
    OpenedX& told = reply.files.emplace_back();
    auto file = dir->node->donate_child(name);
    if (!file) {
      told.error = static_cast<uint32_t>(to_int(file.error()));
      continue;
    }
    told.qid = file.assume_value().qid;
    donated_.push_back(std::move(file.assume_value().fd));
  }
  return reply;
}

Result<Rfalloc> Session::handle(const Tfalloc& t) {
  FidEntry* e = TRY(fids_.find_open(t.fid));
  if (!may_write(*e)) return Errno{EBADF};
  TRY(e->file->allocate(t.mode, t.offset, t.length));
  return Rfalloc{.attr = TRY(e->node->get_attr(t.attrmask, e->file.get()))};
}

namespace {

// The open file of a fid, or one that is opened for this request alone.
struct Opened {
  std::unique_ptr<OpenFile> own;
  OpenFile* file = nullptr;
};

Result<Opened> opened(FidEntry& e, OpenFlags mode) {
  if (e.is_dir()) return Errno{EISDIR};
  if (e.state == FidState::kOpen) {
    if (!(mode == kORdonly ? may_read(e) : may_write(e))) return Errno{EBADF};
    return Opened{nullptr, e.file.get()};
  }
  auto own = TRY(open_node(*e.node, mode));
  OpenFile* const file = own.get();
  return Opened{std::move(own), file};
}

}  // namespace

Result<Rcopy> Session::handle(const Tcopy& t) {
  uint64_t in_end = 0, out_end = 0;
  if (__builtin_add_overflow(t.inoffset, t.length, &in_end) || in_end > INT64_MAX ||
      __builtin_add_overflow(t.outoffset, t.length, &out_end) || out_end > INT64_MAX) {
    return Errno{EINVAL};
  }
  const Opened in = TRY(opened(*TRY(fids_.find_node(t.infid)), kORdonly));
  const Opened out = TRY(opened(*TRY(fids_.find_node(t.outfid)), kOWronly));
  return Rcopy{.copied = TRY(out.file->copy_from(*in.file, t.inoffset, t.outoffset, t.length))};
}

Result<Rsyncfs> Session::handle(const Tsyncfs& t) {
  TRY(TRY(fids_.find_node(t.fid))->node->sync_fs());
  return Rsyncfs{};
}

Result<Rseek> Session::handle(const Tseek& t) {
  FidEntry* e = TRY(fids_.find_open(t.fid));
  if (t.whence != kSeekData && t.whence != kSeekHole) return Errno{EINVAL};
  return Rseek{.offset = TRY(e->file->seek(t.offset, t.whence))};
}

}  // namespace run9::p9
