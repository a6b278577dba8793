// process_vm_readv(2) and process_vm_writev(2): bytes from one guest's memory to another's, through a buffer.
#include <algorithm>

#include "sentry/syscalls/file_io.h"
#include "sentry/syscalls/memory.h"
#include "sentry/task/access.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

constexpr size_t kPiece = 16 * 1024;

struct Transfer {
  std::shared_ptr<Task> target;
  MemoryManagerRef memory;
  IoVec local, remote;
};

Result<Transfer> prepare(Task& task, int32_t pid, uint64_t local, uint64_t local_count, uint64_t remote,
                         uint64_t remote_count, uint64_t flags) {
  if (flags != 0) return Errno{EINVAL};
  Transfer t;
  t.local = TRY(task.memory().read_iovec(local, local_count));
  t.remote = TRY(task.memory().read_iovec(remote, remote_count));
  Task* target = task.kernel().find_task(pid);
  if (target == nullptr || target->memory_ref() == nullptr) return Errno{ESRCH};
  if (!may_trace(task, *target, TraceIds::kReal)) return Errno{EPERM};
  t.target = target->shared_from_this();
  t.memory = target->memory_ref();
  return t;
}

// Moves bytes from one list of pieces to the other until either ends or a byte faults. A fault after
// some bytes cuts the count short.
Result<uint64_t> move_bytes(GuestSegments& from, GuestSegments& to) {
  std::vector<std::byte> buffer(std::min({from.remaining(), to.remaining(), kPiece}));
  uint64_t done = 0;
  while (from.remaining() != 0 && to.remaining() != 0) {
    const auto piece = std::span(buffer).first(std::min({from.remaining(), to.remaining(), buffer.size()}));
    const auto got = from.copy_in(piece);
    const auto put = got.has_value() ? to.copy_out(piece.first(got.value())) : got;
    if (!put.has_value()) {
      if (done != 0) return done;
      return put.error();
    }
    done += put.value();
    if (put.value() < piece.size()) break;
  }
  return done;
}

}  // namespace

Result<uint64_t> sys_process_vm_readv(Task& task, int32_t pid, uint64_t local, uint64_t local_count,
                                      uint64_t remote, uint64_t remote_count, uint64_t flags) {
  const Transfer t = TRY(prepare(task, pid, local, local_count, remote, remote_count, flags));
  auto from = TRY(GuestSegments::create(*t.memory, t.remote));
  auto to = TRY(GuestSegments::create(task.memory(), t.local));
  return move_bytes(from, to);
}

Result<uint64_t> sys_process_vm_writev(Task& task, int32_t pid, uint64_t local, uint64_t local_count,
                                       uint64_t remote, uint64_t remote_count, uint64_t flags) {
  const Transfer t = TRY(prepare(task, pid, local, local_count, remote, remote_count, flags));
  auto from = TRY(GuestSegments::create(task.memory(), t.local));
  auto to = TRY(GuestSegments::create(*t.memory, t.remote));
  return move_bytes(from, to);
}

}  // namespace run9::sentry
