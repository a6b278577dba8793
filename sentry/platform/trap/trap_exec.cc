// TrapSpace, one program after another in the same host process: an exec's, in the place of its caller; and any, where one is over.
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "sentry/platform/trap/agent_commands.h"
#include "sentry/platform/trap/trap_platform.h"

namespace run9::sentry::trap {

// A thread that is still on its way out may write where it said that it would (kClearTid).
bool TrapSpace::others_gone() const {
  return std::ranges::all_of(free_slots_, [this](uint32_t slot) { return __atomic_load_n(&page(slot).alive, __ATOMIC_ACQUIRE) == 0; });
}

bool TrapSpace::is_only_thread(const Context& context) const {
  return !dead_ && contexts_.size() == 1 && contexts_.begin()->second == &context && others_gone();
}

bool TrapSpace::can_start_over(const Context& context) const { return is_only_thread(context) && files_taken(); }

OwnMemory* TrapSpace::own_memory(const Context& only) { return is_only_thread(only) ? &own_words() : nullptr; }

Result<void> TrapSpace::start_over(std::span<const MapRequest> list) {
  set_locked(false);
  header().futex_waiters = 0;
  own_words() = OwnMemory{};
  patched_.clear();
  return map_patched(nullptr, list, {without_rings({unmap_all()}), {}}, Then::kWakeCaller);
}

std::vector<Command> TrapSpace::without_rings(std::vector<Command> commands) {
  if (rings_.any_taken()) commands.push_back(command(__NR_munmap, STUB_RINGS, STUB_RINGS_COUNT * STUB_RING_STRIDE));
  rings_.restart();
  memset(header().rings, 0, sizeof header().rings);
  return commands;
}

// The process's first thread is its agent (a guest's that ends would stay as a zombie), and has no list.
bool TrapSpace::may_be_succeeded() const {
  if (pid_ == 0 || agent_tid_ != pid_ || killed_ || running_ > 0 || agent_mutex_.locked() || contexts_.size() != 1) return false;
  const TrapContext& thread = *contexts_.begin()->second;
  return !thread.gone_ && thread.report_waiter_ == nullptr && others_gone() && files_taken();
}

// The host clears `alive` some time before the thread is no longer one of its process.
bool TrapSpace::vacant() const {
  return contexts_.empty() && others_gone() && platform_.by_pid_.contains(pid_) && !has_thread(first_tid_);
}

bool TrapSpace::has_thread(int tid) const { return syscall(SYS_tgkill, pid_, tid, 0) == 0; }

std::shared_ptr<TrapSpace> TrapSpace::succeed() {
  if (!TrapPlatform::renew_control(memory_, next_slot_)) return nullptr;
  auto& commands = static_cast<CommandPage*>(memory_.commands.data())->commands;
  memset(commands, 0, sizeof commands);
  platform_.wakes().withdraw(&page(0), &page(STUB_SLOTS));
  platform_.loop_.unwatch(socket_.borrow());
  auto next = std::make_shared<TrapSpace>(platform_, StubSockets{std::move(socket_), std::move(files_)}, std::move(memory_), std::move(sleep_));
  next->pid_ = next->agent_tid_ = std::exchange(pid_, 0);
  next->agent_cpus_ = agent_cpus_;
  next->next_slot_ = next_slot_;
  next->rings_ = rings_;
  next->rings_.all_left();
  next->needs_thread_ = true;
  next->cpu_before_ns_ = next->cpu_time_ns();
  platform_.by_pid_[next->pid_] = next.get();
  return next;
}

}  // namespace run9::sentry::trap
