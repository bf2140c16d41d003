// Whether a producer that waits makes progress, why its rows wait, and when it gives up. Promise 6:
// nothing waits for ever without saying so. Belongs to one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "base/result.h"
#include "client/session.h"
#include "proto/ids.h"

namespace turnstile {

struct WaitOptions {
  std::chrono::milliseconds timeout{0};        // without progress; 0: never give up
  std::chrono::milliseconds task_duration{0};  // the consumer answers only after it
  Ack ack = Ack::applied;
  std::function<std::chrono::steady_clock::time_point()> clock;
};

// The rows of a producer that are not applied yet.
struct WaitingRows {
  Sequence last;  // the highest number given to a row
  std::uint64_t stored = 0;
  std::uint64_t not_stored = 0;
  std::string table;  // of the latest rows
};

class WaitMonitor {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // `session` must outlive the monitor.
  WaitMonitor(Session& session, WaitOptions options)
      : session_(session), options_(std::move(options)) {}

  void begin(TimePoint now);
  // The next wait began this much earlier: a consumer could not answer a question about a table.
  void waited_for_table(std::chrono::milliseconds duration) { waited_for_table_ = duration; }
  // Notices acknowledgements of the session.
  void note_progress(Sequence last, TimePoint now);

  // Asks the broker why rows wait, and reports it. True when the timeout has passed without
  // progress: no row of this producer was acknowledged, and the consumer applied no rows of others.
  bool waits_too_long(const WaitingRows& rows, TimePoint now);
  [[nodiscard]] Error no_progress_error(const WaitingRows& rows) const;

 private:
  void report_reason(const WaitingRows& rows, TimePoint now);
  [[nodiscard]] bool is_stored(const WaitingRows& rows) const;
  [[nodiscard]] std::string reason(const WaitingRows& rows) const;
  [[nodiscard]] std::string text_of(const WaitingRows& rows) const;

  Session& session_;
  WaitOptions options_;

  Sequence seen_stored_;
  Sequence seen_applied_;

  // About the current wait.
  std::chrono::milliseconds waited_for_table_{0};  // before this wait
  TimePoint waiting_from_{};                       // its begin, or the latest progress
  std::optional<std::uint64_t> seen_of_all_;  // rows of all producers that the consumer applied
  std::optional<TimePoint> asked_;
  std::optional<TimePoint> reported_;
  std::string reported_reason_;
};

}  // namespace turnstile
