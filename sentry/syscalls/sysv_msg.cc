#include <poll.h>
#include <sys/msg.h>

#include <algorithm>

#include "sentry/ipc/ipc_objects.h"
#include "sentry/ipc/sysv.h"
#include "sentry/syscalls/sysv.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

constexpr size_t kMaxQueued = 16384;  // empty messages take memory, too

SysvTable<MessageQueue>& table(Task& task) { return ipc_objects(task.kernel()).sysv().queues; }

std::deque<MessageQueue::Message>::iterator choose(MessageQueue& q, int64_t type, bool except) {
  auto& m = q.messages;
  if (type == 0) return m.begin();
  if (type > 0) {
    return std::find_if(m.begin(), m.end(), [&](const auto& x) { return (x.type == type) != except; });
  }
  const int64_t limit = type == INT64_MIN ? INT64_MAX : -type;
  const auto best = std::min_element(m.begin(), m.end(),
                                     [](const auto& a, const auto& b) { return a.type < b.type; });
  return best != m.end() && best->type <= limit ? best : m.end();
}

// IPC_INFO and MSG_INFO (msgctl_info()): the limits; of three of them MSG_INFO tells what is used instead.
Result<uint64_t> tell_information(Task& task, int command, uint64_t buffer) {
  const SysvLimits& l = sysv_limits(task);
  const int per_queue = static_cast<int>(l.msgmnb);
  msginfo info{.msgpool = static_cast<int>(l.msgmni * l.msgmnb / 1024), .msgmap = per_queue,
               .msgmax = static_cast<int>(l.msgmax), .msgmnb = per_queue, .msgmni = static_cast<int>(l.msgmni),
               .msgssz = 16, .msgtql = per_queue, .msgseg = 0xffff};
  if (command == MSG_INFO) {
    info.msgpool = static_cast<int>(table(task).size());
    uint64_t messages = 0, bytes = 0;
    table(task).for_each([&](const MessageQueue& q) {
      messages += q.messages.size();
      bytes += q.bytes;
    });
    info.msgmap = static_cast<int>(messages);
    info.msgtql = static_cast<int>(bytes);
  }
  TRY(task.memory().copy_out(buffer, &info, sizeof info));
  return table(task).highest_index();
}

Result<uint64_t> stat(Task& task, const MessageQueue& q, uint64_t buffer) {
  msqid_ds d{};
  d.msg_perm = q.permissions();
  d.msg_stime = q.sent;
  d.msg_rtime = q.received;
  d.msg_ctime = q.changed;
  d.__msg_cbytes = q.bytes;
  d.msg_qnum = q.messages.size();
  d.msg_qbytes = q.max_bytes;
  d.msg_lspid = q.send_pid;
  d.msg_lrpid = q.receive_pid;
  TRY(task.memory().copy_out(buffer, &d, sizeof d));
  return 0;
}

}  // namespace

Result<uint64_t> sys_msgget(Task& task, int32_t key, int flags) {
  const auto fine = [](MessageQueue&) -> Result<void> { return ok(); };
  return sysv_get(task, table(task), key, flags, sysv_limits(task).msgmni, fine, [&](MessageQueue& q) -> Result<void> {
    q.max_bytes = sysv_limits(task).msgmnb;
    return ok();
  });
}

Result<uint64_t> sys_msgsnd(Task& task, int32_t id, uint64_t message, uint64_t size, int flags) {
  const auto type = TRY(task.memory().read(UserPtr<int64_t>{message}));
  if (size > sysv_limits(task).msgmax || id < 0 || type < 1) return Errno{EINVAL};
  MessageQueue::Message m{type, std::string(size, '\0')};
  if (size > 0) TRY(task.memory().copy_in(m.text.data(), message + 8, size));
  const auto q = TRY(sysv_find(table(task), id));
  TRY(q->check(task, 2));
  while (q->bytes + size > q->max_bytes || q->messages.size() >= std::min<uint64_t>(q->max_bytes, kMaxQueued)) {
    if ((flags & IPC_NOWAIT) != 0) return Errno{EAGAIN};
    const auto waited = task.wait(q->queue, POLLOUT);
    if (q->removed) return Errno{EIDRM};
    if (!waited.has_value()) return kErestartnohand;
  }
  if (q->removed) return Errno{EIDRM};
  q->bytes += size;
  q->messages.push_back(std::move(m));
  q->send_pid = task.tgid();
  q->sent = task.now().sec;
  q->queue.notify_all(POLLIN);
  return 0;
}

Result<uint64_t> sys_msgrcv(Task& task, int32_t id, uint64_t message, uint64_t size, int64_t type,
                            int flags) {
  constexpr int kCopy = 040000;
  if (id < 0 || static_cast<int64_t>(size) < 0) return Errno{EINVAL};
  if ((flags & kCopy) != 0) return Errno{ENOSYS};
  const auto q = TRY(sysv_find(table(task), id));
  TRY(q->check(task, 4));
  auto it = choose(*q, type, (flags & MSG_EXCEPT) != 0);
  while (it == q->messages.end()) {
    if ((flags & IPC_NOWAIT) != 0) return Errno{ENOMSG};
    const auto waited = task.wait(q->queue, POLLIN);
    if (q->removed) return Errno{EIDRM};
    if (!waited.has_value()) return kErestartnohand;
    it = choose(*q, type, (flags & MSG_EXCEPT) != 0);
  }
  if (it->text.size() > size && (flags & MSG_NOERROR) == 0) return Errno{E2BIG};
  const auto m = std::move(*it);
  q->messages.erase(it);
  q->bytes -= m.text.size();
  q->receive_pid = task.tgid();
  q->received = task.now().sec;
  q->queue.notify_all(POLLOUT);
  TRY(task.memory().write(UserPtr<int64_t>{message}, m.type));
  const size_t n = std::min<uint64_t>(size, m.text.size());
  if (n > 0) TRY(task.memory().copy_out(message + 8, m.text.data(), n));
  return n;
}

Result<uint64_t> sys_msgctl(Task& task, int32_t id, int command, uint64_t buffer) {
  if (id < 0 || command < 0) return Errno{EINVAL};
  if (command == IPC_INFO || command == MSG_INFO) return tell_information(task, command, buffer);
  msqid_ds wanted{};
  if (command == IPC_SET) wanted = TRY(task.memory().read(UserPtr<msqid_ds>{buffer}));
  const bool by_index = command == MSG_STAT || command == MSG_STAT_ANY;
  const auto q = TRY(sysv_find(table(task), id, by_index));
  switch (command) {
    case IPC_STAT: TRY(q->check(task, 4)); return stat(task, *q, buffer);
    case MSG_STAT: TRY(q->check(task, 4)); [[fallthrough]];
    case MSG_STAT_ANY: TRY(stat(task, *q, buffer)); return static_cast<uint64_t>(q->id);
    case IPC_SET:
      if (!q->owned_by(task)) return Errno{EPERM};
      if (wanted.msg_qbytes > sysv_limits(task).msgmnb && !task.creds().has_cap(CAP_SYS_RESOURCE)) return Errno{EPERM};
      q->set(task, wanted.msg_perm);
      q->max_bytes = wanted.msg_qbytes;
      q->queue.notify_all(POLLOUT);
      return 0;
    case IPC_RMID:
      if (!q->owned_by(task)) return Errno{EPERM};
      table(task).remove(*q);
      q->queue.notify_all();
      return 0;
    default: return Errno{EINVAL};
  }
}

}  // namespace run9::sentry
