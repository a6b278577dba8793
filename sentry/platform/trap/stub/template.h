// What the template process does once, before there is a guest.
#pragma once
#include <elf.h>
#include <linux/fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>

#include "sentry/platform/trap/stub/page.h"

namespace run9::sentry::trap::stub {

struct KernelSigaction {
  void (*handler)(int, siginfo_t*, void*);
  unsigned long flags;
  void (*restorer)();
  unsigned long mask;
};

// `mov $nr, %eax; syscall`, of the clocks that the vDSO cannot read: as patcher.cc does it with narrow sites. Trampolines are the Sentry's to write.
inline void patch_vdso(uint8_t* text, uint64_t size, VdsoCall* calls) {
  uint32_t count = 0;
  for (uint32_t at = 0; at + 7 <= size && count < kVdsoCalls; ++at) {
    uint8_t* const p = text + at;
    if (p[0] != 0xb8 || p[3] != 0 || p[4] != 0 || p[5] != 0x0f || p[6] != 0x05) continue;
    calls[count] = {at + 7, static_cast<uint32_t>(p[1] | p[2] << 8)};
    const uint32_t entry = STUB_TABLE + 8 * (kFirstVdsoSlot + count);
    p[0] = 0xff, p[1] = 0x24, p[2] = 0xe5;  // jmp *entry
    memcpy(p + 3, &entry, sizeof entry);
    ++count;
  }
}

// Fills `fd` with the host's image, but for the release in its note and its calls, and maps it in its place. Shared memory: a fork need not copy it. False: the
// host does not let us.
inline bool replace_vdso(uint64_t vdso, long fd, VdsoCall* calls) {
  const auto* eh = reinterpret_cast<const Elf64_Ehdr*>(vdso);
  const auto* ph = reinterpret_cast<const Elf64_Phdr*>(vdso + eh->e_phoff);
  uint64_t size = 0, note = 0, note_size = 0;
  for (int i = 0; i < eh->e_phnum; ++i) {
    if (ph[i].p_type == PT_LOAD) size = (ph[i].p_memsz + 4095) & ~uint64_t{4095};
    if (ph[i].p_type == PT_NOTE) {
      note = ph[i].p_vaddr;
      note_size = ph[i].p_memsz;
    }
  }
  if (gate_init(__NR_ftruncate, fd, size) != 0) return false;
  const long copy = gate_init(__NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (copy < 0) return false;
  memcpy(reinterpret_cast<void*>(copy), reinterpret_cast<void*>(vdso), size);
  for (uint64_t at = note; note != 0 && at + sizeof(Elf64_Nhdr) <= note + note_size;) {
    auto* n = reinterpret_cast<Elf64_Nhdr*>(copy + at);
    const uint64_t desc = at + sizeof *n + ((n->n_namesz + 3) & ~3u);
    if (n->n_type == 0 && n->n_namesz == 6 && n->n_descsz == 4) {  // "Linux", LINUX_VERSION_CODE
      *reinterpret_cast<uint32_t*>(copy + desc) = (6 << 16) | (12 << 8);
    } else if (n->n_type == NT_GNU_BUILD_ID) {
      memset(reinterpret_cast<void*>(copy + desc), 0x39, n->n_descsz);
    }
    at = desc + ((n->n_descsz + 3) & ~3u);
  }
  if (calls != nullptr) patch_vdso(reinterpret_cast<uint8_t*>(copy), size, calls);
  gate_init(__NR_munmap, copy, size);
  // All processes share it: nobody may map it for writing any more.
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
  if (gate_init(__NR_fcntl, fd, F_ADD_SEALS, kSeals) != 0) return false;
  return gate_init(__NR_mmap, vdso, size, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, 0) == static_cast<long>(vdso);
}

// The guest gets a copy of the vDSO that says Run9's release (6.12). 0: none. `calls`: where to say what was patched; null: nothing is to be.
inline uint64_t own_vdso(uint64_t vdso, VdsoCall* calls) {
  if (vdso < STUB_TEXT) return 0;  // address randomization could not be turned off: do without
  const long fd = gate_init(__NR_memfd_create, "run9-vdso", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return 0;
  const bool replaced = replace_vdso(vdso, fd, calls);
  gate_init(__NR_close, fd);
  return replaced ? vdso : 0;
}

[[noreturn]] inline void die(int code) {
  gate_init(__NR_exit_group, code);
  __builtin_trap();
}

inline uint64_t map_fixed(uint64_t addr, uint64_t size, int prot, int flags, int fd) {
  const long r = gate_init(__NR_mmap, addr, size, prot, flags | MAP_FIXED, fd, 0);
  if (r < 0 && r > -4096) die(101);
  return static_cast<uint64_t>(r);
}

// Where the host's vm.mmap_min_addr forbids it, no call site is patched (the Sentry asks the same question).
inline bool map_table() {
  return gate_init(__NR_mmap, STUB_TABLE, STUB_TABLE_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, 8,
                   STUB_PATCHES_SIZE) == STUB_TABLE;
}

}  // namespace run9::sentry::trap::stub
