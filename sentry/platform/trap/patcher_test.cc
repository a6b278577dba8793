// Which bytes the patcher takes for call sites, and what it leaves in their place for those who jump into them.
#include "sentry/platform/trap/patcher.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
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

// ---------------------------------------------------------------- wide sites

using Bytes = std::initializer_list<uint8_t>;
constexpr Bytes kNumber = {0xb8, 39, 0, 0, 0}, kNumber64 = {0x48, 0xc7, 0xc0, 39, 0, 0, 0}, kCall = {0x0f, 0x05};
constexpr Bytes kMovRdi = {0x4c, 0x89, 0xe7};      // mov %r12, %rdi: an instruction that ends here
constexpr Bytes kResult = {0x48, 0x89, 0xc7};      // mov %rax, %rdi
constexpr Bytes kForward = {0xe8, 4, 0, 0, 0};     // call, to the nops behind

TEST(WideSitesTest, TakesInstructionsBetweenNumberAndCall) {
  const Bytes forms[] = {{0x4c, 0x89, 0xe7},                                // mov %r12, %rdi
                         {0x89, 0xd0},                                      // mov %edx, %eax
                         {0x31, 0xff},                                      // xor %edi, %edi
                         {0x48, 0x63, 0xf6},                                // movslq %esi, %rsi
                         {0xbe, 1, 0x54, 0, 0},                             // mov $0x5401, %esi
                         {0x41, 0xba, 8, 0, 0, 0},                          // mov $8, %r10d
                         {0x48, 0xc7, 0xc7, 0xff, 0xff, 0xff, 0xff},        // mov $-1, %rdi
                         {0x83, 0xe7, 0x0f},                                // and $15, %edi
                         {0x81, 0xce, 0, 0x80, 0, 0},                       // or $0x8000, %esi
                         {0xf7, 0xdf},                                      // neg %edi
                         {0x48, 0x8d, 0xb3, 0xf0, 8, 0, 0},                 // lea 0x8f0(%rbx), %rsi
                         {0x48, 0x8d, 0x74, 0x24, 0x0c},                    // lea 0xc(%rsp), %rsi
                         {0x49, 0x8d, 0x74, 0x24, 0x08},                    // lea 8(%r12), %rsi
                         {0x48, 0x8d, 0x35, 0xdd, 0x78, 0x11, 0},           // lea 0x1178dd(%rip), %rsi
                         {0x4c, 0x8d, 0x15, 0, 0, 0xf0, 0xff}};             // lea -0x100000(%rip), %r10
  for (const Bytes& form : forms) {
    for (const Bytes& number : {kNumber, kNumber64}) {
      const auto found = sites(code({number, form, kCall}));
      ASSERT_EQ(found.size(), 1u) << int{*form.begin()};
      const PatchedSite& s = found[0];
      EXPECT_TRUE(s.wide);
      EXPECT_EQ(s.mode, MODE_PLAIN);
      EXPECT_EQ(s.offset, 8u);
      EXPECT_EQ(s.length, number.size() + form.size() + 2);
      EXPECT_EQ(s.extent, s.length);
      // Where the second instruction began, if the jump covers that: it has not moved in the trampoline.
      for (uint64_t o = 0; o < s.extent; ++o) {
        EXPECT_EQ(s.moved_to(o), number.size() == 5 && o == 5 ? uint64_t{STUB_WIDE} + 5 : 0) << o;
      }
    }
  }
  EXPECT_EQ(sites(code({kNumber, kMovRdi, {0x31, 0xf6}, {0x89, 0xda}, kCall})).size(), 1u);
}

TEST(WideSitesTest, LeavesOthersBetweenNumberAndCall) {
  const Bytes forms[] = {{0x90},                                        // no room
                         {0x48, 0x8b, 0x7c, 0x24, 8},                   // mov 8(%rsp), %rdi: memory
                         {0x48, 0x8b, 0x3d, 0, 1, 0, 0},                // mov 0x100(%rip), %rdi
                         {0x8d, 0x35, 0, 1, 0, 0},                      // lea 0x100(%rip), %esi
                         {0x48, 0x8d, 0x35, 0, 0, 0, 0x70},             // farther than a trampoline can add
                         {0x48, 0x8d, 0x3c, 0x8d, 0, 0, 0, 0},          // lea 0(, %rcx, 4), %rdi
                         {0x48, 0xbf, 1, 2, 3, 4, 5, 6, 7, 8},          // movabs
                         {0x64, 0x8b, 0x3c, 0x25, 0, 0, 0, 0},          // %fs
                         {0x75, 0x10}, {0xeb, 0x10}, {0xe8, 0, 0, 0, 0},  // jumps and calls
                         {0x57, 0x5f},                                  // push, pop
                         {0x83, 0xd7, 1},                               // adc
                         {0x0f, 0x1f, 0x00}};
  for (const Bytes& form : forms) {
    EXPECT_TRUE(sites(code({kNumber, form, kCall})).empty()) << int{*form.begin()} << ' ' << form.size();
  }
  // More than the trampoline has room for, and instructions that do not end where the call begins.
  EXPECT_TRUE(sites(code({kNumber, kMovRdi, kMovRdi, kMovRdi, kMovRdi, kMovRdi, kMovRdi, kMovRdi, kCall})).empty());
  EXPECT_TRUE(sites(code({kNumber, {0x48, 0x8d, 0x35, 0, 1, 0, 0}, {0x48, 0x8d, 0x3d, 0, 1, 0, 0}, kCall})).empty());
  EXPECT_TRUE(sites(code({kNumber, {0xbe, 0, 0}, kCall})).empty());
  // The b8 is the end of another instruction.
  EXPECT_TRUE(sites(code({{0x41}, kNumber, kMovRdi, kCall})).empty());
}

TEST(WideSitesTest, TakesInstructionsBehindTheCall) {
  const struct {
    Bytes first, second;
  } forms[] = {{{0x3d, 0, 0xf0, 0xff, 0xff}, {}},        // cmp $-4096, %eax
               {{0xe9, 4, 0, 0, 0}, {}},                 // jmp
               {kResult, kForward},
               {kResult, {0x48, 0x83, 0xf8, 0xff}},      // cmp $-1, %rax
               {{0x48, 0x63, 0xf8}, kForward},           // movslq %eax, %rdi
               {{0x41, 0x89, 0xc2}, {0xeb, 0x02}},       // mov %eax, %r10d; jmp
               {{0x48, 0x85, 0xc0}, {0x78, 0x02}},       // test %rax, %rax; js
               {{0x83, 0xf8, 0xff}, {0x0f, 0x84, 2, 0, 0, 0}},  // cmp $-1, %eax; je
               {{0x48, 0x39, 0xc5}, {0x75, 0x02}},       // cmp %rax, %rbp; jne
               {{0x48, 0x89, 0xc3}, {0xf7, 0xdb}}};      // mov %rax, %rbx; neg %ebx
  for (const auto& f : forms) {
    const auto found = sites(code({kMovRdi, kCall, f.first, f.second}));
    ASSERT_EQ(found.size(), 1u) << int{*f.first.begin()} << ' ' << int{*(f.first.begin() + 1)};
    const PatchedSite& s = found[0];
    EXPECT_TRUE(s.wide);
    EXPECT_EQ(s.mode, MODE_TAIL);
    EXPECT_EQ(s.offset, 11u);
    EXPECT_EQ(s.length, 2);
    EXPECT_EQ(s.extent, 2 + f.first.size() + f.second.size());
    for (uint64_t o = 0; o < s.extent; ++o) {
      const bool inner = o == 2 || (o == 5 && f.second.size() != 0);
      EXPECT_EQ(s.moved_to(o), inner ? uint64_t{STUB_WIDE} + STUB_WIDE_TAIL + o - 2 : 0) << o;
    }
  }
  // What else can stand in front.
  for (const Bytes& before : {Bytes{0xbe, 1, 0x54, 0, 0}, Bytes{0x0f, 0x1f, 0x44, 0, 0}}) {
    EXPECT_EQ(sites(code({before, kCall, kResult, kForward})).size(), 1u);
  }
  EXPECT_EQ(sites(code({kCall, {0x3d, 0, 0xf0, 0xff, 0xff}})).size(), 1u);
}

TEST(WideSitesTest, LeavesOthersBehindTheCall) {
  const struct {
    Bytes first, second;
  } forms[] = {{{0x85, 0xc0}, {0x75, 4}},                // a boundary where the jump would not trap
               {{0x48, 0x83, 0xf8, 0xff}, {0x75, 4}},
               {{0x3d, 0, 0, 0, 0}, {}},                 // nothing that only a result is compared with: behind nops
               {{0x48, 0x89, 0xf7}, kForward},           // the result is not looked at
               {{0x49, 0x89, 0xc3}, kForward},           // mov %rax, %r11
               {kResult, {0x4c, 0x01, 0xd8}},            // add %r11, %rax
               {kResult, {0x8b, 0x07}},                  // memory
               {kResult, {0x48, 0x8d, 0x3d, 0, 1, 0, 0}},  // lea (%rip)
               {kResult, {0xe8, 0, 0, 0, 0x10}},         // not into this text
               {kResult, {0xe8, 0, 0, 0, 0xf0}},
               {kResult, {0xc3}},
               {kResult, {0x5b, 0xc3}},
               {kForward, {}}};
  for (const auto& f : forms) {
    const bool plain = f.first.size() == 5 && *f.first.begin() == 0x3d;
    EXPECT_TRUE(sites(code({plain ? Bytes{0x90} : kMovRdi, kCall, f.first, f.second})).empty())
        << int{*f.first.begin()} << ' ' << int{*(f.first.begin() + 1)};
  }
  // The call may be the upper half of a constant.
  EXPECT_TRUE(sites(code({{0xbf, 0x12, 0x34}, kCall, kResult, kForward})).empty());
  EXPECT_TRUE(sites(code({{0x81, 0xff, 0x12, 0x34}, kCall, kResult, kForward})).empty());
  const Code cut = code({kMovRdi, kCall, kResult, kForward}, 0);
  for (size_t n = 1; n < 6; ++n) EXPECT_TRUE(find_sites(cut.data(), cut.size() - n).empty()) << n;
}

constexpr Bytes kExitNumber = {0xba, 60, 0, 0, 0};  // mov $60, %edx
constexpr Bytes kExitLoop = {0x31, 0xff, 0x89, 0xd0, 0x0f, 0x05, 0xeb, 0xf8};

TEST(WideSitesTest, TakesTheLoopThatEndsAThread) {
  const auto found = sites(code({kExitNumber, {0x0f, 0x1f, 0x80, 0, 0, 0, 0}, kExitLoop}));
  ASSERT_EQ(found.size(), 1u);
  const PatchedSite& s = found[0];
  EXPECT_EQ(s.mode, MODE_TAIL);
  EXPECT_EQ(s.length, 6);
  EXPECT_EQ(s.extent, 8);
  for (uint64_t o = 0; o < s.extent; ++o) {
    const uint64_t trampoline = STUB_WIDE + uint64_t{s.slot} * STUB_WIDE_SIZE;
    EXPECT_EQ(s.moved_to(o), o == 4 ? trampoline + 2 : o == 6 ? trampoline + STUB_WIDE_TAIL : 0) << o;
  }
  // Not with another number, nor without one nearby, nor another loop.
  EXPECT_TRUE(sites(code({{0xba, 61, 0, 0, 0}, kExitLoop})).empty());
  Code far = code({kExitNumber}, 40);
  far.insert(far.end(), kExitLoop);
  EXPECT_TRUE(sites(far).empty());
  EXPECT_TRUE(sites(code({kExitNumber, {0x31, 0xff, 0x89, 0xd0, 0x0f, 0x05, 0xeb, 0xfa}})).empty());
  const Code cut = code({kExitNumber, kExitLoop}, 0);
  for (size_t n = 1; n < 4; ++n) EXPECT_TRUE(find_sites(cut.data(), cut.size() - n).empty()) << n;
}

TEST(WideSitesTest, DoesNotOverlap) {
  // A tail that ends with the number of the next call, and a call right behind.
  const auto found = sites(code({kMovRdi, kCall, kResult, kNumber, kMovRdi, kCall}));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].extent, 10);
  EXPECT_EQ(sites(code({kMovRdi, kCall, kResult, kForward, kMov})).size(), 2u);
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
  // A page of `c` as it is patched, in at least 100 places.
  Code patch(Code c, std::shared_ptr<const PatchedImage>& i) {
    c.resize(4096);
    store(c);
    i = image();
    if (i == nullptr || i->sites.size() < 100) return {};
    EXPECT_EQ(pread(i->memory.get(), c.data(), 4096, 0), 4096);
    return c;
  }

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
  std::shared_ptr<const PatchedImage> i;
  const Code patched = patch(c, i);
  ASSERT_FALSE(patched.empty());
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
    for (uint64_t o = 0; o < s.extent; ++o) EXPECT_EQ(i->site_at(s.offset + o), &s);
  }
  EXPECT_EQ(i->site_at(i->sites[0].offset - 1), nullptr);
  EXPECT_EQ(mmap(nullptr, 4096, PROT_WRITE, MAP_SHARED, i->memory.get(), 0), MAP_FAILED);
}

TEST_F(PatcherTest, JumpsIntoAWideSiteTrap) {
  Code c;
  for (int i = 0; i < 60; ++i) {
    for (const auto& shape : {code({kNumber, kMovRdi, kCall}), code({kMovRdi, kCall, kResult, kForward})}) {
      c.insert(c.end(), shape.begin(), shape.end());
    }
  }
  std::shared_ptr<const PatchedImage> i;
  const Code patched = patch(c, i);
  ASSERT_FALSE(patched.empty());
  for (const PatchedSite& s : i->sites) {
    const uint8_t* at = patched.data() + s.offset;
    EXPECT_EQ(at[5], 0x06);
    if (s.mode == MODE_TAIL) {
      EXPECT_EQ(at[2], 0xe5);
    } else {
      EXPECT_EQ(memcmp(at + s.length - 2, kCall.begin(), 2), 0);  // still there
    }
    EXPECT_NE(s.moved_to(5), 0u);
    EXPECT_EQ(s.moved_to(0), 0u);
    EXPECT_NE(s.slot, i->sites[0].slot + (&s == &i->sites[0]));
  }
}

// The byte where the `syscall` of such a loop stood is no instruction either; no other site gets its entries.
TEST_F(PatcherTest, JumpsIntoAnExitLoopTrap) {
  Code c;
  for (int i = 0; i < 50; ++i) {
    for (const auto& shape : {code({kExitNumber, kExitLoop}), code({kNumber, kMovRdi, kCall})}) c.insert(c.end(), shape.begin(), shape.end());
  }
  std::shared_ptr<const PatchedImage> i;
  const Code patched = patch(c, i);
  ASSERT_FALSE(patched.empty());
  for (const PatchedSite& s : i->sites) {
    const uint8_t* at = patched.data() + s.offset;
    uint32_t entry;
    memcpy(&entry, at + (s.loop ? 4 : 3), sizeof entry);
    EXPECT_EQ((entry & 0xff) == 0x60, s.loop);
    EXPECT_EQ(entry, STUB_TABLE + 8 * (STUB_NARROW_COUNT + s.slot));
    if (s.loop) EXPECT_EQ(at[6], 0x06);
  }
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
  EXPECT_EQ(patched, size_t{kFirstVdsoSlot});
  // The other kind has its own.
  c.clear();
  while (c.size() < 4000) c.insert(c.end(), {0x48, 0x89, 0xf7, 0x0f, 0x05, 0x48, 0x89, 0xc7, 0x48, 0x85, 0xc0});
  c.resize(4096);
  store(c);
  for (int i = 40; i < 60; ++i) {
    const timespec times[2] = {{i, 0}, {i, 0}};
    futimens(fd_, times);
    if (const auto p = image()) patched += p->sites.size();
  }
  EXPECT_EQ(patched, size_t{STUB_PATCH_COUNT - kVdsoCalls - STUB_WIDE_COUNT / 32});
}

}  // namespace
}  // namespace run9::sentry::trap
