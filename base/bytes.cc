#include "base/bytes.h"

#include "base/check.h"

namespace run9 {

Result<ByteSpan> ByteReader::take(size_t n) {
  if (remaining() < n) return Errno{EPROTO};
  const ByteSpan out = bytes_.subspan(at_, n);
  at_ += n;
  return out;
}

Result<std::string_view> ByteReader::read_string16() {
  const size_t start = at_;
  const size_t n = TRY(read<uint16_t>());
  if (remaining() < n) {
    at_ = start;
    return Errno{EPROTO};
  }
  return as_chars(TRY(take(n)));
}

void ByteWriter::write_string16(std::string_view s) {
  CHECK(s.size() <= 0xffff);
  write(static_cast<uint16_t>(s.size()));
  append(as_bytes(s));
}

}  // namespace run9
