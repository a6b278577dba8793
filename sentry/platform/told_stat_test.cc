#include "sentry/platform/told_stat.h"

#include <gtest/gtest.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <set>
#include <string_view>

namespace run9::sentry {
namespace {

StatKey key_of(uint64_t secret, uint64_t round, bool follow, std::string_view path) { return stat_key(secret, round, follow, path.data(), path.size()); }

TEST(ToldStat, KeysDifferByAllThatTheyAreMadeOf) {
  std::set<uint64_t> tags, ciphers;
  for (const uint64_t secret : {1, 2}) {
    for (const uint64_t round : {1, 2}) {
      for (const bool follow : {false, true}) {
        for (const auto* path : {"a", "b", "/a", "/a/long/path/of/more/than/one/word"}) {
          const StatKey key = key_of(secret, round, follow, path);
          tags.insert(key.tag), ciphers.insert(key.cipher);
          EXPECT_NE(key.tag, key.cipher);
          EXPECT_NE(key.tag, name_hash(secret, round, path, strlen(path)));
        }
      }
    }
  }
  EXPECT_EQ(tags.size(), 32u);
  EXPECT_EQ(ciphers.size(), 32u);
}

TEST(ToldStat, DeciphersWithTheSameKeyAndVersionAlone) {
  uint64_t words[kStatWords], plain[kStatWords];
  for (uint64_t i = 0; i < kStatWords; ++i) plain[i] = i;
  const auto enciphered = [&](uint64_t key, uint64_t version) {
    memcpy(words, plain, sizeof words);
    cipher(key, version, words);
    return memcmp(words, plain, sizeof words) != 0;
  };
  ASSERT_TRUE(enciphered(1, 1));
  std::set<uint64_t> seen(words, words + kStatWords);
  EXPECT_EQ(seen.size(), kStatWords);
  uint64_t of_first[kStatWords];
  memcpy(of_first, words, sizeof words);
  cipher(1, 1, words);
  EXPECT_EQ(0, memcmp(words, plain, sizeof words));
  // The same words under another version have nothing in common with those.
  ASSERT_TRUE(enciphered(1, 2));
  for (uint64_t i = 0; i < kStatWords; ++i) EXPECT_NE(words[i], of_first[i]);
}

TEST(ToldStat, DevicesAsLibcHasThem) {
  for (const uint32_t major : {0u, 1u, 0xfffu, 0x1000u, 0xffffffffu}) {
    for (const uint32_t minor : {0u, 3u, 0xffu, 0x100u, 0xfffffu, 0xffffffffu}) EXPECT_EQ(encode_device(major, minor), makedev(major, minor));
  }
}

TEST(ToldStat, LaysOutWhatLibcHas) {
  const ToldStat st{.dev_major = 1, .dev_minor = 2, .rdev_major = 3, .rdev_minor = 4, .mode = S_IFREG | 0644, .nlink = 5, .uid = 6, .gid = 7, .blksize = 4096, .mask = 8,
                    .atime = {9, 10}, .mtime = {11, 12}, .ctime = {13, 14}, .btime = {15, 16}, .ino = 17, .size = 18, .blocks = 19, .attributes = 20, .mount_id = 21};
  LinuxStat raw;
  to_linux(st, raw);
  struct stat out;
  static_assert(sizeof out == sizeof raw);
  memcpy(&out, &raw, sizeof out);
  EXPECT_EQ(out.st_dev, makedev(1, 2));
  EXPECT_EQ(out.st_rdev, makedev(3, 4));
  EXPECT_EQ(out.st_mode, S_IFREG | 0644u);
  EXPECT_EQ(out.st_nlink, 5u);
  EXPECT_EQ(out.st_uid, 6u);
  EXPECT_EQ(out.st_gid, 7u);
  EXPECT_EQ(out.st_blksize, 4096);
  EXPECT_EQ(out.st_atim.tv_sec, 9);
  EXPECT_EQ(out.st_atim.tv_nsec, 10);
  EXPECT_EQ(out.st_mtim.tv_sec, 11);
  EXPECT_EQ(out.st_ctim.tv_nsec, 14);
  EXPECT_EQ(out.st_ino, 17u);
  EXPECT_EQ(out.st_size, 18);
  EXPECT_EQ(out.st_blocks, 19);
}

}  // namespace
}  // namespace run9::sentry
