// What a producer keeps until it is acknowledged, and what it sends next.
//
//   add() ──► held, not sent ──next(), sent()──► unanswered ──stored()──► gone ──applied()──► known
//                  ▲                                  │
//                  └── disconnected(), welcomed(), busy() ◄┘   all behind that row again, in order
//
// Batches are sent in order of sequence and acknowledged cumulatively, so all that is needed is a
// queue and a place in it (go-back-N). A batch leaves the queue only when it was acknowledged: a
// broker that dies with it in memory loses nothing.
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

  // Rows that became dead letters and were not told of before.
  struct NewDead {
    std::uint64_t count = 0;
    std::vector<DeadRow> listed;  // at most limits::kDeadListed of them
  };

  // `seed` is for the jitter of pauses, so that many producers that were refused together do not
  // come back together.
  explicit Resend(std::uint64_t seed) : random_(seed) {}

  // ---- rows

  // The number that the next row must have. Known once a first welcome came.
  [[nodiscard]] Sequence next_sequence() const { return next(last_); }
  // Takes a batch whose first row has that number. Its epoch and header frame are set when it is
  // sent.
  void add(Batch batch);

  // ---- connection

  void disconnected();
  // The first one numbers the rows: they begin behind `through`. Every one begins sending again
  // from the first batch that is not covered by it. Of rows that were never sent no answer counts,
  // nor does a welcome: another process of the name may have sent them, and what became of them is
  // told to who sends them.
  void welcomed(const Welcome& welcome);

  // ---- sending

  // The batch to send now; nothing when there is none, the credit is used up, a pause is on or
  // nobody is connected. Valid until any other call that is not const.
  const Batch* next_to_send(TimePoint now);
  // That batch was taken by the link.
  void sent();
  // When a pause ends.
  [[nodiscard]] std::optional<TimePoint> paused_until() const { return paused_until_; }

  // ---- answers

  void stored(Sequence through);
  NewDead applied(const Applied& applied);
  // The broker dropped the batch that begins at `sequence` and what followed it.
  void busy(Sequence sequence, TimePoint now);

  // ---- state

  [[nodiscard]] Sequence last() const { return last_; }
  // Where the first welcome let this process begin.
  [[nodiscard]] Sequence begun_behind() const { return begun_behind_; }
  // Acknowledged as stored, or applied, up to here.
  [[nodiscard]] Sequence stored_through() const { return stored_through_; }
  [[nodiscard]] Sequence applied_through() const { return applied_through_; }
  // The highest row that was ever given to the link.
  [[nodiscard]] Sequence sent_through() const { return sent_through_; }
  // Memory that is held for rows without an acknowledgement.
  [[nodiscard]] std::size_t held_bytes() const { return held_bytes_; }
  // How much is worth being held. An answer covers what the consumer took at once: with that in
  // hand and as much behind it, it never waits. More would only let rows wait longer, and producers
  // that run far ahead take the processor that it needs (bench, line 4). It begins with 512 KiB and
  // rises with the answers; while nobody is connected, no answer tells: no bound.
  [[nodiscard]] std::size_t bytes_ahead() const;
  [[nodiscard]] bool has_held() const { return !held_.empty(); }
  // From the first refusal for want of room until that batch is acknowledged.
  [[nodiscard]] bool is_busy() const { return busy_since_.has_value(); }

 private:
  void go_back_to(std::size_t index);

  std::deque<Batch> held_;  // not acknowledged; consecutive sequences, the last ending at last_
  std::size_t sent_ = 0;    // the first so many of held_ were sent on this connection
  std::size_t held_bytes_ = 0;
  std::size_t largest_answer_ = 0;      // bytes that one of the latest answers covered
  std::uint64_t unanswered_bytes_ = 0;  // rows frames of the first sent_ of held_

  bool is_started_ = false;  // a first welcome came
  bool is_connected_ = false;
  Epoch epoch_;
  std::uint64_t credit_bytes_ = 0;

  Sequence last_;
  Sequence begun_behind_;
  Sequence sent_through_;
  Sequence stored_through_;
  Sequence applied_through_;

  std::optional<Sequence> busy_since_;
  std::optional<TimePoint> paused_until_;
  std::chrono::milliseconds pause_{0};  // the length of the next one
  std::mt19937_64 random_;
};

}  // namespace turnstile
