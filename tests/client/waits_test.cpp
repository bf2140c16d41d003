#include "client/waits.h"

#include <gtest/gtest.h>

namespace turnstile {
namespace {

using std::chrono::milliseconds;

constexpr Waits::TimePoint kFirstInstant{};

TEST(WaitsTest, NothingWaitedIsZero) {
  const Waits waits;
  EXPECT_EQ(waits.total(kFirstInstant), milliseconds(0));
  EXPECT_EQ(waits.longest(kFirstInstant), milliseconds(0));
}

TEST(WaitsTest, OverlappingWaitsCountOnce) {
  Waits waits;
  waits.began({10}, kFirstInstant);
  waits.began({20}, kFirstInstant + milliseconds(40));
  waits.acknowledged({10}, kFirstInstant + milliseconds(50));
  waits.acknowledged({20}, kFirstInstant + milliseconds(100));
  const auto later = kFirstInstant + milliseconds(1000);
  EXPECT_EQ(waits.total(later), milliseconds(100));
  EXPECT_EQ(waits.longest(later), milliseconds(60));
}

TEST(WaitsTest, TimeWithoutARowDoesNotCount) {
  Waits waits;
  waits.began({1}, kFirstInstant);
  waits.acknowledged({1}, kFirstInstant + milliseconds(5));
  waits.began({2}, kFirstInstant + milliseconds(500));
  waits.acknowledged({2}, kFirstInstant + milliseconds(507));
  EXPECT_EQ(waits.total(kFirstInstant + milliseconds(999)), milliseconds(12));
  EXPECT_EQ(waits.longest(kFirstInstant + milliseconds(999)), milliseconds(7));
}

TEST(WaitsTest, RowsThatStillWaitCountUpToNow) {
  Waits waits;
  waits.began({1}, kFirstInstant);
  EXPECT_EQ(waits.total(kFirstInstant + milliseconds(30)), milliseconds(30));
  EXPECT_EQ(waits.longest(kFirstInstant + milliseconds(30)), milliseconds(30));
}

TEST(WaitsTest, AcknowledgementInMidBatchLeavesItWaiting) {
  Waits waits;
  waits.began({10}, kFirstInstant);
  waits.acknowledged({9}, kFirstInstant + milliseconds(10));
  EXPECT_EQ(waits.total(kFirstInstant + milliseconds(20)), milliseconds(20));
}

TEST(WaitsTest, MillionsOfWaitingRowsAreAllAcknowledged) {
  Waits waits;
  constexpr std::uint64_t kMany = 1'000'000;
  for (std::uint64_t i = 1; i <= kMany; ++i) {
    waits.began({i}, kFirstInstant);
  }
  waits.acknowledged({kMany - 1}, kFirstInstant + milliseconds(10));
  EXPECT_EQ(waits.total(kFirstInstant + milliseconds(15)), milliseconds(15));
  waits.acknowledged({kMany}, kFirstInstant + milliseconds(20));
  EXPECT_EQ(waits.total(kFirstInstant + milliseconds(99)), milliseconds(20));
  EXPECT_EQ(waits.longest(kFirstInstant + milliseconds(99)), milliseconds(20));
}

}  // namespace
}  // namespace turnstile
