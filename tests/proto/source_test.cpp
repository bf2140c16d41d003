#include "proto/source.h"

#include <string>
#include <tuple>

#include <gtest/gtest.h>

namespace turnstile {
namespace {

std::tuple<std::string, std::uint64_t, std::string> parts_of(std::string_view text) {
  const SourceText parsed = parse_source(text);
  return {std::string(parsed.stem), parsed.base, std::string(parsed.mark)};
}

TEST(Source, StemBaseAndMarkAreToldApart) {
  EXPECT_EQ(parts_of("stem"), std::tuple("stem", 0U, ""));
  EXPECT_EQ(parts_of("stem+12"), std::tuple("stem", 12U, ""));
  EXPECT_EQ(parts_of("stem+12@a+b@c"), std::tuple("stem", 12U, "a+b@c"));
  EXPECT_EQ(parts_of("a+b+9223372036854775807@"),
            std::tuple("a+b", 9'223'372'036'854'775'807U, ""));
}

TEST(Source, AnyOtherTextIsAllStem) {
  for (const std::string_view text : {"", "stem@mark", "stem+", "stem+@m", "stem+x", "stem+1x@m",
                                      "stem+-1", "+9223372036854775808", "C++"}) {
    EXPECT_EQ(parts_of(text), std::tuple(std::string(text), 0U, "")) << text;
  }
}

TEST(Source, NewInputFitsOnlyWhereItBegins) {
  EXPECT_TRUE(source_fits("", {3}, "one", {2}));
  EXPECT_TRUE(source_fits("one", {3}, "", {2}));
  EXPECT_TRUE(source_fits("one+0@x", {9}, "one", {2}));  // its place is not judged here
  EXPECT_TRUE(source_fits("two+2", {3}, "one+0@x", {2}));
  EXPECT_FALSE(source_fits("two+2", {4}, "one", {2}));
  EXPECT_FALSE(source_fits("two+2", {3}, "one", {3}));
  EXPECT_FALSE(source_fits("two+0", {1}, "one", {0}));
  EXPECT_FALSE(source_fits("two", {3}, "one", {2}));
}

}  // namespace
}  // namespace turnstile
