// Calls by a path that this process has been told of.
#pragma once
#include "sentry/platform/name_calls.h"
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

// False: it is the Sentry's to answer; if `brought` is not 0, that many bytes of in_buffer are the path with its end.
inline bool answer_name(ControlPage* c, uint64_t nr, uint64_t& value, uint32_t& brought) {
  const Identity& id = c->identity;
  if (id.names_of_root == 0) return false;
  const uint64_t args[] = {c->gregs[kRdi], c->gregs[kRsi], c->gregs[kRdx], c->gregs[kR10]};
  NameCall call;
  if (!name_call(nr, args, call) || args[call.path] >= kGuestEnd) return false;
  // What is answered is true of this moment.
  const uint64_t round = __atomic_load_n(&shared()->names_round, __ATOMIC_ACQUIRE);
  char* const path = reinterpret_cast<char*>(c->in_buffer);
  const long size = try_string(path, reinterpret_cast<const char*>(args[call.path]), kMostOfName + 1);
  if (size <= 1 || size > static_cast<long>(kMostOfName + 1)) return false;
  const bool absolute = path[0] == '/';
  if (!absolute && !begins_here(call, args)) return false;
  const uint64_t secret = absolute ? id.names_of_root : id.names_here;
  const int error = answer_by(call, facts_of(name_hash(secret, round, path, static_cast<size_t>(size - 1))));
  value = static_cast<uint64_t>(int64_t{error});
  brought = static_cast<uint32_t>(size);
  return error != 0;
}

}  // namespace run9::sentry::trap::stub
