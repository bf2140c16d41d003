// Both ends of the connection within one process.
#include "link/inside_link.h"

#include <poll.h>

#include <future>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace turnstile {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr auto kLong = 60s;

bool is_rung(const InsideLink& link) {
  pollfd item{link.fd(), POLLIN, 0};
  return ::poll(&item, 1, 0) == 1;
}

TEST(InsideLinkTest, TheConsumersMessagesWakeTheBrokerAndAreTakenOnce) {
  InsideLink link;
  EXPECT_FALSE(is_rung(link));
  EXPECT_TRUE(link.send(Bye{}));
  EXPECT_TRUE(link.send(AskStatus{7}));
  EXPECT_TRUE(is_rung(link));
  const auto taken = link.take();
  ASSERT_THAT(taken.messages, SizeIs(2));
  EXPECT_TRUE(std::holds_alternative<Bye>(taken.messages[0]));
  EXPECT_EQ(std::get<AskStatus>(taken.messages[1]).request, 7U);
  EXPECT_FALSE(is_rung(link));
  EXPECT_THAT(link.take().messages, IsEmpty());
}

TEST(InsideLinkTest, TheBrokersMessagesArriveInOrderAndAnEmptyLinkDoesNotWait) {
  InsideLink link;
  const auto connection = link.take().connection;
  EXPECT_TRUE(link.give(connection, Stored{{1}}));
  EXPECT_TRUE(link.give(connection, Stored{{2}}));
  for (const std::uint64_t through : {std::uint64_t{1}, std::uint64_t{2}}) {
    const auto message = link.receive(kLong);
    ASSERT_TRUE(message);
    EXPECT_EQ(std::get<Stored>(*message).through.value, through);
  }
  EXPECT_FALSE(link.receive(0ms));
}

TEST(InsideLinkTest, NothingArrivesFromAnEndedConnection) {
  InsideLink link;
  const auto before = link.take().connection;
  EXPECT_TRUE(link.give(before, Stored{{1}}));
  EXPECT_TRUE(link.send(Bye{}));
  link.reconnect();
  EXPECT_TRUE(is_rung(link)) << "the broker must notice the new connection";
  const auto taken = link.take();
  EXPECT_NE(taken.connection, before);
  EXPECT_THAT(taken.messages, IsEmpty());
  EXPECT_FALSE(link.receive(0ms));
  EXPECT_FALSE(link.give(before, Stored{{2}}));
  EXPECT_FALSE(link.receive(0ms));
}

TEST(InsideLinkTest, HeartbeatsAfterAnotherMessageDoNotPileUp) {
  InsideLink link;
  const auto connection = link.take().connection;
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(link.give(connection, Heartbeat{}));
  }
  EXPECT_TRUE(link.receive(0ms));
  EXPECT_FALSE(link.receive(0ms));
}

TEST(InsideLinkTest, AWaitEndsForAMessageOrAWake) {
  InsideLink link;
  const auto connection = link.take().connection;
  const auto begun = steady_clock::now();
  std::promise<void> first;
  std::thread consumer([&] {
    link.wait(kLong);
    first.set_value();
    link.wait(kLong);
  });
  link.wake();
  EXPECT_EQ(first.get_future().wait_for(kLong), std::future_status::ready);
  EXPECT_TRUE(link.give(connection, Stored{{1}}));
  link.wake();
  consumer.join();
  link.wait(kLong);  // the message is still there
  EXPECT_LT(steady_clock::now() - begun, kLong);
}

}  // namespace
}  // namespace turnstile
