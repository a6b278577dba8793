// What the host has in memory is read in place, what a disk has by host_call; either way the bytes are the file's.
#include "vfs/gofer/cold_reads.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "vfs/testing/context.h"

namespace run9::vfs::gofer {
namespace {

class CountingContext final : public testing::TestContext {
 public:
  void host_call(const std::function<void()>& call) override {
    ++calls;
    call();
  }
  int calls = 0;
};

constexpr size_t kPage = 0x1000, kSize = 64 * kPage + 100;

class ColdReadsTest : public ::testing::Test {
 protected:
  // In the build directory: a disk's.
  void SetUp() override {
    fd_ = UniqueFd(open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    ASSERT_TRUE(fd_.valid());
    data_.resize(kSize);
    for (size_t i = 0; i < kSize; ++i) data_[i] = static_cast<std::byte>(i * 7 + i / kPage);
    ASSERT_EQ(pwrite(fd_.get(), data_.data(), kSize, 0), static_cast<ssize_t>(kSize));
    ASSERT_EQ(fsync(fd_.get()), 0);
    std::byte probe[1];
    const iovec v{probe, 1};
    if (preadv2(fd_.get(), &v, 1, 0, RWF_NOWAIT) != 1) GTEST_SKIP() << "this directory's file system knows no RWF_NOWAIT";
  }
  bool any_warm() const {
    void* const at = mmap(nullptr, kSize, PROT_READ, MAP_SHARED, fd_.get(), 0);
    unsigned char resident[kSize / kPage + 1] = {};
    EXPECT_EQ(mincore(at, kSize, resident), 0);
    munmap(at, kSize);
    return std::ranges::any_of(resident, [](unsigned char r) { return (r & 1) != 0; });
  }
  // All of it, from the host's memory. The host may keep pages for a while that another core has just touched.
  void drop() {
    for (int i = 0; i < 500 && any_warm(); ++i) {
      if (i > 0) usleep(1000);
      posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_RANDOM);
      posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);
    }
    ASSERT_FALSE(any_warm());
  }
  // One read of what is cold, with one call beside. A host begins to read by itself when it is asked what it has (Linux 6.12 or so), and its
  // disk may be done at once: then again. False: it always is.
  template <typename Read>
  bool waits_for_disk(Read read) {
    for (int i = 0; i < 100; ++i) {
      drop();
      context_.calls = 0;
      read();
      if (HasFatalFailure() || context_.calls == 1) return true;
      EXPECT_EQ(context_.calls, 0);
    }
    return false;
  }
  static constexpr const char* kQuick = "the disk is as quick as memory";
  void expect_whole(size_t at, size_t length) {
    std::vector<std::byte> got(length);
    const auto n = reads_.read(context_, tree_, fd_.get(), got, static_cast<off_t>(at));
    ASSERT_TRUE(n.has_value());
    ASSERT_EQ(n.value(), std::min(length, kSize - std::min(at, kSize)));
    EXPECT_TRUE(std::equal(got.begin(), got.begin() + static_cast<ptrdiff_t>(n.value()), data_.begin() + static_cast<ptrdiff_t>(at)));
  }

  UniqueFd fd_;
  std::vector<std::byte> data_;
  CountingContext context_;
  ColdReadsOfTree tree_;
  ColdReads reads_;
};

TEST_F(ColdReadsTest, WarmIsReadInPlace) {
  expect_whole(0, kSize);
  expect_whole(17, 3 * kPage);
  expect_whole(60 * kPage, 100 * kPage);
  EXPECT_EQ(context_.calls, 0);
}

TEST_F(ColdReadsTest, ColdIsReadBeside) {
  if (!waits_for_disk([&] { expect_whole(0, 2 * kPage); })) GTEST_SKIP() << kQuick;
  expect_whole(0, 2 * kPage);
  EXPECT_EQ(context_.calls, 1) << "it is warm now";
}

TEST_F(ColdReadsTest, PartlyColdIsReadWhole) {
  const auto read_partly_cold = [&] {
    std::byte warm[8 * kPage];
    ASSERT_EQ(pread(fd_.get(), warm, sizeof warm, 0), static_cast<ssize_t>(sizeof warm));
    expect_whole(0, kSize);
  };
  if (!waits_for_disk(read_partly_cold)) GTEST_SKIP() << kQuick;
}

TEST_F(ColdReadsTest, BytesOfThePageReadLast) {
  for (size_t at = 3 * kPage - 2; at < 3 * kPage + 2; ++at) expect_whole(at, 1);
  expect_whole(3 * kPage + 4000, 200);
  ASSERT_EQ(ftruncate(fd_.get(), 3 * kPage + 10), 0);
  std::byte got[4];
  EXPECT_EQ(reads_.read(context_, tree_, fd_.get(), got, 3 * kPage + 8).assume_value(), 2u);
  EXPECT_EQ(reads_.read(context_, tree_, fd_.get(), got, 3 * kPage + 100).assume_value(), 0u);
}

TEST_F(ColdReadsTest, TheEndIsTheEnd) {
  expect_whole(kSize, 10);
  expect_whole(kSize - 1, 10);
  ASSERT_EQ(ftruncate(fd_.get(), 2 * kPage), 0);
  std::vector<std::byte> got(4 * kPage);
  EXPECT_EQ(reads_.read(context_, tree_, fd_.get(), got, 0).assume_value(), 2 * kPage);
}

TEST_F(ColdReadsTest, ErrorsAreErrors) {
  std::vector<std::byte> got(10);
  const UniqueFd writer(open("/dev/null", O_WRONLY | O_CLOEXEC));
  EXPECT_EQ(reads_.read(context_, tree_, writer.get(), got, 0).assume_error(), Errno{EBADF});
}

TEST(ColdReadsOnTmpfs, ReadInPlace) {
  const UniqueFd fd(memfd_create("cold-reads", MFD_CLOEXEC));
  ASSERT_EQ(write(fd.get(), "abc", 3), 3);
  CountingContext context;
  ColdReadsOfTree tree;
  ColdReads reads;
  std::byte got[8];
  for (int i = 0; i < 3; ++i) EXPECT_EQ(reads.read(context, tree, fd.get(), got, 1).assume_value(), 2u);
  EXPECT_EQ(context.calls, 0);
}

}  // namespace
}  // namespace run9::vfs::gofer
