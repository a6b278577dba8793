// Mappings that a program makes again and again: a heap that grows, memory that comes and goes, and what looks at it meanwhile: forks,
// threads, limits, /proc, other processes.
#include <sys/resource.h>
#include <sys/uio.h>

#include <algorithm>
#include <thread>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

constexpr int kRw = PROT_READ | PROT_WRITE;
constexpr int kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS;

bool holds(const Mapping& m, const char* p, size_t size) {
  const auto start = reinterpret_cast<uintptr_t>(p);
  return start >= m.start && start + size <= m.end;
}

char* map(size_t size, int prot = kRw, int flags = 0) { return static_cast<char*>(map_anonymous(size, prot, MAP_PRIVATE | flags)); }

uintptr_t heap_end() { return static_cast<uintptr_t>(sys(SYS_brk, 0)); }
uintptr_t grow_heap(size_t by) { return static_cast<uintptr_t>(sys(SYS_brk, heap_end() + by)); }

TEST(OwnMapping, AHeapGrows) {
  in_child([] {
    grow_heap(0);
    const uintptr_t start = heap_end();
    for (size_t i = 1; i <= 40; ++i) ASSERT_EQ(start + i * 1000, grow_heap(1000));
    auto* const p = reinterpret_cast<char*>(start);
    for (size_t i = 0; i < 40'000; ++i) ASSERT_EQ(0, p[i]);
    memset(p, 1, 40'000);
    const Mapping heap = mapping_at(p);
    EXPECT_EQ("[heap]", heap.name);
    EXPECT_EQ("rw-p", heap.prot);
    EXPECT_EQ((start + 40'000 + kPage - 1) & -kPage, heap.end);
    EXPECT_EQ(SIGSEGV, touch(reinterpret_cast<char*>(heap.end)));
    EXPECT_EQ(start + 40'000, heap_end());
    EXPECT_EQ(start, static_cast<uintptr_t>(sys(SYS_brk, start)));
    EXPECT_EQ(start + 40'000, grow_heap(40'000));
    EXPECT_EQ(0, p[20'000]);
    EXPECT_EQ(start + 40'000, static_cast<uintptr_t>(sys(SYS_brk, 1)));
    // More at once than anybody would have foreseen.
    const uintptr_t far = heap_end() + (64 << 20);
    EXPECT_EQ(far, grow_heap(64 << 20));
    EXPECT_TRUE(holds(mapping_at(p), p, 64 << 20));
  });
}

TEST(OwnMapping, AHeapStopsAtItsLimit) {
  in_child([] {
    grow_heap(kPage);
    const uintptr_t start = heap_end();
    const rlimit none = {0, RLIM_INFINITY};
    ASSERT_OK(setrlimit(RLIMIT_DATA, &none));
    EXPECT_EQ(start, grow_heap(kPage));
    const rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    ASSERT_OK(setrlimit(RLIMIT_DATA, &all));
    EXPECT_EQ(start + kPage, grow_heap(kPage));
  });
}

TEST(OwnMapping, AHeapStopsAtAMapping) {
  in_child([] {
    grow_heap(kPage);
    const uintptr_t start = heap_end(), wall = (start + 64 * kPage) & -kPage;
    ASSERT_OK(mmap(reinterpret_cast<void*>(wall), kPage, PROT_NONE, kAnonymous | MAP_FIXED_NOREPLACE, -1, 0));
    EXPECT_EQ(start + kPage, grow_heap(kPage));
    EXPECT_EQ(start + kPage, grow_heap(100 * kPage));
    EXPECT_EQ("---p", mapping_at(reinterpret_cast<void*>(wall)).prot);
  });
}

TEST(OwnMapping, MemoryComesAndGoes) {
  for (int round = 0; round < 3; ++round) {
    std::vector<char*> pieces;
    for (size_t i = 0; i < 40; ++i) {
      char* const p = map((i % 5 + 1) * kPage - i);
      ASSERT_OK(p);
      ASSERT_EQ(0, p[i]);
      memset(p, static_cast<int>(i + 1), kPage);
      pieces.push_back(p);
      if (i % 7 == 0) {
        EXPECT_TRUE(holds(mapping_at(p), p, (i % 5 + 1) * kPage)) << i;
      }
    }
    for (size_t i = 0; i < 40; ++i) ASSERT_EQ(static_cast<char>(i + 1), pieces[i][kPage - 1]) << i;
    for (size_t i = 0; i < 40; i += 2) ASSERT_OK(munmap(pieces[i], (i % 5 + 1) * kPage));
    for (size_t i = 0; i < 40; ++i) EXPECT_EQ(i % 2 == 0 ? 0u : 1u, mapping_at(pieces[i]).end != 0 ? 1u : 0u) << i;
    EXPECT_EQ(SIGSEGV, touch(pieces[2]));
    for (size_t i = 1; i < 40; i += 2) ASSERT_OK(munmap(pieces[i], (i % 5 + 1) * kPage));
    EXPECT_EQ(SIGSEGV, touch(pieces[39]));
  }
}

TEST(OwnMapping, LastInFirstOut) {
  for (int i = 0; i < 200; ++i) {
    char* const a = map(3 * kPage);
    char* const b = map(kPage);
    ASSERT_OK(a);
    ASSERT_OK(b);
    ASSERT_EQ(0, a[2 * kPage]);
    ASSERT_EQ(0, b[0]);
    a[2 * kPage] = b[0] = 1;
    ASSERT_OK(munmap(b, kPage));
    ASSERT_EQ(1, a[2 * kPage]);
    ASSERT_OK(munmap(a, 3 * kPage));
  }
}

TEST(OwnMapping, WhatItMayBeUsedFor) {
  char* const none = map(2 * kPage, PROT_NONE, MAP_NORESERVE);
  char* const read_only = map(2 * kPage, PROT_READ);
  ASSERT_OK(none);
  ASSERT_OK(read_only);
  EXPECT_EQ(SIGSEGV, touch(none));
  EXPECT_EQ(0, touch(read_only));
  EXPECT_EQ("---p", mapping_at(none).prot);
  EXPECT_EQ("r--p", mapping_at(read_only).prot);
  EXPECT_OK(mprotect(none, kPage, kRw));
  none[0] = 1;
  EXPECT_EQ(SIGSEGV, touch(none + kPage));
  EXPECT_EQ("rw-p", mapping_at(none).prot);
  EXPECT_OK(munmap(none, 2 * kPage));
  EXPECT_OK(munmap(read_only, 2 * kPage));
}

TEST(OwnMapping, PartsOfIt) {
  char* const p = map(8 * kPage);
  ASSERT_OK(p);
  memset(p, 1, 8 * kPage);
  EXPECT_OK(munmap(p + 2 * kPage, kPage));
  EXPECT_EQ(SIGSEGV, touch(p + 2 * kPage));
  EXPECT_EQ(1, p[3 * kPage]);
  EXPECT_OK(mprotect(p, kPage, PROT_READ));
  EXPECT_EQ("r--p", mapping_at(p).prot);
  EXPECT_EQ("rw-p", mapping_at(p + kPage).prot);
  EXPECT_OK(munmap(p, 8 * kPage));
  char* const q = map(2 * kPage);
  ASSERT_OK(q);
  q[0] = 'q';
  auto* const moved = static_cast<char*>(mremap(q, 2 * kPage, 64 * kPage, MREMAP_MAYMOVE));
  ASSERT_OK(moved);
  EXPECT_EQ('q', moved[0]);
  EXPECT_EQ(0, moved[63 * kPage]);
  EXPECT_TRUE(holds(mapping_at(moved), moved, 64 * kPage));
  EXPECT_OK(munmap(moved, 64 * kPage));
}

// A mapping at an address of the caller's choice, where the next ones might go.
TEST(OwnMapping, OnesThatAreFixed) {
  char* const p = map(kPage);
  ASSERT_OK(p);
  char* const below = p - 16 * kPage;
  if (mapping_at(below).end != 0) GTEST_SKIP() << "something is there";
  ASSERT_EQ(below, mmap(below, kPage, kRw, kAnonymous | MAP_FIXED_NOREPLACE, -1, 0));
  below[0] = 'b';
  std::vector<char*> more;
  for (int i = 0; i < 40; ++i) {
    more.push_back(map(kPage));
    ASSERT_OK(more.back());
    more.back()[0] = 'm';
  }
  EXPECT_EQ('b', below[0]);
  EXPECT_ERR(EEXIST, mmap(more[5], kPage, kRw, kAnonymous | MAP_FIXED_NOREPLACE, -1, 0));
  ASSERT_EQ(more[6], mmap(more[6], kPage, kRw, kAnonymous | MAP_FIXED, -1, 0));
  EXPECT_EQ(0, more[6][0]);
  EXPECT_EQ('m', more[7][0]);
  for (char* const m : more) EXPECT_OK(munmap(m, kPage));
  EXPECT_OK(munmap(below, kPage));
  EXPECT_OK(munmap(p, kPage));
}

TEST(OwnMapping, Sizes) {
  EXPECT_ERR(EINVAL, map(0));
  EXPECT_ERR(ENOMEM, map(size_t{1} << 47));
  EXPECT_ERR(ENOMEM, map(~size_t{0}));
  char* const large = map(size_t{100} << 20, kRw, MAP_NORESERVE);
  ASSERT_OK(large);
  large[(size_t{100} << 20) - 1] = 1;
  char* const little = map(1);
  ASSERT_OK(little);
  little[kPage - 1] = 1;
  EXPECT_ERR(EINVAL, munmap(little + 1, kPage));
  EXPECT_OK(munmap(little, 1));
  EXPECT_EQ(SIGSEGV, touch(little));
  EXPECT_OK(munmap(large, size_t{100} << 20));
}

TEST(OwnMapping, ForksHaveWhatIsThere) {
  in_child([] {
    grow_heap(kPage);
    char* const p = map(2 * kPage);
    char* const gone = map(2 * kPage);
    ASSERT_OK(munmap(gone, 2 * kPage));
    const uintptr_t end = grow_heap(3 * kPage);
    p[0] = 'p';
    reinterpret_cast<char*>(end)[-1] = 'h';
    in_child([&] {
      EXPECT_EQ('p', p[0]);
      EXPECT_EQ('h', reinterpret_cast<char*>(end)[-1]);
      EXPECT_EQ(end, heap_end());
      EXPECT_EQ(end + kPage, grow_heap(kPage));
      char* const own = map(kPage);
      ASSERT_OK(own);
      EXPECT_NE(p, own);
      own[0] = 'o';
      EXPECT_TRUE(holds(mapping_at(own), own, kPage));
      EXPECT_OK(munmap(p, 2 * kPage));
      EXPECT_EQ(SIGSEGV, touch(p));
    });
    EXPECT_EQ('p', p[0]);
    EXPECT_EQ(end, heap_end());
    char* const q = map(kPage);
    ASSERT_OK(q);
    EXPECT_EQ(0, q[0]);
    EXPECT_EQ(end + kPage, grow_heap(kPage));
    EXPECT_EQ(end + kPage, heap_end());
  });
}

TEST(OwnMapping, WithThreads) {
  in_child([] {
    std::vector<char*> pieces(400);
    const auto work = [&](size_t from) {
      for (size_t i = from; i < from + 100; ++i) {
        char* const p = map(2 * kPage);
        memset(p, static_cast<int>(from / 100 + 1), 2 * kPage);
        pieces[i] = p;
        char* const passing = map(kPage);
        passing[0] = 1;
        munmap(passing, kPage);
      }
    };
    work(0);
    std::thread a(work, 100), b(work, 200);
    a.join();
    b.join();
    work(300);
    for (size_t i = 0; i < pieces.size(); ++i) {
      ASSERT_EQ(static_cast<char>(i / 100 + 1), pieces[i][2 * kPage - 1]) << i;
      ASSERT_TRUE(holds(mapping_at(pieces[i]), pieces[i], 2 * kPage)) << i;
    }
    std::sort(pieces.begin(), pieces.end());
    EXPECT_EQ(pieces.end(), std::adjacent_find(pieces.begin(), pieces.end(), [](char* x, char* y) { return y - x < 2 * long{kPage}; }));
  });
}

TEST(OwnMapping, AChildThatSharesMemory) {
  in_child([] {
    grow_heap(kPage);
    char* const p = map(kPage);
    ASSERT_OK(p);
    static volatile uintptr_t end;
    static char* volatile q;
    const pid_t child = vfork();
    if (child == 0) {
      end = static_cast<uintptr_t>(syscall(SYS_brk, syscall(SYS_brk, 0) + 5 * kPage));
      q = reinterpret_cast<char*>(syscall(SYS_mmap, 0, kPage, kRw, kAnonymous, -1, 0));
      *q = 'q';
      syscall(SYS_munmap, p, kPage);
      _exit(0);
    }
    EXPECT_EQ(0, reap(child));
    EXPECT_EQ(end, heap_end());
    EXPECT_EQ('q', *q);
    EXPECT_EQ(SIGSEGV, touch(p));
    EXPECT_EQ(end + kPage, grow_heap(kPage));
    char* const next = map(kPage);
    EXPECT_NE(static_cast<char*>(q), next);
    EXPECT_EQ('q', *q);
  });
}

TEST(OwnMapping, OthersLook) {
  struct Said {
    char *heap, *piece, *gone;
    int rounds, looked;
  };
  SharedMemory<Said> said;
  Pipe go;
  const pid_t child = spawn([&] {
    for (int i = 1; i <= 3; ++i) {
      // From here on it calls for nothing else, so that nothing else shows what it did.
      grow_heap(kPage);
      said->heap = reinterpret_cast<char*>(heap_end()) - 1;
      char* const gone = map(kPage);
      char* const piece = map(kPage);
      strcpy(piece, "child");
      said->piece = piece;
      munmap(gone, kPage);
      said->gone = gone;
      __atomic_store_n(&said->rounds, i, __ATOMIC_SEQ_CST);
      while (__atomic_load_n(&said->looked, __ATOMIC_SEQ_CST) != i) {
      }
    }
    go.await();
  });
  const std::string pid = std::to_string(child);
  for (int i = 1; i <= 3; ++i) {
    while (__atomic_load_n(&said->rounds, __ATOMIC_SEQ_CST) != i) usleep(1000);
    EXPECT_TRUE(holds(mapping_at(said->piece, pid), said->piece, kPage));
    EXPECT_EQ("[heap]", mapping_at(said->heap, pid).name);
    EXPECT_EQ(0u, mapping_at(said->gone, pid).end);
    char got[8] = {};
    const iovec local = {got, 6}, remote = {said->piece, 6};
    EXPECT_EQ(6, process_vm_readv(child, &local, 1, &remote, 1, 0));
    EXPECT_STREQ("child", got);
    __atomic_store_n(&said->looked, i, __ATOMIC_SEQ_CST);
  }
  go.notify();
  EXPECT_EQ(0, reap(child));
}

TEST(OwnMapping, LimitsOfTheAddressSpace) {
  in_child([] {
    ASSERT_OK(map(kPage));
    const rlimit limit = {1ul << 30, RLIM_INFINITY};
    ASSERT_OK(setrlimit(RLIMIT_AS, &limit));
    size_t mapped = 0;
    while (mapped < (2ul << 30) && map(8 << 20) != MAP_FAILED) mapped += 8 << 20;
    EXPECT_GT(mapped, 100ul << 20);
    EXPECT_LT(mapped, 1ul << 30);
    EXPECT_ERR(ENOMEM, map(8 << 20));
  });
}

// Another process sets the limit, while this one asks for nothing else.
TEST(OwnMapping, LimitsFromOutside) {
  Pipe ready, go;
  const pid_t child = spawn([&] {
    ASSERT_OK(map(kPage));
    grow_heap(kPage);
    ready.notify();
    go.await();
    const uintptr_t end = heap_end();
    EXPECT_EQ(end, grow_heap(kPage));
    EXPECT_ERR(ENOMEM, map(1 << 20));
  });
  ready.await();
  const rlimit little = {kPage, kPage};
  ASSERT_OK(prlimit(child, RLIMIT_AS, &little, nullptr));
  go.notify();
  EXPECT_EQ(0, reap(child));
}

TEST(OwnMapping, LockedMemory) {
  in_child([] {
    ASSERT_OK(map(kPage));
    ASSERT_OK(mlockall(MCL_FUTURE));
    char* const p = map(kPage);
    ASSERT_OK(p);
    EXPECT_ERR(EINVAL, madvise(p, kPage, MADV_DONTNEED));
    EXPECT_NE(std::string::npos, read_file("/proc/self/smaps").find(" lo"));
  });
}

// The kernel writes there, what is there is read, and it counts.
TEST(OwnMapping, CallsUseIt) {
  constexpr size_t kSize = 256 << 10;
  const auto size_of_process = [] {
    const std::string status = read_file("/proc/self/status");
    return strtol(status.c_str() + status.find("VmSize:") + 7, nullptr, 10);
  };
  const long before = size_of_process();
  char* const p = map(kSize);
  ASSERT_OK(p);
  EXPECT_EQ(before + static_cast<long>(kSize >> 10), size_of_process());
  Fd zero(open("/dev/zero", O_RDONLY));
  memset(p, 1, kSize);
  EXPECT_EQ(static_cast<ssize_t>(kSize), read(zero, p, kSize));
  EXPECT_EQ(0, p[kSize - 1]);
  Pipe pipe;
  strcpy(p + kPage - 3, "across");
  EXPECT_EQ(6, write(pipe.w, p + kPage - 3, 6));
  EXPECT_EQ(6, read(pipe.r, p, 6));
  EXPECT_STREQ("across", p);
  unsigned char resident[64];
  EXPECT_OK(mincore(p, 64 * kPage, resident));
  EXPECT_OK(madvise(p, kPage, MADV_DONTNEED));
  EXPECT_EQ(0, p[0]);
  EXPECT_OK(madvise(p, kSize, MADV_DONTFORK));
  EXPECT_EQ(SIGSEGV, touch(p));
  EXPECT_OK(munmap(p, kSize));
  EXPECT_ERR(ENOMEM, mincore(p, kPage, resident));
  EXPECT_ERR(EFAULT, sys(SYS_read, +zero, p, 6));
  EXPECT_EQ(before, size_of_process());
}

}  // namespace
}  // namespace run9::guest
