#include "sentry/syscalls/mqueue.h"

#include <signal.h>

#include <algorithm>

#include "sentry/fs/anon.h"
#include "sentry/ipc/ipc_objects.h"
#include "sentry/ipc/mqueue.h"
#include "sentry/syscalls/file_util.h"
#include "sentry/time/clocks.h"

namespace run9::sentry {
namespace {

// fs.mqueue's limits, and what CAP_SYS_RESOURCE may have.
constexpr int64_t kMaxMessages = 10, kMaxSize = 8192, kHardMessages = 65536, kHardSize = 16 << 20;
constexpr size_t kMaxQueues = 256;
constexpr uint32_t kMaxPriority = 32768;

// struct mq_attr.
struct Attributes {
  int64_t flags, max_messages, max_size, messages, reserved[4];
};

PosixQueues& queues(Task& task) { return ipc_objects(task.kernel()).posix_queues(); }

Result<std::string> read_name(Task& task, UserString at) {
  std::string name = TRY(task.memory().read_path(at));
  if (name.empty()) return Errno{ENOENT};
  if (name.size() > 255) return Errno{ENAMETOOLONG};
  if (name == "." || name == ".." || name.find('/') != std::string::npos) return Errno{EACCES};
  return name;
}

Result<std::shared_ptr<MqueueFile>> queue_file(Task& task, GuestFd fd) {
  auto file = std::dynamic_pointer_cast<MqueueFile>(TRY(task.fds().get_not_path(fd)));
  if (file == nullptr) return Errno{EBADF};
  return file;
}

Result<void> may_open(const vfs::Credentials& c, const PosixQueue& q, int flags) {
  const int access = flags & O_ACCMODE;
  const uint32_t wanted = access == O_RDONLY ? 4 : access == O_WRONLY ? 2 : 6;
  uint32_t granted = q.mode;
  if (c.fsuid == q.uid) {
    granted >>= 6;
  } else if (c.fsgid == q.gid || std::find(c.groups.begin(), c.groups.end(), q.gid) != c.groups.end()) {
    granted >>= 3;
  }
  if ((wanted & ~granted & 7) != 0 && !c.has_cap(CAP_DAC_OVERRIDE)) return Errno{EACCES};
  return ok();
}

Result<PosixQueueRef> make_queue(Task& task, uint32_t mode, const std::optional<Attributes>& a) {
  const auto& c = task.creds();
  const bool capable = c.has_cap(CAP_SYS_RESOURCE);
  if (queues(task).size() >= kMaxQueues && !capable) return Errno{ENOSPC};
  auto q = std::make_shared<PosixQueue>();
  if (a) {
    if (a->max_messages <= 0 || a->max_size <= 0) return Errno{EINVAL};
    if (a->max_messages > (capable ? kHardMessages : kMaxMessages)) return Errno{EINVAL};
    if (a->max_size > (capable ? kHardSize : kMaxSize)) return Errno{EINVAL};
    q->max_messages = a->max_messages;
    q->max_size = a->max_size;
  }
  if (static_cast<uint64_t>(q->max_messages * q->max_size) > task.process().limit(RLIMIT_MSGQUEUE)) return Errno{EMFILE};
  q->uid = c.fsuid;
  q->gid = c.fsgid;
  q->mode = mode & 0777 & ~task.fs().umask;
  return q;
}

// The absolute timeout on CLOCK_REALTIME, as a monotonic deadline.
Result<std::optional<uint64_t>> read_deadline(Task& task, uint64_t timeout) {
  const auto t = TRY(read_timeout(task, timeout));
  if (!t) return t;
  return std::optional(ClockRef::realtime().monotonic_deadline(*t));
}

}  // namespace

Result<uint64_t> sys_mq_open(Task& task, UserString name_at, int flags, uint32_t mode, uint64_t attributes) {
  std::optional<Attributes> a;
  if (attributes != 0) a = TRY(task.memory().read(UserPtr<Attributes>{attributes}));
  const std::string name = TRY(read_name(task, name_at));
  PosixQueueRef queue;
  const auto found = queues(task).find(name);
  if (found == queues(task).end()) {
    if ((flags & O_CREAT) == 0) return Errno{ENOENT};
    queue = TRY(make_queue(task, mode, a));
  } else {
    if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) return Errno{EEXIST};
    if ((flags & O_ACCMODE) == O_ACCMODE) return Errno{EINVAL};
    queue = found->second;
    TRY(may_open(task.creds(), *queue, flags));
  }
  if (!descriptor_available(task)) return Errno{EMFILE};
  auto path = make_anon_path(task.kernel(), "/" + name, S_IFREG | queue->mode, task);
  auto file = std::make_shared<MqueueFile>(std::move(path), static_cast<uint32_t>(flags) & (O_ACCMODE | O_NONBLOCK), queue);
  if (found == queues(task).end()) queues(task).emplace(name, queue);
  return install_file(task, std::move(file), true);  // always closed by exec
}

Result<uint64_t> sys_mq_unlink(Task& task, UserString name_at) {
  const std::string name = TRY(read_name(task, name_at));
  const auto found = queues(task).find(name);
  if (found == queues(task).end()) return Errno{ENOENT};
  // The names are in a sticky directory of root's.
  const auto& c = task.creds();
  if (c.fsuid != found->second->uid && !c.has_cap(CAP_FOWNER)) return Errno{EACCES};
  queues(task).erase(found);
  return 0;
}

Result<uint64_t> sys_mq_timedsend(Task& task, GuestFd fd, uint64_t text, uint64_t size, uint32_t priority,
                                  uint64_t timeout) {
  const auto deadline = TRY(read_deadline(task, timeout));
  if (priority >= kMaxPriority) return Errno{EINVAL};
  const auto file = TRY(queue_file(task, fd));
  if (!file->writable()) return Errno{EBADF};
  if (size > static_cast<uint64_t>(file->queue().max_size)) return Errno{EMSGSIZE};
  std::string message(size, '\0');
  TRY(task.memory().copy_in(message.data(), text, size));
  TRY(file->send(task, task.kernel(), std::move(message), priority, deadline));
  return 0;
}

Result<uint64_t> sys_mq_timedreceive(Task& task, GuestFd fd, uint64_t text, uint64_t size, UserPtr<uint32_t> priority,
                                     uint64_t timeout) {
  const auto deadline = TRY(read_deadline(task, timeout));
  const auto file = TRY(queue_file(task, fd));
  if (!file->readable()) return Errno{EBADF};
  const auto m = TRY(file->receive(task, size, deadline));
  if (!priority.is_null()) TRY(task.memory().write(priority, m.priority));
  TRY(task.memory().copy_out(text, m.text.data(), m.text.size()));
  return m.text.size();
}

Result<uint64_t> sys_mq_notify(Task& task, GuestFd fd, uint64_t event) {
  struct Event {
    uint64_t value;
    int32_t signo, notify;
    uint8_t rest[48];
  };
  static_assert(sizeof(Event) == 64);
  std::optional<Event> e;
  if (event != 0) {
    e = TRY(task.memory().read(UserPtr<Event>{event}));
    if (e->notify != SIGEV_NONE && e->notify != SIGEV_SIGNAL && e->notify != SIGEV_THREAD) return Errno{EINVAL};
    if (e->notify == SIGEV_SIGNAL && (e->signo < 1 || e->signo > kMaxSignal)) return Errno{EINVAL};
    if (e->notify == SIGEV_THREAD) return Errno{EBADF};  // it takes a netlink socket, and there is none
  }
  const auto file = TRY(queue_file(task, fd));
  auto& notify = file->queue().notify;
  if (!e) {
    if (notify.pid == task.tgid()) notify = {};
    return 0;
  }
  if (notify.pid != 0) return Errno{EBUSY};
  notify = {task.tgid(), e->notify == SIGEV_SIGNAL ? e->signo : 0, e->value};
  return 0;
}

Result<uint64_t> sys_mq_getsetattr(Task& task, GuestFd fd, uint64_t next, uint64_t old) {
  std::optional<Attributes> a;
  if (next != 0) {
    a = TRY(task.memory().read(UserPtr<Attributes>{next}));
    if ((a->flags & ~int64_t{O_NONBLOCK}) != 0) return Errno{EINVAL};
  }
  const auto file = TRY(queue_file(task, fd));
  const PosixQueue& q = file->queue();
  const Attributes before{file->flags() & O_NONBLOCK, q.max_messages, q.max_size,
                          static_cast<int64_t>(q.messages.size()), {}};
  if (a) TRY(file->set_flags((file->flags() & ~uint32_t{O_NONBLOCK}) | static_cast<uint32_t>(a->flags)));
  if (old != 0) TRY(task.memory().write(UserPtr<Attributes>{old}, before));
  return 0;
}

}  // namespace run9::sentry
