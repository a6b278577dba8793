// Which of the host's paths `run9 do` does not show.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace run9::runtime {

struct HiddenPaths {
  std::vector<std::string> files;        // as if they did not exist
  std::vector<std::string> directories;  // as if they were empty
};

// Host keys, shadow files, homes of others, root's home, and what the guest's own file systems cover
// anyway (so that the gofer cannot be talked into serving it); all without what `cwd` and `expose` need.
HiddenPaths hidden_paths(const std::string& cwd, const std::vector<std::string>& expose);

// `path` is `dir` or lies below.
bool is_below(std::string_view path, std::string_view dir);

}  // namespace run9::runtime
