// Boot: from a freshly made host process to a running sandbox. The runtime forks a child into the
// sandbox's namespaces (user, pid as its init, mount with an empty root, net, ipc, uts, cgroup), with the
// descriptors named here and no others, and calls sentry_main there; it does not return to the caller's
// code. The runtime's side of the boundary is trusted; everything that comes up from guests is not.
#pragma once
#include <sys/resource.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/unique_fd.h"

namespace run9::sentry {

// One file system of the container, in mount order.
struct MountSpec {
  std::string type;         // "gofer", "tmpfs", "proc", "sysfs", "devtmpfs", "devpts", "mqueue", "cgroup"
  std::string destination;  // absolute in the container; "/" first
  std::string source;       // as shown in /proc/mounts
  UniqueFd gofer;           // type gofer: the connected 9P socket
  std::string aname;        // type gofer: the export's name
  bool exclusive = false;   // type gofer: nobody else changes the tree (authoritative cache)
  bool overlay = false;     // type gofer: writes stay in memory (tmpfs upper)
  bool copy_up = false;     // begins with what the mount covers (tmpcopyup)
  bool is_file = false;     // type gofer: the export is a single file, bound over a file
  uint32_t flags = 0;       // vfs::MountFlags
  std::string data;         // tmpfs options "size=64m,mode=1777"
};

// What one program gets: the container's init, or `run9 exec`.
struct ProcessSpec {
  std::vector<std::string> args;
  std::string program;  // what runs if it is not args[0]
  std::vector<std::string> env;
  std::string cwd = "/";
  uint32_t uid = 0, gid = 0;
  std::vector<uint32_t> groups;
  // "NAME[:GROUP]", looked up in the container's own /etc/passwd and /etc/group; replaces the ids above.
  std::string user;
  std::optional<uint32_t> umask;
  // Bit masks, bit n = CAP_n.
  uint64_t caps_bounding = 0, caps_effective = 0, caps_permitted = 0, caps_inheritable = 0,
           caps_ambient = 0;
  bool no_new_privs = false;
  bool terminal = false;  // a pty of ours is the controlling terminal; its master is proxied to stdio[0]
  uint16_t rows = 0, columns = 0;
  std::vector<std::pair<int, rlimit>> rlimits;
  int oom_score_adj = 0;
  // terminal false: stdio[0..2] become the guest's 0..2. terminal true: stdio[0] is the host's end (a
  // pty slave in raw mode or a socket) that the guest's terminal is joined to; stdio[3], if it is
  // there, is the guest's 2 nevertheless (2>file).
  std::vector<UniqueFd> stdio;
  std::vector<UniqueFd> extra;  // the guest's 3, 4, ... (--preserve-fds)
};

// A node of linux.devices.
struct DeviceSpec {
  std::string path;
  uint32_t mode = 0;  // with the type
  uint32_t major = 0, minor = 0, uid = 0, gid = 0;
};

// A startContainer hook: a program of the container that runs before its own.
struct StartHook {
  ProcessSpec process;
  int timeout_s = 0;  // 0: none
};

struct BootSpec {
  std::string container_id;
  std::string hostname;
  std::string domainname;
  std::string platform = "trap";  // or "ptrace"
  bool strace = false;
  bool strict = false;
  unsigned host_threads = 0;  // at most; 0: a call that waits for a disk holds up the whole sandbox
  unsigned workers = 1;  // threads that run kernel code, one at a time, at most
  bool eager_workers = false;  // Workers::eager
  uint32_t cpu_bound = 0;  // of the host's CPU time, in thousandths of a CPU; 0: none
  LogLevel log_level = LogLevel::kWarn;
  uint64_t memory_limit = 0;  // bytes of private writable memory; 0: half of the machine's
  uint32_t task_limit = 32768;
  std::vector<MountSpec> mounts;
  bool root_readonly = false;
  std::vector<std::string> masked_paths, readonly_paths;
  std::vector<std::pair<std::string, std::string>> sysctl;
  std::vector<DeviceSpec> devices;
  std::vector<StartHook> start_hooks;
  UniqueFd control;  // SOCK_SEQPACKET, connected to nobody yet: a listening socket for `run9 exec` etc.
  UniqueFd log;      // append-only log
  UniqueFd sync;     // SOCK_SEQPACKET pair with the runtime: see below
  ProcessSpec init;
  // Called in the new process after the platform's stub template was made and before the first guest or
  // peer byte is read: the runtime gives up what boot still needed (none in the plain case).
};

// Protocol on `sync`: we send "R" when the sandbox is ready (mounts made, program found and loaded, seccomp
// on) or "E<text>" and exit; the runtime sends "S" to start the container's program ("create" waits for
// "start" there); we run the start hooks and answer "D", or "E<text>" and exit. Exit status of this process = the container's (128 + n for a signal).
[[noreturn]] void sentry_main(BootSpec spec);

// Requests on the control socket, one SOCK_SEQPACKET connection each, as protobuf-lite messages
// (spec/control.proto): exec (with stdio descriptors by SCM_RIGHTS; answered with the pid, later with the
// exit status), signal (pid or all), ps, resize (window size), state, events. Implemented in
// sentry/control/ on top of Kernel.

}  // namespace run9::sentry
