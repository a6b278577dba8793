#include <poll.h>
#include <sys/sem.h>

#include "sentry/ipc/ipc_objects.h"
#include "sentry/ipc/sysv.h"
#include "sentry/syscalls/sysv.h"
#include "sentry/task/kernel.h"
#include "sentry/time/clocks.h"

namespace run9::sentry {
namespace {

constexpr int kMaxValue = SemaphoreSet::kMaxValue;

SysvTable<SemaphoreSet>& table(Task& task) { return ipc_objects(task.kernel()).sysv().semaphores; }

// Does all operations, or none: then gives the one that has to wait.
Result<const sembuf*> attempt(Task& task, SemaphoreSet& set, const std::vector<sembuf>& ops) {
  const auto before = set.all;
  for (const auto& op : ops) {
    auto& s = set.all[op.sem_num];
    const bool blocks = op.sem_op == 0 ? s.value != 0 : s.value + op.sem_op < 0;
    const bool overflows = s.value + op.sem_op > kMaxValue;
    if (blocks || overflows) {
      set.all = before;
      if (overflows) return Errno{ERANGE};
      return &op;
    }
    s.value += op.sem_op;
    s.pid = task.tgid();
  }
  for (const auto& op : ops) {
    if ((op.sem_flg & SEM_UNDO) == 0 || op.sem_op == 0) continue;
    auto& undo = set.undo[task.tgid()];
    undo.resize(set.all.size());
    undo[op.sem_num] -= op.sem_op;
  }
  set.operated = task.now().sec;
  return nullptr;
}

// timeout: the address of one, or 0.
Result<uint64_t> operate(Task& task, int32_t id, uint64_t addr, uint32_t count, uint64_t timeout_addr) {
  if (timeout_addr != 0) (void)TRY(task.memory().read(UserPtr<timespec>{timeout_addr}));
  if (count < 1 || id < 0) return Errno{EINVAL};
  if (count > sysv_limits(task).semopm()) return Errno{E2BIG};
  const auto ops = TRY(task.memory().read_array(UserPtr<sembuf>{addr}, count));
  const auto timeout = TRY(read_timeout(task, timeout_addr));
  const auto set = TRY(sysv_find(table(task), id));
  bool changes = false;
  for (const auto& op : ops) {
    if (op.sem_num >= set->all.size()) return Errno{EFBIG};
    changes |= op.sem_op != 0;
  }
  TRY(set->check(task, changes ? 2 : 4));
  std::optional<uint64_t> deadline;
  if (timeout) deadline = saturating_add(EventLoop::now_ns(), *timeout);
  for (;;) {
    if (set->removed) return Errno{EIDRM};
    const sembuf* waits = TRY(attempt(task, *set, ops));
    if (waits == nullptr) {
      if (changes) set->queue.notify_all(POLLIN);
      return 0;
    }
    if ((waits->sem_flg & IPC_NOWAIT) != 0) return Errno{EAGAIN};
    const auto number = waits->sem_num;
    const bool for_zero = waits->sem_op == 0;
    const auto count_waiter = [&](int by) {
      auto& s = set->all[number];
      (for_zero ? s.waiting_zero : s.waiting_more) += by;
    };
    count_waiter(1);
    const auto waited = task.wait(set->queue, POLLIN, deadline);
    count_waiter(-1);
    if (waited.has_value()) continue;
    if (set->removed) return Errno{EIDRM};
    return waited.error() == Errno{ETIMEDOUT} ? Errno{EAGAIN} : Errno{EINTR};
  }
}

Result<uint64_t> set_all(Task& task, SemaphoreSet& set, uint64_t arg) {
  const auto values = TRY(task.memory().read_array(UserPtr<uint16_t>{arg}, set.all.size()));
  for (const auto v : values) {
    if (v > kMaxValue) return Errno{ERANGE};
  }
  for (size_t i = 0; i < values.size(); ++i) {
    set.all[i].value = values[i];
    set.all[i].pid = task.tgid();
  }
  set.undo.clear();  // as Linux does: what was set is not to be undone
  set.changed = task.now().sec;
  set.queue.notify_all(POLLIN);
  return 0;
}

Result<uint64_t> one_semaphore(Task& task, SemaphoreSet& set, int number, int command, uint64_t arg) {
  if (number < 0 || static_cast<size_t>(number) >= set.all.size()) return Errno{EINVAL};
  TRY(set.check(task, command == SETVAL ? 2 : 4));
  auto& s = set.all[static_cast<size_t>(number)];
  switch (command) {
    case GETVAL: return static_cast<uint64_t>(s.value);
    case GETPID: return static_cast<uint64_t>(s.pid);
    case GETNCNT: return static_cast<uint64_t>(s.waiting_more);
    case GETZCNT: return static_cast<uint64_t>(s.waiting_zero);
    default: break;
  }
  const int value = static_cast<int>(arg);
  if (value < 0 || value > kMaxValue) return Errno{ERANGE};
  s.value = value;
  for (auto& [pid, undo] : set.undo) undo[static_cast<size_t>(number)] = 0;
  s.pid = task.tgid();
  set.changed = task.now().sec;
  set.queue.notify_all(POLLIN);
  return 0;
}

// IPC_INFO and SEM_INFO (semctl_info()): the limits; of two of them SEM_INFO tells what is used instead.
Result<uint64_t> tell_information(Task& task, int command, uint64_t buffer) {
  const SysvLimits& l = sysv_limits(task);
  const int all = static_cast<int>(l.semmns()), per_call = static_cast<int>(l.semopm());
  seminfo info{.semmap = all, .semmni = static_cast<int>(l.semmni()), .semmns = all, .semmnu = all,
               .semmsl = static_cast<int>(l.semmsl()), .semopm = per_call, .semume = per_call, .semusz = 20,
               .semvmx = kMaxValue, .semaem = kMaxValue};
  if (command == SEM_INFO) {
    info.semusz = static_cast<int>(table(task).size());
    info.semaem = static_cast<int>(table(task).charged());
  }
  TRY(task.memory().copy_out(buffer, &info, sizeof info));
  return table(task).highest_index();
}

Result<uint64_t> stat(Task& task, const SemaphoreSet& set, uint64_t buffer) {
  semid_ds d{};
  d.sem_perm = set.permissions();
  d.sem_otime = set.operated;
  d.sem_ctime = set.changed;
  d.sem_nsems = set.all.size();
  TRY(task.memory().copy_out(buffer, &d, sizeof d));
  return 0;
}

}  // namespace

Result<uint64_t> sys_semget(Task& task, int32_t key, int count, int flags) {
  if (count < 0 || static_cast<uint64_t>(count) > sysv_limits(task).semmsl()) return Errno{EINVAL};
  const auto check = [&](SemaphoreSet& s) -> Result<void> {
    if (s.all.size() < static_cast<size_t>(count)) return Errno{EINVAL};
    return ok();
  };
  return sysv_get(task, table(task), key, flags, sysv_limits(task).semmni(), check, [&](SemaphoreSet& s) -> Result<void> {
    if (count == 0) return Errno{EINVAL};
    if (table(task).charged() + static_cast<uint64_t>(count) > sysv_limits(task).semmns()) return Errno{ENOSPC};
    s.all.resize(static_cast<size_t>(count));
    return ok();
  });
}

Result<uint64_t> sys_semop(Task& task, int32_t id, uint64_t ops, uint32_t count) {
  return operate(task, id, ops, count, 0);
}

Result<uint64_t> sys_semtimedop(Task& task, int32_t id, uint64_t ops, uint32_t count,
                                uint64_t timeout) {
  return operate(task, id, ops, count, timeout);
}

Result<uint64_t> sys_semctl(Task& task, int32_t id, int number, int command, uint64_t arg) {
  if (id < 0) return Errno{EINVAL};
  if (command == IPC_INFO || command == SEM_INFO) return tell_information(task, command, arg);
  semid_ds wanted{};
  if (command == IPC_SET) wanted = TRY(task.memory().read(UserPtr<semid_ds>{arg}));
  const bool by_index = command == SEM_STAT || command == SEM_STAT_ANY;
  const auto set = TRY(sysv_find(table(task), id, by_index));
  switch (command) {
    case GETVAL:
    case GETPID:
    case GETNCNT:
    case GETZCNT:
    case SETVAL: return one_semaphore(task, *set, number, command, arg);
    case GETALL: {
      TRY(set->check(task, 4));
      std::vector<uint16_t> values;
      for (const auto& s : set->all) values.push_back(static_cast<uint16_t>(s.value));
      TRY(task.memory().copy_out(arg, values.data(), values.size() * 2));
      return 0;
    }
    case SETALL: TRY(set->check(task, 2)); return set_all(task, *set, arg);
    case IPC_STAT: TRY(set->check(task, 4)); return stat(task, *set, arg);
    case SEM_STAT: TRY(set->check(task, 4)); [[fallthrough]];
    case SEM_STAT_ANY: TRY(stat(task, *set, arg)); return static_cast<uint64_t>(set->id);
    case IPC_SET:
      if (!set->owned_by(task)) return Errno{EPERM};
      set->set(task, wanted.sem_perm);
      return 0;
    case IPC_RMID:
      if (!set->owned_by(task)) return Errno{EPERM};
      table(task).remove(*set);
      set->queue.notify_all();
      return 0;
    default: return Errno{EINVAL};
  }
}

}  // namespace run9::sentry
