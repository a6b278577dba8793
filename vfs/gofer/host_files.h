// Host descriptors that the gofer donated, kept with the inode so that the next open costs nothing:
// one for reading and one for reading and writing. HostFileCache bounds how many there are in all.
#pragma once
#include <list>
#include <memory>

#include "base/unique_fd.h"

namespace run9::vfs::gofer {

class HostFileCache;

// A part of its inode. Open files and mappings share the descriptors, which live until the last of
// them is gone, whatever the cache does.
class HostFiles {
 public:
  HostFiles() = default;
  virtual ~HostFiles();
  HostFiles(const HostFiles&) = delete;
  HostFiles& operator=(const HostFiles&) = delete;

  bool has_host_file() const { return ro_ != nullptr || rw_ != nullptr; }
  // Nobody has it open or mapped by them.
  bool idle() const { return ro_.use_count() <= 1 && rw_.use_count() <= 1; }

 protected:
  // The descriptors are about to be closed: learn from them what only they know.
  virtual void before_host_files_go() = 0;

  std::shared_ptr<UniqueFd> ro_, rw_;

 private:
  friend class HostFileCache;
  HostFileCache* cache_ = nullptr;  // null: not in the list
  uint64_t used_at_ = 0;            // by the cache's count of uses
  std::list<HostFiles*>::iterator place_;
};

// The least recently used go first, but for those who go through more files than are kept, again and again, and would find
// none of them: where one comes back after more uses than files are kept, the one before it goes, and the others stay. Of every
// eight of these one displaces the oldest nonetheless, so that what nobody wants any more makes room. Owned by GoferFs, outlives the inodes in it.
class HostFileCache {
 public:
  explicit HostFileCache(size_t limit) : limit_(limit) {}
  // `h` has a descriptor and was just used; closes those of others that are over the limit and idle.
  void use(HostFiles& h);
  void remove(HostFiles& h);
  size_t size() const { return recent_.size(); }
  void set_limit(size_t limit) { limit_ = limit; }
  // Closes what is over the limit and idle.
  void evict();

 private:
  static constexpr unsigned kMostTries = 8;  // of files that turn out to be in use
  static constexpr unsigned kAgeing = 8;
  void close(HostFiles& h);
  bool too_late(const HostFiles& h);
  void evict_before_first();

  size_t limit_;
  uint64_t uses_ = 0;  // of another file than the one before
  unsigned late_ = 0;  // of files that came back too late to be kept meanwhile
  std::list<HostFiles*> recent_;  // most recently used first
};

}  // namespace run9::vfs::gofer
