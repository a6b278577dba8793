// What `run9 --version` prints; podman and containerd look for "spec:".
#pragma once
#include <string_view>

namespace run9::runtime {
inline constexpr std::string_view kVersion = "0.1.0";
inline constexpr std::string_view kVersionText = "run9 version 0.1.0\nspec: 1.0.2";
}
