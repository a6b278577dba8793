#include "sentry/loader/elf.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "sentry/mm/bounds.h"

namespace run9::sentry {
namespace {

Result<void> read_exactly(vfs::OpContext& ctx, vfs::File& f, void* dst, size_t n, uint64_t at) {
  size_t done = 0;
  while (done < n) {
    const size_t got = TRY(f.pread(ctx, {static_cast<std::byte*>(dst) + done, n - done}, at + done));
    if (got == 0) return Errno{ENOEXEC};
    done += got;
  }
  return ok();
}

Result<void> add_segment(ElfImage& image, const Elf64_Phdr& p) {
  if (p.p_memsz == 0) return ok();
  if (p.p_filesz > p.p_memsz || p.p_vaddr > kGuestEnd || p.p_memsz > kGuestEnd - p.p_vaddr ||
      (p.p_offset & (kPage - 1)) != (p.p_vaddr & (kPage - 1)) || p.p_offset + p.p_filesz < p.p_offset) {
    return Errno{ENOEXEC};
  }
  ElfSegment s{p.p_vaddr, p.p_memsz, p.p_filesz, p.p_offset, 0};
  if (p.p_flags & PF_R) s.prot |= PROT_READ;
  if (p.p_flags & PF_W) s.prot |= PROT_WRITE;
  if (p.p_flags & PF_X) s.prot |= PROT_EXEC;
  if (!image.segments.empty() && s.vaddr < image.segments.back().vaddr) return Errno{ENOEXEC};
  // As Linux does with an alignment that is none.
  if (std::has_single_bit(p.p_align)) image.alignment = std::max(image.alignment, p.p_align);
  image.segments.push_back(s);
  return ok();
}

}  // namespace

Result<ElfImage> read_elf(vfs::OpContext& ctx, vfs::File& file) {
  Elf64_Ehdr h;
  TRY(read_exactly(ctx, file, &h, sizeof h, 0));
  if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64 ||
      h.e_machine != EM_X86_64 || (h.e_type != ET_EXEC && h.e_type != ET_DYN) ||
      h.e_phentsize != sizeof(Elf64_Phdr) || h.e_phnum == 0 || h.e_phnum > 65536 / sizeof(Elf64_Phdr)) {
    return Errno{ENOEXEC};
  }
  std::vector<Elf64_Phdr> headers(h.e_phnum);
  TRY(read_exactly(ctx, file, headers.data(), headers.size() * sizeof(Elf64_Phdr), h.e_phoff));
  ElfImage image;
  image.pie = h.e_type == ET_DYN;
  image.entry = h.e_entry;
  image.phnum = h.e_phnum;
  for (const Elf64_Phdr& p : headers) {
    if (p.p_type == PT_LOAD) {
      TRY(add_segment(image, p));
    } else if (p.p_type == PT_INTERP) {
      if (p.p_filesz < 2 || p.p_filesz > 4096) return Errno{ENOEXEC};
      std::string path(p.p_filesz, 0);
      TRY(read_exactly(ctx, file, path.data(), path.size(), p.p_offset));
      if (path.back() != 0) return Errno{ENOEXEC};
      image.interpreter = path.c_str();
    } else if (p.p_type == PT_GNU_STACK) {
      image.exec_stack = (p.p_flags & PF_X) != 0;
    } else if (p.p_type == PT_GNU_RELRO && p.p_memsz <= kGuestEnd && p.p_vaddr <= kGuestEnd - p.p_memsz) {
      image.relro_start = p.p_vaddr;
      image.relro_end = p.p_vaddr + p.p_memsz;
    }
  }
  if (image.segments.empty()) return Errno{ENOEXEC};
  image.low = page_down(image.segments.front().vaddr);
  for (const ElfSegment& s : image.segments) {
    image.high = std::max(image.high, page_up(s.vaddr + s.memsz));
    if (h.e_phoff >= s.offset && h.e_phoff < s.offset + s.filesz) {
      image.phdr_vaddr = h.e_phoff - s.offset + s.vaddr;
    }
  }
  return image;
}

}  // namespace run9::sentry
