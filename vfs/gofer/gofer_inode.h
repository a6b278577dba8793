// GoferInode: a file on the gofer. Holds a control fid (a walked, unopened one) which goes with it,
// its attributes, and the host descriptors it was given. One that came out of a directory listing has
// no fid yet: it remembers its directory and name, and walks there when something needs a fid.
//
// Owned by dentries and open files; GoferFs finds live ones by qid. One object a file, however many
// names it has.
#pragma once
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "vfs/gofer/host_files.h"
#include "vfs/gofer/listed_ahead.h"
#include "vfs/gofer/listing.h"
#include "vfs/gofer/wire.h"
#include "vfs/inode.h"

namespace run9::vfs::gofer {

class GoferFile;
class GoferFs;
using HostFd = std::shared_ptr<UniqueFd>;
enum class Access { kRead, kReadWrite };

class GoferInode final : public Inode, public HostFiles {
 public:
  GoferInode(GoferFs& fs, Qid qid, const AttrX& attr, Fid fid, KeepFs keep);
  ~GoferInode() override;

  Result<Stat> getattr(OpContext&) override;
  Result<void> setattr(OpContext&, const vfs::SetAttr&) override;
  std::optional<bool> known_name(OpContext&, std::string_view name, const Inode& child, Intent intent) override;
  Result<bool> revalidate(OpContext&, std::span<const CachedName> names, Intent intent) override;
  Result<FileRights> rights(OpContext&) override;
  Result<void> permission(OpContext&, uint32_t mask) override;

  Result<InodeRef> lookup(OpContext&, std::string_view name) override;
  Result<std::vector<InodeRef>> lookup_many(OpContext&,
                                            std::span<const std::string_view> names,
                                            Intent intent = Intent::kLook) override;
  Result<InodeRef> create(OpContext&, std::string_view name, uint32_t mode) override;
  Result<InodeRef> mkdir(OpContext&, std::string_view name, uint32_t mode) override;
  Result<InodeRef> mknod(OpContext&, std::string_view name, uint32_t mode, uint64_t rdev) override;
  Result<InodeRef> symlink(OpContext&, std::string_view name, std::string_view target) override;
  Result<void> link(OpContext&, std::string_view name, Inode& target) override;
  Result<void> unlink(OpContext&, std::string_view name, Inode& victim) override;
  Result<void> rmdir(OpContext&, std::string_view name, Inode& victim) override;
  Result<void> rename(OpContext&, std::string_view name, Inode& victim, Inode& new_dir,
                      std::string_view new_name, Inode* target, uint32_t flags) override;
  Result<std::string> readlink(OpContext&) override;
  Result<FileRef> open(OpContext&, const Path& self, uint32_t flags) override;

  Result<std::vector<std::byte>> getxattr(OpContext&, std::string_view name) override;
  Result<void> setxattr(OpContext&, std::string_view name, ByteSpan value, int flags) override;
  Result<void> removexattr(OpContext&, std::string_view name) override;
  Result<std::vector<std::string>> listxattr(OpContext&) override;

  Result<UniqueFd> connect(OpContext&, int type) override;
  std::unique_ptr<OuterLocks> outer_locks() override;
  OuterEvents* outer_events() override;

  // For GoferFs and the open files.
  const Qid& qid() const { return qid_; }
  Result<Fid> fid();
  // The server told again of this file; the fid is taken over.
  void meet_again(const AttrX& attr, Fid fid);
  // A donated descriptor; EOPNOTSUPP if the server has none to give. kRead may give one that is
  // opened for writing too, unless `exact`.
  Result<HostFd> host_file(Access access, bool exact = false);
  // The walk that led here brought a descriptor for reading.
  void opened_already(UniqueFd host);
  // What went through a host descriptor or an open fid made the known attributes old.
  void touched();
  // The same by a read, which changes nothing but the access time, and with relatime (mount(8)) often not even that.
  void was_read();
  // And nobody writes without our hearing of it.
  bool reads_leave_no_trace() const { return !touched_ && !mapped_ && unseen_writers_ == 0 && read_changes_nothing(); }
  // An append just left the file with so many bytes. Known as long as nothing else is done to it.
  void ends_at(uint64_t end) { end_ = {end, version_}; }
  std::optional<uint64_t> known_end() const;
  // setattr through an open fid, which works for an unlinked file on every server; kNoFid: none.
  Result<void> setattr_by(Fid open, const vfs::SetAttr&);
  // Somebody may write through a shared mapping from now on, as long as the descriptor lives.
  void mapped_writable() { mapped_ = true; }
  // Somebody may read by a descriptor of the host's without our hearing of it, from now on.
  void read_by_others();
  // And write by this one.
  std::unique_ptr<UnseenWrites> write_unseen(HostFd host);
  // One open file at a time appends unseen, in a tree of our own, and nobody else writes so then.
  bool may_append_unseen(const GoferFile& file) const;
  GoferFile* appender() const { return appender_; }
  void set_appender(GoferFile* file) { appender_ = file; }
  // While we may change the size.
  class SizeChange {
   public:
    explicit SizeChange(GoferInode& node);
    ~SizeChange();
    SizeChange(const SizeChange&) = delete;
    SizeChange& operator=(const SizeChange&) = delete;

   private:
    GoferInode& node_;
  };
  bool has_set_ids() const { return (attr_.mode & (S_ISUID | S_ISGID)) != 0; }
  bool written_unseen() const override { return unseen_writers_ != 0; }
  bool moves_unseen() const override { return unseen_writers_ != 0 || mapped_ || others_read_; }
  // A write by this caller: clears set-id bits as file systems do.
  Result<void> clear_set_ids(OpContext&);
  // All names of this directory.
  Result<std::shared_ptr<Listing>> listing(OpContext&);
  // Somebody begins to read this directory.
  void read_from_the_start();
  // Its names are about to be told to somebody, who may open them next.
  void about_to_be_told();
  // It was listed by this place.
  void listed_at(const Dentry& place);
  void drop_listing();
  // Of a name in the kept listing.
  std::optional<uint64_t> position_of(std::string_view name) const;
  // The answer to begin_listing() of a directory in it.
  void take_listed_ahead(const ListedAhead::Expected& e);

 private:
  GoferFs& gofer() const;
  Wire& wire() const;
  Stat stat_now() const;
  void learn(const AttrX& attr);
  // The same for an answer to a question that was asked at version `since`.
  void learn(const AttrX& attr, uint64_t since);
  Result<void> refresh();
  void refresh_from_host_file();
  // Writes that were not seen may have moved everything, reads the access time.
  void note_others();
  void before_host_files_go() override;
  void no_unseen_writers();
  bool fresh() const;
  // A read now leaves the access time as it is.
  bool read_changes_nothing() const;
  bool attr_believed(OpContext&) const;
  // The lease under which attributes that are told now stay true.
  uint64_t attr_lease_now() const;
  // A walk that asked at `asked_at` came here by `name` of `dir`; the watches on both.
  void leased_as(const GoferInode& dir, std::string_view name, uint32_t own_watch,
                 uint64_t asked_at);
  void leased(uint32_t watch, uint64_t asked_at);
  bool name_believed(uint64_t moment) const;
  // A walk has just come here by its name.
  void met(OpContext&);
  Result<void> renew_lease(OpContext&);

  // Descriptors (gofer_open.cc).
  using Named = Wire::Named;
  Result<UniqueFd> donated_by_name(p9::OpenFlags flags);
  UniqueFd take_opened_ahead();
  std::vector<Named> open_next(Named first);
  Result<void> begin_opening(std::vector<Named> files);
  void next_files(size_t count, size_t looks, std::vector<Named>& files);
  void open_on();
  void open_neighbours();
  // Those in it that are known, in the listing's order.
  std::vector<std::shared_ptr<GoferInode>> directories_after(std::string_view name, size_t most) const;

  // Directories (gofer_dir.cc, gofer_listing.cc).
  struct Names;
  Names& names();
  const Names& names() const;
  Result<std::shared_ptr<GoferInode>> known_child(OpContext&, std::string_view name, Intent intent);
  Result<std::shared_ptr<GoferInode>> own_child(std::string_view name);
  Result<std::shared_ptr<GoferInode>> listed_child(OpContext&, std::string_view name, Intent intent);
  enum class Listed { kLeased, kOfTheMoment };
  bool take_listed(const GoferInode& dir, Listing::Entry& entry, Listed how);
  Result<std::shared_ptr<Listing>> fetch_listing();
  Result<std::shared_ptr<Listing>> fetch_by_name();
  std::shared_ptr<Listing> keep_listing(std::shared_ptr<Listing> listing);
  class HostWrites;
  struct Told {
    std::shared_ptr<Listing> listing;
    std::optional<uint64_t> rest;  // where it goes on
  };
  Result<Told> told_by(const Wire::Reading& reading, uint64_t parent_ino);
  struct Unlisted {
    std::shared_ptr<GoferInode> parent;
    std::string name;
    Qid qid;
  };
  void unlisted_after(uint64_t own, size_t window, std::vector<Unlisted>& next);
  size_t widen_window();
  enum class Await { kNone, kFirst };
  static std::vector<Wire::Reading> begin_listing(GoferFs& fs, std::span<const Unlisted> dirs, Await await);
  void list_on();
  void list_after(std::string_view name, std::vector<Unlisted>& next);
  void list_first(std::vector<Unlisted>& next);
  // Before a name is asked for: lists the directory instead, if enough names were.
  Result<void> list_for_lookups();
  // Before a file in it is asked for its extended attributes: learns which have none.
  Result<void> list_for_xattrs();
  Result<bool> lacks_xattrs();
  // What a symbolic link in it says, asked for together with those behind it. "": that is not known.
  std::string link_in(std::string_view name, uint64_t path);
  void forget_inodes_of(Listing& listing) const;
  void take_back(const GoferInode& child);
  Owner new_owner_of(OpContext&, uint32_t& mode) const;
  InodeRef made(OpContext&, std::string_view name, const Made& file);
  void name_added(OpContext&, std::string_view name, const GoferInode& child);
  void name_removed(OpContext&, std::string_view name, const GoferInode& child);
  void new_version();
  void own_change();
  void data_moved();
  void changed(OpContext&);
  void attributes_changed();
  void has_xattrs();
  void renamed(OpContext&);
  Result<void> prepare_to_lose_name();
  void lost_name(OpContext&);
  void moved_to(GoferInode& dir, std::string_view name);
  void has_name(GoferInode& dir, std::string_view name);
  void lacks_name(const GoferInode& dir, std::string_view name);
  Result<void> walk_by_other_name();

  Qid qid_;
  Fid fid_;
  // Where to walk to for a fid; empty when there is one, or the name is gone.
  std::shared_ptr<GoferInode> parent_;
  std::string name_;

  // Names that it has been met by, if it has several. A gofer opens a fid's file by the name it was
  // walked to by: when that one is gone, another serves.
  struct Place {
    std::weak_ptr<GoferInode> dir;
    std::string name;
  };
  std::vector<Place> places_;

  AttrX attr_;
  // The last of our own changes (GoferFs::next_event): what the server told across one may be older than it.
  uint64_t version_ = 0;
  uint64_t told_ = 0;  // when attr_ was told, as events are numbered
  struct {
    uint64_t bytes, version;
  } end_{0, ~uint64_t{0}};
  bool attr_known_ = true;  // kAuthoritative: attr_ is what the server would say
  bool touched_ = false;    // but for size, blocks and times, which a host descriptor tells
  bool mapped_ = false;
  bool others_read_ = false;
  int unseen_writers_ = 0;
  GoferFile* appender_ = nullptr;  // among them
  bool unlinked_ = false;
  bool only_read_ = false;  // touched_ by nothing else
  // kRevalidate: when attr_ was told, and until when one getattr may still use it (0: one has).
  int64_t told_at_ns_ = 0;
  int64_t fresh_until_ns_ = 0;
  int64_t named_at_ns_ = 0;  // when a walk last came here by its name
  uint64_t met_ = 0;         // in which moment

  // kRevalidate, vfs/gofer/leases.h. A directory's lease_ covers its own attributes and the names in
  // it; name_lease_ is that of the directory where the file was last met, as leased_name_: it covers
  // the name, and the attributes of what is no directory and has no other name.
  uint64_t lease_ = 0;
  uint64_t attr_lease_ = 0;
  uint64_t name_lease_ = 0;
  std::string leased_name_;

  std::string link_;        // symlinks: the text, once known
  OpenFid spare_open_;      // left by a create without donation, for the open that follows
  std::set<std::string, std::less<>> absent_xattrs_;  // kAuthoritative

  struct Names {
    // kAuthoritative: true, and kept true. kRevalidate: what was told at `told_at_ns`, as the event `told`, under `lease`.
    std::shared_ptr<Listing> listing;
    uint64_t told = 0;
    int64_t told_at_ns = 0;
    uint64_t lease = 0;
    std::list<GoferInode*>::iterator place;     // of the listing, in GoferFs
    size_t cost = 0;
    std::string missing;  // a name that a walk just did not find
    std::set<std::string, std::less<>> leased_missing;  // kRevalidate: names that lease_ says are not there
    // The same: a directory in it, or itself, was listed: until then its name is good for who looks at what he has listed.
    int64_t on_way_until_ns = 0;
    std::string on_way_name;
    // Names that were asked for, one by one, and after how many of them to try to list the directory.
    static constexpr size_t kListAfter = 4;
    size_t lookups = 0, list_after = kListAfter;
    // Files in it that somebody asked for the extended attributes of, and how far it is known which have none.
    struct Xattrs {
      size_t questions = 0;
      uint64_t offset = 0;  // the server's
      uint32_t bytes = 0;   // of entries, the last time
      bool done = false;
    } xattrs;
    size_t window = 0;    // how many directories in it to have listed after the one that is read
    // Between these positions in it enough are.
    uint64_t looked_from = 0, looked_to = 0;
    std::list<std::shared_ptr<GoferInode>> listed_ahead;  // kept until somebody else does
    bool before_need = false;  // the listing has come so, and nobody has read it yet
    // Files that are opened one after the other, in the listing's order, since it was read.
    struct Run {
      static constexpr uint64_t kNever = ~uint64_t{0};  // opening ahead was in vain
      uint64_t last = 0;  // the position of the last one that was opened
      size_t batch = 0;   // how many were opened ahead of need since that was last looked at,
      size_t used = 0;    // and how many of them somebody has opened since
      bool foreseen = false;  // its first files were asked for, or are all at hand,
      bool told = false;      // and the directory was read since
    } run;
    // Symbolic links in it that somebody reads one after the other: what the next ones say, by their qids' paths.
    struct Links {
      std::map<uint64_t, std::string> ahead;
      size_t questions = 0, batch = 0, used = 0;
      bool in_vain = false;  // until the directory is read anew
    } links;
    std::weak_ptr<GoferInode> above;  // whose listing it was found in when it was listed
  };
  std::unique_ptr<Names> names_;  // of a directory, once there is something to say of them
};

}  // namespace run9::vfs::gofer
