// A batch within an open transaction of the target, and what it came to.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "proto/bytes.h"
#include "proto/ids.h"
#include "proto/messages.h"

namespace turnstile::store {

// What one batch came to. Sent to its producer only after the commit (promise 1).
struct BatchOutcome {
  Outcome outcome = Outcome::applied;
  Sequence through;                // the producer's progress after this batch
  std::uint32_t rows_applied = 0;  // by this call; 0 for a batch that came again
  std::uint32_t dead_now = 0;      // refused by this call
  std::uint32_t dead_count = 0;    // of all its rows, whenever they were refused
  std::uint64_t letters_gone = 0;  // rows of dead letters that this call took away
  std::vector<DeadRow> dead;       // the first limits::kDeadListed
};

// Kept until the commit: for a row everything may have to be rolled back, and is then applied once
// more, without that row or more carefully.
struct OpenBatch {
  BatchHeader header;
  Bytes rows_frame;
  std::map<std::uint32_t, std::string> refused;  // rows that rolled the transaction back, and why
  bool one_by_one = false;                       // one of a group did, and which is not known yet
  bool in_savepoints = false;                    // its groups: the transaction was begun anew
  BatchOutcome outcome;
};

}  // namespace turnstile::store
