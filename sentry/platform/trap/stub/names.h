// Calls by a path that this process has been told of.
#pragma once
#include "sentry/platform/told_stat.h"
#include "sentry/platform/trap/stub/page.h"

namespace run9::sentry::trap::stub {

inline uint32_t facts_of(uint64_t hash) {
  const auto* const set = reinterpret_cast<const uint64_t*>(STUB_NAMES) + name_set(hash);
  for (uint32_t i = 0; i < kNameWays; ++i) {
    const uint64_t entry = __atomic_load_n(&set[i], __ATOMIC_RELAXED);
    if (same_name(entry, hash)) return static_cast<uint32_t>(entry & kNameFacts);
  }
  return 0;
}

// What is told of a path's attributes is true as long as its tag stands there.
inline bool find_stat(const StatKey& key, ToldStat& found) {
  const auto& table = *reinterpret_cast<const StatTable*>(STUB_STATS);
  for (uint32_t i = stat_set(key.tag), end = i + kStatWays; i < end; ++i) {
    if (__atomic_load_n(&table.tags[i], __ATOMIC_ACQUIRE) != key.tag) continue;
    const StatRecord& record = table.records[i];
    const uint64_t version = __atomic_load_n(&record.version, __ATOMIC_ACQUIRE);
    uint64_t words[kStatWords];
    for (uint32_t k = 0; k < kStatWords; ++k) words[k] = __atomic_load_n(&record.words[k], __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (version == 0 || __atomic_load_n(&record.version, __ATOMIC_RELAXED) != version) return false;
    if (__atomic_load_n(&table.tags[i], __ATOMIC_ACQUIRE) != key.tag) return false;
    cipher(key.cipher, version, words);
    __builtin_memcpy(&found, words, sizeof found);
    return true;
  }
  return false;
}

template <typename Stat>
bool give_stat(const ToldStat& st, uint64_t to) {
  Stat out;
  to_linux(st, out);
  return try_copy(reinterpret_cast<void*>(to), &out, sizeof out) == 0;
}

inline bool stat_of_name(const NameCall& call, uint64_t secret, uint64_t round, const char* path, size_t length, uint64_t to) {
  ToldStat st;
  if (to >= kGuestEnd || !find_stat(stat_key(secret, round, call.follow, path, length), st)) return false;
  return call.statx ? give_stat<struct statx>(st, to) : give_stat<LinuxStat>(st, to);
}

// False: it is the Sentry's to answer; if `brought` is not 0, that many bytes of in_buffer are the path with its end.
inline bool answer_name(ControlPage* c, uint64_t nr, uint64_t& value, uint32_t& brought) {
  const Identity& id = c->identity;
  if (id.names_of_root == 0) return false;
  const uint64_t args[] = {c->gregs[kRdi], c->gregs[kRsi], c->gregs[kRdx], c->gregs[kR10], c->gregs[kR8]};
  NameCall call;
  if (!name_call(nr, args, call) || args[call.path] >= kGuestEnd) return false;
  // What is answered is true of this moment.
  const uint64_t round = __atomic_load_n(&shared()->names_round, __ATOMIC_ACQUIRE), stats = __atomic_load_n(&shared()->stats_round, __ATOMIC_ACQUIRE);
  char* const path = reinterpret_cast<char*>(c->in_buffer);
  const long size = try_string(path, reinterpret_cast<const char*>(args[call.path]), kMostOfName + 1);
  if (size <= 1 || size > static_cast<long>(kMostOfName + 1)) return false;
  const bool absolute = path[0] == '/';
  if (!absolute && !begins_here(call, args)) return false;
  const uint64_t secret = absolute ? id.names_of_root : id.names_here;
  const auto length = static_cast<size_t>(size - 1);
  const int error = answer_by(call, facts_of(name_hash(secret, round, path, length)));
  value = static_cast<uint64_t>(int64_t{error});
  brought = static_cast<uint32_t>(size);
  return error != 0 || (call.stat != 0 && stat_of_name(call, secret, stats, path, length, args[call.stat]));
}

}  // namespace run9::sentry::trap::stub
