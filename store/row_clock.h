// Ends work in the target that takes too long: a row's triggers and checks are programs that
// somebody else wrote. SQLite asks goes_on() while it runs a statement. Belongs to the connection's
// thread.
#pragma once

#include <sqlite3.h>

#include <chrono>
#include <cstdint>
#include <functional>

namespace turnstile::store {

class RowClock {
 public:
  using Clock = std::chrono::steady_clock;

  // Why SQLite interrupted the last statement.
  enum class Reason {
    none,
    row_too_long,  // the row becomes a dead letter
    unwanted,      // the caller gives the transaction up
  };

  // `limit` 0: none. `is_wanted` is asked every few milliseconds while a transaction is open.
  RowClock(Clock::duration limit, std::function<bool()> is_wanted)
      : limit_(limit), is_wanted_(std::move(is_wanted)) {}
  RowClock(const RowClock&) = delete;  // SQLite has its address
  RowClock& operator=(const RowClock&) = delete;
  ~RowClock() = default;

  void watch(sqlite3* connection);

  // A transaction begins.
  void begin();
  void end() { is_open_ = false; }

  // Around each row or group of rows; costs no look at the time.
  void begin_rows() {
    ++number_;
    is_in_rows_ = true;
    reason_ = Reason::none;
  }
  void end_rows() { is_in_rows_ = false; }

  [[nodiscard]] Reason reason() const { return reason_; }
  [[nodiscard]] Clock::duration limit() const { return limit_; }

 private:
  bool goes_on();
  bool stop(Reason reason) {
    reason_ = reason;
    return false;
  }

  const Clock::duration limit_;
  const std::function<bool()> is_wanted_;
  bool is_open_ = false;
  bool is_in_rows_ = false;
  Reason reason_ = Reason::none;
  std::uint64_t number_ = 0;
  std::uint64_t seen_number_ = 0;  // by goes_on(), ...
  Clock::time_point seen_since_;   // ... since then
  Clock::time_point last_asked_;
};

}  // namespace turnstile::store
