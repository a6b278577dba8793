// Call sites that have room for a jump only together with the instructions around them, which move into the
// trampoline ("wide" ones, of STUB_WIDE_SIZE):
//  - `mov $nr, %eax|%rax`, some instructions on registers alone, `syscall`: the jump takes the place of the first of
//    them; the system call instruction itself stays, for those who jump there;
//  - `syscall` and what stands behind it, up to a call or a jump: that is carried out by the trampoline's tail;
//  - glibc's way to end a thread, a loop of eight bytes around exit(2).
// A decoder of the forms listed in wide_sites.cc, none of which accesses memory, and of nothing else: what it does not
// know is left alone.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>

namespace run9::sentry::trap {

struct PatchedSite {
  static constexpr uint8_t kNoTrap = 0xff;

  uint32_t offset = 0;     // of its first patched byte in the image
  uint8_t length = 0;      // of the call, to where it returns
  uint8_t extent = 0;      // to the end of all that the trampoline stands for
  uint8_t mode = 0;        // MODE_*
  uint8_t trap = kNoTrap;  // narrow ones: distance from `offset` to where the old `syscall`, or the `cmp`, was
  uint16_t number = 0;     // narrow ones of MODE_PLAIN
  bool wide = false;
  bool loop = false;  // the last of the wide ones: its entry in the table ends with kLoopEntry
  uint8_t inner[2] = {};  // wide ones: distances to where overwritten instructions began; 0: none
  uint16_t slot = 0;      // wide ones: which trampoline

  // A loop's `syscall` stood where its jump has the lowest byte of the entry's address: that must be no instruction either.
  static constexpr uint32_t kLoopEntry = 0x60;

  // Where the trampoline has what began at this distance from `offset`; 0: nothing began there.
  uint64_t moved_to(uint64_t distance) const;
};

// `mov $nr, %eax` or `mov $nr, %rax`.
struct NumberMove {
  uint8_t length = 0;  // 0: it is none
  uint16_t number = 0;
};
// Whether one begins at text[at]; at least 7 bytes are there.
NumberMove number_move(const uint8_t* text, size_t at);

// A wide site whose `syscall` is at text[at].
std::optional<PatchedSite> find_wide_site(const uint8_t* text, size_t size, size_t at);

// The trampoline of one, STUB_WIDE_SIZE bytes. `text`: as find_wide_site saw it. `base_slot`: the address of the
// word that says where the file's first byte is; `text_offset`: of text[0] in the file.
void emit_wide_trampoline(uint8_t* at, const PatchedSite& site, const uint8_t* text, uint64_t base_slot,
                          uint64_t text_offset);

}  // namespace run9::sentry::trap
