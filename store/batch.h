// A batch within an open transaction of the target, and what it came to.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "proto/ids.h"
#include "proto/messages.h"
#include "proto/rows.h"
#include "store/row_bytes.h"

namespace turnstile::store {

// The dead letters of a range of sequences: all are counted, the first limits::kDeadListed listed.
struct DeadRows {
  std::uint32_t count = 0;
  std::vector<DeadRow> listed;

  void add(std::uint32_t rows, Sequence sequence, std::string_view reason);
};

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

// What an attempt to apply a batch came to.
enum class Attempt {
  applied,
  // The whole transaction was rolled back:
  row_refused,  // for a row that is in `refused` now
  more_care,    // for a row that is not known; the batch's flags say how to find it
  in_rows,      // for a row of this batch or of one before it, for the reason in `setback`
};

// Kept until the commit: for a row everything may have to be rolled back, and is then applied once
// more, without that row or more carefully.
struct OpenBatch {
  BatchHeader header;
  Bytes rows_frame;
  std::map<std::uint32_t, std::string> refused;  // rows that rolled the transaction back, and why
  std::uint32_t blamed = 0;                      // the last of these
  bool one_by_one = false;                       // one of a group did, and which is not known yet
  bool in_savepoints = false;                    // its groups: the transaction was begun again
  std::string setback;

  // What is done of it, from its first row on.
  struct Part {
    std::uint32_t rows = 0;
    BatchOutcome outcome;
    DeadRows dead;
    RowBytes bytes;
  };
  Part attempted;                              // in the transaction at hand
  Part settled;                                // before it, of a batch that is committed in parts
  std::shared_ptr<const DecodedRows> decoded;  // of such a batch
};

}  // namespace turnstile::store
