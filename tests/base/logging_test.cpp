#include "base/logging.h"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include "base/signals.h"
#include "tests/flags/environment.h"
#include "tests/support/temporary_folder.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::MatchesRegex;

std::string formatted(spdlog::level::level_enum level, const std::string& message) {
  const spdlog::details::log_msg entry("test", level, message);
  spdlog::memory_buf_t line;
  make_log_formatter()->format(entry, line);
  return fmt::to_string(line);
}

std::string written_to_stderr(const LogOptions& options) {
  testing::internal::CaptureStderr();
  set_up_logging(options);
  spdlog::debug("d");
  spdlog::info("i");
  spdlog::warn("w");
  spdlog::error("e");
  const std::string lines = testing::internal::GetCapturedStderr();
  std::string messages;
  std::istringstream input(lines);
  for (std::string line; std::getline(input, line);) {
    messages += line.substr(line.find(" -   ") + 5);
  }
  return messages;
}

TEST(LogLine, HasTheTimeWithACommaTheLevelInCapitalsAndThreeSpaces) {
  EXPECT_THAT(formatted(spdlog::level::info, "message"),
              MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2},[0-9]{3} - INFO "
                           "-   message\n"));
}

TEST(LogLine, EveryLevelHasItsName) {
  EXPECT_THAT(formatted(spdlog::level::debug, "m"), MatchesRegex(".* - DEBUG -   m\n"));
  EXPECT_THAT(formatted(spdlog::level::warn, "m"), MatchesRegex(".* - WARNING -   m\n"));
  EXPECT_THAT(formatted(spdlog::level::err, "m"), MatchesRegex(".* - ERROR -   m\n"));
}

TEST(LogLine, ControlCharactersStartNoLineOfTheirOwn) {
  EXPECT_THAT(
      formatted(spdlog::level::info, "a\nb\x1b[2Jc\x7f\xc2\x9b\xe2\x80\xae é"),
      MatchesRegex(".* -   a\\\\nb\\\\x1b\\[2Jc\\\\x7f\\\\xc2\\\\x9b\\\\xe2\\\\x80\\\\xae é\n"));
}

TEST(LogLevel, EachNameIsReadBack) {
  for (const auto* name : {"debug", "info", "warning", "error"}) {
    EXPECT_EQ(log_level_name(parse_log_level(name).value()), name);
  }
  for (const auto* name : {"", "warn", "INFO", "trace", "off"}) {
    EXPECT_FALSE(parse_log_level(name)) << name;
  }
}

TEST(LogLevel, LinesBelowItAreNotWritten) {
  EXPECT_EQ(written_to_stderr({LogLevel::debug, false}), "diwe");
  EXPECT_EQ(written_to_stderr({LogLevel::info, false}), "iwe");
  EXPECT_EQ(written_to_stderr({LogLevel::warning, false}), "we");
  EXPECT_EQ(written_to_stderr({LogLevel::error, false}), "e");
}

TEST(LogLevel, QuietLeavesErrorsOnly) {
  EXPECT_EQ(written_to_stderr({LogLevel::debug, true}), "e");
}

TEST(LogColour, IsOffWhereNoColorHasAValue) {
  EXPECT_EQ(log_colour_mode("1"), spdlog::color_mode::never);
  EXPECT_EQ(log_colour_mode(""), spdlog::color_mode::automatic);
  EXPECT_EQ(log_colour_mode(nullptr), spdlog::color_mode::automatic);
}

TEST(LogLimiter, LinesOverTheLimitAreLeftOutAndCountedOnce) {
  LogLimiter limiter(2, seconds(10));
  const LogLimiter::TimePoint start{};
  EXPECT_TRUE(limiter.admit(start));
  EXPECT_TRUE(limiter.admit(start + seconds(1)));
  for (int i = 0; i < 1234; ++i) {
    EXPECT_FALSE(limiter.admit(start + seconds(2)));
  }
  EXPECT_EQ(limiter.left_out(start + milliseconds(9999)), std::nullopt);
  EXPECT_EQ(limiter.left_out(start + seconds(10)), "... and 1234 more like it");
  EXPECT_EQ(limiter.left_out(start + seconds(10)), std::nullopt);
}

TEST(LogLimiter, ANewIntervalAdmitsAgainAndKeepsTheOldCount) {
  LogLimiter limiter(1, seconds(10));
  const LogLimiter::TimePoint start{};
  EXPECT_TRUE(limiter.admit(start));
  EXPECT_FALSE(limiter.admit(start));
  EXPECT_TRUE(limiter.admit(start + seconds(10)));
  EXPECT_FALSE(limiter.admit(start + seconds(19)));
  EXPECT_EQ(limiter.left_out(start + seconds(19)), "... and 1 more like it");
  EXPECT_TRUE(limiter.admit(start + seconds(20)));
  EXPECT_EQ(limiter.left_out(start + seconds(20)), "... and 1 more like it");
}

TEST(LogLimiter, CountsOfIntervalsThatNobodyAskedAboutAddUp) {
  LogLimiter limiter(1, seconds(10));
  const LogLimiter::TimePoint start{};
  for (const int second : {0, 1, 10, 11, 12}) {
    limiter.admit(start + seconds(second));
  }
  EXPECT_EQ(limiter.left_out(start + seconds(20)), "... and 3 more like it");
}

TEST(LogLimiter, NothingIsSaidWhenNothingWasLeftOut) {
  LogLimiter limiter(2, seconds(10));
  const LogLimiter::TimePoint start{};
  EXPECT_EQ(limiter.left_out(start), std::nullopt);
  EXPECT_TRUE(limiter.admit(start));
  EXPECT_TRUE(limiter.admit(start));
  EXPECT_EQ(limiter.left_out(start + seconds(60)), std::nullopt);
}

TEST(LogLimiter, AFloodOfAnHourWritesNoMoreThanItsShare) {
  LogLimiter limiter(5, seconds(60));
  int lines = 0;
  for (int ms = 0; ms < 3'600'000; ms += 10) {
    const LogLimiter::TimePoint now{milliseconds(ms)};
    lines += limiter.left_out(now) ? 1 : 0;
    lines += limiter.admit(now) ? 1 : 0;
  }
  EXPECT_EQ(lines, 60 * 5 + 59);
}

TEST(LogFile, IsAppendedToAndAfterASighupOpenedAgain) {
  const TemporaryFolder folder(std::filesystem::temp_directory_path());
  const HangupSignal hangup;
  const auto read = [&](const char* name) {
    std::ostringstream out;
    out << std::ifstream(folder.path() / name).rdbuf();
    return out.str();
  };
  LogOptions options;
  options.file = folder.path() / "turnstile.log";
  ASSERT_TRUE(set_up_logging_to_file(options));
  spdlog::info("first");
  std::filesystem::rename(options.file, folder.path() / "turnstile.log.1");
  spdlog::info("second");
  EXPECT_FALSE(std::filesystem::exists(options.file));
  ASSERT_EQ(std::raise(SIGHUP), 0);
  spdlog::info("third");
  set_up_logging({});
  EXPECT_THAT(read("turnstile.log.1"),
              testing::AllOf(testing::HasSubstr("first\n"), testing::HasSubstr("second\n")));
  EXPECT_THAT(read("turnstile.log"), testing::EndsWith("third\n"));
  EXPECT_THAT(read("turnstile.log"), testing::Not(testing::HasSubstr("second")));
}

TEST(LogFile, ThatCannotBeOpenedIsNamed) {
  LogOptions options;
  options.file = "/no/such/folder/turnstile.log";
  const auto set_up = set_up_logging_to_file(options);
  ASSERT_FALSE(set_up);
  EXPECT_EQ(set_up.error().code, Errc::unreachable);
  EXPECT_THAT(set_up.error().what, testing::HasSubstr(options.file));
}

}  // namespace
}  // namespace turnstile
