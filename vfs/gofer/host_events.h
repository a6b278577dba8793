// HostEvents: what happens to watched inodes of a tree that others change, as the host's inotify tells it: their changes, and
// ours, which go through the host as well. The gofer adds the watches, and we read the events.
//
// Owned by GoferFs. A watch lasts as long as its inode is known.
#pragma once
#include <functional>
#include <memory>
#include <unordered_map>

#include "vfs/gofer/wire.h"
#include "vfs/watch.h"

namespace run9::vfs::gofer {

class HostEvents final : public OuterEvents {
 public:
  using OnReadable = std::function<std::shared_ptr<void>(BorrowedFd, std::function<void()>)>;
  HostEvents(Wire& wire, OnReadable on_readable) : wire_(wire), on_readable_(std::move(on_readable)) {}

  Result<void> begin(OpContext&, Inode&) override;
  void catch_up() override;

 private:
  void read_events();
  void pass_on(int watch, uint32_t mask, uint32_t cookie, std::string_view name);

  Wire& wire_;
  const OnReadable on_readable_;
  UniqueFd events_;                 // none until the first watch
  std::shared_ptr<void> readable_;  // goes before the descriptor
  std::unordered_map<int, std::weak_ptr<Inode>> watched_;
  bool reading_ = false;  // whom we tell may ask for what we are about to tell
};

}  // namespace run9::vfs::gofer
