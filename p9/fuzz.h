// What the fuzzers of bytes do with one input: p9_decode_fuzz, p9_encode_fuzz, p9_stream_fuzz. Each ends the process if an
// invariant breaks; returns 0, as libFuzzer wants it.
#pragma once
#include <cstddef>
#include <cstdint>

namespace run9::p9 {

// Every decoder on the bytes as they are, and on the same with a size that is right.
int fuzz_decode(const uint8_t* data, size_t size);
// What decodes is encoded: to the bytes that it came from, which decode once more.
int fuzz_encode(const uint8_t* data, size_t size);
// The bytes as a stream of frames, in pieces, to a session over a MemTree: for each frame one reply, to its tag.
int fuzz_stream(const uint8_t* data, size_t size);

}  // namespace run9::p9
