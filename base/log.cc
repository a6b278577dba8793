#include "base/log.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "base/check.h"
#include "base/errno.h"
#include "base/sanitizer.h"

namespace run9 {
namespace {

// Written once by main, before a second thread exists; read ever after.
struct LogState {
  int fd = 2;
  LogLevel level = LogLevel::kWarn;
  int pid = getpid();  // kept: a jailed process need not have the call
  char program[24] = "run9";
} g_log;

constexpr char kLetters[] = {'E', 'W', 'I', 'D'};

}  // namespace

void set_log(int fd, LogLevel level, std::string_view program) {
  g_log.fd = fd;
  g_log.level = level;
  g_log.pid = getpid();
  const size_t n = std::min(program.size(), sizeof g_log.program - 1);
  std::memcpy(g_log.program, program.data(), n);
  g_log.program[n] = 0;
  sanitizer::report_to(fd);
}

bool log_enabled(LogLevel level) { return level <= g_log.level; }

void log_line(LogLevel level, std::string_view text) {
  const std::string line = fmt::format("{}[{}] {}: {}\n", g_log.program, g_log.pid,
                                       kLetters[static_cast<int>(level)], text);
  // A full or closed log must not stop a sandbox.
  [[maybe_unused]] ssize_t n = write(g_log.fd, line.data(), line.size());
}

std::string quoted(std::string_view untrusted) {
  std::string out = "\"";
  for (unsigned char c : untrusted.substr(0, 256)) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20 || c >= 0x7f) {
      out += fmt::format("\\x{:02x}", c);
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + (untrusted.size() > 256 ? "\"..." : "\"");
}

std::string describe(Errno e) {
  const char* name = strerrorname_np(to_int(e));
  return fmt::format("{} ({})", name != nullptr ? name : "errno", strerror(to_int(e)));
}

void check_failed(const char* expr, const char* file, int line) {
  log_line(LogLevel::kError, fmt::format("CHECK failed: {} at {}:{}", expr, file, line));
  std::abort();
}

}  // namespace run9
