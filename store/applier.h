// Applies one batch within an open transaction: exactly the rows that its producer's progress says
// are new (promise 2), in order (promise 3); a row that the target refuses becomes a dead letter
// beside its neighbours (promise 7); progress moves with them. A retry's rows go in as any, and
// take their dead letters away; so does a discard, without rows. Belongs to the connection's
// thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "proto/result.h"
#include "proto/rows.h"
#include "store/batch.h"
#include "store/books.h"
#include "store/row_bytes.h"
#include "store/sqlite.h"
#include "store/tables.h"
#include "store/text_log.h"

namespace turnstile::store {

class Applier {
 public:
  // `text_log` may be null. `now_ms`: since the Unix epoch. Unless task durations are allowed, a
  // row that asks for one is refused.
  Applier(sqlite::Connection& connection, Tables& tables, Books& books, TextLog* text_log,
          std::function<std::int64_t()> now_ms, bool allows_task_duration)
      : connection_(connection),
        tables_(tables),
        books_(books),
        text_log_(text_log),
        now_ms_(std::move(now_ms)),
        allows_task_duration_(allows_task_duration) {}

  // Nothing: the whole transaction was rolled back for a row, and must be begun again with all its
  // batches; what `batch` says now keeps that from happening again.
  // `rows`: those of its frame, as they are or as bound_for() has them; nullptr: to be decoded.
  // Errors are the file's; the transaction is then of no use.
  Result<std::optional<BatchOutcome>> apply(OpenBatch& batch, const DecodedRows* rows);

  // Why no row of this form is taken; empty when it is.
  [[nodiscard]] std::string refusal(const Inserter& inserter, const std::string& table,
                                    const std::vector<std::string>& columns) const;

 private:
  // One call of apply(): rows [next, header.rows) are to be done.
  struct Work {
    OpenBatch& batch;
    const DecodedRows* rows;
    std::uint32_t next;
    std::int64_t now_ms;
    RowBytes bytes;
    std::uint32_t applied = 0;
    std::uint32_t changes = 0;       // of these, what is no row
    std::uint64_t letters_gone = 0;  // in rows
    DeadRows dead;
  };
  enum class Step { done, rolled_back };
  class RowGroups;

  Result<Step> apply_rows(Work& work);
  Result<Step> insert_rows(Work& work);
  Result<Step> insert_group(Work& work, Inserter& inserter, std::uint32_t end, RowGroups& groups);
  Result<Step> insert_one(Work& work, Inserter& inserter, std::uint32_t row);
  Result<Step> define_table(Work& work);
  Result<std::optional<std::uint32_t>> rows_left(Work& work, Inserter& inserter, std::size_t passed,
                                                 int pages_spilled_before);
  Result<std::optional<std::uint32_t>> none_left(Work& work, int pages_spilled_before);
  Result<bool> has_rolled_back(int pages_spilled_before);
  Result<void> roll_back();
  Result<Step> retry_rows(Work& work);
  Result<Step> retry_one(Work& work, Inserter& inserter, const std::string& unfit);
  Result<void> discard_letters(Work& work);
  Result<std::optional<KeptLetter>> letter_of(const Work& work) const;
  Result<void> take_away(Work& work, const KeptLetter& letter);
  Result<void> refuse_command(Work& work, std::string_view reason);
  Result<void> refuse(Work& work, std::uint32_t row, std::string_view reason);
  Result<void> refuse_rest(Work& work, std::string_view reason);
  Result<void> refuse_frame(Work& work, std::string_view reason);
  [[nodiscard]] std::span<const ValueRef> values(const Work& work, std::uint32_t row) const;
  [[nodiscard]] std::string defect(const Work& work, std::uint32_t row, std::size_t columns) const;
  [[nodiscard]] tl::unexpected<Error> failure(int code) const;

  sqlite::Connection& connection_;
  Tables& tables_;
  Books& books_;
  TextLog* text_log_;
  std::function<std::int64_t()> now_ms_;
  bool allows_task_duration_;
  DecodedRows decoded_;  // of the batch at hand, if nobody else has; keeps its memory
};

}  // namespace turnstile::store
