#include "broker/lease.h"

#include <algorithm>

namespace turnstile::broker {

void LeaseDesk::join(ConnectionId connection, TimePoint now) {
  if (holder_ == connection) {
    // The holder starts over: its lease is void, and it needs a new one.
    holder_.reset();
  }
  if (std::find(waiting_.begin(), waiting_.end(), connection) == waiting_.end()) {
    waiting_.push_back(connection);
  }
  heard(connection, now);
}

void LeaseDesk::leave(ConnectionId connection) {
  if (holder_ == connection) {
    holder_.reset();
  }
  waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), connection), waiting_.end());
}

void LeaseDesk::heard(ConnectionId connection, TimePoint now) {
  if (holder_ == connection) {
    holder_heard_ = now;
  }
}

void LeaseDesk::note_turn(TimePoint now) {
  const auto uncounted = now - last_turn_.value_or(now) - kSilenceOfTurn;
  if (uncounted > TimePoint::duration::zero()) {
    holder_heard_ = std::min(holder_heard_ + uncounted, now);
  }
  last_turn_ = now;
}

std::optional<ConnectionId> LeaseDesk::grant(TimePoint now) {
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

bool LeaseDesk::knows(ConnectionId connection) const {
  return holder_ == connection ||
         std::find(waiting_.begin(), waiting_.end(), connection) != waiting_.end();
}

}  // namespace turnstile::broker
