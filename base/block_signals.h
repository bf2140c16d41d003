// For a thread that starts another thread or process.
#pragma once

#include <csignal>

namespace turnstile {

// No signal reaches this thread while it lives, nor what it starts meanwhile until that says so: a
// signal is for whoever waits for one.
class BlockSignals {
 public:
  BlockSignals() {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  BlockSignals(const BlockSignals&) = delete;
  BlockSignals& operator=(const BlockSignals&) = delete;
  ~BlockSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

}  // namespace turnstile
