// What the only thread of a process changes by itself: what it is offered, and how the list of mappings follows
// (docs/decisions/0039-mappings-by-guest-threads.md). Offers are made where a change of the list ends, and end with the next
// change; those of a library's segments, and of the zeros behind them, with the thread's next event. What it is told besides: its process's limits.
#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "sentry/mm/bounds.h"
#include "sentry/mm/memory_manager.h"
#include "sentry/task/kernel.h"
#include "sentry/task/task.h"

namespace run9::sentry {
namespace {

constexpr uint64_t kHeapAhead = 32 << 20;   // bytes by which a heap may grow before its thread asks again
constexpr uint64_t kRoom = 16 << 20;        // bytes of free addresses
constexpr uint64_t kLittleRoom = 1 << 20;
constexpr uint64_t kPlenty = 256 << 20;     // of memory: where it is limited, what is taken counts a little later
constexpr size_t kManyMappings = 60'000;    // near the most that there may be

// The guest may change it at any time.
template <typename T>
T taken(const T& word) {
  return __atomic_load_n(&word, __ATOMIC_ACQUIRE);
}
// Its thread waits for an answer, or may see it a moment later.
template <typename T>
void tell(T& word, std::type_identity_t<T> value) {
  __atomic_store_n(&word, value, __ATOMIC_RELEASE);
}

static_assert(kOwnMaps <= 32 && kOwnProtects <= 32 && kLimits == RLIM_NLIMITS);

// What a linker maps behind the last segment's bytes; length 0: nothing.
MapRequest zeros_of(const MapRequest& whole, const ElfImage& image) {
  const ElfSegment& last = image.segments.back();
  const uint64_t bias = whole.addr - image.low, start = page_up(last.vaddr + last.filesz);
  MapRequest zeros;
  zeros.addr = start + bias;
  zeros.length = page_up(last.vaddr + last.memsz) - start;
  zeros.prot = last.prot;
  return zeros;
}

}  // namespace

// ---------------------------------------------------------------- what has been done

void MemoryManager::catch_up() {
  if (own_.words == nullptr || retired_) return;
  const uint32_t changes = taken(own_.words->changes);
  if (changes == own_.changes) return;
  own_.changes = changes;
  follow_maps(taken(own_.words->maps_done));
  follow_protects(taken(own_.words->protects_done));
  follow_heap(taken(own_.words->heap_end));
  follow_pieces();
}

void MemoryManager::catch_up_at_event() {
  catch_up();
  if (own_.maps.empty()) return;
  tell(own_.words->maps, 0);
  const bool all_done = std::ranges::all_of(own_.maps, [](const MapRequest& r) { return r.length == 0; });
  own_.maps.clear();
  const uint64_t relro = page_down(own_.relro_start);
  if (!all_done) forget_protects(relro, page_down(own_.relro_end) - relro);
}

void MemoryManager::follow_maps(uint32_t done) {
  for (size_t i = 0; i < own_.maps.size(); ++i) {
    MapRequest& r = own_.maps[i];
    if (r.length == 0 || (done >> i & 1) == 0) continue;
    const auto whole = find(r.addr);
    if (whole == vmas_.end()) continue;
    if (!r.fd.valid()) {
      erase_range(r.addr, r.addr + r.length);
      insert_zeros(r.addr, std::exchange(r.length, 0), r.prot, false);
      continue;
    }
    if (!ahead_.take(r)) continue;
    Vma v = whole->second;
    v.file_offset = r.offset - (v.backing_offset - v.file_offset);
    v.backing_offset = r.offset;
    v.prot = r.prot;
    v.end = r.addr + r.length;
    erase_range(r.addr, v.end);
    insert(r.addr, std::move(v));
    r.length = 0;
  }
}

void MemoryManager::insert_zeros(uint64_t addr, uint64_t length, int prot, bool no_reserve) {
  Vma v;
  v.end = addr + length;
  v.prot = prot;
  v.no_reserve = no_reserve;
  insert(addr, std::move(v));
}

void MemoryManager::follow_protects(uint32_t done) {
  for (size_t i = 0; i < own_.protects.size(); ++i) {
    Own::Piece& range = own_.protects[i];
    if (range.length == 0 || (done >> i & 1) == 0) continue;
    set_protection(range.addr, range.addr + range.length, PROT_READ);
    range.length = 0;
  }
}

void MemoryManager::follow_heap(uint64_t end) {
  if (end <= brk_end || end > own_.heap_limit) return;
  insert_heap(page_up(brk_end), page_up(end));
  brk_end = end;
}

void MemoryManager::follow_pieces() {
  if (own_.floor == own_.top) return;
  const uint32_t used = std::min(taken(own_.words->pieces), kOwnPieces);
  // Away with all that is gone, before something new takes its place.
  for (uint32_t i = 0; i < kOwnPieces; ++i) {
    Own::Piece& known = own_.pieces[i];
    const Own::Piece now = i < used ? Own::Piece{taken(own_.words->piece[i].addr), taken(own_.words->piece[i].length)} : Own::Piece{};
    if (now == known) continue;
    if (known.length != 0) erase_range(known.addr, known.addr + (known.length & ~kPieceBits));
    known = {};
  }
  for (uint32_t i = 0; i < used; ++i) {
    const Own::Piece now{taken(own_.words->piece[i].addr), taken(own_.words->piece[i].length)};
    const uint64_t length = now.length & ~kPieceBits;
    if (length == 0 || now == own_.pieces[i]) continue;
    const bool inside = now.addr % kPage == 0 && now.addr >= own_.floor && now.addr < own_.top && length <= own_.top - now.addr;
    const auto next = vmas_.lower_bound(now.addr + length);
    if (!inside || (next != vmas_.begin() && std::prev(next)->second.end > now.addr)) continue;
    own_.pieces[i] = now;
    insert_zeros(now.addr, length, static_cast<int>(now.length & kPieceProt), (now.length & kPieceNoReserve) != 0);
  }
}

// ---------------------------------------------------------------- what may be done

void MemoryManager::take_back() {
  if (own_.words == nullptr || retired_) return;
  catch_up();
  tell(own_.words->heap_limit, 0);
  tell(own_.words->floor, 0);
  tell(own_.words->top, 0);
  tell(own_.words->pieces, 0);
  tell(own_.words->maps, 0);
  own_.heap_limit = own_.floor = own_.top = 0;
  own_.pieces = {};
  own_.maps.clear();
}

void MemoryManager::end_offers() {
  take_back();
  if (own_.words != nullptr && !retired_) {
    tell(own_.words->protects, 0);
    tell(own_.words->limits_told, 0);
  }
  own_.protects.clear();
  own_.limits_told = false;
}

void MemoryManager::stop_offers() {
  if (own_.words == nullptr || retired_) return;
  tell(own_.words->heap_limit, 0);
  tell(own_.words->floor, ~uint64_t{0});
}

void MemoryManager::forget_protects(uint64_t addr, uint64_t length) {
  const auto touched = [&](const Own::Piece& p) { return p.addr < addr + length && addr < p.addr + p.length; };
  if (std::ranges::none_of(own_.protects, touched)) return;
  std::erase_if(own_.protects, touched);
  offer_protects();
}

void MemoryManager::expect_protect(uint64_t start, uint64_t end) {
  const uint64_t addr = page_down(start);
  if (page_down(end) <= addr) return;
  if (own_.protects.size() == kOwnProtects) own_.protects.erase(own_.protects.begin());
  own_.protects.push_back({addr, page_down(end) - addr});
}

void MemoryManager::offer_protects() {
  if (own_.words == nullptr) return;
  OwnMemory& words = *own_.words;
  std::erase_if(own_.protects, [](const Own::Piece& p) { return p.length == 0; });
  tell(words.protects, 0);
  tell(words.protects_done, 0);
  for (size_t i = 0; i < own_.protects.size(); ++i) words.protect[i] = {own_.protects[i].addr, own_.protects[i].length};
  tell(words.protects, static_cast<uint32_t>(own_.protects.size()));
}

void MemoryManager::offer_maps(const MapRequest& whole, std::span<const MapRequest> made, const ElfImage& image, int fd) {
  if (own_.words == nullptr || fd < 0 || made.size() < 2 || made.size() - 1 > kOwnMaps || !ok_to_offer()) return;
  OwnMemory& words = *own_.words;
  const int may = find(whole.addr)->second.max_prot;
  own_.maps.assign(made.begin() + 1, made.end());
  const MapRequest zeros = zeros_of(whole, image);
  if (zeros.length != 0 && (zeros.prot & PROT_EXEC) == 0 && own_.maps.size() < kOwnMaps) own_.maps.push_back(zeros);
  if (std::ranges::any_of(own_.maps, [may](const MapRequest& r) { return (r.prot & ~may) != 0; })) return own_.maps.clear();
  tell(words.maps_done, 0);
  for (size_t i = 0; i < own_.maps.size(); ++i) {
    const MapRequest& r = own_.maps[i];
    words.map[i] = {r.addr, r.length, r.offset - whole.offset, static_cast<uint32_t>(r.prot), r.fd.valid() ? fd : kOwnZeros};
  }
  tell(words.maps, static_cast<uint32_t>(own_.maps.size()));
  const uint64_t bias = whole.addr - image.low;
  own_.relro_start = image.relro_start + bias;
  own_.relro_end = image.relro_end + bias;
  expect_protect(own_.relro_start, own_.relro_end);
  offer_protects();
}

bool MemoryManager::ok_to_offer() const { return !lock_future && vmas_.size() < kManyMappings && kernel_.memory_available(kPlenty); }

void MemoryManager::offer(Task& task) {
  OwnMemory* const words = retired_ ? nullptr : space_->own_memory(task.context());
  if (words == nullptr || task.process().limit(RLIMIT_AS) != RLIM_INFINITY) return;
  if (own_.words == nullptr) {
    own_.words = words;
    own_.changes = taken(words->changes);
    offer_protects();
  }
  if (!own_.limits_told) tell_limits(task.process());
  if (!ok_to_offer()) return;
  find_room();
  tell(words->top, own_.top);
  tell(words->floor, own_.floor);
  if (task.process().limit(RLIMIT_DATA) != RLIM_INFINITY || brk_end == 0) return;
  const uint64_t top = page_up(brk_end);
  const auto next = vmas_.lower_bound(top);
  own_.heap_limit = std::min(top + kHeapAhead, next == vmas_.end() ? kGuestEnd : next->first);
  if (own_.floor >= top) own_.heap_limit = std::min(own_.heap_limit, own_.floor);
  tell(words->heap_end, brk_end);
  tell(words->heap_limit, own_.heap_limit);
}

void MemoryManager::tell_limits(const Process& process) {
  for (uint32_t i = 0; i < kLimits; ++i) {
    tell(own_.words->limits[i][0], process.limits[i].rlim_cur);
    tell(own_.words->limits[i][1], process.limits[i].rlim_max);
  }
  tell(own_.words->limits_told, 1);
  own_.limits_told = true;
}

void MemoryManager::limits_changed(const Process& process) {
  if (own_.limits_told && !retired_) tell_limits(process);
}

// What is left of the room before, if that is enough: to look for another takes longer, where there are many mappings.
void MemoryManager::find_room() {
  const auto next = vmas_.lower_bound(own_.last_floor);
  const bool free = own_.last_floor != 0 && (next == vmas_.begin() || std::prev(next)->second.end <= own_.last_floor);
  const uint64_t top = std::min(own_.last_top, next == vmas_.end() ? kGuestEnd : next->first);
  if (free && top > own_.last_floor + kLittleRoom) {
    own_.floor = own_.last_floor;
    own_.top = top;
    return;
  }
  const uint64_t at = pick_address(kRoom);
  if (at == 0) return;
  own_.floor = own_.last_floor = at;
  own_.top = own_.last_top = at + kRoom;
}

}  // namespace run9::sentry
