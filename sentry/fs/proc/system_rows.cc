// What is in /proc besides the processes; /proc/sys is in sysctl.cc's rows.
#include <sys/sysmacros.h>

#include <algorithm>

#include "sentry/fs/fs_types.h"
#include "sentry/fs/proc/proc_fs.h"
#include "sentry/fs/proc/sysctl.h"
#include "sentry/ipc/ipc_objects.h"
#include "sentry/ipc/sysv.h"
#include "sentry/syscalls/time.h"

namespace run9::sentry {
namespace {

constexpr uint32_t kFile = S_IFREG | 0444, kLink = S_IFLNK | 0777;

Result<std::string> text_self(View& v) {
  Task* caller = task_of(v.ctx);
  if (caller == nullptr) return Errno{ENOENT};
  return std::to_string(caller->tgid());
}
Result<std::string> text_thread_self(View& v) {
  Task* caller = task_of(v.ctx);
  if (caller == nullptr) return Errno{ENOENT};
  return fmt::format("{}/task/{}", caller->tgid(), caller->tid());
}
Result<std::string> link_mounts(View&) { return std::string("self/mounts"); }
Result<std::string> link_net(View&) { return std::string("self/net"); }

Result<std::string> text_cpuinfo(View& v) { return cpu_info(v.kernel); }

Result<std::string> text_meminfo(View& v) {
  const uint64_t total = total_memory(v.kernel);
  const uint64_t used = std::min(total, v.kernel.charged_memory());
  const uint64_t free = total - used;
  std::string t;
  const auto line = [&t](std::string_view name, uint64_t bytes) {
    t += fmt::format("{:<16}{:8} kB\n", std::string(name) + ":", bytes / 1024);
  };
  line("MemTotal", total);
  line("MemFree", free);
  line("MemAvailable", free);
  for (const char* none : {"Buffers", "Cached", "SwapCached"}) line(none, 0);
  line("Active", used);
  line("Inactive", 0);
  line("Active(anon)", used);
  for (const char* none : {"Inactive(anon)", "Active(file)", "Inactive(file)", "Unevictable", "Mlocked",
                           "SwapTotal", "SwapFree", "Dirty", "Writeback"}) {
    line(none, 0);
  }
  line("AnonPages", used);
  for (const char* none : {"Mapped", "Shmem", "KReclaimable", "Slab", "SReclaimable", "SUnreclaim",
                           "KernelStack", "PageTables", "NFS_Unstable", "Bounce", "WritebackTmp"}) {
    line(none, 0);
  }
  line("CommitLimit", total);
  line("Committed_AS", used);
  line("VmallocTotal", 0x7fffffffffffu & ~uint64_t{1023});
  for (const char* none : {"VmallocUsed", "VmallocChunk", "Percpu", "AnonHugePages", "ShmemHugePages",
                           "ShmemPmdMapped", "FileHugePages", "FilePmdMapped"}) {
    line(none, 0);
  }
  t += "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\n"
       "HugePages_Surp:        0\n";
  line("Hugepagesize", 2048 * 1024);
  line("Hugetlb", 0);
  return t;
}

struct Load {
  size_t running = 0, all = 0;
  uint64_t user_ns = 0, system_ns = 0;
};

Load load_of(Kernel& kernel) {
  Load l;
  for (const auto& [pid, p] : kernel.processes()) {
    const Rusage use = usage_of(*p);
    l.user_ns += use.user_ns;
    l.system_ns += use.system_ns;
    for (Task* t : p->tasks) l.running += t->state() == TaskState::kRunning;
    l.all += p->tasks.size();
  }
  return l;
}

constexpr uint64_t kNsPerTick = 10'000'000;

Result<std::string> text_stat_system(View& v) {
  const Load l = load_of(v.kernel);
  const auto cpus = static_cast<uint64_t>(std::max(1, v.kernel.options().cpus));
  const uint64_t up = uptime_ns(v.kernel) / kNsPerTick;
  const uint64_t user = l.user_ns / kNsPerTick, system = l.system_ns / kNsPerTick;
  const uint64_t idle = up * cpus > user + system ? up * cpus - user - system : 0;
  std::string t = fmt::format("cpu  {} 0 {} {} 0 0 0 0 0 0\n", user, system, idle);
  // Which processor did the work is not known: shared evenly.
  for (uint64_t i = 0; i < cpus; ++i) {
    t += fmt::format("cpu{} {} 0 {} {} 0 0 0 0 0 0\n", i, user / cpus, system / cpus, idle / cpus);
  }
  int32_t last = 0;
  for (const auto& [pid, p] : v.kernel.processes()) last = std::max(last, pid);
  t += fmt::format("intr 0\nctxt 0\nbtime {}\nprocesses {}\nprocs_running {}\nprocs_blocked 0\n",
                   v.kernel.boot_realtime.sec, last, std::max<size_t>(1, l.running));
  return t + "softirq 0 0 0 0 0 0 0 0 0 0 0\n";
}

Result<std::string> text_uptime(View& v) {
  // Rounded up, as in sysinfo(2): programs divide by it, and a machine that runs one has been up for some time.
  const uint64_t up = uptime_ns(v.kernel) / kNsPerTick + 1;
  const uint64_t all = up * static_cast<uint64_t>(std::max(1, v.kernel.options().cpus));
  const Load l = load_of(v.kernel);
  const uint64_t busy = (l.user_ns + l.system_ns) / kNsPerTick;
  const uint64_t idle = all > busy ? all - busy : 0;
  return fmt::format("{}.{:02} {}.{:02}\n", up / 100, up % 100, idle / 100, idle % 100);
}

Result<std::string> text_loadavg(View& v) {
  const Load l = load_of(v.kernel);
  int32_t last = 0;
  for (const auto& [pid, p] : v.kernel.processes()) last = std::max(last, pid);
  return fmt::format("0.00 0.00 0.00 {}/{} {}\n", std::max<size_t>(1, l.running), l.all, last);
}

Result<std::string> text_version(View&) {
  return std::string("Linux version 6.12.0-run9 (run9@run9) (gcc (Run9) 12.2.0, GNU ld (Run9) 2.40) "
                     "#1 SMP Run9\n");
}
Result<std::string> text_cmdline_system(View&) { return std::string("run9\n"); }

Result<std::string> text_filesystems(View&) {
  std::string t;
  for (const auto& type : file_system_types()) t += fmt::format("nodev\t{}\n", type.name);
  return t;
}

Result<std::string> text_devices(View&) {
  return std::string("Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n"
                     "136 pts\n\nBlock devices:\n");
}
Result<std::string> text_empty(View&) { return std::string(); }
Result<std::string> text_swaps(View&) {
  return std::string("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
}
Result<std::string> text_partitions(View&) {
  return std::string("major minor  #blocks  name\n\n");
}

Result<std::string> text_vmstat(View& v) {
  const uint64_t total = total_memory(v.kernel);
  const uint64_t used = std::min(total, v.kernel.charged_memory());
  std::string t = fmt::format("nr_free_pages {}\nnr_zone_inactive_anon 0\nnr_zone_active_anon {}\n"
                              "nr_inactive_anon 0\nnr_active_anon {}\nnr_inactive_file 0\n"
                              "nr_active_file 0\nnr_anon_pages {}\n",
                              (total - used) / kPage, used / kPage, used / kPage, used / kPage);
  for (const char* none : {"nr_mapped", "nr_file_pages", "nr_dirty", "nr_writeback", "nr_shmem", "pgpgin",
                           "pgpgout", "pswpin", "pswpout", "pgfault", "pgmajfault", "oom_kill"}) {
    t += fmt::format("{} 0\n", none);
  }
  return t;
}

Result<std::string> text_interrupts(View& v) {
  std::string t = "    ";
  for (int i = 0; i < std::max(1, v.kernel.options().cpus); ++i) t += fmt::format("{:>11}", fmt::format("CPU{}", i));
  return t + "\n";
}

Result<std::string> text_kmsg(View& v) {
  std::string t;
  for (const auto& line : v.kernel.boot_log_lines()) t += "<6>" + line + "\n";
  return t;
}

// What every line of /proc/sysvipc has: the object, and whose it is.
std::string owners(const ipc_perm& p) { return fmt::format("{:5} {:5} {:5} {:5}", p.uid, p.gid, p.cuid, p.cgid); }
std::string start_of_line(const ipc_perm& p, int32_t id) {
  return fmt::format("{:10} {:10}  {:4o} ", p.__key, id, p.mode);
}

Result<std::string> text_sysvipc_shm(View& v) {
  std::string t = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      "
                  "atime      dtime      ctime                   rss                  swap\n";
  const auto& table = ipc_objects(v.kernel).sysv().segments;
  table.for_each_index([&](const std::shared_ptr<ShmSegment>& s) {
    const ipc_perm p = s->permissions();
    t += start_of_line(p, s->id);
    t += fmt::format("{:21} {:5} {:5}  {:5} {} {:10} {:10} {:10} {:21} {:21}\n", s->size, s->creator_pid, s->last_pid,
                     attachments(table, s), owners(p), s->attached, s->detached, s->changed, s->resident_size(), 0);
  });
  return t;
}

Result<std::string> text_sysvipc_sem(View& v) {
  std::string t = "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n";
  ipc_objects(v.kernel).sysv().semaphores.for_each_index([&](const std::shared_ptr<SemaphoreSet>& s) {
    const ipc_perm p = s->permissions();
    t += start_of_line(p, s->id);
    t += fmt::format("{:10} {} {:10} {:10}\n", s->all.size(), owners(p), s->operated, s->changed);
  });
  return t;
}

Result<std::string> text_sysvipc_msg(View& v) {
  std::string t = "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      "
                  "rtime      ctime\n";
  ipc_objects(v.kernel).sysv().queues.for_each_index([&](const std::shared_ptr<MessageQueue>& q) {
    const ipc_perm p = q->permissions();
    t += start_of_line(p, q->id);
    t += fmt::format(" {:10} {:10} {:5} {:5} {} {:10} {:10} {:10}\n", q->bytes, q->messages.size(), q->send_pid,
                     q->receive_pid, owners(p), q->sent, q->received, q->changed);
  });
  return t;
}

constexpr ProcRow file(std::string_view path, TextFn text) { return {.path = path, .mode = kFile, .text = text}; }

constexpr ProcRow kRows[] = {
    file("cmdline", text_cmdline_system),
    file("consoles", text_empty),
    file("cpuinfo", text_cpuinfo),
    file("crypto", text_empty),
    file("devices", text_devices),
    file("diskstats", text_empty),
    file("filesystems", text_filesystems),
    file("interrupts", text_interrupts),
    {.path = "kmsg", .mode = S_IFREG | 0400, .text = text_kmsg},
    file("loadavg", text_loadavg),
    file("locks", text_empty),
    file("meminfo", text_meminfo),
    file("misc", text_empty),
    file("modules", text_empty),
    {.path = "mounts", .mode = kLink, .text = link_mounts},
    {.path = "net", .mode = kLink, .text = link_net},
    file("partitions", text_partitions),
    {.path = "self", .mode = kLink, .text = text_self},
    file("stat", text_stat_system),
    file("swaps", text_swaps),
    file("sysvipc/msg", text_sysvipc_msg),
    file("sysvipc/sem", text_sysvipc_sem),
    file("sysvipc/shm", text_sysvipc_shm),
    {.path = "thread-self", .mode = kLink, .text = text_thread_self},
    file("uptime", text_uptime),
    file("version", text_version),
    file("vmstat", text_vmstat),
};

constexpr size_t kSysctls = std::size(kSysctlRows);
constexpr auto kAll = [] {
  std::array<ProcRow, std::size(kRows) + kSysctls> all{};
  std::copy(std::begin(kRows), std::end(kRows), all.begin());
  std::copy(std::begin(kSysctlRows), std::end(kSysctlRows), all.begin() + std::size(kRows));
  return all;
}();

}  // namespace

ProcTable system_rows() { return kAll; }

uint64_t total_memory(Kernel& kernel) {
  // Boot always sets a limit; without one there is nothing true to say about the machine.
  const uint64_t limit = kernel.options().limits.memory;
  return limit != 0 ? limit : uint64_t{4} << 30;
}

uint64_t uptime_ns(Kernel& kernel) { return EventLoop::now_ns() - kernel.boot_time_ns; }

}  // namespace run9::sentry
