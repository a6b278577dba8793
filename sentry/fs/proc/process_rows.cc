// What is in /proc/PID.
#include <fcntl.h>

#include <algorithm>

#include "sentry/fs/anon.h"
#include "sentry/fs/proc/proc_fs.h"
#include "sentry/fs/special.h"
#include "sentry/syscalls/time.h"

namespace run9::sentry {
namespace {

constexpr uint32_t kFile = S_IFREG | 0444, kOwn = S_IFREG | 0400, kWritable = S_IFREG | 0644,
                   kDir = S_IFDIR | 0500, kLink = S_IFLNK | 0777;
constexpr size_t kMaxText = 1 << 20;

// Guest memory [from, to) as far as it can be read.
std::string memory_text(const View& v, uint64_t from, uint64_t to) {
  if (v.task == nullptr || to <= from) return "";
  std::string text(std::min<uint64_t>(to - from, kMaxText), '\0');
  const std::span<std::byte> bytes(reinterpret_cast<std::byte*>(text.data()), text.size());
  const auto memory = v.task->memory_ref();  // the process may exec while we read
  const auto n = memory->copy_in_some(bytes, from);
  text.resize(n.has_value() ? n.value() : 0);
  return text;
}

Result<std::string> text_cmdline(View& v) {
  if (!v.process->cmdline_override.empty()) return v.process->cmdline_override;
  if (v.task == nullptr) return std::string();
  const MemoryManager& m = v.task->memory();
  const uint64_t arg_start = m.arg_start, arg_end = m.arg_end, env_end = m.env_end;
  std::string text = memory_text(v, arg_start, arg_end);
  if (text.empty() || text.back() == '\0') return text;
  // get_mm_cmdline(): setproctitle wrote over the end, and maybe into the environment.
  text = memory_text(v, arg_start, std::max(arg_end, env_end));
  text.resize(std::min(text.find('\0'), text.size()));
  return text;
}

Result<std::string> text_environ(View& v) {
  if (v.task == nullptr) return std::string();
  return memory_text(v, v.task->memory().env_start, v.task->memory().env_end);
}

Result<std::string> text_auxv(View& v) {
  std::string text;
  if (v.task == nullptr) return text;
  const auto& auxv = v.task->memory().auxv;
  text.assign(reinterpret_cast<const char*>(auxv.data()), auxv.size() * sizeof auxv[0]);
  if (auxv.size() < 2 || auxv[auxv.size() - 2] != 0) text.append(16, '\0');
  return text;
}

Result<std::string> text_comm(View& v) { return (v.task ? v.task->comm : "defunct") + "\n"; }

Result<void> write_comm(View& v, std::string_view text) {
  Task* caller = task_of(v.ctx);
  if (v.task == nullptr) return Errno{ESRCH};
  if (caller == nullptr || &caller->process() != v.process.get()) return Errno{EINVAL};
  v.task->comm = std::string(text.substr(0, 15).substr(0, std::min(text.find('\0'), text.size())));
  if (!v.task->comm.empty() && v.task->comm.back() == '\n') v.task->comm.pop_back();
  return ok();
}

Result<vfs::Path> exe_of(View& v) {
  if (v.task == nullptr || v.task->memory().exe == nullptr) return Errno{ENOENT};
  return v.task->memory().exe->path();
}
Result<vfs::Path> cwd_of(View& v) {
  if (v.task == nullptr || v.task->fs_ref() == nullptr) return Errno{ENOENT};
  return v.task->fs().cwd;
}
Result<vfs::Path> root_of(View& v) {
  if (v.task == nullptr || v.task->fs_ref() == nullptr) return Errno{ENOENT};
  return v.task->fs().root;
}

// Linux' numbers of the first namespaces: there is one of each kind here.
struct Namespace {
  std::string_view row, name;
  uint64_t ino;
};
constexpr Namespace kNamespaces[] = {
    {"ns/cgroup", "cgroup", 4026531835}, {"ns/ipc", "ipc", 4026531839},
    {"ns/mnt", "mnt", 4026531841},       {"ns/net", "net", 4026531840},
    {"ns/pid", "pid", 4026531836},       {"ns/pid_for_children", "pid", 4026531836},
    {"ns/time", "time", 4026531834},     {"ns/time_for_children", "time", 4026531834},
    {"ns/user", "user", 4026531837},     {"ns/uts", "uts", 4026531838},
};

class NamespaceInode final : public AnonInode {
 public:
  using AnonInode::AnonInode;
  Result<vfs::FileRef> open(vfs::OpContext&, const vfs::Path& self, uint32_t flags) override {
    if ((flags & O_ACCMODE) != O_RDONLY) return Errno{EPERM};
    class NamespaceFile final : public vfs::File {
     public:
      using File::File;
      Result<size_t> pread(vfs::OpContext&, std::span<std::byte>, uint64_t) override {
        return Errno{EINVAL};
      }
    };
    return vfs::FileRef(std::make_shared<NamespaceFile>(self, flags));
  }
};

Result<vfs::Path> namespace_of(View& v) {
  const auto* n = std::find_if(std::begin(kNamespaces), std::end(kNamespaces),
                               [&](const Namespace& x) { return x.row == v.path; });
  if (n == std::end(kNamespaces) || v.task == nullptr) return Errno{ENOENT};
  return make_anon_path(v.kernel, fmt::format("{}:[{}]", n->name, n->ino),
                        std::make_shared<NamespaceInode>(anon_fs(v.kernel), n->ino, S_IFREG | 0444,
                                                         v.kernel.context()));
}

Result<std::string> text_limits(View& v) {
  struct Row {
    const char* name;
    int which;
    const char* unit;
  };
  constexpr Row kRows[] = {{"Max cpu time", RLIMIT_CPU, "seconds"},
                           {"Max file size", RLIMIT_FSIZE, "bytes"},
                           {"Max data size", RLIMIT_DATA, "bytes"},
                           {"Max stack size", RLIMIT_STACK, "bytes"},
                           {"Max core file size", RLIMIT_CORE, "bytes"},
                           {"Max resident set", RLIMIT_RSS, "bytes"},
                           {"Max processes", RLIMIT_NPROC, "processes"},
                           {"Max open files", RLIMIT_NOFILE, "files"},
                           {"Max locked memory", RLIMIT_MEMLOCK, "bytes"},
                           {"Max address space", RLIMIT_AS, "bytes"},
                           {"Max file locks", RLIMIT_LOCKS, "locks"},
                           {"Max pending signals", RLIMIT_SIGPENDING, "signals"},
                           {"Max msgqueue size", RLIMIT_MSGQUEUE, "bytes"},
                           {"Max nice priority", RLIMIT_NICE, ""},
                           {"Max realtime priority", RLIMIT_RTPRIO, ""},
                           {"Max realtime timeout", RLIMIT_RTTIME, "us"}};
  const auto value = [](rlim_t n) { return n == RLIM_INFINITY ? std::string("unlimited") : std::to_string(n); };
  std::string t = fmt::format("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
  for (const Row& r : kRows) {
    const rlimit& l = v.process->limits[static_cast<size_t>(r.which)];
    t += fmt::format("{:<25} {:<20} {:<20} {:<10}\n", r.name, value(l.rlim_cur), value(l.rlim_max), r.unit);
  }
  return t;
}

Result<std::string> text_io(View& v) {
  TRY(may_inspect(v));
  return std::string("rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\n"
                     "cancelled_write_bytes: 0\n");
}

Result<std::string> text_schedstat(View& v) {
  return fmt::format("{} 0 {}\n", usage_of(*v.process).user_ns, 1);
}

Result<std::string> text_sched(View& v) {
  const double ms = static_cast<double>(usage_of(*v.process).user_ns) / 1e6;
  return fmt::format(
      "{} ({}, #threads: {})\n-------------------------------------------------------------------\n"
      "se.sum_exec_runtime                          : {:20.6f}\n"
      "nr_switches                                  : {:20}\n"
      "policy                                       : {:20}\n"
      "prio                                         : {:20}\n",
      v.task ? v.task->comm : "defunct", v.task ? v.task->tid() : v.process->pid,
      v.process->tasks.size(), ms, 0, v.task ? v.task->sched_policy : 0, 120 + v.process->nice);
}

Result<std::string> text_wchan(View& v) {
  return std::string(v.task && v.task->state() == TaskState::kSleeping ? "run9_wait" : "0");
}

Result<std::string> text_id_map(View&) {
  return std::string("         0          0 4294967295\n");
}

Result<std::string> text_oom_score(View& v) {
  const uint64_t total = std::max<uint64_t>(1, total_memory(v.kernel));
  const uint64_t used = v.task ? v.task->memory().private_writable_bytes() : 0;
  const int64_t points = 666 + static_cast<int64_t>(used * 333 / total) + v.process->oom_score_adj * 2 / 3;
  return fmt::format("{}\n", std::clamp<int64_t>(points, 0, 2000));
}

Result<std::string> text_oom_score_adj(View& v) { return fmt::format("{}\n", v.process->oom_score_adj); }

Result<void> set_oom(View& v, int64_t value) {
  Task* caller = task_of(v.ctx);
  if (caller != nullptr && value < v.process->oom_score_adj &&
      !caller->creds().has_cap(CAP_SYS_RESOURCE)) {
    return Errno{EACCES};
  }
  v.process->oom_score_adj = static_cast<int32_t>(value);
  return ok();
}

Result<int64_t> number_in(std::string_view text, int64_t least, int64_t most) {
  text = trimmed(text);
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  int64_t n = parse_number(text);
  if (n < 0) return Errno{EINVAL};
  if (negative) n = -n;
  if (n < least || n > most) return Errno{EINVAL};
  return n;
}

Result<void> write_oom_score_adj(View& v, std::string_view text) {
  return set_oom(v, TRY(number_in(text, -1000, 1000)));
}

// The old scale ends at -17, which meant never, and at 15.
Result<std::string> text_oom_adj(View& v) {
  const int32_t n = v.process->oom_score_adj;
  return fmt::format("{}\n", n == 1000 ? 15 : n * 17 / 1000);
}
Result<void> write_oom_adj(View& v, std::string_view text) {
  const int64_t n = TRY(number_in(text, -17, 15));
  return set_oom(v, n == 15 ? 1000 : n * 1000 / 17);
}

Result<std::string> text_timerslack(View& v) {
  return fmt::format("{}\n", v.task ? v.task->timer_slack_ns : 50'000);
}
Result<void> write_timerslack(View& v, std::string_view text) {
  const int64_t n = TRY(number_in(text, 0, INT64_MAX));
  if (v.task == nullptr) return Errno{ESRCH};
  TRY(may_inspect(v));
  v.task->timer_slack_ns = n == 0 ? 50'000 : static_cast<uint64_t>(n);
  return ok();
}

Result<std::string> text_personality(View& v) { return fmt::format("{:08x}\n", v.process->personality); }

Result<std::string> text_syscall(View& v) {
  if (v.task == nullptr || !v.task->in_call()) return std::string("running\n");
  const Regs& r = v.task->regs();
  return fmt::format("{} {:#x} {:#x} {:#x} {:#x} {:#x} {:#x} {:#x} {:#x}\n",
                     static_cast<int64_t>(r.orig_rax), r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9, r.rsp, r.rip);
}

Result<std::string> text_children(View& v) {
  std::string t;
  if (v.task == nullptr || v.task.get() != v.process->leader) return t;
  for (const auto& c : v.process->children) t += fmt::format("{} ", c->pid);
  return t;
}

Result<std::string> text_cgroup(View&) { return std::string("0::/\n"); }
Result<std::string> text_setgroups(View&) { return std::string("allow\n"); }
Result<std::string> text_loginuid(View&) { return std::string("4294967295"); }
Result<std::string> text_coredump_filter(View&) { return std::string("00000033\n"); }
Result<void> accept_number(View&, std::string_view text) {
  const auto t = trimmed(text);
  if (t.empty()) return Errno{EINVAL};
  return ok();
}

constexpr ProcRow net_row(std::string_view path) { return {.path = path, .mode = kFile, .text = text_net}; }
constexpr ProcRow ns_row(std::string_view path) {
  return {.path = path, .mode = kLink, .jump = namespace_of, .guarded = true};
}

// In the order of a listing; the rows of a directory stand together.
constexpr ProcRow kRows[] = {
    {.path = "task", .mode = S_IFDIR | 0555, .make = make_task_dir, .process_only = true},
    {.path = "fd", .mode = kDir, .make = make_fd_dir},
    {.path = "fdinfo", .mode = S_IFDIR | 0555, .make = make_fdinfo_dir},
    ns_row("ns/cgroup"), ns_row("ns/ipc"), ns_row("ns/mnt"), ns_row("ns/net"), ns_row("ns/pid"),
    ns_row("ns/pid_for_children"), ns_row("ns/time"), ns_row("ns/time_for_children"),
    ns_row("ns/user"), ns_row("ns/uts"),
    net_row("net/dev"), net_row("net/tcp"), net_row("net/tcp6"), net_row("net/udp"), net_row("net/udp6"),
    net_row("net/udplite"), net_row("net/raw"), net_row("net/raw6"), net_row("net/unix"),
    net_row("net/route"), net_row("net/arp"), net_row("net/netlink"), net_row("net/packet"),
    net_row("net/sockstat"), net_row("net/if_inet6"), net_row("net/ipv6_route"), net_row("net/igmp"),
    {.path = "environ", .mode = kOwn, .text = text_environ, .guarded = true},
    {.path = "auxv", .mode = kOwn, .text = text_auxv, .guarded = true},
    {.path = "status", .mode = kFile, .text = text_status},
    {.path = "personality", .mode = kOwn, .text = text_personality, .guarded = true},
    {.path = "limits", .mode = kFile, .text = text_limits},
    {.path = "sched", .mode = kFile, .text = text_sched},
    {.path = "comm", .mode = kWritable, .text = text_comm, .write = write_comm},
    {.path = "syscall", .mode = kOwn, .text = text_syscall, .guarded = true},
    {.path = "cmdline", .mode = kFile, .text = text_cmdline},
    {.path = "stat", .mode = kFile, .text = text_stat},
    {.path = "statm", .mode = kFile, .text = text_statm},
    {.path = "maps", .mode = kFile, .text = text_maps, .guarded = true},
    {.path = "children", .mode = kFile, .text = text_children},
    {.path = "mem", .mode = S_IFREG | 0600, .make = make_mem},
    {.path = "cwd", .mode = kLink, .jump = cwd_of, .guarded = true},
    {.path = "root", .mode = kLink, .jump = root_of, .guarded = true},
    {.path = "exe", .mode = kLink, .jump = exe_of, .guarded = true},
    {.path = "mounts", .mode = kFile, .text = text_mounts},
    {.path = "mountinfo", .mode = kFile, .text = text_mountinfo},
    {.path = "mountstats", .mode = kOwn, .text = text_mountstats, .process_only = true},
    {.path = "smaps", .mode = kFile, .text = text_smaps, .guarded = true},
    {.path = "smaps_rollup", .mode = kFile, .text = text_smaps_rollup, .guarded = true},
    {.path = "wchan", .mode = kFile, .text = text_wchan},
    {.path = "schedstat", .mode = kFile, .text = text_schedstat},
    {.path = "cgroup", .mode = kFile, .text = text_cgroup},
    {.path = "oom_score", .mode = kFile, .text = text_oom_score},
    {.path = "oom_adj", .mode = kWritable, .text = text_oom_adj, .write = write_oom_adj},
    {.path = "oom_score_adj", .mode = kWritable, .text = text_oom_score_adj, .write = write_oom_score_adj},
    {.path = "loginuid", .mode = kFile, .text = text_loginuid},
    {.path = "sessionid", .mode = kFile, .text = text_loginuid},
    {.path = "coredump_filter", .mode = kWritable, .text = text_coredump_filter, .write = accept_number,
     .process_only = true},
    {.path = "io", .mode = kOwn, .text = text_io},
    {.path = "uid_map", .mode = kFile, .text = text_id_map},
    {.path = "gid_map", .mode = kFile, .text = text_id_map},
    {.path = "setgroups", .mode = kFile, .text = text_setgroups},
    {.path = "timerslack_ns", .mode = S_IFREG | 0666, .text = text_timerslack, .write = write_timerslack,
     .process_only = true},
};

}  // namespace

ProcTable process_rows() { return kRows; }

}  // namespace run9::sentry
