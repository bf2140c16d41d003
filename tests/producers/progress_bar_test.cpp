#include "producers/progress_bar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace turnstile {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ProgressBarTest, HalfDoneShowsRowsRateAndTimeLeft) {
  const std::string line = render_progress({500, 0.5, seconds(10)}, 80);
  EXPECT_THAT(line, HasSubstr(" 50 %"));
  EXPECT_THAT(line, HasSubstr("500 rows"));
  EXPECT_THAT(line, HasSubstr("50 rows/s"));
  EXPECT_THAT(line, HasSubstr("10 s left"));
  EXPECT_THAT(line, HasSubstr("####.."));
}

TEST(ProgressBarTest, UnknownEndShowsNoTimeLeft) {
  const std::string line = render_progress({500, -1, seconds(10)}, 80);
  EXPECT_EQ(line, "500 rows  50 rows/s");
}

TEST(ProgressBarTest, LargeNumbersAreShort) {
  EXPECT_THAT(render_progress({2'500'000, -1, seconds(2)}, 80), HasSubstr("2.50 M rows  1.25 M"));
  EXPECT_THAT(render_progress({12'345, -1, seconds(1)}, 80), HasSubstr("12.3 k rows"));
}

TEST(ProgressBarTest, LongTimesAreInMinutesAndHours) {
  EXPECT_THAT(render_progress({1, 0.5, seconds(90)}, 80), HasSubstr("1 min 30 s left"));
  EXPECT_THAT(render_progress({1, 0.5, seconds(3600 + 120)}, 80), HasSubstr("1 h 2 min left"));
}

TEST(ProgressBarTest, LineIsNeverWiderThanTheTerminal) {
  for (std::size_t width = 0; width < 120; ++width) {
    EXPECT_LE(render_progress({123'456, 0.7, milliseconds(98'765)}, width).size(), width);
  }
}

TEST(ProgressBarTest, BarIsOmittedWithoutRoom) {
  EXPECT_THAT(render_progress({500, 0.5, seconds(10)}, 45), Not(HasSubstr("#")));
}

TEST(ProgressBarTest, FractionAboveOneCountsAsOne) {
  EXPECT_THAT(render_progress({500, 1.5, seconds(10)}, 80), HasSubstr("100 %"));
}

TEST(ProgressBarTest, StartShowsNoRate) {
  EXPECT_THAT(render_progress({0, 0, milliseconds(0)}, 80), HasSubstr("0 rows"));
  EXPECT_THAT(render_progress({0, 0, milliseconds(0)}, 80), Not(HasSubstr("left")));
}

TEST(ProgressBarTest, UnwantedBarIsNeverDue) {
  const ProgressBar bar(false);
  EXPECT_FALSE(bar.is_due(ProgressBar::TimePoint() + std::chrono::hours(1)));
}

}  // namespace
}  // namespace turnstile
