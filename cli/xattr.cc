// xattr list|get|set|rm, by plain 9P2000.L's Txattrwalk and Txattrcreate.
#include <unistd.h>

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "cli/commands.h"
#include "cli/transfer.h"

namespace run9::cli {

using namespace p9;

namespace {

// The attribute's value; of the name "" all names, each with a NUL behind it.
Result<std::string> read_xattr(Client& c, Fid fid, std::string_view name) {
  const Fid newfid = TRY(c.alloc_fid());
  const auto walked = c.call(Txattrwalk{.fid = fid, .newfid = newfid, .name = name});
  if (!walked) {
    c.free_fid(newfid);
    return walked.assume_error();
  }
  const Held held(c, newfid);
  std::string out;
  TRY(read_file(c, newfid, 0, walked.assume_value()->size, [&](ByteSpan b) -> Result<void> {
    out += as_chars(b);
    return ok();
  }));
  return out;
}

Result<void> write_xattr(Remote& remote, Fid fid, std::string_view name, std::string_view value, uint32_t flags) {
  // Its fid becomes the attribute; the value takes effect when it is clunked.
  Held held = TRY(remote.clone(fid));
  TRY(remote.client().call(Txattrcreate{.fid = held.fid(), .name = name, .attr_size = value.size(), .flags = flags}));
  FileWriter writer(remote.client(), held.fid(), 0);
  TRY(writer.write(as_bytes(value)));
  TRY(writer.finish());
  return held.close();
}

std::string_view xattr_hint(Errno e) {
  switch (to_int(e)) {
    case ENODATA: return "the file has no attribute of this name: p9 xattr ADDRESS list PATH";
    case EOPNOTSUPP: return "the server, or the file system behind it, has no such attributes; user.NAME are the usual ones";
    case EPERM: return "this kind of file or attribute is not for users; user.NAME are, on files and directories";
    default: return {};
  }
}

void list(Reporter& report, std::string_view names) {
  boost::json::array all;
  while (!names.empty()) {
    const std::string_view name = names.substr(0, names.find('\0'));
    if (report.json()) all.emplace_back(json_text(name));
    else fmt::print("{}\n", printable(name));
    names.remove_prefix(std::min(names.size(), name.size() + 1));
  }
  if (report.json()) report.result(all);
}

}  // namespace

Result<void> cmd_xattr(Remote& remote, const XattrOptions& o) {
  Reporter& report = remote.report();
  const Place place = TRY(remote.walk(o.path, o.no_follow ? Follow::kNo : Follow::kYes));
  const auto tell = [&]<typename T>(std::string_view what, Result<T> r) -> Result<T> {
    if (!r) return report.fail(what, o.path, r.assume_error(), xattr_hint(r.assume_error()));
    return r;
  };
  if (o.action != "list" && o.name.empty()) {
    return report.fail(o.action + " an attribute of", o.path, Errno{EINVAL}, "give the attribute's name too");
  }
  if (o.action == "list") {
    list(report, TRY(tell("list the attributes of", read_xattr(remote.client(), place.fid(), ""))));
  } else if (o.action == "get") {
    const std::string value = TRY(tell("get " + o.name + " of", read_xattr(remote.client(), place.fid(), o.name)));
    if (report.json()) report.result(boost::json::object{{"name", json_text(o.name)}, {"value", json_text(value)}});
    else TRY(report.step("write to", "the standard output", write_host(BorrowedFd{STDOUT_FILENO}, as_bytes(value))));
  } else if (o.action == "set") {
    TRY(tell("set " + o.name + " of", write_xattr(remote, place.fid(), o.name, o.value, 0)));
  } else {
    // As v9fs says it: replaced by nothing. The attribute has to be there.
    TRY(tell("get " + o.name + " of", read_xattr(remote.client(), place.fid(), o.name)));
    TRY(tell("remove " + o.name + " of", write_xattr(remote, place.fid(), o.name, "", kXattrReplace)));
  }
  return ok();
}

}  // namespace run9::cli
