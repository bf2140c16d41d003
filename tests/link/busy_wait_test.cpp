#include "link/busy_wait.h"

#include <chrono>

#include <gtest/gtest.h>

namespace turnstile {
namespace {

using namespace std::chrono_literals;

class BusyWaitTest : public ::testing::Test {
 protected:
  // The answer comes with this poll.
  bool waits_for_answer(int number) {
    questions_ = 0;
    return busy_wait_.wait([&] { return ++questions_ == number; });
  }

  BusyWait busy_wait_{10s};
  int questions_ = 0;
};

TEST_F(BusyWaitTest, ThereIsNoSpinningBeforeItPays) {
  EXPECT_FALSE(waits_for_answer(1));
  EXPECT_EQ(questions_, 0);
}

TEST_F(BusyWaitTest, AfterAShortWaitTheNextSpinsUntilTheAnswer) {
  busy_wait_.ended(9s);
  EXPECT_TRUE(waits_for_answer(3));  // each yield may give a busy processor away for long
  EXPECT_EQ(questions_, 3);
}

TEST_F(BusyWaitTest, AfterALongWaitTheNextSleeps) {
  busy_wait_.ended(1us);
  busy_wait_.ended(10s);
  EXPECT_FALSE(waits_for_answer(1));
  EXPECT_EQ(questions_, 0);
}

TEST_F(BusyWaitTest, AWaitThatTakesTooLongSleeps) {
  BusyWait impatient(1us);
  impatient.ended(0us);
  EXPECT_FALSE(impatient.wait([&] {
    ++questions_;
    return false;
  }));
  EXPECT_GE(questions_, 1);
}

// --no-spin.
TEST_F(BusyWaitTest, ABoundOfZeroNeverSpins) {
  BusyWait never(0us);
  never.ended(0us);
  EXPECT_FALSE(never.wait([&] { return ++questions_ > 0; }));
  EXPECT_EQ(questions_, 0);
}

}  // namespace
}  // namespace turnstile
