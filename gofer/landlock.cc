#include "gofer/landlock.h"

#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace run9::gofer {
namespace {

// Newer than Debian 12's header: landlock(7) says which ABI brought them.
constexpr uint64_t kTruncate = 1 << 14;          // 3
constexpr uint64_t kIoctlDevice = 1 << 15;       // 5
constexpr uint64_t kNetBindAndConnect = 3;       // 4
constexpr uint64_t kScopeSocketsAndSignals = 3;  // 6
struct RulesetAttr {
  uint64_t files = 0;
  uint64_t net = 0;
  uint64_t scoped = 0;
};

constexpr uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
// Devices are made by nobody without a capability; renaming one counts as making it.
constexpr uint64_t kChange =
    LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
    LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_DIR |
    LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
    LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER | kTruncate;

// Everything that this kernel knows to forbid.
RulesetAttr everything(int abi) {
  RulesetAttr a{.files = LANDLOCK_ACCESS_FS_EXECUTE | kRead | kChange};
  if (abi < 3) a.files &= ~kTruncate;
  if (abi >= 4) a.net = kNetBindAndConnect;
  if (abi >= 5) a.files |= kIoctlDevice;
  if (abi >= 6) a.scoped = kScopeSocketsAndSignals;
  return a;
}

size_t attr_size(int abi) {
  return abi < 4 ? offsetof(RulesetAttr, net) : abi < 6 ? offsetof(RulesetAttr, scoped) : sizeof(RulesetAttr);
}

}  // namespace

Result<void> fence_exports(const Exports& exports) {
  const auto abi = static_cast<int>(syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION));
  TRY(check_call(abi));
  if (abi < 2) return Errno{EOPNOTSUPP};
  const RulesetAttr all = everything(abi);
  const UniqueFd ruleset =
      TRY(take_fd(static_cast<int>(syscall(SYS_landlock_create_ruleset, &all, attr_size(abi), 0))));
  for (const auto& e : exports) {
    const landlock_path_beneath_attr rule{
        .allowed_access = (e->spec.read_only ? kRead : kRead | kChange) & all.files, .parent_fd = e->root.get()};
    TRY(check_call(static_cast<int>(
        syscall(SYS_landlock_add_rule, ruleset.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0))));
  }
  return check_call(static_cast<int>(syscall(SYS_landlock_restrict_self, ruleset.get(), 0)));
}

}  // namespace run9::gofer
