// A flame graph as SVG: nested bars whose widths are times, the whole at the bottom. A browser shows a bar's name and
// numbers when the pointer rests on it. Names may be anybody's: they are escaped here.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace run9::runtime {

struct Flame {
  std::string name;
  std::string note;   // shown behind the name where the pointer rests
  double value = 0;   // children take no more than their parent has
  std::string color;  // as in CSS; empty: grey
  std::vector<Flame> children;
};

std::string flame_graph(std::string_view title, const Flame& whole);

}  // namespace run9::runtime
