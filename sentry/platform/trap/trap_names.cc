// TrapPlatform, what guests were told of paths: the tables that all stubs have read-only (name_calls.h, told_stat.h).
#include <algorithm>
#include <cstring>

#include "sentry/platform/told_stat.h"
#include "sentry/platform/trap/trap_platform.h"

namespace run9::sentry::trap {

static_assert(STUB_NAMES + kNameSets * kNameWays * sizeof(uint64_t) <= STUB_STATS);
static_assert(STUB_STATS + sizeof(StatTable) <= STUB_SHARED + STUB_SHARED_SIZE);
static_assert(kMostOfName < kInBuffer);

namespace {

template <typename T>
T* in_shared(const SharedMemory& shared, uint64_t address) {
  return reinterpret_cast<T*>(static_cast<char*>(shared.data()) + (address - STUB_SHARED));
}

}  // namespace

void TrapPlatform::tell_of_name(uint64_t secret, std::string_view path, uint32_t facts) {
  if (path.empty() || path.size() > kMostOfName) return;
  const uint64_t hash = name_hash(secret, shared().names_round, path.data(), path.size());
  auto* const set = in_shared<uint64_t>(shared_, STUB_NAMES) + name_set(hash);
  uint32_t way = 0;
  while (way < kNameWays && !same_name(set[way], hash)) ++way;
  if (way < kNameWays) facts |= set[way] & kNameFacts;
  // Another one goes: which, is the hash's choice.
  if (way == kNameWays) way = (hash >> 61) % kNameWays;
  __atomic_store_n(&set[way], (hash & ~uint64_t{kNameFacts}) | facts, __ATOMIC_RELAXED);
}

// Its own, a free one, or another's.
uint32_t TrapPlatform::stat_record(uint64_t secret, bool follow, std::string_view path) {
  const uint64_t tag = stat_key(secret, shared().stats_round, follow, path.data(), path.size()).tag;
  const uint64_t* const set = in_shared<StatTable>(shared_, STUB_STATS)->tags + stat_set(tag);
  const auto way = [&](uint64_t entry) { return static_cast<uint32_t>(std::find(set, set + kStatWays, entry) - set); };
  uint32_t found = way(tag);
  if (found == kStatWays) found = way(0);
  if (found == kStatWays) found = (tag >> 61) % kStatWays;
  return stat_set(tag) + found;
}

void TrapPlatform::tell_of_stat(uint32_t record, uint64_t secret, bool follow, std::string_view path, const ToldStat& st) {
  if (path.size() > kMostOfName || record >= kStatRecords) return;
  const StatKey key = stat_key(secret, shared().stats_round, follow, path.data(), path.size());
  auto& table = *in_shared<StatTable>(shared_, STUB_STATS);
  uint64_t& tag = table.tags[record];
  const uint64_t version = ++stats_told_;
  uint64_t words[kStatWords];
  memcpy(words, &st, sizeof words);
  cipher(key.cipher, version, words);
  StatRecord& to = table.records[record];
  __atomic_store_n(&tag, 0, __ATOMIC_RELAXED);
  __atomic_store_n(&to.version, 0, __ATOMIC_RELAXED);
  __atomic_thread_fence(__ATOMIC_RELEASE);
  for (uint32_t i = 0; i < kStatWords; ++i) __atomic_store_n(&to.words[i], words[i], __ATOMIC_RELAXED);
  __atomic_store_n(&to.version, version, __ATOMIC_RELEASE);
  __atomic_store_n(&tag, key.tag, __ATOMIC_RELEASE);
}

void TrapPlatform::forget_stat(uint32_t record) {
  __atomic_store_n(&in_shared<StatTable>(shared_, STUB_STATS)->tags[record % kStatRecords], 0, __ATOMIC_RELEASE);
}

// Whoever has looked at it before has answered before.
void TrapPlatform::forget_missing_names() { __atomic_store_n(&shared().names_round, shared().names_round + 1, __ATOMIC_RELEASE); }

void TrapPlatform::forget_names() {
  forget_missing_names();
  __atomic_store_n(&shared().stats_round, shared().stats_round + 1, __ATOMIC_RELEASE);
}

}  // namespace run9::sentry::trap
