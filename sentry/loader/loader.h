// Loader: from a file to a program in memory, ready to run its first instruction (execve(2), fs/binfmt_elf.c and
// binfmt_script.c for what programs expect of the result).
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sentry/loader/elf.h"
#include "sentry/mm/memory_manager.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {

// Arguments and environment, whatever the stack's limit.
inline constexpr uint64_t kMaxArgBytes = 6 << 20;

// What the task may run, opened. EACCES: it may not, or it is no regular file.
Result<vfs::FileRef> open_executable(Kernel& kernel, Task& task, const std::string& path);

// What execve(2) is asked to run: found and read, then laid out, then in memory.
class Program {
 public:
  // `task` gives credentials, root and working directory; it is not changed, and outlives this.
  static Result<Program> find(Kernel& kernel, Task& task, ExecArgs args);

  // The file whose set-user-ID bits count: a script's interpreter's.
  const vfs::FileRef& executable() const { return file_; }
  // By `task`. Else nobody else of the same user may see it in memory either.
  bool readable() const { return readable_; }
  const std::string& comm() const { return comm_; }
  const MemoryManagerRef& memory() const { return memory_; }

  // Makes the list of mappings for this space, which is not changed: what can be refused is refused here. `creds`: under which it will run.
  Result<void> lay_out(AddressSpaceRef space, vfs::Credentials creds);
  // The mappings and the first bytes; gives the registers to begin with. kOver: what was mapped there before goes (AddressSpace::start_over),
  // and there is no way back. Blocks.
  enum class Where { kEmpty, kOver };
  Result<Regs> map(Where where);

 private:
  Program(Kernel& kernel, Task& task, ExecArgs args) : kernel_(kernel), task_(task), args_(std::move(args)) {}
  Result<uint64_t> add_image(const vfs::FileRef& file, const ElfImage& image, uint64_t bias);
  void add_stack(bool executable);
  void add_anonymous(uint64_t start, uint64_t length, int prot, std::string name, bool no_reserve);
  // Arguments, environment and auxiliary vector; gives the stack pointer.
  Result<uint64_t> fill_stack();

  Kernel& kernel_;
  Task& task_;
  ExecArgs args_;
  std::string comm_;
  bool readable_ = false;
  vfs::FileRef file_, interpreter_file_;
  ElfImage image_, interpreter_;
  MemoryManagerRef memory_;
  vfs::Credentials creds_;
  uint64_t bias_ = 0, base_ = 0, entry_ = 0, stack_top_ = 0;
  std::vector<MapRequest> requests_;
  std::vector<std::shared_ptr<UniqueFd>> keep_;
  std::vector<std::pair<uint64_t, uint64_t>> tails_;  // behind the file's bytes in its last page
};

}  // namespace run9::sentry
