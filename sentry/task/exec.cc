// execve(2): after the new program is loaded, the rest of the old process goes.
#include "base/log.h"
#include "sentry/ipc/futex.h"
#include "sentry/loader/loader.h"
#include "sentry/syscalls/file_util.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

// Capabilities and ids of the new program (capabilities(7), "Transformation of capabilities during
// execve"); file capabilities are not looked at.
vfs::Credentials after_exec(const vfs::Credentials& old, const vfs::Stat& st, bool honour_setid) {
  vfs::Credentials c = old;
  if (honour_setid && (st.mode & S_ISUID)) c.euid = st.uid;
  if (honour_setid && (st.mode & S_ISGID) && (st.mode & 0010)) c.egid = st.gid;
  c.suid = c.fsuid = c.euid;
  c.sgid = c.fsgid = c.egid;
  const bool setid = c.euid != old.euid || c.egid != old.egid;
  if (setid) c.cap_ambient = 0;
  const bool no_root = (old.securebits & 1) != 0;  // SECBIT_NOROOT
  uint64_t file_permitted = 0, file_inheritable = 0;
  bool file_effective = false;
  if (!no_root) {
    if (c.euid == 0 || c.ruid == 0) file_permitted = file_inheritable = vfs::kAllCaps;
    if (c.euid == 0) file_effective = true;
  }
  c.cap_permitted = (old.cap_inheritable & file_inheritable) | (file_permitted & old.cap_bounding) |
                    c.cap_ambient;
  c.cap_effective = file_effective ? c.cap_permitted : c.cap_ambient;
  c.securebits &= ~uint32_t{1 << 4};  // SECBIT_KEEP_CAPS
  return c;
}

// ETXTBSY: somebody in the sandbox has the program open for writing. Writers are not counted; they are
// looked for.
bool open_for_writing(const FdTable& fds, const vfs::Inode& program) {
  for (size_t n = 0; n < fds.size(); ++n) {
    const auto* entry = fds.entry(n);
    if (entry != nullptr && entry->file->writable() && entry->file->path().inode() == &program) return true;
  }
  return false;
}

// Whether the host process may stay, for another program: with it stays whatever code of the last one is still about in it (a guest can make
// host threads that nobody knows), which has the same user's rights, and could have started the program with what it likes in its memory.
bool may_stay(Task& task, const vfs::Credentials& after) {
  if (!task.memory_ref() || task.memory_ref().use_count() > 1 || task.process().tasks.size() > 1) return false;
  return after == task.creds() && task.memory().space().can_start_over(task.context());
}

}  // namespace

// In another space than the one at hand. A host process that is used again may turn out to be unfit, which ends it.
Result<std::unique_ptr<Context>> Kernel::load_elsewhere(Program& program, const vfs::Credentials& creds) {
  constexpr int kTries = 4;
  for (int left = kTries;; --left) {
    TRY(program.lay_out(TRY(platform().create_address_space()), creds));
    const auto regs = program.map(Program::Where::kEmpty);
    if (regs.has_value()) return program.memory()->space().first_thread(regs.value());
    if (to_int(regs.error()) != EIO || left == 0) return regs.error();
  }
}

Result<void> Kernel::exec(Task& task, ExecArgs args) {
  Program program = TRY(Program::find(*this, task, std::move(args)));
  const vfs::Path& file = program.executable()->path();
  const auto st = TRY(mounts().stat(context(), file));
  // What has no name (memfd_create) may be run by who wrote it, as in Linux.
  for (const auto& [tid, t] : tasks_) {
    if (st.nlink != 0 && t->fds_ref() && open_for_writing(t->fds(), program.executable()->inode())) return Errno{ETXTBSY};
  }
  const bool nosuid = (file.mount->flags & vfs::kMntNoSuid) != 0;
  auto creds = after_exec(task.creds(), st, !nosuid && !task.creds().no_new_privs);
  const bool stays = program.readable() && may_stay(task, creds);
  std::unique_ptr<Context> first;
  if (stays) {
    TRY(program.lay_out(task.memory().space_ref(), creds));
  } else {
    first = TRY(load_elsewhere(program, creds));
  }

  // No way back from here. The other threads go first; this one takes over the process's number.
  Process& p = task.process();
  for (Task* t : p.tasks) {
    if (t != &task) t->request_exit();
  }
  while (p.tasks.size() > 1) {
    if (task.exiting()) return Errno{EINTR};
    (void)context().wait(p.child_changed, ~0u);
  }
  if (task.tid() != p.pid) {
    rename_task(task, p.pid);
    p.leader = &task;
  }
  if (task.memory_ref()) futexes_->owner_ended(task);
  const uint64_t clear_tid = task.has_context() ? task.context().clear_tid() : 0;
  if (clear_tid != 0 && task.memory_ref() && task.memory_ref().use_count() > 1) futexes_->clear_and_wake(task, clear_tid);

  task.set_creds(std::move(creds));
  auto actions = std::make_shared<SignalActions>();
  for (size_t i = 0; i < actions->at.size(); ++i) {
    if (p.actions->at[i].handler == 1) actions->at[i].handler = 1;  // ignored stays ignored
  }
  p.actions = std::move(actions);
  task.alt_stack() = AltStack{};
  if (task.fds_ref().use_count() > 1) task.set_fds(task.fds().clone());
  for (auto& f : task.fds().remove_cloexec()) close_file(task, std::move(f));
  task.comm = program.comm();
  p.did_exec = true;
  p.timers.reset();
  task.mark_regs_replaced();
  FileAnswers::begin_program(task);
  if (stays) {
    p.usage_dead_threads.add(0, task.memory().peak_bytes());  // the host process goes on, and counts its time
    task.start_over(program.memory());
    const auto regs = program.map(Program::Where::kOver);
    if (!regs.has_value()) {
      task.exit_group(SIGSEGV);
      return regs.error();
    }
    task.context().start_over(regs.value());
    task.memory().begin_offers(task);
    return ok();
  }
  if (task.memory_ref() && task.memory_ref().use_count() == 1) {
    p.usage_dead_threads.add(task.memory().space().cpu_time_ns(), task.memory().peak_bytes());
    task.memory().space().kill();
  }
  task.replace_memory(program.memory(), std::move(first));
  task.memory().begin_offers(task);
  task.end_vfork();
  return ok();
}

}  // namespace run9::sentry
