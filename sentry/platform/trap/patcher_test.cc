// Which bytes the patcher takes for call sites, and what it leaves in their place for those who jump into them.
#include "sentry/platform/trap/patcher.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <initializer_list>
#include <string>

#include "sentry/platform/trap/stub_abi.h"

namespace run9::sentry::trap {
namespace {

using Code = std::vector<uint8_t>;

constexpr std::initializer_list<uint8_t> kMov = {0xb8, 39, 0, 0, 0, 0x0f, 0x05};
constexpr std::initializer_list<uint8_t> kMov64 = {0x48, 0xc7, 0xc0, 39, 0, 0, 0, 0x0f, 0x05};
constexpr std::initializer_list<uint8_t> kCmp4095 = {0x0f, 0x05, 0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff};
constexpr std::initializer_list<uint8_t> kCmp4096 = {0x0f, 0x05, 0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff};

// `parts` behind some nops, as a function's body would be, with `behind` more of them at the end.
Code code(std::initializer_list<std::initializer_list<uint8_t>> parts, size_t behind = 16) {
  Code out(8, 0x90);
  for (const auto& p : parts) out.insert(out.end(), p);
  out.insert(out.end(), behind, 0x90);
  return out;
}

std::vector<PatchedSite> sites(const Code& c) { return find_sites(c.data(), c.size()); }

TEST(FindSitesTest, TakesTheShapesThatItKnows) {
  const struct {
    std::initializer_list<uint8_t> bytes;
    uint8_t length, mode, trap;
  } cases[] = {{kMov, 7, MODE_PLAIN, 5},
               {kMov64, 9, MODE_PLAIN, 7},
               {kCmp4095, 2, MODE_CMP_4095, 2},
               {kCmp4096, 2, MODE_CMP_4096, 2}};
  for (const auto& c : cases) {
    const auto found = sites(code({c.bytes}));
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].offset, 8u);
    EXPECT_EQ(found[0].length, c.length);
    EXPECT_EQ(found[0].mode, c.mode);
    EXPECT_EQ(found[0].trap, c.trap);
    EXPECT_EQ(found[0].number, c.mode == MODE_PLAIN ? 39 : 0);
  }
}

TEST(FindSitesTest, LeavesWhatHasNoRoomForAJump) {
  EXPECT_TRUE(sites(code({{0x0f, 0x05}})).empty());                                       // alone
  EXPECT_TRUE(sites(code({{0x31, 0xc0, 0x0f, 0x05, 0xc3}})).empty());                     // xor %eax, %eax
  EXPECT_TRUE(sites(code({{0x0f, 0x05, 0x48, 0x3d, 0x02, 0xf0, 0xff, 0xff}})).empty());   // another constant
  EXPECT_TRUE(sites(code({{0x0f, 0x05, 0x48, 0x83, 0xf8, 0xff, 0x75, 0x02}})).empty());   // cmp $-1, %rax
  EXPECT_TRUE(sites(code({{0xb8, 39, 0, 0, 0, 0x90, 0x0f, 0x05}})).empty());              // not next to it
  EXPECT_TRUE(sites(code({{0xb8, 39, 0, 1, 0, 0x0f, 0x05}})).empty());                    // no such number
  EXPECT_TRUE(sites(code({{0xb8, 39, 0, 0, 0, 0x0f, 0x34}})).empty());                    // sysenter
}

// The b8 belongs to an instruction that began before it.
TEST(FindSitesTest, LeavesMovesOfOtherRegistersAndMemory) {
  EXPECT_TRUE(sites(code({{0x41}, kMov})).empty());                     // mov $39, %r8d
  EXPECT_TRUE(sites(code({{0x66}, kMov})).empty());                     // mov $39, %ax
  EXPECT_TRUE(sites(code({{0xc7, 0x45}, kMov})).empty());               // movl $39, -72(%rbp)
  EXPECT_TRUE(sites(code({{0xc7, 0x44, 0x24}, kMov})).empty());         // movl $39, -72(%rsp)
  EXPECT_TRUE(sites(code({{0x81, 0x7d}, kMov})).empty());               // cmpl $39, -72(%rbp)
  EXPECT_EQ(sites(code({{0x89, 0xc7}, kMov})).size(), 1u);              // mov %eax, %edi; then ours
}

TEST(FindSitesTest, FindsThemAtEveryDistanceFromTheScansBlocks) {
  for (size_t before = 3; before < 50; ++before) {
    Code c(before, 0x90);
    c.insert(c.end(), kMov);
    c.insert(c.end(), kCmp4095);
    const auto found = sites(c);
    ASSERT_EQ(found.size(), 2u) << before;
    EXPECT_EQ(found[0].offset, before);
    EXPECT_EQ(found[1].offset, before + kMov.size());
  }
}

TEST(FindSitesTest, StaysInsideTheText) {
  EXPECT_EQ(sites(code({kMov}, 0)).size(), 1u);  // the last bytes of it
  EXPECT_EQ(sites(code({kCmp4095}, 0)).size(), 1u);
  for (size_t cut = 1; cut < kCmp4095.size(); ++cut) {
    const Code c = code({kCmp4095}, 0);
    EXPECT_TRUE(find_sites(c.data(), c.size() - cut).empty()) << cut;
  }
  // Cut at the front: what stands before the text is not known, so neither is what the b8 is.
  for (size_t skip = 6; skip < 15; ++skip) {
    const Code c = code({kMov});
    EXPECT_TRUE(find_sites(c.data() + skip, c.size() - skip).empty()) << skip;
  }
  EXPECT_TRUE(find_sites(nullptr, 0).empty());
}

// Two shapes may share bytes: one jump only, and the rest of the program stays as it is.
TEST(FindSitesTest, DoesNotPatchTwice) {
  const auto found = sites(code({{0xb8, 39, 0, 0, 0}, kCmp4095, kMov}));
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].mode, MODE_PLAIN);
  EXPECT_EQ(found[0].length, 7);  // the cmp is not overwritten
  EXPECT_EQ(found[1].offset, 8u + 13u);
}

// A constant that reads like a call is patched as well; docs/decisions/0005 says so. Other data is not.
TEST(FindSitesTest, DataThatLooksLikeCode) {
  Code text;
  for (const char c : std::string("\x0f\x05 is how a call begins, \xb8 how a number does: 39\0\0\0", 52)) {
    text.push_back(static_cast<uint8_t>(c));
  }
  EXPECT_TRUE(sites(text).empty());
  EXPECT_EQ(sites(code({{0, 0, 0, 0}, kMov, {0, 0, 0, 0}})).size(), 1u);
}

class PatcherTest : public testing::Test {
 protected:
  void SetUp() override {
    auto p = TextPatcher::create();
    ASSERT_TRUE(p.has_value());
    patcher_.emplace(std::move(p).value());
    fd_ = mkstemp(name_);
    ASSERT_GE(fd_, 0);
  }
  void TearDown() override {
    unlink(name_);
    close(fd_);
  }
  void store(const Code& c) { ASSERT_EQ(pwrite(fd_, c.data(), c.size(), 0), static_cast<ssize_t>(c.size())); }
  auto image(uint64_t offset = 0) { return patcher_->image_of(BorrowedFd(fd_), offset, 4096); }

  std::optional<TextPatcher> patcher_;
  char name_[32] = "/tmp/run9-patcher.XXXXXX";
  int fd_ = -1;
};

// Who jumps to the old `syscall`, or to the `cmp` behind it, must trap there, whatever trampoline it is.
TEST_F(PatcherTest, JumpsIntoASiteTrap) {
  Code c;
  for (int i = 0; i < 80; ++i) {
    for (const auto& shape : {code({kMov}), code({kMov64}), code({kCmp4096})}) c.insert(c.end(), shape.begin(), shape.end());
  }
  c.resize(4096);
  store(c);
  const auto i = image();
  ASSERT_NE(i, nullptr);
  ASSERT_GE(i->sites.size(), 100u);
  Code patched(4096);
  ASSERT_EQ(pread(i->memory.get(), patched.data(), 4096, 0), 4096);
  for (const PatchedSite& s : i->sites) {
    const uint8_t* at = patched.data() + s.offset;
    if (s.mode == MODE_PLAIN) {
      EXPECT_EQ(at[s.trap], 0x06);  // no instruction in 64-bit code
    } else {
      EXPECT_EQ(at[s.trap], 0xe5);  // in: privileged
    }
    const uint8_t* jump = at + (s.length == 9 ? 2 : 0);
    uint32_t entry;
    memcpy(&entry, jump + 3, sizeof entry);
    EXPECT_GE(entry, uint32_t{STUB_TABLE});
    EXPECT_LT(entry, uint32_t{STUB_TABLE + STUB_TABLE_SIZE});
    for (uint64_t o = 0; o < 8; ++o) EXPECT_EQ(i->site_at(s.offset + o), &s);
  }
  EXPECT_EQ(i->site_at(i->sites[0].offset - 1), nullptr);
  EXPECT_EQ(mmap(nullptr, 4096, PROT_WRITE, MAP_SHARED, i->memory.get(), 0), MAP_FAILED);
}

TEST_F(PatcherTest, MakesOneCopyOfAFileUntilItChanges) {
  Code c = code({kMov});
  c.resize(4096);
  store(c);
  const auto first = image();
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(image(), first);
  c[9] = 102;
  store(c);
  const timespec times[2] = {{1, 0}, {1, 0}};
  futimens(fd_, times);
  const auto second = image();
  ASSERT_NE(second, nullptr);
  EXPECT_NE(second, first);
  EXPECT_EQ(second->sites[0].number, 102);
}

TEST_F(PatcherTest, LeavesFilesThatItCannotFollow) {
  EXPECT_EQ(image(), nullptr);  // nothing in it
  Code c = code({kMov});
  c.resize(4096);
  store(c);
  ASSERT_EQ(pwrite(fd_, c.data(), c.size(), 1l << 32), 4096);
  EXPECT_EQ(image(1ul << 32), nullptr);  // too far for a trampoline's displacement
  unlink(name_);
  EXPECT_EQ(image(), nullptr);  // as a memfd, which others may be writing to
}

// A guest makes files, and keys, as it likes: neither memory nor descriptors grow without bound.
TEST_F(PatcherTest, RunsOutOfTrampolinesWithoutHarm) {
  Code c;
  while (c.size() < 4096) c.insert(c.end(), kCmp4095);
  c.resize(4096);
  store(c);
  size_t patched = 0;
  for (int i = 0; i < 40; ++i) {
    const timespec times[2] = {{i, 0}, {i, 0}};
    futimens(fd_, times);
    if (const auto p = image()) patched += p->sites.size();
  }
  EXPECT_EQ(patched, size_t{STUB_PATCH_COUNT});
}

}  // namespace
}  // namespace run9::sentry::trap
