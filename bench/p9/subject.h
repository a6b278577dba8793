// What bench/p9 measures: the same operations on a directory, by plain host calls, by a 9P client, or by the file
// system that the Sentry mounts. The directory was prepared by run.py: a/b/c/d/e with a file "small" of 4 KiB in c,
// "many" with 10,000 files, and "big" of 16 MiB.
#pragma once
#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/unique_fd.h"

namespace run9::bench {

class Subject {
 public:
  virtual ~Subject() = default;
  // Each is one whole operation. EOPNOTSUPP: there is no such thing here.
  virtual Result<void> null() { return Errno{EOPNOTSUPP}; }
  virtual Result<void> getattr() = 0;                             // of an open file
  virtual Result<void> stat(const char* path) = 0;                // of three and of six names
  virtual Result<void> read_small() = 0;                          // a/b/c/small: open, read all of it, close
  virtual Result<void> list() = 0;                                // many: names and attributes
  virtual Result<void> create(std::string_view name) = 0;         // create, write 4 KiB, close
  virtual Result<void> unlink(std::string_view name) = 0;
  virtual Result<void> write_big(uint64_t offset, ByteSpan) = 0;  // "big", opened before
  virtual Result<void> read_big(uint64_t offset, std::span<std::byte>) = 0;
  virtual uint64_t messages() const { return 0; }
};

Result<std::unique_ptr<Subject>> open_host(const std::string& directory);
struct ClientChoice {
  bool dialect = true;
  bool ring = true;
};
Result<std::unique_ptr<Subject>> open_client(UniqueFd socket, const std::string& aname, ClientChoice choice);
// vfs and vfs/gofer: a tree that the host changes too, with leases if the server grants them.
Result<std::unique_ptr<Subject>> open_vfs(UniqueFd socket, const std::string& aname, ClientChoice choice);

}  // namespace run9::bench
