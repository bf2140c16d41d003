// The batches that a producer keeps until they are acknowledged, and which one it sends next.
//
//   add() ──► held, not sent ───sent()───► unanswered ──stored()──► gone ──applied()──► known
//                  ▲                                  │
//                  └── disconnected(), welcomed(), busy() ◄┘   all after that row again, in order
//
// Batches are sent in order of sequence and acknowledged cumulatively, so a queue and a position in
// it suffice (go-back-N). A batch stays in the queue until it is acknowledged: a broker that dies
// with the batch in memory loses nothing.
//
// Pure: no socket, no clock. Belongs to one thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <random>
#include <vector>

#include "proto/ids.h"
#include "proto/messages.h"

namespace turnstile {

class Resend {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // Rows that became dead letters and were not reported before.
  struct NewDead {
    std::uint64_t count = 0;
    std::vector<DeadRow> listed;  // at most limits::kDeadListed of them
  };

  // `seed` is for the jitter of pauses, which keeps producers that were refused together from
  // retrying together.
  explicit Resend(std::uint64_t seed) : random_(seed) {}

  // ---- rows

  // The number that the next row must have. Known after the first welcome.
  [[nodiscard]] Sequence next_sequence() const { return next(last_); }
  // Takes a batch whose first row has that number. Its epoch and header frame are set when it is
  // sent.
  void add(Batch batch);

  // ---- connection

  void disconnected();
  // The first welcome numbers the rows: they begin after `through`. Every welcome restarts sending
  // at the first batch that it does not cover. Acknowledgements of rows that we never sent are
  // ignored, also in a welcome: another process of this name may have sent those rows, and the
  // outcome belongs to the process that sends them.
  void welcomed(const Welcome& welcome);

  // ---- sending

  // The batch to send now. Null when there is none, the credit is used up, a pause is on, or no
  // broker is connected. Valid until the next non-const call.
  const Batch* next_to_send(TimePoint now);
  // The link took that batch.
  void sent();
  // When the current pause ends.
  [[nodiscard]] std::optional<TimePoint> paused_until() const { return paused_until_; }

  // ---- answers

  void stored(Sequence through);
  NewDead applied(const Applied& applied);
  // The broker dropped the batch that begins at `sequence` and all later ones.
  void busy(Sequence sequence, TimePoint now);

  // ---- state

  [[nodiscard]] Sequence last() const { return last_; }
  // The rows of this process begin after it (the first welcome).
  [[nodiscard]] Sequence begun_after() const { return begun_after_; }
  // Acknowledged as stored, or applied, up to here.
  [[nodiscard]] Sequence stored_through() const { return stored_through_; }
  [[nodiscard]] Sequence applied_through() const { return applied_through_; }
  // The highest row that the link ever took.
  [[nodiscard]] Sequence sent_through() const { return sent_through_; }
  // Memory used by unacknowledged rows.
  [[nodiscard]] std::size_t held_bytes() const { return held_bytes_; }
  // How many bytes are worth holding. One answer covers what the consumer takes in one transaction.
  // With one such portion in work and another queued the consumer never waits; more would only wait
  // longer, and producers that run far ahead take processor time from the consumer (bench, line 4).
  // Starts at 512 KiB and grows with the answers. Without a connection there is no bound.
  [[nodiscard]] std::size_t bytes_ahead() const;
  [[nodiscard]] bool has_held() const { return !held_.empty(); }
  // From the first `busy` until that batch is acknowledged.
  [[nodiscard]] bool is_busy() const { return busy_since_.has_value(); }

 private:
  void go_back_to(std::size_t index);

  std::deque<Batch> held_;  // not acknowledged; consecutive sequences, the last ending at last_
  std::size_t sent_ = 0;    // how many of held_ were sent on this connection
  std::size_t held_bytes_ = 0;
  std::size_t largest_answer_ = 0;      // bytes that one of the latest answers covered
  std::uint64_t unanswered_bytes_ = 0;  // rows frames of the first sent_ of held_

  bool is_started_ = false;  // a first welcome has arrived
  bool is_connected_ = false;
  Epoch epoch_;
  std::uint64_t credit_bytes_ = 0;

  Sequence last_;
  Sequence begun_after_;
  Sequence sent_through_;
  Sequence stored_through_;
  Sequence applied_through_;

  std::optional<Sequence> busy_since_;
  std::optional<TimePoint> paused_until_;
  std::chrono::milliseconds pause_{0};  // the length of the next one
  std::mt19937_64 random_;
};

}  // namespace turnstile
