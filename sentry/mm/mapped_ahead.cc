#include "sentry/mm/mapped_ahead.h"

#include <algorithm>

#include "sentry/mm/bounds.h"

namespace run9::sentry {

std::vector<MapRequest> MappedAhead::expect(const MapRequest& whole, uint64_t length, const ElfImage& image) {
  std::vector<MapRequest> out{whole};
  const ElfSegment& first = image.segments.front();
  const ElfSegment& last = image.segments.back();
  const uint64_t low = page_down(first.vaddr);
  if (!image.pie || first.prot != whole.prot || page_down(first.offset) != 0 || last.vaddr + last.memsz - low != length) {
    return out;
  }
  for (size_t i = 1; i < image.segments.size(); ++i) {
    const ElfSegment& s = image.segments[i];
    const uint64_t start = page_down(s.vaddr) - low;
    Part part;
    part.made = whole;
    part.made.addr = whole.addr + start;
    part.made.length = page_up(s.vaddr + s.filesz) - low - start;
    part.made.prot = s.prot;
    part.made.offset = whole.offset + page_down(s.offset);
    part.listed = part.made;
    part.listed.prot = whole.prot;
    part.listed.offset = whole.offset + start;
    // Segments that share a page, or leave room in which the linker changes something, are no business of ours.
    const uint64_t behind = i == 1 ? page_up(first.vaddr + first.memsz) - low : out.back().addr + out.back().length - whole.addr;
    if (s.filesz == 0 || start != behind) break;
    out.push_back(part.made);
    parts_.push_back(part);
  }
  return out;
}

bool MappedAhead::take(const MapRequest& request) {
  const auto same = [&](const Part& p) {
    return p.made.addr == request.addr && p.made.length == request.length && p.made.prot == request.prot && !request.shared &&
           p.made.fd.get() == request.fd.get() && p.made.offset == request.offset && request.extra_flags == 0;
  };
  return std::erase_if(parts_, same) != 0;
}

std::vector<MapRequest> MappedAhead::give_back(uint64_t addr, uint64_t length) {
  std::vector<MapRequest> out;
  std::erase_if(parts_, [&](const Part& p) {
    const bool touched = p.made.addr < addr + length && addr < p.made.addr + p.made.length;
    if (touched) out.push_back(p.listed);
    return touched;
  });
  return out;
}

}  // namespace run9::sentry
