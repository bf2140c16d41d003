#include "base/signals.h"

#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include <gtest/gtest.h>

namespace turnstile {
namespace {

using std::chrono::milliseconds;

bool is_readable(int fd) {
  pollfd item{fd, POLLIN, 0};
  return ::poll(&item, 1, 0) == 1;
}

TEST(StopSignalTest, NothingIsRequestedBeforeASignal) {
  const StopSignal stop;
  EXPECT_FALSE(stop.requested());
  EXPECT_EQ(stop.count(), 0);
  EXPECT_FALSE(is_readable(stop.fd()));
}

TEST(StopSignalTest, InterruptAndTerminateBothRequestAStop) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const StopSignal stop;
    ASSERT_EQ(::raise(signal), 0);
    EXPECT_TRUE(stop.requested());
    EXPECT_TRUE(is_readable(stop.fd()));
    EXPECT_TRUE(is_readable(stop.fd())) << "stays readable";
  }
}

TEST(StopSignalTest, SecondSignalCounts) {
  const StopSignal stop(milliseconds(0));
  ::raise(SIGINT);
  ::raise(SIGINT);
  EXPECT_EQ(stop.count(), 2);
}

TEST(StopSignalTest, SignalThatComesTwiceAtOnceCountsOnce) {
  const StopSignal stop(std::chrono::hours(1));
  ::raise(SIGINT);
  ::raise(SIGTERM);
  EXPECT_EQ(stop.count(), 1);
}

TEST(StopSignalTest, WhoWasAskedToStopEndsWithItsOwnCodeWhenItIsAskedOnceMore) {
  const auto ends = [] {
    {
      const StopSignal stop;
      std::raise(SIGTERM);
    }
    std::raise(SIGINT);
    std::raise(SIGTERM);
    std::_Exit(7);
  };
  EXPECT_EXIT(ends(), testing::ExitedWithCode(7), "");
}

TEST(StopSignalTest, WhoWasNotAskedLeavesSignalsAsTheyWere) {
  const auto ends = [] {
    std::signal(SIGTERM, SIG_DFL);
    { const StopSignal stop; }
    std::raise(SIGTERM);
    std::_Exit(7);
  };
  EXPECT_EXIT(ends(), testing::KilledBySignal(SIGTERM), "");
}

TEST(StopSignalTest, LaterOneBeginsAfresh) {
  {
    const StopSignal stop;
    ::raise(SIGINT);
  }
  const StopSignal stop;
  EXPECT_FALSE(stop.requested());
}

TEST(HangupSignalTest, EachIsCountedAndEndsNothing) {
  const int before = hangups();
  const HangupSignal hangup;
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(::raise(SIGHUP), 0);
  }
  EXPECT_EQ(hangups(), before + 3);
}

}  // namespace
}  // namespace turnstile
