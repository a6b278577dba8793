// Wire: what the gofer file system says over 9P, one function for each thing it wants done. With the
// Run9 dialect that is one message; with plain 9P2000.L it is several, and the callers cannot tell.
// Results own their data: nothing points into a frame once a function is back.
//
// Owned by GoferFs. Every function that talks blocks the calling fiber; drop() and the fid functions
// never do.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "p9/client.h"
#include "p9/messages.h"
#include "vfs/gofer/listing.h"

namespace run9::vfs::gofer {

using p9::AttrX;
using p9::Fid;
using p9::Qid;

// How far a walk came. `end` says why it stopped: kOk when all names were walked.
struct Walked {
  std::vector<p9::WalkedX> found;
  Fid first = p9::kNoFid;  // with Bind::kYes: component i has fid first + i
  p9::WalkStatus end = p9::WalkStatus::kOk;
  Errno error{};       // with kFailed
  UniqueFd host;       // with Then::kRead: the last file, opened for reading, if it is a regular one
  // Of the start, and of each component found: the number of the gofer's watch, or 0.
  std::vector<uint32_t> leases;
  std::string target;  // of the symlink that it ended in, "" if the server did not say
};
enum class Bind { kNo, kYes };
// What comes after a walk to the last name: kRead wants a host descriptor of a regular file.
enum class Then { kNothing, kRead };

struct Owner {
  uint32_t uid = p9::kNoId;
  uint32_t gid = p9::kNoId;
};
// A file that was just made, and a fid for it.
struct Made {
  Qid qid;
  AttrX attr;
  Fid fid = p9::kNoFid;
};
// A fid on which reads and writes go, and the most that one of them carries.
struct OpenFid {
  Fid fid = p9::kNoFid;
  uint32_t iounit = 0;
};
struct Created {
  Made file;
  UniqueFd host;  // the file, opened for reading and writing, if the server donates
  OpenFid open;   // the same on the server
};

struct WireEntry {
  Qid qid;
  uint8_t type = 0;  // DT_*
  AttrX attr;        // valid 0: not told
  std::string_view name;
};

class Wire {
 public:
  explicit Wire(std::unique_ptr<p9::Client> client) : client_(std::move(client)) {}
  Wire(Wire&&) = default;

  bool has(uint64_t cap) const { return client_->has_cap(cap); }
  // The inotify descriptor of this connection. Walks ask for leases from now on.
  Result<UniqueFd> lease_events();

  // The bound fid is no longer wanted: clunked together with others, before a later call.
  void drop(Fid fid);
  // As drop(), for a file without a name, whose space the fid holds: many bytes do not wait long.
  void drop_unlinked(Fid fid, uint64_t bytes);
  void flush_drops();
  size_t fids_in_use() const { return client_->fids_in_use(); }
  // Called before fids are bound: may drop() others.
  void before_fids(std::function<void()> call) { before_fids_ = std::move(call); }
  Result<void> clunk(Fid fid) { return client_->clunk(fid); }

  // Walks up to max_walk() names. With Bind::kNo no fid is left behind; in plain 9P2000.L it is one name then.
  Result<Walked> walk(Fid from, std::span<const std::string_view> names, Bind bind,
                      Then then = Then::kNothing);
  // The attributes of a directory, and a lease of it: the number of the gofer's watch, or 0.
  struct Leased {
    AttrX attr;
    uint32_t watch = 0;
  };
  Result<Leased> lease(Fid dir);
  size_t max_walk() const { return has(p9::kCapWalkx) ? p9::kMaxWalkx : p9::kMaxWalk; }

  // Creates a regular file that must not exist, and opens it for reading and writing.
  Result<Created> create(Fid dir, std::string_view name, uint32_t mode, Owner owner);
  Result<Made> mkdir(Fid dir, std::string_view name, uint32_t mode, Owner owner);
  Result<Made> mknod(Fid dir, std::string_view name, uint32_t mode, uint64_t rdev, Owner owner);
  Result<Made> symlink(Fid dir, std::string_view name, std::string_view target, Owner owner);
  Result<void> link(Fid dir, std::string_view name, Fid file);
  Result<void> unlink(Fid dir, std::string_view name, uint32_t flags);
  Result<void> rename(Fid from_dir, std::string_view from, Fid to_dir, std::string_view to,
                      uint32_t flags);
  Result<std::string> readlink(Fid fid);
  // Of several names in `dir`, in one round trip; those that are no symbolic links are left out. Needs kCapWalkx.
  struct Link {
    Qid qid;
    std::string target;
  };
  std::vector<Link> read_links(Fid dir, std::span<const std::string> names);

  Result<p9::WalkedX> getattr(Fid fid);
  // The attributes after the change.
  Result<AttrX> setattr(Fid fid, const p9::SetAttr& set);
  Result<p9::Rstatfs> statfs(Fid fid);

  // EOPNOTSUPP where the server donates no descriptors.
  Result<UniqueFd> donated(Fid fid, p9::OpenFlags flags);
  // The same for a name in `dir`, without a fid: whatever file has the name now.
  struct Donated {
    Qid qid;
    UniqueFd host;
  };
  Result<Donated> donated_by_name(Fid dir, std::string_view name, p9::OpenFlags flags);
  // An open file of its own, which the server has too, as `fid`.
  struct OpenHost {
    Fid fid = p9::kNoFid;
    UniqueFd host;
  };
  Result<OpenHost> open_host(Fid fid, p9::OpenFlags flags);
  // The number that the file's inotify events have from now on, and if `with_events` the descriptor that they come from.
  // Needs kCapEvents.
  struct Reports {
    uint32_t watch = 0;
    UniqueFd events;
  };
  Result<Reports> report_changes(Fid fid, uint32_t mask, bool with_events);
  // To the socket that the file is. Needs kCapSock.
  Result<UniqueFd> connect(Fid fid, uint32_t type);
  // EAGAIN if somebody else has it, without kLockWait; `sleep` waits, and ends the wait if it fails
  // (p9::Client::call_slowly).
  Result<void> lock(const p9::Tlockx& request, const std::function<Result<void>(WaitQueue&)>& sleep);
  struct Named {
    static constexpr uint64_t kNobody = 0;
    std::string name;
    uint64_t path = kNobody;  // its qid's, as far as we know
  };
  // For reading, by the names in `dir`, in one message, without waiting for the answer. Needs kCapMopen.
  struct Opening {
    std::vector<Named> files;
    std::shared_ptr<p9::Begun<p9::Tmopen>> begun;
    bool answered() const { return begun->answered(); }
    void wait() { begun->wait(); }
    // Once, when it is answered: what could be opened and is what `files` says.
    Result<std::vector<Donated>> take();
  };
  Result<Opening> begin_opening(Fid dir, std::vector<Named> files);
  // Opens the file of `fid`, which stays as it is.
  Result<OpenFid> open(Fid fid, p9::OpenFlags flags);
  Result<size_t> read(OpenFid file, uint64_t offset, std::span<std::byte> dst);
  Result<size_t> write(OpenFid file, uint64_t offset, ByteSpan src);
  Result<void> fsync(Fid open, bool data_only);
  // Open or merely walked fids. EOPNOTSUPP where the server does not copy.
  Result<uint64_t> copy(Fid in, uint64_t from, Fid out, uint64_t to, uint64_t length);
  Result<void> syncfs(Fid fid);
  Result<void> allocate(Fid open, uint32_t mode, uint64_t offset, uint64_t length);
  Result<uint64_t> seek(Fid open, uint64_t offset, uint8_t whence);
  // The whole directory, "." and ".." among the entries.
  Result<void> read_directory(Fid dir, const std::function<void(const WireEntry&)>& take, Detail detail);

  // The entries from `offset` on with attributes, `bytes` of them at most, in one message: where to go on, if those are not all.
  // Needs kCapReaddirx.
  Result<std::optional<uint64_t>> read_part(Fid dir, uint64_t offset, uint32_t bytes, Detail detail,
                                            const std::function<void(const WireEntry&)>& take);

  // Directories by their names, asked for together without waiting for the answers. The first `whole` of them
  // as far as one message goes, the others kAhead bytes of entries. Needs kCapWalkdir.
  static constexpr uint32_t kAhead = 64 * 1024;
  struct Reading {
    Fid fid = p9::kNoFid;
    Detail detail = Detail::kAll;
    std::shared_ptr<p9::Begun<p9::Twalkdir>> begun;  // null: could not be asked for
  };
  struct NameIn {
    Fid dir = p9::kNoFid;
    std::string name;
  };
  std::vector<Reading> begin_reading(std::span<const NameIn> dirs, size_t whole, Detail detail);
  // Once, when it is answered. Gives the directory's fid, and where to go on reading if there is more.
  struct ReadDir {
    Fid fid = p9::kNoFid;
    std::optional<uint64_t> rest{};
  };
  Result<ReadDir> take(const Reading& reading, const std::function<void(const WireEntry&)>& entry);
  // The rest of a directory, from `offset` on.
  Result<void> read_on(Fid dir, uint64_t offset, const std::function<void(const WireEntry&)>& take, Detail detail);

  Result<std::vector<std::byte>> getxattr(Fid fid, std::string_view name);
  Result<void> setxattr(Fid fid, std::string_view name, ByteSpan value, uint32_t flags);
  Result<void> removexattr(Fid fid, std::string_view name);
  Result<std::vector<std::byte>> listxattr(Fid fid);

 private:
  static constexpr uint64_t kMostHeldBytes = 16 << 20;
  template <typename M>
  Result<p9::Answer<typename M::Reply>> call(const M& request);
  uint32_t chunk(uint32_t iounit) const;
  // Gives back the numbers first + from .. first + to - 1, which are not bound.
  void release(Fid first, size_t from, size_t to);

  Result<Fid> new_fids(uint32_t count = 1);
  Result<Fid> clone(Fid fid);
  Result<void> check_made(const Result<p9::Answer<p9::Rwalkx>>& answer, Fid control);
  Result<Walked> walk_plain(Fid from, std::span<const std::string_view> names, Bind bind);
  Result<Made> make(p9::Tmkx request);
  Result<Created> create_plain(Fid dir, std::string_view name, uint32_t mode, Owner owner);
  Result<Made> found_new(Fid dir, std::string_view name, Owner owner);
  Result<void> read_directory_plain(Fid dir, const std::function<void(const WireEntry&)>& take);
  Result<std::vector<std::byte>> read_xattr_plain(Fid fid, std::string_view name);

  std::unique_ptr<p9::Client> client_;
  std::function<void()> before_fids_;
  bool leases_ = false;      // walks ask for them
  uint64_t held_bytes_ = 0;  // by dropped fids of unlinked files
};

}  // namespace run9::vfs::gofer
