// Result<T>: a value or an Errno; basic_result itself is [[nodiscard]]. TRY(expr) gives the value or returns the error to our caller.
#pragma once
#include <boost/outcome/basic_result.hpp>
#include <boost/outcome/policy/terminate.hpp>

#include "base/errno.h"

namespace run9 {

namespace outcome = BOOST_OUTCOME_V2_NAMESPACE;

template <typename T>
using Result = outcome::basic_result<T, Errno, outcome::policy::terminate>;

inline auto ok() { return outcome::success(); }

}  // namespace run9

// Statement expressions: one evaluation, and it works for Result<void> too.
#define TRY(...)                                                     \
  __extension__({                                                    \
    auto&& try_result_ = (__VA_ARGS__);                              \
    if (!try_result_.has_value()) return try_result_.error();        \
    std::forward<decltype(try_result_)>(try_result_).assume_value(); \
  })
