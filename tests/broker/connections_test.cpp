// What one connection may do of all that others wait for.
#include "broker/connections.h"

#include <chrono>

#include <gtest/gtest.h>

#include "tests/broker/batches.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;
using Asking = Connections::Asking;

class ConnectionsTest : public testing::Test {
 protected:
  ConnectionsTest() { connections_.add("r", 0); }

  int asked_of(int questions) {
    int asked = 0;
    for (int i = 0; i < questions; ++i) {
      asked += connections_.may_ask("r", now_) == Asking::now ? 1 : 0;
    }
    return asked;
  }

  Connections connections_;
  TimePoint now_ = kStart;
};

TEST_F(ConnectionsTest, SixteenQuestionsAreAskedAtOnceAndThenTwentyASecond) {
  EXPECT_EQ(asked_of(100), 16);
  now_ += 49ms;
  EXPECT_EQ(asked_of(100), 0);
  now_ += 1ms;
  EXPECT_EQ(asked_of(100), 1);
  now_ += 500ms;
  EXPECT_EQ(asked_of(100), 10);
  now_ += 1h;
  EXPECT_EQ(asked_of(100), 16);
}

TEST_F(ConnectionsTest, WhoPausesIsNeverCutAndWhoDoesNotIs) {
  for (int i = 0; i < 100; ++i) {
    EXPECT_LE(asked_of(200), 16);
    EXPECT_NE(connections_.may_ask("r", now_), Asking::too_often);
    now_ += 100ms;
  }
  asked_of(1'100);
  EXPECT_EQ(connections_.may_ask("r", now_), Asking::too_often);
}

TEST_F(ConnectionsTest, OneOfThisProcessAsksAsItLikes) {
  for (int i = 0; i < 10'000; ++i) {
    EXPECT_EQ(connections_.may_ask("inner", now_), Asking::now);
  }
}

}  // namespace
}  // namespace turnstile::broker
