// The rows of /proc/sys.
#pragma once
#include "sentry/fs/proc/node.h"

namespace run9::sentry {

// A name of the sandbox: hostname, domainname.
Result<std::string> sysctl_name(View&);
Result<void> sysctl_set_name(View&, std::string_view);
// Texts that are made: kernel/random/*, kernel/version, fs/file-nr, fs/aio-nr.
Result<std::string> sysctl_made(View&);
// A fixed fact, from sysctl.cc's list of defaults.
Result<std::string> sysctl_default(View&);
// Kept and shown again; nothing here depends on it.
Result<std::string> sysctl_setting(View&);
Result<void> sysctl_set_setting(View&, std::string_view);

// Limits that the kernel goes by.
Result<std::string> sysctl_numbers(View&);
Result<void> sysctl_set_numbers(View&, std::string_view);

constexpr ProcRow fact(std::string_view path) {
  return {.path = path, .mode = S_IFREG | 0444, .text = sysctl_default};
}
constexpr ProcRow made(std::string_view path) {
  return {.path = path, .mode = S_IFREG | 0444, .text = sysctl_made};
}
constexpr ProcRow setting(std::string_view path) {
  return {.path = path, .mode = S_IFREG | 0644, .text = sysctl_setting, .write = sysctl_set_setting};
}
constexpr ProcRow numbers(std::string_view path) {
  return {.path = path, .mode = S_IFREG | 0644, .text = sysctl_numbers, .write = sysctl_set_numbers};
}
constexpr ProcRow name_row(std::string_view path) {
  return {.path = path, .mode = S_IFREG | 0644, .text = sysctl_name, .write = sysctl_set_name};
}

inline constexpr ProcRow kSysctlRows[] = {
    numbers("sys/fs/aio-max-nr"), made("sys/fs/aio-nr"), setting("sys/fs/epoll/max_user_watches"),
    setting("sys/fs/file-max"), made("sys/fs/file-nr"),
    setting("sys/fs/inotify/max_queued_events"), setting("sys/fs/inotify/max_user_instances"),
    setting("sys/fs/inotify/max_user_watches"), setting("sys/fs/lease-break-time"),
    setting("sys/fs/leases-enable"), setting("sys/fs/mqueue/msg_default"),
    setting("sys/fs/mqueue/msg_max"), setting("sys/fs/mqueue/msgsize_default"),
    setting("sys/fs/mqueue/msgsize_max"), setting("sys/fs/mqueue/queues_max"),
    setting("sys/fs/nr_open"), fact("sys/fs/overflowgid"), fact("sys/fs/overflowuid"),
    setting("sys/fs/pipe-max-size"), setting("sys/fs/pipe-user-pages-hard"),
    setting("sys/fs/pipe-user-pages-soft"), setting("sys/fs/protected_fifos"),
    setting("sys/fs/protected_hardlinks"), setting("sys/fs/protected_regular"),
    setting("sys/fs/protected_symlinks"), setting("sys/fs/suid_dumpable"),
    fact("sys/kernel/cap_last_cap"), setting("sys/kernel/core_pattern"),
    setting("sys/kernel/core_uses_pid"), setting("sys/kernel/dmesg_restrict"),
    name_row("sys/kernel/domainname"), name_row("sys/kernel/hostname"), setting("sys/kernel/kptr_restrict"),
    numbers("sys/kernel/msgmax"), numbers("sys/kernel/msgmnb"), numbers("sys/kernel/msgmni"),
    fact("sys/kernel/ngroups_max"), fact("sys/kernel/osrelease"), fact("sys/kernel/ostype"),
    fact("sys/kernel/overflowgid"), fact("sys/kernel/overflowuid"),
    setting("sys/kernel/perf_event_paranoid"), setting("sys/kernel/pid_max"), setting("sys/kernel/printk"),
    made("sys/kernel/random/boot_id"), fact("sys/kernel/random/entropy_avail"),
    fact("sys/kernel/random/poolsize"), fact("sys/kernel/random/urandom_min_reseed_secs"),
    made("sys/kernel/random/uuid"), fact("sys/kernel/random/write_wakeup_threshold"),
    setting("sys/kernel/randomize_va_space"), setting("sys/kernel/sched_child_runs_first"),
    fact("sys/kernel/seccomp/actions_avail"), numbers("sys/kernel/sem"), numbers("sys/kernel/shmall"),
    numbers("sys/kernel/shmmax"), numbers("sys/kernel/shmmni"), setting("sys/kernel/shm_rmid_forced"),
    setting("sys/kernel/tainted"), made("sys/kernel/threads-max"), setting("sys/kernel/unprivileged_bpf_disabled"),
    fact("sys/kernel/version"),
    setting("sys/net/core/netdev_max_backlog"), setting("sys/net/core/rmem_default"),
    setting("sys/net/core/rmem_max"), setting("sys/net/core/somaxconn"),
    setting("sys/net/core/wmem_default"), setting("sys/net/core/wmem_max"),
    setting("sys/net/ipv4/ip_forward"), setting("sys/net/ipv4/ip_local_port_range"),
    setting("sys/net/ipv4/ip_unprivileged_port_start"), setting("sys/net/ipv4/ping_group_range"),
    setting("sys/net/ipv4/tcp_congestion_control"), setting("sys/net/ipv4/tcp_fin_timeout"),
    setting("sys/net/ipv4/tcp_keepalive_intvl"), setting("sys/net/ipv4/tcp_keepalive_probes"),
    setting("sys/net/ipv4/tcp_keepalive_time"), setting("sys/net/ipv4/tcp_max_syn_backlog"),
    setting("sys/net/ipv4/tcp_rmem"), setting("sys/net/ipv4/tcp_sack"),
    setting("sys/net/ipv4/tcp_syncookies"), setting("sys/net/ipv4/tcp_tw_reuse"),
    setting("sys/net/ipv4/tcp_wmem"), setting("sys/net/unix/max_dgram_qlen"),
    setting("sys/user/max_user_namespaces"),
    setting("sys/vm/drop_caches"), setting("sys/vm/max_map_count"), setting("sys/vm/min_free_kbytes"),
    setting("sys/vm/mmap_min_addr"), fact("sys/vm/nr_hugepages"), setting("sys/vm/overcommit_memory"),
    setting("sys/vm/overcommit_ratio"), setting("sys/vm/swappiness"),
};

}  // namespace run9::sentry
