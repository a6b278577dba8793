// The host's system calls as the gofer makes them: always from a held descriptor, one component at
// a time, never through a symbolic link. No state.
#pragma once
#include <fcntl.h>
#include <sys/stat.h>

#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "p9/types.h"

namespace run9::gofer {

// What makes a file the same file while somebody holds it open.
struct FileId {
  uint64_t dev = 0;
  uint64_t ino = 0;
  bool operator==(const FileId&) const = default;
};

// A NUL-terminated copy of one component (at most p9::kMaxName bytes, checked by the decoder).
class CName {
 public:
  explicit CName(std::string_view name);
  const char* c_str() const { return text_; }

 private:
  char text_[p9::kMaxName + 1];
};

// For open_child. O_NONBLOCK: if a FIFO has taken the name since we looked, opening it does not wait.
inline constexpr uint64_t kOpenQuietly = O_NONBLOCK | O_NOCTTY | O_LARGEFILE;

enum class CrossMounts { kNo, kYes };

// openat2 of one component below dir. Symlinks are never followed: with O_PATH they are the result,
// without it ELOOP. ENFILE when we are out of descriptors.
Result<UniqueFd> open_child(BorrowedFd dir, const char* name, uint64_t flags, uint32_t mode,
                            CrossMounts cross);

struct Stat {
  FileId id;
  bool mount_root = false;
  p9::AttrX attr;  // ino and dev as the host has them
};
// statx of the descriptor itself, and of a name in a directory. attrmask: p9::kAttr... bits.
Result<Stat> stat_fd(BorrowedFd fd, uint64_t attrmask);
Result<Stat> stat_child(BorrowedFd dir, const char* name, uint64_t attrmask);

// chmod(2) through an O_PATH descriptor. ENOSYS before Linux 6.6.
Result<void> chmod_fd(BorrowedFd fd, uint32_t mode);
// kNoId leaves an id as it is.
Result<void> chown_fd(BorrowedFd fd, uint32_t uid, uint32_t gid);

// Is it on a file system that is a window into the host's kernel (proc, sysfs, cgroup ...)? An
// export that crosses mounts may have such in it: their mount points look empty, and are there for
// the client to mount its own on.
bool is_pseudo(BorrowedFd fd);

// The result of a host call that returns 0 or -1.
inline Result<void> check_call(int r) {
  if (r < 0) return last_errno();
  return ok();
}

}  // namespace run9::gofer
