// GoferFs: a tree that a gofer serves over 9P. Files that the gofer can donate a host descriptor for
// are read, written and mapped through it without the gofer; names and attributes go over 9P, and are
// remembered where the tree is the sandbox's alone (Caching::kAuthoritative).
//
// Owned by its mounts and inodes. When the gofer is gone, what needs it answers EIO, and donated
// descriptors go on working.
#pragma once
#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "vfs/gofer/attribute_use.h"
#include "vfs/gofer/cold_reads.h"
#include "vfs/gofer/fid_budget.h"
#include "vfs/gofer/gofer_inode.h"
#include "vfs/gofer/host_events.h"
#include "vfs/gofer/host_files.h"
#include "vfs/gofer/leases.h"
#include "vfs/gofer/listed_ahead.h"
#include "vfs/gofer/opened_ahead.h"
#include "vfs/gofer/wire.h"

namespace run9::vfs::gofer {

struct GoferOptions {
  std::string aname;  // the export
  Caching caching = Caching::kAuthoritative;
  bool read_only = false;
  std::string source;  // for logs
  // kRevalidate: for how long a name and attributes that the gofer told are believed (the actimeo of
  // NFS). 0: each use asks.
  std::chrono::milliseconds staleness{0};
  size_t max_host_files = 512;            // files whose donated descriptors are kept while idle
  size_t max_listed_names = 128 * 1024;   // names kept in listings
  std::shared_ptr<FidBudget> fids{};      // null: no limit but the server's
  // Has the function called whenever the descriptor is readable, until what it gives is gone: for inotify in a tree that
  // others change. Without it there are only our own events.
  std::function<std::shared_ptr<void>(BorrowedFd, std::function<void()>)> on_readable{};
  std::shared_ptr<p9::Channel> channel{}; // kept as long as the client, if the caller does not
};

class GoferFs final : public FileSystem {
 public:
  // `client` has not been started: version, attach and the root's attributes are asked for here.
  static Result<FileSystemRef> create(OpContext&, std::unique_ptr<p9::Client> client,
                                      GoferOptions options);
  ~GoferFs() override;

  std::string_view type() const override { return "9p"; }
  InodeRef root() override { return root_; }
  Caching caching() const override { return options_.caching; }
  Result<StatFs> statfs(OpContext&) override;
  Result<void> sync(OpContext&) override;
  bool read_only() const override { return options_.read_only; }
  std::string show_options() const override;

  // For the inodes and files of this folder.
  int64_t staleness_ns() const { return std::chrono::nanoseconds(options_.staleness).count(); }
  Wire& wire() { return wire_; }
  Leases& leases() { return leases_; }
  HostEvents* host_events() { return host_events_.get(); }  // may be null
  HostFileCache& host_files() { return host_files_; }
  ColdReadsOfTree& cold_reads() { return cold_reads_; }
  OpenedAhead& opened_ahead() { return opened_ahead_; }
  ListedAhead& listed_ahead() { return listed_ahead_; }
  bool fids_are_scarce() const { return options_.fids != nullptr && options_.fids->scarce(); }
  AttributeUse& attribute_use() { return attribute_use_; }
  AttributeUse& xattr_use() { return xattr_use_; }
  // What listings are to bring, after what was of use lately.
  Detail wanted_detail() const {
    return attribute_use_.pays() ? wanted_of_files() : Detail::kDirectories;
  }
  // The same where the attributes of files are wanted.
  Detail wanted_of_files() const { return xattr_use_.pays() ? Detail::kXattrs : Detail::kAll; }
  void told(Detail detail) {
    if (detail != Detail::kDirectories) attribute_use_.told();
    if (detail == Detail::kXattrs) xattr_use_.told();
  }
  // Counts what we do to extended attributes.
  uint64_t xattr_changes() const { return xattr_changes_; }
  void note_xattr_change() { ++xattr_changes_; }
  // Takes the listings that have come before anybody wanted them.
  void settle_listings();
  void discard(const ListedAhead::Expected& e);
  // Counts what we do to the files of this tree: attributes that were asked for before may be older.
  uint64_t changes() const { return changes_; }
  void note_change() { ++changes_; }
  bool authoritative() const { return options_.caching == Caching::kAuthoritative; }
  // Numbers the answers that were told and the changes that we made, in their order; never 0.
  uint64_t next_event() { return ++events_; }
  Result<void> writable() const;
  // The one live inode of that file, made if there is none; takes the fid over (kNoFid: none).
  std::shared_ptr<GoferInode> intern(Qid qid, const AttrX& attr, Fid fid);
  std::shared_ptr<GoferInode> find_live(Qid qid) const;
  // The file has no name any more, its number may be used again.
  void forget(GoferInode& inode);

  // Listings are kept for the directories that were read last.
  std::list<GoferInode*>::iterator listing_kept(GoferInode& dir, size_t cost);
  void listing_dropped(std::list<GoferInode*>::iterator place, size_t cost);

 private:
  GoferFs(Wire wire, Leases leases, GoferOptions options, Fid root_fid, const p9::WalkedX& root);

  GoferOptions options_;
  Wire wire_;
  Leases leases_;  // kRevalidate
  std::unique_ptr<HostEvents> host_events_;
  HostFileCache host_files_;
  OpenedAhead opened_ahead_;
  ListedAhead listed_ahead_;
  AttributeUse attribute_use_{AttributeUse::kPays};
  AttributeUse xattr_use_{AttributeUse::kNot};
  ColdReadsOfTree cold_reads_;
  std::unordered_map<uint64_t, std::weak_ptr<GoferInode>> inodes_;  // by qid.path
  uint64_t events_ = 0;
  uint64_t changes_ = 0, xattr_changes_ = 0;
  std::list<GoferInode*> listings_;  // newest first
  size_t listed_ = 0;                // what they cost together
  size_t fids_counted_ = 0;          // by the budget
  std::shared_ptr<GoferInode> root_;  // last: goes first
};

}  // namespace run9::vfs::gofer
