// What the gofer gives up before it reads its first byte: the host's mounts, namespaces,
// capabilities, descriptors, and the right to get any of them back.
#pragma once
#include <string>
#include <vector>

#include "gofer/host_server.h"
#include "gofer/privileges.h"

namespace run9::gofer {

struct JailOptions {
  std::vector<ExportSpec> exports;
  // Host paths below an export's directory: names that do not exist, directories that are empty.
  std::vector<std::string> hide;
  std::vector<std::string> empty;
  Ids ids = Ids::kFixed;
};

// Leaves the process in a mount namespace whose root is an empty read-only tmpfs with nothing but
// the exports in it, and in namespaces of its own for network, IPC, host name and cgroups where the
// kernel lets us; in a user namespace too if we have no CAP_SYS_ADMIN. For single-threaded callers.
Result<Exports> enter_jail(const JailOptions& options);
// Tests: the exports where they are.
Result<Exports> open_exports(const JailOptions& options);

// Capabilities, no_new_privs, limits, and Landlock where the kernel has it; closes every descriptor but 0 to 2, those of
// `keep` and the exports' roots. The same for threads made later, not for threads there are.
Result<void> drop_privileges(const std::vector<int>& keep, const Exports& exports, Ids ids);

}  // namespace run9::gofer
