// The commands of `run9`, one function each; main.cc reads the command line into their arguments. The
// result is the program's exit status.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/failure.h"
#include "runtime/options.h"

namespace run9::runtime {

struct CreateArgs {
  std::string id, bundle = ".", pid_file, console_socket;
  std::string profile;  // as RunProfile wants it
  bool detach = false, keep = false;
  int preserve_fds = 0;
};
struct ExecArgs {
  std::string id, process, cwd, user, pid_file, console_socket;
  std::vector<std::string> env, caps, command;
  std::vector<uint32_t> groups;
  bool tty = false, detach = false, no_new_privs = false;
  int preserve_fds = 0;
};
struct KillArgs {
  std::string id, signal = "TERM";
  bool all = false;
};
struct DeleteArgs {
  std::string id;
  bool force = false;
};
struct ListArgs {
  std::string format = "table";
  bool quiet = false;
};
struct PsArgs {
  std::string id, format = "table";
};
struct UpdateArgs {
  std::string id, resources, memory, memory_reservation, memory_swap, cpus, mems;
  std::optional<int64_t> cpu_shares, cpu_quota, cpu_period, pids;
};
struct EventsArgs {
  std::string id, interval = "5s";
  bool stats = false;
};
struct ProfileArgs {
  std::string id, svg;
  double seconds = 5;
};
struct DoArgs {
  std::vector<std::string> command, expose;
  std::string cwd, profile;
  bool root_is_default = true;
};

Expected<int> cmd_spec(const std::string& bundle);
Expected<int> cmd_features();
Expected<int> cmd_create(const GlobalOptions& options, const CreateArgs& args);
Expected<int> cmd_start(const GlobalOptions& options, const std::string& id);
Expected<int> cmd_run(const GlobalOptions& options, const CreateArgs& args);
Expected<int> cmd_exec(const GlobalOptions& options, const ExecArgs& args);
Expected<int> cmd_state(const GlobalOptions& options, const std::string& id);
Expected<int> cmd_kill(const GlobalOptions& options, const KillArgs& args);
Expected<int> cmd_delete(const GlobalOptions& options, const DeleteArgs& args);
Expected<int> cmd_list(const GlobalOptions& options, const ListArgs& args);
Expected<int> cmd_pause(const GlobalOptions& options, const std::string& id);
Expected<int> cmd_resume(const GlobalOptions& options, const std::string& id);
Expected<int> cmd_update(const GlobalOptions& options, const UpdateArgs& args);
Expected<int> cmd_events(const GlobalOptions& options, const EventsArgs& args);
Expected<int> cmd_ps(const GlobalOptions& options, const PsArgs& args);
Expected<int> cmd_profile(const GlobalOptions& options, const ProfileArgs& args);
Expected<int> cmd_do(GlobalOptions options, const DoArgs& args);

}  // namespace run9::runtime
