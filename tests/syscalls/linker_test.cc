// Mappings as a dynamic linker makes them: a library whole, then its segments over it; and what comes between.
#include <elf.h>

#include <array>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

constexpr size_t kPages = 6;
constexpr size_t kWhole = 0x7800;
constexpr int kLinker = MAP_PRIVATE | MAP_DENYWRITE;

// Page i of the file is full of 'A' + i, behind the headers.
class LinkerTest : public DirTest {
 protected:
  void SetUp() override {
    std::string file;
    for (size_t i = 0; i < kPages; ++i) file.append(kPage, static_cast<char>('A' + i));
    Elf64_Ehdr h{};
    memcpy(h.e_ident, ELFMAG, SELFMAG);
    h.e_ident[EI_CLASS] = ELFCLASS64;
    h.e_ident[EI_DATA] = ELFDATA2LSB;
    h.e_ident[EI_VERSION] = EV_CURRENT;
    h.e_type = ET_DYN;
    h.e_machine = EM_X86_64;
    h.e_phoff = sizeof h;
    h.e_ehsize = sizeof h;
    h.e_phentsize = sizeof(Elf64_Phdr);
    h.e_phnum = 5;
    const std::array<Elf64_Phdr, 5> headers = {segment(PF_R, 0, 0, 0x1000, 0x1000),
                                               segment(PF_R | PF_X, 0x1000, 0x1000, 0x2000, 0x2000),
                                               segment(PF_R, 0x3000, 0x3000, 0x1000, 0x1000),
                                               segment(PF_R | PF_W, 0x3800, 0x4800, 0x1000, 0x3000),
                                               segment(PF_R, 0x3800, 0x4800, 0x800, 0x800, PT_GNU_RELRO)};
    memcpy(file.data(), &h, sizeof h);
    memcpy(file.data() + sizeof h, headers.data(), sizeof headers);
    path_ = make_file("library", file);
    fd_ = open(path_.c_str(), O_RDONLY);
    whole_ = map(nullptr, kWhole, PROT_READ, kLinker, 0);
    ASSERT_NE(MAP_FAILED, whole_);
  }
  void TearDown() override {
    munmap(whole_, kWhole);
    close(fd_);
  }

  static Elf64_Phdr segment(uint32_t flags, uint64_t offset, uint64_t vaddr, uint64_t filesz, uint64_t memsz, uint32_t type = PT_LOAD) {
    return {.p_type = type, .p_flags = flags, .p_offset = offset, .p_vaddr = vaddr, .p_paddr = vaddr,
            .p_filesz = filesz, .p_memsz = memsz, .p_align = kPage};
  }
  char* map(char* at, size_t length, int prot, int flags, off_t offset) const {
    return static_cast<char*>(mmap(at, length, prot, flags, fd_, offset));
  }
  char* map_part(size_t at, size_t length, int prot, off_t offset) const {
    return map(whole_ + at, length, prot, kLinker | MAP_FIXED, offset);
  }
  void map_segments() const {
    ASSERT_EQ(whole_ + 0x1000, map_part(0x1000, 0x2000, PROT_READ | PROT_EXEC, 0x1000));
    ASSERT_EQ(whole_ + 0x3000, map_part(0x3000, 0x1000, PROT_READ, 0x3000));
    ASSERT_EQ(whole_ + 0x4000, map_part(0x4000, 0x2000, PROT_READ | PROT_WRITE, 0x3000));
  }
  // What /proc says of the mapping at this place: its protection and its offset in the file.
  std::string listed(size_t at) const {
    const Mapping m = mapping_at(whole_ + at);
    char offset[17];
    snprintf(offset, sizeof offset, "%08lx", m.offset);
    return m.prot + " " + offset;
  }
  // As its segment says.
  void expect_data_to_be_writable() {
    whole_[0x4000] = 'x';
    EXPECT_EQ('D', last(4));
    EXPECT_EQ("rw-p 00003000", listed(0x4000));
  }
  // The last byte of the mapping's page i.
  char last(size_t page) const { return static_cast<volatile char*>(whole_)[(page + 1) * kPage - 1]; }

  std::string path_;
  int fd_ = -1;
  char* whole_ = nullptr;
};

TEST_F(LinkerTest, SegmentsLieWhereTheyAreAskedFor) {
  map_segments();
  ASSERT_EQ(whole_ + 0x6000, mmap(whole_ + 0x6000, 0x2000, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0));
  const std::string wanted = "ABCDDE";
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_EQ(wanted[i], last(i)) << i;
  EXPECT_EQ(0, last(6));
  whole_[0x4000] = 'x';
  EXPECT_EQ('D', whole_[0x3000]);
  EXPECT_EQ(SIGSEGV, WTERMSIG(child_status([&] { *const_cast<volatile char*>(whole_ + 0x3000) = 1; })));
  EXPECT_EQ(0, WEXITSTATUS(child_status([&] { _exit(last(4) == 'D' && last(5) == 'E' ? 0 : 1); })));
}

TEST_F(LinkerTest, SegmentsAreListed) {
  map_segments();
  EXPECT_EQ("r--p 00000000", listed(0));
  EXPECT_EQ("r-xp 00001000", listed(0x1000));
  EXPECT_EQ("r--p 00003000", listed(0x3000));
  EXPECT_EQ("rw-p 00003000", listed(0x4000));
  EXPECT_EQ("r--p 00006000", listed(0x6000));
}

TEST_F(LinkerTest, SomeSegmentsAreListed) {
  ASSERT_EQ(whole_ + 0x3000, map_part(0x3000, 0x1000, PROT_READ, 0x3000));
  EXPECT_EQ("r--p 00000000", listed(0x1000));
  EXPECT_EQ("r--p 00000000", listed(0x4000));  // one mapping, as before
}

TEST_F(LinkerTest, RelocatedDataIsMadeReadOnly) {
  map_segments();
  getsid(0);
  whole_[0x4000] = 'x';
  ASSERT_EQ(0, mprotect(whole_ + 0x4000, 0x1000, PROT_READ));
  EXPECT_EQ("r--p 00003000", listed(0x4000));
  EXPECT_EQ("rw-p 00004000", listed(0x5000));
  EXPECT_EQ(SIGSEGV, WTERMSIG(child_status([&] { *const_cast<volatile char*>(whole_ + 0x4000) = 1; })));
  EXPECT_EQ('x', whole_[0x4000]);
  ASSERT_EQ(0, mprotect(whole_ + 0x4000, 0x1000, PROT_READ | PROT_WRITE));
  EXPECT_EQ("rw-p 00003000", listed(0x4000));
  whole_[0x4000] = 'y';
  ASSERT_EQ(0, mprotect(whole_ + 0x4000, 0x1000, PROT_READ));
  EXPECT_EQ("r--p 00003000", listed(0x4000));
}

// Nothing else is asked between a library's segments and these.
TEST_F(LinkerTest, ZerosAndRelocatedDataAtOnce) {
  constexpr int kZeros = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS;
  map_segments();
  ASSERT_EQ(whole_ + 0x6000, mmap(whole_ + 0x6000, 0x1800, PROT_READ | PROT_WRITE, kZeros, -1, 0));
  whole_[0x6000] = whole_[0x7fff] = 'z';
  whole_[0x4000] = 'x';
  ASSERT_EQ(0, mprotect(whole_ + 0x4000, 0x1000, PROT_READ));
  EXPECT_EQ("r--p 00003000", listed(0x4000));
  EXPECT_EQ("rw-p 00004000", listed(0x5000));
  EXPECT_EQ("rw-p 00000000", listed(0x6000));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(whole_ + 0x8000), mapping_at(whole_ + 0x6000).end);
  EXPECT_EQ(SIGSEGV, WTERMSIG(child_status([&] { *const_cast<volatile char*>(whole_ + 0x4000) = 1; })));
  EXPECT_EQ(0, WEXITSTATUS(child_status([&] { _exit(whole_[0x7fff] == 'z' && whole_[0x6001] == 0 ? 0 : 1); })));
  // Once more, they are new.
  ASSERT_EQ(whole_ + 0x6000, mmap(whole_ + 0x6000, 0x1800, PROT_READ | PROT_WRITE, kZeros, -1, 0));
  EXPECT_EQ(0, whole_[0x6000]);
}

TEST_F(LinkerTest, OtherZeros) {
  constexpr int kZeros = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS;
  map_segments();
  ASSERT_EQ(whole_ + 0x6000, mmap(whole_ + 0x6000, 0x1000, PROT_READ, kZeros, -1, 0));
  EXPECT_EQ(0, last(6));
  EXPECT_EQ("r--p 00000000", listed(0x6000));
  EXPECT_EQ("r--p 00007000", listed(0x7000));
}

// Read-only first, and then what lies there: that may be written.
TEST_F(LinkerTest, ReadOnlyBeforeItsSegmentHasCome) {
  ASSERT_EQ(0, mprotect(whole_ + 0x4000, 0x1000, PROT_READ));
  map_segments();
  expect_data_to_be_writable();
}

TEST_F(LinkerTest, ReadOnlyAfterSomethingElseWasAsked) {
  ASSERT_EQ(whole_ + 0x1000, map_part(0x1000, 0x2000, PROT_READ | PROT_EXEC, 0x1000));
  getsid(0);
  ASSERT_EQ(0, mprotect(whole_ + 0x4000, 0x1000, PROT_READ));
  ASSERT_EQ(whole_ + 0x4000, map_part(0x4000, 0x2000, PROT_READ | PROT_WRITE, 0x3000));
  expect_data_to_be_writable();
}

TEST_F(LinkerTest, ReadOnlyWithoutSomeSegments) {
  ASSERT_EQ(whole_ + 0x1000, map_part(0x1000, 0x2000, PROT_READ | PROT_EXEC, 0x1000));
  ASSERT_EQ(0, close(fd_));
  ASSERT_EQ(0, mprotect(whole_ + 0x4000, 0x1000, PROT_READ));
  fd_ = open(path_.c_str(), O_RDONLY);
  ASSERT_EQ(whole_ + 0x4000, map_part(0x4000, 0x2000, PROT_READ | PROT_WRITE, 0x3000));
  expect_data_to_be_writable();
}

// Made read-only where it is no more what it was.
TEST_F(LinkerTest, SomethingElseIsThere) {
  map_segments();
  getsid(0);
  ASSERT_EQ(0, munmap(whole_ + 0x4000, 0x1000));
  EXPECT_EQ(-1, mprotect(whole_ + 0x4000, 0x1000, PROT_READ));
  EXPECT_EQ(ENOMEM, errno);
  ASSERT_EQ(whole_ + 0x4000, map_part(0x4000, 0x1000, PROT_READ | PROT_WRITE, 0x5000));
  EXPECT_EQ('F', last(4));
  ASSERT_EQ(0, mprotect(whole_ + 0x4000, 0x1000, PROT_READ));
  EXPECT_EQ("r--p 00005000", listed(0x4000));
}

// The same call by the same number, which is another file's now.
TEST_F(LinkerTest, AnotherFileByTheSameDescriptor) {
  const std::string other = make_file("other", std::string(kPages * kPage, 'o'));
  close(fd_);
  ASSERT_EQ(fd_, open(other.c_str(), O_RDONLY));
  ASSERT_EQ(whole_ + 0x3000, map_part(0x3000, 0x1000, PROT_READ, 0x3000));
  EXPECT_EQ('o', last(3));
}

TEST_F(LinkerTest, ADescriptorThatIsClosed) {
  close(fd_);
  EXPECT_EQ(MAP_FAILED, map_part(0x3000, 0x1000, PROT_READ, 0x3000));
  EXPECT_EQ(EBADF, errno);
}

TEST_F(LinkerTest, AChildHasSomeSegments) {
  ASSERT_EQ(whole_ + 0x1000, map_part(0x1000, 0x2000, PROT_READ | PROT_EXEC, 0x1000));
  in_child([&] {
    EXPECT_EQ("r-xp 00001000", listed(0x1000));
    EXPECT_EQ('E', last(4));
    ASSERT_EQ(whole_ + 0x4000, map_part(0x4000, 0x2000, PROT_READ | PROT_WRITE, 0x3000));
    EXPECT_EQ('D', last(4));
  });
  EXPECT_EQ('E', last(4));
  ASSERT_EQ(whole_ + 0x4000, map_part(0x4000, 0x2000, PROT_READ | PROT_WRITE, 0x3000));
  EXPECT_EQ('D', last(4));
}

TEST_F(LinkerTest, WhatIsProtectedInsteadIsTheFile) {
  ASSERT_EQ(0, mprotect(whole_ + 0x4000, 0x2000, PROT_READ | PROT_WRITE));
  EXPECT_EQ('E', last(4));
  EXPECT_EQ('F', last(5));
  whole_[0x4000] = 'x';
  ASSERT_EQ(whole_ + 0x3000, map_part(0x3000, 0x1000, PROT_READ, 0x3000));
  EXPECT_EQ('D', last(3));
}

TEST_F(LinkerTest, AChildSeesTheFile) {
  EXPECT_EQ(0, WEXITSTATUS(child_status([&] { _exit(last(4) == 'E' && last(5) == 'F' ? 0 : 1); })));
  EXPECT_EQ('E', last(4));
}

TEST_F(LinkerTest, AnotherMappingTakesThePlace) {
  ASSERT_EQ(whole_ + 0x4000, map_part(0x4000, 0x1000, PROT_READ | PROT_WRITE, 0x5000));
  EXPECT_EQ('F', last(4));
  EXPECT_EQ('F', last(5));
  ASSERT_EQ(whole_ + 0x1000, map_part(0x1000, 0x2000, PROT_READ, 0x2000));
  EXPECT_EQ('C', last(1));
  EXPECT_EQ('D', last(2));
}

TEST_F(LinkerTest, UnmappedIsUnmapped) {
  ASSERT_EQ(0, munmap(whole_, 0x5000));
  EXPECT_EQ(SIGSEGV, WTERMSIG(child_status([&] { (void)last(4); })));
  EXPECT_EQ('F', last(5));
}

TEST_F(LinkerTest, MovedIsTheFile) {
  char* const to = static_cast<char*>(map_anonymous(0x2000));
  ASSERT_EQ(to, mremap(whole_ + 0x4000, 0x2000, 0x2000, MREMAP_MAYMOVE | MREMAP_FIXED, to));
  EXPECT_EQ('E', to[0]);
  EXPECT_EQ('F', to[0x1000]);
  munmap(to, 0x2000);
}

}  // namespace
}  // namespace run9::guest
