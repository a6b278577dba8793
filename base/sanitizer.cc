#include "base/sanitizer.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#include <sanitizer/common_interface_defs.h>

#include "base/log.h"

namespace run9::sanitizer {
namespace {

bool g_jailed = false;  // set once, while there is one thread

}  // namespace

void report_to(int fd) {
  __sanitizer_set_report_fd(reinterpret_cast<void*>(static_cast<intptr_t>(fd)));
}

void before_jail() {
  g_jailed = true;
  __sanitizer_sandbox_arguments arguments{};
  __sanitizer_sandbox_on_notify(&arguments);
}

void announce() { log_info("built with sanitizers: the seccomp list is longer than it should be; not for use"); }

}  // namespace run9::sanitizer

// The library asks for these by name. Options are here and not in the environment, since confined processes are
// started without one. A process ends at the first finding, so that a test sees it.
extern "C" {
const char* __ubsan_default_options() { return "print_stacktrace=1"; }
const char* __tsan_default_options() { return "halt_on_error=1:second_deadlock_stack=1"; }
int __lsan_is_turned_off() { return run9::sanitizer::g_jailed; }
}
#endif
