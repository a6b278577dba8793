// TrapPlatform, what guests were told of paths: the table that all stubs have read-only (name_calls.h).
#include "sentry/platform/name_calls.h"
#include "sentry/platform/trap/trap_platform.h"

namespace run9::sentry::trap {

static_assert(STUB_NAMES + kNameSets * kNameWays * sizeof(uint64_t) <= STUB_SHARED + STUB_SHARED_SIZE);
static_assert(kMostOfName < kInBuffer);

void TrapPlatform::tell_of_name(uint64_t secret, std::string_view path, uint32_t facts) {
  if (path.empty() || path.size() > kMostOfName) return;
  const uint64_t hash = name_hash(secret, shared().names_round, path.data(), path.size());
  auto* const set = reinterpret_cast<uint64_t*>(static_cast<char*>(shared_.data()) + (STUB_NAMES - STUB_SHARED)) + name_set(hash);
  uint32_t way = 0;
  while (way < kNameWays && !same_name(set[way], hash)) ++way;
  if (way < kNameWays) facts |= set[way] & kNameFacts;
  // Another one goes: which, is the hash's choice.
  if (way == kNameWays) way = (hash >> 61) % kNameWays;
  __atomic_store_n(&set[way], (hash & ~uint64_t{kNameFacts}) | facts, __ATOMIC_RELAXED);
}

// Whoever has looked at it before has answered before.
void TrapPlatform::forget_names() { __atomic_store_n(&shared().names_round, shared().names_round + 1, __ATOMIC_RELEASE); }

}  // namespace run9::sentry::trap
