#include "flags/options.h"

#include <cstdlib>

#include <CLI/CLI.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "link/endpoint.h"
#include "tests/flags/environment.h"

namespace turnstile {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::HasSubstr;

// What CLI11 says to `arguments`, or nothing if it takes them.
std::string complaint(CLI::App& app, const std::string& arguments) {
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return error.what();
  }
  return {};
}

TEST(Duration, EachUnitIsUnderstood) {
  EXPECT_EQ(parse_duration("250ms"), milliseconds(250));
  EXPECT_EQ(parse_duration("3s"), seconds(3));
  EXPECT_EQ(parse_duration("2m"), minutes(2));
  EXPECT_EQ(parse_duration("1h"), hours(1));
  EXPECT_EQ(parse_duration("0"), milliseconds(0));
  EXPECT_EQ(parse_duration("0s"), milliseconds(0));
}

TEST(Duration, TextThatIsNoneIsRefusedAndQuoted) {
  for (const auto* text : {"", "3", "s", "-1s", "+1s", "1.5s", "3 s", " 3s", "3s ", "3S", "3sec",
                           "1s2s", "0x1s", "1s..2s", "ms", "1d", "18446744073709551616ms"}) {
    const auto parsed = parse_duration(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, Errc::bad_input);
    EXPECT_THAT(parsed.error().what, HasSubstr("'" + std::string(text) + "'"));
    EXPECT_THAT(parsed.error().hint, HasSubstr("250ms"));
  }
}

TEST(Duration, TenYearsAreTheLongest) {
  EXPECT_EQ(parse_duration("87600h"), hours(87600));
  EXPECT_FALSE(parse_duration("87601h"));
  EXPECT_FALSE(parse_duration("18446744073709551615h"));
  EXPECT_FALSE(parse_duration("315360000001ms"));
}

TEST(Duration, WhatIsWrittenIsReadBack) {
  for (const auto* text : {"0", "1ms", "250ms", "1500ms", "3s", "90s", "2m", "1h", "87600h"}) {
    EXPECT_EQ(format_duration(parse_duration(text).value()), text);
  }
}

TEST(DurationRange, TwoEndsAreKept) {
  const auto range = parse_duration_range("250ms..3s");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->min, milliseconds(250));
  EXPECT_EQ(range->max, seconds(3));
  EXPECT_EQ(format_duration_range(*range), "250ms..3s");
}

TEST(DurationRange, OneDurationIsBothEnds) {
  const auto range = parse_duration_range("2s");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->min, seconds(2));
  EXPECT_EQ(range->max, seconds(2));
  EXPECT_EQ(format_duration_range(*range), "2s");
}

TEST(DurationRange, TextThatIsNoneIsRefused) {
  for (const auto* text : {"", "..", "1s..", "..3s", "1s...3s", "1s..2s..3s", "1..3s", "1s-3s"}) {
    EXPECT_FALSE(parse_duration_range(text)) << text;
  }
}

TEST(DurationRange, AnEndBeforeTheStartIsRefused) {
  const auto range = parse_duration_range("3s..1s");
  ASSERT_FALSE(range);
  EXPECT_THAT(range.error().what, HasSubstr("ends before it starts"));
}

TEST(Bytes, EachUnitIsUnderstood) {
  EXPECT_EQ(parse_bytes("0"), 0U);
  EXPECT_EQ(parse_bytes("1000"), 1000U);
  EXPECT_EQ(parse_bytes("64KiB"), 65536U);
  EXPECT_EQ(parse_bytes("128MiB"), 134217728U);
  EXPECT_EQ(parse_bytes("1GiB"), 1073741824U);
  EXPECT_EQ(parse_bytes("18446744073709551615"), 18446744073709551615U);
}

TEST(Bytes, TextThatIsNoneIsRefused) {
  for (const auto* text : {"", "KiB", "-1", "1.5GiB", "64KB", "64kib", "64 KiB", "1TB", "0x10",
                           "18446744073709551616", "18446744073709551615KiB", "17179869184GiB"}) {
    const auto parsed = parse_bytes(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, Errc::bad_input);
  }
}

TEST(Bytes, WhatIsWrittenIsReadBack) {
  for (const auto* text : {"0", "1000", "64KiB", "1025KiB", "128MiB", "1GiB"}) {
    EXPECT_EQ(format_bytes_exactly(parse_bytes(text).value()), text);
  }
}

TEST(Endpoint, SocketFilesAndTcpAddressesAreTaken) {
  for (const auto* endpoint :
       {"ipc:///run/user/1000/turnstile/broker.sock", "ipc://broker.sock", "tcp://127.0.0.1:5555",
        "tcp://localhost:1", "tcp://[::1]:65535", "tcp://*:5555"}) {
    EXPECT_TRUE(check_endpoint(endpoint)) << endpoint;
  }
}

TEST(Endpoint, WhereToListenMayLeaveThePortToTheSystem) {
  EXPECT_TRUE(check_endpoint("tcp://127.0.0.1:*", EndpointUse::listen));
  EXPECT_TRUE(check_endpoint("tcp://127.0.0.1:5555", EndpointUse::listen));
  EXPECT_FALSE(check_endpoint("tcp://*", EndpointUse::listen));
  EXPECT_FALSE(check_endpoint("tcp://127.0.0.1:0", EndpointUse::listen));
}

TEST(Endpoint, AnythingElseIsRefused) {
  for (const auto* endpoint : {"",
                               "broker.sock",
                               "/tmp/broker.sock",
                               "ipc:",
                               "ipc://",
                               "ipc://*",
                               "ipc:///tmp/",
                               "ipc://@abstract",
                               "inproc://x",
                               "udp://127.0.0.1:1",
                               "tcp://",
                               "tcp://127.0.0.1",
                               "tcp://:5555",
                               "tcp://127.0.0.1:",
                               "tcp://127.0.0.1:0",
                               "tcp://127.0.0.1:*",
                               "tcp://127.0.0.1:65536",
                               "tcp://127.0.0.1:55x",
                               "tcp://127.0.0.1:-1",
                               "tcp://::1:5555",
                               "tcp://[]:5555",
                               "IPC:///tmp/x"}) {
    const auto checked = check_endpoint(endpoint);
    ASSERT_FALSE(checked) << endpoint;
    EXPECT_EQ(checked.error().code, Errc::bad_input);
    EXPECT_FALSE(checked.error().hint.empty());
  }
}

TEST(Endpoint, ASocketPathOf107BytesFitsAndOneMoreIsRefusedWithTheLimit) {
  EXPECT_TRUE(check_endpoint("ipc:///" + std::string(106, 'x')));
  const auto checked = check_endpoint("ipc:///" + std::string(107, 'x'));
  ASSERT_FALSE(checked);
  EXPECT_THAT(checked.error().what, HasSubstr("has 108 bytes; the kernel takes at most 107"));
}

TEST(DefaultBroker, IsInTheUsersRuntimeFolder) {
  const Environment environment{{"XDG_RUNTIME_DIR", "/run/user/1000"}};
  EXPECT_EQ(default_broker_endpoint(), "ipc:///run/user/1000/turnstile/broker.sock");
}

TEST(DefaultBroker, IsAFolderNamedAfterTheUserWithoutOne) {
  const std::string expected = "ipc:///tmp/turnstile-" + std::to_string(getuid()) + "/broker.sock";
  for (const std::string& runtime :
       {std::string(), std::string("relative"), "/" + std::string(100, 'x')}) {
    const Environment environment{{"XDG_RUNTIME_DIR", runtime}};
    EXPECT_EQ(default_broker_endpoint(), expected);
  }
}

TEST(SharedFlags, KeepTheirDefaultsWhenNotGiven) {
  CLI::App app;
  std::string broker;
  std::string db;
  std::string text = "out9.txt";
  add_broker_option(app, broker);
  add_db_option(app, db);
  add_text_option(app, text);
  EXPECT_EQ(complaint(app, ""), "");
  EXPECT_EQ(broker, default_broker_endpoint());
  EXPECT_EQ(db, "shared.db");
  EXPECT_EQ(text, "out9.txt");
}

TEST(SharedFlags, StoreWhatIsGiven) {
  CLI::App app;
  std::string broker;
  std::string db;
  std::string text;
  bool json = false;
  LogOptions log;
  add_broker_option(app, broker);
  add_db_option(app, db);
  add_text_option(app, text);
  add_json_flag(app, json);
  add_log_options(app, log);
  EXPECT_EQ(complaint(app,
                      "--broker tcp://127.0.0.1:5555 --db a.db --text a.txt --json --quiet "
                      "--log-level warning"),
            "");
  EXPECT_EQ(broker, "tcp://127.0.0.1:5555");
  EXPECT_EQ(db, "a.db");
  EXPECT_EQ(text, "a.txt");
  EXPECT_TRUE(json);
  EXPECT_TRUE(log.quiet);
  EXPECT_EQ(log.level, LogLevel::warning);
}

TEST(SharedFlags, BadValuesAreRefusedWithTheFlagAndTheForm) {
  CLI::App app;
  std::string broker;
  LogOptions log;
  milliseconds timeout{0};
  DurationRange interval;
  std::uint64_t size = 0;
  add_broker_option(app, broker);
  add_log_options(app, log);
  add_duration_option(app, "--timeout", timeout, "");
  add_duration_range_option(app, "--interval", interval, "");
  add_bytes_option(app, "--size", size, "");
  EXPECT_THAT(complaint(app, "--broker nowhere"), HasSubstr("--broker: 'nowhere' is no endpoint"));
  EXPECT_THAT(complaint(app, "--log-level loud"), HasSubstr("--log-level: 'loud'"));
  EXPECT_THAT(complaint(app, "--timeout 3"), HasSubstr("--timeout: '3' is no duration; write it"));
  EXPECT_THAT(complaint(app, "--interval 3s..1s"), HasSubstr("--interval: the range '3s..1s'"));
  EXPECT_THAT(complaint(app, "--size 1KB"), HasSubstr("--size: '1KB' is no number of bytes"));
}

TEST(SharedFlags, TypedOptionsStoreTheirValuesAndShowTheirDefaults) {
  CLI::App app;
  milliseconds timeout = seconds(30);
  DurationRange interval{seconds(1), seconds(3)};
  std::uint64_t size = 65536;
  add_duration_option(app, "--timeout", timeout, "");
  add_duration_range_option(app, "--interval", interval, "");
  add_bytes_option(app, "--size", size, "");
  EXPECT_THAT(app.help(), HasSubstr("DURATION=30s"));
  EXPECT_THAT(app.help(), HasSubstr("DURATION[..DURATION]=1s..3s"));
  EXPECT_THAT(app.help(), HasSubstr("BYTES=64KiB"));
  EXPECT_EQ(complaint(app, "--timeout 5s --interval 0 --size 1MiB"), "");
  EXPECT_EQ(timeout, seconds(5));
  EXPECT_EQ(interval.min, milliseconds(0));
  EXPECT_EQ(interval.max, milliseconds(0));
  EXPECT_EQ(size, 1048576U);
}

TEST(ExitCodes, FollowFromTheError) {
  EXPECT_EQ(exit_code_for({Errc::bad_input, "", ""}), 2);
  EXPECT_EQ(exit_code_for({Errc::refused, "", ""}), 1);
  EXPECT_EQ(exit_code_for({Errc::full, "", ""}), 1);
  EXPECT_EQ(exit_code_for({Errc::fenced, "", ""}), 1);
  EXPECT_EQ(exit_code_for({Errc::unreachable, "", ""}), 3);
  EXPECT_EQ(exit_code_for({Errc::locked, "", ""}), 3);
  EXPECT_EQ(exit_code_for({Errc::io, "", ""}), 3);
  EXPECT_EQ(exit_code_for({Errc::corrupt, "", ""}), 3);
}

TEST(ErrorText, HasAHintLineOnlyWhenThereIsAHint) {
  EXPECT_EQ(error_text({Errc::io, "the disk is gone", "plug it in"}),
            "turnstile: the disk is gone\n  hint: plug it in");
  EXPECT_EQ(error_text({Errc::io, "the disk is gone", ""}), "turnstile: the disk is gone");
}

}  // namespace
}  // namespace turnstile
