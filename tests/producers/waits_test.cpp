#include "producers/waits.h"

#include <gtest/gtest.h>

namespace turnstile {
namespace {

using std::chrono::milliseconds;

constexpr Waits::TimePoint kBegin{};

TEST(WaitsTest, NothingWaitedIsZero) {
  const Waits waits;
  EXPECT_EQ(waits.total(kBegin), milliseconds(0));
  EXPECT_EQ(waits.longest(kBegin), milliseconds(0));
}

TEST(WaitsTest, TimeInWhichSeveralWaitCountsOnce) {
  Waits waits;
  waits.began({10}, kBegin);
  waits.began({20}, kBegin + milliseconds(40));
  waits.acknowledged({10}, kBegin + milliseconds(50));
  waits.acknowledged({20}, kBegin + milliseconds(100));
  const auto later = kBegin + milliseconds(1000);
  EXPECT_EQ(waits.total(later), milliseconds(100));
  EXPECT_EQ(waits.longest(later), milliseconds(60));
}

TEST(WaitsTest, TimeWithoutARowIsNoWaiting) {
  Waits waits;
  waits.began({1}, kBegin);
  waits.acknowledged({1}, kBegin + milliseconds(5));
  waits.began({2}, kBegin + milliseconds(500));
  waits.acknowledged({2}, kBegin + milliseconds(507));
  EXPECT_EQ(waits.total(kBegin + milliseconds(999)), milliseconds(12));
  EXPECT_EQ(waits.longest(kBegin + milliseconds(999)), milliseconds(7));
}

TEST(WaitsTest, WhatStillWaitsCountsUpToNow) {
  Waits waits;
  waits.began({1}, kBegin);
  EXPECT_EQ(waits.total(kBegin + milliseconds(30)), milliseconds(30));
  EXPECT_EQ(waits.longest(kBegin + milliseconds(30)), milliseconds(30));
}

TEST(WaitsTest, AcknowledgementInMidBatchLeavesItWaiting) {
  Waits waits;
  waits.began({10}, kBegin);
  waits.acknowledged({9}, kBegin + milliseconds(10));
  EXPECT_EQ(waits.total(kBegin + milliseconds(20)), milliseconds(20));
}

TEST(WaitsTest, MillionsThatWaitAreAllAcknowledgedAtTheEnd) {
  Waits waits;
  constexpr std::uint64_t kRows = 1'000'000;
  for (std::uint64_t i = 1; i <= kRows; ++i) {
    waits.began({i}, kBegin);
  }
  waits.acknowledged({kRows - 1}, kBegin + milliseconds(10));
  EXPECT_EQ(waits.total(kBegin + milliseconds(15)), milliseconds(15));
  waits.acknowledged({kRows}, kBegin + milliseconds(20));
  EXPECT_EQ(waits.total(kBegin + milliseconds(99)), milliseconds(20));
  EXPECT_EQ(waits.longest(kBegin + milliseconds(99)), milliseconds(20));
}

}  // namespace
}  // namespace turnstile
