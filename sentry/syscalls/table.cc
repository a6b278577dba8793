#include "sentry/syscalls/all.h"
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {
namespace {

constexpr std::array<SyscallEntry, kSyscallCount> make_table() {
  std::array<SyscallEntry, kSyscallCount> t{};
#define SYSCALL(number, name, handler, format, note) t[number] = {#name, &syscall_wrapper<&handler>, format, note};
#define MISSING(number, name) t[number] = {#name, nullptr, "", ""};
#include "sentry/syscalls/table.def"
#undef SYSCALL
#undef MISSING
  return t;
}

constexpr auto kTable = make_table();

}  // namespace

const std::array<SyscallEntry, kSyscallCount>& syscall_table() { return kTable; }

}  // namespace run9::sentry
