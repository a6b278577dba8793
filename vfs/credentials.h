// Credentials: who a task is, as capabilities(7) and credentials(7) describe. Immutable once shared;
// a change makes a copy. Capability sets are bit masks, bit n = CAP_n.
#pragma once
#include <linux/capability.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

namespace run9::vfs {

inline constexpr uint64_t kAllCaps = (uint64_t{1} << (CAP_LAST_CAP + 1)) - 1;

struct Credentials {
  uint32_t ruid = 0, euid = 0, suid = 0, fsuid = 0;
  uint32_t rgid = 0, egid = 0, sgid = 0, fsgid = 0;
  std::vector<uint32_t> groups;
  uint64_t cap_permitted = 0, cap_effective = 0, cap_inheritable = 0, cap_bounding = 0,
           cap_ambient = 0;
  uint32_t securebits = 0;
  bool no_new_privs = false;

  bool operator==(const Credentials&) const = default;
  bool has_cap(int cap) const { return (cap_effective >> cap) & 1; }
  bool in_group(uint32_t gid) const {
    return gid == fsgid || std::find(groups.begin(), groups.end(), gid) != groups.end();
  }
};
using CredentialsRef = std::shared_ptr<const Credentials>;

}  // namespace run9::vfs
