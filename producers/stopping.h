// Ctrl+C in two steps: the first ends what is under way in an orderly way, the second at once.
#pragma once

#include <chrono>
#include <functional>
#include <utility>

namespace turnstile {

class Stopping {
 public:
  // After a stop signal: how long to wait for the acknowledgements of what was sent.
  static constexpr std::chrono::milliseconds kLastWait{2000};

  // `count` tells how many stop signals came so far.
  explicit Stopping(std::function<int()> count) : count_(std::move(count)) {}

  // Whether to stop: at the first signal, and after be_patient() at the second.
  [[nodiscard]] bool now() const { return count_() > patience_; }
  [[nodiscard]] bool requested() const { return count_() > 0; }
  void be_patient() { patience_ = 1; }

 private:
  std::function<int()> count_;
  int patience_ = 0;
};

}  // namespace turnstile
