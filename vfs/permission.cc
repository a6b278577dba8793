#include "vfs/permission.h"

#include <linux/securebits.h>

namespace run9::vfs {
namespace {

uint64_t real_caps(const Credentials& c) {
  if ((c.securebits & SECBIT_NO_SETUID_FIXUP) != 0) return c.cap_effective;
  return c.ruid == 0 ? c.cap_permitted : 0;
}

}  // namespace

Result<void> generic_permission(OpContext& ctx, const FileRights& st, uint32_t mask) {
  const Credentials& c = ctx.creds();
  uint32_t bits = st.mode & 7;
  if (c.fsuid == st.uid) {
    bits = (st.mode >> 6) & 7;
  } else if (c.in_group(st.gid)) {
    bits = (st.mode >> 3) & 7;
  }
  mask &= 7;
  if ((mask & ~bits) == 0) return ok();
  const bool dir = S_ISDIR(st.mode);
  if (c.has_cap(CAP_DAC_OVERRIDE)) {
    // Root may execute only what somebody may.
    if (dir || (mask & kMayExec) == 0 || (st.mode & 0111) != 0) return ok();
  }
  if (c.has_cap(CAP_DAC_READ_SEARCH)) {
    if (mask == kMayRead || (dir && (mask & kMayWrite) == 0)) return ok();
  }
  return Errno{EACCES};
}

// access_override_creds().
Credentials real_credentials(const Credentials& now) {
  Credentials c = now;
  c.fsuid = now.ruid;
  c.fsgid = now.rgid;
  c.cap_effective = real_caps(now);
  return c;
}

bool acts_by_real_ids(const Credentials& c) {
  return c.fsuid == c.ruid && c.fsgid == c.rgid && c.cap_effective == real_caps(c);
}

bool owner_or_capable(const Credentials& c, uint32_t uid) {
  return c.fsuid == uid || c.has_cap(CAP_FOWNER);
}

bool sticky_forbids(const Credentials& c, const FileRights& dir, const FileRights& victim) {
  return (dir.mode & S_ISVTX) != 0 && c.fsuid != victim.uid && c.fsuid != dir.uid &&
         !c.has_cap(CAP_FOWNER);
}

NewOwner new_owner(const Credentials& c, const Stat& dir, uint32_t mode) {
  NewOwner n{c.fsuid, c.fsgid, mode};
  if ((dir.mode & S_ISGID) == 0) return n;
  n.gid = dir.gid;
  if (S_ISDIR(mode)) {
    n.mode |= S_ISGID;
  } else if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && !c.in_group(n.gid) &&
             !c.has_cap(CAP_FSETID)) {
    n.mode &= ~uint32_t{S_ISGID};
  }
  return n;
}

namespace {

// setattr_should_drop_suidgid: chown and write clear set-user-ID, and set-group-ID where it is not
// the mark of mandatory locking.
uint32_t without_set_ids(const Credentials& c, uint32_t mode, uint32_t gid) {
  uint32_t clear = S_ISUID;
  if ((mode & S_IXGRP) != 0 || (!c.in_group(gid) && !c.has_cap(CAP_FSETID))) clear |= S_ISGID;
  return mode & ~clear;
}

Result<void> check_owner_change(const Credentials& c, const Stat& now, const SetAttr& a) {
  if (c.has_cap(CAP_CHOWN)) return ok();
  const bool owner = c.fsuid == now.uid;
  if ((a.valid & kSetUid) != 0 && !(owner && a.uid == now.uid)) return Errno{EPERM};
  if ((a.valid & kSetGid) != 0 && !(owner && (a.gid == now.gid || c.in_group(a.gid)))) {
    return Errno{EPERM};
  }
  return ok();
}

Result<void> check_times(OpContext& ctx, const Stat& now, const SetAttr& a) {
  constexpr uint32_t kTimes = kSetAtime | kSetMtime | kSetAtimeNow | kSetMtimeNow;
  const uint32_t times = a.valid & kTimes;
  if (times == 0 || (a.valid & kSetSize) != 0) return ok();
  if (owner_or_capable(ctx.creds(), now.uid)) return ok();
  // Both to the clock is what a writer may do as well.
  if (times != (kSetAtimeNow | kSetMtimeNow)) return Errno{EPERM};
  return generic_permission(ctx, now, kMayWrite);
}

}  // namespace

uint32_t mode_after_write(const Credentials& c, uint32_t mode, uint32_t gid) {
  if ((mode & (S_ISUID | S_ISGID)) == 0 || !S_ISREG(mode) || c.has_cap(CAP_FSETID)) return mode;
  return without_set_ids(c, mode, gid);
}

Result<void> prepare_setattr(OpContext& ctx, const Stat& now, SetAttr& a) {
  const Credentials& c = ctx.creds();
  TRY(check_owner_change(c, now, a));
  if ((a.valid & kSetMode) != 0) {
    if (!owner_or_capable(c, now.uid)) return Errno{EPERM};
    a.mode &= 07777;
    const uint32_t gid = (a.valid & kSetGid) != 0 ? a.gid : now.gid;
    if (!c.in_group(gid) && !c.has_cap(CAP_FSETID)) a.mode &= ~uint32_t{S_ISGID};
  }
  TRY(check_times(ctx, now, a));
  if ((a.valid & kSetSize) != 0 && a.size > now.size && a.size > ctx.file_size_limit()) {
    return Errno{EFBIG};
  }
  if ((a.valid & kSetMode) == 0) {
    uint32_t mode = now.mode;
    if ((a.valid & (kSetUid | kSetGid)) != 0 && !S_ISDIR(now.mode)) {
      mode = without_set_ids(c, mode, now.gid);
    }
    if ((a.valid & kSetSize) != 0) mode = mode_after_write(c, mode, now.gid);
    if (mode != now.mode) {
      a.valid |= kSetMode;
      a.mode = mode & 07777;
    }
  }
  return ok();
}

Result<void> xattr_permission(OpContext& ctx, Inode& inode, const Stat& st, std::string_view name,
                              uint32_t mask) {
  const Credentials& c = ctx.creds();
  const bool write = (mask & kMayWrite) != 0;
  if (name.starts_with("security.")) {
    if (!write) return ok();
    const bool may = name == "security.capability" ? c.has_cap(CAP_SETFCAP)
                                                    : c.has_cap(CAP_SYS_ADMIN);
    return may ? Result<void>(ok()) : Errno{EPERM};
  }
  if (name.starts_with("system.")) {
    if (write && !owner_or_capable(c, st.uid)) return Errno{EPERM};
    return ok();
  }
  if (name.starts_with("trusted.")) {
    if (c.has_cap(CAP_SYS_ADMIN)) return ok();
    return Errno{write ? EPERM : ENODATA};
  }
  if (!name.starts_with("user.")) {
    TRY(inode.permission(ctx, mask));
    return Errno{EOPNOTSUPP};
  }
  if (!S_ISREG(st.mode) && !S_ISDIR(st.mode)) return Errno{write ? EPERM : ENODATA};
  if (S_ISDIR(st.mode) && (st.mode & S_ISVTX) != 0 && write && !owner_or_capable(c, st.uid)) {
    return Errno{EPERM};
  }
  return inode.permission(ctx, mask);
}

bool relatime_due(const Stat& st, Timespec now) {
  constexpr int64_t kDay = 24 * 60 * 60;
  return st.atime <= st.mtime || st.atime <= st.ctime || now.sec - st.atime.sec >= kDay;
}

}  // namespace run9::vfs
