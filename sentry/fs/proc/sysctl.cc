#include "sentry/fs/proc/sysctl.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "sentry/fs/proc/proc_fs.h"
#include "sentry/ipc/aio.h"
#include "sentry/ipc/ipc_objects.h"
#include "sentry/ipc/sysv.h"

namespace run9::sentry {
namespace {

struct Default {
  std::string_view path, text;
};
// Linux' own, of a machine like this one.
constexpr Default kDefaults[] = {
    {"sys/fs/epoll/max_user_watches", "1048576"},
    {"sys/fs/file-max", "9223372036854775807"},
    {"sys/fs/inotify/max_queued_events", "16384"},
    {"sys/fs/inotify/max_user_instances", "128"},
    {"sys/fs/inotify/max_user_watches", "65536"},
    {"sys/fs/lease-break-time", "45"},
    {"sys/fs/leases-enable", "1"},
    {"sys/fs/mqueue/msg_default", "10"},
    {"sys/fs/mqueue/msg_max", "10"},
    {"sys/fs/mqueue/msgsize_default", "8192"},
    {"sys/fs/mqueue/msgsize_max", "8192"},
    {"sys/fs/mqueue/queues_max", "256"},
    {"sys/fs/nr_open", "1048576"},
    {"sys/fs/overflowgid", "65534"},
    {"sys/fs/overflowuid", "65534"},
    {"sys/fs/pipe-max-size", "1048576"},
    {"sys/fs/pipe-user-pages-hard", "0"},
    {"sys/fs/pipe-user-pages-soft", "16384"},
    {"sys/fs/protected_fifos", "0"},
    {"sys/fs/protected_hardlinks", "0"},
    {"sys/fs/protected_regular", "0"},
    {"sys/fs/protected_symlinks", "0"},
    {"sys/fs/suid_dumpable", "0"},
    {"sys/kernel/cap_last_cap", "40"},
    {"sys/kernel/core_pattern", "core"},
    {"sys/kernel/core_uses_pid", "0"},
    {"sys/kernel/dmesg_restrict", "0"},
    {"sys/kernel/kptr_restrict", "0"},
    {"sys/kernel/ngroups_max", "65536"},
    {"sys/kernel/osrelease", "6.12.0-run9"},
    {"sys/kernel/ostype", "Linux"},
    {"sys/kernel/overflowgid", "65534"},
    {"sys/kernel/overflowuid", "65534"},
    {"sys/kernel/perf_event_paranoid", "3"},
    {"sys/kernel/pid_max", "32768"},
    {"sys/kernel/printk", "4\t4\t1\t7"},
    {"sys/kernel/random/entropy_avail", "256"},
    {"sys/kernel/random/poolsize", "256"},
    {"sys/kernel/random/urandom_min_reseed_secs", "60"},
    {"sys/kernel/random/write_wakeup_threshold", "256"},
    {"sys/kernel/randomize_va_space", "2"},
    {"sys/kernel/sched_child_runs_first", "0"},
    {"sys/kernel/seccomp/actions_avail", "kill_process kill_thread trap errno user_notif trace log allow"},
    {"sys/kernel/shm_rmid_forced", "0"},
    {"sys/kernel/tainted", "0"},
    {"sys/kernel/unprivileged_bpf_disabled", "2"},
    {"sys/kernel/version", "#1 SMP Run9"},
    {"sys/net/core/netdev_max_backlog", "1000"},
    {"sys/net/core/rmem_default", "212992"},
    {"sys/net/core/rmem_max", "212992"},
    {"sys/net/core/somaxconn", "4096"},
    {"sys/net/core/wmem_default", "212992"},
    {"sys/net/core/wmem_max", "212992"},
    {"sys/net/ipv4/ip_forward", "0"},
    {"sys/net/ipv4/ip_local_port_range", "32768\t60999"},
    {"sys/net/ipv4/ip_unprivileged_port_start", "1024"},
    {"sys/net/ipv4/ping_group_range", "1\t0"},
    {"sys/net/ipv4/tcp_congestion_control", "cubic"},
    {"sys/net/ipv4/tcp_fin_timeout", "60"},
    {"sys/net/ipv4/tcp_keepalive_intvl", "75"},
    {"sys/net/ipv4/tcp_keepalive_probes", "9"},
    {"sys/net/ipv4/tcp_keepalive_time", "7200"},
    {"sys/net/ipv4/tcp_max_syn_backlog", "512"},
    {"sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456"},
    {"sys/net/ipv4/tcp_sack", "1"},
    {"sys/net/ipv4/tcp_syncookies", "1"},
    {"sys/net/ipv4/tcp_tw_reuse", "2"},
    {"sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304"},
    {"sys/net/unix/max_dgram_qlen", "512"},
    {"sys/user/max_user_namespaces", "0"},
    {"sys/vm/drop_caches", "0"},
    {"sys/vm/max_map_count", "65530"},
    {"sys/vm/min_free_kbytes", "67584"},
    {"sys/vm/mmap_min_addr", "458752"},
    {"sys/vm/nr_hugepages", "0"},
    {"sys/vm/overcommit_memory", "0"},
    {"sys/vm/overcommit_ratio", "50"},
    {"sys/vm/swappiness", "60"},
};

// Numbers that the kernel goes by, and how high each may be set: those that make memory of the Sentry's less than Linux lets
// them be.
struct Numbers {
  std::string_view path;
  std::span<uint64_t> (*at)(IpcObjects&);
  std::array<uint64_t, 4> most;
};
template <uint64_t SysvLimits::*Member>
std::span<uint64_t> sysv_number(IpcObjects& ipc) {
  return {&(ipc.sysv().limits.*Member), 1};
}
std::span<uint64_t> sysv_semaphores(IpcObjects& ipc) { return ipc.sysv().limits.sem; }
constexpr Numbers kNumbers[] = {
    {"sys/fs/aio-max-nr", [](IpcObjects& ipc) { return std::span(&ipc.aio().max_events, 1); }, {1 << 20}},
    {"sys/kernel/msgmax", sysv_number<&SysvLimits::msgmax>, {1 << 20}},
    {"sys/kernel/msgmnb", sysv_number<&SysvLimits::msgmnb>, {1 << 24}},
    {"sys/kernel/msgmni", sysv_number<&SysvLimits::msgmni>, {32768}},
    {"sys/kernel/sem", sysv_semaphores, {65536, INT32_MAX, 65536, 32768}},
    {"sys/kernel/shmall", sysv_number<&SysvLimits::shmall>, {UINT64_MAX}},
    {"sys/kernel/shmmax", sysv_number<&SysvLimits::shmmax>, {UINT64_MAX}},
    {"sys/kernel/shmmni", sysv_number<&SysvLimits::shmmni>, {32768}},
};

const Numbers& numbers_of(const View& v) {
  return *std::find_if(std::begin(kNumbers), std::end(kNumbers), [&](const Numbers& n) { return n.path == v.path; });
}

// A version 4 UUID of two words.
std::string uuid(uint64_t high, uint64_t low) {
  high = (high & ~uint64_t{0xf000}) | 0x4000;
  low = (low & ~(uint64_t{3} << 62)) | uint64_t{1} << 63;
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}\n", high >> 32, (high >> 16) & 0xffff,
                     high & 0xffff, low >> 48, low & 0xffff'ffff'ffff);
}

uint64_t mixed(uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

std::string file_count(Kernel& kernel) {
  size_t n = 0;
  for (const auto& [pid, p] : kernel.processes()) {
    if (p->tasks.empty() || p->tasks.front()->fds_ref() == nullptr) continue;
    const FdTable& fds = p->tasks.front()->fds();
    for (size_t i = 0; i < fds.size(); ++i) n += fds.entry(i) != nullptr;
  }
  return fmt::format("{}\t0\t9223372036854775807\n", n);
}

Result<void> may_set(View& v) {
  Task* caller = task_of(v.ctx);
  if (caller != nullptr && caller->creds().euid != 0 && !caller->creds().has_cap(CAP_SYS_ADMIN)) return Errno{EPERM};
  return ok();
}

std::string& name_of(View& v) {
  return v.path.ends_with("hostname") ? v.kernel.hostname : v.kernel.domainname;
}

}  // namespace

Result<std::string> sysctl_name(View& v) { return name_of(v) + "\n"; }

Result<void> sysctl_set_name(View& v, std::string_view text) {
  Task* caller = task_of(v.ctx);
  if (caller != nullptr && !caller->creds().has_cap(CAP_SYS_ADMIN)) return Errno{EPERM};
  const auto name = text.substr(0, text.find('\n'));
  if (name.size() > 64) return Errno{EINVAL};
  name_of(v) = std::string(name);
  return ok();
}

Result<std::string> sysctl_made(View& v) {
  if (v.path == "sys/kernel/random/boot_id") {
    // One for each sandbox: it is made of when it started.
    const uint64_t a = mixed(v.kernel.boot_time_ns);
    const uint64_t b = mixed(static_cast<uint64_t>(v.kernel.boot_realtime.sec) * 1'000'000'000 +
                             v.kernel.boot_realtime.nsec);
    return uuid(mixed(a ^ b), mixed(a + b));
  }
  if (v.path == "sys/kernel/random/uuid") {
    uint64_t r[2] = {};
    if (::getrandom(r, sizeof r, 0) != sizeof r) return Errno{EIO};
    return uuid(r[0], r[1]);
  }
  if (v.path == "sys/fs/aio-nr") return fmt::format("{}\n", ipc_objects(v.kernel).aio().events());
  if (v.path == "sys/kernel/threads-max") return fmt::format("{}\n", v.kernel.options().limits.tasks);
  return file_count(v.kernel);
}

Result<std::string> sysctl_default(View& v) {
  const auto* d = std::find_if(std::begin(kDefaults), std::end(kDefaults),
                               [&](const Default& x) { return x.path == v.path; });
  if (d == std::end(kDefaults)) return Errno{EIO};
  return std::string(d->text) + "\n";
}

Result<std::string> sysctl_setting(View& v) {
  const auto it = v.fs.settings().find(v.path);
  return it == v.fs.settings().end() ? sysctl_default(v) : it->second + "\n";
}

Result<void> sysctl_set_setting(View& v, std::string_view text) {
  TRY(may_set(v));
  const auto value = trimmed(text);
  const bool words = v.path == "sys/kernel/core_pattern" || v.path.ends_with("congestion_control");
  if (!words && (value.empty() || value.find_first_not_of("0123456789- \t") != value.npos)) {
    return Errno{EINVAL};
  }
  v.fs.settings()[std::string(v.path)] = std::string(value.substr(0, 127));
  return ok();
}

Result<std::string> sysctl_numbers(View& v) {
  return fmt::format("{}\n", fmt::join(numbers_of(v).at(ipc_objects(v.kernel)), "\t"));
}

Result<void> sysctl_set_numbers(View& v, std::string_view text) {
  TRY(may_set(v));
  const Numbers& row = numbers_of(v);
  const auto now = row.at(ipc_objects(v.kernel));
  std::vector<uint64_t> next;
  for (auto rest = trimmed(text); !rest.empty(); rest = trimmed(rest)) {
    uint64_t n = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), n);
    if (error != std::errc() || next.size() == now.size() || n > row.most[next.size()]) return Errno{EINVAL};
    next.push_back(n);
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    if (!rest.empty() && rest[0] != ' ' && rest[0] != '\t') return Errno{EINVAL};
  }
  if (next.empty()) return Errno{EINVAL};
  std::copy(next.begin(), next.end(), now.begin());
  return ok();
}

}  // namespace run9::sentry
