// fork of a memory manager: the host copies the pages, we copy the list, both under one lock.
#include <mutex>

#include "sentry/mm/memory_manager.h"
#include "sentry/task/kernel.h"
#include "sentry/task/task.h"

namespace run9::sentry {

Result<MemoryManager::Forked> MemoryManager::fork(Task& task, const Regs& regs) {
  // The child may write all of it, and the host would give it the memory for that.
  if (!kernel_.memory_available(charged_)) return Errno{ENOMEM};
  const std::lock_guard lock(mutex_);
  TRY(give_back(0, kGuestEnd));
  auto child = TRY(space_->fork(task.context(), regs));
  return Forked{clone_for(child.space), std::move(child.context)};
}

}  // namespace run9::sentry
