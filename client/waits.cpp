#include "client/waits.h"

#include <algorithm>
#include <cstddef>

namespace turnstile {
namespace {

constexpr std::size_t kMaxWaiting = 4096;

}  // namespace

void Waits::began(Sequence last, TimePoint now) {
  if (!since_) {
    since_ = now;
  }
  if (waiting_.size() < kMaxWaiting) {
    waiting_.push_back({last, now});
  } else {
    waiting_.back().last = last;
  }
}

void Waits::acknowledged(Sequence through, TimePoint now) {
  while (!waiting_.empty() && waiting_.front().last <= through) {
    longest_ = std::max(longest_, now - waiting_.front().since);
    waiting_.pop_front();
  }
  if (waiting_.empty() && since_) {
    total_ += now - *since_;
    since_.reset();
  }
}

Waits::Duration Waits::total(TimePoint now) const {
  return since_ ? total_ + (now - *since_) : total_;
}

Waits::Duration Waits::longest(TimePoint now) const {
  return waiting_.empty() ? longest_ : std::max(longest_, now - waiting_.front().since);
}

}  // namespace turnstile
