// Suspects: producers whose rows the target refuses, batch after batch. Such a producer costs the
// consumer more than others and adds no row. Its batches wait in a queue of their own, from which
// the consumer gets a few at a time, so others wait for those few only.
//
// Pure, as the window that uses it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "broker/held.h"

namespace turnstile::broker {

// A producer is suspect after about this many batches that added no row, and after as many without
// any result. A batch that adds a row halves the count.
inline constexpr std::uint32_t kSuspectAfter = 16;
// Suspects together have at most this much in flight; one batch is always allowed.
inline constexpr std::size_t kSuspectsInFlight = 8;
inline constexpr std::size_t kSuspectsInFlightBytes = std::size_t{64} * 1024;
// The broker holds at most this many batches of a producer whose rows are refused.
inline constexpr std::uint64_t kSuspectBatches = 1024;

// What the target did with one producer's batches.
class TrackRecord {
 public:
  void add_batch() { untried_ += is_proven_ ? 0 : 1; }
  void add_result(bool added_a_row);
  [[nodiscard]] bool is_refused() const { return wasted_ >= kSuspectAfter; }
  [[nodiscard]] bool is_suspect() const {
    return is_refused() || (!is_proven_ && untried_ >= kSuspectAfter);
  }

 private:
  std::uint32_t wasted_ = 0;   // batches that added no row, as kSuspectAfter counts
  std::uint32_t untried_ = 0;  // batches before the first one that added a row
  bool is_proven_ = false;     // one added a row
};

// The suspects' batches: those that wait, all unstored, and the bounds of those in
// flight.
class SuspectQueue {
 public:
  void push(Held&& held);
  Held pop();
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  // After removing a batch without pop(), call removed().
  [[nodiscard]] std::deque<Held>& waiting() { return waiting_; }
  [[nodiscard]] const std::deque<Held>& waiting() const { return waiting_; }
  void removed(const Held& held) { bytes_ -= held.memory(); }
  void clear();

  // The first one fits what suspects may have in flight.
  [[nodiscard]] bool has_credit() const;
  // A batch went to the consumer, or the consumer no longer has it. Counts only suspects' batches.
  void delivered(const Held& held);
  void returned(const Held& held);
  void nothing_in_flight();

 private:
  std::deque<Held> waiting_;
  std::size_t bytes_ = 0;
  std::size_t in_flight_ = 0;
  std::size_t in_flight_bytes_ = 0;
};

}  // namespace turnstile::broker
