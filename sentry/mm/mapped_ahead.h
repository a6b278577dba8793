// Mappings that a dynamic linker is about to ask for. It maps a library whole, as its first segment, then each further
// segment over its place; the platform makes several mappings at the price of one. So with the first one all are made, and
// the linker's calls find theirs in place. Whatever else touches such a part before its call has come gets what
// the list of mappings says, first.
#pragma once
#include <cstdint>
#include <vector>

#include "sentry/loader/elf.h"
#include "sentry/platform/platform.h"

namespace run9::sentry {

class MappedAhead {
 public:
  // `whole`: the linker's first mapping; `length`: of the library, as asked for, in bytes. Gives the mappings to make, `whole`
  // first; that one alone if `image` is nothing that a linker maps like this.
  std::vector<MapRequest> expect(const MapRequest& whole, uint64_t length, const ElfImage& image);
  // True: this mapping is in place.
  bool take(const MapRequest& request);
  // What has to be made for the range to be as it was asked for; its parts are forgotten.
  std::vector<MapRequest> give_back(uint64_t addr, uint64_t length);
  bool empty() const { return parts_.empty(); }

 private:
  struct Part {
    MapRequest made;    // as a segment
    MapRequest listed;  // as part of the whole
  };
  std::vector<Part> parts_;
};

}  // namespace run9::sentry
