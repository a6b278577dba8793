#include "sentry/ipc/aio.h"

#include "sentry/mm/memory_manager.h"

namespace run9::sentry {

uint64_t AioContexts::events() {
  std::erase_if(spaces_, [](const auto& s) { return s.first.expired(); });
  uint64_t n = 0;
  for (const auto& [memory, space] : spaces_) n += space.events;
  return n;
}

Result<void> AioContexts::add(const MemoryManagerRef& memory, uint64_t id, uint32_t room) {
  destroy(memory, id);
  if (!have_room_for(room)) return Errno{EAGAIN};
  auto context = std::make_shared<AioContext>();
  context->room = room;
  Space& space = spaces_[memory];
  space.events += room;
  space.contexts.emplace(id, std::move(context));
  return ok();
}

AioContextRef AioContexts::find(const MemoryManagerRef& memory, uint64_t id) const {
  const auto space = spaces_.find(memory);
  if (space == spaces_.end()) return nullptr;
  const auto context = space->second.contexts.find(id);
  return context == space->second.contexts.end() ? nullptr : context->second;
}

bool AioContexts::destroy(const MemoryManagerRef& memory, uint64_t id) {
  const auto context = find(memory, id);
  if (context == nullptr) return false;
  Space& space = spaces_.find(memory)->second;
  space.events -= context->room;
  space.contexts.erase(id);
  context->destroyed = true;
  context->queue.notify_all();
  return true;
}

}  // namespace run9::sentry
