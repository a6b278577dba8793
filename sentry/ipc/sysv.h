// System V IPC objects of a sandbox (svipc(7)): shared memory segments, semaphore sets, message queues.
#pragma once
#include <sys/ipc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
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

  uint64_t charge() const { return 0; }  // what counts against a limit of all objects of a kind
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
  uint64_t mapped_size() const;  // whole pages
  uint64_t charge() const { return mapped_size(); }
  uint64_t resident_size() const;
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
  uint64_t charge() const { return all.size(); }
};

struct MessageQueue : SysvObject {
  struct Message {
    int64_t type;
    std::string text;
  };
  std::deque<Message> messages;
  uint64_t bytes = 0, max_bytes = 0;
  int32_t send_pid = 0, receive_pid = 0;
  int64_t sent = 0, received = 0;
  WaitQueue queue;
};

// Objects of one kind. As in Linux an id is an index, and above it a number that changes when indexes are used again.
// A removed segment keeps its index while it is attached: the table then refers to it weakly.
template <typename T>
class SysvTable {
 public:
  static constexpr int32_t kIndexes = 32768;  // IPCMNI

  std::shared_ptr<T> find(int32_t id) const {
    auto object = at_index(id);
    return object != nullptr && object->id == id ? object : nullptr;
  }
  std::shared_ptr<T> at_index(int32_t id) const {
    const auto it = objects_.find(id % kIndexes);
    return it == objects_.end() ? nullptr : it->second.object.lock();
  }
  std::shared_ptr<T> by_key(int32_t key) const {
    const auto it = keys_.find(key);
    return it == keys_.end() ? nullptr : objects_.at(it->second).owner;
  }
  // The caller has seen to it that size() < kIndexes.
  void add(std::shared_ptr<T> object) {
    const int32_t index = free_index();
    if (index <= last_) sequence_ = (sequence_ + 1) % (INT32_MAX / kIndexes);
    last_ = index;
    object->id = sequence_ * kIndexes + index;
    if (object->key != IPC_PRIVATE) keys_[object->key] = index;
    charged_ += object->charge();
    objects_[index] = {object, object, object->charge()};
  }
  // Who waits in it finds it removed.
  void remove(T& object) {
    disown(object);
    free(disowned_.back());
    disowned_.pop_back();
  }
  // The same, but it lives on, without its key, while somebody has it attached.
  void disown(T& object) {
    object.removed = true;
    disowned_.push_back(object.id % kIndexes);
    objects_.at(disowned_.back()).owner.reset();
    if (object.key != IPC_PRIVATE) keys_.erase(object.key);
  }
  size_t size() {
    free_expired();
    return objects_.size();
  }
  // The sum of what all objects are charged for.
  uint64_t charged() {
    free_expired();
    return charged_;
  }
  // Of those that are used; 0 if none is.
  uint64_t highest_index() { return size() == 0 ? 0 : static_cast<uint64_t>(objects_.rbegin()->first); }
  template <typename F>
  void for_each(F f) {
    for (auto& [index, slot] : objects_) {
      if (slot.owner != nullptr) f(*slot.owner);
    }
  }
  // What was disowned, too.
  template <typename F>
  void for_each_index(F f) const {
    for (const auto& [index, slot] : objects_) {
      if (const auto object = slot.object.lock()) f(object);
    }
  }
  // References the table itself holds.
  long owners(int32_t id) const {
    const auto it = objects_.find(id % kIndexes);
    return it != objects_.end() && it->second.owner != nullptr ? 1 : 0;
  }

 private:
  struct Slot {
    std::shared_ptr<T> owner;
    std::weak_ptr<T> object;
    uint64_t charge;
  };
  void free(int32_t index) {
    charged_ -= objects_.at(index).charge;
    objects_.erase(index);
  }
  void free_expired() {
    std::erase_if(disowned_, [&](int32_t index) {
      if (!objects_.at(index).object.expired()) return false;
      free(index);
      return true;
    });
  }
  // ipc_idr_alloc(): goes on behind the last one, and round before they are many.
  int32_t free_index() {
    const int32_t used = static_cast<int32_t>(size());
    const int32_t end = std::clamp(used * 3 / 2, 64, kIndexes);
    int32_t index = last_;
    do {
      index = index + 1 < end ? index + 1 : 0;
    } while (objects_.contains(index));
    return index;
  }

  std::map<int32_t, Slot> objects_;
  std::unordered_map<int32_t, int32_t> keys_;  // to indexes
  std::vector<int32_t> disowned_;              // indexes that are free when the object is gone
  uint64_t charged_ = 0;
  int32_t last_ = -1;
  int32_t sequence_ = 0;
};

// kernel.shmmax and so on, with Linux' defaults (/proc/sys/kernel).
struct SysvLimits {
  uint64_t shmmax = UINT64_MAX - (1 << 24), shmall = UINT64_MAX - (1 << 24), shmmni = 4096;
  uint64_t msgmax = 8192, msgmnb = 16384, msgmni = 32000;
  std::array<uint64_t, 4> sem{32000, 1024000000, 500, 32000};  // semmsl, semmns, semopm, semmni
  uint64_t semmsl() const { return sem[0]; }
  uint64_t semmns() const { return sem[1]; }
  uint64_t semopm() const { return sem[2]; }
  uint64_t semmni() const { return sem[3]; }
};

class SysvTables {
 public:
  // exit_sem(): undoes what the process did with SEM_UNDO.
  void process_exited(int32_t pid);
  SysvTable<ShmSegment> segments;
  SysvTable<SemaphoreSet> semaphores;
  SysvTable<MessageQueue> queues;
  SysvLimits limits;
};

// Of a segment that the caller has one reference to.
uint64_t attachments(const SysvTable<ShmSegment>&, const std::shared_ptr<ShmSegment>&);

// shmget, semget, msgget: the object of `key`, or a new one that make() fills, where there are fewer than `most`. check()
// sees an existing one.
template <typename T, typename Check, typename Make>
Result<uint64_t> sysv_get(vfs::OpContext& ctx, SysvTable<T>& table, int32_t key, int flags, uint64_t most, Check check,
                          Make make) {
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
  if (table.size() >= std::min<uint64_t>(most, SysvTable<T>::kIndexes)) return Errno{ENOSPC};
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

// The same for a command of shmctl and its kin: SHM_STAT and SHM_STAT_ANY take an index.
template <typename T>
Result<std::shared_ptr<T>> sysv_find(SysvTable<T>& table, int32_t id, bool by_index) {
  if (id < 0) return Errno{EINVAL};
  auto object = by_index ? table.at_index(id) : table.find(id);
  if (object == nullptr) return Errno{EINVAL};
  return object;
}

}  // namespace run9::sentry
