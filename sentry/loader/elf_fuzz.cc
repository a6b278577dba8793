// The fuzzer of the ELF reader: the input is the file. What is accepted must be mappable as loader.cc maps it.
#include <bit>

#include "base/check.h"
#include "sentry/loader/elf.h"
#include "sentry/platform/platform.h"
#include "vfs/testing/context.h"

namespace run9::sentry {
namespace {

class BytesFile final : public vfs::File {
 public:
  explicit BytesFile(ByteSpan bytes) : File({}, O_RDONLY), bytes_(bytes) {}
  Result<size_t> pread(vfs::OpContext&, std::span<std::byte> to, uint64_t offset) override {
    if (offset >= bytes_.size()) return size_t{0};
    const ByteSpan from = bytes_.subspan(offset, std::min(to.size(), bytes_.size() - offset));
    std::copy(from.begin(), from.end(), to.begin());
    return from.size();
  }

 private:
  ByteSpan bytes_;
};

void check_image(const ElfImage& image) {
  CHECK(!image.segments.empty() && image.phnum != 0);
  CHECK(image.low % kPage == 0 && image.high % kPage == 0 && image.low <= image.high && image.high <= kGuestEnd);
  CHECK(std::has_single_bit(image.alignment) && image.alignment >= kPage);
  CHECK(image.interpreter.size() < 4096);
  uint64_t last = 0;
  for (const ElfSegment& s : image.segments) {
    CHECK(s.vaddr >= last && s.filesz <= s.memsz);
    CHECK(image.low <= s.vaddr && s.vaddr + s.memsz <= image.high);
    CHECK((s.vaddr - s.offset) % kPage == 0);
    last = s.vaddr;
  }
}

}  // namespace
}  // namespace run9::sentry

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace run9;
  vfs::testing::TestContext context;
  sentry::BytesFile file(ByteSpan(reinterpret_cast<const std::byte*>(data), size));
  if (const auto image = sentry::read_elf(context, file)) sentry::check_image(image.assume_value());
  return 0;
}
