// Log lines to one descriptor, chosen once by main: "run9-sentry[7] W: text". No path is opened
// here; set_log_fd takes a descriptor that stays open for the life of the process. Safe to call from
// any thread (one write(2) a line). Text that came from a guest or a peer goes through quoted().
#pragma once
#include <fmt/format.h>

#include <string>
#include <string_view>

namespace run9 {

enum class LogLevel : int { kError = 0, kWarn, kInfo, kDebug };

void set_log(int fd, LogLevel level, std::string_view program);
bool log_enabled(LogLevel level);
void log_line(LogLevel level, std::string_view text);
// C-style escapes for control characters, cut at 256 bytes.
std::string quoted(std::string_view untrusted);

template <typename... A>
void log(LogLevel level, fmt::format_string<A...> f, A&&... args) {
  if (log_enabled(level)) log_line(level, fmt::format(f, std::forward<A>(args)...));
}
template <typename... A>
void log_error(fmt::format_string<A...> f, A&&... a) { log(LogLevel::kError, f, std::forward<A>(a)...); }
template <typename... A>
void log_warn(fmt::format_string<A...> f, A&&... a) { log(LogLevel::kWarn, f, std::forward<A>(a)...); }
template <typename... A>
void log_info(fmt::format_string<A...> f, A&&... a) { log(LogLevel::kInfo, f, std::forward<A>(a)...); }
template <typename... A>
void log_debug(fmt::format_string<A...> f, A&&... a) { log(LogLevel::kDebug, f, std::forward<A>(a)...); }

}  // namespace run9
