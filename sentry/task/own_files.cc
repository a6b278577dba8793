#include "sentry/task/own_files.h"

#include <asm/unistd.h>
#include <sys/resource.h>

#include <algorithm>
#include <utility>

#include "sentry/task/access.h"
#include "sentry/task/kernel.h"
#include "sentry/task/task.h"

namespace run9::sentry {
namespace {

constexpr int kWorth = 8;       // small transfers, or one of 128 KiB
constexpr int kPatience = 16;   // transfers of other descriptors in its place, or of its own that came here all the same
constexpr int kNever = -1'000'000'000;

// Whose positions a call may look at, or let others look at.
enum class Looks { kAtNone, kAtFirst, kAtAll };  // kAtFirst: that of its first argument
Looks looks_at_positions(uint64_t number) {
  switch (number) {
    case __NR_pread64:
    case __NR_preadv:
    case __NR_pwrite64:
    case __NR_pwritev:
    case __NR_fstat:
    case __NR_newfstatat:
    case __NR_statx:
    case __NR_fsync:
    case __NR_fdatasync:
    case __NR_ftruncate:
    case __NR_fallocate:
    case __NR_fadvise64: return Looks::kAtNone;
    case __NR_read:
    case __NR_readv:
    case __NR_write:
    case __NR_writev:
    case __NR_lseek:
    case __NR_open:
    case __NR_openat:
    case __NR_close:
    case __NR_stat:
    case __NR_lstat:
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
    case __NR_uname: return Looks::kAtFirst;
    default: return Looks::kAtAll;
  }
}

// Where it is written to is the host's to say, and where it is the file's to ask for.
bool appends(const vfs::File& file) { return (file.flags() & O_APPEND) != 0; }

// Nobody else can tell where it is; `file` is the reference of who carries out this task's call.
bool is_alone_with(const Task& task, const vfs::FileRef& file) {
  constexpr long kTablesAndThis = 2;
  return FileAnswers::is_alone(task) && file.use_count() == kTablesAndThis;
}

// False: it is not worth it yet.
bool is_worth(int& worth, uint64_t bytes) {
  constexpr int kShift = 14;
  if (bytes == 0) return false;
  if (worth < kWorth) worth += 1 + static_cast<int>(std::min<uint64_t>(bytes >> kShift, kWorth));
  return worth >= kWorth;
}

// What it was given is closed with the answer to the call that it is in, and does not change until then.
bool is_still(const Task& task) { return task.has_context() && task.context().takes_files(); }

uint64_t entry_of(int fd) { return static_cast<uint32_t>(fd) % kGivenFiles; }

// Null: it was not given this.
OwnFiles::Held::Entry* entry_for(Task& task, GuestFd fd, const vfs::File& file) {
  if (task.own_files == nullptr) return nullptr;
  OwnFiles::Held::Entry& e = task.own_files->entries[entry_of(to_int(fd))];
  return e.fd == to_int(fd) && e.file == &file ? &e : nullptr;
}

}  // namespace

void OwnFiles::take_position(Task& task, Held::Entry& entry) {
  if (!entry.position) return;
  entry.position = false;
  --task.own_files->positions;
  const auto file = task.fds().get(GuestFd{entry.fd});
  const auto position = task.context().take_position(entry.fd);
  if (!position) {
    --entry.patience;
  } else if (file.has_value() && file.assume_value().get() == entry.file) {
    file.assume_value()->set_position(*position);
  }
}

void OwnFiles::take(Task& task, Held::Entry& entry) {
  if (entry.fd >= 0) {
    take_position(task, entry);
    task.context().take_file(entry.fd);
    if (entry.unseen != nullptr && is_still(task)) entry.unseen->over();
  }
  entry = {};
}

void OwnFiles::called(Task& task, uint64_t number, uint64_t first_arg) {
  switch (looks_at_positions(number)) {
    case Looks::kAtNone: return;
    case Looks::kAtFirst: {
      const int fd = static_cast<int>(first_arg);
      if (Held::Entry& e = task.own_files->entries[entry_of(fd)]; e.fd == fd) take_position(task, e);
      return;
    }
    case Looks::kAtAll: settle(task);
  }
}

void OwnFiles::settle(Task& task) {
  if (task.own_files == nullptr) return;
  for (Held::Entry& e : task.own_files->entries) take_position(task, e);
}

void OwnFiles::stop(Task& task) {
  if (task.own_files == nullptr) return;
  if (task.has_context() && task.fds_ref() != nullptr) {
    for (Held::Entry& e : task.own_files->entries) take(task, e);
  }
  task.own_files.reset();
}

void OwnFiles::ended(Task& task) {
  if (task.own_files == nullptr) return;
  for (Held::Entry& e : task.own_files->entries) {
    if (e.unseen != nullptr) e.unseen->over();
  }
  task.own_files.reset();
}

void OwnFiles::stop() {
  stopped_ = true;
  begin_anew();
}

void OwnFiles::stop_writes() {
  if (!std::exchange(writes_stopped_, true)) begin_anew();
}

void OwnFiles::begin_anew() {
  kernel_.each_task([this](Task& t) { stop(t); });
}

void OwnFiles::left(const FdTable& table, int fd) {
  kernel_.each_task([&](Task& t) {
    if (t.own_files == nullptr || t.fds_ref().get() != &table || !t.has_context()) return;
    Held::Entry& e = t.own_files->entries[entry_of(fd)];
    if (e.fd != fd) return;
    if (e.position) --t.own_files->positions;
    e.position = false;  // nobody else has the file
    take(t, e);
  });
}

bool OwnFiles::may_give(const Task& task, const vfs::File& file) const {
  constexpr uint32_t kOtherReads = O_DIRECT | O_NOATIME;
  return !stopped_ && file.inode().is_regular() && file.moves_bytes() && (file.flags() & kOtherReads) == 0 && task.has_context() &&
         task.context().takes_files();
}

bool OwnFiles::may_write(const Task& task, const vfs::File& file) const {
  return !writes_stopped_ && (file.flags() & O_DSYNC) == 0 && task.file_size_limit() == RLIM_INFINITY;
}

bool OwnFiles::make_room(Task& task, GuestFd fd) {
  if (task.own_files == nullptr) task.own_files = std::make_unique<Held>();
  Held::Entry& e = task.own_files->entries[entry_of(to_int(fd))];
  if (e.fd >= 0 && --e.patience > 0) return false;
  take(task, e);
  return true;
}

OwnFiles::Held::Entry& OwnFiles::given(Task& task, GuestFd fd, const vfs::File& file) {
  Held::Entry& e = task.own_files->entries[entry_of(to_int(fd))];
  e = Held::Entry{.fd = to_int(fd), .file = &file, .patience = kPatience};
  task.fds().watch(fd, [this, table = &task.fds()](int n) { left(*table, n); });
  return e;
}

void OwnFiles::was_discarded(Task& task, GuestFd fd, vfs::File& file) {
  int& worth = file.host_worth().writes;
  if (worth < kWorth) {
    ++worth;
  } else if (task.has_context() && task.context().takes_files() && entry_for(task, fd, file) == nullptr && make_room(task, fd) &&
             task.context().give_file({.fd = to_int(fd)})) {
    given(task, fd, file);
  }
}

void OwnFiles::was_read(Task& task, GuestFd fd, const vfs::FileRef& file, bool offset, uint64_t bytes, uint64_t wanted) {
  if (!is_worth(file->host_worth().reads, bytes) || !may_give(task, *file)) return;
  if (Held::Entry* const e = entry_for(task, fd, *file); e != nullptr) return was_asked(task, *e, file, offset);
  // Who gets less than it wants is at the end.
  if ((offset || bytes == wanted) && make_room(task, fd)) give_to_read(task, fd, file, offset);
}

void OwnFiles::was_written(Task& task, GuestFd fd, const vfs::FileRef& file, bool offset, uint64_t bytes) {
  if (!is_worth(file->host_worth().writes, bytes) || !may_give(task, *file) || !may_write(task, *file)) return;
  Held::Entry* const e = entry_for(task, fd, *file);
  if (e != nullptr && e->writes) return was_asked(task, *e, file, offset);
  if (e != nullptr) {
    take(task, *e);
  } else if (!make_room(task, fd)) {
    return;
  }
  give_to_write(task, fd, file, offset);
}

void OwnFiles::was_asked(Task& task, Held::Entry& entry, const vfs::FileRef& file, bool offset) {
  if (offset || entry.position || (entry.writes && appends(*file))) {
    if (--entry.patience <= 0) take(task, entry);
  } else if (is_alone_with(task, file)) {
    task.context().give_position(entry.fd, file->position());
    has_position(task, entry);
  }
}

void OwnFiles::has_position(Task& task, Held::Entry& entry) {
  entry.position = true;
  ++task.own_files->positions;
}

OwnFiles::Held::Entry* OwnFiles::give(Task& task, const vfs::FileRef& file, GivenFile given, bool offset) {
  const FdTable::Entry* const now = task.fds().entry(static_cast<size_t>(given.fd));
  if (task.own_files == nullptr || task.own_files->entries[entry_of(given.fd)].fd >= 0 || now == nullptr || now->file != file) return nullptr;
  const bool own = !offset && !given.appends && is_alone_with(task, file);
  if (own) given.position = file->position();
  if (!task.context().give_file(given)) return nullptr;
  Held::Entry& e = this->given(task, GuestFd{given.fd}, *file);
  e.writes = given.writes;
  if (own) has_position(task, e);
  return &e;
}

void OwnFiles::give_to_read(Task& task, GuestFd fd, const vfs::FileRef& file, bool offset) {
  const auto source = file->read_source(task);
  const vfs::MapSource none, &from = source.has_value() ? source.assume_value() : none;
  const bool may_write = from.is_memory ? may_write_by_descriptor(task, *file) : file->writable();
  if (from.fd == nullptr || (from.is_memory && !may_write)) {
    file->host_worth().reads = kNever;
    return;
  }
  give(task, file, {.fd = to_int(fd), .host = from.fd->borrow(), .may_write = may_write, .position = {}}, offset);
}

void OwnFiles::give_to_write(Task& task, GuestFd fd, const vfs::FileRef& file, bool offset) {
  auto source = file->write_source(task);
  vfs::File::WriteSource none, &from = source.has_value() ? source.assume_value() : none;
  if (from.fd == nullptr || from.unseen == nullptr || !may_read_by_descriptor(task, *file)) {
    file->host_worth().writes = kNever;
    if (from.unseen != nullptr) from.unseen->over();
    return;
  }
  const GivenFile given{
      .fd = to_int(fd), .host = from.fd->borrow(), .reads = file->readable(), .writes = true, .appends = appends(*file), .may_write = true, .position = {}};
  if (Held::Entry* const e = give(task, file, given, offset); e != nullptr) {
    e->unseen = std::move(from.unseen);
  } else {
    from.unseen->over();
  }
}

}  // namespace run9::sentry
