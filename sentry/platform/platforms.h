// The platforms there are. To add one: its folder, and a row in platforms.cc.
#pragma once
#include <string>
#include <string_view>

#include "sentry/platform/platform.h"
#include "sentry/sched/event_loop.h"

namespace run9::sentry {

std::string platform_names();  // "trap, ptrace", for messages
// EINVAL for a name that is not there. Before the Sentry's seccomp filter.
Result<std::unique_ptr<Platform>> make_platform(std::string_view name, EventLoop& loop, EventSink& sink);

}  // namespace run9::sentry
