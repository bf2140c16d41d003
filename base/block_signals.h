// For a thread that starts another thread or process.
#pragma once

#include <csignal>

namespace turnstile {

// Blocks all signals in this thread while it exists. A thread or process that it starts inherits
// the block, so that signals go to the thread that waits for them.
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
