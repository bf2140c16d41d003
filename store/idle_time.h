// How long a producer or a name has been idle is running time, not what the clock says: a clock
// that jumps, or a machine that was off for a month, forgets nobody. Each look compares the clock
// with the look before. Between two looks at most `step` counts; what is beyond it is added to
// all recorded times, which are never later than now.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>

namespace turnstile::store {

// For looks a minute apart. The step must be small against the time after which idle producers are
// forgotten.
inline std::chrono::milliseconds idle_step(std::chrono::milliseconds keep) {
  constexpr int kLeastSteps = 10;
  return std::min<std::chrono::milliseconds>(std::chrono::hours(1), keep / kLeastSteps);
}

// What is to be added to the times recorded until `last_ms`; 0: only that none is later than now.
// Nothing: the clock went on as it should.
inline std::optional<std::int64_t> idle_shift(std::int64_t last_ms, std::int64_t now_ms,
                                              std::chrono::milliseconds step) {
  if (now_ms < last_ms) {
    return 0;
  }
  const std::int64_t beyond = now_ms - last_ms - step.count();
  return beyond > 0 ? std::optional(beyond) : std::nullopt;
}

}  // namespace turnstile::store
