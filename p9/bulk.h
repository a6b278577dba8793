// Data that is longer than one message.
#pragma once

#include "p9/client.h"

namespace run9::p9 {

struct Written {
  size_t count = 0;  // bytes that are there, from the first on without a gap
  Errno error{};     // of the first piece that failed; 0: none, yet `count` may be short
};

// Twrite in pieces of max_io(), in one round trip. EPROTO for a server that says it wrote more than it was sent.
Written write_pieces(Client& client, Fid open, uint64_t offset, ByteSpan bytes);

}  // namespace run9::p9
