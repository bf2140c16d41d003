// Ctrl+C in two steps: the first ends the run in an orderly way, the second immediately.
#pragma once

#include <chrono>
#include <functional>
#include <utility>

namespace turnstile {

class Stopping {
 public:
  // After a stop signal: how long to wait for the acknowledgements of sent rows.
  static constexpr std::chrono::milliseconds kLastWait{2000};

  // `count` returns the number of stop signals so far.
  explicit Stopping(std::function<int()> count) : count_(std::move(count)) {}

  // True after the first signal; after be_patient(), after the second.
  [[nodiscard]] bool now() const { return count_() > patience_; }
  [[nodiscard]] bool requested() const { return count_() > 0; }
  void be_patient() { patience_ = 1; }

 private:
  std::function<int()> count_;
  int patience_ = 0;
};

}  // namespace turnstile
