// epoll(7). An Epoll keeps an item for each (file, descriptor) it watches; an item's Waiter puts it on the ready
// list, so a wait looks at those items only. Items refer to files weakly and go when the file is gone.
#pragma once
#include <sys/epoll.h>

#include <list>
#include <map>
#include <memory>
#include <vector>

#include "base/wait_queue.h"
#include "sentry/task/fd_table.h"
#include "vfs/file.h"

namespace run9::sentry {

class Epoll final : public vfs::File {
 public:
  Epoll(vfs::Path path) : File(std::move(path), O_RDWR) {}
  Result<void> add(vfs::OpContext&, GuestFd fd, const vfs::FileRef& file, const epoll_event& event);
  Result<void> modify(vfs::OpContext&, GuestFd fd, const vfs::FileRef& file, const epoll_event& event);
  Result<void> remove(GuestFd fd, const vfs::FileRef& file);
  // Up to `max` events that hold now; rearms, disarms and drops items as their flags say.
  std::vector<epoll_event> collect(vfs::OpContext&, size_t max);

  bool is_stream() const override { return true; }
  Result<size_t> read(vfs::OpContext&, std::span<std::byte>) override { return Errno{EINVAL}; }
  Result<size_t> write(vfs::OpContext&, ByteSpan) override { return Errno{EINVAL}; }
  uint32_t poll(vfs::OpContext&) override;
  WaitQueue* wait_queue() override { return &queue_; }
  std::string fdinfo() const override;

 private:
  struct Item final : Waiter {
    explicit Item(Epoll& owner) : owner(owner) {}
    void on_notify(uint32_t) override { owner.make_ready(*this); }
    Epoll& owner;
    std::weak_ptr<vfs::File> file;
    int fd = -1;
    epoll_event event{};
    bool ready = false;
    std::list<Item*>::iterator at;
    std::pair<const vfs::File*, int> key;
  };
  using Key = std::pair<const vfs::File*, int>;
  void make_ready(Item& item);
  void unready(Item& item);
  void erase(Item& item);
  void watch(vfs::OpContext&, Item& item, vfs::File& file);
  void sweep();
  // ELOOP if this is reached from `target`, or nesting gets too deep.
  Result<void> check_nesting(Epoll& target, int depth) const;

  std::map<Key, std::unique_ptr<Item>> items_;
  std::list<Item*> ready_;
  size_t sweep_at_ = 64;
  WaitQueue queue_;
};

}  // namespace run9::sentry
