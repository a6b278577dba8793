#include "sentry/platform/platforms.h"

#include "sentry/platform/ptrace/ptrace_platform.h"
#include "sentry/platform/trap/trap_platform.h"

namespace run9::sentry {
namespace {

struct Row {
  std::string_view name;
  Result<std::unique_ptr<Platform>> (*make)(EventLoop&, EventSink&);
};

template <typename P>
Result<std::unique_ptr<Platform>> make(EventLoop& loop, EventSink& sink) {
  auto p = P::create(loop, sink);
  if (!p.has_value()) return p.error();
  return std::unique_ptr<Platform>(std::move(p).value());
}

constexpr Row kPlatforms[] = {{"trap", make<trap::TrapPlatform>}, {"ptrace", make<ptrace::PtracePlatform>}};

}  // namespace

std::string platform_names() {
  std::string out;
  for (const Row& r : kPlatforms) out += (out.empty() ? "" : ", ") + std::string(r.name);
  return out;
}

Result<std::unique_ptr<Platform>> make_platform(std::string_view name, EventLoop& loop, EventSink& sink) {
  for (const Row& r : kPlatforms) {
    if (r.name == name) return r.make(loop, sink);
  }
  return Errno{EINVAL};
}

}  // namespace run9::sentry
