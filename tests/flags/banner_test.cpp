#include "flags/banner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/logging.h"

namespace turnstile {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

TEST(Banner, NamesProgramDateSystemVersionsAndWhatWasOpened) {
  const auto lines = banner_lines("broker", {{"listens at", "ipc://broker.sock"}});
  EXPECT_THAT(lines, ::testing::ElementsAre(
                         MatchesRegex("turnstile broker [0-9]+\\.[0-9]+\\.[0-9]+"),
                         MatchesRegex("  date        [0-9]{4}-[0-9]{2}-[0-9]{2} .*"),
                         MatchesRegex("  system      Linux .*, .*"),
                         MatchesRegex("  SQLite      3\\.[0-9.]+"),
                         MatchesRegex("  ZeroMQ      [0-9.]+"), "  listens at  ipc://broker.sock"));
}

TEST(Banner, IsLoggedAtInfoLevel) {
  ::testing::internal::CaptureStderr();
  set_up_logging({LogLevel::info, false});
  log_banner("consumer", {{"target", "shared.db"}});
  set_up_logging({LogLevel::info, true});
  log_banner("unheard", {});
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr(" - INFO -   turnstile consumer "), HasSubstr("target  shared.db"),
                    ::testing::Not(HasSubstr("unheard"))));
}

TEST(SystemInfo, BytesAreWrittenForPeople) {
  EXPECT_EQ(format_bytes(0), "0 bytes");
  EXPECT_EQ(format_bytes(1023), "1023 bytes");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(std::uint64_t{5} << 40U), "5.0 TiB");
  EXPECT_EQ(format_bytes(std::uint64_t{5} << 52U), "20480.0 TiB");
}

TEST(SystemInfo, TheMachineHasCpusMemoryAndASystem) {
  const Machine machine = look_at_machine();
  EXPECT_GE(machine.cpus, 1U);
  EXPECT_GT(machine.memory_bytes, 1U << 20U);
  EXPECT_THAT(machine.system, ::testing::StartsWith("Linux "));
}

TEST(SystemInfo, TheWalResetRaceIsInTheVersionsThatHaveIt) {
  for (const int version : {3'007'000, 3'040'001, 3'044'005, 3'045'000, 3'050'006, 3'051'002}) {
    EXPECT_TRUE(has_wal_reset_race(version)) << version;
  }
  for (const int version : {3'006'023, 3'044'006, 3'050'007, 3'051'003, 3'053'000}) {
    EXPECT_FALSE(has_wal_reset_race(version)) << version;
  }
}

}  // namespace
}  // namespace turnstile
