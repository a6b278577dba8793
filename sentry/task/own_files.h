// OwnFiles: which regular files guest threads read and write at the host by themselves (docs/decisions/0034-reads-by-guest-threads.md,
// 0035-writes-by-guest-threads.md). A thread that does so often is sent a host descriptor of the file (vfs::File::read_source, write_source). If nobody else can
// tell where the file's position is, that is the thread's too, until somebody may want to know.
#pragma once
#include <array>
#include <cstdint>

#include "sentry/platform/platform.h"
#include "sentry/task/fd_table.h"

namespace run9::sentry {

class Kernel;
class Task;

class OwnFiles {
 public:
  explicit OwnFiles(Kernel& kernel) : kernel_(kernel) {}

  // One task's part.
  struct Held {
    struct Entry {
      int fd = -1;  // that it was given; -1: none
      const vfs::File* file = nullptr;
      int patience = 0;  // how often that may still have been in vain
      bool position = false;
      bool writes = false;
      std::unique_ptr<vfs::UnseenWrites> unseen = {};
    };
    std::array<Entry, kGivenFiles> entries;
    int positions = 0;  // how many are the thread's
  };

  // It has called. What it, or who gets the file by this call, may find at a position is so now.
  void called(Task& task, uint64_t number, uint64_t first_arg);
  // Its read(2) of `fd`, or with `offset` its pread(2), has given `bytes` of `wanted` ones. Blocks.
  void was_read(Task& task, GuestFd fd, const vfs::FileRef& file, bool offset, uint64_t bytes, uint64_t wanted);
  // Its write(2) or pwrite(2) to `fd` has given `bytes`. Blocks.
  void was_written(Task& task, GuestFd fd, const vfs::FileRef& file, bool offset, uint64_t bytes);
  // Its write(2) to `fd` has gone nowhere, as all writes to `file` will.
  void was_discarded(Task& task, GuestFd fd, vfs::File& file);
  // Somebody wants to know where its files are.
  void settle(Task& task);
  // From here on it asks; and starts anew, unless something is against it.
  void stop(Task& task);
  // It makes no more calls.
  void ended(Task& task);
  // Everybody, for good: somebody watches reads.
  void stop();
  // Everybody, for good, where writes are concerned: somebody watches those.
  void stop_writes();
  // Everybody asks, and starts anew: files are not what they were, or where.
  void begin_anew();

 private:
  void take_position(Task& task, Held::Entry& entry);
  void take(Task& task, Held::Entry& entry);
  bool may_give(const Task& task, const vfs::File& file) const;
  bool may_write(const Task& task, const vfs::File& file) const;
  // Whose reads and writes come here all the same: it wants to have the position, or has not got the file.
  void was_asked(Task& task, Held::Entry& entry, const vfs::FileRef& file, bool offset);
  // False: another one, which has the place for this descriptor, is to keep it yet.
  bool make_room(Task& task, GuestFd fd);
  Held::Entry& given(Task& task, GuestFd fd, const vfs::File& file);
  void give_to_read(Task& task, GuestFd fd, const vfs::FileRef& file, bool offset);
  void give_to_write(Task& task, GuestFd fd, const vfs::FileRef& file, bool offset);
  // Null: it did not get it.
  Held::Entry* give(Task& task, const vfs::FileRef& file, GivenFile given, bool offset);
  static void has_position(Task& task, Held::Entry& entry);
  void left(const FdTable& table, int fd);

  Kernel& kernel_;
  bool stopped_ = false, writes_stopped_ = false;
};

}  // namespace run9::sentry
