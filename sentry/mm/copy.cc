// Copies between the Sentry and a guest's memory. Addresses are the guest's: anything from nonsense to the
// stub's own region, which is refused here.
#include <sys/mman.h>

#include <algorithm>
#include <climits>
#include <cstring>

#include "sentry/mm/memory_manager.h"

namespace run9::sentry {
namespace {

constexpr size_t kSmallCopy = 2048;  // not worth a look at the list of mappings

bool in_bounds(uint64_t addr, size_t n) { return n <= kGuestEnd && addr <= kGuestEnd - n; }

}  // namespace

Result<size_t> MemoryManager::copy_in_some(std::span<std::byte> dst, uint64_t addr) {
  if (dst.empty()) return size_t{0};
  if (retired_ || addr >= kGuestEnd) return Errno{EFAULT};
  return space_->read(addr, dst.first(std::min<uint64_t>(dst.size(), kGuestEnd - addr)));
}

bool MemoryManager::is_writable(uint64_t addr, size_t n) const {
  const uint64_t end = addr + n;
  for (auto vma = find(addr); vma != vmas_.end() && vma->first <= addr && (vma->second.prot & PROT_WRITE) != 0; ++vma) {
    addr = vma->second.end;
    if (addr >= end) return true;
  }
  return false;
}

std::span<std::byte> MemoryManager::room_for(uint64_t addr, size_t n) const {
  const auto room = space_->room_for(addr, n);
  return !room.empty() && is_writable(addr, room.size()) ? room : std::span<std::byte>();
}

bool MemoryManager::are_writable(std::span<const iovec> parts, size_t n) const {
  for (const iovec& part : parts) {
    if (n == 0) break;
    const size_t length = std::min(n, part.iov_len);
    if (length != 0 && !is_writable(reinterpret_cast<uint64_t>(part.iov_base), length)) return false;
    n -= length;
  }
  return true;
}

std::span<std::byte> MemoryManager::room_for_all(std::span<const iovec> parts) const {
  const auto room = space_->room_for_all(parts);
  return !room.empty() && are_writable(parts, room.size()) ? room : std::span<std::byte>();
}

bool MemoryManager::copy_out_all(std::span<const iovec> parts, ByteSpan src) {
  return !retired_ && are_writable(parts, src.size()) && space_->write_all_mapped(parts, src);
}

Result<size_t> MemoryManager::copy_out_some(uint64_t addr, ByteSpan src) {
  if (src.empty()) return size_t{0};
  if (retired_ || addr >= kGuestEnd) return Errno{EFAULT};
  src = src.first(std::min<uint64_t>(src.size(), kGuestEnd - addr));
  return src.size() > kSmallCopy && is_writable(addr, src.size()) ? space_->write_mapped(addr, src) : space_->write(addr, src);
}

Result<size_t> MemoryManager::pass_out(uint64_t addr, ByteSpan passage) {
  if (!retired_ && in_bounds(addr, passage.size()) && space_->pass_out(addr, passage.size())) return passage.size();
  return copy_out_some(addr, passage);
}

Result<size_t> MemoryManager::pass_in(std::span<std::byte> passage, uint64_t addr) {
  if (!retired_ && in_bounds(addr, passage.size()) && space_->pass_in(addr, passage.size())) return passage.size();
  return copy_in_some(passage, addr);
}

Result<void> MemoryManager::copy_in(void* dst, uint64_t addr, size_t n) {
  if (n == 0) return ok();
  if (retired_ || !in_bounds(addr, n)) return Errno{EFAULT};
  if (TRY(space_->read(addr, {static_cast<std::byte*>(dst), n})) != n) return Errno{EFAULT};
  return ok();
}

Result<void> MemoryManager::copy_out(uint64_t addr, const void* src, size_t n) {
  if (n == 0) return ok();
  if (retired_ || !in_bounds(addr, n)) return Errno{EFAULT};
  if (TRY(space_->write(addr, {static_cast<const std::byte*>(src), n})) != n) return Errno{EFAULT};
  return ok();
}

Result<void> MemoryManager::zero(uint64_t addr, size_t n) {
  const std::vector<std::byte> zeros(std::min<size_t>(n, 65536));
  while (n != 0) {
    const size_t part = std::min(n, zeros.size());
    TRY(copy_out(addr, zeros.data(), part));
    addr += part;
    n -= part;
  }
  return ok();
}

Result<std::string> MemoryManager::read_string(uint64_t addr, size_t max, Errno too_long) {
  // The first piece is what a path usually needs, and stays inside its page: what lies behind the NUL may
  // not be mapped.
  std::string out;
  char piece[4096];
  size_t want = 256;
  if (addr < kGuestEnd) {
    const size_t got = space_->read_ahead(addr, std::as_writable_bytes(std::span(piece, std::min(max + 1, sizeof piece))));
    if (const void* nul = memchr(piece, 0, got)) {
      return std::string(piece, static_cast<size_t>(static_cast<const char*>(nul) - piece));
    }
  }
  for (;;) {
    const size_t n = std::min({want, size_t{kPage - addr % kPage}, max + 1 - out.size()});
    const size_t got = TRY(copy_in_some(std::as_writable_bytes(std::span(piece, n)), addr));
    if (const void* nul = memchr(piece, 0, got)) {
      out.append(piece, static_cast<size_t>(static_cast<const char*>(nul) - piece));
      return out;
    }
    out.append(piece, got);
    if (out.size() > max) return too_long;
    if (got < n) return Errno{EFAULT};
    addr += got;
    want = sizeof piece;
  }
}

Result<std::string> MemoryManager::read_path(UserString s) {
  return read_string(s.addr, PATH_MAX - 1, Errno{ENAMETOOLONG});
}

Result<IoVec> MemoryManager::read_iovec(uint64_t addr, size_t count) {
  if (count > IOV_MAX) return Errno{EINVAL};
  auto v = TRY(read_array(UserPtr<iovec>{addr}, count));
  uint64_t total = 0;
  for (iovec& i : v) {
    if (static_cast<int64_t>(i.iov_len) < 0) return Errno{EINVAL};
    // As Linux: what goes beyond MAX_RW_COUNT is cut off, not refused.
    i.iov_len = std::min<uint64_t>(i.iov_len, 0x7ffff000 - total);
    total += i.iov_len;
  }
  return v;
}

}  // namespace run9::sentry
