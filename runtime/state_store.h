// The state directory: ROOT/ID/{state.json, lock, control.sock, start.sock, log}, and gofer.sock if there is a gofer. Every change is a new
// file renamed over the old one, so a reader or a crash sees the state before or after, never half.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "runtime/failure.h"

namespace run9::runtime {

// A process of the host that may be gone, its number given to another since.
struct HostProcess {
  pid_t pid = 0;            // 0: none
  uint64_t start_time = 0;  // field 22 of /proc/PID/stat
};

enum class Status { kCreating, kCreated, kRunning, kStopped, kPaused };
std::string_view status_name(Status s);

struct ContainerState {
  std::string id, bundle, rootfs, oci_version, created, owner;
  Status status = Status::kCreating;  // as last written; current_status() looks at the process
  HostProcess sentry, gofer, keeper;
  std::vector<std::string> cgroups;  // directories that we made
  std::map<std::string, std::string> annotations;
  bool terminal = false;
};

// Letters, digits and "_+-.", at most 1024, not "." or "..".
Expected<void> check_container_id(std::string_view id);

// One container's directory. Holds no lock by itself.
class StateDir {
 public:
  // EEXIST says so in words.
  static Expected<StateDir> create(const std::string& root, const std::string& id);
  static Expected<StateDir> open(const std::string& root, const std::string& id);

  // flock(2) until the descriptor closes; gives up after a while.
  Expected<UniqueFd> lock(int timeout_ms = 30000) const;
  Expected<void> save(const ContainerState& state) const;
  Expected<ContainerState> load() const;
  // The processes and cgroups once more, in a file of their own that never changes: for a state.json that cannot be read.
  Expected<void> save_processes(const ContainerState& state) const;
  void load_processes(ContainerState& state) const;
  // Everything in it, and itself.
  Expected<void> remove() const;

  const std::string& path() const { return path_; }
  int descriptor() const { return fd_.get(); }
  std::string log_path() const { return path_ + "/log"; }
  // A unix address is short (108 bytes); these go by way of the directory's descriptor.
  Expected<UniqueFd> listen(const char* name) const;
  Expected<UniqueFd> connect(const char* name) const;

 private:
  StateDir(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  std::string path_;
  UniqueFd fd_;
};

std::vector<std::string> list_containers(const std::string& root);
// BASE/NAME with the text `text`, by way of a temporary name.
Expected<void> write_atomically(BorrowedFd dir, const std::string& name, std::string_view text);

// The running process `pid` as it can be told from a later one of that number; pid 0 if it is gone.
HostProcess identify(pid_t pid);
// Neither gone, nor a zombie, nor another process.
bool alive(const HostProcess& p);
// SIGKILL by pidfd, and waits (at most `timeout_ms`) until it has ended.
void kill_and_wait(const HostProcess& p, int timeout_ms = 5000);
Expected<void> send_host_signal(const HostProcess& p, int signo);
Status current_status(const ContainerState& s);

}  // namespace run9::runtime
