// The list of mappings. Every change takes the lock, lets orders of other threads finish, edits the list,
// and then tells the platform; between the edit and the order there is no switch to another fiber.
#include "sentry/mm/memory_manager.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "base/check.h"
#include "sentry/mm/bounds.h"
#include "sentry/task/access.h"
#include "sentry/task/kernel.h"
#include "sentry/task/task.h"

namespace run9::sentry {
namespace {

constexpr size_t kMaxMappings = 65530;     // vm.max_map_count

// What MAP_SHARED ignores where it does not know it, and MAP_SHARED_VALIDATE does not (LEGACY_MAP_MASK).
constexpr int kOldMapFlags = MAP_TYPE | MAP_FIXED | MAP_ANONYMOUS | MAP_DENYWRITE | MAP_EXECUTABLE | MAP_GROWSDOWN | MAP_LOCKED |
                             MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK | MAP_HUGETLB | MAP_32BIT |
                             0x1f << 26 | 0x80;  // sizes of huge pages, and MAP_ABOVE4G

bool aligned(uint64_t n) { return page_down(n) == n; }
bool in_bounds(uint64_t addr, uint64_t length) {
  return length <= kGuestEnd && addr <= kGuestEnd - length;
}
// Advice that locked memory refuses (can_madv_lru_vma()).
bool drops_pages(int advice) {
  return advice == MADV_DONTNEED || advice == MADV_FREE || advice == MADV_REMOVE || advice == MADV_COLD || advice == MADV_PAGEOUT;
}
bool is_charged(const Vma& v) { return !v.shared && (v.prot & PROT_WRITE) != 0 && !v.no_reserve; }

Result<std::shared_ptr<UniqueFd>> shared_anonymous(uint64_t length) {
  auto fd = TRY(take_fd(memfd_create("run9-shared-memory", MFD_CLOEXEC)));
  if (ftruncate(fd.get(), static_cast<off_t>(length)) != 0) return last_errno();
  return std::make_shared<UniqueFd>(std::move(fd));
}

}  // namespace

class MemoryManager::Change {
 public:
  // `by`: who asks for it. If it is one of ours, what it may do by itself ends here, and begins anew behind the change. Else a thread of ours
  // may be at it meanwhile: no mapping comes or goes.
  explicit Change(MemoryManager& mm, Task* by = nullptr) : mm_(mm), own_(by != nullptr && &by->memory() == &mm ? by : nullptr) {
    mm_.mutex_.lock();
    if (own_ != nullptr) mm_.take_back();
    else mm_.catch_up();
  }
  ~Change() {
    if (own_ != nullptr) mm_.offer(*own_);
    mm_.mutex_.unlock();
  }
  Change(const Change&) = delete;
  Change& operator=(const Change&) = delete;

 private:
  MemoryManager& mm_;
  Task* const own_;
};

void MemoryManager::begin_offers(Task& task) { const Change change(*this, &task); }

MemoryManager::MemoryManager(Kernel& kernel, AddressSpaceRef space)
    : kernel_(kernel), space_(std::move(space)), mutex_(kernel.loop()) {}

MemoryManager::~MemoryManager() { kernel_.charge_memory(-static_cast<int64_t>(charged_)); }

// ---------------------------------------------------------------- the list

void MemoryManager::account(const Vma& v, uint64_t length, int sign) {
  total_ += length * static_cast<uint64_t>(sign);
  if (!is_charged(v)) return;
  const int64_t delta = static_cast<int64_t>(length) * sign;
  charged_ += static_cast<uint64_t>(delta);
  peak_ = std::max(peak_, charged_);
  kernel_.charge_memory(delta);
}

std::map<uint64_t, Vma>::const_iterator MemoryManager::find(uint64_t addr) const {
  auto it = vmas_.upper_bound(addr);
  if (it == vmas_.begin()) return vmas_.end();
  --it;
  return addr < it->second.end ? it : vmas_.end();
}

bool MemoryManager::covered(uint64_t addr, uint64_t length) const {
  const uint64_t end = addr + length;
  while (addr < end) {
    const auto it = find(addr);
    if (it == vmas_.end()) return false;
    addr = it->second.end;
  }
  return true;
}

void MemoryManager::split_at(uint64_t addr) {
  auto it = vmas_.upper_bound(addr);
  if (it == vmas_.begin()) return;
  --it;
  if (it->first == addr || addr >= it->second.end) return;
  Vma upper = it->second;
  const uint64_t offset = addr - it->first;
  upper.file_offset += offset;
  upper.backing_offset += offset;
  it->second.end = addr;
  vmas_.emplace(addr, std::move(upper));
}

void MemoryManager::erase_range(uint64_t start, uint64_t end) {
  split_at(start);
  split_at(end);
  auto it = vmas_.lower_bound(start);
  while (it != vmas_.end() && it->first < end) {
    account(it->second, it->second.end - it->first, -1);
    it = vmas_.erase(it);
  }
}

bool MemoryManager::same_kind(const Map::value_type& a, const Map::value_type& b) const {
  const Vma &x = a.second, &y = b.second;
  const uint64_t length = x.end - a.first;
  return x.end == b.first && x.prot == y.prot && x.shared == y.shared &&
         x.grows_down == y.grows_down && x.dont_fork == y.dont_fork &&
         x.wipe_on_fork == y.wipe_on_fork && x.locked == y.locked && x.no_reserve == y.no_reserve &&
         x.max_prot == y.max_prot && x.file == y.file && x.backing == y.backing && x.name == y.name &&
         x.attachment == y.attachment &&
         (x.backing == nullptr || x.backing_offset + length == y.backing_offset) &&
         (x.file == nullptr || x.file_offset + length == y.file_offset);
}

void MemoryManager::merge_around(uint64_t start, uint64_t end) {
  auto it = vmas_.lower_bound(start);
  if (it != vmas_.begin()) --it;
  while (it != vmas_.end() && it->first <= end) {
    auto next = std::next(it);
    if (next == vmas_.end()) return;
    if (same_kind(*it, *next)) {
      it->second.end = next->second.end;
      vmas_.erase(next);
    } else {
      it = next;
    }
  }
}

void MemoryManager::insert(uint64_t start, Vma vma) {
  const uint64_t end = vma.end;
  account(vma, end - start, 1);
  vmas_.emplace(start, std::move(vma));
  merge_around(start, end);
}

void MemoryManager::record(uint64_t start, Vma vma) {
  erase_range(start, vma.end);
  account(vma, vma.end - start, 1);
  vmas_.emplace(start, std::move(vma));
}

uint64_t MemoryManager::pick_address(uint64_t length, uint64_t hint, uint64_t below) const {
  const auto is_free = [&](uint64_t start, uint64_t end) {
    auto it = vmas_.lower_bound(end);
    if (it == vmas_.begin()) return true;
    return std::prev(it)->second.end <= start;
  };
  if (hint >= kMinAddress && in_bounds(hint, length) && is_free(hint, hint + length)) return hint;
  uint64_t top = below != 0 ? below : mmap_top;
  auto it = vmas_.lower_bound(top);
  for (;;) {
    const uint64_t floor = it == vmas_.begin() ? kMinAddress : std::prev(it)->second.end;
    if (floor <= top && top - floor >= length) return top - length;
    if (it == vmas_.begin()) return 0;
    --it;
    top = std::min(top, it->first);
  }
}

MemoryManagerRef MemoryManager::clone_for(AddressSpaceRef space) const {
  auto copy = std::make_shared<MemoryManager>(kernel_, std::move(space));
  for (const auto& [start, v] : vmas_) {
    if (v.dont_fork) continue;
    copy->account(v, v.end - start, 1);
    copy->vmas_.emplace_hint(copy->vmas_.end(), start, v)->second.locked = false;
  }
  copy->brk_start = brk_start, copy->brk_end = brk_end;
  copy->arg_start = arg_start, copy->arg_end = arg_end, copy->env_start = env_start;
  copy->env_end = env_end, copy->code_start = code_start, copy->code_end = code_end;
  copy->data_start = data_start, copy->data_end = data_end, copy->stack_start = stack_start;
  copy->auxv = auxv, copy->exe = exe, copy->executes = executes, copy->dumpable = dumpable, copy->mmap_top = mmap_top;
  copy->barriers = barriers;
  return copy;
}

// ---------------------------------------------------------------- mmap and its family

Result<void> MemoryManager::check_limits(Task& task, uint64_t more, uint64_t replaced,
                                         bool charged) const {
  const uint64_t limit = task.process().limit(RLIMIT_AS);
  if (limit != RLIM_INFINITY && total_ - replaced + more > limit) return Errno{ENOMEM};
  if (vmas_.size() >= kMaxMappings) return Errno{ENOMEM};
  if (charged && !kernel_.memory_available(more)) return Errno{ENOMEM};
  return ok();
}

// mlock_future_ok(), and who may lock at all.
Result<void> MemoryManager::check_locked(Task& task, uint64_t more) const {
  if (task.creds().has_cap(CAP_IPC_LOCK)) return ok();
  const uint64_t limit = task.process().limit(RLIMIT_MEMLOCK);
  if (limit == 0) return Errno{EPERM};
  if (limit != RLIM_INFINITY && locked_bytes() + more > limit) return Errno{EAGAIN};
  return ok();
}

uint64_t MemoryManager::locked_bytes() const {
  uint64_t sum = 0;
  for (const auto& [start, v] : vmas_) sum += v.locked ? v.end - start : 0;
  return sum;
}

Result<uint64_t> MemoryManager::place(const MapArgs& a, uint64_t length) const {
  if (a.flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
    if (!aligned(a.addr)) return Errno{EINVAL};
    if (!in_bounds(a.addr, length)) return Errno{ENOMEM};
    if (a.addr < kMinAddress) return Errno{EPERM};
    if (a.flags & MAP_FIXED_NOREPLACE) {
      const auto next = vmas_.lower_bound(a.addr + length);
      if (next != vmas_.begin() && std::prev(next)->second.end > a.addr) return Errno{EEXIST};
    }
    return a.addr;
  }
  const uint64_t at = pick_address(length, page_up(a.addr), (a.flags & MAP_32BIT) ? 0x8000'0000 : 0);
  if (at == 0) return Errno{ENOMEM};
  return at;
}

Result<uint64_t> MemoryManager::mmap(Task& task, MapArgs args) {
  if (args.length == 0) return Errno{EINVAL};
  if (!aligned(args.offset)) return Errno{EINVAL};
  if (args.length > kGuestEnd) return Errno{ENOMEM};
  Change change(*this, &task);
  return mmap_locked(task, std::move(args));
}

Result<uint64_t> MemoryManager::mmap_locked(Task& task, MapArgs args) {
  const uint64_t length = page_up(args.length);
  const int type = args.flags & MAP_TYPE;
  const bool shared = type == MAP_SHARED || type == MAP_SHARED_VALIDATE;
  if (!shared && type != MAP_PRIVATE) return Errno{EINVAL};
  if (type == MAP_SHARED_VALIDATE) {
    if (args.file == nullptr) return Errno{EINVAL};
    // No file is persistent memory (MAP_SYNC).
    if ((args.flags & ~kOldMapFlags) != 0) return Errno{EOPNOTSUPP};
  }
  MapRequest request;
  Vma v;
  v.prot = args.prot & (PROT_READ | PROT_WRITE | PROT_EXEC);
  v.shared = shared;
  v.name = args.name;
  v.attachment = args.attachment;
  v.no_reserve = (args.flags & MAP_NORESERVE) != 0;
  v.locked = (args.flags & MAP_LOCKED) != 0 || lock_future;
  if (v.locked) {
    TRY(check_locked(task, length));
    space_->set_locked(true);
  }
  v.grows_down = (args.flags & MAP_GROWSDOWN) != 0;
  if (args.file != nullptr) {
    if (args.offset + length < args.offset) return Errno{EOVERFLOW};
    if (!args.file->readable()) return Errno{EACCES};
    if (shared && !args.file->writable()) {
      if (v.prot & PROT_WRITE) return Errno{EACCES};
      v.max_prot &= ~PROT_WRITE;
    }
    if (args.file->path().mount && (args.file->path().mount->flags & vfs::kMntNoExec)) {
      if (v.prot & PROT_EXEC) return Errno{EPERM};
      v.max_prot &= ~PROT_EXEC;
    }
    auto source = TRY(args.file->map_source(task, shared, shared && args.file->writable()));
    // What is mapped shared must stay unwritten when the process gives its rights up.
    request.may_write_file = source.is_memory && (!shared || args.file->writable()) && may_write_by_descriptor(task, *args.file);
    v.backing = std::move(source.fd);
    v.backing_offset = source.offset + args.offset;
    v.file = args.file;
    v.file_offset = args.offset;
  } else if (args.backing != nullptr) {
    v.backing = args.backing;
    v.backing_offset = args.offset;
  }
  if (shared && v.backing == nullptr) {
    v.backing = TRY(shared_anonymous(length));
    v.backing_offset = 0;
    request.may_write_file = true;
  }
  const uint64_t start = TRY(place(args, length));
  v.end = start + length;
  TRY(check_limits(task, length, 0, is_charged(v)));

  request.addr = start;
  request.length = length;
  request.prot = v.prot;
  request.shared = shared;
  request.extra_flags = args.flags & (MAP_NORESERVE | MAP_POPULATE);
  if (v.backing != nullptr) {
    request.fd = v.backing->borrow();
    request.offset = v.backing_offset;
  }
  const bool in_place = v.file != nullptr && ahead_.take(request);
  if (!in_place) TRY(make_way(start, length));
  erase_range(start, v.end);
  insert(start, std::move(v));
  const auto done = in_place ? ok() : map_at_host(task, args, request);
  if (!done.has_value()) {
    erase_range(start, start + length);
    return done.error();
  }
  return start;
}

Result<void> MemoryManager::make_way(uint64_t addr, uint64_t length) {
  forget_protects(addr, length);
  return give_back(addr, length);
}

Result<void> MemoryManager::give_back(uint64_t addr, uint64_t length) {
  // What a thread may take at this moment is as good as asked for.
  if (ahead_.empty() || !own_.maps.empty()) return ok();
  const auto parts = ahead_.give_back(addr, length);
  return parts.empty() ? ok() : space_->map_all(nullptr, parts);
}

Result<void> MemoryManager::map_at_host(Task& task, const MapArgs& args, const MapRequest& request) {
  const bool fixed = (args.flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
  // The flag that linkers set, and hardly anybody else.
  const bool linker = args.file != nullptr && (args.flags & MAP_DENYWRITE) != 0 && !fixed && !request.shared &&
                      request.extra_flags == 0 && args.offset == 0 && (request.prot & PROT_WRITE) == 0;
  if (!linker) return space_->map(task.via(), request);
  const auto image = read_elf(kernel_.context(), *args.file);
  if (!image.has_value()) return space_->map(task.via(), request);
  const auto made = ahead_.expect(request, args.length, image.value());
  TRY(space_->map_all(task.via(), made));
  offer_maps(request, made, image.value(), args.fd);
  return ok();
}

Result<void> MemoryManager::munmap(Task& task, uint64_t addr, uint64_t length) {
  if (!aligned(addr) || length == 0 || !in_bounds(addr, length)) return Errno{EINVAL};
  Change change(*this, &task);
  const uint64_t end = addr + page_up(length);
  // Below the lowest address there is nothing of the guest's, and maybe something of the platform's.
  addr = std::max(addr, kMinAddress);
  if (end <= addr) return ok();
  TRY(make_way(addr, end - addr));
  erase_range(addr, end);
  return space_->unmap(task.via(), addr, end - addr);
}

Result<void> MemoryManager::mprotect(Task& task, uint64_t addr, uint64_t length, int prot) {
  if (!aligned(addr)) return Errno{EINVAL};
  if (length == 0) return ok();
  length = page_up(length);
  if (!in_bounds(addr, length)) return Errno{ENOMEM};
  Change change(*this, &task);
  // As Linux: what comes before a hole is changed, and the hole is reported.
  uint64_t end = addr;
  for (auto it = find(addr); it != vmas_.end() && end < addr + length; it = find(end)) {
    end = std::min(it->second.end, addr + length);
  }
  if (end == addr) return Errno{ENOMEM};
  const bool whole = end == addr + length;
  uint64_t newly_charged = 0;
  for (auto it = find(addr); it != vmas_.end() && it->first < end; ++it) {
    if ((prot & ~it->second.max_prot) != 0) return Errno{EACCES};
    Vma after = it->second;
    after.prot = prot;
    if (is_charged(after) && !is_charged(it->second)) {
      newly_charged += std::min(end, it->second.end) - std::max(addr, it->first);
    }
  }
  if (newly_charged != 0 && !kernel_.memory_available(newly_charged)) return Errno{ENOMEM};
  TRY(make_way(addr, end - addr));
  set_protection(addr, end, prot);
  TRY(space_->protect(task.via(), addr, end - addr, prot));
  if (!whole) return Errno{ENOMEM};
  return ok();
}

void MemoryManager::set_protection(uint64_t start, uint64_t end, int prot) {
  split_at(start);
  split_at(end);
  for (auto it = vmas_.lower_bound(start); it != vmas_.end() && it->first < end; ++it) {
    account(it->second, it->second.end - it->first, -1);
    it->second.prot = prot;
    account(it->second, it->second.end - it->first, 1);
  }
  merge_around(start, end);
}

// The host's mapping grows, and keeps what it was advised: a second one behind it could not move together with it.
Result<void> MemoryManager::grow_in_place(Task& task, uint64_t addr, uint64_t length, const Vma& vma, uint64_t by) {
  const uint64_t end = addr + length;
  Vma more = vma;
  const uint64_t offset = end - find(end - 1)->first;
  more.end = end + by;
  more.file_offset += offset;
  more.backing_offset += offset;
  insert(end, std::move(more));
  return space_->remap(task.via(), addr, length, addr, length + by);
}

namespace {

// mremap of nothing (old_len 0): the same shared object, to be mapped a second time.
Result<MemoryManager::MapArgs> same_again(const Vma& v, uint64_t offset, uint64_t length, int flags,
                                          uint64_t new_addr) {
  if (!v.shared || !(flags & MREMAP_MAYMOVE)) return Errno{EINVAL};
  MemoryManager::MapArgs a;
  a.addr = new_addr;
  a.length = length;
  a.prot = v.prot;
  a.flags = MAP_SHARED;
  if (flags & MREMAP_FIXED) {
    a.flags |= MAP_FIXED;
  } else {
    a.addr = 0;
  }
  a.file = v.file;
  a.backing = v.backing;
  a.offset = (v.file != nullptr ? v.file_offset : v.backing_offset) + offset;
  a.name = v.name;
  a.attachment = v.attachment;
  return a;
}

}  // namespace

Result<uint64_t> MemoryManager::mremap(Task& task, uint64_t old_addr, uint64_t old_len, uint64_t new_len,
                                       int flags, uint64_t new_addr) {
  if ((flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) != 0 || !aligned(old_addr) || new_len == 0) {
    return Errno{EINVAL};
  }
  const bool keep = (flags & MREMAP_DONTUNMAP) != 0;  // the pages move, what they were mapped in stays
  if (keep && !(flags & MREMAP_MAYMOVE)) return Errno{EINVAL};
  if ((flags & MREMAP_FIXED) && (!(flags & MREMAP_MAYMOVE) || !aligned(new_addr))) return Errno{EINVAL};
  old_len = page_up(old_len);
  new_len = page_up(new_len);
  if (!in_bounds(old_addr, old_len)) return Errno{EINVAL};
  if (new_len > kGuestEnd) return Errno{ENOMEM};
  if (keep && new_len != old_len) return Errno{EINVAL};
  Change change(*this, &task);
  TRY(make_way(old_addr, std::max(old_len, new_len)));
  if (flags & MREMAP_FIXED) TRY(make_way(new_addr, new_len));
  const auto it = find(old_addr);
  if (it == vmas_.end()) return Errno{EFAULT};
  if (old_len == 0) {
    return mmap_locked(task, TRY(same_again(it->second, old_addr - it->first, new_len, flags, new_addr)));
  }
  if (old_addr + old_len > it->second.end) return Errno{EFAULT};
  const bool fixed = (flags & MREMAP_FIXED) != 0;
  if (fixed) {
    if (!in_bounds(new_addr, new_len) || new_addr < kMinAddress) return Errno{EINVAL};
    if (new_addr < old_addr + old_len && old_addr < new_addr + new_len) return Errno{EINVAL};
  }
  if (keep && it->second.backing != nullptr) return Errno{EINVAL};  // private anonymous memory alone, as before Linux 5.13
  const uint64_t more = keep ? new_len : new_len > old_len ? new_len - old_len : 0;
  if (more != 0) TRY(check_limits(task, more, 0, is_charged(it->second)));
  if (!fixed && !keep && new_len <= old_len) {
    if (new_len == old_len) return old_addr;
    erase_range(old_addr + new_len, old_addr + old_len);
    TRY(space_->unmap(task.via(), old_addr + new_len, old_len - new_len));
    return old_addr;
  }
  if (!fixed && !keep && old_addr + old_len == it->second.end) {
    const auto next = std::next(it);
    const uint64_t limit = next == vmas_.end() ? kGuestEnd : next->first;
    if (old_addr + new_len <= limit) {
      TRY(grow_in_place(task, old_addr, old_len, it->second, new_len - old_len));
      return old_addr;
    }
  }
  if (!(flags & MREMAP_MAYMOVE)) return Errno{ENOMEM};
  const uint64_t to = fixed ? new_addr : pick_address(new_len);
  if (to == 0) return Errno{ENOMEM};
  Vma moved = it->second;
  const uint64_t offset = old_addr - it->first;
  moved.file_offset += offset;
  moved.backing_offset += offset;
  moved.end = to + new_len;
  erase_range(old_addr, old_addr + old_len);
  erase_range(to, to + new_len);
  MapRequest again;
  if (keep) {
    Vma left = moved;
    left.end = old_addr + old_len;
    left.locked = false;
    again.addr = old_addr, again.length = old_len, again.prot = left.prot;
    insert(old_addr, std::move(left));
  }
  insert(to, std::move(moved));
  if (fixed && new_len < old_len) {
    TRY(space_->unmap(task.via(), old_addr + new_len, old_len - new_len));
    old_len = new_len;
  }
  TRY(space_->remap(task.via(), old_addr, old_len, to, new_len));
  if (keep) TRY(space_->map(task.via(), again));
  return to;
}

void MemoryManager::insert_heap(uint64_t start, uint64_t end) {
  if (start == end) return;
  Vma v;
  v.end = end;
  v.prot = PROT_READ | PROT_WRITE;
  v.name = "[heap]";
  insert(start, std::move(v));
}

uint64_t MemoryManager::brk(Task& task, uint64_t addr) {
  Change change(*this, &task);
  if (addr < brk_start || !in_bounds(addr, kPage)) return brk_end;
  const uint64_t limit = task.process().limit(RLIMIT_DATA);
  if (limit != RLIM_INFINITY && addr - brk_start > limit) return brk_end;
  const uint64_t old_top = page_up(brk_end), new_top = page_up(addr);
  if (new_top > old_top) {
    const auto next = vmas_.lower_bound(old_top);
    if (next != vmas_.end() && next->first < new_top) return brk_end;
    if (!check_limits(task, new_top - old_top, 0, true).has_value()) return brk_end;
    MapRequest r;
    r.addr = old_top;
    r.length = new_top - old_top;
    r.prot = PROT_READ | PROT_WRITE;
    insert_heap(old_top, new_top);
    if (!space_->map(task.via(), r).has_value()) {
      erase_range(old_top, new_top);
      return brk_end;
    }
  } else if (new_top < old_top) {
    erase_range(new_top, old_top);
    if (!space_->unmap(task.via(), new_top, old_top - new_top).has_value()) return brk_end;
  }
  brk_end = addr;
  return addr;
}

bool MemoryManager::any_locked(uint64_t addr, uint64_t length) const {
  auto it = find(addr);
  if (it == vmas_.end()) it = vmas_.lower_bound(addr);
  for (; it != vmas_.end() && it->first < addr + length; ++it) {
    if (it->second.locked) return true;
  }
  return false;
}

Result<void> MemoryManager::set_locked(uint64_t addr, uint64_t length, bool locked) {
  if (length == 0) return ok();
  Change change(*this);
  if (!covered(addr, length)) return Errno{ENOMEM};
  if (locked) space_->set_locked(true);
  split_at(addr);
  split_at(addr + length);
  for (auto it = vmas_.lower_bound(addr); it != vmas_.end() && it->first < addr + length; ++it) it->second.locked = locked;
  merge_around(addr, addr + length);
  return ok();
}

void MemoryManager::set_all_locked(bool locked) {
  Change change(*this);
  space_->set_locked(locked);
  for (auto& [start, v] : vmas_) v.locked = locked;
}

Result<void> MemoryManager::madvise(Task& task, uint64_t addr, uint64_t length, int advice) {
  if (!aligned(addr)) return Errno{EINVAL};
  if (length != 0 && page_up(length) == 0) return Errno{EINVAL};
  length = page_up(length);
  switch (advice) {
    case MADV_NORMAL: case MADV_RANDOM: case MADV_SEQUENTIAL: case MADV_WILLNEED: case MADV_DONTNEED:
    case MADV_FREE: case MADV_REMOVE: case MADV_DONTFORK: case MADV_DOFORK: case MADV_MERGEABLE:
    case MADV_UNMERGEABLE: case MADV_HUGEPAGE: case MADV_NOHUGEPAGE: case MADV_DONTDUMP:
    case MADV_DODUMP: case MADV_WIPEONFORK: case MADV_KEEPONFORK: case MADV_COLD: case MADV_PAGEOUT:
    case MADV_POPULATE_READ: case MADV_POPULATE_WRITE: case 24 /*MADV_DONTNEED_LOCKED*/:
      break;
    default:
      return Errno{EINVAL};
  }
  // No pages are merged, and none by the host: who shares what could be told from outside by the time that it takes.
  if (advice == MADV_MERGEABLE || advice == MADV_UNMERGEABLE) return Errno{EINVAL};
  if (length == 0) return ok();
  if (!in_bounds(addr, length)) return Errno{ENOMEM};
  Change change(*this, &task);
  TRY(give_back(addr, length));
  const bool whole = covered(addr, length);
  if (drops_pages(advice) && any_locked(addr, length)) return Errno{EINVAL};
  if (advice == MADV_DONTFORK || advice == MADV_DOFORK || advice == MADV_WIPEONFORK ||
      advice == MADV_KEEPONFORK) {
    if (!whole) return Errno{ENOMEM};
    split_at(addr);
    split_at(addr + length);
    for (auto it = vmas_.lower_bound(addr); it != vmas_.end() && it->first < addr + length; ++it) {
      if (advice == MADV_WIPEONFORK && (it->second.shared || it->second.file)) return Errno{EINVAL};
      if (advice <= MADV_DOFORK) it->second.dont_fork = advice == MADV_DONTFORK;
      if (advice == MADV_WIPEONFORK) it->second.wipe_on_fork = true;
      if (advice == MADV_KEEPONFORK) it->second.wipe_on_fork = false;
    }
    merge_around(addr, addr + length);
  }
  if (!whole) {
    // What is mapped is advised, and the hole is reported.
    TRY(space_->advise(nullptr, addr, length, advice));
    return Errno{ENOMEM};
  }
  return space_->advise(task.via(), addr, length, advice);
}

Result<void> MemoryManager::force_write(uint64_t addr, ByteSpan src) {
  if (!in_bounds(addr, src.size())) return Errno{EFAULT};
  if (copy_out(addr, src.data(), src.size()).has_value()) return ok();
  Change change(*this);
  const uint64_t first = page_down(addr), last = page_up(addr + src.size());
  if (!covered(first, last - first)) return Errno{EFAULT};
  TRY(give_back(first, last - first));
  for (auto it = find(first); it != vmas_.end() && it->first < last; ++it) {
    if (it->second.shared && (it->second.max_prot & PROT_WRITE) == 0) return Errno{EFAULT};
  }
  const int readable = PROT_READ | PROT_WRITE;
  TRY(space_->protect(nullptr, first, last - first, readable));
  const auto written = copy_out(addr, src.data(), src.size());
  for (uint64_t at = first; at < last; at += kPage) {
    const auto it = find(at);
    if (it != vmas_.end()) TRY(space_->protect(nullptr, at, kPage, it->second.prot));
  }
  return written;
}

Result<void> MemoryManager::msync(Task& task, uint64_t addr, uint64_t length, int flags) {
  if ((flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) != 0 || !aligned(addr)) return Errno{EINVAL};
  if ((flags & MS_ASYNC) && (flags & MS_SYNC)) return Errno{EINVAL};
  length = page_up(length);
  if (!in_bounds(addr, length)) return Errno{ENOMEM};
  if (length == 0) return ok();
  if (!covered(addr, length)) return Errno{ENOMEM};
  if ((flags & MS_INVALIDATE) && any_locked(addr, length)) return Errno{EBUSY};
  if ((flags & MS_SYNC) == 0) return ok();
  std::vector<vfs::FileRef> files;  // the list may change while one syncs
  for (auto it = find(addr); it != vmas_.end() && it->first < addr + length; ++it) {
    if (it->second.shared && it->second.file) files.push_back(it->second.file);
  }
  for (const auto& f : files) TRY(f->fsync(task, true));
  return ok();
}

}  // namespace run9::sentry
