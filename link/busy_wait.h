// Spins briefly before sleeping. On virtual processors a sleeping thread wakes about 30 us late,
// and a row that is sent and answered alone passes several such threads (bench, line 8).
//
// Spins only while it pays, which is after a wait that was short enough, and yields the processor
// to anyone else. Belongs to one thread.
#pragma once

#include <sched.h>

#include <chrono>

namespace turnstile {

class BusyWait {
 public:
  using Clock = std::chrono::steady_clock;

  // `most`: the limit of one wait(), and of a wait that counts as short.
  explicit BusyWait(Clock::duration most) : most_(most) {}

  // Spins until `has_come`. False: it is time to sleep.
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

  // Call this after each wait, with the time spent spinning and sleeping.
  void ended(Clock::duration took) { pays_ = took < most_; }

 private:
  Clock::duration most_;
  bool pays_ = false;
};

}  // namespace turnstile
