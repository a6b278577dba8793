// The fuzzer's entry: every decoder on the bytes as they are, then the bytes as a stream of frames
// into a session over a MemTree. Ends the process if an invariant breaks.
#pragma once
#include <cstddef>
#include <cstdint>

namespace run9::p9 {

int fuzz_one(const uint8_t* data, size_t size);

}  // namespace run9::p9
