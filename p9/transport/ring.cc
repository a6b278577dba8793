#include "p9/transport/ring.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

namespace run9::p9 {

namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
constexpr size_t kPage = 4096;

size_t total_size(uint32_t stream) { return kPage + 2 * size_t{stream}; }

// A memfd that could shrink would be a way to have us killed.
Result<void> check_memory(const RingMemory& memory) {
  struct stat st;
  if (host_fstat(memory.fd.get(), &st) < 0) return last_errno();
  const int seals = fcntl(memory.fd.get(), F_GET_SEALS);
  const bool good = seals >= 0 && (seals & kSeals) == kSeals && st.st_size == static_cast<off_t>(total_size(memory.stream_size));
  return good ? Result<void>(ok()) : Errno{EPROTO};
}

}  // namespace

// One line of the cache for each word, since the two sides write in turns.
struct Ring::Stream {
  alignas(64) std::atomic<uint64_t> put;    // bytes ever put; by the writer
  alignas(64) std::atomic<uint64_t> taken;  // by the reader
};
// The memory's first page; then the bytes of the requests, then those of the replies.
struct Ring::Page {
  Stream requests;
  Stream replies;
  alignas(64) std::atomic<uint32_t> client_sleeps;
  alignas(64) std::atomic<uint32_t> server_sleeps;
  alignas(64) std::atomic<uint64_t> descriptors;
};
static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<uint32_t>::is_always_lock_free);

Result<RingMemory> Ring::make(uint32_t wanted) {
  const uint32_t size = std::bit_floor(std::clamp(wanted, kMinStream, kMaxStream));
  UniqueFd fd = TRY(take_fd(memfd_create("9p-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING)));
  if (ftruncate(fd.get(), static_cast<off_t>(total_size(size))) < 0 || fcntl(fd.get(), F_ADD_SEALS, kSeals) < 0) {
    return last_errno();
  }
  return RingMemory{std::move(fd), size};
}

Result<Ring> Ring::map(const RingMemory& memory, Side side) {
  const uint32_t size = memory.stream_size;
  if (size < kMinStream || size > kMaxStream || !std::has_single_bit(size)) return Errno{EPROTO};
  if (side == Side::kClient) TRY(check_memory(memory));  // the server made it
  void* at = mmap(nullptr, total_size(size), PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd.get(), 0);
  if (at == MAP_FAILED) return last_errno();
  return Ring(side, size, static_cast<Page*>(at));
}

Ring::~Ring() {
  if (page_ != nullptr) munmap(page_, total_size(size_));
}

Ring::Stream& Ring::out() const { return side_ == Side::kClient ? page_->requests : page_->replies; }
Ring::Stream& Ring::in() const { return side_ == Side::kClient ? page_->replies : page_->requests; }

std::byte* Ring::bytes_of(const Stream& s) const {
  auto* const first = reinterpret_cast<std::byte*>(page_) + kPage;
  return &s == &page_->requests ? first : first + size_;
}

Result<uint32_t> Ring::used(uint64_t put, uint64_t taken) const {
  if (put - taken > size_) return Errno{EPROTO};
  return static_cast<uint32_t>(put - taken);
}

Result<size_t> Ring::take(std::span<std::byte> to) {
  Stream& s = in();
  const size_t n = std::min<size_t>(TRY(used(s.put.load(std::memory_order_acquire), taken_)), to.size());
  if (n == 0) return size_t{0};
  const size_t at = taken_ & (size_ - 1), first = std::min(n, size_ - at);
  std::memcpy(to.data(), bytes_of(s) + at, first);
  std::memcpy(to.data() + first, bytes_of(s), n - first);
  taken_ += n;
  s.taken.store(taken_, std::memory_order_release);
  return n;
}

Result<size_t> Ring::put(ByteSpan bytes) {
  Stream& s = out();
  const size_t room = size_ - TRY(used(sent_, s.taken.load(std::memory_order_acquire)));
  const size_t n = std::min(room, bytes.size());
  if (n == 0) return size_t{0};
  const size_t at = sent_ & (size_ - 1), first = std::min(n, size_ - at);
  std::memcpy(bytes_of(s) + at, bytes.data(), first);
  std::memcpy(bytes_of(s), bytes.data() + first, n - first);
  sent_ += n;
  s.put.store(sent_, std::memory_order_release);
  return n;
}

Result<size_t> Ring::available() const {
  return size_t{TRY(used(in().put.load(std::memory_order_acquire), taken_))};
}
bool Ring::can_take() const { return in().put.load(std::memory_order_acquire) != taken_; }
bool Ring::can_put() const { return sent_ - out().taken.load(std::memory_order_acquire) != size_; }

std::atomic<uint32_t>& Ring::sleeps(Side side) const {
  return side == Side::kClient ? page_->client_sleeps : page_->server_sleeps;
}

void Ring::announce_sleep(What what) {
  sleeps(side_).store(static_cast<uint32_t>(what));  // sequentially consistent, as the fence below
}

bool Ring::withdraw_sleep() { return sleeps(side_).exchange(0) == 0; }

bool Ring::peer_awaits(What what) {
  auto& word = sleeps(side_ == Side::kClient ? Side::kServer : Side::kClient);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return (word.load(std::memory_order_relaxed) & static_cast<uint32_t>(what)) != 0 && word.exchange(0) != 0;
}

void Ring::count_descriptor() { page_->descriptors.store(++descriptors_, std::memory_order_release); }
uint64_t Ring::descriptors() const { return page_->descriptors.load(std::memory_order_acquire); }

}  // namespace run9::p9
