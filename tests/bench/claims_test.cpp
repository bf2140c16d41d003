#include "bench/claims.h"

#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/latencies.h"
#include "bench/report.h"

namespace turnstile::bench {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

const Figure& figure_of(const Figures& figures, std::string_view key) {
  for (const auto& figure : figures.all()) {
    if (figure.claim().key == key) {
      return figure;
    }
  }
  throw std::out_of_range(std::string(key));
}

TEST(Spread, MedianOfAnEvenNumberIsTheMeanOfTheMiddleTwo) {
  const Spread spread = spread_of({4, 1, 3, 10});
  EXPECT_EQ(spread.median, 3.5);
  EXPECT_EQ(spread.min, 1);
  EXPECT_EQ(spread.max, 10);
}

TEST(Latencies, AQuantileIsAMeasuredValue) {
  std::vector<double> seconds;
  for (int i = 1000; i >= 1; --i) {
    seconds.push_back(i);
  }
  const Latencies latencies(seconds);
  EXPECT_EQ(latencies.median(), 500);
  EXPECT_EQ(latencies.quantile(0.999), 999);
  EXPECT_EQ(latencies.worst(), 1000);
}

TEST(Figure, IsJudgedByTheMedianRatioOfItsRounds) {
  Figures figures({1});
  // The ratio of the medians would be 3 / 1 and reach 2.2.
  figures.add("csv", 2, 1);
  figures.add("csv", 3, 3);
  figures.add("csv", 4, 1.9);
  const Figure& figure = figure_of(figures, "csv");
  EXPECT_EQ(figure.ratio()->median, 2);
  EXPECT_FALSE(figure.met());
  for (int i = 0; i < 3; ++i) {
    figures.add("csv", 5, 1);
  }
  EXPECT_TRUE(figure.met());
}

TEST(Figure, OneBadRoundBreaksAWorstCaseLimit) {
  Figures figures({7});
  figures.add("waiting-lost", 0, 8);
  EXPECT_TRUE(figure_of(figures, "waiting-lost").met());
  figures.add("waiting-lost", 1, 8);
  figures.add("waiting-lost", 0, 8);
  EXPECT_FALSE(figure_of(figures, "waiting-lost").met());
}

TEST(Figure, OfALineThatWasNotSelectedIsOmitted) {
  Figures figures({13});
  figures.add("csv", 2, 1);
  figures.skip("four", "nobody asked");
  ASSERT_THAT(figures.all(), SizeIs(1));
  EXPECT_EQ(figures.all().front().claim().line, 13);
}

TEST(Report, SkippedFiguresSayWhyInTableAndJson) {
  Figures figures({5, 13});
  figures.skip("each", "no server");
  figures.add("start", 100);
  const auto json = as_json(figures.all());
  ASSERT_THAT(json, SizeIs(2));
  EXPECT_EQ(json[0]["line"], 5);
  EXPECT_EQ(json[0]["skipped"], "no server");
  EXPECT_TRUE(json[0]["met"].is_null());
  EXPECT_TRUE(json[0]["ours"].is_null());
  EXPECT_EQ(json[1]["ours"], 100);
  EXPECT_EQ(json[1]["met"], true);
  EXPECT_TRUE(json[1]["skipped"].is_null());
  EXPECT_TRUE(json[1]["ratio_median"].is_null());
  EXPECT_EQ(json[1]["target"], "<= 150 ms");
  EXPECT_THAT(as_table(figures.all(), {}), HasSubstr("skipped: no server"));
}

TEST(Report, PictureShowsEveryFigure) {
  Figures figures({1, 5, 7, 12});
  figures.add("csv", 3, 1);
  figures.add("idle-writes", 0);
  figures.skip("each", "no <server>");
  const std::string svg =
      as_picture(figures.all(), {.machine = "a < b", .versions = {}, .work = {}});
  for (const auto& figure : figures.all()) {
    EXPECT_THAT(svg, HasSubstr(std::string(figure.claim().name)));
  }
  EXPECT_THAT(svg, HasSubstr("a &lt; b"));
  EXPECT_THAT(svg, testing::Not(HasSubstr("nan")));
  EXPECT_THAT(svg, testing::Not(HasSubstr("inf")));
}

TEST(Claims, HaveUniqueKeysAndCoverEveryLine) {
  std::set<std::string_view> keys;
  std::set<int> lines;
  for (const auto& claim : claims()) {
    EXPECT_TRUE(keys.insert(claim.key).second) << claim.key;
    lines.insert(claim.line);
    EXPECT_TRUE(claim.judged != Judged::ratio || !claim.theirs.empty()) << claim.key;
  }
  EXPECT_THAT(lines, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13));
}

}  // namespace
}  // namespace turnstile::bench
