// FdTable: a process's descriptors (or several processes', with CLONE_FILES).
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "vfs/file.h"

namespace run9::sentry {

enum class GuestFd : int32_t {};
constexpr int to_int(GuestFd fd) { return static_cast<int>(fd); }

class FdTable {
 public:
  struct Entry {
    vfs::FileRef file;  // null: free
    bool cloexec = false;
    bool watched = false;
  };
  // Not open, or O_PATH where the caller cannot use that: EBADF.
  Result<vfs::FileRef> get(GuestFd fd) const;
  Result<vfs::FileRef> get_not_path(GuestFd fd) const;
  // The lowest free number >= min, below limit (RLIMIT_NOFILE): EMFILE.
  Result<GuestFd> install(vfs::FileRef file, bool cloexec, uint64_t limit, int min = 0);
  // Two at once (pipe, socketpair), or neither.
  Result<std::pair<GuestFd, GuestFd>> install_pair(vfs::FileRef a, vfs::FileRef b, bool cloexec,
                                                   uint64_t limit);
  // dup2: at this very number; gives the file it replaced, for on_close.
  Result<vfs::FileRef> install_at(GuestFd fd, vfs::FileRef file, bool cloexec, uint64_t limit);
  Result<vfs::FileRef> remove(GuestFd fd);
  Result<bool> cloexec(GuestFd fd) const;
  Result<void> set_cloexec(GuestFd fd, bool on);
  std::shared_ptr<FdTable> clone() const;
  std::vector<vfs::FileRef> remove_cloexec();  // exec
  std::vector<vfs::FileRef> remove_all();      // exit
  std::vector<vfs::FileRef> remove_range(uint32_t first, uint32_t last);  // close_range
  void set_cloexec_range(uint32_t first, uint32_t last);
  void take_back();  // vfs::File's, of all
  // `left` hears when this descriptor is closed, or becomes another file's. One for the whole table; a clone has none.
  void watch(GuestFd fd, const std::function<void(int fd)>& left);
  size_t size() const { return entries_.size(); }  // one past the highest ever used
  const Entry* entry(size_t n) const {
    return n < entries_.size() && entries_[n].file ? &entries_[n] : nullptr;
  }

 private:
  void left(size_t n);
  std::vector<Entry> entries_;
  std::function<void(int fd)> left_;
  size_t first_free_ = 0;  // no free entry below
};
using FdTableRef = std::shared_ptr<FdTable>;

}  // namespace run9::sentry
