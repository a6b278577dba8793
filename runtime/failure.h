// Expected<T>: a value, or one line for the person at the keyboard. The runtime's errors are read by
// people (and by containerd's log), so they carry text: what failed, why, and what to do about it.
#pragma once
#include <fmt/format.h>

#include <string>
#include <utility>

#include "base/log.h"
#include "base/result.h"

namespace run9::runtime {

struct Failure {
  std::string text;
};

template <typename T>
using Expected = outcome::basic_result<T, Failure, outcome::policy::terminate>;

template <typename... A>
Failure fail(fmt::format_string<A...> f, A&&... args) {
  return Failure{fmt::format(f, std::forward<A>(args)...)};
}

// A host call's Errno with the sentence it belongs to: "opening /x: ENOENT (...)".
template <typename T, typename... A>
Expected<T> explain(Result<T> r, fmt::format_string<A...> f, A&&... args) {
  if (r.has_value()) {
    if constexpr (std::is_void_v<T>) {
      return ok();
    } else {
      return std::move(r).assume_value();
    }
  }
  return Failure{fmt::format(f, std::forward<A>(args)...) + ": " + describe(r.error())};
}

// For host calls that answer -1: `check(mkdir(..), "making {}", path)`.
template <typename... A>
Expected<int> check(int result, fmt::format_string<A...> f, A&&... args) {
  if (result >= 0) return result;
  const Errno e = last_errno();
  return Failure{fmt::format(f, std::forward<A>(args)...) + ": " + describe(e)};
}

}  // namespace run9::runtime
