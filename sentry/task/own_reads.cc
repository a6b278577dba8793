#include "sentry/task/own_reads.h"

#include <asm/unistd.h>

#include <algorithm>

#include "sentry/task/access.h"
#include "sentry/task/kernel.h"
#include "sentry/task/task.h"

namespace run9::sentry {
namespace {

constexpr int kWorth = 8;       // small reads, or one of 128 KiB
constexpr int kPatience = 16;   // reads of other descriptors in its place, or of its own that came here all the same
constexpr int kNever = -1'000'000'000;

// Calls after which nobody else knows more of a position than before, unless it is the first argument's.
bool leaves_positions(uint64_t number) {
  switch (number) {
    case __NR_read:
    case __NR_readv:
    case __NR_pread64:
    case __NR_preadv:
    case __NR_write:
    case __NR_writev:
    case __NR_pwrite64:
    case __NR_lseek:
    case __NR_open:
    case __NR_openat:
    case __NR_close:
    case __NR_stat:
    case __NR_fstat:
    case __NR_lstat:
    case __NR_newfstatat:
    case __NR_statx:
    case __NR_access:
    case __NR_faccessat:
    case __NR_faccessat2:
    case __NR_readlink:
    case __NR_readlinkat:
    case __NR_getdents64:
    case __NR_getcwd:
    case __NR_unlink:
    case __NR_unlinkat:
    case __NR_rename:
    case __NR_mkdir:
    case __NR_chmod:
    case __NR_fchmodat:
    case __NR_utimensat:
    case __NR_fcntl:
    case __NR_ioctl:
    case __NR_pipe:
    case __NR_pipe2:
    case __NR_poll:
    case __NR_ppoll:
    case __NR_select:
    case __NR_pselect6:
    case __NR_epoll_wait:
    case __NR_epoll_pwait:
    case __NR_mmap:
    case __NR_munmap:
    case __NR_mprotect:
    case __NR_mremap:
    case __NR_madvise:
    case __NR_brk:
    case __NR_futex:
    case __NR_rt_sigaction:
    case __NR_rt_sigprocmask:
    case __NR_rt_sigreturn:
    case __NR_nanosleep:
    case __NR_clock_nanosleep:
    case __NR_wait4:
    case __NR_getrandom:
    case __NR_uname: return true;
    default: return false;
  }
}

// Nobody else can tell where it is; `file` is the reference of who carries out this task's call.
bool is_alone_with(const Task& task, const vfs::FileRef& file) {
  constexpr long kTablesAndThis = 2;
  return FileAnswers::is_alone(task) && file.use_count() == kTablesAndThis;
}

uint64_t entry_of(int fd) { return static_cast<uint32_t>(fd) % kReadableFiles; }

// Null: it was not given this.
OwnReads::Held::Entry* entry_for(Task& task, GuestFd fd, const vfs::File& file) {
  if (task.reads == nullptr) return nullptr;
  OwnReads::Held::Entry& e = task.reads->entries[entry_of(to_int(fd))];
  return e.fd == to_int(fd) && e.file == &file ? &e : nullptr;
}

}  // namespace

void OwnReads::take_position(Task& task, Held::Entry& entry) {
  if (!entry.position) return;
  entry.position = false;
  --task.reads->positions;
  const auto file = task.fds().get(GuestFd{entry.fd});
  const auto position = task.context().take_position(entry.fd);
  if (!position) {
    --entry.patience;
  } else if (file.has_value() && file.assume_value().get() == entry.file) {
    file.assume_value()->set_position(*position);
  }
}

void OwnReads::take(Task& task, Held::Entry& entry) {
  if (entry.fd >= 0) {
    take_position(task, entry);
    task.context().take_file(entry.fd);
  }
  entry = {};
}

void OwnReads::called(Task& task, uint64_t number, uint64_t first_arg) {
  const bool all = !leaves_positions(number);
  for (Held::Entry& e : task.reads->entries) {
    if (e.position && (all || static_cast<int>(first_arg) == e.fd)) take_position(task, e);
  }
}

void OwnReads::settle(Task& task) {
  if (task.reads == nullptr) return;
  for (Held::Entry& e : task.reads->entries) take_position(task, e);
}

void OwnReads::stop(Task& task) {
  if (task.reads == nullptr) return;
  if (task.has_context() && task.fds_ref() != nullptr) {
    for (Held::Entry& e : task.reads->entries) take(task, e);
  }
  task.reads.reset();
}

void OwnReads::stop() {
  stopped_ = true;
  moved();
}

void OwnReads::moved() {
  kernel_.each_task([this](Task& t) { stop(t); });
}

void OwnReads::left(const FdTable& table, int fd) {
  kernel_.each_task([&](Task& t) {
    if (t.reads == nullptr || t.fds_ref().get() != &table || !t.has_context()) return;
    Held::Entry& e = t.reads->entries[entry_of(fd)];
    if (e.fd != fd) return;
    if (e.position) --t.reads->positions;
    e.position = false;  // nobody else has the file
    take(t, e);
  });
}

bool OwnReads::may_give(const Task& task, const vfs::File& file) const {
  constexpr uint32_t kOtherReads = O_DIRECT | O_NOATIME;
  return !stopped_ && file.inode().is_regular() && file.moves_bytes() && (file.flags() & kOtherReads) == 0 && task.has_context() &&
         task.context().takes_files();
}

bool OwnReads::make_room(Task& task, GuestFd fd) {
  if (task.reads == nullptr) task.reads = std::make_unique<Held>();
  Held::Entry& e = task.reads->entries[entry_of(to_int(fd))];
  if (e.fd >= 0 && --e.patience > 0) return false;
  take(task, e);
  return true;
}

OwnReads::Held::Entry& OwnReads::given(Task& task, GuestFd fd, const vfs::File& file) {
  Held::Entry& e = task.reads->entries[entry_of(to_int(fd))];
  e = {.fd = to_int(fd), .file = &file, .patience = kPatience};
  task.fds().watch(fd, [this, table = &task.fds()](int n) { left(*table, n); });
  return e;
}

void OwnReads::was_discarded(Task& task, GuestFd fd, vfs::File& file) {
  if (file.read_worth() < kWorth) {
    ++file.read_worth();
  } else if (task.has_context() && task.context().takes_files() && entry_for(task, fd, file) == nullptr && make_room(task, fd) &&
             task.context().give_file({.fd = to_int(fd)})) {
    given(task, fd, file);
  }
}

void OwnReads::was_read(Task& task, GuestFd fd, const vfs::FileRef& file, bool offset, uint64_t bytes, uint64_t wanted) {
  constexpr int kShift = 14;
  if (bytes == 0) return;
  int& worth = file->read_worth();
  if (worth < kWorth) worth += 1 + static_cast<int>(std::min<uint64_t>(bytes >> kShift, kWorth));
  if (worth < kWorth || !may_give(task, *file)) return;
  if (Held::Entry* const e = entry_for(task, fd, *file); e != nullptr) return was_asked(task, *e, file, offset);
  // Who gets less than it wants is at the end.
  if ((offset || bytes == wanted) && make_room(task, fd)) give(task, fd, file, offset);
}

void OwnReads::was_asked(Task& task, Held::Entry& entry, const vfs::FileRef& file, bool offset) {
  if (offset || entry.position) {
    if (--entry.patience <= 0) take(task, entry);
  } else if (is_alone_with(task, file)) {
    task.context().give_position(entry.fd, file->position());
    has_position(task, entry);
  }
}

void OwnReads::has_position(Task& task, Held::Entry& entry) {
  entry.position = true;
  ++task.reads->positions;
}

void OwnReads::give(Task& task, GuestFd fd, const vfs::FileRef& file, bool offset) {
  const auto source = file->read_source(task);
  const FdTable::Entry* const now = task.fds().entry(static_cast<size_t>(to_int(fd)));
  if (task.reads == nullptr || task.reads->entries[entry_of(to_int(fd))].fd >= 0 || now == nullptr || now->file != file) return;
  const vfs::MapSource none, &from = source.has_value() ? source.assume_value() : none;
  const bool may_write = from.is_memory ? may_write_by_descriptor(task, *file) : file->writable();
  if (from.fd == nullptr || (from.is_memory && !may_write)) {
    file->read_worth() = kNever;
    return;
  }
  const bool own = !offset && is_alone_with(task, file);
  ReadableFile readable{.fd = to_int(fd), .host = from.fd->borrow(), .may_write = may_write, .position = {}};
  if (own) readable.position = file->position();
  if (!task.context().give_file(readable)) return;
  Held::Entry& e = given(task, fd, *file);
  if (own) has_position(task, e);
}

}  // namespace run9::sentry
