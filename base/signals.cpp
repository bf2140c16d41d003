#include "base/signals.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <ctime>
#include <system_error>

namespace turnstile {
namespace {

using std::chrono::milliseconds;

// A signal handler is given nothing that it could reach other state through.
std::atomic<int> signals_counted{0};
std::atomic<int> signals_fd{-1};
std::atomic<int> hangups_counted{0};
std::atomic<std::int64_t> last_counted_ms{0};
std::atomic<std::int64_t> same_within_ms{0};

static_assert(std::atomic<int>::is_always_lock_free &&
                  std::atomic<std::int64_t>::is_always_lock_free,
              "a signal handler must not meet a lock");

std::int64_t monotonic_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  constexpr std::int64_t kMsInSecond = 1000;
  constexpr std::int64_t kNsInMs = 1'000'000;
  return now.tv_sec * kMsInSecond + now.tv_nsec / kNsInMs;
}

extern "C" void count_signal(int /*signal*/) {
  const int saved_errno = errno;
  const std::int64_t now = monotonic_ms();
  const bool is_first = signals_counted.load() == 0;
  if (is_first || now - last_counted_ms.load() >= same_within_ms.load()) {
    last_counted_ms = now;
    signals_counted.fetch_add(1);
  }
  const std::uint64_t one = 1;
  // The counter cannot overflow in any number of signals, so there is no failure to see to.
  [[maybe_unused]] const ssize_t written = ::write(signals_fd.load(), &one, sizeof(one));
  errno = saved_errno;
}

extern "C" void count_hangup(int /*signal*/) {
  hangups_counted.fetch_add(1);
}

}  // namespace

HangupSignal::HangupSignal() {
  struct sigaction action {};
  action.sa_handler = count_hangup;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGHUP, &action, &old_);
}

HangupSignal::~HangupSignal() {
  sigaction(SIGHUP, &old_, nullptr);
}

int hangups() {
  return hangups_counted.load();
}

StopSignal::StopSignal(milliseconds same_within) : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!fd_) {
    throw std::system_error(errno, std::generic_category(), "eventfd");
  }
  signals_counted = 0;
  signals_fd = fd_.get();
  same_within_ms = same_within.count();
  struct sigaction action {};
  action.sa_handler = count_signal;
  sigemptyset(&action.sa_mask);
  // One handler at a time: two would both count.
  sigaddset(&action.sa_mask, SIGINT);
  sigaddset(&action.sa_mask, SIGTERM);
  // Without SA_RESTART a blocking call returns with EINTR.
  sigaction(SIGINT, &action, &old_interrupt_);
  sigaction(SIGTERM, &action, &old_terminate_);
}

// The process is ending: a second request to stop may still come, and would change the exit code.
StopSignal::~StopSignal() {
  if (requested()) {
    old_interrupt_.sa_handler = SIG_IGN;
    old_terminate_.sa_handler = SIG_IGN;
  }
  sigaction(SIGINT, &old_interrupt_, nullptr);
  sigaction(SIGTERM, &old_terminate_, nullptr);
  signals_fd = -1;
}

int StopSignal::count() const {
  return signals_counted.load();
}

}  // namespace turnstile
