#include "base/counted.h"

#include <limits>

#include <gtest/gtest.h>

namespace turnstile {
namespace {

TEST(Counted, OnlyOneThingHasNoPlural) {
  EXPECT_EQ(counted(0, "row"), "0 rows");
  EXPECT_EQ(counted(1, "row"), "1 row");
  EXPECT_EQ(counted(2, "row"), "2 rows");
  EXPECT_EQ(counted(1, "batch", "batches"), "1 batch");
  EXPECT_EQ(counted(21, "batch", "batches"), "21 batches");
  EXPECT_EQ(is_or_are(1), "is");
  EXPECT_EQ(is_or_are(0), "are");
  EXPECT_EQ(was_or_were(1), "was");
  EXPECT_EQ(was_or_were(11), "were");
}

TEST(Counted, ARateIsWholeRows) {
  EXPECT_EQ(rows_per_second_text(0.4), "0 rows/s");
  EXPECT_EQ(rows_per_second_text(0.6), "1 row/s");
  EXPECT_EQ(rows_per_second_text(1.4), "1 row/s");
  EXPECT_EQ(rows_per_second_text(1234.5), "1235 rows/s");
  EXPECT_EQ(rows_per_second_text(std::numeric_limits<double>::infinity()), "0 rows/s");
  EXPECT_EQ(rows_per_second_text(std::numeric_limits<double>::quiet_NaN()), "0 rows/s");
}

}  // namespace
}  // namespace turnstile
