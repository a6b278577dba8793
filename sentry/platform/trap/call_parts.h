// Memory that a call names in more places than it has windows (call_windows.h): what the header of a message says, or the sets of
// select(2). All of it comes along, or none. Guest thread and Sentry go over it by the same functions, so that neither need say
// where each part lies.
//
// `In` takes one part after the other: take(addr, size) gives where its bytes lie now, null if they are not to be had; data(total)
// says before the parts of the message itself how much they are together.
// `Out` is told where results may go: add(addr, size) is false if they cannot; add_data likewise, for the parts of a message.
#pragma once
#include <asm/unistd.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "sentry/platform/trap/call_windows.h"

namespace run9::sentry::trap {

// Somebody else may write there meanwhile: looked at once.
template <typename T>
T copied_once(const void* from) {
  T copy;
  __builtin_memcpy(&copy, from, sizeof copy);
  asm volatile("" : "+m"(copy));
  return copy;
}

// CallLine::in_length[1], of such a call. The second: some of it lies in the bulk area, but no use can be made of it.
inline constexpr uint16_t kAllParts = 1, kSomeParts = 2;

struct Place {
  bool found, bulk;
  uint32_t offset;
};

// Where the parts lie: in the page's in_buffer behind what is `used`, each at a multiple of 8; those of the message itself without
// gaps, and in the bulk area if they do not fit into the page.
class Places {
 public:
  Places(uint32_t used, uint64_t slot) : at_(used), slot_(slot) {}
  Place next(uint64_t size) {
    if (size > end_ - at_) return {false, bulk_, 0};
    const Place place{true, bulk_, at_};
    at_ += packed_ ? static_cast<uint32_t>(size) : padded(static_cast<uint32_t>(size));
    if (at_ > end_) at_ = end_;
    return place;
  }
  bool data(uint64_t total) {
    packed_ = true;
    if (total <= end_ - at_) return true;
    if (slot_ >= STUB_BULK_SLOTS || total > kMostGathered) return false;
    bulk_ = true;
    at_ = 0;
    end_ = kMostGathered;
    return true;
  }
  bool in_bulk() const { return bulk_; }
  uint64_t slot() const { return slot_; }

 private:
  uint32_t at_, end_ = kInBuffer;
  uint64_t slot_;
  bool packed_ = false, bulk_ = false;
};

inline uint64_t address_of(const void* p) { return reinterpret_cast<uint64_t>(p); }

// The parts of an array of iovec. False: they are more than a call brings along.
template <typename In>
bool take_data(const void* array, uint64_t count, In& in) {
  const auto* const at = static_cast<const uint8_t*>(array);
  uint64_t total = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const auto part = copied_once<iovec>(at + i * sizeof(iovec));
    if (part.iov_len > kMostGathered - total) return false;
    total += part.iov_len;
  }
  if (!in.data(total)) return false;
  for (uint64_t i = 0; i < count; ++i) {
    const auto part = copied_once<iovec>(at + i * sizeof(iovec));
    if (part.iov_len != 0 && in.take(address_of(part.iov_base), part.iov_len) == nullptr) return false;
  }
  return true;
}

inline constexpr uint64_t kMostParts = kInBuffer / sizeof(iovec);

template <typename In>
bool take_sent(const msghdr& m, In& in) {
  if (m.msg_iovlen > kMostParts) return false;
  const void* const array = in.take(address_of(m.msg_iov), m.msg_iovlen * sizeof(iovec));
  if (array == nullptr) return false;
  if (m.msg_name != nullptr && in.take(address_of(m.msg_name), m.msg_namelen) == nullptr) return false;
  if (m.msg_controllen != 0 && in.take(address_of(m.msg_control), m.msg_controllen) == nullptr) return false;
  return take_data(array, m.msg_iovlen, in);
}

template <typename In, typename Out>
bool take_received(uint64_t header, const msghdr& m, In& in, Out& out) {
  if (m.msg_iovlen > kMostParts || m.msg_namelen > sizeof(sockaddr_storage)) return false;
  const void* const array = in.take(address_of(m.msg_iov), m.msg_iovlen * sizeof(iovec));
  if (array == nullptr || !out.add(header, sizeof m)) return false;
  if (m.msg_name != nullptr && !out.add(address_of(m.msg_name), m.msg_namelen)) return false;
  if (m.msg_control != nullptr && !out.add(address_of(m.msg_control), m.msg_controllen)) return false;
  for (uint64_t i = 0; i < m.msg_iovlen; ++i) {
    const auto part = copied_once<iovec>(static_cast<const uint8_t*>(array) + i * sizeof(iovec));
    if (!out.add_data(address_of(part.iov_base), part.iov_len)) return false;
  }
  return true;
}

template <typename In, typename Out>
bool take_sets(uint64_t nr, const uint64_t* args, In& in, Out& out) {
  constexpr int32_t kMostDescriptors = 1024;
  const auto count = static_cast<int32_t>(args[0]);
  if (count < 0 || count > kMostDescriptors) return false;
  const uint64_t size = static_cast<uint64_t>(count + 63) / 64 * 8;
  for (int i = 1; i <= 3; ++i) {
    if (args[i] != 0 && (in.take(args[i], size) == nullptr || !out.add(args[i], size))) return false;
  }
  if (args[4] != 0 && (in.take(args[4], sizeof(timespec)) == nullptr || !out.add(args[4], sizeof(timespec)))) return false;
  if (nr != __NR_pselect6 || args[5] == 0) return true;
  const void* const mask = in.take(args[5], 16);
  if (mask == nullptr) return false;
  const auto at = copied_once<uint64_t>(mask);
  return at == 0 || in.take(at, 8) != nullptr;
}

}  // namespace run9::sentry::trap
