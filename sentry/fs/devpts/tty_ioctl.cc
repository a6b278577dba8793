// tty_ioctl(4): settings, and job control (tty_jobctrl.c).
#include <poll.h>
#include <termios.h>

#include <cstring>

#include "sentry/fs/devpts/tty.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

// asm/ioctls.h; libc names those of its own, larger struct.
constexpr uint32_t kTcgets2 = 0x802c542a, kTcsets2 = 0x402c542b, kTcsetsw2 = 0x402c542c,
                   kTcsetsf2 = 0x402c542d;
constexpr size_t kTermioSize = 18;  // the old struct termio

const SessionRef& session_of(const Task& task) {
  static const SessionRef kNone;
  const auto& group = task.process().group;
  return group ? group->session : kNone;
}

bool ignores(const Task& task, int sig) {
  return task.mask().has(sig) || task.process().actions->at[static_cast<size_t>(sig)].handler == 1;
}

uint32_t speed_of(uint32_t cflag) {
  constexpr uint32_t kSpeeds[] = {0,   50,  75,   110,  134,  150,  200,   300,
                                  600, 1200, 1800, 2400, 4800, 9600, 19200, 38400};
  constexpr uint32_t kFast[] = {0,      57600,  115200,  230400,  460800,  500000,  576000,  921600,
                                1000000, 1152000, 1500000, 2000000, 2500000, 3000000, 3500000, 4000000};
  return (cflag & CBAUDEX) != 0 ? kFast[cflag & 017] : kSpeeds[cflag & 017];
}

}  // namespace

SessionRef Tty::session() {
  if (auto s = session_.lock(); s != nullptr && s->tty.get() == this) return s;
  for (const auto& [pid, p] : kernel_.processes()) {
    if (!p->group || !p->group->session || p->group->session->tty.get() != this) continue;
    session_ = p->group->session;
    return p->group->session;
  }
  return nullptr;
}

void Tty::signal_foreground(int sig) {
  const SessionRef s = session();
  if (s == nullptr || s->foreground_pgid == 0) return;
  (void)kernel_.send_group_signal(s->foreground_pgid, SigInfo::kernel(sig)).has_value();
}

// __tty_check_change(): what a background process gets instead.
Result<void> Tty::check_change(vfs::OpContext& ctx, int sig) {
  Task* task = task_of(ctx);
  if (task == nullptr) return ok();
  const SessionRef& s = session_of(*task);
  if (s == nullptr || s->tty.get() != this || s->foreground_pgid == 0) return ok();
  const int32_t mine = task->process().pgid();
  if (mine == s->foreground_pgid) return ok();
  if (ignores(*task, sig)) {
    if (sig == SIGTTIN) return Errno{EIO};
    return ok();
  }
  if (task->process().group && kernel_.group_is_orphaned(*task->process().group)) return Errno{EIO};
  TRY(kernel_.send_group_signal(mine, SigInfo::kernel(sig)));
  return kErestartsys;
}

void Tty::maybe_acquire(vfs::OpContext& ctx, uint32_t flags) {
  Task* task = task_of(ctx);
  if (task == nullptr || (flags & O_NOCTTY) != 0) return;
  const SessionRef s = session_of(*task);
  if (s == nullptr || s->sid != task->tgid() || s->tty != nullptr || session() != nullptr) return;
  // Linux asks for read access, so that a log written to a terminal does not take it.
  if ((flags & O_ACCMODE) == O_WRONLY) return;
  s->tty = shared_from_this();
  s->foreground_pgid = task->process().pgid();
  session_ = s;
}

Result<uint64_t> Tty::set_controlling(vfs::OpContext& ctx, uint64_t arg) {
  Task* task = task_of(ctx);
  if (task == nullptr) return Errno{ENOTTY};
  const SessionRef mine = session_of(*task);
  const SessionRef now = session();
  if (mine != nullptr && mine->sid == task->tgid() && now == mine) return 0;
  if (mine == nullptr || mine->sid != task->tgid() || mine->tty != nullptr) return Errno{EPERM};
  if (now != nullptr) {
    if (arg != 1 || !task->creds().has_cap(CAP_SYS_ADMIN)) return Errno{EPERM};
    now->tty.reset();
    now->foreground_pgid = 0;
  }
  mine->tty = shared_from_this();
  mine->foreground_pgid = task->process().pgid();
  session_ = mine;
  return 0;
}

// TIOCNOTTY. Linux keeps the terminal in each process; here the session has it, so only its leader
// can give it up and others just hear that they did.
Result<uint64_t> Tty::give_up(vfs::OpContext& ctx) {
  Task* task = task_of(ctx);
  if (task == nullptr) return Errno{ENOTTY};
  const SessionRef s = session_of(*task);
  if (s == nullptr || s->tty.get() != this) return Errno{ENOTTY};
  if (s->sid != task->tgid()) return 0;
  const auto keep = shared_from_this();
  const int32_t foreground = s->foreground_pgid;
  s->tty.reset();
  s->foreground_pgid = 0;
  session_.reset();
  if (foreground != 0) {
    (void)kernel_.send_group_signal(foreground, SigInfo::kernel(SIGHUP)).has_value();
    (void)kernel_.send_group_signal(foreground, SigInfo::kernel(SIGCONT)).has_value();
  }
  return 0;
}

Result<uint64_t> Tty::get_foreground(vfs::OpContext& ctx, uint64_t arg, bool from_master) {
  Task* task = task_of(ctx);
  if (task == nullptr) return Errno{ENOTTY};
  const SessionRef s = session();
  if (!from_master && (s == nullptr || s != session_of(*task))) return Errno{ENOTTY};
  const int32_t pgid = s == nullptr ? 0 : s->foreground_pgid;
  TRY(task->memory().write(UserPtr<int32_t>{arg}, pgid));
  return 0;
}

Result<uint64_t> Tty::set_foreground(vfs::OpContext& ctx, uint64_t arg) {
  Task* task = task_of(ctx);
  if (task == nullptr) return Errno{ENOTTY};
  const auto allowed = check_change(ctx, SIGTTOU);
  if (!allowed.has_value()) {
    return allowed.error() == Errno{EIO} ? Errno{ENOTTY} : allowed.error();
  }
  const SessionRef s = session_of(*task);
  if (s == nullptr || s->tty.get() != this) return Errno{ENOTTY};
  const int32_t pgid = TRY(task->memory().read(UserPtr<int32_t>{arg}));
  if (pgid < 0) return Errno{EINVAL};
  const auto group = kernel_.find_group(pgid);
  if (group == nullptr) return Errno{ESRCH};
  if (group->session != s) return Errno{EPERM};
  s->foreground_pgid = pgid;
  return 0;
}

Result<uint64_t> Tty::get_session(vfs::OpContext& ctx, uint64_t arg, bool from_master) {
  Task* task = task_of(ctx);
  if (task == nullptr) return Errno{ENOTTY};
  const SessionRef s = session();
  if (s == nullptr || (!from_master && s != session_of(*task))) return Errno{ENOTTY};
  TRY(task->memory().write(UserPtr<int32_t>{arg}, s->sid));
  return 0;
}

Result<uint64_t> Tty::set_termios(vfs::OpContext& ctx, uint64_t arg, size_t size, bool flush) {
  Task* task = task_of(ctx);
  if (task == nullptr) return Errno{ENOTTY};
  KernelTermios t = termios_;
  if (size == kTermioSize) {
    struct {
      uint16_t flags[4];
      uint8_t line, cc[8];
    } old{};
    TRY(task->memory().copy_in(&old, arg, kTermioSize));
    uint32_t* to[] = {&t.iflag, &t.oflag, &t.cflag, &t.lflag};
    for (size_t i = 0; i < 4; ++i) *to[i] = (*to[i] & 0xffff0000u) | old.flags[i];
    std::memcpy(t.cc, old.cc, sizeof old.cc);
  } else {
    TRY(task->memory().copy_in(&t, arg, size));
  }
  if (size != sizeof t) t.ispeed = t.ospeed = speed_of(t.cflag);
  if (flush) flush_input();
  const bool was_canonical = canonical();
  const bool was_ixon = (termios_.iflag & IXON) != 0;
  termios_ = t;
  if (was_canonical != canonical()) {
    // What was typed so far can be read either way: as bytes, or as a line of its own.
    committed_ = in_.size();
    if (canonical() && !in_.empty()) in_.back() |= kLineEnd;
    if (!canonical()) {
      std::erase_if(in_, [](uint16_t e) { return (e & kNoByte) != 0; });
      for (auto& e : in_) e &= 0xff;
      committed_ = in_.size();
    }
    if (peer_ != nullptr) peer_->input_room();
  }
  const bool ixon = (t.iflag & IXON) != 0;
  if (was_ixon && !ixon) set_stopped(false);
  if (was_ixon != ixon) add_packet(ixon ? TIOCPKT_DOSTOP : TIOCPKT_NOSTOP);
  queue_.notify_all(POLLIN | POLLRDNORM);
  return 0;
}

Result<uint64_t> Tty::ioctl(vfs::OpContext& ctx, uint32_t request, uint64_t arg, bool from_master) {
  Task* task = task_of(ctx);
  if (task == nullptr) return Errno{ENOTTY};
  MemoryManager& memory = task->memory();
  switch (request) {  // those that a background process must not do
    case TCSETS: case TCSETSW: case TCSETSF: case TCSETA: case TCSETAW: case TCSETAF:
    case kTcsets2: case kTcsetsw2: case kTcsetsf2: case TCSBRK: case TCSBRKP: case TCXONC: case TCFLSH:
      if (!from_master) TRY(check_change(ctx, SIGTTOU));
  }
  switch (request) {
    case TCGETS: TRY(memory.copy_out(arg, &termios_, kTermiosSize)); return 0;
    case kTcgets2: TRY(memory.copy_out(arg, &termios_, sizeof termios_)); return 0;
    case TCGETA: {
      struct {
        uint16_t flags[4];
        uint8_t line, cc[8];
      } old{{static_cast<uint16_t>(termios_.iflag), static_cast<uint16_t>(termios_.oflag),
             static_cast<uint16_t>(termios_.cflag), static_cast<uint16_t>(termios_.lflag)},
            termios_.line,
            {}};
      std::memcpy(old.cc, termios_.cc, sizeof old.cc);
      TRY(memory.copy_out(arg, &old, kTermioSize));
      return 0;
    }
    case TCSETS:
    case TCSETSW: return set_termios(ctx, arg, kTermiosSize, false);
    case TCSETSF: return set_termios(ctx, arg, kTermiosSize, true);
    case kTcsets2:
    case kTcsetsw2: return set_termios(ctx, arg, sizeof termios_, false);
    case kTcsetsf2: return set_termios(ctx, arg, sizeof termios_, true);
    case TCSETA:
    case TCSETAW: return set_termios(ctx, arg, kTermioSize, false);
    case TCSETAF: return set_termios(ctx, arg, kTermioSize, true);
    case TCSBRK:
    case TCSBRKP: return 0;  // a break means nothing here, and output leaves by itself
    case TIOCSBRK:
    case TIOCCBRK: return 0;
    case TCXONC:
      if (arg == TCOOFF || arg == TCOON) set_stopped(arg == TCOOFF);
      else if (arg != TCIOFF && arg != TCION) return Errno{EINVAL};
      return 0;
    case TCFLSH:
      if (arg > TCIOFLUSH) return Errno{EINVAL};
      if (arg != TCOFLUSH) flush_input();
      if (arg != TCIFLUSH) flush_output();
      return 0;
    case TIOCGWINSZ: TRY(memory.write(UserPtr<winsize>{arg}, window_)); return 0;
    case TIOCSWINSZ: set_window(TRY(memory.read(UserPtr<winsize>{arg}))); return 0;
    case FIONREAD: TRY(memory.write(UserPtr<int>{arg}, static_cast<int>(available()))); return 0;
    case TIOCOUTQ: TRY(memory.write(UserPtr<int>{arg}, static_cast<int>(output_size()))); return 0;
    case TIOCSTI: return Errno{EPERM};  // as with dev.tty.legacy_tiocsti = 0
    case TIOCEXCL: exclusive_ = true; return 0;
    case TIOCNXCL: exclusive_ = false; return 0;
    case TIOCGEXCL: TRY(memory.write(UserPtr<int>{arg}, exclusive_ ? 1 : 0)); return 0;
    case TIOCGETD: TRY(memory.write(UserPtr<int>{arg}, 0)); return 0;
    case TIOCSETD:
      if (TRY(memory.read(UserPtr<int>{arg})) != 0) return Errno{EINVAL};
      return 0;
    case TIOCVHANGUP:
      if (!task->creds().has_cap(CAP_SYS_ADMIN)) return Errno{EPERM};
      hang_up();
      return 0;
    case TIOCSCTTY:
      if (from_master) return Errno{EPERM};
      return set_controlling(ctx, arg);
    case TIOCNOTTY: return give_up(ctx);
    case TIOCGPGRP: return get_foreground(ctx, arg, from_master);
    case TIOCSPGRP: return set_foreground(ctx, arg);
    case TIOCGSID: return get_session(ctx, arg, from_master);
    case TIOCGDEV:
      TRY(memory.write(UserPtr<uint32_t>{arg}, static_cast<uint32_t>(136u << 8 | (index_ & 0xff))));
      return 0;
    default: return Errno{ENOTTY};
  }
}

}  // namespace run9::sentry
