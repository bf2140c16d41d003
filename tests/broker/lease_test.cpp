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

TEST_F(LeaseTest, TheFirstToJoinGetsTheLeaseAndTheNextStandsBy) {
  desk_.join(ConnectionId{1}, kStart);
  EXPECT_EQ(desk_.grant(kStart), ConnectionId{1});
  EXPECT_EQ(desk_.lease(), Lease{1});
  desk_.join(ConnectionId{2}, kStart);
  EXPECT_FALSE(desk_.grant(kStart));
  EXPECT_EQ(desk_.standing_by(), 1U);
}

TEST_F(LeaseTest, AStandbyFollowsADisconnectedHolderImmediatelyWithANewLease) {
  desk_.join(ConnectionId{1}, kStart);
  desk_.grant(kStart);
  desk_.join(ConnectionId{2}, kStart);
  desk_.leave(ConnectionId{1});
  EXPECT_LE(desk_.deadline(), kStart);
  EXPECT_EQ(desk_.grant(kStart), ConnectionId{2});
  EXPECT_EQ(desk_.lease(), Lease{2});
}

TEST_F(LeaseTest, ASilentHolderKeepsTheLeaseWithoutAStandby) {
  desk_.join(ConnectionId{1}, kStart);
  desk_.grant(kStart);
  EXPECT_FALSE(desk_.grant(kStart + 24h));
  EXPECT_FALSE(desk_.deadline());
  EXPECT_EQ(desk_.holder(), ConnectionId{1});
}

TEST_F(LeaseTest, ASilentHolderLosesTheLeaseToAStandbyAtTheDeadline) {
  desk_.join(ConnectionId{1}, kStart);
  desk_.grant(kStart);
  desk_.join(ConnectionId{2}, kStart + 1s);
  EXPECT_FALSE(desk_.grant(kStart + 5s));
  ASSERT_TRUE(desk_.deadline());
  EXPECT_EQ(desk_.grant(*desk_.deadline()), ConnectionId{2});
  EXPECT_FALSE(desk_.knows(ConnectionId{1}));
}

TEST_F(LeaseTest, AHolderThatIsHeardKeepsTheLease) {
  desk_.join(ConnectionId{1}, kStart);
  desk_.grant(kStart);
  desk_.join(ConnectionId{2}, kStart);
  for (auto now = kStart; now < kStart + 1h; now += 4s) {
    desk_.heard(ConnectionId{1}, now);
    EXPECT_FALSE(desk_.grant(now));
  }
}

TEST_F(LeaseTest, SilenceWhileTheBrokerDoesNotReadDoesNotCount) {
  desk_.join(ConnectionId{1}, kStart);
  desk_.grant(kStart);
  desk_.join(ConnectionId{2}, kStart);
  desk_.note_turn(kStart);
  desk_.note_turn(kStart + 1h);
  EXPECT_FALSE(desk_.grant(kStart + 1h));
  // Counts its silence since then, and one second of the time before.
  EXPECT_FALSE(desk_.grant(kStart + 1h + 4s));
  EXPECT_EQ(desk_.grant(kStart + 1h + 4s + 1ms), ConnectionId{2});
}

TEST_F(LeaseTest, ABrokerWithSlowTurnsStillFindsASilentHolder) {
  desk_.join(ConnectionId{1}, kStart);
  desk_.grant(kStart);
  desk_.join(ConnectionId{2}, kStart);
  auto now = kStart;
  desk_.note_turn(now);
  for (int turn = 0; turn < 5; ++turn) {
    EXPECT_FALSE(desk_.grant(now));
    desk_.note_turn(now += 3s);
  }
  EXPECT_EQ(desk_.grant(now + 1ms), ConnectionId{2});
}

TEST_F(LeaseTest, AStandbysMessagesDoNotExtendTheHoldersLease) {
  desk_.join(ConnectionId{1}, kStart);
  desk_.grant(kStart);
  desk_.join(ConnectionId{2}, kStart);
  desk_.heard(ConnectionId{2}, kStart + 5s);
  EXPECT_EQ(desk_.grant(kStart + 6s), ConnectionId{2});
}

TEST_F(LeaseTest, AHolderThatStartsOverQueuesAfterTheStandbys) {
  desk_.join(ConnectionId{1}, kStart);
  desk_.grant(kStart);
  desk_.join(ConnectionId{2}, kStart);
  desk_.join(ConnectionId{1}, kStart);
  EXPECT_EQ(desk_.grant(kStart), ConnectionId{2});
  EXPECT_TRUE(desk_.knows(ConnectionId{1}));
}

TEST_F(LeaseTest, AStandbyThatJoinsTwiceIsQueuedOnce) {
  desk_.join(ConnectionId{1}, kStart);
  desk_.grant(kStart);
  desk_.join(ConnectionId{2}, kStart);
  desk_.join(ConnectionId{2}, kStart);
  EXPECT_EQ(desk_.standing_by(), 1U);
  desk_.leave(ConnectionId{2});
  EXPECT_EQ(desk_.standing_by(), 0U);
}

}  // namespace
}  // namespace turnstile::broker
