#include "gofer/host_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace run9::gofer {
namespace {

constexpr size_t kDirBuffer = 32768;

// The kernel's struct linux_dirent64.
struct DirentHead {
  uint64_t ino;
  uint64_t next;
  uint16_t size;
  uint8_t type;
};
constexpr size_t kNameAt = 19;

// By one request: others of the connection wait meanwhile.
constexpr uint64_t kMostCopied = 16 << 20;

}  // namespace

HostFile::HostFile(HostNode::Ref node, UniqueFd fd) : node_(std::move(node)), fd_(std::move(fd)) {
  node_->file_opened();
}

HostFile::~HostFile() { node_->file_closed(); }

Result<size_t> HostFile::read(uint64_t offset, std::span<std::byte> out) {
  node_->act();
  const ssize_t n = pread(fd_.get(), out.data(), out.size(), static_cast<off_t>(offset));
  if (n < 0) return last_errno();
  return static_cast<size_t>(n);
}

Result<size_t> HostFile::write(uint64_t offset, ByteSpan data) {
  node_->act();
  const ssize_t n = pwrite(fd_.get(), data.data(), data.size(), static_cast<off_t>(offset));
  if (n < 0) return last_errno();
  return static_cast<size_t>(n);
}

Result<void> HostFile::fsync(bool datasync) {
  node_->act();
  return check_call(datasync ? fdatasync(fd_.get()) : ::fsync(fd_.get()));
}

Result<p9::LockStatus> HostFile::lock(const p9::LockRequest& request) {
  if (request.type != p9::LockType::kUnlock) node_->set_locked();
  return node_->exp().locks.set(node_->id(), node_->server().connection(), request);
}

Result<p9::LockRequest> HostFile::get_lock(const p9::LockRequest& request) {
  if (auto other = node_->exp().locks.find_conflict(node_->id(), node_->server().connection(),
                                                    request, lock_client_)) {
    return *other;
  }
  p9::LockRequest none = request;
  none.type = p9::LockType::kUnlock;
  return none;
}

Result<p9::LockStatus> HostFile::lock_open_file(const p9::OpenFileLock& lock) {
  return try_lock(fd_.borrow(), lock);
}

Result<std::unique_ptr<p9::LockWait>> HostFile::wait_for_lock(const p9::OpenFileLock& lock) {
  LockWaits* const waits = node_->server().lock_waits();
  if (waits == nullptr) return Errno{EOPNOTSUPP};
  return waits->start(TRY(fd_.dup()), lock);
}

Result<void> HostFile::allocate(uint32_t mode, uint64_t offset, uint64_t length) {
  node_->act();
  return check_call(fallocate(fd_.get(), static_cast<int>(mode), static_cast<off_t>(offset),
                              static_cast<off_t>(length)));
}

Result<uint64_t> HostFile::seek(uint64_t offset, uint8_t whence) {
  node_->act();
  const off_t at = lseek(fd_.get(), static_cast<off_t>(offset),
                         whence == p9::kSeekData ? SEEK_DATA : SEEK_HOLE);
  if (at < 0) return last_errno();
  return static_cast<uint64_t>(at);
}

Result<uint64_t> HostFile::copy_from(p9::OpenFile& in, uint64_t from, uint64_t to, uint64_t length) {
  node_->act();
  // Every open file here that is no directory's is a HostFile; the Session lets no directory through.
  const auto& source = static_cast<HostFile&>(in);
  if (!node_->is_same_users(*source.node_)) return Errno{EXDEV};
  auto source_at = static_cast<off_t>(from), target_at = static_cast<off_t>(to);
  const ssize_t n =
      copy_file_range(source.fd_.get(), &source_at, fd_.get(), &target_at, std::min(length, kMostCopied), 0);
  if (n < 0) return last_errno();
  return static_cast<uint64_t>(n);
}

Result<void> HostDir::fsync(bool datasync) {
  node_->act();
  return check_call(datasync ? fdatasync(fd_.get()) : ::fsync(fd_.get()));
}

Result<HostDir::Fill> HostDir::fill() {
  entries_.resize(kDirBuffer);
  const long n = syscall(SYS_getdents64, fd_.get(), entries_.data(), entries_.size());
  begin_ = end_ = 0;
  if (n < 0) return last_errno();
  if (n == 0) {
    entries_ = {};  // most directories are read once
    return Fill::kEnd;
  }
  end_ = static_cast<size_t>(n);
  return Fill::kMore;
}

Result<bool> HostDir::emit(const char* name, uint64_t ino, uint64_t next, uint8_t type,
                           uint64_t attrmask, p9::DirSink& sink) {
  Export& exp = node_->exp();
  const std::string_view text(name);
  // ".." is the parent in our tree: at the root, what lies above is not the client's to see.
  const bool dot = text == ".", dotdot = text == "..";
  p9::DirentX e{.offset = next, .type = type, .name = text};
  FileId id = dotdot ? node_->parent().id() : FileId{node_->id().dev, ino};
  const bool hidden =
      node_->sealed() || exp.hidden.has(node_->id(), text) || exp.hidden.has(id);
  if (hidden && !dot && !dotdot) return true;
  const bool wanted = (attrmask & p9::kAttrOfDirectories) == 0 || (type == DT_DIR && !dotdot) || type == DT_UNKNOWN;
  if (attrmask != 0 && wanted) {
    const auto st = dotdot ? stat_fd(node_->parent().fd(), attrmask)
                           : stat_child(fd_.borrow(), name, attrmask);
    if (!st && st.assume_error() == Errno{ENOENT}) return true;
    if (st) {
      id = st.assume_value().id;
      e.attr = node_->finish(st.assume_value());
      e.type = static_cast<uint8_t>(IFTODT(e.attr.mode));
      if ((attrmask & p9::kAttrNoXattrs) != 0 && !dotdot && node_->lacks_xattrs(fd_.borrow(), name, e.attr.mode)) {
        e.attr.valid |= p9::kAttrNoXattrs;
      }
    }
  } else if (type == DT_UNKNOWN) {
    if (const auto st = stat_child(fd_.borrow(), name, 0)) {
      e.type = static_cast<uint8_t>(IFTODT(st.assume_value().attr.mode));
    }
  }
  e.qid = exp.qids.qid(id, DTTOIF(e.type));
  return sink.emit(e);
}

Result<bool> HostDir::read_dir(uint64_t offset, uint64_t attrmask, p9::DirSink& sink) {
  node_->act();
  // Offset 0 always starts afresh: new entries are to be seen by a rewind.
  if (offset != resume_ || offset == 0) {
    if (lseek(fd_.get(), static_cast<off_t>(offset), SEEK_SET) < 0) return last_errno();
    begin_ = end_ = 0;
    resume_ = offset;
  }
  for (;;) {
    if (begin_ == end_ && TRY(fill()) == Fill::kEnd) return true;
    while (begin_ != end_) {
      DirentHead head;
      std::memcpy(&head, entries_.data() + begin_, sizeof head);
      const char* name = entries_.data() + begin_ + kNameAt;
      if (!TRY(emit(name, head.ino, head.next, head.type, attrmask, sink))) return false;
      begin_ += head.size;
      resume_ = head.next;
    }
  }
}

}  // namespace run9::gofer
