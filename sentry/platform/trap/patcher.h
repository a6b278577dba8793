// TextPatcher: copies of the executable parts of files in which the system call instructions that we can
// replace are jumps to the dispatcher (gates.S). A stub maps the copy instead of the file, so that a program's
// calls cost no signal, from its first instruction on and without stopping anybody.
//
// Seven bytes or more of a call site become `jmp *table[i]`, whose last two bytes, 06 00, are no instruction, and
// whose third, e5, is a privileged one: whoever jumps to the old `syscall`, or to another instruction that was
// overwritten, traps, and site_at() tells what was there. See docs/decisions/0005-patched-call-sites.md.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "sentry/platform/shared_memory.h"
#include "sentry/platform/trap/stub_abi.h"
#include "sentry/platform/trap/wide_sites.h"

namespace run9::sentry::trap {

// One executable part of one file.
struct PatchedImage {
  uint32_t index = 0;  // in STUB_BASES
  UniqueFd memory;     // the copy
  UniqueFd file;       // to undo it
  uint64_t file_offset = 0, length = 0;
  std::vector<PatchedSite> sites;  // by offset

  // What begins at, or is cut by, this offset; null: nothing.
  const PatchedSite* site_at(uint64_t offset) const;
};

class TextPatcher {
 public:
  // The shared pages that hold the trampolines and the table.
  static Result<TextPatcher> create();
  TextPatcher(TextPatcher&&) = default;
  TextPatcher& operator=(TextPatcher&&) = default;

  // The image of [offset, offset + length) of a regular file, made on first use. Null: there is nothing to
  // patch, or it is too large, or the file is one that can change without a trace.
  std::shared_ptr<const PatchedImage> image_of(BorrowedFd file, uint64_t offset, uint64_t length);
  // Trampolines of the vDSO's calls, of which the template process has made jumps.
  void add_vdso_calls(std::span<const VdsoCall> calls);
  BorrowedFd shared_fd() const { return pages_.fd(); }
  void close_fd() { pages_.close_fd(); }

 private:
  struct Key {
    uint64_t device, inode, size, offset, length;
    int64_t mtime_s, mtime_ns, ctime_s, ctime_ns;
    auto operator<=>(const Key&) const = default;
  };
  explicit TextPatcher(SharedMemory pages) : pages_(std::move(pages)) {}
  std::shared_ptr<const PatchedImage> make(BorrowedFd file, uint64_t offset, uint64_t length);
  bool patch(PatchedImage& image, uint8_t* text, PatchedSite& site);
  uint8_t* code_at(uint64_t trampoline) const;
  void set_entry(uint32_t slot, uint64_t trampoline);

  SharedMemory pages_;
  std::map<Key, std::shared_ptr<const PatchedImage>> images_;
  // The slots of wide trampolines whose entries end with kLoopEntry.
  static constexpr uint32_t kLoopStep = 256 / 8, kFirstLoop = PatchedSite::kLoopEntry / 8;
  static_assert((STUB_TABLE + 8 * STUB_NARROW_COUNT) % 256 == 0);
  uint32_t next_narrow_ = 0, next_wide_ = 0, next_loop_ = kFirstLoop;
  uint32_t next_image_ = 0;
  uint64_t bytes_ = 0;
};

// The places in `text` that can be patched.
std::vector<PatchedSite> find_sites(const uint8_t* text, size_t size);

}  // namespace run9::sentry::trap
