#include "sentry/platform/ptrace/xstate.h"

#include <elf.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstdint>

#ifndef NT_X86_XSTATE
#define NT_X86_XSTATE 0x202
#endif

namespace run9::sentry::ptrace {
namespace {

constexpr size_t kControlWord = 0, kMxcsr = 24, kSoftwareWords = 464, kHeader = 512, kHeaderSize = 64;
constexpr uint32_t kMagic1 = 0x46505853, kMagic2 = 0x46505845;
constexpr uint64_t kLegacyFeatures = 3;  // x87, SSE
constexpr size_t kLargest = 16384;

struct SoftwareWords {  // struct _fpx_sw_bytes
  uint32_t magic1;
  uint32_t extended_size;
  uint64_t xfeatures;
  uint32_t xstate_size;
  uint32_t padding[7];
};
static_assert(kSoftwareWords + sizeof(SoftwareWords) == kHeader);

Result<std::vector<std::byte>> get(int tid) {
  std::array<std::byte, kLargest> buffer;
  iovec iov{buffer.data(), buffer.size()};
  if (::ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &iov) != 0) return last_errno();
  if (iov.iov_len < kHeader + kHeaderSize) return Errno{ENOTSUP};
  return std::vector<std::byte>(buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(iov.iov_len));
}

Result<void> put(int tid, std::vector<std::byte>& state) {
  iovec iov{state.data(), state.size()};
  if (::ptrace(PTRACE_SETREGSET, tid, NT_X86_XSTATE, &iov) != 0) return Errno{EINVAL};
  return ok();
}

}  // namespace

Result<std::vector<std::byte>> read_xstate(int tid) {
  auto state = TRY(get(tid));
  const auto size = static_cast<uint32_t>(state.size());
  SoftwareWords words{};
  words.magic1 = kMagic1;
  words.extended_size = size + 4;
  memcpy(&words.xfeatures, &state[kSoftwareWords], sizeof words.xfeatures);  // where ptrace puts XCR0
  words.xstate_size = size;
  memcpy(&state[kSoftwareWords], &words, sizeof words);
  const auto* magic2 = reinterpret_cast<const std::byte*>(&kMagic2);
  state.insert(state.end(), magic2, magic2 + sizeof kMagic2);
  return state;
}

Result<void> write_xstate(int tid, ByteSpan frame) {
  if (frame.size() < kHeader + kHeaderSize + sizeof kMagic2) return Errno{EINVAL};
  std::vector<std::byte> state(frame.begin(), frame.end() - sizeof kMagic2);
  SoftwareWords words;
  memcpy(&words, &state[kSoftwareWords], sizeof words);
  uint32_t magic2 = 0;
  memcpy(&magic2, &frame[state.size()], sizeof magic2);
  uint64_t present = 0;
  memcpy(&present, &state[kHeader], sizeof present);
  // As the host's sigreturn: without the magic numbers only the legacy part counts, and the rest is reset.
  const bool extended = words.magic1 == kMagic1 && magic2 == kMagic2;
  if (extended) {
    present &= words.xfeatures;
  } else {
    std::fill(state.begin() + kHeader, state.end(), std::byte{0});
    present = kLegacyFeatures;
  }
  memcpy(&state[kHeader], &present, sizeof present);
  return put(tid, state);
}

Result<void> write_initial_xstate(int tid) {
  auto state = TRY(get(tid));
  std::fill(state.begin(), state.end(), std::byte{0});
  const uint16_t control_word = 0x37f;
  const uint32_t mxcsr = 0x1f80;
  memcpy(&state[kControlWord], &control_word, sizeof control_word);
  memcpy(&state[kMxcsr], &mxcsr, sizeof mxcsr);
  memcpy(&state[kHeader], &kLegacyFeatures, sizeof kLegacyFeatures);
  return put(tid, state);
}

}  // namespace run9::sentry::ptrace
