// A target as the consumer sees it. Target keeps it in a file; a simulation keeps it in memory.
// Belongs to one thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "proto/messages.h"
#include "store/batch.h"

namespace turnstile::store {

class WritableTarget {
 public:
  WritableTarget() = default;
  WritableTarget(const WritableTarget&) = delete;
  WritableTarget& operator=(const WritableTarget&) = delete;
  virtual ~WritableTarget() = default;

  // Becomes the target's one writer: every transaction of an earlier one fails from now on
  // (promise 4). Then completes the text log or cuts it to what the target says (promise 5); when
  // the file cannot be written, text_log_error() says why.
  virtual Result<Generation> take_over() = 0;

  // begin, apply..., commit. Any error means that the transaction is rolled back and nothing of it
  // was applied; the caller tries again later (locked, full) or opens the target again (io; promise
  // 8). Errc::fenced: another writer has taken over. begin() first catches up with the text log,
  // and fails when that fails.
  virtual Result<void> begin() = 0;
  // Keeps the frame until the transaction ends. Rows of a header with a task duration keep the
  // transaction open so long.
  virtual Result<BatchOutcome> apply(const BatchHeader& header, const Bytes& rows_frame) = 0;
  virtual Result<void> commit() = 0;
  // What became of each batch of the transaction that was just committed, where it may differ from
  // what apply() said: a row's reason to be refused may show at the commit. Empty: as apply() said.
  virtual std::vector<BatchOutcome> take_outcomes() { return {}; }
  virtual void rollback() = 0;

  // Writes what is committed but not yet in the text log. commit() does it; when that part fails
  // the rows are committed all the same, text_log_error() says why, and the caller calls this again
  // until it succeeds.
  virtual Result<void> catch_up_text_log() = 0;
  [[nodiscard]] bool text_log_is_behind() const { return text_log_error().has_value(); }
  [[nodiscard]] virtual const std::optional<Error>& text_log_error() const = 0;
  // What people should know, such as that the text log was written again; empties the list.
  virtual std::vector<std::string> take_notes() = 0;

  // Outside transactions only: they must see what is committed.
  virtual Result<Progress> progress(const ProducerId& producer, Sequence since) = 0;
  // The same for who wants the list only: nothing is counted beyond it.
  virtual Result<Progress> list_dead(const ProducerId& producer, Sequence since) {
    return progress(producer, since);
  }
  // Makes the lab's tables if they are named and missing, so it needs take_over() like begin().
  virtual Result<TableAnswer> check_table(const std::string& table,
                                          const std::vector<std::string>& columns) = 0;
  // In rows.
  [[nodiscard]] virtual std::uint64_t dead_letters() const = 0;
  // Tables that take no rows for now, the first few.
  [[nodiscard]] virtual std::vector<TableTrouble> table_troubles() const { return {}; }

  // Forgets producers idle for longer than keep_progress, syncs the text log, and looks whether the
  // files are still at their paths; cheap when there is nothing to do. For idle moments.
  virtual Result<void> housekeeping() = 0;
  // The next begin() or catch_up_text_log() opens the text log again.
  virtual void reopen_text_log() {}
  // The last call: housekeeping, and what the next consumer should find recorded.
  virtual Result<void> end() { return housekeeping(); }
};

}  // namespace turnstile::store
