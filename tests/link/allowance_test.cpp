// Limits what one connection may do while others wait.
#include "link/allowance.h"

#include <chrono>

#include <gtest/gtest.h>

#include "tests/broker/batches.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;
using Asking = Allowance::Asking;

class AllowanceTest : public ::testing::Test {
 protected:
  int asked_of(int questions) {
    int asked = 0;
    for (int i = 0; i < questions; ++i) {
      asked += allowance_.may_ask(now_) == Asking::now ? 1 : 0;
    }
    return asked;
  }

  Allowance allowance_;
  TimePoint now_ = kStart;
};

TEST_F(AllowanceTest, ABurstOfSixteenQuestionsIsAllowedAndThenTwentyASecond) {
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

TEST_F(AllowanceTest, AClientThatPausesIsNeverDisconnectedAndOneThatDoesNotIs) {
  for (int i = 0; i < 100; ++i) {
    EXPECT_LE(asked_of(200), 16);
    EXPECT_NE(allowance_.may_ask(now_), Asking::too_often);
    now_ += 100ms;
  }
  asked_of(1'100);
  EXPECT_EQ(allowance_.may_ask(now_), Asking::too_often);
}

}  // namespace
}  // namespace turnstile::broker
