#include "p9/server/backend.h"

namespace run9::p9 {

namespace {
constexpr Errno kUnsupported{EOPNOTSUPP};
}

Result<size_t> OpenFile::read(uint64_t, std::span<std::byte>) { return kUnsupported; }
Result<size_t> OpenFile::write(uint64_t, ByteSpan) { return kUnsupported; }
Result<bool> OpenFile::read_dir(uint64_t, uint64_t, DirSink&) { return Errno{ENOTDIR}; }
Result<void> OpenFile::fsync(bool) { return kUnsupported; }
Result<LockStatus> OpenFile::lock(const LockRequest&) { return kUnsupported; }
Result<LockRequest> OpenFile::get_lock(const LockRequest&) { return kUnsupported; }
Result<void> OpenFile::allocate(uint32_t, uint64_t, uint64_t) { return kUnsupported; }
Result<uint64_t> OpenFile::seek(uint64_t, uint8_t) { return kUnsupported; }
Result<uint64_t> OpenFile::copy_from(OpenFile&, uint64_t, uint64_t, uint64_t) { return kUnsupported; }
Result<LockStatus> OpenFile::lock_open_file(const OpenFileLock&) { return kUnsupported; }
Result<std::unique_ptr<LockWait>> OpenFile::wait_for_lock(const OpenFileLock&) { return kUnsupported; }
Result<UniqueFd> OpenFile::donate() { return kUnsupported; }

Result<void> Node::set_attr(const SetAttr&, OpenFile*) { return kUnsupported; }
Result<std::unique_ptr<OpenFile>> Node::open(OpenFlags) { return kUnsupported; }
Result<Donated> Node::donate_child(std::string_view name) {
  const NodeRef child = TRY(walk(name, 0)).node;
  const Qid qid = child->qid();
  if (is(qid, QidType::kDir)) return Errno{EISDIR};
  const auto file = TRY(child->open(kORdonly));
  return Donated{qid, TRY(file->donate())};
}
Result<Created> Node::create(std::string_view, OpenFlags, uint32_t, Owner, uint64_t) {
  return kUnsupported;
}
Result<Walked> Node::mkdir(std::string_view, uint32_t, Owner, uint64_t) { return kUnsupported; }
Result<Walked> Node::symlink(std::string_view, std::string_view, Owner, uint64_t) { return kUnsupported; }
Result<Walked> Node::mknod(std::string_view, uint32_t, uint32_t, uint32_t, Owner, uint64_t) {
  return kUnsupported;
}
Result<void> Node::link(Node&, std::string_view) { return kUnsupported; }
Result<void> Node::unlink(std::string_view, uint32_t) { return kUnsupported; }
Result<void> Node::rename(std::string_view, Node&, std::string_view, uint32_t) {
  return kUnsupported;
}
Result<void> Node::rename_self(Node&, std::string_view) { return kUnsupported; }
Result<void> Node::remove_self() { return kUnsupported; }
Result<std::string> Node::read_link() { return Errno{EINVAL}; }
Result<void> Node::sync_fs() { return kUnsupported; }
Result<uint32_t> Node::report_changes(uint32_t) { return kUnsupported; }
Result<UniqueFd> Node::connect(uint32_t) { return kUnsupported; }
Result<Rstatfs> Node::stat_fs() { return kUnsupported; }
Result<std::vector<std::byte>> Node::get_xattr(std::string_view) { return kUnsupported; }
Result<std::vector<std::byte>> Node::list_xattr() { return kUnsupported; }
Result<void> Node::set_xattr(std::string_view, ByteSpan, uint32_t) { return kUnsupported; }
Result<void> Node::remove_xattr(std::string_view) { return kUnsupported; }

}  // namespace run9::p9
