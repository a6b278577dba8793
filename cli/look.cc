// ls, stat, cat, statfs: what changes nothing.
#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json/array.hpp>

#include "cli/commands.h"
#include "cli/transfer.h"

namespace run9::cli {

using namespace p9;
namespace json = boost::json;

namespace {

json::object to_json(const Attr& a) {
  const auto time = [](const Time& t) {
    return json::object{{"sec", static_cast<int64_t>(t.sec)}, {"nsec", t.nsec}};
  };
  return {{"type", type_name(a.mode)}, {"mode", fmt::format("{:04o}", a.mode & 07777)}, {"uid", a.uid},
          {"gid", a.gid}, {"nlink", a.nlink}, {"rdev", a.rdev}, {"size", a.size}, {"blksize", a.blksize},
          {"blocks", a.blocks}, {"atime", time(a.atime)}, {"mtime", time(a.mtime)}, {"ctime", time(a.ctime)}};
}

json::object to_json(const Qid& q) {
  return {{"type", static_cast<uint8_t>(q.type)}, {"version", q.version}, {"path", q.path}};
}

std::string long_line(const Attr& a, std::string_view name) {
  return fmt::format("{} {:>3} {:>5} {:>5} {:>10} {} {}", mode_text(a.mode), a.nlink, a.uid, a.gid, a.size,
                     local_time(a.mtime), printable(name));
}

class Lister {
 public:
  Lister(Remote& remote, const LsOptions& options) : remote_(remote), options_(options) {}

  Result<void> list(const std::string& path) {
    const Place place = TRY(remote_.walk(path, Follow::kYes));
    if (is(place.qid, QidType::kDir)) return list_dir(place.fid(), path, options_.paths.size() > 1);
    const Attr a = TRY(remote_.report().step("stat", path, remote_.attr(place.fid())));
    tell({path, place.qid, 0, a}, "");
    return ok();
  }
  json::array& found() { return found_; }

 private:
  Result<void> list_dir(Fid dir, const std::string& path, bool title) {
    const auto with = options_.long_form || remote_.report().json() ? WithAttr::kYes : WithAttr::kNo;
    const auto entries = TRY(remote_.report().step("list", path, remote_.entries(dir, with)));
    if (title && !remote_.report().json() && !options_.all_below) fmt::print("{}:\n", printable(path));
    Result<void> done = ok();
    for (const Entry& e : entries) {
      const std::string below = path.ends_with('/') || path.empty() ? path + e.name : path + "/" + e.name;
      tell(e, options_.all_below ? below : e.name);
      if (!options_.all_below || !is(e.qid, QidType::kDir)) continue;
      const Held child = TRY(remote_.report().step("enter", below, remote_.child(dir, e.name)));
      if (auto r = list_dir(child.fid(), below, false); !r) done = std::move(r);  // and go on
    }
    return done;
  }

  void tell(const Entry& e, const std::string& shown) {
    const std::string& name = shown.empty() ? e.name : shown;
    if (remote_.report().json()) {
      json::object o{{"name", json_text(name)}, {"qid", to_json(e.qid)}};
      if (e.attr) o["attr"] = to_json(*e.attr);
      found_.push_back(std::move(o));
    } else if (options_.long_form && e.attr) {
      fmt::print("{}\n", long_line(*e.attr, name));
    } else {
      fmt::print("{}{}\n", printable(name), is(e.qid, QidType::kDir) && !options_.long_form ? "/" : "");
    }
  }

  Remote& remote_;
  const LsOptions& options_;
  json::array found_;
};

// As coreutils' stat, but for what 9P has no word for.
void print_stat(const std::string& path, const Attr& a, const std::string& target) {
  fmt::print("{}{}\n  {}, size {}, {} blocks of 512, block size {}\n", printable(path),
             target.empty() ? "" : " -> " + printable(target), type_name(a.mode), a.size, a.blocks, a.blksize);
  fmt::print("  mode {:04o} ({}), uid {}, gid {}, links {}, qid {:#x} version {}\n", a.mode & 07777,
             mode_text(a.mode), a.uid, a.gid, a.nlink, a.qid.path, a.qid.version);
  fmt::print("  accessed {}, modified {}, changed {}\n", local_time(a.atime), local_time(a.mtime),
             local_time(a.ctime));
}

}  // namespace

Result<void> cmd_ls(Remote& remote, const LsOptions& options) {
  Lister lister(remote, options);
  Result<void> done = ok();
  for (const std::string& path : options.paths) {
    if (auto r = lister.list(path); !r) done = std::move(r);
  }
  if (remote.report().json()) remote.report().result(lister.found());
  return done;
}

Result<void> cmd_stat(Remote& remote, const std::vector<std::string>& paths, Follow follow) {
  json::array all;
  for (const std::string& path : paths) {
    const Place place = TRY(remote.walk(path, follow));
    const Attr a = TRY(remote.report().step("stat", path, remote.attr(place.fid())));
    std::string target;
    if (is(place.qid, QidType::kSymlink)) {
      target = TRY(remote.report().step("read the link", path, remote.read_link(place.fid())));
    }
    if (!remote.report().json()) {
      print_stat(path, a, target);
      continue;
    }
    json::object o{{"name", json_text(path)}, {"qid", to_json(a.qid)}, {"attr", to_json(a)}};
    if (!target.empty()) o["target"] = json_text(target);
    all.push_back(std::move(o));
  }
  if (remote.report().json()) remote.report().result(all);
  return ok();
}

Result<void> cmd_cat(Remote& remote, const CatOptions& options) {
  for (const std::string& path : options.paths) {
    const Place place = TRY(remote.walk(path, Follow::kYes));
    if (is(place.qid, QidType::kDir)) {
      return remote.report().fail("read", path, Errno{EISDIR}, "it is a directory: p9 ls shows what is in it");
    }
    const Held open = TRY(remote.report().step("open", path, remote.open(place.fid(), kORdonly)));
    const auto take = [](ByteSpan b) { return write_host(BorrowedFd{STDOUT_FILENO}, b); };
    TRY(remote.report().step("read", path,
                             read_file(remote.client(), open.fid(), options.offset, options.count, take)));
  }
  return ok();
}

Result<void> cmd_statfs(Remote& remote, const std::string& path) {
  const Place place = TRY(remote.walk(path, Follow::kYes));
  const auto got = TRY(remote.report().step("statfs", path, remote.client().call(Tstatfs{.fid = place.fid()})));
  const Rstatfs& s = *got;
  if (remote.report().json()) {
    remote.report().result(json::object{{"type", s.type}, {"bsize", s.bsize}, {"blocks", s.blocks}, {"bfree", s.bfree},
                                        {"bavail", s.bavail}, {"files", s.files}, {"ffree", s.ffree},
                                        {"fsid", s.fsid}, {"namelen", s.namelen}});
    return ok();
  }
  const auto size = [&](uint64_t blocks) { return size_text(static_cast<double>(blocks) * s.bsize); };
  fmt::print("{} of {} free ({} for users), {} of {} files free\n", size(s.bfree), size(s.blocks),
             size(s.bavail), s.ffree, s.files);
  fmt::print("type {:#x}, block size {}, names up to {} bytes\n", s.type, s.bsize, s.namelen);
  return ok();
}

}  // namespace run9::cli
