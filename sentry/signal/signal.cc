#include "sentry/signal/signal.h"

#include <bit>

namespace run9::sentry {

DefaultAction default_action(int sig) {
  switch (sig) {
    case SIGCHLD: case SIGURG: case SIGWINCH:
      return DefaultAction::kIgnore;
    case SIGCONT:
      return DefaultAction::kContinue;
    case SIGSTOP: case SIGTSTP: case SIGTTIN: case SIGTTOU:
      return DefaultAction::kStop;
    case SIGQUIT: case SIGILL: case SIGABRT: case SIGFPE: case SIGSEGV: case SIGBUS: case SIGSYS:
    case SIGTRAP: case SIGXCPU: case SIGXFSZ:
      return DefaultAction::kCore;
    default:
      return DefaultAction::kTerminate;
  }
}

bool PendingSignals::add(const SigInfo& info, size_t limit) {
  const bool standard = info.signo < 32;
  if (standard && set_.has(info.signo)) return false;
  if (!standard && queue_.size() >= limit) return false;
  set_.add(info.signo);
  queue_.push_back(info);
  return true;
}

std::optional<SigInfo> PendingSignals::take(SignalSet wanted) {
  const SignalSet ready = set_ & wanted;
  if (ready.empty()) return {};
  constexpr SignalSet kSynchronous{SignalSet::of(SIGSEGV).bits | SignalSet::of(SIGBUS).bits |
                                   SignalSet::of(SIGILL).bits | SignalSet::of(SIGTRAP).bits |
                                   SignalSet::of(SIGFPE).bits | SignalSet::of(SIGSYS).bits};
  const SignalSet first = (ready & kSynchronous).empty() ? ready : ready & kSynchronous;
  const int sig = std::countr_zero(first.bits) + 1;
  std::optional<SigInfo> out;
  bool more = false;
  for (auto it = queue_.begin(); it != queue_.end();) {
    if (it->signo == sig && !out) {
      out = *it;
      it = queue_.erase(it);
    } else {
      more |= it->signo == sig;
      ++it;
    }
  }
  if (!more) set_.remove(sig);
  return out;
}

SigInfo* PendingSignals::find_timer(int signo, int32_t timerid) {
  for (auto& i : queue_) {
    if (i.signo == signo && i.code == SI_TIMER && i.timer.timerid == timerid) return &i;
  }
  return nullptr;
}

void PendingSignals::discard(SignalSet which) {
  set_ = set_ & ~which;
  std::erase_if(queue_, [&](const SigInfo& i) { return which.has(i.signo); });
}

}  // namespace run9::sentry
