// mprotect, mremap and protection keys.
#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

using MremapTest = DirTest;

TEST_F(MremapTest, ProtectSplitsAndJoins) {
  auto* p = static_cast<char*>(map_anonymous(3 * kPage));
  memset(p, 5, 3 * kPage);
  EXPECT_OK(sys(SYS_mprotect, p + kPage, kPage, PROT_READ));
  EXPECT_EQ(0, touch(p + kPage, false));
  EXPECT_EQ(SIGSEGV, touch(p + kPage, true));
  EXPECT_EQ(0, touch(p, true));
  EXPECT_EQ(0, touch(p + 2 * kPage, true));
  EXPECT_OK(sys(SYS_mprotect, p, 3 * kPage, PROT_NONE));
  EXPECT_EQ(SIGSEGV, touch(p, false));
  Pipe pipe;
  EXPECT_ERR(EFAULT, write(pipe.w, p, 1));
  EXPECT_OK(sys(SYS_mprotect, p, 3 * kPage, PROT_READ | PROT_WRITE));
  for (size_t i = 0; i < 3 * kPage; ++i) ASSERT_EQ(5, p[i]);
  munmap(p, 3 * kPage);
}

TEST_F(MremapTest, ProtectErrors) {
  auto* p = static_cast<char*>(map_anonymous(3 * kPage));
  EXPECT_OK(sys(SYS_mprotect, p, 0, PROT_NONE));
  EXPECT_ERR(EINVAL, sys(SYS_mprotect, p + 1, kPage, PROT_READ));
  EXPECT_ERR(EINVAL, sys(SYS_mprotect, p, kPage, 0x100));
  EXPECT_ERR(ENOMEM, sys(SYS_mprotect, bad(), kPage, PROT_READ));
  munmap(p + kPage, kPage);
  EXPECT_ERR(ENOMEM, sys(SYS_mprotect, p, 3 * kPage, PROT_READ));
  EXPECT_EQ(SIGSEGV, touch(p, true));  // what comes before the hole was changed
  munmap(p, 3 * kPage);
  Fd fd = open_file("f", std::string(kPage, 'x'));
  Fd read_only(open(at("f").c_str(), O_RDONLY));
  void* shared = mmap(nullptr, kPage, PROT_READ, MAP_SHARED, read_only, 0);
  ASSERT_OK(shared);
  EXPECT_ERR(EACCES, sys(SYS_mprotect, shared, kPage, PROT_READ | PROT_WRITE));
  munmap(shared, kPage);
}

TEST_F(MremapTest, GrowAndShrink) {
  auto* p = static_cast<char*>(map_anonymous(8 * kPage));
  memset(p, 'x', 8 * kPage);
  munmap(p + 4 * kPage, 4 * kPage);
  auto* grown = reinterpret_cast<char*>(sys(SYS_mremap, p, 4 * kPage, 8 * kPage, 0));
  ASSERT_EQ(p, grown);  // the room behind it is free
  EXPECT_EQ('x', p[3 * kPage]);
  EXPECT_EQ(0, p[4 * kPage]);
  EXPECT_EQ(as_result(p), sys(SYS_mremap, p, 8 * kPage, 2 * kPage, 0));
  EXPECT_EQ(SIGSEGV, touch(p + 2 * kPage, false));
  EXPECT_EQ('x', p[kPage]);
  munmap(p, 2 * kPage);
}

TEST_F(MremapTest, MayMove) {
  auto* p = static_cast<char*>(map_anonymous(3 * kPage));
  memset(p, 'x', 3 * kPage);
  EXPECT_ERR(ENOMEM, sys(SYS_mremap, p, kPage, 4 * kPage, 0));  // its neighbour is in the way
  auto* moved = reinterpret_cast<char*>(sys(SYS_mremap, p, kPage, 64 * kPage, MREMAP_MAYMOVE));
  ASSERT_OK(moved);
  EXPECT_NE(p, moved);
  EXPECT_EQ('x', moved[kPage - 1]);
  EXPECT_EQ(0, moved[kPage]);
  EXPECT_EQ(SIGSEGV, touch(p, false));
  EXPECT_EQ('x', p[kPage]);
  munmap(moved, 64 * kPage);
  munmap(p + kPage, 2 * kPage);
}

TEST_F(MremapTest, FixedReplacesWhatWasThere) {
  auto* p = static_cast<char*>(map_anonymous(2 * kPage));
  auto* q = static_cast<char*>(map_anonymous(2 * kPage));
  memset(p, 'p', 2 * kPage);
  memset(q, 'q', 2 * kPage);
  const int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
  EXPECT_EQ(as_result(q), sys(SYS_mremap, p, kPage, kPage, flags, q));
  EXPECT_EQ('p', q[0]);
  EXPECT_EQ('q', q[kPage]);
  EXPECT_EQ(SIGSEGV, touch(p, false));
  EXPECT_ERR(EINVAL,
             sys(SYS_mremap, q, 2 * kPage, 2 * kPage, flags, q + kPage));  // overlaps itself
  EXPECT_ERR(EINVAL, sys(SYS_mremap, q, kPage, kPage, MREMAP_FIXED, p));
  EXPECT_ERR(EINVAL, sys(SYS_mremap, q, kPage, kPage, flags, p + 1));
  munmap(p, 2 * kPage);
  munmap(q, 2 * kPage);
}

TEST_F(MremapTest, DontUnmapLeavesEmptyMemoryBehind) {
  auto* p = static_cast<char*>(map_anonymous(kPage));
  p[0] = 'x';
  auto* q = reinterpret_cast<char*>(
      sys(SYS_mremap, p, kPage, kPage, MREMAP_MAYMOVE | 4 /* DONTUNMAP */, 0));
  ASSERT_OK(q);
  EXPECT_EQ('x', q[0]);
  EXPECT_EQ(0, p[0]);
  munmap(p, kPage);
  munmap(q, kPage);
}

// What grew in place is one mapping, whatever was advised before: it moves as one.
TEST_F(MremapTest, GrowsAfterAdviceAndMoves) {
  for (const int advice : {MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_SEQUENTIAL}) {
    auto* room = static_cast<char*>(map_anonymous(16 * kPage));
    ASSERT_OK(munmap(room + 4 * kPage, 12 * kPage));
    ASSERT_OK(madvise(room, 4 * kPage, advice));
    memset(room, 'a', 4 * kPage);
    ASSERT_EQ(room, mremap(room, 4 * kPage, 8 * kPage, 0));
    memset(room + 4 * kPage, 'b', 4 * kPage);
    auto* to = static_cast<char*>(map_anonymous(32 * kPage));
    ASSERT_EQ(to, mremap(room, 8 * kPage, 16 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, to));
    EXPECT_EQ('a', to[4 * kPage - 1]);
    EXPECT_EQ('b', to[8 * kPage - 1]);
    EXPECT_EQ(0, to[8 * kPage]);
    munmap(to, 32 * kPage);
  }
}

TEST_F(MremapTest, Errors) {
  auto* p = static_cast<char*>(map_anonymous(2 * kPage));
  EXPECT_ERR(EINVAL, sys(SYS_mremap, p + 1, kPage, kPage, 0));
  EXPECT_ERR(EINVAL, sys(SYS_mremap, p, kPage, 0, 0));
  EXPECT_ERR(EINVAL, sys(SYS_mremap, p, kPage, kPage, 64));
  EXPECT_ERR(EFAULT, sys(SYS_mremap, bad(), kPage, 2 * kPage, MREMAP_MAYMOVE));
  EXPECT_ERR(EINVAL,
             sys(SYS_mremap, p, 0, kPage, MREMAP_MAYMOVE));  // private memory cannot be doubled
  munmap(p + kPage, kPage);
  EXPECT_ERR(EFAULT, sys(SYS_mremap, p, 2 * kPage, 4 * kPage, MREMAP_MAYMOVE));
  munmap(p, kPage);
}

TEST_F(MremapTest, OldSizeZeroDuplicatesASharedMapping) {
  auto* p = static_cast<char*>(map_anonymous(kPage, PROT_READ | PROT_WRITE, MAP_SHARED));
  auto* q = reinterpret_cast<char*>(sys(SYS_mremap, p, 0, kPage, MREMAP_MAYMOVE));
  ASSERT_OK(q);
  p[0] = 'x';
  EXPECT_EQ('x', q[0]);
  munmap(p, kPage);
  EXPECT_EQ('x', q[0]);
  munmap(q, kPage);
}

TEST_F(MremapTest, FileMappingMovesWithItsOffset) {
  Fd fd =
      open_file("f", std::string(kPage, 'a') + std::string(kPage, 'b') + std::string(kPage, 'c'));
  auto* p = static_cast<char*>(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd, kPage));
  auto* q = reinterpret_cast<char*>(sys(SYS_mremap, p, kPage, 2 * kPage, MREMAP_MAYMOVE));
  ASSERT_OK(q);
  EXPECT_EQ('b', q[0]);
  EXPECT_EQ('c', q[kPage]);
  munmap(q, 2 * kPage);
}

TEST_F(MremapTest, ProtectionKeysArePresentOrHonestlyMissing) {
  const long key = sys(SYS_pkey_alloc, 0, 0);
  auto* p = static_cast<char*>(map_anonymous(kPage));
  EXPECT_OK(sys(SYS_pkey_mprotect, p, kPage, PROT_READ, -1));  // key -1: plain mprotect
  if (key == -1) {
    EXPECT_TRUE(errno == ENOSPC || errno == ENOSYS || errno == EINVAL) << errno_name(errno);
  } else {
    EXPECT_OK(sys(SYS_pkey_free, key));
  }
  EXPECT_ERR(EINVAL, sys(SYS_pkey_alloc, 1, 0));
  EXPECT_ERR(EINVAL, sys(SYS_pkey_alloc, 0, 99));
  EXPECT_ERR(EINVAL, sys(SYS_pkey_free, 99));
  EXPECT_EQ(-1, sys(SYS_pkey_free, 15));
  EXPECT_EQ(-1, sys(SYS_pkey_mprotect, p, kPage, PROT_READ, 15));
  munmap(p, kPage);
}

// One node, as on most machines: policies are accepted or refused, and change nothing that could be seen.
TEST_F(MremapTest, MemoryPolicies) {
  constexpr int kDefault = 0, kPreferred = 1, kBind = 2, kLocal = 4;
  constexpr unsigned kOfAnAddress = 2, kAllowed = 4, kMove = 2;
  int mode = -1;
  uint64_t nodes[16] = {};
  const uint64_t first = 1, beyond = uint64_t{1} << 60;
  const long got = sys(SYS_get_mempolicy, &mode, nullptr, 0, nullptr, 0);
  if (got == -1 && errno == ENOSYS) GTEST_SKIP() << "a kernel without NUMA";
  ASSERT_EQ(0, got);
  EXPECT_EQ(kDefault, mode);
  EXPECT_OK(sys(SYS_get_mempolicy, nullptr, nodes, 1024, nullptr, kAllowed));
  EXPECT_EQ(1u, nodes[0] & 1);
  auto* p = static_cast<char*>(map_anonymous(2 * kPage));
  EXPECT_OK(sys(SYS_get_mempolicy, &mode, nullptr, 0, p, kOfAnAddress));
  EXPECT_ERR(EINVAL, sys(SYS_get_mempolicy, &mode, nullptr, 0, p, 0)) << "an address that nobody asked for";
  EXPECT_ERR(EINVAL, sys(SYS_get_mempolicy, &mode, nullptr, 0, nullptr, 0x80));
  EXPECT_ERR(EFAULT, sys(SYS_get_mempolicy, &mode, nullptr, 0, bad(), kOfAnAddress));
  EXPECT_ERR(EFAULT, sys(SYS_get_mempolicy, bad(), nullptr, 0, nullptr, 0));
  in_child([&] {
    EXPECT_OK(sys(SYS_set_mempolicy, kDefault, nullptr, 0));
    EXPECT_OK(sys(SYS_set_mempolicy, kPreferred, &first, 64));
    EXPECT_OK(sys(SYS_set_mempolicy, kBind, &first, 64));
    EXPECT_OK(sys(SYS_set_mempolicy, kLocal, nullptr, 0));
  });
  EXPECT_ERR(EINVAL, sys(SYS_set_mempolicy, 99, nullptr, 0));
  EXPECT_ERR(EINVAL, sys(SYS_set_mempolicy, kBind, nullptr, 0)) << "bound to nothing";
  EXPECT_ERR(EINVAL, sys(SYS_set_mempolicy, kBind, &beyond, 64));
  EXPECT_ERR(EINVAL, sys(SYS_set_mempolicy, kDefault, &first, 64));
  EXPECT_ERR(EFAULT, sys(SYS_set_mempolicy, kBind, bad(), 64));
  EXPECT_OK(sys(SYS_mbind, p, 2 * kPage, kBind, &first, 64, 0));
  EXPECT_OK(sys(SYS_mbind, p, 2 * kPage, kDefault, nullptr, 0, kMove));
  EXPECT_OK(sys(SYS_mbind, p, 0, kDefault, nullptr, 0, 0));
  EXPECT_ERR(EINVAL, sys(SYS_mbind, p + 1, kPage, kDefault, nullptr, 0, 0));
  EXPECT_ERR(EINVAL, sys(SYS_mbind, p, kPage, 99, nullptr, 0, 0));
  EXPECT_ERR(EINVAL, sys(SYS_mbind, p, kPage, kDefault, nullptr, 0, 0x80));
  EXPECT_ERR(EFAULT, sys(SYS_mbind, p, kPage, kBind, bad(), 64, 0));
  EXPECT_ERR(EFAULT, sys(SYS_mbind, bad(), kPage, kDefault, nullptr, 0, 0));
  munmap(p, 2 * kPage);
}

}  // namespace
}  // namespace run9::guest
