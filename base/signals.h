// SIGINT, SIGTERM and SIGHUP as something to look at, or to poll for, between two steps of work.
#pragma once

#include <chrono>
#include <csignal>

#include "base/descriptor.h"

namespace turnstile {

// Takes the two signals while it lives, and has them ignored afterwards if one came. One at a time
// in a process.
class StopSignal {
 public:
  // Signals within `same_within` of the one that counted last count with it: a terminal sends them
  // to a whole group of processes, and a parent among them hands them on.
  // Throws std::system_error when the kernel has no descriptor left.
  explicit StopSignal(std::chrono::milliseconds same_within = std::chrono::milliseconds(500));
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  ~StopSignal();

  [[nodiscard]] bool requested() const { return count() > 0; }
  [[nodiscard]] int count() const;
  // Readable from the first signal on. Nobody reads it.
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  Descriptor fd_;
  struct sigaction old_interrupt_ {};
  struct sigaction old_terminate_ {};
};

// Takes SIGHUP while it lives: those who keep files open for long open them again for each, and
// nothing ends. One at a time in a process.
class HangupSignal {
 public:
  HangupSignal();
  HangupSignal(const HangupSignal&) = delete;
  HangupSignal& operator=(const HangupSignal&) = delete;
  ~HangupSignal();

 private:
  struct sigaction old_ {};
};

// How many came so far.
int hangups();

}  // namespace turnstile
