// The fuzzer of whole sessions: the input is a program of requests, well-formed but for hostile names and numbers, to a
// Session over a MemTree. Beside it a model follows which fids are bound, by the replies alone. Ends the process if
// - a request gets no reply, more than one, another tag's, another type's, or one that does not decode;
// - the session holds a fid that the model does not, or the other way round (a leak, or a fid lost);
// - a reply is as large as msize, or an errno none.
#pragma once
#include <cstddef>
#include <cstdint>

namespace run9::p9 {

int fuzz_session(const uint8_t* data, size_t size);

}  // namespace run9::p9
