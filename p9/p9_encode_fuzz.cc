// libFuzzer's entry: what is done with the bytes is in fuzz.cc, which the unit test runs as well.
#include "p9/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { return run9::p9::fuzz_encode(data, size); }
