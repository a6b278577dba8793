// inotify(7): watches on inodes, and the queue of what they saw.
#pragma once
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/wait_queue.h"
#include "vfs/file.h"
#include "vfs/watch.h"

namespace run9::sentry {

class InotifyFile final : public vfs::File {
 public:
  InotifyFile(vfs::Path path, uint32_t flags);
  ~InotifyFile() override;
  // mask: IN_* with the flags of inotify_add_watch(2). Gives the watch descriptor.
  Result<int32_t> add(vfs::OpContext& ctx, const vfs::Path& at, uint32_t mask);
  Result<void> remove(int32_t wd);

  bool is_stream() const override { return true; }
  Result<size_t> read(vfs::OpContext&, std::span<std::byte> dst) override;
  uint32_t poll(vfs::OpContext&) override;
  WaitQueue* wait_queue() override { return &queue_; }
  Result<uint64_t> ioctl(vfs::OpContext&, uint32_t request, uint64_t arg) override;
  std::string fdinfo() const override;

 private:
  struct Event {
    int32_t wd = -1;
    uint32_t mask = 0, cookie = 0;
    std::string name;
    bool operator==(const Event&) const = default;
    size_t size() const;
  };
  class Watch;
  void queue(Event e);
  void catch_up();  // with what somebody else sees
  void saw(Watch& watch, const vfs::WatchEvent& e);
  void drop(int32_t wd);  // the watch is over: IN_IGNORED

  std::map<int32_t, std::unique_ptr<Watch>> watches_;
  // Who else tells its watches of events.
  struct Outer {
    vfs::FileSystemRef fs;
    vfs::OuterEvents* events;
  };
  std::vector<Outer> outer_;
  int32_t last_wd_ = 0;
  std::deque<Event> events_;
  WaitQueue queue_;
};

}  // namespace run9::sentry
