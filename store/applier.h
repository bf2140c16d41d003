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

#include "base/result.h"
#include "proto/rows.h"
#include "store/batch.h"
#include "store/books.h"
#include "store/row_bytes.h"
#include "store/row_clock.h"
#include "store/sqlite.h"
#include "store/tables.h"
#include "store/text_log.h"

namespace turnstile::store {

class Applier {
 public:
  struct Context {
    sqlite::Connection& connection;
    Tables& tables;
    Books& books;
    TextLog* text_log;  // may be null
    RowClock& clock;
    std::function<std::int64_t()> now_ms;  // since the Unix epoch
    std::uint64_t letter_limit;            // bytes
    bool allows_task_duration;             // else a row that asks for one is refused
  };
  explicit Applier(Context context)
      : connection_(context.connection),
        tables_(context.tables),
        books_(context.books),
        text_log_(context.text_log),
        clock_(context.clock),
        now_ms_(std::move(context.now_ms)),
        letter_limit_(context.letter_limit),
        allows_task_duration_(context.allows_task_duration) {}

  // What dead letters there are when a transaction begins, and in it.
  void begin(const LetterTotals& letters) { letters_ = letters; }
  [[nodiscard]] const LetterTotals& letters() const { return letters_; }

  // Applies the batch's rows before `end` that are not applied yet. Unless it says `applied`, the
  // transaction was rolled back and must be begun again; what `batch` says then keeps the same
  // from happening again.
  // `rows`: those of its frame, as they are or as bound_for() has them; nullptr: to be decoded.
  // Errors are the file's; the transaction is then of no use.
  Result<Attempt> apply(OpenBatch& batch, const DecodedRows* rows, std::uint32_t end);

  // Why no row of this form is taken; empty when it is.
  [[nodiscard]] std::string refusal(const Inserter& inserter, const std::string& table,
                                    const std::vector<std::string>& columns) const;

 private:
  // One call of apply(): rows [next, end) are to be done.
  struct Work {
    OpenBatch& batch;
    const DecodedRows* rows;
    std::uint32_t next;
    std::uint32_t end;
    std::int64_t now_ms;
    RowBytes bytes;
    std::uint32_t applied = 0;
    std::uint32_t changes = 0;       // of these, what is no row
    std::uint64_t letters_gone = 0;  // in rows
    std::uint64_t letter_bytes = 0;  // of this call's dead letters ...
    std::uint64_t letter_room = 0;   // ... and how much they may take
    std::int64_t form = 0;           // of its dead letters; 0: not known yet
    DeadRows dead;
  };
  // `full`: rows before work.next are done, and no further dead letter is taken.
  enum class Step { done, full, row_refused, more_care, in_rows };
  class RowGroups;

  Result<Step> apply_rows(Work& work);
  Result<Step> insert_rows(Work& work);
  Result<Step> insert_group(Work& work, Inserter& inserter, std::uint32_t end, RowGroups& groups);
  Result<Step> insert_one(Work& work, Inserter& inserter, std::uint32_t row);
  Result<Step> define_table(Work& work);
  struct Failure {
    sqlite::About about = sqlite::About::row;
    std::string reason;
  };
  Result<Failure> look_at_failure(int code, const Inserter& inserter, const Work& work) const;
  Result<Step> save(Work& work, const char* sql);
  Result<Step> in_rows(Work& work);
  Result<std::optional<std::uint32_t>> rows_left(Work& work, Inserter& inserter, std::size_t passed,
                                                 int pages_spilled_before);
  Result<std::optional<std::uint32_t>> none_left(Work& work, int pages_spilled_before);
  Result<bool> has_rolled_back(int pages_spilled_before);
  Result<void> roll_back();
  Result<Step> retry_rows(Work& work);
  Result<Step> retry_one(Work& work, Inserter& inserter, const std::string& unfit);
  Result<Step> discard_letters(Work& work);
  Result<std::optional<KeptLetter>> letter_of(const Work& work) const;
  Result<void> take_away(Work& work, const KeptLetter& letter);
  Result<Step> refuse_command(Work& work, std::string_view reason);
  Result<Step> refuse(Work& work, std::uint32_t row, std::string_view reason);
  Result<Step> refuse_rest(Work& work, std::string_view reason);
  Result<Step> refuse_frame(Work& work, std::string_view reason);
  Result<Step> keep(Work& work, const DeadLetter& letter);
  [[nodiscard]] std::span<const ValueRef> values(const Work& work, std::uint32_t row) const;
  [[nodiscard]] std::string defect(const Work& work, std::uint32_t row, std::size_t columns) const;
  [[nodiscard]] tl::unexpected<Error> failure(int code) const;

  sqlite::Connection& connection_;
  Tables& tables_;
  Books& books_;
  TextLog* text_log_;
  RowClock& clock_;
  std::function<std::int64_t()> now_ms_;
  const std::uint64_t letter_limit_;
  const bool allows_task_duration_;
  LetterTotals letters_;
  DecodedRows decoded_;  // of the batch at hand, if nobody else has; keeps its memory
};

}  // namespace turnstile::store
