// --strace. The format words of table.def: fd, path, ptr, buf (bytes, as many as the next argument says), len, int,
// hex, mode, and those of constants.cc; a word that is not known prints the number.
#include "sentry/trace/tracer.h"

#include <fcntl.h>
#include <string.h>

#include "base/log.h"
#include "sentry/task/task.h"
#include "sentry/trace/constants.h"

namespace run9::sentry {
namespace {

std::string argument(Task& task, std::string_view word, uint64_t value) {
  if (auto names = name_constants(word, value)) return *std::move(names);
  if (word == "fd") {
    const auto fd = static_cast<int32_t>(value);
    return fd == AT_FDCWD ? "AT_FDCWD" : fmt::format("{}", fd);
  }
  if (word == "path") {
    if (value == 0) return "NULL";
    const auto s = task.memory().read_string(value, 4095, Errno{ENAMETOOLONG});
    return s.has_value() ? quoted(s.value()) : fmt::format("{:#x}", value);
  }
  if (word == "int" || word == "len") return fmt::format("{}", static_cast<int64_t>(value));
  if (word == "mode") return fmt::format("0{:o}", value);
  if (value == 0 && (word == "ptr" || word == "buf" || word == "argv")) return "NULL";
  return fmt::format("{:#x}", value);
}

// What the call is about to write: its beginning.
std::string bytes(Task& task, uint64_t address, uint64_t length) {
  constexpr uint64_t kShown = 32;
  char text[kShown];
  const size_t wanted = std::min(length, kShown);
  const auto n = task.memory().copy_in_some(std::as_writable_bytes(std::span(text).first(wanted)), address);
  if (!n.has_value() || n.value() < wanted) return fmt::format("{:#x}", address);
  return quoted({text, wanted}) + (length > kShown ? "..." : "");
}

std::string decode(Task& task, std::string_view format, const SyscallArgs& args) {
  std::string out;
  size_t n = 0;
  while (!format.empty() && n < args.size()) {
    const size_t space = std::min(format.find(' '), format.size());
    if (n != 0) out += ", ";
    const std::string_view word = format.substr(0, space);
    out += word == "buf" && args[n] != 0 ? bytes(task, args[n], args[n + 1]) : argument(task, word, args[n]);
    ++n;
    format.remove_prefix(std::min(space + 1, format.size()));
  }
  return out;
}

}  // namespace

void Tracer::enter(Task& task, uint64_t number, const SyscallArgs& args) {
  const auto& table = syscall_table();
  const bool known = number < table.size() && table[number].fn != nullptr;
  started_[task.tid()] = {EventLoop::now_ns(),
                          known ? decode(task, table[number].format, args)
                                : fmt::format("{:#x}, {:#x}, {:#x}, {:#x}, {:#x}, {:#x}", args[0], args[1],
                                              args[2], args[3], args[4], args[5])};
}

void Tracer::leave(Task& task, uint64_t number, const SyscallArgs&, const Result<uint64_t>& result) {
  const auto node = started_.extract(task.tid());
  if (node.empty()) return;
  const auto& table = syscall_table();
  const std::string name = number < table.size() && !table[number].name.empty()
                               ? std::string(table[number].name)
                               : fmt::format("syscall_{}", number);
  const double us = static_cast<double>(EventLoop::now_ns() - node.mapped().at_ns) / 1000;
  std::string value;
  if (result.has_value()) {
    const auto v = result.value();
    value = v < 4096 ? fmt::format("{}", v) : fmt::format("{:#x}", v);
  } else {
    const int e = to_int(result.error());
    value = e >= 512 ? fmt::format("? interrupted ({})", e) : fmt::format("-{}", describe(result.error()));
  }
  log_line(LogLevel::kInfo, fmt::format("[{:4}] {} {}({}) = {} ({:.1f} us)", task.tid(), quoted(task.comm),
                                        name, node.mapped().arguments, value, us));
}

}  // namespace run9::sentry
