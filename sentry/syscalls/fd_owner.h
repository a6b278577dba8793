// Who gets SIGIO for a file: F_SETOWN, F_SETOWN_EX, F_SETSIG and O_ASYNC of fcntl(2). Kept beside the
// files because nearly none has an owner. Owned by SpecialFiles.
#pragma once
#include <fcntl.h>

#include <map>
#include <memory>

#include "base/wait_queue.h"
#include "vfs/file.h"

namespace run9::sentry {

class Kernel;

class FileOwners {
 public:
  explicit FileOwners(Kernel& kernel);
  ~FileOwners();

  struct Owner {
    int type = 0;    // F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP
    int32_t id = 0;  // 0: nobody
    int signal = 0;  // 0: SIGIO without details
    int fd = -1;     // that O_ASYNC was set through: si_fd
  };
  Owner get(const vfs::File& file) const;
  // A new owner, or another signal, for `file`.
  Owner& edit(const vfs::FileRef& file);
  // O_ASYNC: listen to the file's readiness, or stop.
  void set_async(const vfs::FileRef& file, bool on);

 private:
  class Listener;
  struct Entry {
    std::weak_ptr<vfs::File> file;
    Owner owner;
    std::unique_ptr<Listener> listener;
  };
  void send(const Owner& owner, uint32_t events);
  Kernel& kernel_;
  std::map<const vfs::File*, Entry> entries_;
};

}  // namespace run9::sentry
