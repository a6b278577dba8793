// ELF program headers, checked: what of a file is to be mapped where (elf(5)). The file is the guest's.
#pragma once
#include <elf.h>

#include <cstdint>
#include <string>
#include <vector>

#include "vfs/file.h"

namespace run9::sentry {

struct ElfSegment {
  uint64_t vaddr = 0, memsz = 0, filesz = 0, offset = 0;
  int prot = 0;
};

struct ElfImage {
  bool pie = false;
  uint64_t entry = 0;
  uint64_t phdr_vaddr = 0;  // of the program headers in memory; 0: not mapped
  uint16_t phnum = 0;
  bool exec_stack = false;
  std::vector<ElfSegment> segments;  // PT_LOAD, ascending
  std::string interpreter;           // "" if static
  uint64_t low = 0, high = 0;        // page-aligned span
  uint64_t relro_start = 0, relro_end = 0;  // what is read-only after relocation (PT_GNU_RELRO); the same: nothing
  uint64_t alignment = 4096;
};

// ENOEXEC for anything that is not a well-formed x86-64 program.
Result<ElfImage> read_elf(vfs::OpContext& ctx, vfs::File& file);

}  // namespace run9::sentry
