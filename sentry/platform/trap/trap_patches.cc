// TrapSpace, its patched text: which parts of a process are mapped from our copy of a file (patcher.h) instead of from the
// file itself, from the mapping until the guest changes it.
#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "sentry/platform/trap/trap_platform.h"

namespace run9::sentry::trap {

std::vector<TrapSpace::Base> TrapSpace::use_patches(std::vector<MapRequest>& list) {
  std::vector<Base> bases;
  for (MapRequest& r : list) {
    forget_patches(r.addr, r.length);
    if (!r.fd.valid() || r.shared || (r.prot & PROT_EXEC) == 0 || (r.prot & PROT_WRITE) != 0) continue;
    auto image = platform_.patcher_->image_of(r.fd, r.offset, r.length);
    if (!image) continue;
    // A call site finds its way back through its file's place in this process: there is one.
    const uint64_t base = r.addr - r.offset;
    const bool elsewhere = std::any_of(patched_.begin(), patched_.end(), [&](const auto& p) {
      return p.second.image == image && p.first - p.second.image_offset - p.second.image->file_offset != base;
    });
    if (elsewhere) continue;
    bases.push_back({image->index, base});
    r.fd = image->memory.borrow();
    r.offset = 0;
    patched_[r.addr] = {r.addr + r.length, 0, std::move(image)};
  }
  return bases;
}

void TrapSpace::forget_patches(uint64_t addr, uint64_t length) {
  const uint64_t end = addr + length;
  for (const auto& [slot, context] : contexts_) page(slot).left_mode = MODE_PLAIN;
  auto it = patched_.upper_bound(addr);
  if (it != patched_.begin()) --it;
  while (it != patched_.end() && it->first < end) {
    if (it->second.end <= addr) {
      ++it;
      continue;
    }
    const uint64_t start = it->first;
    const Patched was = it->second;
    it = patched_.erase(it);
    if (start < addr) patched_[start] = {addr, was.image_offset, was.image};
    if (was.end > end) patched_[end] = {was.end, was.image_offset + (end - start), was.image};
  }
}

// Before the guest can change its text: the file itself comes back into the place of our copy.
Result<void> TrapSpace::undo_patches(uint64_t addr, uint64_t length) {
  const uint64_t end = addr + length;
  std::vector<MapRequest> originals;
  std::vector<std::shared_ptr<const PatchedImage>> keep;
  for (const auto& [start, p] : patched_) {
    const uint64_t from = std::max(start, addr), to = std::min(p.end, end);
    if (from >= to) continue;
    keep.push_back(p.image);
    MapRequest r;
    r.addr = from;
    r.length = to - from;
    r.prot = PROT_READ | PROT_EXEC;  // other threads may be running it; the change itself gives it its own
    r.fd = p.image->file.borrow();
    r.offset = p.image->file_offset + p.image_offset + (from - start);
    originals.push_back(r);
  }
  if (originals.empty()) return ok();
  TRY(map_as_told(originals));
  forget_patches(addr, length);
  return ok();
}

}  // namespace run9::sentry::trap
