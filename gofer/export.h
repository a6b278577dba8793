// An exported directory: the configuration, and what the connections to it share. Made by main
// before the first connection, lives as long as the process.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "gofer/host_calls.h"
#include "gofer/lock_table.h"
#include "gofer/qid_map.h"

namespace run9::gofer {

// DIR[:NAME][:ro][:xdev][:whiteout], as --export takes it.
struct ExportSpec {
  std::string dir;
  std::string name;  // Tattach's aname; the export's number if none is given
  bool read_only = false;
  bool cross_mounts = false;  // go on below mount points
  bool leases = false;        // others change it too: clients may have directories watched
  bool whiteouts = false;     // mknod of character device 0:0, for overlays
  int tree_fd = -1;           // an inherited open_tree(2) clone of dir, for who may not reach dir itself
};
// EINVAL for text that is none.
Result<ExportSpec> parse_export(std::string_view text, size_t index);

// Names that do not exist for clients. A file is found by its place, and by its identity too, so
// that a second hard link of it stays hidden.
class HiddenNames {
 public:
  // `path` is relative to the root, and may name nothing: then the name alone is hidden. ENOENT if
  // its directory does not exist.
  Result<void> add(BorrowedFd root, std::string_view path);
  bool has(FileId dir, std::string_view name) const;
  bool has(FileId id) const;
  // Is one of them in that directory?
  bool any_in(FileId dir) const;

 private:
  struct Entry {
    FileId dir;
    std::string name;
    std::optional<FileId> id;
  };
  std::vector<Entry> entries_;
};

struct Export {
  ExportSpec spec;
  UniqueFd root;  // O_PATH
  HiddenNames hidden;
  HiddenNames sealed;  // directories that look empty and cannot be changed
  QidMap qids;
  LockTable locks;

  Export(ExportSpec s, UniqueFd r, uint64_t dev)
      : spec(std::move(s)), root(std::move(r)), qids(dev) {}
  CrossMounts cross() const { return spec.cross_mounts ? CrossMounts::kYes : CrossMounts::kNo; }
};

// ENOTDIR if root is no directory; EPERM for a procfs, whose magic links lead anywhere.
Result<std::unique_ptr<Export>> make_export(ExportSpec spec, UniqueFd root);

}  // namespace run9::gofer
