// fork of a memory manager: the host copies the pages, we copy the list, both under one lock.
#include "sentry/mm/memory_manager.h"
#include "sentry/task/kernel.h"
#include "sentry/task/task.h"

namespace run9::sentry {

Result<MemoryManager::Forked> MemoryManager::fork(Task& task, const Regs& regs) {
  // The child may write all of it, and the host would give it the memory for that.
  if (!kernel_.memory_available(charged_)) return Errno{ENOMEM};
  mutex_.lock();
  auto child = space_->fork(task.context(), regs);
  if (!child.has_value()) {
    mutex_.unlock();
    return child.error();
  }
  Forked out{clone_for(child.value().space), std::move(child.value().context)};
  mutex_.unlock();
  return out;
}

}  // namespace run9::sentry
