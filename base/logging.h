// Logs: lines on stderr, or in a file, in the form
//   2024-05-05 17:39:01,987 - INFO -   message
// with local time. Control characters in a message are written as \xNN, so that text from outside
// can neither start a line of its own nor steer the terminal.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <spdlog/spdlog.h>

#include "base/result.h"

namespace turnstile {

enum class LogLevel { debug, info, warning, error };

struct LogOptions {
  LogLevel level = LogLevel::info;
  bool quiet = false;     // errors only, whatever the level
  std::string file = {};  // empty: stderr
};

Result<LogLevel> parse_log_level(std::string_view text);
std::string_view log_level_name(LogLevel level);

std::unique_ptr<spdlog::formatter> make_log_formatter();

// Colours on a terminal only, and not where NO_COLOR has a value. `no_color` may be null.
spdlog::color_mode log_colour_mode(const char* no_color);

// Makes spdlog's default logger, which every room writes to, one that keeps to `options`.
// Call it once, before threads start.
void set_up_logging(const LogOptions& options);
// The same, into options.file if one is named; after a SIGHUP the next line opens it again. Errors:
// unreachable.
Result<void> set_up_logging_to_file(const LogOptions& options);

// Keeps input from outside from filling the log: at most `lines` in each interval are to be
// written, and then one that says how many more there were. Pure: the time comes in. Not thread
// safe: one limiter a thread, and one for each kind of line.
class LogLimiter {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  LogLimiter(std::size_t lines, std::chrono::milliseconds interval);

  // Whether the line at hand is to be written. Ask left_out() first: it tells of earlier ones.
  bool admit(TimePoint now);

  // The line about those left out in intervals that are over, once. A loop asks now and then, so
  // that it is written when nothing more comes.
  std::optional<std::string> left_out(TimePoint now);

 private:
  void close_interval(TimePoint now);

  std::size_t lines_;
  std::chrono::milliseconds interval_;
  std::optional<TimePoint> interval_start_;  // none until a line opens the next interval
  std::uint64_t seen_ = 0;                   // in this interval
  std::uint64_t left_out_ = 0;               // in intervals that are over, not told of yet
};

}  // namespace turnstile
