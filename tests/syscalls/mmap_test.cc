// mmap, munmap, msync, mincore, madvise, mlock, brk, memfd_create.
#include <setjmp.h>
#include <sys/resource.h>

#include <algorithm>
#include <thread>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

using MmapTest = DirTest;

TEST_F(MmapTest, Anonymous) {
  auto* p = static_cast<char*>(map_anonymous(4 * kPage));
  ASSERT_OK(p);
  for (size_t i = 0; i < 4 * kPage; ++i) ASSERT_EQ(0, p[i]);
  memset(p, 7, 4 * kPage);
  EXPECT_OK(sys(SYS_munmap, p + kPage, kPage));  // a hole in the middle
  EXPECT_EQ(SIGSEGV, touch(p + kPage, false));
  EXPECT_EQ(7, p[0]);
  EXPECT_EQ(7, p[2 * kPage]);
  EXPECT_OK(sys(SYS_munmap, p, 4 * kPage));
  EXPECT_OK(sys(SYS_munmap, p, 4 * kPage));  // nothing there is no error
}

TEST_F(MmapTest, Errors) {
  Fd fd = open_file("f", "abc");
  Fd write_only(open(at("f").c_str(), O_WRONLY)), read_only(open(at("f").c_str(), O_RDONLY));
  Fd dir(open(dir_.path().c_str(), O_RDONLY));
  const int rw = PROT_READ | PROT_WRITE;
  const int anon = MAP_PRIVATE | MAP_ANONYMOUS;
  EXPECT_ERR(EINVAL, sys(SYS_mmap, 0, 0, rw, anon, -1, 0));
  EXPECT_ERR(EINVAL, sys(SYS_mmap, 0, kPage, rw, MAP_ANONYMOUS, -1, 0));
  EXPECT_ERR(EINVAL, sys(SYS_mmap, 0, kPage, PROT_READ, MAP_PRIVATE, fd, 17));
  EXPECT_ERR(EINVAL, sys(SYS_mmap, 0x1001, kPage, rw, anon | MAP_FIXED, -1, 0));
  EXPECT_ERR(EBADF, sys(SYS_mmap, 0, kPage, rw, MAP_PRIVATE, -1, 0));
  EXPECT_ERR(EBADF, sys(SYS_mmap, 0, kPage, rw, MAP_PRIVATE, dead_fd(), 0));
  EXPECT_ERR(EACCES, sys(SYS_mmap, 0, kPage, PROT_READ, MAP_PRIVATE, write_only, 0));
  EXPECT_ERR(EACCES, sys(SYS_mmap, 0, kPage, rw, MAP_SHARED, read_only, 0));
  EXPECT_ERR(ENODEV, sys(SYS_mmap, 0, kPage, PROT_READ, MAP_PRIVATE, dir, 0));
  EXPECT_ERR(ENOMEM, sys(SYS_mmap, 0, 1ul << 48, rw, anon, -1, 0));
  EXPECT_ERR(ENOMEM, sys(SYS_mmap, 0, -kPage, rw, anon, -1, 0));
  EXPECT_ERR(ENOMEM, sys(SYS_mmap, 0x7fff'ffff'f000, kPage, rw, anon | MAP_FIXED, -1, 0));
  EXPECT_ERR(EOVERFLOW, sys(SYS_mmap, 0, 2 * kPage, PROT_READ, MAP_PRIVATE, fd, -kPage));
  EXPECT_ERR(EINVAL, sys(SYS_munmap, 1, kPage));
  EXPECT_ERR(EINVAL, sys(SYS_munmap, 0x10000, 0));
  EXPECT_ERR(EINVAL, sys(SYS_munmap, 0x10000, 1ul << 48));
  EXPECT_OK(mmap(nullptr, kPage, rw, MAP_PRIVATE, read_only, 0));  // a private copy may be written
  EXPECT_ERR(EOPNOTSUPP, sys(SYS_mmap, 0, kPage, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0));
}

TEST_F(MmapTest, LowAddressIsRefusedToUsers) {
  SKIP_UNLESS_ROOT();
  in_user_child([] {
    EXPECT_ERR(EPERM,
               sys(SYS_mmap, 0, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  });
}

TEST_F(MmapTest, HintAndFixed) {
  void* hint = reinterpret_cast<void*>(0x20'0000'0000);
  void* p = mmap(hint, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_EQ(hint, p);
  void* q = mmap(hint, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_NE(hint, q);  // taken: somewhere else
  EXPECT_ERR(EEXIST, mmap(hint, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                          -1, 0));
  auto* r = static_cast<char*>(
      mmap(hint, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  ASSERT_EQ(hint, r);
  r[0] = 1;
  munmap(p, kPage);
  munmap(q, kPage);
  void* low = mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  ASSERT_OK(low);
  EXPECT_LT(reinterpret_cast<uintptr_t>(low), 1ul << 31);
  munmap(low, kPage);
}

TEST_F(MmapTest, PrivateFile) {
  Fd fd = open_file("f", std::string(kPage, 'a') + "tail");
  auto* p =
      static_cast<char*>(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
  ASSERT_OK(p);
  EXPECT_EQ('a', p[0]);
  EXPECT_EQ('t', p[kPage]);
  EXPECT_EQ(0, p[kPage + 4]);  // the rest of the last page is zeros
  p[0] = 'P';
  EXPECT_EQ('a', read_file(at("f"))[0]);
  fd.reset();  // the mapping outlives the descriptor
  EXPECT_EQ('t', p[kPage]);
  munmap(p, 2 * kPage);
}

TEST_F(MmapTest, FileOffset) {
  Fd fd = open_file("f", std::string(kPage, 'a') + std::string(kPage, 'b'));
  auto* p = static_cast<char*>(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, fd, kPage));
  ASSERT_OK(p);
  EXPECT_EQ('b', p[0]);
  munmap(p, kPage);
}

TEST_F(MmapTest, SharedFileIsSeenByReadAndByOtherMappings) {
  Fd fd = open_file("f", std::string(2 * kPage, '.'));
  auto map = [&] {
    return static_cast<char*>(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  };
  char *a = map(), *b = map();
  ASSERT_OK(a);
  ASSERT_OK(b);
  a[5] = 'X';
  EXPECT_EQ('X', b[5]);
  char c = 0;
  EXPECT_EQ(1, pread(fd, &c, 1, 5));
  EXPECT_EQ('X', c);
  EXPECT_EQ(1, pwrite(fd, "Y", 1, 6));
  EXPECT_EQ('Y', a[6]);
  in_child([&] { a[kPage] = 'C'; });
  EXPECT_EQ('C', b[kPage]);
  EXPECT_OK(sys(SYS_msync, a, 2 * kPage, MS_SYNC));
  munmap(a, 2 * kPage);
  munmap(b, 2 * kPage);
  EXPECT_EQ("XY", read_file(at("f")).substr(5, 2));
}

TEST_F(MmapTest, SharedMappingBetweenUnrelatedOpens) {
  make_file("f", std::string(kPage, '.'));
  Pipe ready, go;
  const pid_t child = spawn([&] {
    Fd fd(open(at("f").c_str(), O_RDWR));
    auto* p = static_cast<volatile char*>(
        mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    p[0] = '1';
    ready.notify();
    go.await();
    EXPECT_EQ('2', p[0]);
  });
  ready.await();
  Fd fd(open(at("f").c_str(), O_RDWR));
  auto* p =
      static_cast<volatile char*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  EXPECT_EQ('1', p[0]);
  p[0] = '2';
  go.notify();
  EXPECT_EQ(0, reap(child));
}

TEST_F(MmapTest, ThreadsMapFilesAtTheSameTime) {
  constexpr int kThreads = 6, kRounds = 150;
  for (int t = 0; t < kThreads; ++t) open_file("f" + std::to_string(t), std::string(2 * kPage, static_cast<char>('a' + t)));
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) {
        const Fd fd(open(at("f" + std::to_string(t)).c_str(), O_RDONLY));
        auto* p = static_cast<char*>(mmap(nullptr, 2 * kPage, PROT_READ, i % 2 ? MAP_PRIVATE : MAP_SHARED, fd, 0));
        ASSERT_OK(p);
        ASSERT_EQ('a' + t, p[0]);
        ASSERT_EQ('a' + t, p[2 * kPage - 1]);
        ASSERT_OK(munmap(p, 2 * kPage));
      }
    });
  }
  for (auto& t : threads) t.join();
}

TEST_F(MmapTest, OpenForReadingIsNotWrittenThroughAMapping) {
  open_file("f", "abc");
  const Fd fd(open(at("f").c_str(), O_RDONLY));
  EXPECT_ERR(EACCES, mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  auto* shared = static_cast<char*>(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd, 0));
  ASSERT_OK(shared);
  EXPECT_ERR(EACCES, mprotect(shared, kPage, PROT_READ | PROT_WRITE));
  auto* own = static_cast<char*>(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, fd, 0));
  ASSERT_OK(own);
  ASSERT_OK(mprotect(own, kPage, PROT_READ | PROT_WRITE));
  own[0] = 'X';
  EXPECT_EQ('a', shared[0]);
  Fd writer(open(at("f").c_str(), O_WRONLY));
  EXPECT_EQ(1, pwrite(writer, "B", 1, 1));
  EXPECT_EQ('B', shared[1]);
}

TEST_F(MmapTest, TouchBeyondTheFileIsSigbus) {
  Fd fd = open_file("f", "abc");
  auto* p = static_cast<char*>(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  ASSERT_OK(p);
  EXPECT_EQ(SIGBUS, touch(p + kPage, false));
  ASSERT_OK(ftruncate(fd, 2 * kPage));
  EXPECT_EQ(0, touch(p + kPage, false));
  ASSERT_OK(ftruncate(fd, 0));
  EXPECT_EQ(SIGBUS, touch(p, false));
  Pipe pipe;
  EXPECT_ERR(EFAULT, write(pipe.w, p, 1));
  pipe.notify();
  EXPECT_ERR(EFAULT, read(pipe.r, p, 1));
  munmap(p, 2 * kPage);
}

TEST_F(MmapTest, SharedAnonymousIsSharedByFork) {
  SharedMemory<int> shared;
  in_child([&] { *shared = 42; });
  EXPECT_EQ(42, *shared);
}

TEST_F(MmapTest, PrivateMemoryIsCopiedOnWriteAfterFork) {
  const size_t size = 64 * kPage;
  auto* p = static_cast<char*>(map_anonymous(size));
  for (size_t i = 0; i < size; i += kPage) p[i] = 'a';
  Pipe to_child, to_parent;
  const pid_t child = spawn([&] {
    for (size_t i = 0; i < size; i += 2 * kPage) p[i] = 'c';
    to_parent.notify();
    to_child.await();  // by now the parent wrote its own copy
    for (size_t i = 0; i < size; i += kPage) EXPECT_EQ(i % (2 * kPage) == 0 ? 'c' : 'a', p[i]);
  });
  to_parent.await();
  for (size_t i = 0; i < size; i += kPage) EXPECT_EQ('a', p[i]);
  for (size_t i = 0; i < size; i += kPage) p[i] = 'p';
  to_child.notify();
  EXPECT_EQ(0, reap(child));
  for (size_t i = 0; i < size; i += kPage) EXPECT_EQ('p', p[i]);
  munmap(p, size);
}

TEST_F(MmapTest, KernelWritesAlsoBreakTheCopy) {
  auto* p = static_cast<char*>(map_anonymous(kPage));
  p[0] = 'a';
  Pipe data, done, go;
  const pid_t child = spawn([&] {
    go.await();
    EXPECT_EQ('a', p[0]);
  });
  data.notify('b');
  ASSERT_EQ(1, read(data.r, p, 1));  // written by the kernel, not by an instruction
  EXPECT_EQ('b', p[0]);
  go.notify();
  EXPECT_EQ(0, reap(child));
  munmap(p, kPage);
}

TEST_F(MmapTest, CopyOnWriteThroughThreeGenerations) {
  auto* p = static_cast<int*>(map_anonymous(kPage));
  *p = 1;
  in_child([&] {
    *p = 2;
    in_child([&] {
      EXPECT_EQ(2, *p);
      *p = 3;
      in_child([&] { EXPECT_EQ(3, *p); });
    });
    EXPECT_EQ(2, *p);
  });
  EXPECT_EQ(1, *p);
  munmap(p, kPage);
}

TEST_F(MmapTest, NoReserveHugeMappingIsCheap) {
  auto* p = static_cast<char*>(
      map_anonymous(1ul << 36, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE));
  ASSERT_OK(p);
  p[0] = 1;
  p[(1ul << 36) - 1] = 2;
  EXPECT_EQ(0, p[1ul << 35]);
  EXPECT_OK(munmap(p, 1ul << 36));
}

TEST_F(MmapTest, GrowsDownAndStackAndPopulateFlagsAreTaken) {
  void* p =
      map_anonymous(16 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_STACK | MAP_POPULATE);
  EXPECT_OK(p);
  munmap(p, 16 * kPage);
}

TEST_F(MmapTest, StackGrows) {
  in_child([] {
    // One step of 256 KiB below the stack pointer, as a large local array makes it.
    volatile char big[1 << 18];
    big[0] = 1;
    EXPECT_EQ(1, big[0]);
  });
}

TEST_F(MmapTest, DevZeroAndProcFile) {
  Fd zero(open("/dev/zero", O_RDWR));
  auto* p = static_cast<char*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0));
  ASSERT_OK(p);
  EXPECT_EQ(0, p[0]);
  p[0] = 1;
  munmap(p, kPage);
  Pipe pipe;
  EXPECT_ERR(EACCES, mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, pipe.w, 0));
  EXPECT_ERR(ENODEV, mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, pipe.r, 0));
}

TEST_F(MmapTest, ExecutableMemoryRuns) {
  auto* code = static_cast<unsigned char*>(map_anonymous(kPage));
  const unsigned char bytes[] = {0xb8, 0x2a, 0, 0, 0, 0xc3};  // mov $42, %eax; ret
  memcpy(code, bytes, sizeof(bytes));
  EXPECT_OK(sys(SYS_mprotect, code, kPage, PROT_READ | PROT_EXEC));
  EXPECT_EQ(42, reinterpret_cast<int (*)()>(code)());
  EXPECT_OK(mprotect(code, kPage, PROT_READ | PROT_WRITE));
  const int status = child_status([&] { reinterpret_cast<int (*)()>(code)(); });
  EXPECT_EQ(SIGSEGV, WTERMSIG(status));
  munmap(code, kPage);
}

TEST_F(MmapTest, CodeFromFileRuns) {
  Fd fd = open_file("code", std::string("\xb8\x07\x00\x00\x00\xc3", 6));
  void* code = mmap(nullptr, kPage, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
  ASSERT_OK(code);
  EXPECT_EQ(7, reinterpret_cast<int (*)()>(code)());
  munmap(code, kPage);
}

TEST_F(MmapTest, Msync) {
  Fd fd = open_file("f", std::string(kPage, 'x'));
  void* p = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  EXPECT_OK(sys(SYS_msync, p, kPage, MS_ASYNC));
  EXPECT_OK(sys(SYS_msync, p, kPage, MS_SYNC | MS_INVALIDATE));
  EXPECT_ERR(EINVAL, sys(SYS_msync, p, kPage, MS_SYNC | MS_ASYNC));
  EXPECT_ERR(EINVAL, sys(SYS_msync, p, kPage, 64));
  EXPECT_ERR(EINVAL, sys(SYS_msync, static_cast<char*>(p) + 1, kPage, MS_SYNC));
  EXPECT_ERR(ENOMEM, sys(SYS_msync, bad(), kPage, MS_SYNC));
  munmap(p, kPage);
}

TEST_F(MmapTest, Mincore) {
  auto* p = static_cast<char*>(map_anonymous(4 * kPage));
  p[kPage] = 1;
  unsigned char vec[4] = {9, 9, 9, 9};
  EXPECT_OK(sys(SYS_mincore, p, 4 * kPage, vec));
  EXPECT_EQ(1, vec[1] & 1);
  EXPECT_ERR(EINVAL, sys(SYS_mincore, p + 1, kPage, vec));
  EXPECT_ERR(ENOMEM, sys(SYS_mincore, bad(), kPage, vec));
  EXPECT_ERR(EFAULT, sys(SYS_mincore, p, kPage, bad()));
  munmap(p, 4 * kPage);
}

TEST_F(MmapTest, Madvise) {
  auto* p = static_cast<char*>(map_anonymous(4 * kPage));
  memset(p, 7, 4 * kPage);
  EXPECT_OK(sys(SYS_madvise, p + kPage, kPage, MADV_DONTNEED));
  EXPECT_EQ(7, p[0]);
  EXPECT_EQ(0, p[kPage]);
  EXPECT_EQ(7, p[2 * kPage]);
  for (int advice : {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_FREE,
                     MADV_DONTFORK, MADV_DOFORK, MADV_DONTDUMP, MADV_DODUMP}) {
    EXPECT_OK(sys(SYS_madvise, p, kPage, advice)) << advice;
  }
  EXPECT_OK(sys(SYS_madvise, p, 0, MADV_DONTNEED));
  EXPECT_ERR(EINVAL, sys(SYS_madvise, p, kPage, 9999));
  EXPECT_ERR(EINVAL, sys(SYS_madvise, p + 1, kPage, MADV_NORMAL));
  EXPECT_ERR(ENOMEM, sys(SYS_madvise, bad(), kPage, MADV_DONTNEED));
  // Part mapped, part not: the mapped part is done, then ENOMEM.
  munmap(p + 2 * kPage, kPage);
  p[kPage] = 1;
  EXPECT_ERR(ENOMEM, sys(SYS_madvise, p, 4 * kPage, MADV_DONTNEED));
  EXPECT_EQ(0, p[kPage]);
  munmap(p, 4 * kPage);
}

TEST_F(MmapTest, MadviseDontneedOfAFileReadsItAgain) {
  Fd fd = open_file("f", std::string(kPage, 'x'));
  auto* p = static_cast<char*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
  p[0] = 'y';
  EXPECT_OK(madvise(p, kPage, MADV_DONTNEED));
  EXPECT_EQ('x', p[0]);
  munmap(p, kPage);
}

TEST_F(MmapTest, DontForkAndWipeOnFork) {
  auto* p = static_cast<char*>(map_anonymous(2 * kPage));
  p[0] = p[kPage] = 'x';
  ASSERT_OK(madvise(p, kPage, MADV_DONTFORK));
  ASSERT_OK(madvise(p + kPage, kPage, MADV_WIPEONFORK));
  EXPECT_EQ(SIGSEGV, touch(p, false));
  in_child([&] { EXPECT_EQ(0, p[kPage]); });
  EXPECT_EQ('x', p[0]);
  EXPECT_EQ('x', p[kPage]);
  munmap(p, 2 * kPage);
}

long locked_kib() {
  Fd status(open("/proc/self/status", O_RDONLY));
  char text[4096] = {};
  if (read(status, text, sizeof text - 1) <= 0) return -1;
  const char* line = strstr(text, "VmLck:");
  return line != nullptr ? atol(line + 6) : -1;
}

TEST_F(MmapTest, Mlock) {
  auto* p = static_cast<char*>(map_anonymous(4 * kPage));
  EXPECT_OK(sys(SYS_mlock, p, kPage));
  EXPECT_EQ(4, locked_kib());
  in_child([] { EXPECT_EQ(0, locked_kib()); });
  EXPECT_ERR(EINVAL, sys(SYS_madvise, p, kPage, MADV_DONTNEED));
  EXPECT_ERR(EINVAL, sys(SYS_madvise, p, kPage, MADV_FREE));
  EXPECT_ERR(EBUSY, sys(SYS_msync, p, kPage, MS_INVALIDATE));
  EXPECT_OK(sys(SYS_munlock, p, kPage));
  EXPECT_EQ(0, locked_kib());
  EXPECT_OK(sys(SYS_madvise, p, kPage, MADV_DONTNEED));
  EXPECT_OK(sys(SYS_mlock2, p, kPage, 1 /* MLOCK_ONFAULT */));
  EXPECT_OK(sys(SYS_munlock, p, kPage));
  EXPECT_ERR(ENOMEM, sys(SYS_mlock, bad(), kPage));
  EXPECT_ERR(ENOMEM, sys(SYS_munlock, bad(), kPage));
  EXPECT_ERR(ENOMEM, sys(SYS_mlock2, bad(), kPage, 0));
  EXPECT_ERR(EINVAL, sys(SYS_mlock2, p, kPage, 8));
  EXPECT_ERR(EINVAL, sys(SYS_mlockall, 0));
  EXPECT_ERR(EINVAL, sys(SYS_mlockall, 8));
  in_child([] {
    EXPECT_OK(sys(SYS_mlockall, MCL_CURRENT));
    EXPECT_OK(sys(SYS_munlockall));
  });
  SKIP_UNLESS_ROOT();
  in_user_child([&] {
    const rlimit limit = {0, 0};
    ASSERT_OK(setrlimit(RLIMIT_MEMLOCK, &limit));
    EXPECT_ERR(EPERM, sys(SYS_mlock, p, kPage));
    EXPECT_ERR(EPERM, sys(SYS_mlockall, MCL_CURRENT));
  });
  munmap(p, 4 * kPage);
}

TEST_F(MmapTest, Brk) {
  in_child([] {
    const uintptr_t start = sys(SYS_brk, 0);
    ASSERT_NE(0u, start);
    const uintptr_t end = start + 64 * kPage;
    EXPECT_EQ(static_cast<long>(end), sys(SYS_brk, end));
    auto* p = reinterpret_cast<char*>((start + kPage - 1) & -kPage);
    for (size_t i = 0; i < 60 * kPage; i += 512) ASSERT_EQ(0, p[i]);
    memset(p, 1, 60 * kPage);
    in_child([&] {
      EXPECT_EQ(1, p[0]);
      p[0] = 2;
      EXPECT_EQ(static_cast<long>(end), sys(SYS_brk, 0));
    });
    EXPECT_EQ(1, p[0]);
    EXPECT_EQ(static_cast<long>(start), sys(SYS_brk, start));
    EXPECT_EQ(SIGSEGV, touch(p + 32 * kPage, false));
    EXPECT_EQ(static_cast<long>(end), sys(SYS_brk, end));
    EXPECT_EQ(0, p[32 * kPage]);  // given back and taken again: zeros
    // Refusals answer the old break, never an errno.
    EXPECT_EQ(static_cast<long>(end), sys(SYS_brk, 1));
    EXPECT_EQ(static_cast<long>(end), sys(SYS_brk, -1));
  });
}

TEST_F(MmapTest, AddressSpaceLimit) {
  in_child([] {
    const rlimit limit = {1ul << 30, 1ul << 30};
    ASSERT_OK(setrlimit(RLIMIT_AS, &limit));
    EXPECT_ERR(ENOMEM, map_anonymous(2ul << 30));
    EXPECT_OK(map_anonymous(1 << 20));
  });
}

TEST_F(MmapTest, SharedValidate) {
  Fd file = open_file("f", "abc");
  void* p = mmap(nullptr, kPage, PROT_READ, MAP_SHARED_VALIDATE, file, 0);
  ASSERT_OK(p);
  EXPECT_OK(munmap(p, kPage));
  EXPECT_ERR(EOPNOTSUPP, mmap(nullptr, kPage, PROT_READ, MAP_SHARED_VALIDATE | 1 << 9, file, 0));
  EXPECT_ERR(EOPNOTSUPP, mmap(nullptr, kPage, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, file, 0));
  EXPECT_ERR(EINVAL, mmap(nullptr, kPage, PROT_READ, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0));
}

TEST_F(MmapTest, MemfdCreate) {
  Fd fd(sys(SYS_memfd_create, "name", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_OK(+fd);
  EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
  EXPECT_EQ(3, write(fd, "abc", 3));
  ASSERT_OK(ftruncate(fd, 2 * kPage));
  auto* p = static_cast<char*>(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  ASSERT_OK(p);
  EXPECT_EQ('b', p[1]);
  in_child([&] { p[kPage] = 'c'; });
  EXPECT_EQ('c', p[kPage]);
  EXPECT_ERR(EBUSY, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));  // still mapped writable
  munmap(p, 2 * kPage);
  EXPECT_EQ(0, fcntl(fd, F_GET_SEALS));
  EXPECT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
  EXPECT_ERR(EPERM, ftruncate(fd, 1));
  EXPECT_ERR(EPERM, ftruncate(fd, 10 * kPage));
  EXPECT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL));
  EXPECT_ERR(EPERM, write(fd, "x", 1));
  EXPECT_ERR(EPERM, fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
  EXPECT_EQ(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL, fcntl(fd, F_GET_SEALS));
  EXPECT_ERR(EPERM, mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));

  Fd sealed(sys(SYS_memfd_create, "", 0));
  EXPECT_EQ(F_SEAL_SEAL, fcntl(sealed, F_GET_SEALS));
  EXPECT_ERR(EINVAL, sys(SYS_memfd_create, "x", 1 << 20));
  EXPECT_ERR(EINVAL, sys(SYS_memfd_create, std::string(250, 'x').c_str(), 0));
  EXPECT_ERR(EFAULT, sys(SYS_memfd_create, bad(), 0));
  EXPECT_ERR(EINVAL, fcntl(Pipe().r, F_GET_SEALS));
  Fd plain(open("/dev/shm", O_TMPFILE | O_RDWR, 0600));
  ASSERT_OK(+plain);
  EXPECT_EQ(F_SEAL_SEAL, fcntl(plain, F_GET_SEALS));
  EXPECT_ERR(EPERM, fcntl(plain, F_ADD_SEALS, F_SEAL_GROW));
}

// Files in memory: opened for reading or writing, mapped for one or the other, by who may write them and who may not.
TEST_F(MmapTest, FilesInMemory) {
  const std::string name = "/dev/shm/mmap_test." + std::to_string(getpid());
  Fd made(open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0644));
  ASSERT_OK(+made);
  ASSERT_EQ(4, write(made, "abcd", 4));
  const auto look = [&] {
    Fd reader(open(name.c_str(), O_RDONLY));
    ASSERT_OK(+reader);
    for (int i = 0; i < 50; ++i) {
      auto* const p = static_cast<char*>(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, reader, 0));
      auto* const q = static_cast<char*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, reader, 0));
      auto* const r = static_cast<char*>(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, reader, 0));
      ASSERT_OK(p);
      ASSERT_OK(q);
      ASSERT_OK(r);
      EXPECT_EQ('b', p[1]);
      q[1] = 'x';
      EXPECT_EQ('b', r[1]);
      EXPECT_ERR(EACCES, mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0));
      EXPECT_ERR(EACCES, mprotect(r, kPage, PROT_READ | PROT_WRITE));
      for (char* const mapped : {p, q, r}) munmap(mapped, kPage);
    }
  };
  look();
  auto* const shared = static_cast<char*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, made, 0));
  ASSERT_OK(shared);
  shared[0] = 'A';
  char got[2];
  EXPECT_EQ(2, pread(made, got, 2, 0));
  EXPECT_EQ('A', got[0]);
  if (geteuid() == 0) {
    in_child([&] {
      ASSERT_OK(setresuid(65534, 65534, 65534));
      look();
    });
  }
  munmap(shared, kPage);
  unlink(name.c_str());
}

TEST_F(MmapTest, ProcessVmReadAndWrite) {
  struct Data {
    char text[8];
  };
  auto* p = static_cast<Data*>(map_anonymous(kPage));
  strcpy(p->text, "parent");
  Pipe ready, go;
  const pid_t child = spawn([&] {
    strcpy(p->text, "child");
    ready.notify();
    go.await();
    EXPECT_STREQ("poked", p->text);
  });
  ready.await();
  char got[8] = {};
  struct Iov {
    void* base;
    size_t size;
  } local = {got, 8}, remote = {p, 8}, bad_remote = {bad(), 8};
  EXPECT_EQ(8, sys(SYS_process_vm_readv, child, &local, 1, &remote, 1, 0));
  EXPECT_STREQ("child", got);
  strcpy(got, "poked");
  EXPECT_EQ(8, sys(SYS_process_vm_writev, child, &local, 1, &remote, 1, 0));
  EXPECT_ERR(EFAULT, sys(SYS_process_vm_readv, child, &local, 1, &bad_remote, 1, 0));
  EXPECT_ERR(EFAULT, sys(SYS_process_vm_writev, child, &local, 1, &bad_remote, 1, 0));
  EXPECT_ERR(EINVAL, sys(SYS_process_vm_readv, child, &local, 1, &remote, 1, 1));
  EXPECT_ERR(EFAULT, sys(SYS_process_vm_readv, child, bad(), 1, &remote, 1, 0));
  go.notify();
  EXPECT_EQ(0, reap(child));
  EXPECT_ERR(ESRCH, sys(SYS_process_vm_readv, child, &local, 1, &remote, 1, 0));
  EXPECT_ERR(ESRCH, sys(SYS_process_vm_writev, child, &local, 1, &remote, 1, 0));
  EXPECT_STREQ("parent", p->text);
  munmap(p, kPage);
}

TEST_F(MmapTest, Membarrier) {
  const long supported = sys(SYS_membarrier, 0, 0, 0);
  if (supported == -1) GTEST_SKIP() << "no membarrier in this kernel";
  EXPECT_NE(0, supported & 1);
  EXPECT_OK(sys(SYS_membarrier, 1, 0, 0));
  EXPECT_OK(sys(SYS_membarrier, 16, 0, 0));  // register private expedited
  EXPECT_OK(sys(SYS_membarrier, 8, 0, 0));   // private expedited
  EXPECT_ERR(EINVAL, sys(SYS_membarrier, 1 << 25, 0, 0));
  EXPECT_ERR(EINVAL, sys(SYS_membarrier, 0, 55, 0));
}

}  // namespace
}  // namespace run9::guest
