// /proc/PID/stat, statm, status: what ps and top read (fs/proc/array.c has the order of the fields).
#include "sentry/fs/devpts/tty.h"
#include "sentry/fs/proc/proc_fs.h"
#include "sentry/syscalls/time.h"
#include "sentry/task/ptrace.h"
#include "sentry/task/seccomp.h"

namespace run9::sentry {
namespace {

constexpr uint64_t kNsPerTick = 10'000'000;

// Of the process' memory, by what status(5) tells apart.
struct MemoryUse {
  uint64_t total = 0, resident = 0, anonymous = 0, file = 0, shared = 0, data = 0, stack = 0, code = 0,
           libraries = 0, locked = 0;
};

MemoryUse memory_use(const MemoryManager& memory) {
  MemoryUse u;
  u.total = memory.total_bytes();
  u.resident = resident_bytes(memory);
  for (const auto& [start, v] : memory.vmas()) {
    const uint64_t size = v.end - start;
    if (v.locked) u.locked += size;
    if (v.prot == PROT_NONE || v.no_reserve) continue;
    const bool writable = (v.prot & PROT_WRITE) != 0;
    (v.shared ? (v.file ? u.file : u.shared) : writable || !v.file ? u.anonymous : u.file) += size;
    if (v.grows_down || v.name == "[stack]") u.stack += size;
    else if (writable && !v.shared) u.data += size;
    if ((v.prot & PROT_EXEC) == 0) continue;
    (v.file == memory.exe && v.file != nullptr ? u.code : u.libraries) += size;
  }
  return u;
}

int32_t tracer_of(const View& v) {
  const auto tracer = v.task && v.task->tracee ? v.task->tracee->tracer.lock() : nullptr;
  return tracer ? tracer->process().pid : 0;
}

char state_of(const View& v) {
  if (v.task == nullptr) return 'Z';
  if (v.process->stopped && v.task->state() != TaskState::kTraced) return 'T';
  return static_cast<char>(v.task->state());
}

std::string_view state_name(char c) {
  switch (c) {
    case 'R': return "R (running)";
    case 'S': return "S (sleeping)";
    case 'T': return "T (stopped)";
    case 't': return "t (tracing stop)";
    default: return "Z (zombie)";
  }
}

struct HandlerSets {
  SignalSet ignored, caught;
};

HandlerSets handlers(const Process& p) {
  HandlerSets s;
  for (int sig = 1; sig <= kMaxSignal; ++sig) {
    const uint64_t h = p.actions->at[static_cast<size_t>(sig)].handler;
    if (h == 1) s.ignored.add(sig);
    else if (h != 0) s.caught.add(sig);
  }
  return s;
}

int32_t parent_of(const Process& p) {
  const auto parent = p.parent.lock();
  return parent != nullptr ? parent->pid : 0;
}

std::string comm_of(const View& v) { return v.task != nullptr ? v.task->comm : "defunct"; }
int32_t id_of(const View& v) { return v.thread && v.task != nullptr ? v.task->tid() : v.process->pid; }

// new_encode_dev(): /dev/pts/N, or /dev/console for a terminal without a node.
int64_t terminal_number(const Process& p) {
  const auto& tty = p.group && p.group->session ? p.group->session->tty : nullptr;
  if (tty == nullptr) return 0;
  if (tty->index() < 0) return 5 << 8 | 1;
  return (tty->index() & 0xff) | 136 << 8 | (tty->index() & ~0xff) << 12;
}

std::string id_line(std::string_view name, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  return fmt::format("{}:\t{}\t{}\t{}\t{}\n", name, a, b, c, d);
}

std::string escaped_comm(const std::string& comm) {
  std::string out;
  for (const char c : comm) {
    if (c == '\n') out += "\\n";
    else if (c == '\\') out += "\\\\";
    else out += c;
  }
  return out;
}

std::string memory_lines(const View& v) {
  const MemoryUse u = memory_use(v.task->memory());
  std::string t;
  const auto line = [&t](std::string_view name, uint64_t bytes) {
    t += fmt::format("{}:\t{:8} kB\n", name, bytes / 1024);
  };
  line("VmPeak", u.total);
  line("VmSize", u.total);
  line("VmLck", u.locked);
  line("VmPin", 0);
  line("VmHWM", u.resident);
  line("VmRSS", u.resident);
  line("RssAnon", u.anonymous);
  line("RssFile", u.file);
  line("RssShmem", u.shared);
  line("VmData", u.data);
  line("VmStk", u.stack);
  line("VmExe", u.code);
  line("VmLib", u.libraries);
  line("VmPTE", 4096 * (1 + v.task->memory().vmas().size() / 16));
  line("VmSwap", 0);
  line("HugetlbPages", 0);
  return t + "CoreDumping:\t0\nTHP_enabled:\t1\nuntag_mask:\t0xffffffffffffffff\n";
}

std::string affinity_lines(const View& v) {
  const int cpus = std::max(1, v.kernel.options().cpus);
  const int shown = std::min(cpus, 64);
  uint64_t mask = shown == 64 ? ~uint64_t{0} : (uint64_t{1} << shown) - 1;
  if (v.task != nullptr && (v.task->cpu_affinity[0] & mask) != 0) mask &= v.task->cpu_affinity[0];
  std::string list;
  for (int i = 0; i < shown; ++i) {
    if (((mask >> i) & 1) == 0) continue;
    int last = i;
    while (last + 1 < shown && ((mask >> (last + 1)) & 1) != 0) ++last;
    if (!list.empty()) list += ',';
    list += last == i ? std::to_string(i) : fmt::format("{}-{}", i, last);
    i = last;
  }
  const std::string hex = shown > 32 ? fmt::format("{:x},{:08x}", mask >> 32, mask & 0xffffffff)
                                     : fmt::format("{:x}", mask);
  return fmt::format("Cpus_allowed:\t{}\nCpus_allowed_list:\t{}\nMems_allowed:\t1\nMems_allowed_list:\t0\n",
                     hex, list);
}

std::string signal_lines(const View& v) {
  const HandlerSets h = handlers(*v.process);
  return fmt::format(
      "SigQ:\t0/{}\nSigPnd:\t{:016x}\nShdPnd:\t{:016x}\nSigBlk:\t{:016x}\nSigIgn:\t{:016x}\n"
      "SigCgt:\t{:016x}\n",
      v.process->limit(RLIMIT_SIGPENDING), v.task ? v.task->pending().set().bits : 0,
      v.process->pending.set().bits, v.task ? v.task->mask().bits : 0, h.ignored.bits, h.caught.bits);
}

std::string credential_lines(const vfs::Credentials& c) {
  return fmt::format("CapInh:\t{:016x}\nCapPrm:\t{:016x}\nCapEff:\t{:016x}\nCapBnd:\t{:016x}\n"
                     "CapAmb:\t{:016x}\nNoNewPrivs:\t{}\n",
                     c.cap_inheritable, c.cap_permitted, c.cap_effective, c.cap_bounding,
                     c.cap_ambient, c.no_new_privs ? 1 : 0);
}

}  // namespace

Result<std::string> text_stat(View& v) {
  const Process& p = *v.process;
  const Rusage use = usage_of(p);
  const HandlerSets h = handlers(p);
  const MemoryManager* m = v.task != nullptr ? &v.task->memory() : nullptr;
  Task* caller = task_of(v.ctx);
  // Addresses only for those who may look into the process.
  const bool may = m != nullptr && caller != nullptr && may_inspect(v).has_value();
  // CPU time is known for the process; its other threads show none.
  const bool first = !v.thread || v.task.get() == p.leader;
  const uint64_t started = v.thread && v.task ? v.task->start_time_ns : p.start_time_ns;
  const uint64_t start = started > v.kernel.boot_time_ns ? started - v.kernel.boot_time_ns : 0;
  const int32_t foreground =
      p.group && p.group->session && p.group->session->tty ? p.group->session->foreground_pgid : -1;
  std::string t = fmt::format("{} ({}) {} {} {} {} {} {} {}", id_of(v), comm_of(v), state_of(v),
                              parent_of(p), p.pgid(), p.sid(), terminal_number(p), foreground,
                              0x400000 /* PF_RANDOMIZE */);
  t += fmt::format(" {} 0 {} 0", use.minor_faults, use.major_faults);
  t += fmt::format(" {} {} {} {}", first ? use.user_ns / kNsPerTick : 0,
                   first ? use.system_ns / kNsPerTick : 0, p.usage_children.user_ns / kNsPerTick,
                   p.usage_children.system_ns / kNsPerTick);
  const int priority = v.task ? v.task->sched_priority : 0;
  t += fmt::format(" {} {} {} 0 {}", priority > 0 ? -1 - priority : 20 + p.nice, p.nice,
                   std::max<size_t>(p.tasks.size(), 1), start / kNsPerTick);
  t += fmt::format(" {} {} {}", m ? m->total_bytes() : 0, m ? resident_bytes(*m) / kPage : 0,
                   p.limit(RLIMIT_RSS));
  t += fmt::format(" {} {} {} 0 0", may ? m->code_start : m ? 1 : 0, may ? m->code_end : m ? 1 : 0,
                   may ? m->stack_start : 0);
  constexpr uint64_t kOld = 0x7fffffff;  // these fields show the first 31 signals
  t += fmt::format(" {} {} {} {}", (v.task ? v.task->pending().set().bits | p.pending.set().bits : 0) & kOld,
                   (v.task ? v.task->mask().bits : 0) & kOld, h.ignored.bits & kOld, h.caught.bits & kOld);
  t += fmt::format(" {} 0 0 {} 0 {} {} 0 0 0", v.task && v.task->waiting_on ? 1 : 0, p.exit_signal,
                   priority, v.task ? v.task->sched_policy : 0);
  if (may) {
    t += fmt::format(" {} {} {} {} {} {} {}", m->data_start, m->data_end, m->brk_start, m->arg_start,
                     m->arg_end, m->env_start, m->env_end);
  } else {
    t += " 0 0 0 0 0 0 0";
  }
  return t + fmt::format(" {}\n", may || m == nullptr ? p.exit_status : 0);
}

Result<std::string> text_statm(View& v) {
  if (v.task == nullptr) return std::string("0 0 0 0 0 0 0\n");
  const MemoryUse u = memory_use(v.task->memory());
  return fmt::format("{} {} {} {} 0 {} 0\n", u.total / kPage, u.resident / kPage,
                     (u.file + u.shared) / kPage, u.code / kPage, (u.data + u.stack) / kPage);
}

Result<std::string> text_status(View& v) {
  const Process& p = *v.process;
  static const vfs::Credentials kNobody;
  const vfs::Credentials& c = v.task ? v.task->creds() : kNobody;
  std::string t = fmt::format("Name:\t{}\n", escaped_comm(comm_of(v)));
  if (v.task && v.task->fs_ref()) t += fmt::format("Umask:\t{:04o}\n", v.task->fs().umask);
  const int32_t id = id_of(v);
  t += fmt::format("State:\t{}\nTgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t{}\n",
                   state_name(state_of(v)), p.pid, id, parent_of(p), tracer_of(v));
  const uint32_t gone = p.exit_uid;
  t += v.task ? id_line("Uid", c.ruid, c.euid, c.suid, c.fsuid) : id_line("Uid", gone, gone, gone, gone);
  t += id_line("Gid", c.rgid, c.egid, c.sgid, c.fsgid);
  size_t slots = 0;
  if (v.task && v.task->fds_ref()) slots = (v.task->fds().size() + 63) / 64 * 64;
  t += fmt::format("FDSize:\t{}\nGroups:\t", slots);
  for (const uint32_t g : c.groups) t += fmt::format("{} ", g);
  t += fmt::format("\nNStgid:\t{}\nNSpid:\t{}\nNSpgid:\t{}\nNSsid:\t{}\nKthread:\t0\n", p.pid, id,
                   p.pgid(), p.sid());
  if (v.task) t += memory_lines(v);
  t += fmt::format("Threads:\t{}\n", std::max<size_t>(p.tasks.size(), 1));
  t += signal_lines(v) + credential_lines(c);
  const SeccompFilter* filter = v.task ? v.task->seccomp_filter.get() : nullptr;
  t += fmt::format("Seccomp:\t{}\nSeccomp_filters:\t{}\n", v.task ? v.task->seccomp_mode : 0,
                   filter != nullptr ? filter->chain_count : 0);
  t += "Speculation_Store_Bypass:\tvulnerable\n"
       "SpeculationIndirectBranch:\tunknown\n";
  const Rusage use = usage_of(p);
  return t + affinity_lines(v) +
         fmt::format("voluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t{}\n", use.voluntary,
                     use.involuntary);
}

}  // namespace run9::sentry
