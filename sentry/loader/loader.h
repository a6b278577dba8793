// Loader: from a file to a fresh address space with a program in it, ready to run its first instruction
// (execve(2), fs/binfmt_elf.c and binfmt_script.c for what programs expect of the result).
#pragma once
#include <string>
#include <vector>

#include "sentry/loader/elf.h"
#include "sentry/mm/memory_manager.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {

struct LoadedProgram {
  MemoryManagerRef memory;
  std::unique_ptr<Context> context;
  std::string comm;
  vfs::FileRef executable;  // the file whose set-user-ID bits count (not the interpreter's)
};

// `task` gives credentials, root and working directory; it is not changed.
Result<LoadedProgram> load_program(Kernel& kernel, Task& task, ExecArgs args);

}  // namespace run9::sentry
