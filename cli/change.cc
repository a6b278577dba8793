// write, rm, mkdir, mv.
#include <fmt/format.h>
#include <unistd.h>

#include <charconv>

#include "cli/commands.h"
#include "cli/transfer.h"

namespace run9::cli {

using namespace p9;

Result<uint32_t> parse_mode(Reporter& report, const std::string& text) {
  uint32_t mode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  if (error == std::errc{} && end == text.data() + text.size() && mode <= 07777) return mode;
  return report.fail("use the mode", text, Errno{EINVAL}, "write it in octal, as 644");
}

namespace {

// The existing file opened, or a new one made.
Result<Held> open_for_writing(Remote& remote, const WriteOptions& o) {
  const uint32_t mode = TRY(parse_mode(remote.report(), o.mode));
  OpenFlags flags = kOWronly;
  if (!o.append && !o.keep && o.offset == 0) flags = flags | kOTrunc;
  if (o.append) flags = flags | kOAppend;
  const Slot slot = TRY(remote.slot(o.path));
  const auto there = remote.child(slot.dir.fid(), slot.name);
  if (there && o.fresh) return remote.report().fail("make", o.path, Errno{EEXIST});
  if (there) {
    const Place place = TRY(remote.walk(o.path, Follow::kYes));
    if (is(place.qid, QidType::kDir)) {
      return remote.report().fail("write to", o.path, Errno{EISDIR}, "it is a directory: name a file in it");
    }
    return remote.report().step("open", o.path, remote.open(place.fid(), flags));
  }
  if (there.assume_error() != Errno{ENOENT}) return remote.report().fail("find", o.path, there.assume_error());
  Held file = TRY(remote.report().step("walk to the directory of", o.path, remote.clone(slot.dir.fid())));
  TRY(remote.report().step(
      "make", o.path,
      remote.client().call(Tlcreate{.fid = file.fid(), .name = slot.name, .flags = flags | kOCreat | kOExcl,
                                    .mode = mode, .gid = getegid()})));
  return file;
}

// The fid of a name and whether it is a directory, as it is: no link is followed.
struct Found {
  Held held;
  bool is_dir = false;
};
Result<Found> look(Remote& remote, Fid dir, const std::string& name) {
  Found f{TRY(remote.child(dir, name)), false};
  f.is_dir = is(TRY(remote.attr(f.held.fid())).qid, QidType::kDir);
  return f;
}

Result<void> remove_below(Remote& remote, Fid dir, const std::string& path) {
  for (const Entry& e : TRY(remote.report().step("list", path, remote.entries(dir, WithAttr::kNo)))) {
    const std::string below = path + "/" + e.name;
    const bool is_dir = is(e.qid, QidType::kDir);
    if (is_dir) {
      const Held child = TRY(remote.report().step("enter", below, remote.child(dir, e.name)));
      TRY(remove_below(remote, child.fid(), below));
    }
    TRY(remote.report().step("remove", below, remote.unlink_at(dir, e.name, is_dir)));
  }
  return ok();
}

Result<void> remove_one(Remote& remote, const std::string& path, const RmOptions& o) {
  const Slot slot = TRY(remote.slot(path));
  auto found = look(remote, slot.dir.fid(), slot.name);
  if (!found) {
    if (o.force && found.assume_error() == Errno{ENOENT}) return ok();
    return remote.report().fail("remove", path, found.assume_error());
  }
  const Found f = std::move(found.assume_value());
  if (f.is_dir && !o.recursive) return remote.report().fail("remove", path, Errno{EISDIR});
  if (f.is_dir) TRY(remove_below(remote, f.held.fid(), path));
  return remote.report().step("remove", path, remote.unlink_at(slot.dir.fid(), slot.name, f.is_dir));
}

Result<void> make_one(Remote& remote, const std::string& path, uint32_t mode, bool may_be_there) {
  const Slot slot = TRY(remote.slot(path));
  const auto made = remote.client().call(
      Tmkdir{.dfid = slot.dir.fid(), .name = slot.name, .mode = mode, .gid = getegid()});
  if (made) return ok();
  if (made.assume_error() == Errno{EEXIST} && may_be_there) {
    const Place there = TRY(remote.walk(path, Follow::kYes));
    if (is(there.qid, QidType::kDir)) return ok();
  }
  return remote.report().fail("make", path, made.assume_error(),
                              made.assume_error() == Errno{EEXIST} ? "something of this name is there already" : "");
}

Result<void> rename_to(Remote& remote, const Slot& from, const Slot& to, bool no_clobber) {
  Client& c = remote.client();
  if (no_clobber && c.has_cap(kCapRename2)) {
    TRY(c.call(Trename2{.olddirfid = from.dir.fid(), .oldname = from.name, .newdirfid = to.dir.fid(),
                        .newname = to.name, .flags = kRenameNoreplace}));
    return ok();
  }
  // Two steps: plain 9P2000.L has no other way.
  if (no_clobber && remote.child(to.dir.fid(), to.name)) return Errno{EEXIST};
  const auto r = c.call(Trenameat{.olddirfid = from.dir.fid(), .oldname = from.name, .newdirfid = to.dir.fid(),
                                  .newname = to.name});
  if (r) return ok();
  if (r.assume_error() != Errno{EOPNOTSUPP}) return r.assume_error();
  const Held file = TRY(remote.child(from.dir.fid(), from.name));
  TRY(c.call(Trename{.fid = file.fid(), .dfid = to.dir.fid(), .name = to.name}));
  return ok();
}

}  // namespace

Result<void> cmd_write(Remote& remote, const WriteOptions& o) {
  Held open = TRY(open_for_writing(remote, o));
  uint64_t start = o.offset;
  if (o.append) start = TRY(remote.report().step("stat", o.path, remote.attr(open.fid()))).size;
  FileWriter writer(remote.client(), open.fid(), start);
  TRY(remote.report().step("copy the standard input to", o.path,
                           read_host(BorrowedFd{STDIN_FILENO}, [&](ByteSpan b) { return writer.write(b); })));
  TRY(remote.report().step("write to", o.path, writer.finish()));
  if (o.sync) TRY(remote.report().step("sync", o.path, remote.client().call(Tfsync{.fid = open.fid()})));
  TRY(remote.report().step("close", o.path, open.close()));
  if (remote.report().json()) {
    remote.report().result(boost::json::object{{"path", json_text(o.path)}, {"written", writer.offset() - start}});
  }
  return ok();
}

Result<void> cmd_rm(Remote& remote, const RmOptions& o) {
  Result<void> done = ok();
  for (const std::string& path : o.paths) {
    if (auto r = remove_one(remote, path, o); !r) done = std::move(r);
  }
  return done;
}

Result<void> cmd_mkdir(Remote& remote, const MkdirOptions& o) {
  const uint32_t mode = TRY(parse_mode(remote.report(), o.mode));
  for (const std::string& path : o.paths) {
    if (o.parents) {
      for (size_t slash = path.find('/', 1); slash != path.npos; slash = path.find('/', slash + 1)) {
        const std::string parent = path.substr(0, slash);
        if (!split_path(parent).empty()) TRY(make_one(remote, parent, 0755, true));
      }
    }
    TRY(make_one(remote, path, mode, o.parents));
  }
  return ok();
}

Result<void> cmd_mv(Remote& remote, const MvOptions& o) {
  const Slot from = TRY(remote.slot(o.from));
  Slot to;
  // Into a directory that is there, as mv(1).
  if (split_path(o.to).empty()) {
    to = {TRY(remote.walk("/", Follow::kYes)), from.name};
  } else {
    to = TRY(remote.slot(o.to));
    const auto there = look(remote, to.dir.fid(), to.name);
    if (there && there.assume_value().is_dir) to = {TRY(remote.walk(o.to, Follow::kYes)), from.name};
  }
  const auto moved = rename_to(remote, from, to, o.no_clobber);
  if (moved) return ok();
  const Errno e = moved.assume_error();
  std::string_view hint;
  if (e == Errno{EEXIST}) hint = "the new name is taken, and -n keeps what is there";
  if (e == Errno{EXDEV}) hint = "they are on different file systems of the server: p9 cp, then p9 rm";
  return remote.report().fail("move", fmt::format("{} to {}", o.from, o.to), e, hint);
}

}  // namespace run9::cli
