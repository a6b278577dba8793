#include "fuse-bridge/fuse_ops.h"

#define FUSE_USE_VERSION 35
#include <fuse3/fuse_lowlevel.h>

#include "base/log.h"

namespace run9::fuse {

using namespace p9;

namespace {

struct Server {
  Bridge& bridge;
  double cache_seconds;
};

Server& server(fuse_req_t req) { return *static_cast<Server*>(fuse_req_userdata(req)); }
Bridge& bridge(fuse_req_t req) { return server(req).bridge; }

Caller caller(fuse_req_t req) {
  const fuse_ctx* c = fuse_req_ctx(req);
  return {c->uid, c->gid};
}

std::optional<Fid> open_fid(const fuse_file_info* fi) {
  if (fi == nullptr) return std::nullopt;
  return Fid{static_cast<uint32_t>(fi->fh)};
}
Fid fid(const fuse_file_info* fi) { return Fid{static_cast<uint32_t>(fi->fh)}; }

fuse_entry_param entry(fuse_req_t req, const Found& f) {
  fuse_entry_param e{};
  e.ino = f.node;
  e.attr = f.attr;
  e.attr_timeout = e.entry_timeout = server(req).cache_seconds;
  return e;
}

template <typename T>
void reply_error(fuse_req_t req, const Result<T>& r) {
  fuse_reply_err(req, r ? 0 : to_int(r.assume_error()));
}
void reply_entry(fuse_req_t req, const Result<Found>& r) {
  if (!r) return reply_error(req, r);
  const fuse_entry_param e = entry(req, r.assume_value());
  fuse_reply_entry(req, &e);
}
void reply_attr(fuse_req_t req, const Result<struct stat>& r) {
  if (!r) return reply_error(req, r);
  fuse_reply_attr(req, &r.assume_value(), server(req).cache_seconds);
}
// The value, or its size where nothing but that is asked.
void reply_xattr(fuse_req_t req, const Result<std::string>& r, size_t size) {
  if (!r) return reply_error(req, r);
  const std::string& value = r.assume_value();
  if (size == 0) fuse_reply_xattr(req, value.size());
  else if (value.size() > size) fuse_reply_err(req, ERANGE);
  else fuse_reply_buf(req, value.data(), value.size());
}

SetAttr to_set_attr(const struct stat& st, int valid) {
  SetAttr a{.mode = st.st_mode & 07777, .uid = st.st_uid, .gid = st.st_gid, .size = static_cast<uint64_t>(st.st_size)};
  const auto set = [&](int fuse_bit, uint32_t bit) {
    if ((valid & fuse_bit) != 0) a.valid |= bit;
  };
  set(FUSE_SET_ATTR_MODE, kSetMode);
  set(FUSE_SET_ATTR_UID, kSetUid);
  set(FUSE_SET_ATTR_GID, kSetGid);
  set(FUSE_SET_ATTR_SIZE, kSetSize);
  set(FUSE_SET_ATTR_ATIME, kSetAtime | kSetAtimeGiven);
  set(FUSE_SET_ATTR_MTIME, kSetMtime | kSetMtimeGiven);
  set(FUSE_SET_ATTR_CTIME, kSetCtime);
  // "Now" is the server's.
  if ((valid & FUSE_SET_ATTR_ATIME_NOW) != 0) a.valid = (a.valid | kSetAtime) & ~kSetAtimeGiven;
  if ((valid & FUSE_SET_ATTR_MTIME_NOW) != 0) a.valid = (a.valid | kSetMtime) & ~kSetMtimeGiven;
  a.atime = {static_cast<uint64_t>(st.st_atim.tv_sec), static_cast<uint64_t>(st.st_atim.tv_nsec)};
  a.mtime = {static_cast<uint64_t>(st.st_mtim.tv_sec), static_cast<uint64_t>(st.st_mtim.tv_nsec)};
  return a;
}

void on_init(void*, fuse_conn_info* conn) {
  // One message truncates and opens.
  if ((conn->capable & FUSE_CAP_ATOMIC_O_TRUNC) != 0) conn->want |= FUSE_CAP_ATOMIC_O_TRUNC;
}

void on_open(fuse_req_t req, fuse_ino_t node, fuse_file_info* fi) {
  const auto r = bridge(req).open(node, fi->flags);
  if (!r) return reply_error(req, r);
  fi->fh = static_cast<uint32_t>(r.assume_value());
  fuse_reply_open(req, fi);
}

void on_create(fuse_req_t req, fuse_ino_t dir, const char* name, mode_t mode, fuse_file_info* fi) {
  const auto r = bridge(req).create(dir, name, fi->flags, mode, caller(req));
  if (!r) return reply_error(req, r);
  fi->fh = static_cast<uint32_t>(r.assume_value().open);
  const fuse_entry_param e = entry(req, r.assume_value().found);
  fuse_reply_create(req, &e, fi);
}

void on_read(fuse_req_t req, fuse_ino_t, size_t size, off_t offset, fuse_file_info* fi) {
  const auto r = bridge(req).read(fid(fi), static_cast<uint64_t>(offset), size);
  if (!r) return reply_error(req, r);
  fuse_reply_buf(req, reinterpret_cast<const char*>(r.assume_value().data()), r.assume_value().size());
}

void on_write(fuse_req_t req, fuse_ino_t, const char* data, size_t size, off_t offset, fuse_file_info* fi) {
  const auto r = bridge(req).write(fid(fi), static_cast<uint64_t>(offset), as_bytes({data, size}));
  if (!r) return reply_error(req, r);
  fuse_reply_write(req, r.assume_value());
}

void on_readdir(fuse_req_t req, fuse_ino_t, size_t size, off_t offset, fuse_file_info* fi) {
  std::vector<char> out(size);
  size_t used = 0;
  const auto r = bridge(req).read_dir(fid(fi), static_cast<uint64_t>(offset), size, [&](const Dirent& e) {
    struct stat st {};
    st.st_ino = e.qid.path;
    st.st_mode = static_cast<mode_t>(e.type) << 12;  // DT_* to S_IF*
    const std::string name(e.name);
    const size_t n = fuse_add_direntry(req, out.data() + used, size - used, name.c_str(), &st, static_cast<off_t>(e.offset));
    if (n > size - used) return false;
    used += n;
    return true;
  });
  if (!r) return reply_error(req, r);
  fuse_reply_buf(req, out.data(), used);
}

fuse_lowlevel_ops make_ops() {
  using Req = fuse_req_t;
  using Ino = fuse_ino_t;
  using Info = fuse_file_info;
  fuse_lowlevel_ops o{};
  o.init = on_init;
  o.lookup = [](Req r, Ino dir, const char* name) { reply_entry(r, bridge(r).lookup(dir, name)); };
  o.forget = [](Req r, Ino node, uint64_t n) {
    bridge(r).forget(node, n);
    fuse_reply_none(r);
  };
  o.forget_multi = [](Req r, size_t count, fuse_forget_data* all) {
    for (size_t i = 0; i < count; ++i) bridge(r).forget(all[i].ino, all[i].nlookup);
    fuse_reply_none(r);
  };
  o.getattr = [](Req r, Ino node, Info* fi) { reply_attr(r, bridge(r).get_attr(node, open_fid(fi))); };
  o.setattr = [](Req r, Ino node, struct stat* st, int valid, Info* fi) {
    reply_attr(r, bridge(r).set_attr(node, open_fid(fi), to_set_attr(*st, valid)));
  };
  o.readlink = [](Req r, Ino node) {
    const auto got = bridge(r).read_link(node);
    got ? void(fuse_reply_readlink(r, got.assume_value().c_str())) : reply_error(r, got);
  };
  o.mknod = [](Req r, Ino dir, const char* name, mode_t mode, dev_t device) {
    reply_entry(r, bridge(r).mknod(dir, name, mode, device, caller(r)));
  };
  o.mkdir = [](Req r, Ino dir, const char* name, mode_t mode) { reply_entry(r, bridge(r).mkdir(dir, name, mode, caller(r))); };
  o.symlink = [](Req r, const char* target, Ino dir, const char* name) {
    reply_entry(r, bridge(r).symlink(dir, name, target, caller(r)));
  };
  o.link = [](Req r, Ino node, Ino dir, const char* name) { reply_entry(r, bridge(r).link(node, dir, name)); };
  o.unlink = [](Req r, Ino dir, const char* name) { reply_error(r, bridge(r).unlink(dir, name, false)); };
  o.rmdir = [](Req r, Ino dir, const char* name) { reply_error(r, bridge(r).unlink(dir, name, true)); };
  o.rename = [](Req r, Ino from, const char* name, Ino to, const char* new_name, unsigned flags) {
    reply_error(r, bridge(r).rename(from, name, to, new_name, flags));
  };
  o.open = on_open;
  o.opendir = on_open;
  o.create = on_create;
  o.read = on_read;
  o.write = on_write;
  o.readdir = on_readdir;
  o.release = [](Req r, Ino, Info* fi) { reply_error(r, bridge(r).release(fid(fi))); };
  o.releasedir = o.release;
  o.fsync = [](Req r, Ino, int data_only, Info* fi) { reply_error(r, bridge(r).sync(fid(fi), data_only != 0)); };
  o.fallocate = [](Req r, Ino, int mode, off_t offset, off_t length, Info* fi) {
    reply_error(r, bridge(r).allocate(fid(fi), static_cast<uint32_t>(mode), static_cast<uint64_t>(offset),
                                      static_cast<uint64_t>(length)));
  };
  o.statfs = [](Req r, Ino node) {
    const auto got = bridge(r).statfs(node);
    got ? void(fuse_reply_statfs(r, &got.assume_value())) : reply_error(r, got);
  };
  o.getxattr = [](Req r, Ino node, const char* name, size_t size) { reply_xattr(r, bridge(r).get_xattr(node, name), size); };
  o.listxattr = [](Req r, Ino node, size_t size) { reply_xattr(r, bridge(r).get_xattr(node, ""), size); };
  o.setxattr = [](Req r, Ino node, const char* name, const char* value, size_t size, int flags) {
    reply_error(r, bridge(r).set_xattr(node, name, {value, size}, static_cast<uint32_t>(flags)));
  };
  o.removexattr = [](Req r, Ino node, const char* name) { reply_error(r, bridge(r).remove_xattr(node, name)); };
  return o;
}

// What fuse_session_new wants: a program's name, and -o.
struct Arguments {
  explicit Arguments(const MountOptions& o) {
    // The server knows no caller: the kernel checks modes.
    const std::string options = "default_permissions,fsname=9p,subtype=run9" + (o.fuse_options.empty() ? "" : "," + o.fuse_options);
    fuse_opt_add_arg(&args, "run9-fuse");
    fuse_opt_add_arg(&args, "-o");
    fuse_opt_add_arg(&args, options.c_str());
    if (o.debug) fuse_opt_add_arg(&args, "-d");
  }
  ~Arguments() { fuse_opt_free_args(&args); }
  fuse_args args = FUSE_ARGS_INIT(0, nullptr);
};

}  // namespace

int serve(Bridge& bridge, const MountOptions& o) {
  Server server{bridge, o.cache_seconds};
  const fuse_lowlevel_ops ops = make_ops();
  Arguments arguments(o);
  fuse_session* session = fuse_session_new(&arguments.args, &ops, sizeof ops, &server);
  if (session == nullptr) return 2;  // libfuse has said why
  int status = 1;
  if (fuse_set_signal_handlers(session) == 0) {
    if (fuse_session_mount(session, o.mount_point.c_str()) == 0) {
      if (fuse_daemonize(o.foreground ? 1 : 0) == 0) status = fuse_session_loop(session) < 0 ? 1 : 0;
      fuse_session_unmount(session);
    } else {
      log_error("cannot mount at {}: is it a directory of yours, and is /dev/fuse there?", quoted(o.mount_point));
    }
    fuse_remove_signal_handlers(session);
  }
  fuse_session_destroy(session);
  return status;
}

}  // namespace run9::fuse
