// Names that the OCI documents use for Linux numbers: CAP_*, SIG*, RLIMIT_*.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace run9::runtime {

// "CAP_KILL" or "KILL", any case.
std::optional<int> capability_number(std::string_view name);
inline constexpr int kLastCapability = 40;
std::string capability_name(int number);
// "SIGTERM", "TERM", "15", "SIGRTMIN+3", any case. 0 is a signal number here (kill(2)'s probe).
std::optional<int> signal_number(std::string_view name);
// "RLIMIT_NOFILE".
std::optional<int> rlimit_number(std::string_view name);
const std::vector<std::string_view>& rlimit_names();

// Guests choose their names: no control characters reach the terminal.
std::string printable(std::string_view text);

// "64", "512k", "1.5" is refused; k, m, g, t are powers of 1024 (an optional "b" or "ib" follows).
std::optional<uint64_t> parse_size(std::string_view text);

}  // namespace run9::runtime
