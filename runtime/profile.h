// A sandbox's profile: asked for over the control socket, shown as a table and as a flame graph.
#pragma once
#include <string>

#include "base/unique_fd.h"
#include "runtime/control_client.h"
#include "runtime/failure.h"

namespace run9::runtime {

// The sandbox has begun to count when this returns; the report comes after so long (0: never), or when the container
// ends. Closing the connection ends it too.
Expected<UniqueFd> begin_profile(const StateDir& dir, uint32_t milliseconds);
Expected<control::ProfileReport> await_profile(const UniqueFd& connection);

std::string profile_table(const control::ProfileReport& report);
std::string profile_svg(const control::ProfileReport& report, const std::string& title);

// `run --profile`, `do --profile`: from the guest's first instruction to its last. `where`: empty is no profile,
// kProfileTable the table alone, anything else also a file for the flame graph.
inline constexpr const char* kProfileTable = "-";
class RunProfile {
 public:
  explicit RunProfile(std::string where) : where_(std::move(where)) {}
  Expected<void> begin(const StateDir& dir);
  // To standard error, after the sandbox has ended. A profile that is lost changes no exit status.
  void show(const std::string& title) const;

 private:
  std::string where_;
  UniqueFd connection_, svg_;
};

}  // namespace run9::runtime
