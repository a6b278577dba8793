// File content in long runs: several reads or writes are on their way at a time.
#pragma once
#include "cli/progress.h"
#include "cli/remote.h"

namespace run9::cli {

inline constexpr uint64_t kToEnd = ~uint64_t{0};

// Calls take(bytes) for the open file's content in order, until `count` bytes, the end, or take's error.
Result<void> read_file(p9::Client& client, p9::Fid open, uint64_t offset, uint64_t count,
                       const std::function<Result<void>(ByteSpan)>& take);

// Writes what it is given one after the other, from an offset on. Errors may come late: call finish().
class FileWriter {
 public:
  FileWriter(p9::Client& client, p9::Fid open, uint64_t offset) : client_(client), open_(open), offset_(offset) {}
  Result<void> write(ByteSpan bytes);
  Result<void> finish() { return flush(); }
  uint64_t offset() const { return offset_ + buffer_.size(); }

 private:
  Result<void> flush();
  p9::Client& client_;
  const p9::Fid open_;
  uint64_t offset_;  // of buffer_
  std::vector<std::byte> buffer_;
};

// A host descriptor's bytes, from where it stands to its end.
Result<void> read_host(BorrowedFd fd, const std::function<Result<void>(ByteSpan)>& take);
Result<void> write_host(BorrowedFd fd, ByteSpan bytes);

}  // namespace run9::cli
