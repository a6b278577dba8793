#include "sentry/platform/ptrace/vdso.h"

#include <asm/unistd.h>
#include <elf.h>
#include <string.h>
#include <sys/mman.h>

#include "sentry/platform/ptrace/layout.h"

namespace run9::sentry::ptrace {
namespace {

constexpr uint32_t kRelease = (6 << 16) | (12 << 8);
constexpr size_t kNoteAlign = 4;

size_t aligned(size_t n) { return (n + kNoteAlign - 1) & ~(kNoteAlign - 1); }

void rewrite_notes(std::vector<std::byte>& image, size_t at, size_t end) {
  while (end <= image.size() && at + sizeof(Elf64_Nhdr) <= end) {
    Elf64_Nhdr n;
    memcpy(&n, &image[at], sizeof n);
    const size_t desc = at + sizeof n + aligned(n.n_namesz);
    if (desc + n.n_descsz > end) return;
    if (n.n_type == 0 && n.n_namesz == 6 && n.n_descsz == 4) {  // "Linux", LINUX_VERSION_CODE
      memcpy(&image[desc], &kRelease, sizeof kRelease);
    } else if (n.n_type == NT_GNU_BUILD_ID) {
      memset(&image[desc], 0x39, n.n_descsz);
    }
    at = desc + aligned(n.n_descsz);
  }
}

}  // namespace

Result<uint64_t> make_private_vdso(PtraceSpace& space, uint64_t vdso) {
  if (vdso < kGate) return uint64_t{0};  // none, or address randomization could not be turned off
  Elf64_Ehdr eh;
  TRY(space.read(vdso, std::as_writable_bytes(std::span(&eh, 1))));
  Elf64_Phdr ph[16];
  if (eh.e_phnum > std::size(ph)) return uint64_t{0};
  TRY(space.read(vdso + eh.e_phoff, std::as_writable_bytes(std::span(ph, eh.e_phnum))));
  std::vector<std::byte> image;
  for (const auto& p : std::span(ph, eh.e_phnum)) {
    if (p.p_type == PT_LOAD) image.resize((p.p_memsz + kPage - 1) & ~(kPage - 1));
  }
  if (image.empty() || TRY(space.read(vdso, image)) != image.size()) return uint64_t{0};
  for (const auto& p : std::span(ph, eh.e_phnum)) {
    if (p.p_type == PT_NOTE) rewrite_notes(image, p.p_vaddr, p.p_vaddr + p.p_memsz);
  }
  const uint64_t copy = TRY(space.call(__NR_mmap, {0, image.size(), PROT_READ | PROT_WRITE,
                                                   MAP_PRIVATE | MAP_ANONYMOUS, ~uint64_t{0}, 0}));
  if (TRY(space.write(copy, image)) != image.size()) return Errno{EFAULT};
  TRY(space.call(__NR_mremap, {copy, image.size(), image.size(), MREMAP_MAYMOVE | MREMAP_FIXED, vdso}));
  TRY(space.call(__NR_mprotect, {vdso, image.size(), PROT_READ | PROT_EXEC}));
  return vdso;
}

}  // namespace run9::sentry::ptrace
