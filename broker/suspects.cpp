#include "broker/suspects.h"

#include <algorithm>
#include <utility>

namespace turnstile::broker {

void TrackRecord::add_result(bool added_a_row) {
  if (added_a_row) {
    is_proven_ = true;
    wasted_ /= 2;
  } else {
    wasted_ = std::min(wasted_ + 1, 2 * kSuspectAfter);
  }
}

void SuspectQueue::push(Held&& held) {
  bytes_ += held.memory();
  held.is_suspect = true;
  waiting_.push_back(std::move(held));
}

Held SuspectQueue::pop() {
  removed(waiting_.front());
  Held held = std::move(waiting_.front());
  waiting_.pop_front();
  return held;
}

void SuspectQueue::clear() {
  waiting_.clear();
  bytes_ = 0;
}

bool SuspectQueue::has_credit() const {
  return in_flight_ == 0 ||
         (in_flight_ < kSuspectsInFlight &&
          in_flight_bytes_ + waiting_.front().memory() <= kSuspectsInFlightBytes);
}

void SuspectQueue::delivered(const Held& held) {
  if (held.is_suspect) {
    ++in_flight_;
    in_flight_bytes_ += held.memory();
  }
}

void SuspectQueue::returned(const Held& held) {
  if (held.is_suspect) {
    --in_flight_;
    in_flight_bytes_ -= held.memory();
  }
}

void SuspectQueue::nothing_in_flight() {
  in_flight_ = 0;
  in_flight_bytes_ = 0;
}

}  // namespace turnstile::broker
