// The system call table: from a number to a typed handler. Handlers are plain functions
//   Result<uint64_t> sys_dup3(Task& task, GuestFd from, GuestFd to, int flags);
// declared in the header of their family and named in one row of table.def; the wrapper below turns the
// six registers into the parameters' types as the kernel's SYSCALL_DEFINE does (cut to width).
#pragma once
#include <array>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

#include "sentry/mm/user_ptr.h"
#include "sentry/task/fd_table.h"
#include "sentry/task/task.h"

namespace run9::sentry {

using SyscallArgs = std::array<uint64_t, 6>;
using SyscallFn = Result<uint64_t> (*)(Task&, const SyscallArgs&);

struct SyscallEntry {
  std::string_view name;
  SyscallFn fn = nullptr;    // null: ENOSYS, counted
  std::string_view format;   // for --strace: "fd path flags:open mode", see trace/format.cc
  std::string_view note;     // what is cut short, for docs/SYSCALLS.md
};

inline constexpr size_t kSyscallCount = 470;
const std::array<SyscallEntry, kSyscallCount>& syscall_table();

namespace detail {
template <typename T>
T from_register(uint64_t r) {
  if constexpr (std::is_same_v<T, GuestFd>) {
    return GuestFd{static_cast<int32_t>(r)};
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(r);
  } else {
    return T{r};  // UserPtr, UserString
  }
}
template <auto Fn, typename... P, size_t... I>
Result<uint64_t> call(Task& t, const SyscallArgs& a, Result<uint64_t> (*)(Task&, P...),
                      std::index_sequence<I...>) {
  return Fn(t, from_register<P>(a[I])...);
}
template <typename... P>
constexpr auto indices(Result<uint64_t> (*)(Task&, P...)) { return std::index_sequence_for<P...>{}; }
}  // namespace detail

template <auto Fn>
Result<uint64_t> syscall_wrapper(Task& t, const SyscallArgs& a) {
  return detail::call<Fn>(t, a, Fn, detail::indices(Fn));
}

}  // namespace run9::sentry
