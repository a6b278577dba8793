// System V IPC objects of a sandbox (svipc(7)): shared memory segments, semaphore sets, message queues.
#pragma once
#include <sys/ipc.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "base/wait_queue.h"
#include "vfs/context.h"

namespace run9::sentry {

struct SysvObject {
  int32_t key = 0, id = 0;
  uint32_t uid = 0, gid = 0, creator_uid = 0, creator_gid = 0, mode = 0;
  int64_t changed = 0;  // ctime, seconds
  bool removed = false;

  void init(const vfs::OpContext& ctx, int32_t object_key, int flags);
  ipc_perm permissions() const;
  // ipcperms(): `mask` of 4 (read) and 2 (write).
  Result<void> check(const vfs::OpContext& ctx, uint32_t mask) const;
  bool owned_by(const vfs::OpContext& ctx) const;  // may change and remove it
  void set(const vfs::OpContext& ctx, const ipc_perm& p);  // IPC_SET
};

struct ShmSegment : SysvObject {
  std::shared_ptr<UniqueFd> memory;
  uint64_t size = 0;
  int32_t creator_pid = 0, last_pid = 0;
  int64_t attached = 0, detached = 0;
};

struct SemaphoreSet : SysvObject {
  static constexpr int kMaxValue = 32767;
  struct Semaphore {
    int value = 0;
    int32_t pid = 0;
    int waiting_more = 0, waiting_zero = 0;
  };
  std::vector<Semaphore> all;
  std::map<int32_t, std::vector<int>> undo;  // SEM_UNDO: by process, what its end adds to each
  int64_t operated = 0;
  WaitQueue queue;
};

struct MessageQueue : SysvObject {
  struct Message {
    int64_t type;
    std::string text;
  };
  std::deque<Message> messages;
  uint64_t bytes = 0, max_bytes = 16384;
  int32_t send_pid = 0, receive_pid = 0;
  int64_t sent = 0, received = 0;
  WaitQueue queue;
};

// Objects of one kind. A removed segment lives on while it is attached: the table then refers to it weakly.
template <typename T>
class SysvTable {
 public:
  std::shared_ptr<T> find(int32_t id) const {
    const auto it = objects_.find(id);
    return it == objects_.end() ? nullptr : it->second.object.lock();
  }
  std::shared_ptr<T> by_key(int32_t key) const {
    for (const auto& [id, slot] : objects_) {
      if (slot.owner != nullptr && slot.owner->key == key) return slot.owner;
    }
    return nullptr;
  }
  void add(std::shared_ptr<T> object) {
    std::erase_if(objects_, [](const auto& o) { return o.second.object.expired(); });
    object->id = next_id_++;
    objects_[object->id] = {object, object};
  }
  void remove(T& object) {
    object.removed = true;
    objects_[object.id].owner.reset();
  }
  size_t size() const { return objects_.size(); }
  template <typename F>
  void for_each(F f) {
    for (auto& [id, slot] : objects_) {
      if (slot.owner != nullptr) f(*slot.owner);
    }
  }
  // References the table itself holds.
  long owners(int32_t id) const {
    const auto it = objects_.find(id);
    return it != objects_.end() && it->second.owner != nullptr ? 1 : 0;
  }

 private:
  struct Slot {
    std::shared_ptr<T> owner;
    std::weak_ptr<T> object;
  };
  std::map<int32_t, Slot> objects_;
  int32_t next_id_ = 0;
};

class SysvTables {
 public:
  // exit_sem(): undoes what the process did with SEM_UNDO.
  void process_exited(int32_t pid);
  SysvTable<ShmSegment> segments;
  SysvTable<SemaphoreSet> semaphores;
  SysvTable<MessageQueue> queues;
};

// shmget, semget, msgget: the object of `key`, or a new one that make() fills. check() sees an existing one.
template <typename T, typename Check, typename Make>
Result<uint64_t> sysv_get(vfs::OpContext& ctx, SysvTable<T>& table, int32_t key, int flags, Check check,
                          Make make) {
  constexpr size_t kMaxObjects = 32000;
  if (key != IPC_PRIVATE) {
    if (auto found = table.by_key(key)) {
      if ((flags & IPC_CREAT) != 0 && (flags & IPC_EXCL) != 0) return Errno{EEXIST};
      const uint32_t bits = static_cast<uint32_t>(flags);
      TRY(found->check(ctx, ((bits >> 6) | (bits >> 3) | bits) & 6));
      TRY(check(*found));
      return static_cast<uint64_t>(found->id);
    }
    if ((flags & IPC_CREAT) == 0) return Errno{ENOENT};
  }
  if (table.size() >= kMaxObjects) return Errno{ENOSPC};
  auto object = std::make_shared<T>();
  TRY(make(*object));
  object->init(ctx, key, flags);
  table.add(object);
  return static_cast<uint64_t>(object->id);
}

template <typename T>
Result<std::shared_ptr<T>> sysv_find(SysvTable<T>& table, int32_t id) {
  auto object = table.find(id);
  if (object == nullptr) return Errno{EINVAL};
  return object;
}

}  // namespace run9::sentry
