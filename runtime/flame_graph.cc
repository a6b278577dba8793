#include "runtime/flame_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace run9::runtime {
namespace {

constexpr double kWidth = 1200, kMargin = 10, kBar = 22, kTop = 34;
constexpr double kLetter = 7;      // about what one takes
constexpr double kThinnest = 0.3;  // thinner ones are left out

// As text or attribute of XML. Bytes that XML 1.0 or UTF-8 does not allow become question marks.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c >= 0x20 && c < 0x7f ? c : '?';
    }
  }
  return out;
}

size_t depth(const Flame& f) {
  size_t deepest = 0;
  for (const Flame& child : f.children) deepest = std::max(deepest, depth(child));
  return deepest + 1;
}

// As much of a name as its bar has room for.
std::string label(std::string_view name, double width) {
  const auto room = static_cast<size_t>(std::max(width - 6, 0.0) / kLetter);
  if (name.size() <= room) return std::string(name);
  return room < 4 ? "" : std::string(name.substr(0, room - 2)) + "..";
}

void draw(const Flame& f, double x, double width, double y, std::string& out) {
  if (width < kThinnest) return;
  auto at = std::back_inserter(out);
  const std::string note = f.note.empty() ? f.name : f.name + ": " + f.note;
  fmt::format_to(at, "<g><title>{}</title><rect x=\"{:.2f}\" y=\"{:.0f}\" width=\"{:.2f}\" height=\"{:.0f}\" fill=\"{}\"/>",
                 escaped(note), x, y, width, kBar - 1, f.color.empty() ? "#cccccc" : escaped(f.color));
  if (const std::string text = label(f.name, width); !text.empty()) {
    fmt::format_to(at, "<text x=\"{:.2f}\" y=\"{:.0f}\">{}</text>", x + 3, y + kBar - 7, escaped(text));
  }
  out += "</g>\n";
  double left = x;
  for (const Flame& child : f.children) {
    const double share = f.value > 0 ? std::min(width * child.value / f.value, x + width - left) : 0;
    draw(child, left, share, y - kBar, out);
    left += share;
  }
}

}  // namespace

std::string flame_graph(std::string_view title, const Flame& whole) {
  const double height = kTop + kBar * static_cast<double>(depth(whole)) + kMargin;
  std::string out = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
      "font-family=\"monospace\" font-size=\"11\">\n"
      "<style>rect:hover {{ stroke: black; }} text {{ pointer-events: none; }}</style>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
      "<text x=\"{2:.0f}\" y=\"20\" font-size=\"13\">{3}</text>\n",
      kWidth, height, kMargin, escaped(title));
  draw(whole, kMargin, kWidth - 2 * kMargin, height - kMargin - kBar, out);
  return out + "</svg>\n";
}

}  // namespace run9::runtime
