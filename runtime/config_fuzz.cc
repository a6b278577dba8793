// The fuzzer of what reads a bundle's config.json (and `update`'s resources): the input is the text. Nothing is looked up on
// the host. What is refused says why.
#include "base/check.h"
#include "runtime/config.h"
#include "runtime/json_reader.h"

namespace {

template <typename T>
void check_refusal(const run9::runtime::Expected<T>& got) {
  if (!got) CHECK(got.error().text.starts_with("config.json: "));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace run9::runtime;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check_refusal(parse_config("config.json", text));
  check_refusal(parse_resources("config.json", text));
  static_cast<void>(json_pointer_at(text, size / 2));
  return 0;
}
