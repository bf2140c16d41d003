// Who may consume. One consumer holds the lease. A standby takes over when the holder disconnects,
// or when it was silent for longer than the lease lasts (promise 4: the target's generation then
// stops the old holder).
//
// Silence counts only while the broker reads. After a slow sync, or while the broker was stopped,
// the holder's messages may still wait to be read.
//
// A pure state machine: connections and times come in, changes come out.
#pragma once

#include <chrono>
#include <deque>
#include <optional>

#include "broker/window.h"
#include "link/connection_id.h"
#include "proto/ids.h"

namespace turnstile::broker {

class LeaseDesk {
 public:
  // At most this much of the time between two turns counts as silence. An idle broker turns twice
  // as often.
  static constexpr std::chrono::milliseconds kSilenceOfTurn{1000};

  explicit LeaseDesk(std::chrono::milliseconds duration, Lease leases_after = {})
      : duration_(duration), lease_(leases_after) {}

  void join(ConnectionId connection, TimePoint now);
  void leave(ConnectionId connection);
  void heard(ConnectionId connection, TimePoint now);
  // One turn of the broker: it has read what had come by `now`, within the bounds of a turn.
  void note_turn(TimePoint now);

  // The consumer that has just got the lease, if any. Call this after each of the above, and at
  // deadline().
  std::optional<ConnectionId> grant(TimePoint now);
  // When grant() may give the lease by time alone.
  [[nodiscard]] std::optional<TimePoint> deadline() const;

  [[nodiscard]] const std::optional<ConnectionId>& holder() const { return holder_; }
  [[nodiscard]] bool knows(ConnectionId connection) const;
  [[nodiscard]] Lease lease() const { return lease_; }
  [[nodiscard]] std::size_t standing_by() const { return waiting_.size(); }
  [[nodiscard]] std::chrono::milliseconds duration() const { return duration_; }

 private:
  std::chrono::milliseconds duration_;
  std::optional<ConnectionId> holder_;
  TimePoint holder_heard_{};  // shifted by the time that did not count as silence
  std::optional<TimePoint> last_turn_;
  std::deque<ConnectionId> waiting_;
  Lease lease_;
};

}  // namespace turnstile::broker
