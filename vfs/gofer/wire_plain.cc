// The parts of Wire that plain 9P2000.L needs several messages for.
#include <sys/stat.h>

#include <algorithm>

#include "vfs/gofer/wire_call.h"

namespace run9::vfs::gofer {

// One Twalk a component: each gets a fid, and its attributes must be asked for anyhow.
Result<Walked> Wire::walk_plain(Fid from, std::span<const std::string_view> names, Bind bind) {
  CHECK(bind == Bind::kYes || names.size() == 1);
  Walked out{.first = TRY(new_fids(static_cast<uint32_t>(names.size())))};
  Errno stop{};
  for (size_t i = 0; i < names.size(); ++i) {
    p9::Twalk t{.fid = i == 0 ? from : out.first + (i - 1), .newfid = out.first + i};
    t.names.emplace_back(names[i]);
    auto walked = call(t);
    if (!walked) {
      stop = walked.error();
      break;
    }
    auto file = getattr(t.newfid);
    if (!file) {
      drop(t.newfid);
      release(out.first, i + 1, names.size());
      for (size_t k = 0; k < i; ++k) drop(out.first + k);
      return file.error();
    }
    out.found.push_back(file.assume_value());
    const uint32_t type = file.assume_value().attr.mode & S_IFMT;
    if (i + 1 == names.size() || type == S_IFDIR) continue;
    out.end = type == S_IFLNK ? p9::WalkStatus::kSymlink : p9::WalkStatus::kNotDir;
    break;
  }
  release(out.first, out.found.size(), names.size());
  if (stop != Errno{}) {
    out.error = stop;
    out.end = stop == Errno{ENOENT} ? p9::WalkStatus::kMissing : p9::WalkStatus::kFailed;
  }
  if (bind == Bind::kNo && !out.found.empty()) drop(std::exchange(out.first, p9::kNoFid));
  return out;
}

Result<Created> Wire::create_plain(Fid dir, std::string_view name, uint32_t mode, Owner owner) {
  const Fid open = TRY(clone(dir));
  auto made = call(p9::Tlcreate{.fid = open, .name = name,
                                .flags = p9::kORdwr | p9::kOCreat | p9::kOExcl,
                                .mode = mode | S_IFREG, .gid = owner.gid});
  if (!made) {
    drop(open);
    return made.error();
  }
  auto file = found_new(dir, name, owner);
  if (!file) {
    drop(open);
    return file.error();
  }
  return Created{.file = file.assume_value(),
                 .host = {},
                 .open = {open, chunk(made.assume_value()->iounit)}};
}

Result<void> Wire::read_directory_plain(Fid dir,
                                        const std::function<void(const WireEntry&)>& take) {
  const OpenFid file = TRY(open(dir, p9::kORdonly | p9::kODirectory));
  Result<void> result = ok();
  for (uint64_t offset = 0;;) {
    auto r = call(p9::Treaddir{.fid = file.fid, .offset = offset, .count = file.iounit});
    if (!r) {
      result = r.error();
      break;
    }
    p9::DirentReader<p9::Dirent> entries(r.assume_value()->data);
    bool any = false;
    for (;;) {
      auto e = entries.next();
      if (!e) {
        result = e.error();
        break;
      }
      if (!e.assume_value()) break;
      const p9::Dirent& entry = *e.assume_value();
      take({.qid = entry.qid, .type = entry.type, .attr = {}, .name = entry.name});
      offset = entry.offset;
      any = true;
    }
    if (!any || !result) break;
  }
  drop(file.fid);
  return result;
}

Result<std::vector<std::byte>> Wire::read_xattr_plain(Fid fid, std::string_view name) {
  const Fid xattr = TRY(new_fids());
  auto found = call(p9::Txattrwalk{.fid = fid, .newfid = xattr, .name = name});
  if (!found) {
    client_->free_fid(xattr);
    return found.error();
  }
  const uint64_t size = found.assume_value()->size;
  std::vector<std::byte> value(std::min<uint64_t>(size, p9::kMaxXattr));
  auto n = read({xattr, chunk(0)}, 0, value);
  drop(xattr);
  if (!n) return n.error();
  if (size > p9::kMaxXattr) return Errno{E2BIG};
  value.resize(n.assume_value());
  return value;
}

}  // namespace run9::vfs::gofer
