#include "gofer/privileges.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "gofer/host_calls.h"

namespace run9::gofer {
namespace {

static_assert(kCapSysAdmin == CAP_SYS_ADMIN && kCapSetgid == CAP_SETGID && kCapSetuid == CAP_SETUID);

struct CapSets {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
};

Result<CapSets> current_caps() {
  CapSets c;
  TRY(check_call(static_cast<int>(syscall(SYS_capget, &c.header, c.data))));
  return c;
}

constexpr uint32_t kOverFiles = 1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH |
                                1u << CAP_FOWNER | 1u << CAP_FSETID;
constexpr uint32_t kOverIds = 1u << CAP_SETGID | 1u << CAP_SETUID;

}  // namespace

bool has_capability(int cap) {
  const auto c = current_caps();
  return c && (c.assume_value().data[cap / 32].effective >> (cap % 32) & 1) != 0;
}

Result<void> set_effective_capabilities(FileRights rights) {
  CapSets c = TRY(current_caps());
  c.data[0].effective = c.data[0].permitted & (rights == FileRights::kRoot ? kOverFiles | kOverIds : kOverIds);
  return check_call(static_cast<int>(syscall(SYS_capset, &c.header, c.data)));
}

Result<void> drop_capabilities(Ids ids) {
  TRY(check_call(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)));
  TRY(check_call(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)));
  if (has_capability(CAP_SETPCAP)) {
    // EINVAL is the first number that the kernel does not know.
    for (int cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0;) ++cap;
  }
  CapSets c = TRY(current_caps());
  const uint32_t kept = c.data[0].permitted & (ids == Ids::kChanging ? kOverFiles | kOverIds : kOverFiles);
  c.data[0] = {kept, kept, 0};
  c.data[1] = {};
  return check_call(static_cast<int>(syscall(SYS_capset, &c.header, c.data)));
}

Result<void> set_limits() {
  rlimit files;
  TRY(check_call(getrlimit(RLIMIT_NOFILE, &files)));
  files.rlim_cur = files.rlim_max;
  TRY(check_call(setrlimit(RLIMIT_NOFILE, &files)));
  const rlimit none{0, 0};
  TRY(check_call(setrlimit(RLIMIT_CORE, &none)));
  return check_call(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
}

Result<void> close_others(std::vector<int> keep) {
  keep.insert(keep.end(), {0, 1, 2});
  std::sort(keep.begin(), keep.end());
  unsigned from = 3;
  for (const int fd : keep) {
    if (fd < 3 || static_cast<unsigned>(fd) < from) continue;
    if (static_cast<unsigned>(fd) > from) TRY(check_call(close_range(from, fd - 1, 0)));
    from = static_cast<unsigned>(fd) + 1;
  }
  return check_call(close_range(from, ~0u, 0));
}

}  // namespace run9::gofer
