#include "sentry/task/file_answers.h"

#include <asm/unistd.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sys/mman.h>

#include <algorithm>
#include <span>
#include <utility>

#include "sentry/syscalls/fd.h"
#include "sentry/syscalls/file_util.h"
#include "sentry/syscalls/meta.h"
#include "sentry/task/kernel.h"
#include "sentry/task/task.h"

namespace run9::sentry {
namespace {

// Calls that change nothing of what somebody else may have been told: attributes, contents, positions and flags of files. For more of them: is_quiet().
constexpr int kQuiet[] = {
    __NR_read,        __NR_pread64,     __NR_readv,          __NR_preadv,        __NR_preadv2,         __NR_stat,          __NR_fstat,
    __NR_lstat,       __NR_newfstatat,  __NR_statx,          __NR_access,        __NR_faccessat,       __NR_faccessat2,    __NR_readlink,
    __NR_readlinkat,  __NR_getdents64,  __NR_getcwd,         __NR_close,         __NR_dup,             __NR_dup2,          __NR_dup3,
    __NR_pipe,        __NR_pipe2,       __NR_poll,           __NR_ppoll,         __NR_select,          __NR_pselect6,      __NR_epoll_wait,
    __NR_epoll_pwait, __NR_epoll_ctl,   __NR_mmap,           __NR_munmap,        __NR_mprotect,        __NR_mremap,        __NR_madvise,
    __NR_brk,         __NR_futex,       __NR_rt_sigaction,   __NR_rt_sigprocmask, __NR_rt_sigreturn,   __NR_sigaltstack,   __NR_nanosleep,
    __NR_clock_nanosleep, __NR_wait4,   __NR_waitid,         __NR_exit,          __NR_exit_group,      __NR_execve,        __NR_clone,
    __NR_clone3,      __NR_fork,        __NR_vfork,          __NR_arch_prctl,    __NR_set_tid_address, __NR_prlimit64,     __NR_sendto,
    __NR_recvfrom,    __NR_sendmsg,     __NR_recvmsg,        __NR_getrandom,     __NR_getpgid,         __NR_kill,          __NR_uname,
};

constexpr auto make_quiet() {
  std::array<bool, 512> quiet{};
  for (const int nr : kQuiet) quiet[static_cast<size_t>(nr)] = true;
  return quiet;
}
constexpr auto kIsQuiet = make_quiet();

// Likewise of descriptors, which others of its process may have been told of.
bool changes_descriptors(uint64_t number) {
  switch (number) {
    case __NR_open:
    case __NR_openat:
    case __NR_fcntl:
    case __NR_close:
    case __NR_dup:
    case __NR_dup2:
    case __NR_dup3:
    case __NR_pipe:
    case __NR_pipe2:
    case __NR_recvmsg:
    case __NR_execve: return true;
    default: return false;
  }
}

bool is_quiet(const Task& task, uint64_t number, const std::array<uint64_t, 6>& args) {
  constexpr uint64_t kChanges = O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY);
  if (changes_descriptors(number) && !FileAnswers::is_alone(task)) return false;
  switch (number) {
    case __NR_open: return (args[1] & kChanges) == 0;
    case __NR_openat: return (args[2] & kChanges) == 0;
    case __NR_mmap: return (args[3] & MAP_SHARED) == 0;  // else it may be written by
    case __NR_fcntl: return args[1] <= F_GETFL || args[1] == F_DUPFD_CLOEXEC;
    default: return number < kIsQuiet.size() && kIsQuiet[number];
  }
}

// A file or directory that keeps its attributes, in memory or at a gofer, and whose changes come here.
bool is_steady(const vfs::File& file) {
  const vfs::Inode& inode = file.inode();
  const bool kind = inode.is_dir() || (inode.is_regular() && file.moves_bytes());
  return kind && inode.fs().caching() != vfs::Caching::kNone && !inode.written_unseen() && (file.flags() & O_PATH) == 0;
}

// Others than guests change it.
bool is_shared(const vfs::File& file) { return file.inode().fs().caching() != vfs::Caching::kAuthoritative; }

// fstat(2), also as libc makes it.
bool asks_stat(const Regs& call, int fd) {
  if (static_cast<int>(call.rdi) != fd) return false;
  return call.orig_rax == __NR_fstat || (call.orig_rax == __NR_newfstatat && (call.r10 & AT_EMPTY_PATH) != 0);
}

bool asks_read(const Regs& call, int fd) { return call.orig_rax == __NR_read && static_cast<int>(call.rdi) == fd; }

void learn(uint8_t& guess, bool right) { guess = static_cast<uint8_t>(std::clamp(guess + (right ? 1 : -1), 0, 3)); }

// It has read so many bytes of the start that it was told by itself, and reads no more of it. Nobody else has the file.
void was_read(Task& task, uint32_t bytes) {
  const vfs::File* const start = std::exchange(task.told.start, nullptr);
  if (start == nullptr || bytes == 0 || bytes > task.told.start_size) return;
  const auto file = task.fds().get(GuestFd{task.told.opened});
  if (file.has_value() && file.assume_value().get() == start) file.assume_value()->set_position(bytes);
}

// How many of the first bytes a task is told: as many as it usually reads, or all of a small file; and one more, which finds the end. 0: none.
uint64_t worth_telling(const Task& task, uint64_t size) {
  constexpr uint64_t kSmall = 16'000, kOfOthers = 4096;
  return size <= kSmall ? size + 1 : task.told.usual <= kOfOthers ? task.told.usual + 1 : 0;
}

// Puts them where it will find them. Nothing: they are to be asked for.
std::optional<ToldFile::Start> start_of(Task& task, vfs::File& file, uint64_t size) {
  const uint64_t wanted = worth_telling(task, size);
  if (wanted == 0) return {};
  const auto room = task.context().room_for_start(wanted);
  if (room.empty()) return {};
  const auto bytes = file.read_unnoticed(task, room);
  if (!bytes.has_value() || !bytes.assume_value()) return {};
  const size_t n = *bytes.assume_value();
  return ToldFile::Start{static_cast<uint32_t>(n), n < room.size()};
}

bool may_tell(const Task& task) { return task.has_context() && task.context().tells_files(); }

// What the task says that it has closed. A filter would have had its say.
void close_for(Task& task, ClosedFds closed, vfs::OpContext& by) {
  if (task.seccomp_mode != SECCOMP_MODE_DISABLED) return;
  closed.each([&](int fd) {
    if (auto file = task.fds().remove(GuestFd{fd}); file.has_value()) close_file(by, std::move(file.value()));
  });
}

bool has(const FdTable& table, const vfs::File& file) {
  for (size_t n = 0; n < table.size(); ++n) {
    if (const auto* e = table.entry(n); e != nullptr && e->file.get() == &file) return true;
  }
  return false;
}

}  // namespace

bool FileAnswers::is_alone(const Task& task) { return task.process().tasks.size() == 1 && task.fds_ref().use_count() == 1; }

void FileAnswers::begin_program(Task& task) {
  constexpr uint64_t kHeaders = 1023;  // of a library: its first read(2) and the headers behind that
  task.told.stat_guess = task.told.read_guess = 3;
  task.told.usual = kHeaders;
}

void FileAnswers::asked(Task& task) {
  Told& told = task.told;
  if (outstanding(told)) --told_;
  Context& context = task.context();
  const bool was_told = told.start != nullptr;
  was_read(task, std::exchange(context.read_of_start, 0));
  if (const int fd = std::exchange(told.opened, -1); fd >= 0) {
    const Regs& call = context.call_regs();
    const bool stats = asks_stat(call, fd), reads = told.to_read && asks_read(call, fd);
    learn(told.stat_guess, stats || context.used_stat);
    if (reads) told.usual = call.rdx;
    if (told.to_read && !stats) learn(told.read_guess, was_told ? context.used_start : reads);
  }
  told.any = false;
  close_for(task, std::exchange(context.closed, {}), task);
}

void FileAnswers::answered(Task& task, uint64_t number, const std::array<uint64_t, 6>& args) {
  const bool own = outstanding(task.told);
  if (told_ <= (own ? 1 : 0) || is_quiet(task, number, args)) return;
  changed();
  if (own) note(task);  // it is about to hear of it, and of the new round
}

void FileAnswers::changed() {
  if (told_ == 0) return;
  ++round_;
  told_ = 0;
  kernel_.platform().files_changed();
}

void FileAnswers::gone(const Task& task) {
  if (outstanding(task.told)) --told_;
}

void FileAnswers::note(Task& task) {
  Told& told = task.told;
  if (!outstanding(told)) ++told_;
  told.any = true;
  told.round = round_;
}

void FileAnswers::tell(Task& task, int fd, vfs::File& file, bool cloexec, bool opened) {
  if (!may_tell(task)) return;
  ToldFile says{.flags = static_cast<uint32_t>(shown_flags(file)) | (cloexec ? uint32_t{O_CLOEXEC} : 0)};
  says.closes_later = is_alone(task) && !at_once_ && !task.process().closes_at_once && file.closes_quietly() && file.inode().locks_if_any() == nullptr;
  if (!opened && !says.closes_later) return;
  LinuxStat st;
  Told& told = task.told;
  says.briefly = is_shared(file);
  says.is_new = opened && is_steady(file);
  const bool to_read = says.is_new && file.inode().is_regular() && file.readable() && is_alone(task) && !at_once_;
  const bool with_start = to_read && told.read_guess >= 2;
  if (says.is_new) {
    note(task);  // so that whoever changes it meanwhile says so
    if (told.stat_guess >= 2) {
      if (const auto found = stat_of(task, file); found.has_value()) {
        st = found.value();
        says.stat = std::as_bytes(std::span(&st, 1));
        if (with_start) says.start = start_of(task, file, static_cast<uint64_t>(st.size));
      }
    } else if (with_start && !says.briefly) {
      const auto now = file.getattr(task);
      if (now.has_value()) says.start = start_of(task, file, now.value().size);
    }
    if (!outstanding(told)) {
      says.stat = {};
      says.start = {};
    }
  }
  if (says.start) {
    told.start = &file;
    told.start_size = says.start->size;
  }
  if (opened) {
    told.opened = fd;
    told.to_read = to_read;
  }
  task.context().tell_file(says);
  note(task);
}

void FileAnswers::read_to_end(Task& task, vfs::File& file) {
  if (!may_tell(task) || !file.inode().is_regular() || !is_steady(file) || is_shared(file)) return;
  const auto st = file.getattr(task);
  if (!st.has_value() || file.position() < st.value().size) return;
  task.context().tell_end(false);
  note(task);
}

void FileAnswers::listed_to_end(Task& task, const vfs::File& file) {
  if (!may_tell(task) || !is_steady(file) || at_once_) return;
  task.context().tell_end(is_shared(file));
  note(task);
}

void FileAnswers::close_at_once(Task& task) {
  task.process().closes_at_once = true;
  for (Task* t : task.process().tasks) {
    if (t->has_context()) t->context().keep_closes();
  }
}

void FileAnswers::close_at_once(const vfs::File& file) {
  kernel_.each_task([&](Task& t) {
    if (t.fds_ref() != nullptr && !t.process().closes_at_once && has(t.fds(), file)) close_at_once(t);
  });
}

void FileAnswers::close_at_once() {
  if (std::exchange(at_once_, true)) return;
  kernel_.own_files().stop();
  kernel_.each_task([](Task& t) {
    if (t.has_context()) t.context().keep_closes();
  });
}

void FileAnswers::settle(Task& task, vfs::OpContext& by) {
  if (!task.has_context() || task.fds_ref() == nullptr) return;
  if (task.told.start != nullptr) {
    changed();  // from here on it does not begin to read
    // What it has just said has not been heard yet.
    was_read(task, std::max(task.context().take_start(), std::exchange(task.context().read_of_start, 0)));
  }
  close_for(task, task.context().take_closed(), by);
  kernel_.own_files().settle(task);
}

void FileAnswers::settle_all(vfs::OpContext& by) {
  kernel_.each_task([&](Task& t) { settle(t, by); });
}

}  // namespace run9::sentry
