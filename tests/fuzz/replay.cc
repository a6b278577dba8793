// What a fuzzer is without libFuzzer: NAME SEEDS-FILE runs what it kept, one after the other. seeds.py says what the file is.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  std::ifstream in(argc == 2 ? argv[1] : "", std::ios::binary);
  if (!in) {
    fprintf(stderr, "usage: %s SEEDS-FILE\n", argv[0]);
    return 2;
  }
  const std::vector<char> all{std::istreambuf_iterator<char>(in), {}};
  int count = 0;
  for (size_t at = 0; at < all.size(); ++count) {
    uint16_t size;
    if (all.size() - at < sizeof size) return 1;
    std::memcpy(&size, all.data() + at, sizeof size);
    at += sizeof size;
    if (all.size() - at < size) return 1;
    // Of its own, so that a sanitizer sees where it ends.
    const std::vector<uint8_t> one(all.begin() + static_cast<ptrdiff_t>(at), all.begin() + static_cast<ptrdiff_t>(at + size));
    LLVMFuzzerTestOneInput(one.data(), one.size());
    at += size;
  }
  printf("%d inputs\n", count);
  return count == 0;
}
