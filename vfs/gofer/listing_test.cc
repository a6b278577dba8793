#include "vfs/gofer/listing.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace run9::vfs::gofer {
namespace {

std::vector<std::string> names_after(Listing& l, uint64_t position) {
  std::vector<std::string> names;
  for (const Listing::Entry& e : l.after(position)) names.emplace_back(e.name());
  return names;
}
using Names = std::vector<std::string>;

p9::Qid qid(uint64_t path) { return {.path = path}; }

TEST(Listing, FindsWhatWasAdded) {
  Listing l;
  l.add("a", qid(1), 8, p9::AttrX{.valid = p9::kAttrAll, .mode = 0100644});
  l.add("b", qid(2), 4);
  l.complete();
  EXPECT_EQ(l.size(), 2u);
  ASSERT_NE(l.find("a"), nullptr);
  EXPECT_EQ(l.find("a")->qid.path, 1u);
  EXPECT_EQ(l.find("a")->type(), 8);
  EXPECT_TRUE(l.find("a")->has_attributes());
  EXPECT_EQ(l.find("a")->attr->mode, 0100644u);
  EXPECT_FALSE(l.find("b")->has_attributes());
  EXPECT_EQ(l.find("c"), nullptr);
  EXPECT_EQ(l.find(""), nullptr);
  EXPECT_EQ(l.position_of("a"), Listing::kFirst);
  EXPECT_EQ(l.position_of("c"), std::nullopt);
  l.forget_attributes();
  EXPECT_FALSE(l.find("a")->has_attributes());
}

TEST(Listing, OneThatComesAgainIsTheLast) {
  Listing l;
  for (const char* name : {"a", "b", "a"}) l.add(name, qid(l.size()), 8);
  EXPECT_EQ(l.size(), 2u);
  EXPECT_EQ(names_after(l, 0), (Names{"b", "a"}));
  EXPECT_EQ(l.position_of("a"), Listing::kFirst + 2);
}

TEST(Listing, AnIterationGoesOnWhereItWas) {
  Listing l;
  for (const char* name : {"a", "b", "c", "d"}) l.add(name, qid(1), 8);
  const uint64_t at = *l.position_of("b");
  l.erase("b");
  l.erase("c");
  l.add("e", qid(1), 8);
  EXPECT_EQ(names_after(l, at), (Names{"d", "e"}));
  EXPECT_EQ(names_after(l, *l.position_of("e")), Names{});
  EXPECT_EQ(names_after(l, ~uint64_t{0}), Names{});
}

// Positions and names outlast the erased ones, however many come and go.
TEST(Listing, ManyComeAndGo) {
  Listing l;
  const std::string longest(255, 'x');
  l.add("first", qid(7), 8, p9::AttrX{.valid = p9::kAttrAll, .size = 5});
  l.add(longest, qid(8), 8);
  const uint64_t at = *l.position_of("first");
  for (int i = 0; i < 100'000; ++i) {
    l.add("name" + std::to_string(i), qid(1), 8);
    if (i % 10 != 0) l.erase("name" + std::to_string(i));
    if (i >= 100) l.erase("name" + std::to_string(i - 100));
  }
  EXPECT_EQ(l.size(), 12u);
  EXPECT_EQ(l.position_of("first"), at);
  EXPECT_EQ(l.find("first")->attr->size, 5u);
  EXPECT_EQ(l.find(longest)->qid.path, 8u);
  const Names names = names_after(l, at);
  ASSERT_EQ(names.size(), 11u);
  EXPECT_EQ(names.front(), longest);
  EXPECT_EQ(names[1], "name99900");
  EXPECT_EQ(names.back(), "name99990");
  l.erase("first");
  l.erase("first");
  EXPECT_EQ(l.size(), 11u);
}

TEST(Listing, EmptyOnes) {
  Listing l;
  EXPECT_EQ(names_after(l, 0), Names{});
  l.erase("a");
  l.add("", qid(1), 8);
  EXPECT_EQ(names_after(l, 0), Names{""});
  l.erase("");
  EXPECT_EQ(l.size(), 0u);
}

}  // namespace
}  // namespace run9::vfs::gofer
