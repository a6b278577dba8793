// What guest threads are told of files' attributes by their paths (docs/decisions/0038-attributes-that-were-told.md). The table lies where all guests can read it,
// and is enciphered: who may not find a file by its path has not the number that the key comes from (name_calls.h). Without libc's headers, as the stub
// has none.
#pragma once
#include <linux/stat.h>

#include "sentry/platform/name_calls.h"

namespace run9::sentry {

// What stat(2) and statx(2) give.
struct ToldStat {
  uint32_t dev_major, dev_minor, rdev_major, rdev_minor;
  uint32_t mode, nlink, uid, gid;
  uint32_t blksize, mask;  // STATX_*
  struct Time {
    int64_t sec;
    uint32_t nsec, zero = 0;
  } atime, mtime, ctime, btime;
  uint64_t ino, size, blocks;
  uint64_t attributes, mount_id;  // the second, if `mask` says so
};

// struct stat as the kernel has it on x86-64.
struct LinuxStat {
  uint64_t dev, ino, nlink;
  uint32_t mode, uid, gid, pad;
  uint64_t rdev;
  int64_t size, blksize, blocks;
  int64_t atime, atime_nsec, mtime, mtime_nsec, ctime, ctime_nsec;
  int64_t unused[3];
};
static_assert(sizeof(LinuxStat) == 144);

// new_encode_dev() of Linux, as userspace has it.
constexpr uint64_t encode_device(uint32_t major, uint32_t minor) {
  return (major & 0xfff) << 8 | uint64_t{major & ~0xfffu} << 32 | (minor & 0xff) | uint64_t{minor & ~0xffu} << 12;
}

inline void to_linux(const ToldStat& st, LinuxStat& out) {
  out = {};
  out.dev = encode_device(st.dev_major, st.dev_minor), out.rdev = encode_device(st.rdev_major, st.rdev_minor);
  out.ino = st.ino, out.nlink = st.nlink, out.mode = st.mode, out.uid = st.uid, out.gid = st.gid;
  out.size = static_cast<int64_t>(st.size), out.blksize = st.blksize, out.blocks = static_cast<int64_t>(st.blocks);
  out.atime = st.atime.sec, out.atime_nsec = st.atime.nsec;
  out.mtime = st.mtime.sec, out.mtime_nsec = st.mtime.nsec;
  out.ctime = st.ctime.sec, out.ctime_nsec = st.ctime.nsec;
}

inline void to_linux(const ToldStat& st, struct statx& out) {
  const auto stamp = [](const ToldStat::Time& t) {
    struct statx_timestamp s = {};
    s.tv_sec = t.sec, s.tv_nsec = t.nsec;
    return s;
  };
  out = {};
  out.stx_mask = st.mask, out.stx_blksize = st.blksize, out.stx_nlink = st.nlink, out.stx_uid = st.uid, out.stx_gid = st.gid;
  out.stx_mode = static_cast<uint16_t>(st.mode);
  out.stx_ino = st.ino, out.stx_size = st.size, out.stx_blocks = st.blocks;
  out.stx_attributes = st.attributes, out.stx_attributes_mask = STATX_ATTR_MOUNT_ROOT;
  out.stx_atime = stamp(st.atime), out.stx_mtime = stamp(st.mtime), out.stx_ctime = stamp(st.ctime), out.stx_btime = stamp(st.btime);
  out.stx_dev_major = st.dev_major, out.stx_dev_minor = st.dev_minor, out.stx_rdev_major = st.rdev_major, out.stx_rdev_minor = st.rdev_minor;
  out.stx_mnt_id = st.mount_id;
}

// The table: tags, in sets of a cache line, and a record for each.
inline constexpr uint32_t kStatWays = 8, kStatSets = 128, kStatRecords = kStatWays * kStatSets;
inline constexpr uint32_t kStatWords = sizeof(ToldStat) / 8;
static_assert(sizeof(ToldStat) % 8 == 0 && __has_unique_object_representations(ToldStat), "no bytes between that nobody has written");

// `version` is 0 while it is written, and never the same twice.
struct StatRecord {
  uint64_t version;
  uint64_t words[kStatWords];
};
struct StatTable {
  uint64_t tags[kStatRecords];  // 0: nothing is told
  StatRecord records[kStatRecords];
};

constexpr uint32_t stat_set(uint64_t tag) { return static_cast<uint32_t>(tag >> 8) % kStatSets * kStatWays; }

// Enciphers and deciphers.
inline void cipher(uint64_t key, uint64_t version, uint64_t* words) {
  for (uint64_t i = 0; i < kStatWords; ++i) words[i] ^= SipHash(key, version).word(i);
}

}  // namespace run9::sentry
