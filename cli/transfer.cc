#include "cli/transfer.h"

#include <unistd.h>

#include <algorithm>

#include "p9/bulk.h"

namespace run9::cli {

using namespace p9;

namespace {

// On their way at a time; enough to keep both sides busy, and no more than a few MiB of memory.
constexpr size_t kReads = 4;
constexpr size_t kWrites = 4;

}  // namespace

Result<void> read_file(Client& client, Fid open, uint64_t offset, uint64_t count,
                       const std::function<Result<void>(ByteSpan)>& take) {
  size_t together = 1;  // the first read tells whether there is more than one
  while (count > 0) {
    std::vector<Tread> reads;
    for (size_t i = 0; i < together && i * uint64_t{client.max_io()} < count; ++i) {
      const uint64_t at = i * uint64_t{client.max_io()};
      const auto n = static_cast<uint32_t>(std::min<uint64_t>(client.max_io(), count - at));
      reads.push_back({.fid = open, .offset = offset + at, .count = n});
    }
    Errno error{};
    bool gap = false, end = false;
    client.call_all<Tread>(reads, [&](size_t i, Result<Answer<Rread>> got) {
      if (error != Errno{} || gap) return;  // what comes after a short read is asked for again
      if (!got) return void(error = got.assume_error());
      const ByteSpan data = got.assume_value()->data;
      if (data.size() > reads[i].count) return void(error = Errno{EPROTO});
      end = data.empty();
      gap = data.size() < reads[i].count;
      offset += data.size();
      if (count != kToEnd) count -= data.size();
      if (data.empty()) return;
      if (const auto taken = take(data); !taken) error = taken.assume_error();
    });
    if (error != Errno{}) return error;
    if (end) return ok();
    together = kReads;
  }
  return ok();
}

Result<void> FileWriter::write(ByteSpan bytes) {
  const size_t full = size_t{client_.max_io()} * kWrites;
  while (!bytes.empty()) {
    const ByteSpan part = bytes.first(std::min(bytes.size(), full - buffer_.size()));
    buffer_.insert(buffer_.end(), part.begin(), part.end());
    bytes = bytes.subspan(part.size());
    if (buffer_.size() == full) TRY(flush());
  }
  return ok();
}

// All pieces at once; after a short write the rest goes again, which then tells why.
Result<void> FileWriter::flush() {
  ByteSpan rest = buffer_;
  while (!rest.empty()) {
    const Written written = write_pieces(client_, open_, offset_, rest);
    if (written.error != Errno{}) return written.error;
    if (written.count == 0) return Errno{EIO};  // neither progress nor an error
    offset_ += written.count;
    rest = rest.subspan(written.count);
  }
  buffer_.clear();
  return ok();
}

Result<void> read_host(BorrowedFd fd, const std::function<Result<void>(ByteSpan)>& take) {
  std::vector<std::byte> buffer(1 << 18);
  for (;;) {
    const ssize_t n = read(fd.get(), buffer.data(), buffer.size());
    if (n == 0) return ok();
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return last_errno();
    TRY(take(ByteSpan(buffer).first(static_cast<size_t>(n))));
  }
}

Result<void> write_host(BorrowedFd fd, ByteSpan bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return last_errno();
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return ok();
}

}  // namespace run9::cli
