// Whom run9-metrics asks, and what they say.
#pragma once
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "spec/control.pb.h"

namespace run9::metrics {

struct Gofer {
  std::string name;
  std::string path;  // of its control socket
};

struct Answer {
  enum class Kind { kGofer, kSandbox } kind{};
  std::string name;
  bool up = false;       // it has answered, and with what was asked for
  control::Reply reply;  // not to be believed: a guest may have written it
};

struct Sources {
  std::vector<Gofer> gofers;
  std::string sandboxes;  // run9's --root; empty: none
};

// All at once, for two seconds at most. Containers that have ended are left out.
std::vector<Answer> ask_all(const Sources& sources);

}  // namespace run9::metrics
