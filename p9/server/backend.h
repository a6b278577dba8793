// What a 9P server serves: the interface between a Session (which knows messages, fids and limits)
// and a tree of files. gofer/ implements it over host descriptors, MemTree in memory.
//
// A Node is a file as a walk finds it; an OpenFile is one opened. A fid has a Node and, once open,
// an OpenFile. Every call is synchronous, on the session's thread, and must not wait for other
// guests of the tree (no FIFO opens, no blocking locks). Names have been checked: one component,
// no '/', no NUL, never "" or "."; ".." reaches walk() alone. A read-only export and read-only open
// modes are enforced by the Session before a call gets here. The defaults answer EOPNOTSUPP, the
// one errno that clients take as "use something else".
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "p9/messages.h"

namespace run9::p9 {

class Node;
class OpenFile;
using NodeRef = std::shared_ptr<Node>;

// Who asks: the attach's user for what the protocol does not say per request. kNoId: not said.
struct Owner {
  uint32_t uid = kNoId;
  uint32_t gid = kNoId;
};

// A node and its attributes as of now (attr.valid: what was filled; it may be more than was asked).
struct Walked {
  NodeRef node;
  AttrX attr;
};
struct Created {
  NodeRef node;
  AttrX attr;
  std::unique_ptr<OpenFile> file;
};

// A regular file and a descriptor of it, for the client to keep.
struct Donated {
  Qid qid;
  UniqueFd fd;
};

struct LockRequest {
  LockType type{};
  LockFlags flags{};
  uint64_t start = 0;
  uint64_t length = 0;  // 0: to the end
  uint32_t proc_id = 0;
  std::string_view client_id;
};

// A lock of an open file (not of a client, as LockRequest's), which whoever else opens the file has to
// heed: fcntl(F_OFD_SETLK), or flock(2) if it is of the whole file.
struct OpenFileLock {
  LockType type{};
  bool whole = false;
  uint64_t start = 0;
  uint64_t length = 0;  // 0: to the end
};

// One that is waited for, by itself. FileServer::news() is readable once there is a result. Destroyed
// before: the wait ends.
class LockWait {
 public:
  virtual ~LockWait() = default;
  // ok(): it is locked.
  virtual std::optional<Result<void>> result() = 0;
  // There is a result afterwards: EINTR, if there was none before.
  virtual void give_up() = 0;
};

// Takes directory entries one by one.
class DirSink {
 public:
  virtual ~DirSink() = default;
  // False: no room, the entry was not taken; stop. e.attr is looked at only where attributes were
  // asked for; e.offset is what read_dir gets to go on after this entry.
  virtual bool emit(const DirentX& e) = 0;
};

// Owned by its fid; its descriptor, if any, closes with it.
class OpenFile {
 public:
  virtual ~OpenFile() = default;
  OpenFile() = default;
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  // At most out.size() bytes; 0 at the end of the file.
  virtual Result<size_t> read(uint64_t offset, std::span<std::byte> out);
  virtual Result<size_t> write(uint64_t offset, ByteSpan data);
  // Entries from `offset` (0 or an earlier entry's), "." and ".." among them, until the sink is
  // full or the directory ends: true at the end. attrmask: what emit()'s attr should have; 0 none.
  virtual Result<bool> read_dir(uint64_t offset, uint64_t attrmask, DirSink& sink);
  virtual Result<void> fsync(bool datasync);
  // kBlocked instead of waiting.
  virtual Result<LockStatus> lock(const LockRequest& request);
  // In: the lock one would like. Out: the one in its way, or type kUnlock. client_id in the answer
  // must outlive the call until the OpenFile's next one.
  virtual Result<LockRequest> get_lock(const LockRequest& request);
  // kBlocked instead of waiting; then one may wait.
  virtual Result<LockStatus> lock_open_file(const OpenFileLock& lock);
  virtual Result<std::unique_ptr<LockWait>> wait_for_lock(const OpenFileLock& lock);
  virtual Result<void> allocate(uint32_t mode, uint64_t offset, uint64_t length);
  virtual Result<uint64_t> seek(uint64_t offset, uint8_t whence);  // kSeekData, kSeekHole
  // Copies bytes of `in`, a file of the same FileServer that is open for reading, and that may be this one: as many as it
  // likes, at least one unless `from` is at the end.
  virtual Result<uint64_t> copy_from(OpenFile& in, uint64_t from, uint64_t to, uint64_t length);
  // A descriptor for the client to keep, with the access mode of the open: regular files only.
  virtual Result<UniqueFd> donate();
  // The same of a file that nobody uses afterwards.
  virtual Result<UniqueFd> give_up() { return donate(); }
  // Preferred I/O size for Rlopen; 0: as much as a message takes.
  virtual uint32_t iounit() const { return 0; }
};

class Node {
 public:
  virtual ~Node() = default;
  Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  virtual Qid qid() const = 0;

  // One component down (or up for "..", which stays at the attach root). Never follows a symlink:
  // it is the result. ENOTDIR if this is no directory, ENOENT if there is no such name.
  virtual Result<Walked> walk(std::string_view name, uint64_t attrmask) = 0;
  // `open` is the fid's open file or null: for what only a descriptor with access can tell or do.
  virtual Result<AttrX> get_attr(uint64_t attrmask, OpenFile* open) = 0;
  virtual Result<void> set_attr(const SetAttr& set, OpenFile* open);

  // Without O_CREAT; ELOOP for a symlink. O_DIRECTORY on another file is ENOTDIR.
  virtual Result<std::unique_ptr<OpenFile>> open(OpenFlags flags);
  // walk(), open() for reading and donate() of a regular file in this directory, without what is left
  // behind. EISDIR, ELOOP or EPERM for others, which are not opened.
  virtual Result<Donated> donate_child(std::string_view name);
  // O_CREAT is implied; O_EXCL only if said. An existing file is opened (and truncated for O_TRUNC);
  // an existing symlink is ELOOP. attrmask as in walk().
  virtual Result<Created> create(std::string_view name, OpenFlags flags, uint32_t mode, Owner owner,
                                 uint64_t attrmask);
  virtual Result<Walked> mkdir(std::string_view name, uint32_t mode, Owner owner,
                               uint64_t attrmask);
  virtual Result<Walked> symlink(std::string_view name, std::string_view target, Owner owner,
                                 uint64_t attrmask);
  // mode has the S_IFMT bits.
  virtual Result<Walked> mknod(std::string_view name, uint32_t mode, uint32_t major, uint32_t minor,
                               Owner owner, uint64_t attrmask);
  virtual Result<void> link(Node& target, std::string_view name);
  virtual Result<void> unlink(std::string_view name, uint32_t flags);  // 0 or kAtRemovedir
  // renameat2(this, name, to, new_name, flags: kRename...). `to` is of the same FileServer.
  virtual Result<void> rename(std::string_view name, Node& to, std::string_view new_name,
                              uint32_t flags);
  // Trename and Tremove name the file by its fid alone. EINVAL for a root.
  virtual Result<void> rename_self(Node& to, std::string_view new_name);
  virtual Result<void> remove_self();

  virtual Result<std::string> read_link();
  // Has changes of this directory, and of what is in it, reported once on FileServer::events(), from
  // now on and as long as the node lives: the number that the event has. 0: not possible.
  virtual uint32_t watch() { return 0; }
  // Has changes of it, and of what is in it, reported on FileServer::change_events() from now on: IN_...
  // bits, 0 for none. The number that the events have.
  virtual Result<uint32_t> report_changes(uint32_t mask);
  // A connection to the socket that this is, for the client to keep. EAGAIN: no room in its queue now.
  virtual Result<UniqueFd> connect(uint32_t type);
  virtual Result<Rstatfs> stat_fs();
  // syncfs(2) of the file system that it is on.
  virtual Result<void> sync_fs();
  // ENODATA for a missing name. Never more than kMaxXattr bytes.
  virtual Result<std::vector<std::byte>> get_xattr(std::string_view name);
  virtual Result<std::vector<std::byte>> list_xattr();  // NUL-terminated names
  virtual Result<void> set_xattr(std::string_view name, ByteSpan value, uint32_t flags);
  virtual Result<void> remove_xattr(std::string_view name);
};

struct AttachRequest {
  std::string_view uname;
  std::string_view aname;  // an export's id, never a host path
  uint32_t n_uname = kNoUname;  // wins over uname
};

// The tree a Session serves. Outlives the sessions; several of them may share it.
class FileServer {
 public:
  virtual ~FileServer() = default;
  // EPERM for an unknown aname.
  virtual Result<NodeRef> attach(const AttachRequest& request) = 0;
  // Capabilities of the dialect that this tree has (kCap...); 0 keeps the server to 9P2000.L.
  virtual uint64_t caps() const { return kCapAll & ~(kCapLease | kCapLockx | kCapSock | kCapEvents); }
  // The inotify descriptor that tells the client of changes: kCapLease only.
  virtual Result<UniqueFd> events() { return Errno{EOPNOTSUPP}; }
  // The one for Node::report_changes(): kCapEvents only.
  virtual Result<UniqueFd> change_events() { return Errno{EOPNOTSUPP}; }
  // Readable when a LockWait has a result, until heard_news() is called. Invalid: there are no such waits.
  virtual BorrowedFd news() const { return {}; }
  virtual void heard_news() {}
  // Every request that changes the tree is EROFS.
  virtual bool read_only() const { return false; }
  // For what can wait until the client has its answers: after each time that some were sent.
  virtual void replied() {}
};

}  // namespace run9::p9
