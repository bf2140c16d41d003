#include "store/row_clock.h"

namespace turnstile::store {
namespace {

constexpr int kSteps = 10'000;  // of SQLite's virtual machine between two looks: below 1 ms
constexpr std::chrono::milliseconds kAskWithinRows{20};

}  // namespace

void RowClock::watch(sqlite3* connection) {
  sqlite3_progress_handler(
      connection, kSteps,
      [](void* clock) { return static_cast<RowClock*>(clock)->goes_on() ? 0 : 1; }, this);
}

void RowClock::begin() {
  const auto now = Clock::now();
  is_open_ = true;
  is_in_rows_ = false;
  reason_ = Reason::none;
  last_asked_ = now;
}

bool RowClock::goes_on() {
  if (!is_open_) {
    return true;
  }
  const auto now = Clock::now();
  if (now - last_asked_ >= kAskWithinRows) {
    last_asked_ = now;
    if (!is_wanted_()) {
      return stop(Reason::unwanted);
    }
  }
  if (!is_in_rows_) {
    return true;
  }
  if (seen_number_ != number_) {
    seen_number_ = number_;
    seen_since_ = now;
  }
  return limit_ == Clock::duration::zero() || now - seen_since_ <= limit_ ||
         stop(Reason::row_too_long);
}

}  // namespace turnstile::store
