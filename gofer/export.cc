#include "gofer/export.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <charconv>

namespace run9::gofer {

namespace {

Result<int> parse_descriptor(std::string_view text) {
  int fd = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), fd);
  if (error != std::errc{} || end != text.data() + text.size() || fd < 0) return Errno{EINVAL};
  return fd;
}

}  // namespace

Result<ExportSpec> parse_export(std::string_view text, size_t index) {
  ExportSpec spec;
  // From the right, so that a directory's own colons do no harm.
  for (;;) {
    const size_t colon = text.rfind(':');
    if (colon == text.npos) break;
    const std::string_view word = text.substr(colon + 1);
    if (word == "ro") spec.read_only = true;
    else if (word == "xdev") spec.cross_mounts = true;
    else if (word == "lease") spec.leases = true;
    else if (word == "whiteout") spec.whiteouts = true;
    else if (word.starts_with("tree=")) spec.tree_fd = TRY(parse_descriptor(word.substr(5)));
    else if (!word.empty() && word.find('/') == word.npos && spec.name.empty()) spec.name = word;
    else break;
    text = text.substr(0, colon);
  }
  if (text.empty()) return Errno{EINVAL};
  spec.dir = text;
  if (spec.name.empty()) spec.name = std::to_string(index);
  return spec;
}

Result<void> HiddenNames::add(BorrowedFd root, std::string_view path) {
  UniqueFd dir = TRY(open_child(root, ".", O_PATH | O_DIRECTORY, 0, CrossMounts::kYes));
  for (;;) {
    while (path.starts_with('/')) path.remove_prefix(1);
    const size_t slash = path.find('/');
    const std::string name(path.substr(0, slash));
    if (name.empty() || name == "." || name == ".." || name.size() > p9::kMaxName) {
      return Errno{EINVAL};
    }
    const bool last = slash == path.npos || path.find_first_not_of('/', slash) == path.npos;
    if (!last) {
      dir = TRY(open_child(dir.borrow(), name.c_str(), O_PATH | O_DIRECTORY, 0,
                           CrossMounts::kYes));
      path.remove_prefix(slash);
      continue;
    }
    const FileId dir_id = TRY(stat_fd(dir.borrow(), 0)).id;
    Entry entry{dir_id, name, std::nullopt};
    if (const auto st = stat_child(dir.borrow(), name.c_str(), 0)) entry.id = st.assume_value().id;
    entries_.push_back(std::move(entry));
    return ok();
  }
}

bool HiddenNames::has(FileId dir, std::string_view name) const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const Entry& e) { return e.dir == dir && e.name == name; });
}

bool HiddenNames::has(FileId id) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.id == id; });
}

bool HiddenNames::any_in(FileId dir) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.dir == dir; });
}

Result<std::unique_ptr<Export>> make_export(ExportSpec spec, UniqueFd root) {
  const Stat st = TRY(stat_fd(root.borrow(), 0));
  if (!S_ISDIR(st.attr.mode)) return Errno{ENOTDIR};
  struct statfs fs;
  TRY(check_call(fstatfs(root.get(), &fs)));
  if (fs.f_type == PROC_SUPER_MAGIC) return Errno{EPERM};
  return std::make_unique<Export>(std::move(spec), std::move(root), st.id.dev);
}

}  // namespace run9::gofer
