// Calls that guest threads answer by what they were told of a path (docs/decisions/0032-names-that-were-told.md): that there is no such name, that
// it is no symbolic link, or what its attributes are (told_stat.h). The table that they find it in is read-only for guests; kernel and stub work out the place of a path by the
// same functions. Without libc's headers, as the stub has none.
#pragma once
#include <asm/unistd.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

namespace run9::sentry {

// What may be said of a path.
inline constexpr uint32_t kNobodyThere = 1;  // ENOENT for who follows a symbolic link at its end
inline constexpr uint32_t kNoName = 2;       // and for who does not
inline constexpr uint32_t kNoLink = 4;       // something is there, and readlink(2) gives EINVAL
inline constexpr uint32_t kNameFacts = kNobodyThere | kNoName | kNoLink;

struct NameCall {
  uint8_t path = 0;  // which argument
  bool at = false;   // the first one is a directory's descriptor
  bool follow = true;
  bool readlink = false;
  uint8_t stat = 0;  // which argument is where a struct stat goes, or with `statx` a struct statx; 0: none
  bool statx = false;
};

// False: not this one, or not with these arguments.
constexpr bool name_call(uint64_t nr, const uint64_t* args, NameCall& call) {
  constexpr uint32_t kCreat = 0100, kTmpfile = 020000000, kNoFollow = 0400000;  // O_*
  constexpr uint32_t kAtNoFollow = 0x100, kAtEaccess = 0x200, kAtNoAutomount = 0x800, kAtEmptyPath = 0x1000;
  constexpr uint32_t kStatxReserved = 0x80000000, kStatxMntIdUnique = 0x4000;
  uint32_t flags = 0, known = 0;
  call = {};
  switch (nr) {
    case __NR_openat: call.at = true; [[fallthrough]];
    case __NR_open:
      call.path = call.at ? 1 : 0;
      flags = static_cast<uint32_t>(args[call.path + 1]);
      call.follow = (flags & kNoFollow) == 0;
      return (flags & (kCreat | kTmpfile)) == 0;
    case __NR_execve: return true;
    case __NR_lstat: call.follow = false; [[fallthrough]];
    case __NR_stat: call.stat = 1; return true;
    case __NR_faccessat:
    case __NR_faccessat2: call.at = true; [[fallthrough]];
    case __NR_access:
      call.path = call.at ? 1 : 0;
      if ((static_cast<uint32_t>(args[call.path + 1]) & ~7u) != 0) return false;
      if (nr != __NR_faccessat2) return true;
      flags = static_cast<uint32_t>(args[3]);
      known = kAtNoFollow | kAtEaccess | kAtEmptyPath;
      break;
    case __NR_statx:
      if ((args[3] & (kStatxReserved | kStatxMntIdUnique)) != 0) return false;
      call.statx = true;
      [[fallthrough]];
    case __NR_newfstatat:
      call.stat = call.statx ? 4 : 2;
      call.at = true;
      call.path = 1;
      flags = static_cast<uint32_t>(args[nr == __NR_statx ? 2 : 3]);
      known = kAtNoFollow | kAtNoAutomount | kAtEmptyPath;
      break;
    case __NR_readlinkat: call.at = true; [[fallthrough]];
    case __NR_readlink:
      call.path = call.at ? 1 : 0;
      call.follow = false;
      call.readlink = true;
      return static_cast<int32_t>(args[call.path + 2]) > 0;
    default: return false;
  }
  call.follow = (flags & kAtNoFollow) == 0;
  return (flags & ~known) == 0;
}

// Is the path's beginning the working directory, or the root? Else it is some descriptor's directory.
inline bool begins_here(const NameCall& call, const uint64_t* args) {
  constexpr int32_t kAtFdcwd = -100;
  return !call.at || static_cast<int32_t>(args[0]) == kAtFdcwd;
}

// The error that the call gives by these facts, less than 0; 0: they do not say.
inline int answer_by(const NameCall& call, uint32_t facts) {
  if ((facts & (call.follow ? kNobodyThere : kNoName)) != 0) return -ENOENT;
  return call.readlink && (facts & kNoLink) != 0 ? -EINVAL : 0;
}

// SipHash-1-3 (Aumasson and Bernstein, 2012): a function of a message that nobody can compute who does not know both halves of its key.
class SipHash {
 public:
  constexpr SipHash(uint64_t k0, uint64_t k1)
      : v0_(k0 ^ 0x736f6d6570736575), v1_(k1 ^ 0x646f72616e646f6d), v2_(k0 ^ 0x6c7967656e657261), v3_(k1 ^ 0x7465646279746573) {}
  // Of a message of one word.
  uint64_t word(uint64_t m) {
    take(m);
    return end(0xff);
  }
  void message(const char* bytes, size_t length) {
    size_t at = 0;
    for (; at + 8 <= length; at += 8) {
      uint64_t m;
      __builtin_memcpy(&m, bytes + at, 8);
      take(m);
    }
    uint64_t last = uint64_t{length} << 56;
    for (int i = 0; at < length; ++at, ++i) last |= uint64_t{static_cast<unsigned char>(bytes[at])} << (8 * i);
    take(last);
  }
  // Another value for each `mark`, of the same message.
  uint64_t end(uint8_t mark) {
    v2_ ^= mark;
    mix(), mix(), mix();
    return v0_ ^ v1_ ^ v2_ ^ v3_;
  }

 private:
  static constexpr uint64_t rotl(uint64_t x, int b) { return x << b | x >> (64 - b); }
  void mix() {
    v0_ += v1_, v1_ = rotl(v1_, 13), v1_ ^= v0_, v0_ = rotl(v0_, 32);
    v2_ += v3_, v3_ = rotl(v3_, 16), v3_ ^= v2_;
    v0_ += v3_, v3_ = rotl(v3_, 21), v3_ ^= v0_;
    v2_ += v1_, v1_ = rotl(v1_, 17), v1_ ^= v2_, v2_ = rotl(v2_, 32);
  }
  void take(uint64_t m) {
    v3_ ^= m;
    mix();
    v0_ ^= m;
  }
  uint64_t v0_, v1_, v2_, v3_;
};

// Who does not know `secret` cannot say where a path would be found. `round` changes when all that was told is void.
inline uint64_t name_hash(uint64_t secret, uint64_t round, const char* path, size_t length) {
  SipHash hash(secret, round);
  hash.message(path, length);
  return hash.end(0xff);
}

// Where what is told of its attributes is found, and what that is enciphered by (told_stat.h). `follow`: those of what a link at its end leads to.
struct StatKey {
  uint64_t tag, cipher;
};
inline StatKey stat_key(uint64_t secret, uint64_t round, bool follow, const char* path, size_t length) {
  SipHash hash(secret, ~round);
  hash.message(path, length);
  const uint64_t tag = hash.end(follow ? 0xee : 0xcc) | 1;
  return {tag, hash.end(0xdd)};
}

// The table: sets of entries, one set a cache line. An entry is a path's hash with what is said of it in the lowest bits; one that is not of the
// current round is met by no hash.
inline constexpr uint32_t kNameWays = 8, kNameSets = 512;
inline constexpr size_t kMostOfName = 255;  // bytes of a path that may be told
constexpr uint32_t name_set(uint64_t hash) { return static_cast<uint32_t>(hash % kNameSets) * kNameWays; }
constexpr bool same_name(uint64_t entry, uint64_t hash) { return ((entry ^ hash) & ~uint64_t{kNameFacts}) == 0; }

}  // namespace run9::sentry
