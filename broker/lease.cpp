#include "broker/lease.h"

#include <algorithm>

namespace turnstile::broker {

void LeaseDesk::join(const Key& key, TimePoint now) {
  if (holder_ == key) {
    // It starts over: whatever it held before is void, so it gets a lease of its own again.
    holder_.reset();
  }
  if (std::find(waiting_.begin(), waiting_.end(), key) == waiting_.end()) {
    waiting_.push_back(key);
  }
  heard(key, now);
}

void LeaseDesk::leave(const Key& key) {
  if (holder_ == key) {
    holder_.reset();
  }
  waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), key), waiting_.end());
}

void LeaseDesk::heard(const Key& key, TimePoint now) {
  if (holder_ == key) {
    holder_heard_ = now;
  }
}

void LeaseDesk::listened(TimePoint now) {
  const auto deaf = now - listened_.value_or(now) - kSilenceOfTurn;
  if (deaf > TimePoint::duration::zero()) {
    holder_heard_ = std::min(holder_heard_ + deaf, now);
  }
  listened_ = now;
}

std::optional<LeaseDesk::Key> LeaseDesk::grant(TimePoint now) {
  const bool free = !holder_ || now - holder_heard_ > duration_;
  if (!free || waiting_.empty()) {
    return std::nullopt;
  }
  holder_ = waiting_.front();
  waiting_.pop_front();
  holder_heard_ = now;
  ++lease_.value;
  return holder_;
}

std::optional<TimePoint> LeaseDesk::deadline() const {
  if (waiting_.empty()) {
    return std::nullopt;
  }
  if (!holder_) {
    return TimePoint{};
  }
  return holder_heard_ + duration_ + std::chrono::milliseconds(1);
}

bool LeaseDesk::knows(const Key& key) const {
  return holder_ == key || std::find(waiting_.begin(), waiting_.end(), key) != waiting_.end();
}

}  // namespace turnstile::broker
