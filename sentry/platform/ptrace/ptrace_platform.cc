// PtracePlatform: the stops and deaths of stub threads.
#include "sentry/platform/ptrace/ptrace_platform.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

namespace run9::sentry::ptrace {

Result<std::unique_ptr<PtracePlatform>> PtracePlatform::create(EventLoop& loop, EventSink& sink) {
  std::unique_ptr<PtracePlatform> p(new PtracePlatform(loop, sink));
  sigset_t chld;
  sigemptyset(&chld);
  sigaddset(&chld, SIGCHLD);
  sigprocmask(SIG_BLOCK, &chld, nullptr);
  p->children_ = TRY(take_fd(signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK)));
  TRY(loop.watch(p->children_.borrow(), EPOLLIN, *p));
  TRY(p->start_template());
  return p;
}

PtracePlatform::~PtracePlatform() {
  template_.reset();
  if (children_.valid()) loop_.unwatch(children_.borrow());
}

Result<AddressSpaceRef> PtracePlatform::create_address_space() {
  return AddressSpaceRef(TRY(template_->fork_agent()));
}

bool PtracePlatform::poll() {
  if (running_ == 0 && !tracer_.has_kept()) return false;
  return collect();
}

bool PtracePlatform::collect() {
  bool any = false;
  while (const auto change = tracer_.next()) {
    dispatch(*change);
    any = true;
  }
  return any;
}

void PtracePlatform::on_ready(uint32_t) {
  signalfd_siginfo info[16];
  while (::read(children_.get(), info, sizeof info) > 0) {
  }
  collect();
}

void PtracePlatform::dispatch(const Tracer::Change& change) {
  const auto [tid, status] = change;
  if (const auto c = contexts_.find(tid); c != contexts_.end()) {
    const std::shared_ptr<PtraceSpace> keep = c->second->space_;
    return c->second->on_change(status);
  }
  const bool ended = !WIFSTOPPED(status);
  if (ending_.contains(tid)) {
    if (ended) {
      ending_.erase(tid);
    } else {
      // A kick was on its way; it exits now.
      ::ptrace(PTRACE_CONT, tid, nullptr, nullptr);
    }
    return;
  }
  const auto s = spaces_.find(tid);
  if (s == spaces_.end() || !ended) return;
  log_debug("stub {} ended, wait status {:#x}", tid, status);
  s->second->process_died();
  spaces_.erase(s);
}

}  // namespace run9::sentry::ptrace
