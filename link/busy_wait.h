// Waiting awake for what is likely to come soon. A thread that sleeps is woken some 30 us late
// where processors are virtual, and a row that is sent and answered alone passes several such
// threads (bench, line 8).
//
// Only while it pays, that is after a wait that was short enough, and only with what nobody else
// wants of the processor. Belongs to one thread.
#pragma once

#include <sched.h>

#include <chrono>

namespace turnstile {

class BusyWait {
 public:
  using Clock = std::chrono::steady_clock;

  // How long one wait() is at most, which is also what counts as short.
  explicit BusyWait(Clock::duration most) : most_(most) {}

  // Asks `has_come` again and again. False: it is time to sleep.
  template <typename Question>
  bool wait(Question has_come) {
    if (!pays_) {
      return false;
    }
    const auto until = Clock::now() + most_;
    while (!has_come()) {
      if (Clock::now() >= until) {
        return false;
      }
      ::sched_yield();
    }
    return true;
  }

  // How long each wait took in the end, awake or asleep.
  void ended(Clock::duration took) { pays_ = took < most_; }

 private:
  Clock::duration most_;
  bool pays_ = false;
};

}  // namespace turnstile
