#include "sentry/syscalls/aio.h"

#include <linux/fs.h>
#include <poll.h>
#include <sys/mman.h>

#include <algorithm>

#include "sentry/ipc/aio.h"
#include "sentry/ipc/eventfd.h"
#include "sentry/ipc/ipc_objects.h"
#include "sentry/syscalls/file_io.h"
#include "sentry/syscalls/file_util.h"
#include "sentry/syscalls/sigmask.h"
#include "sentry/task/kernel.h"
#include "sentry/time/clocks.h"

namespace run9::sentry {
namespace {

// ioctx_alloc(): from here on it is a wrong number, below a number that is not to be had.
constexpr uint32_t kTooMany = (0x10000000 / sizeof(io_event)) / 2;

AioContexts& contexts(Task& task) { return ipc_objects(task.kernel()).aio(); }

Result<AioContextRef> find(Task& task, uint64_t id) {
  auto context = contexts(task).find(task.memory_ref(), id);
  if (context == nullptr) return Errno{EINVAL};
  return context;
}

// What an operation came to: res of its event. What fails before it began is the call's own error instead.
Errno outcome_of(Errno e) {
  const bool restarts = e == kErestartsys || e == kErestartnointr || e == kErestartnohand || e == kErestartRestartblock;
  return restarts ? Errno{EINTR} : e;
}
Result<int64_t> outcome_of(const Result<uint64_t>& r) {
  return r.has_value() ? static_cast<int64_t>(r.value()) : -static_cast<int64_t>(outcome_of(r.error()));
}

// aio_read(), aio_write().
Result<int64_t> transfer(Task& task, vfs::File& file, const iocb& cb, bool reads, bool vectored) {
  TRY(check_rwf(cb.aio_rw_flags));
  if (!(reads ? file.readable() : file.writable())) return Errno{EBADF};
  if (file.inode().is_dir()) return Errno{EINVAL};
  const IoVec pieces = vectored ? TRY(task.memory().read_iovec(cb.aio_buf, cb.aio_nbytes))
                                : IoVec{{reinterpret_cast<void*>(cb.aio_buf), cb.aio_nbytes}};
  auto segments = TRY(GuestSegments::create(task.memory(), pieces));
  std::optional<uint64_t> offset;
  if (!file.is_stream()) {
    if (cb.aio_offset < 0) return Errno{EINVAL};
    offset = static_cast<uint64_t>(cb.aio_offset);
  }
  const auto move = reads ? read_file : write_file;
  return outcome_of(move(task, file, segments, offset, cb.aio_rw_flags));
}

// aio_fsync(). What cannot be synchronized at all is refused.
Result<int64_t> synchronize(Task& task, vfs::File& file, const iocb& cb, bool data_only) {
  if (cb.aio_buf != 0 || cb.aio_offset != 0 || cb.aio_nbytes != 0 || cb.aio_rw_flags != 0) return Errno{EINVAL};
  const auto r = file.fsync(task, data_only);
  if (r.has_value()) return 0;
  if (r.error() == Errno{EINVAL}) return r.error();
  return outcome_of(Result<uint64_t>(r.error()));
}

Result<int64_t> perform(Task& task, vfs::File& file, const iocb& cb) {
  switch (cb.aio_lio_opcode) {
    case IOCB_CMD_PREAD: return transfer(task, file, cb, true, false);
    case IOCB_CMD_PREADV: return transfer(task, file, cb, true, true);
    case IOCB_CMD_PWRITE: return transfer(task, file, cb, false, false);
    case IOCB_CMD_PWRITEV: return transfer(task, file, cb, false, true);
    case IOCB_CMD_FSYNC: return synchronize(task, file, cb, false);
    case IOCB_CMD_FDSYNC: return synchronize(task, file, cb, true);
    default: return Errno{EINVAL};
  }
}

Result<std::shared_ptr<EventFile>> event_of(Task& task, const iocb& cb) {
  if ((cb.aio_flags & IOCB_FLAG_RESFD) == 0) return std::shared_ptr<EventFile>();
  auto event = std::dynamic_pointer_cast<EventFile>(TRY(task.fds().get_not_path(GuestFd{static_cast<int32_t>(cb.aio_resfd)})));
  if (event == nullptr) return Errno{EINVAL};
  return event;
}

// A place in the queue, from the check that there is one to the event in it: others run while the operation waits.
class Reservation {
 public:
  explicit Reservation(AioContext& context) : context_(context) { ++context_.pending; }
  ~Reservation() { --context_.pending; }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;

 private:
  AioContext& context_;
};

// io_submit_one(). Gives res.
Result<int64_t> submit_one(Task& task, AioContext& context, uint64_t at) {
  const auto cb = TRY(task.memory().read(UserPtr<iocb>{at}));
  if (cb.aio_reserved2 != 0 || static_cast<int64_t>(cb.aio_nbytes) < 0) return Errno{EINVAL};
  if (context.done.size() + context.pending >= context.room) return Errno{EAGAIN};
  const Reservation reservation(context);
  const auto file = TRY(task.fds().get_not_path(GuestFd{static_cast<int32_t>(cb.aio_fildes)}));
  const auto event = TRY(event_of(task, cb));
  TRY(task.memory().write(UserPtr<uint32_t>{at + offsetof(iocb, aio_key)}, 0));
  const int64_t result = TRY(perform(task, *file, cb));
  context.done.push_back({cb.aio_data, at, result, 0});
  context.queue.notify_all(POLLIN);
  if (event != nullptr) event->signal();
  return result;
}

// read_events(): how many there were, fewer than `min` at the deadline.
Result<uint64_t> read_events(Task& task, AioContext& context, uint64_t min, uint64_t most, uint64_t at,
                             std::optional<uint64_t> timeout) {
  std::optional<uint64_t> deadline;
  if (timeout) deadline = saturating_add(EventLoop::now_ns(), *timeout);
  uint64_t got = 0;
  for (;;) {
    const uint64_t n = std::min<uint64_t>(most - got, context.done.size());
    const std::vector<io_event> events(context.done.begin(), context.done.begin() + static_cast<int64_t>(n));
    if (n > 0) {
      const auto copied = task.memory().copy_out(at + got * sizeof(io_event), events.data(), n * sizeof(io_event));
      if (!copied.has_value()) return got > 0 ? Result<uint64_t>(got) : copied.error();
      context.done.erase(context.done.begin(), context.done.begin() + static_cast<int64_t>(n));
      got += n;
    }
    if (got >= min || (timeout && *timeout == 0)) return got;
    if (context.destroyed) return got > 0 ? Result<uint64_t>(got) : Errno{EINVAL};
    const auto waited = task.wait(context.queue, POLLIN, deadline);
    if (waited.has_value()) continue;
    if (got > 0 || waited.error() == Errno{ETIMEDOUT}) return got;
    return waited.error();
  }
}

Result<uint64_t> get_events(Task& task, uint64_t id, int64_t min, int64_t most, uint64_t events,
                            std::optional<uint64_t> timeout) {
  const auto context = TRY(find(task, id));
  if (min < 0 || min > most) return Errno{EINVAL};
  return read_events(task, *context, static_cast<uint64_t>(min), static_cast<uint64_t>(most), events, timeout);
}

}  // namespace

Result<uint64_t> sys_io_setup(Task& task, uint32_t events, UserPtr<uint64_t> id) {
  const uint64_t before = TRY(task.memory().read(id));
  if (before != 0 || events == 0 || events > kTooMany) return Errno{EINVAL};
  if (!contexts(task).have_room_for(events)) return Errno{EAGAIN};
  // libaio looks for a ring of events at the address that names the context. Zeroes are none: it makes the calls then.
  MemoryManager::MapArgs page;
  page.length = kPage;
  page.prot = PROT_READ | PROT_WRITE;
  page.flags = MAP_PRIVATE | MAP_ANONYMOUS;
  page.name = "/[aio] (deleted)";
  const uint64_t at = TRY(task.memory().mmap(task, std::move(page)));
  auto added = contexts(task).add(task.memory_ref(), at, events);
  if (added.has_value()) {
    added = task.memory().write(id, at);
    if (added.has_value()) return 0;
    contexts(task).destroy(task.memory_ref(), at);
  }
  TRY(task.memory().munmap(task, at, kPage));
  return added.error();
}

Result<uint64_t> sys_io_destroy(Task& task, uint64_t id) {
  if (!contexts(task).destroy(task.memory_ref(), id)) return Errno{EINVAL};
  TRY(task.memory().munmap(task, id, kPage));
  return 0;
}

Result<uint64_t> sys_io_submit(Task& task, uint64_t id, int64_t count, uint64_t list) {
  if (count < 0) return Errno{EINVAL};
  const auto context = TRY(find(task, id));
  const uint64_t most = std::min<uint64_t>(static_cast<uint64_t>(count), context->room);
  uint64_t done = 0, moved = 0;
  // Other than in Linux all of it happens here: the call ends early where one write would.
  while (done < most && moved < kMaxTransfer) {
    const auto result = [&]() -> Result<int64_t> {
      const auto at = TRY(task.memory().read(UserPtr<uint64_t>{list + done * sizeof(uint64_t)}));
      return submit_one(task, *context, at);
    }();
    if (!result.has_value()) return done > 0 ? Result<uint64_t>(done) : result.error();
    moved += static_cast<uint64_t>(std::max<int64_t>(result.value(), 0));
    ++done;
  }
  return done;
}

// Nothing waits to be done, so there is nothing to cancel.
Result<uint64_t> sys_io_cancel(Task& task, uint64_t, uint64_t operation, uint64_t) {
  (void)TRY(task.memory().read(UserPtr<uint32_t>{operation + offsetof(iocb, aio_key)}));
  return Errno{EINVAL};
}

Result<uint64_t> sys_io_getevents(Task& task, uint64_t id, int64_t min, int64_t most, uint64_t events,
                                  uint64_t timeout) {
  const auto ns = TRY(read_timeout(task, timeout));
  const auto r = get_events(task, id, min, most, events, ns);
  if (!r.has_value() && r.error() == kErestartsys) return Errno{EINTR};  // never restarted: signal(7)
  return r;
}

Result<uint64_t> sys_io_pgetevents(Task& task, uint64_t id, int64_t min, int64_t most, uint64_t events,
                                   uint64_t timeout, uint64_t mask_and_size) {
  struct MaskAndSize {
    uint64_t mask, size;
  } m{};
  const auto ns = TRY(read_timeout(task, timeout));
  if (mask_and_size != 0) m = TRY(task.memory().read(UserPtr<MaskAndSize>{mask_and_size}));
  const auto set = TRY(read_sigmask(task, m.mask, m.size));
  return with_sigmask(task, set, [&]() -> Result<uint64_t> {
    const auto r = get_events(task, id, min, most, events, ns);
    if (!r.has_value() && r.error() == kErestartsys) return kErestartnohand;
    return r;
  });
}

}  // namespace run9::sentry
