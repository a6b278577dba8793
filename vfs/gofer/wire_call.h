// Inside of Wire: how its two halves (wire.cc, wire_plain.cc) send a request.
#pragma once
#include "vfs/gofer/wire.h"

namespace run9::vfs::gofer {

inline Fid operator+(Fid fid, size_t i) {
  return Fid{static_cast<uint32_t>(fid) + static_cast<uint32_t>(i)};
}

template <typename M>
Result<p9::Answer<typename M::Reply>> Wire::call(const M& request) {
  if (held_bytes_ >= kMostHeldBytes) flush_drops();
  return client_->call(request);
}

}  // namespace run9::vfs::gofer
