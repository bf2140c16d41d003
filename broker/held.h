// A batch in the broker's hands.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>

#include "proto/messages.h"

namespace turnstile::broker {

using TimePoint = std::chrono::steady_clock::time_point;

// A batch's memory beside its bytes: the Held, its producer's id, the owners of its two frames.
inline constexpr std::size_t kHeldOverhead = 512;

struct Held {
  ProducerId producer;
  Sequence first;
  Sequence last;
  Bytes header_frame;
  Bytes rows_frame;
  std::optional<Offset> offset;  // its place in the journal
  TimePoint since;               // when the broker got it, or read it back from the journal
  Ticket ticket;                 // of its last delivery; 0 before the first
  bool is_suspect = false;       // it is, or was delivered, as a suspect's batch

  [[nodiscard]] std::size_t bytes() const { return header_frame.size() + rows_frame.size(); }
  // A batch of one small row takes much more memory than its bytes.
  [[nodiscard]] std::size_t memory() const { return bytes() + kHeldOverhead; }
};

}  // namespace turnstile::broker
