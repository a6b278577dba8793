#include "sentry/ipc/epoll.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>

namespace run9::sentry {
namespace {

constexpr int kMaxNesting = 4;  // EP_MAX_NESTS
// EPOLLEXCLUSIVE is allowed with these alone.
constexpr uint32_t kExclusiveBits =
    EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;
// Bits that are not events; what is left of a one-shot item that fired.
constexpr uint32_t kFlagBits = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE;

// ERR and HUP are always told, even to one who asks for nothing (do_epoll_ctl).
epoll_event with_errors(epoll_event e) {
  e.events |= EPOLLERR | EPOLLHUP;
  return e;
}

bool disarmed(const epoll_event& e) { return (e.events & ~kFlagBits) == 0; }

}  // namespace

void Epoll::make_ready(Item& item) {
  if (disarmed(item.event)) return;
  if (!item.ready) {
    item.at = ready_.insert(ready_.end(), &item);
    item.ready = true;
  }
  queue_.notify(POLLIN | POLLRDNORM);
}

void Epoll::unready(Item& item) {
  if (!item.ready) return;
  ready_.erase(item.at);
  item.ready = false;
}

void Epoll::erase(Item& item) {
  unready(item);
  items_.erase(item.key);
}

void Epoll::watch(vfs::OpContext& ctx, Item& item, vfs::File& file) {
  item.unlink();
  // A one-shot item that fired has nothing to wait for; ERR and HUP are always added.
  const uint32_t interest = item.event.events & ~kFlagBits;
  if ((item.event.events & EPOLLEXCLUSIVE) != 0) {
    file.wait_queue()->add_exclusive(item, interest);
  } else {
    file.wait_queue()->add(item, interest);
  }
  if ((file.poll(ctx) & (interest | POLLERR | POLLHUP)) != 0) make_ready(item);
}

Result<void> Epoll::check_nesting(Epoll& target, int depth) const {
  if (&target == this || depth > kMaxNesting) return Errno{ELOOP};
  for (const auto& [key, item] : target.items_) {
    const auto file = item->file.lock();
    if (auto* e = dynamic_cast<Epoll*>(file.get())) TRY(check_nesting(*e, depth + 1));
  }
  return ok();
}

// Items of files that are gone and will never notify.
void Epoll::sweep() {
  for (auto it = items_.begin(); it != items_.end();) {
    Item& item = *it->second;
    ++it;
    if (item.file.expired()) erase(item);
  }
  sweep_at_ = std::max<size_t>(64, items_.size() * 2);
}

Result<void> Epoll::add(vfs::OpContext& ctx, GuestFd fd, const vfs::FileRef& file,
                        const epoll_event& event) {
  if (file->wait_queue() == nullptr) return Errno{EPERM};
  auto* nested = dynamic_cast<Epoll*>(file.get());
  if ((event.events & EPOLLEXCLUSIVE) != 0 &&
      (nested != nullptr || (event.events & ~kExclusiveBits) != 0)) {
    return Errno{EINVAL};
  }
  if (nested != nullptr) TRY(check_nesting(*nested, 1));
  const Key key{file.get(), to_int(fd)};
  if (auto it = items_.find(key); it != items_.end()) {
    if (!it->second->file.expired()) return Errno{EEXIST};
    erase(*it->second);  // a file of the past at the same address
  }
  if (items_.size() >= sweep_at_) sweep();
  auto item = std::make_unique<Item>(*this);
  item->file = file;
  item->fd = to_int(fd);
  item->event = with_errors(event);
  item->key = key;
  Item& added = *item;
  items_[key] = std::move(item);
  watch(ctx, added, *file);
  return ok();
}

Result<void> Epoll::modify(vfs::OpContext& ctx, GuestFd fd, const vfs::FileRef& file,
                           const epoll_event& event) {
  const auto it = items_.find({file.get(), to_int(fd)});
  if (it == items_.end()) return Errno{ENOENT};
  Item& item = *it->second;
  if (((item.event.events | event.events) & EPOLLEXCLUSIVE) != 0) return Errno{EINVAL};
  item.event = with_errors(event);
  watch(ctx, item, *file);
  return ok();
}

Result<void> Epoll::remove(GuestFd fd, const vfs::FileRef& file) {
  const auto it = items_.find({file.get(), to_int(fd)});
  if (it == items_.end()) return Errno{ENOENT};
  erase(*it->second);
  return ok();
}

std::vector<epoll_event> Epoll::collect(vfs::OpContext& ctx, size_t max) {
  std::vector<epoll_event> out;
  for (size_t left = ready_.size(); left > 0 && out.size() < max && !ready_.empty(); --left) {
    Item& item = *ready_.front();
    unready(item);
    const auto file = item.file.lock();
    if (file == nullptr) {
      erase(item);
      continue;
    }
    if (disarmed(item.event)) continue;
    const uint32_t wanted = (item.event.events & ~kFlagBits) | POLLERR | POLLHUP;
    const uint32_t bits = file->poll(ctx) & wanted;
    if (bits == 0) continue;
    epoll_event e = item.event;
    e.events = bits;
    out.push_back(e);
    if ((item.event.events & EPOLLONESHOT) != 0) {
      item.event.events &= kFlagBits;
    } else if ((item.event.events & EPOLLET) == 0 && !item.ready) {
      // Level-triggered: looked at again, behind the others.
      item.at = ready_.insert(ready_.end(), &item);
      item.ready = true;
    }
  }
  return out;
}

uint32_t Epoll::poll(vfs::OpContext& ctx) {
  for (auto it = ready_.begin(); it != ready_.end();) {
    Item& item = **it;
    ++it;
    const auto file = item.file.lock();
    if (file == nullptr) {
      erase(item);
      continue;
    }
    const uint32_t wanted = (item.event.events & ~kFlagBits) | POLLERR | POLLHUP;
    if (!disarmed(item.event) && (file->poll(ctx) & wanted) != 0) return POLLIN | POLLRDNORM;
    unready(item);
  }
  return 0;
}

std::string Epoll::fdinfo() const {
  std::string out;
  for (const auto& [key, item] : items_) {
    if (item->file.expired()) continue;
    out += fmt::format("tfd: {:8d} events: {:8x} data: {:16x} \n", item->fd,
                       uint32_t{item->event.events}, uint64_t{item->event.data.u64});
  }
  return out;
}

}  // namespace run9::sentry
