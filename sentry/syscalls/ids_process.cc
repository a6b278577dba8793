// Process, group and session ids; capget and capset.
#include "sentry/syscalls/ids.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

Result<ProcessRef> process_or_self(Task& task, int32_t pid) {
  if (pid == 0) return task.process_ref();
  auto p = task.kernel().find_process(pid);
  if (p == nullptr) return Errno{ESRCH};
  return p;
}

struct CapHeader {
  uint32_t version;
  int32_t pid;
};
struct CapData {
  uint32_t effective, permitted, inheritable;
};

// How many CapData the version has; writes the version we prefer for one we do not know.
Result<size_t> cap_words(Task& task, uint64_t header, CapHeader& h) {
  const auto version = TRY(task.memory().read(UserPtr<uint32_t>{header}));
  if (version != 0x19980330 && version != 0x20071026 && version != 0x20080522) {
    TRY(task.memory().write(UserPtr<uint32_t>{header}, 0x20080522u));
    return Errno{EINVAL};
  }
  h = TRY(task.memory().read(UserPtr<CapHeader>{header}));
  return size_t{version == 0x19980330 ? 1u : 2u};
}

}  // namespace

Result<uint64_t> sys_getpid(Task& task) { return static_cast<uint64_t>(task.tgid()); }
Result<uint64_t> sys_gettid(Task& task) { return static_cast<uint64_t>(task.tid()); }

Result<uint64_t> sys_getppid(Task& task) {
  const auto parent = task.process().parent.lock();
  return static_cast<uint64_t>(parent ? parent->pid : 0);
}

Result<uint64_t> sys_setpgid(Task& task, int32_t pid, int32_t pgid) {
  Process& self = task.process();
  if (pid == 0) pid = self.pid;
  if (pgid == 0) pgid = pid;
  if (pgid < 0) return Errno{EINVAL};
  const auto p = task.kernel().find_process(pid);
  if (p == nullptr) return Errno{ESRCH};
  if (p->parent.lock().get() == &self) {
    if (p->sid() != self.sid()) return Errno{EPERM};
    if (p->did_exec) return Errno{EACCES};
  } else if (p.get() != &self) {
    return Errno{ESRCH};
  }
  if (p->sid() == p->pid) return Errno{EPERM};  // a session leader
  auto group = task.kernel().find_group(pgid);
  if (pgid != pid && (group == nullptr || group->session != self.group->session)) {
    return Errno{EPERM};
  }
  if (group == nullptr) group = task.kernel().make_group(pgid, p->group->session);
  p->group = std::move(group);
  return 0;
}

Result<uint64_t> sys_getpgid(Task& task, int32_t pid) {
  return static_cast<uint64_t>(TRY(process_or_self(task, pid))->pgid());
}

Result<uint64_t> sys_getpgrp(Task& task) { return static_cast<uint64_t>(task.process().pgid()); }

Result<uint64_t> sys_setsid(Task& task) {
  Process& p = task.process();
  if (p.pgid() == p.pid || task.kernel().find_group(p.pid) != nullptr) return Errno{EPERM};
  auto session = std::make_shared<Session>();
  session->sid = p.pid;
  p.group = task.kernel().make_group(p.pid, std::move(session));
  return static_cast<uint64_t>(p.pid);
}

Result<uint64_t> sys_getsid(Task& task, int32_t pid) {
  return static_cast<uint64_t>(TRY(process_or_self(task, pid))->sid());
}

Result<uint64_t> sys_capget(Task& task, uint64_t header, uint64_t data) {
  CapHeader h{};
  const auto words = cap_words(task, header, h);
  // Probing for the version: no data, no error.
  if (!words.has_value()) {
    if (data == 0 && words.error() == Errno{EINVAL}) return 0;
    return words.error();
  }
  if (data == 0) return 0;
  if (h.pid < 0) return Errno{EINVAL};
  Task* target = h.pid == 0 ? &task : task.kernel().find_task(h.pid);
  if (target == nullptr) return Errno{ESRCH};
  const auto& c = target->creds();
  CapData out[2];
  for (int i = 0; i < 2; ++i) {
    out[i] = {static_cast<uint32_t>(c.cap_effective >> (32 * i)),
              static_cast<uint32_t>(c.cap_permitted >> (32 * i)),
              static_cast<uint32_t>(c.cap_inheritable >> (32 * i))};
  }
  TRY(task.memory().copy_out(data, out, words.value() * sizeof(CapData)));
  return 0;
}

Result<uint64_t> sys_capset(Task& task, uint64_t header, uint64_t data) {
  CapHeader h{};
  const size_t words = TRY(cap_words(task, header, h));
  if (h.pid != 0 && h.pid != task.tid()) return Errno{EPERM};
  CapData in[2] = {};
  TRY(task.memory().copy_in(in, data, words * sizeof(CapData)));
  const auto join = [&](uint32_t CapData::*m) {
    return (in[0].*m | static_cast<uint64_t>(in[1].*m) << 32) & vfs::kAllCaps;
  };
  const uint64_t effective = join(&CapData::effective), permitted = join(&CapData::permitted),
                 inheritable = join(&CapData::inheritable);
  vfs::Credentials c = task.creds();
  // cap_capset().
  const bool capped = !c.has_cap(CAP_SETPCAP);
  if (capped && (inheritable & ~(c.cap_inheritable | c.cap_permitted)) != 0) return Errno{EPERM};
  if ((inheritable & ~(c.cap_inheritable | c.cap_bounding)) != 0) return Errno{EPERM};
  if ((permitted & ~c.cap_permitted) != 0 || (effective & ~permitted) != 0) return Errno{EPERM};
  c.cap_effective = effective;
  c.cap_permitted = permitted;
  c.cap_inheritable = inheritable;
  c.cap_ambient &= permitted & inheritable;
  commit_creds(task, std::move(c));
  return 0;
}

}  // namespace run9::sentry
