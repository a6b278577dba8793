#include "sentry/syscalls/fd_owner.h"

#include <poll.h>

#include "sentry/task/kernel.h"

namespace run9::sentry {

class FileOwners::Listener final : public Waiter {
 public:
  Listener(FileOwners& owners, const vfs::File& file) : owners_(owners), file_(file) {}
  void on_notify(uint32_t events) override { owners_.send(owners_.get(file_), events); }

 private:
  FileOwners& owners_;
  const vfs::File& file_;  // the queue we are in is its, or dies with it
};

FileOwners::FileOwners(Kernel& kernel) : kernel_(kernel) {}
FileOwners::~FileOwners() = default;

FileOwners::Owner FileOwners::get(const vfs::File& file) const {
  auto it = entries_.find(&file);
  if (it == entries_.end() || it->second.file.expired()) return {};
  return it->second.owner;
}

FileOwners::Owner& FileOwners::edit(const vfs::FileRef& file) {
  auto it = entries_.find(file.get());
  if (it == entries_.end() || it->second.file.expired()) {
    std::erase_if(entries_, [](const auto& e) { return e.second.file.expired(); });
    it = entries_.insert_or_assign(file.get(), Entry{file, {}, nullptr}).first;
  }
  return it->second.owner;
}

void FileOwners::set_async(const vfs::FileRef& file, bool on) {
  if (!on) {
    if (auto it = entries_.find(file.get()); it != entries_.end()) it->second.listener.reset();
    return;
  }
  WaitQueue* queue = file->wait_queue();
  if (queue == nullptr) return;
  edit(file);
  auto& listener = entries_[file.get()].listener;
  if (listener != nullptr) return;
  listener = std::make_unique<Listener>(*this, *file);
  // Both ends of a pipe share a queue: each side hears of its own direction.
  queue->add(*listener, (file->readable() ? POLLIN | POLLPRI : 0u) |
                            (file->writable() ? POLLOUT : 0u));
}

void FileOwners::send(const Owner& owner, uint32_t events) {
  if (owner.id == 0) return;
  SigInfo info = SigInfo::kernel(SIGIO);
  if (owner.signal != 0) {
    info = SigInfo();
    info.signo = owner.signal;
    info.code = (events & POLLHUP) != 0   ? POLL_HUP
                : (events & POLLERR) != 0 ? POLL_ERR
                : (events & POLLPRI) != 0 ? POLL_PRI
                : (events & POLLIN) != 0  ? POLL_IN
                                          : POLL_OUT;
    info.poll.band = events;
    info.poll.fd = owner.fd;
  }
  // Nobody there any more: nothing to tell.
  if (owner.type == F_OWNER_TID) {
    Task* task = kernel_.find_task(owner.id);
    if (task != nullptr) (void)kernel_.send_task_signal(*task, info).has_value();
  } else if (owner.type == F_OWNER_PID) {
    auto process = kernel_.find_process(owner.id);
    if (process != nullptr) (void)kernel_.send_signal(*process, info).has_value();
  } else {
    (void)kernel_.send_group_signal(owner.id, info).has_value();
  }
}

}  // namespace run9::sentry
