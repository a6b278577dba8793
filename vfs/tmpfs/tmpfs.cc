#include "vfs/tmpfs/tmpfs.h"

#include <linux/magic.h>

#include <charconv>

#include "vfs/tmpfs/inodes.h"

namespace run9::vfs {
namespace {

Result<uint64_t> parse_number(std::string_view text, int base = 10) {
  uint64_t v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v, base);
  if (error != std::errc{} || end != text.data() + text.size()) return Errno{EINVAL};
  return v;
}

// "64", "64k", "1G"; "50%" where there is something to take it of.
Result<uint64_t> parse_size(std::string_view text, uint64_t whole) {
  if (text.empty()) return Errno{EINVAL};
  unsigned shift = 0;
  switch (text.back()) {
    case 'k': case 'K': shift = 10; break;
    case 'm': case 'M': shift = 20; break;
    case 'g': case 'G': shift = 30; break;
    case 't': case 'T': shift = 40; break;
    case '%': return TRY(parse_number(text.substr(0, text.size() - 1))) * (whole / 100);
    default: return parse_number(text);
  }
  const uint64_t n = TRY(parse_number(text.substr(0, text.size() - 1)));
  if (n > (~uint64_t{0} >> shift)) return Errno{EINVAL};
  return n << shift;
}

Result<void> parse_option(std::string_view key, std::string_view value, uint64_t memory,
                          TmpfsOptions& o) {
  if (key == "size") {
    o.size = TRY(parse_size(value, memory));
  } else if (key == "nr_blocks") {
    o.size = TRY(parse_size(value, 0)) * TmpQuota::kPage;
  } else if (key == "nr_inodes") {
    o.nr_inodes = TRY(parse_size(value, 0));
  } else if (key == "mode") {
    o.mode = static_cast<uint32_t>(TRY(parse_number(value, 8))) & 07777;
  } else if (key == "uid") {
    o.uid = static_cast<uint32_t>(TRY(parse_number(value)));
  } else if (key == "gid") {
    o.gid = static_cast<uint32_t>(TRY(parse_number(value)));
  } else if (key != "huge" && key != "mpol" && key != "inode32" && key != "inode64" &&
             key != "noswap") {
    return Errno{EINVAL};
  }
  return ok();
}

}  // namespace

Result<TmpfsOptions> parse_tmpfs_options(std::string_view data, uint64_t memory_size) {
  TmpfsOptions o;
  while (!data.empty()) {
    const size_t comma = std::min(data.find(','), data.size());
    const std::string_view item = data.substr(0, comma);
    data.remove_prefix(std::min(comma + 1, data.size()));
    if (item.empty()) continue;
    const size_t equals = std::min(item.find('='), item.size());
    const auto value = equals < item.size() ? item.substr(equals + 1) : std::string_view{};
    TRY(parse_option(item.substr(0, equals), value, memory_size, o));
  }
  return o;
}

FileSystemRef make_tmpfs(const TmpfsOptions& o, Timespec now) {
  return std::make_shared<Tmpfs>(o, now);
}

Tmpfs::Tmpfs(const TmpfsOptions& o, Timespec now)
    : options_(o), quota_(std::make_shared<TmpQuota>()) {
  quota_->max_pages = (o.size + TmpQuota::kPage - 1) / TmpQuota::kPage;
  quota_->max_inodes = o.nr_inodes;
  root_ = std::make_shared<TmpDir>(*this, NewOwner{o.uid, o.gid, S_IFDIR | (o.mode & 07777)}, now);
}

// The tree goes in a loop: a guest chooses its depth.
Tmpfs::~Tmpfs() {
  std::vector<InodeRef> todo{std::move(root_)};
  while (!todo.empty()) {
    InodeRef at = std::move(todo.back());
    todo.pop_back();
    if (!at->is_dir()) continue;
    for (auto& child : static_cast<TmpDir&>(*at).take_children()) todo.push_back(std::move(child));
  }
}

InodeRef Tmpfs::root() { return root_; }

Result<StatFs> Tmpfs::statfs(OpContext&) {
  StatFs s{.type = TMPFS_MAGIC, .bsize = TmpQuota::kPage};
  if (quota_->limited()) {
    s.blocks = quota_->max_pages;
    s.bfree = s.bavail = quota_->free_pages();
  }
  if (quota_->max_inodes != 0) {
    s.files = quota_->max_inodes;
    s.ffree = quota_->max_inodes - std::min(quota_->inodes, quota_->max_inodes);
  }
  s.fsid = dev();
  return s;
}

std::string Tmpfs::show_options() const {
  std::string out;
  if (quota_->limited()) {
    out += ",size=" + std::to_string(quota_->max_pages * (TmpQuota::kPage / 1024)) + "k";
  }
  if (options_.nr_inodes != 0) out += ",nr_inodes=" + std::to_string(options_.nr_inodes);
  if (options_.mode != 01777) {
    char mode[8];
    const auto end = std::to_chars(mode, mode + sizeof mode, options_.mode, 8).ptr;
    out += ",mode=" + std::string(mode, end);
  }
  if (options_.uid != 0) out += ",uid=" + std::to_string(options_.uid);
  if (options_.gid != 0) out += ",gid=" + std::to_string(options_.gid);
  return out;
}

}  // namespace run9::vfs
