// FileAnswers: what guest threads may answer by themselves about descriptors of theirs (platform.h, ToldFile), and which of them they may close
// by themselves. A thread is told with the answer to open(2), dup(2), read(2) and getdents64(2) what it is likely to ask next. That holds until it asks
// for something, or until somebody else has made a call that may change it.
#pragma once
#include <array>
#include <cstdint>

#include "sentry/task/fd_table.h"

namespace run9::sentry {

class Kernel;
class Task;

class FileAnswers {
 public:
  explicit FileAnswers(Kernel& kernel) : kernel_(kernel) {}

  // One task's part. A guess of 2 or 3: what open(2) gives is asked about by fstat(2), or read next.
  struct Told {
    bool any = false;
    uint32_t round = 0;
    uint8_t stat_guess = 2, read_guess = 1;
    int opened = -1;      // by its last call
    bool to_read = false;  // and that may be told to be read
    uint64_t usual = 0;    // how many bytes its last read(2) of such a file wanted first
    const vfs::File* start = nullptr;  // the file, if it was told the start of it
    uint32_t start_size = 0;
  };

  // Nobody else has its descriptors: it may close some by itself.
  static bool is_alone(const Task& task);

  // It begins with a linker's calls, which read and ask for the size of what they open.
  static void begin_program(Task& task);
  // It has an event. Its closed descriptors are closed. Blocks.
  void asked(Task& task);
  // It is done with a call, before it hears of that.
  void answered(Task& task, uint64_t number, const std::array<uint64_t, 6>& args);
  void gone(const Task& task);
  // Its call gives `fd`. `opened`: by open(2). Blocks.
  void tell(Task& task, int fd, vfs::File& file, bool cloexec, bool opened);
  // It has read all that there is. Blocks.
  void read_to_end(Task& task, vfs::File& file);
  void listed_to_end(Task& task, const vfs::File& file);

  // From here on its process, or whoever has a descriptor of `file`, or everybody, closes by asking: somebody may see when that happens.
  void close_at_once(Task& task);
  void close_at_once(const vfs::File& file);
  void close_at_once();
  // What others have closed is to be closed. `by` sees to it.
  void settle(Task& task, vfs::OpContext& by);
  void settle_all(vfs::OpContext& by);

 private:
  bool outstanding(const Told& told) const { return told.any && told.round == round_; }
  void note(Task& task);
  void changed();  // some file has

  Kernel& kernel_;
  uint32_t round_ = 0;  // counts Platform::files_changed()
  int told_ = 0;        // tasks that were told something since
  bool at_once_ = false;
};

}  // namespace run9::sentry
