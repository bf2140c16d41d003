// How long rows wait for their acknowledgement. Pure: the caller passes the time.
#pragma once

#include <chrono>
#include <deque>
#include <optional>

#include "proto/ids.h"

namespace turnstile {

class Waits {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;

  // Rows up to `last`, after those of the previous call, wait since `now`.
  void began(Sequence last, TimePoint now);
  void acknowledged(Sequence through, TimePoint now);

  // Total time in which at least one row waited, and the longest wait of one row. Rows that still
  // wait count up to `now`.
  [[nodiscard]] Duration total(TimePoint now) const;
  [[nodiscard]] Duration longest(TimePoint now) const;

 private:
  struct Waiting {
    Sequence last;
    TimePoint since;
  };

  std::deque<Waiting> waiting_;     // bounded: further rows join the last entry
  std::optional<TimePoint> since_;  // since when at least one row has waited
  Duration total_{0};
  Duration longest_{0};
};

}  // namespace turnstile
