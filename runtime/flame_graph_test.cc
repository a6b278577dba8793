#include "runtime/flame_graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace run9::runtime {
namespace {

using testing::HasSubstr;
using testing::Not;

size_t count(std::string_view text, std::string_view what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

TEST(FlameGraphTest, BarsAreAsWideAsTheirShareAndStandOnTheirParent) {
  const Flame whole{"all", "", 100, "", {{"left", "a quarter", 25, "red", {}}, {"right", "", 75, "blue", {{"on it", "", 75, "", {}}}}}};
  const std::string svg = flame_graph("title", whole);
  EXPECT_THAT(svg, HasSubstr("<title>all</title><rect x=\"10.00\" y=\"78\" width=\"1180.00\""));
  EXPECT_THAT(svg, HasSubstr("<title>left: a quarter</title><rect x=\"10.00\" y=\"56\" width=\"295.00\" height=\"21\" fill=\"red\"/>"));
  EXPECT_THAT(svg, HasSubstr("<title>right</title><rect x=\"305.00\" y=\"56\" width=\"885.00\""));
  EXPECT_THAT(svg, HasSubstr("<title>on it</title><rect x=\"305.00\" y=\"34\" width=\"885.00\""));
}

TEST(FlameGraphTest, NamesCannotLeaveTheirPlace) {
  const Flame whole{"<script>&\"'\n\xff", "</title>", 1, "\"/>", {}};
  const std::string svg = flame_graph("<b>", whole);
  EXPECT_THAT(svg, HasSubstr("&lt;script&gt;&amp;&quot;&#39;??: &lt;/title&gt;"));
  EXPECT_THAT(svg, HasSubstr("fill=\"&quot;/&gt;\""));
  EXPECT_THAT(svg, HasSubstr(">&lt;b&gt;<"));
  EXPECT_THAT(svg, Not(HasSubstr("<script>")));
}

TEST(FlameGraphTest, ChildrenStayInsideAndThinOnesAreLeftOut) {
  const Flame whole{"all", "", 10, "", {{"a", "", 8, "", {}}, {"b", "", 8, "", {}}, {"c", "", 1, "", {}}}};
  const std::string svg = flame_graph("", whole);
  EXPECT_THAT(svg, HasSubstr("<title>b</title><rect x=\"954.00\" y=\"34\" width=\"236.00\""));
  EXPECT_THAT(svg, Not(HasSubstr("<title>c</title>")));
  Flame many{"all", "", 1'000'000, "", {}};
  for (int i = 0; i < 100; ++i) many.children.push_back({"x", "", 1, "", {}});
  EXPECT_EQ(count(flame_graph("", many), "<title>"), 1u);
}

TEST(FlameGraphTest, AnEmptyOneIsStillAPicture) {
  EXPECT_THAT(flame_graph("nothing", {}), HasSubstr("</svg>"));
}

TEST(FlameGraphTest, LongNamesAreCutToTheirBar) {
  const Flame whole{"all", "", 100, "", {{"a_name_that_is_too_long", "", 10, "", {}}, {"tiny", "", 1, "", {}}}};
  const std::string svg = flame_graph("", whole);
  EXPECT_THAT(svg, HasSubstr(">a_name_that_is..</text>"));
  EXPECT_THAT(svg, Not(HasSubstr(">tiny</text>")));
}

}  // namespace
}  // namespace run9::runtime
