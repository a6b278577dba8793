#include "vfs/gofer/cold_reads.h"

#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

namespace run9::vfs::gofer {
namespace {

constexpr off_t kPage = 0x1000;
constexpr int64_t kSlowNs = 100'000;

int64_t now_ns() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return ts.tv_sec * 1'000'000'000 + ts.tv_nsec;
}

struct Timed {
  Result<size_t> done = Errno{EIO};
  bool slow = false;
};

// Runs on any thread.
Timed read_now(int fd, std::span<std::byte> dst, off_t at) {
  const int64_t start = now_ns();
  const ssize_t n = ::pread(fd, dst.data(), dst.size(), at);
  if (n < 0) return {last_errno(), false};
  return {static_cast<size_t>(n), now_ns() - start > kSlowNs};
}

// `flags`: of preadv2(2). With RWF_NOWAIT what the host has in memory; EAGAIN: nothing of it.
Result<size_t> read_here(OpContext& ctx, int fd, std::span<std::byte> dst, off_t at, int flags) {
  const iovec v{dst.data(), dst.size()};
  const StepAside aside(ctx);
  const ssize_t n = flags == 0 ? ::pread(fd, dst.data(), dst.size(), at) : ::preadv2(fd, &v, 1, at, flags);
  if (n < 0) return last_errno();
  return static_cast<size_t>(n);
}

}  // namespace

Result<size_t> ColdReads::read(OpContext& ctx, ColdReadsOfTree& tree, int fd, std::span<std::byte> dst, off_t at) {
  size_t done = 0;
  const off_t last = (at + static_cast<off_t>(dst.size()) - 1) / kPage;
  if (at / kPage == warm_ && last == warm_) return read_here(ctx, fd, dst, at, 0);
  if (!tree.cannot_tell) {
    const auto got = read_here(ctx, fd, dst, at, RWF_NOWAIT);
    tree.cannot_tell = !got.has_value() && got.error() == Errno{EOPNOTSUPP};
    if (!got.has_value() && got.error() != Errno{EAGAIN} && !tree.cannot_tell) return got.error();
    const ssize_t n = got.has_value() ? static_cast<ssize_t>(got.value()) : -1;
    done = static_cast<size_t>(std::max<ssize_t>(n, 0));
    if (n > 0) warm_ = (at + n - 1) / kPage;
    // A page that is not there ends a read too: at that page.
    if (n >= 0 && (n == 0 || done == dst.size() || (at + n) % kPage != 0)) return done;
  }
  const auto rest = dst.subspan(done);
  const off_t from = at + static_cast<off_t>(done);
  Timed more;
  if (tree.cannot_tell && !slow_) {
    const StepAside aside(ctx);
    more = read_now(fd, rest, from);
  } else {
    ctx.host_call([&] { more = read_now(fd, rest, from); });
  }
  if (!more.done.has_value()) return done > 0 ? Result<size_t>(done) : more.done.error();
  slow_ = more.slow;
  return done + more.done.value();
}

}  // namespace run9::vfs::gofer
