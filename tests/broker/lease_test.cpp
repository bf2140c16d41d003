#include "broker/lease.h"

#include <gtest/gtest.h>

#include "tests/broker/batches.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;

class LeaseTest : public testing::Test {
 protected:
  LeaseDesk desk_{5000ms};
};

TEST_F(LeaseTest, TheFirstToJoinGetsItAndTheNextStandsBy) {
  desk_.join("c1", kStart);
  EXPECT_EQ(desk_.grant(kStart), "c1");
  EXPECT_EQ(desk_.lease(), Lease{1});
  desk_.join("c2", kStart);
  EXPECT_FALSE(desk_.grant(kStart));
  EXPECT_EQ(desk_.standing_by(), 1U);
}

TEST_F(LeaseTest, AHolderThatLeavesIsFollowedAtOnceUnderANewNumber) {
  desk_.join("c1", kStart);
  desk_.grant(kStart);
  desk_.join("c2", kStart);
  desk_.leave("c1");
  EXPECT_LE(desk_.deadline(), kStart);
  EXPECT_EQ(desk_.grant(kStart), "c2");
  EXPECT_EQ(desk_.lease(), Lease{2});
}

TEST_F(LeaseTest, ASilentHolderKeepsItWhileNobodyWaits) {
  desk_.join("c1", kStart);
  desk_.grant(kStart);
  EXPECT_FALSE(desk_.grant(kStart + 24h));
  EXPECT_FALSE(desk_.deadline());
  EXPECT_EQ(desk_.holder(), "c1");
}

TEST_F(LeaseTest, ASilentHolderLosesItAtTheDeadlineToOneThatWaits) {
  desk_.join("c1", kStart);
  desk_.grant(kStart);
  desk_.join("c2", kStart + 1s);
  EXPECT_FALSE(desk_.grant(kStart + 5s));
  ASSERT_TRUE(desk_.deadline());
  EXPECT_EQ(desk_.grant(*desk_.deadline()), "c2");
  EXPECT_FALSE(desk_.knows("c1"));
}

TEST_F(LeaseTest, AHolderThatIsHeardKeepsIt) {
  desk_.join("c1", kStart);
  desk_.grant(kStart);
  desk_.join("c2", kStart);
  for (auto now = kStart; now < kStart + 1h; now += 4s) {
    desk_.heard("c1", now);
    EXPECT_FALSE(desk_.grant(now));
  }
}

TEST_F(LeaseTest, SilenceWhileTheBrokerDoesNotListenIsNone) {
  desk_.join("c1", kStart);
  desk_.grant(kStart);
  desk_.join("c2", kStart);
  desk_.listened(kStart);
  desk_.listened(kStart + 1h);
  EXPECT_FALSE(desk_.grant(kStart + 1h));
  // What it did not say since then counts, and a second of what was before.
  EXPECT_FALSE(desk_.grant(kStart + 1h + 4s));
  EXPECT_EQ(desk_.grant(kStart + 1h + 4s + 1ms), "c2");
}

TEST_F(LeaseTest, ABrokerWhoseEveryTurnTakesLongStillFindsASilentHolder) {
  desk_.join("c1", kStart);
  desk_.grant(kStart);
  desk_.join("c2", kStart);
  auto now = kStart;
  desk_.listened(now);
  for (int turn = 0; turn < 5; ++turn) {
    EXPECT_FALSE(desk_.grant(now));
    desk_.listened(now += 3s);
  }
  EXPECT_EQ(desk_.grant(now + 1ms), "c2");
}

TEST_F(LeaseTest, WhatAStandbySaysDoesNotProlongTheHolders) {
  desk_.join("c1", kStart);
  desk_.grant(kStart);
  desk_.join("c2", kStart);
  desk_.heard("c2", kStart + 5s);
  EXPECT_EQ(desk_.grant(kStart + 6s), "c2");
}

TEST_F(LeaseTest, AHolderThatStartsOverStandsBehindThoseWhoWait) {
  desk_.join("c1", kStart);
  desk_.grant(kStart);
  desk_.join("c2", kStart);
  desk_.join("c1", kStart);
  EXPECT_EQ(desk_.grant(kStart), "c2");
  EXPECT_TRUE(desk_.knows("c1"));
}

TEST_F(LeaseTest, AStandbyThatJoinsTwiceStandsOnce) {
  desk_.join("c1", kStart);
  desk_.grant(kStart);
  desk_.join("c2", kStart);
  desk_.join("c2", kStart);
  EXPECT_EQ(desk_.standing_by(), 1U);
  desk_.leave("c2");
  EXPECT_EQ(desk_.standing_by(), 0U);
}

}  // namespace
}  // namespace turnstile::broker
