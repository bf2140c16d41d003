// Who may consume. One consumer holds the lease; others stand by and take over when it is gone, or
// when it was silent for longer than the lease lasts and somebody else waits (promise 4: the
// target's generation then stops the old one).
//
// Silence counts only while the broker listens: after a sync that took long, or a stop of its own,
// what the holder said meanwhile may still wait to be read.
//
// A pure state machine: keys and times come in, changes come out.
#pragma once

#include <chrono>
#include <deque>
#include <optional>
#include <string>

#include "broker/window.h"
#include "proto/ids.h"

namespace turnstile::broker {

class LeaseDesk {
 public:
  using Key = std::string;  // of a connection

  // Of the time between two turns of the broker so much counts as silence. It turns twice as often
  // when it has nothing to do.
  static constexpr std::chrono::milliseconds kSilenceOfTurn{1000};

  explicit LeaseDesk(std::chrono::milliseconds duration, Lease leases_behind = {})
      : duration_(duration), lease_(leases_behind) {}

  void join(const Key& key, TimePoint now);
  void leave(const Key& key);
  void heard(const Key& key, TimePoint now);
  // A turn: what had come by now was read, as far as a turn goes.
  void listened(TimePoint now);

  // The consumer that has just got the lease, if any: call after each of the above and on time.
  std::optional<Key> grant(TimePoint now);
  // When grant() may have something to give without another call.
  [[nodiscard]] std::optional<TimePoint> deadline() const;

  [[nodiscard]] const std::optional<Key>& holder() const { return holder_; }
  [[nodiscard]] bool knows(const Key& key) const;
  [[nodiscard]] Lease lease() const { return lease_; }
  [[nodiscard]] std::size_t standing_by() const { return waiting_.size(); }
  [[nodiscard]] std::chrono::milliseconds duration() const { return duration_; }

 private:
  std::chrono::milliseconds duration_;
  std::optional<Key> holder_;
  TimePoint holder_heard_{};  // later by what did not count as silence
  std::optional<TimePoint> listened_;
  std::deque<Key> waiting_;
  Lease lease_;
};

}  // namespace turnstile::broker
