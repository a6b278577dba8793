#include "sentry/syscalls/ids.h"

#include <linux/securebits.h>

#include <algorithm>

#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

using vfs::Credentials;

constexpr uint32_t kKeep = ~uint32_t{0};
constexpr uint64_t bit(int cap) { return uint64_t{1} << cap; }
// CAP_FS_SET of Linux: what follows the fsuid.
constexpr uint64_t kFsCaps = bit(CAP_CHOWN) | bit(CAP_MKNOD) | bit(CAP_DAC_OVERRIDE) |
                             bit(CAP_DAC_READ_SEARCH) | bit(CAP_FOWNER) | bit(CAP_FSETID) |
                             bit(CAP_LINUX_IMMUTABLE) | bit(CAP_MAC_OVERRIDE);

// cap_emulate_setxuid().
void fix_capabilities(const Credentials& old, Credentials& c) {
  if (c.securebits & SECBIT_NO_SETUID_FIXUP) return;
  const bool was_root = old.ruid == 0 || old.euid == 0 || old.suid == 0;
  if (was_root && c.ruid != 0 && c.euid != 0 && c.suid != 0) {
    if (!(c.securebits & SECBIT_KEEP_CAPS)) c.cap_permitted = c.cap_effective = 0;
    c.cap_ambient = 0;
  }
  if (old.euid == 0 && c.euid != 0) c.cap_effective = 0;
  if (old.euid != 0 && c.euid == 0) c.cap_effective = c.cap_permitted;
}

uint64_t set_uids(Task& task, Credentials c) {
  fix_capabilities(task.creds(), c);
  commit_creds(task, std::move(c));
  return 0;
}

}  // namespace

void commit_creds(Task& task, Credentials next) {
  const auto& old = task.creds();
  if (old.euid != next.euid || old.egid != next.egid || old.fsuid != next.fsuid ||
      old.fsgid != next.fsgid || (next.cap_permitted & ~old.cap_permitted) != 0) {
    task.memory().dumpable = false;
    task.pdeathsig = 0;
  }
  task.set_creds(std::move(next));
}

Result<uint64_t> sys_getuid(Task& task) { return task.creds().ruid; }
Result<uint64_t> sys_geteuid(Task& task) { return task.creds().euid; }
Result<uint64_t> sys_getgid(Task& task) { return task.creds().rgid; }
Result<uint64_t> sys_getegid(Task& task) { return task.creds().egid; }

Result<uint64_t> sys_setuid(Task& task, uint32_t uid) {
  if (uid == kKeep) return Errno{EINVAL};
  Credentials c = task.creds();
  if (c.has_cap(CAP_SETUID)) {
    c.ruid = c.suid = uid;
  } else if (uid != c.ruid && uid != c.suid) {
    return Errno{EPERM};
  }
  c.euid = c.fsuid = uid;
  return set_uids(task, std::move(c));
}

Result<uint64_t> sys_setgid(Task& task, uint32_t gid) {
  if (gid == kKeep) return Errno{EINVAL};
  Credentials c = task.creds();
  if (c.has_cap(CAP_SETGID)) {
    c.rgid = c.sgid = gid;
  } else if (gid != c.rgid && gid != c.sgid) {
    return Errno{EPERM};
  }
  c.egid = c.fsgid = gid;
  commit_creds(task, std::move(c));
  return 0;
}

Result<uint64_t> sys_setreuid(Task& task, uint32_t ruid, uint32_t euid) {
  const Credentials& old = task.creds();
  Credentials c = old;
  const bool may = old.has_cap(CAP_SETUID);
  if (ruid != kKeep) {
    if (!may && ruid != old.ruid && ruid != old.euid) return Errno{EPERM};
    c.ruid = ruid;
  }
  if (euid != kKeep) {
    if (!may && euid != old.ruid && euid != old.euid && euid != old.suid) return Errno{EPERM};
    c.euid = euid;
  }
  if (ruid != kKeep || (euid != kKeep && euid != old.ruid)) c.suid = c.euid;
  c.fsuid = c.euid;
  return set_uids(task, std::move(c));
}

Result<uint64_t> sys_setregid(Task& task, uint32_t rgid, uint32_t egid) {
  const Credentials& old = task.creds();
  Credentials c = old;
  const bool may = old.has_cap(CAP_SETGID);
  if (rgid != kKeep) {
    if (!may && rgid != old.rgid && rgid != old.egid) return Errno{EPERM};
    c.rgid = rgid;
  }
  if (egid != kKeep) {
    if (!may && egid != old.rgid && egid != old.egid && egid != old.sgid) return Errno{EPERM};
    c.egid = egid;
  }
  if (rgid != kKeep || (egid != kKeep && egid != old.rgid)) c.sgid = c.egid;
  c.fsgid = c.egid;
  commit_creds(task, std::move(c));
  return 0;
}

Result<uint64_t> sys_setresuid(Task& task, uint32_t ruid, uint32_t euid, uint32_t suid) {
  const Credentials& old = task.creds();
  const auto allowed = [&](uint32_t id) {
    return id == kKeep || id == old.ruid || id == old.euid || id == old.suid;
  };
  if (!old.has_cap(CAP_SETUID) && !(allowed(ruid) && allowed(euid) && allowed(suid))) {
    return Errno{EPERM};
  }
  Credentials c = old;
  if (ruid != kKeep) c.ruid = ruid;
  if (euid != kKeep) c.euid = euid;
  if (suid != kKeep) c.suid = suid;
  c.fsuid = c.euid;
  return set_uids(task, std::move(c));
}

Result<uint64_t> sys_setresgid(Task& task, uint32_t rgid, uint32_t egid, uint32_t sgid) {
  const Credentials& old = task.creds();
  const auto allowed = [&](uint32_t id) {
    return id == kKeep || id == old.rgid || id == old.egid || id == old.sgid;
  };
  if (!old.has_cap(CAP_SETGID) && !(allowed(rgid) && allowed(egid) && allowed(sgid))) {
    return Errno{EPERM};
  }
  Credentials c = old;
  if (rgid != kKeep) c.rgid = rgid;
  if (egid != kKeep) c.egid = egid;
  if (sgid != kKeep) c.sgid = sgid;
  c.fsgid = c.egid;
  commit_creds(task, std::move(c));
  return 0;
}

Result<uint64_t> sys_getresuid(Task& task, UserPtr<uint32_t> ruid, UserPtr<uint32_t> euid,
                               UserPtr<uint32_t> suid) {
  TRY(task.memory().write(ruid, task.creds().ruid));
  TRY(task.memory().write(euid, task.creds().euid));
  TRY(task.memory().write(suid, task.creds().suid));
  return 0;
}

Result<uint64_t> sys_getresgid(Task& task, UserPtr<uint32_t> rgid, UserPtr<uint32_t> egid,
                               UserPtr<uint32_t> sgid) {
  TRY(task.memory().write(rgid, task.creds().rgid));
  TRY(task.memory().write(egid, task.creds().egid));
  TRY(task.memory().write(sgid, task.creds().sgid));
  return 0;
}

// setfsuid(2) has no errors: it gives the old id either way.
Result<uint64_t> sys_setfsuid(Task& task, uint32_t uid) {
  Credentials c = task.creds();
  const uint32_t old = c.fsuid;
  const bool may = uid == c.ruid || uid == c.euid || uid == c.suid || uid == old ||
                   c.has_cap(CAP_SETUID);
  if (uid == kKeep || uid == old || !may) return old;
  c.fsuid = uid;
  if (!(c.securebits & SECBIT_NO_SETUID_FIXUP)) {
    if (old == 0) c.cap_effective &= ~kFsCaps;
    if (uid == 0) c.cap_effective |= c.cap_permitted & kFsCaps;
  }
  commit_creds(task, std::move(c));
  return old;
}

Result<uint64_t> sys_setfsgid(Task& task, uint32_t gid) {
  Credentials c = task.creds();
  const uint32_t old = c.fsgid;
  const bool may = gid == c.rgid || gid == c.egid || gid == c.sgid || gid == old ||
                   c.has_cap(CAP_SETGID);
  if (gid == kKeep || gid == old || !may) return old;
  c.fsgid = gid;
  commit_creds(task, std::move(c));
  return old;
}

Result<uint64_t> sys_getgroups(Task& task, int size, UserPtr<uint32_t> list) {
  const auto& groups = task.creds().groups;
  if (size < 0) return Errno{EINVAL};
  if (size == 0) return groups.size();
  if (static_cast<size_t>(size) < groups.size()) return Errno{EINVAL};
  if (!groups.empty()) TRY(task.memory().copy_out(list.addr, groups.data(), groups.size() * 4));
  return groups.size();
}

Result<uint64_t> sys_setgroups(Task& task, int size, UserPtr<uint32_t> list) {
  if (!task.creds().has_cap(CAP_SETGID)) return Errno{EPERM};
  if (size < 0 || size > 65536) return Errno{EINVAL};
  Credentials c = task.creds();
  c.groups = TRY(task.memory().read_array(list, static_cast<size_t>(size)));
  if (std::find(c.groups.begin(), c.groups.end(), kKeep) != c.groups.end()) return Errno{EINVAL};
  std::sort(c.groups.begin(), c.groups.end());
  commit_creds(task, std::move(c));
  return 0;
}

}  // namespace run9::sentry
