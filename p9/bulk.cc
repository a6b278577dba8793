#include "p9/bulk.h"

#include <algorithm>

namespace run9::p9 {

Written write_pieces(Client& client, Fid open, uint64_t offset, ByteSpan bytes) {
  std::vector<Twrite> writes;
  for (size_t at = 0; at < bytes.size(); at += client.max_io()) {
    const auto n = std::min<size_t>(client.max_io(), bytes.size() - at);
    writes.push_back({.fid = open, .offset = offset + at, .data = bytes.subspan(at, n)});
  }
  Written written;
  bool gap = false;
  client.call_all<Twrite>(writes, [&](size_t i, Result<Answer<Rwrite>> got) {
    if (written.error != Errno{} || gap) return;
    if (!got) return void(written.error = got.assume_error());
    const uint32_t n = got.assume_value()->count;
    if (n > writes[i].data.size()) return void(written.error = Errno{EPROTO});
    gap = n < writes[i].data.size();
    written.count += n;
  });
  return written;
}

}  // namespace run9::p9
