// How long rows wait for their acknowledgement. Pure: the time comes in.
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

  // Rows up to `last`, behind those of the call before, wait since `now`.
  void began(Sequence last, TimePoint now);
  void acknowledged(Sequence through, TimePoint now);

  // Time in which at least one row waited, and the longest that one waited. What still waits counts
  // up to `now`.
  [[nodiscard]] Duration total(TimePoint now) const;
  [[nodiscard]] Duration longest(TimePoint now) const;

 private:
  struct Waiting {
    Sequence last;
    TimePoint since;
  };

  std::deque<Waiting> waiting_;  // bounded: beyond that, later rows count as waiting with the last
  std::optional<TimePoint> since_;  // at least one row has been waiting
  Duration total_{0};
  Duration longest_{0};
};

}  // namespace turnstile
