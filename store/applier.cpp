#include "store/applier.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/utf8.h"
#include "proto/limits.h"
#include "proto/source.h"
#include "store/definition.h"

namespace turnstile::store {
namespace {

constexpr std::size_t kEllipsis = 3;
// What a failed insert may leave behind is taken back with a savepoint.
constexpr const char* kSave = "SAVEPOINT turnstile_row";
constexpr const char* kKeep = "RELEASE turnstile_row";
constexpr const char* kTakeBack = "ROLLBACK TO turnstile_row; RELEASE turnstile_row";

// As a message can carry it and a log can print it.
std::string fitting(std::string_view reason) {
  return printable(reason, limits::kReasonBytes - kEllipsis);
}

}  // namespace

tl::unexpected<Error> Applier::failure(int code) const {
  return tl::make_unexpected(connection_.error(code, "inserting rows"));
}

Result<Attempt> Applier::apply(OpenBatch& batch, const DecodedRows* rows, std::uint32_t end) {
  const BatchHeader& header = batch.header;
  auto progress = books_.progress(header.producer);
  if (!progress) {
    return tl::make_unexpected(std::move(progress.error()));
  }
  BatchOutcome outcome;
  outcome.through = progress->through;
  const auto not_applied = [&](Outcome why) {
    outcome.outcome = why;
    batch.attempted = {.rows = header.rows, .outcome = std::move(outcome), .dead = {}, .bytes = {}};
    return Attempt::applied;
  };
  if (header.epoch < progress->epoch) {
    return not_applied(Outcome::fenced);
  }
  if (!source_fits(header.source, header.first, progress->source, progress->through)) {
    return not_applied(Outcome::other_source);
  }
  const bool empty = header.rows == 0 || header.first.value == 0;
  if (empty || header.first > next(progress->through)) {
    return not_applied(Outcome::hole);
  }

  // Promise 2: rows up to the progress were applied, and get the outcome that they had.
  const auto known = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(header.rows, progress->through.value + 1 - header.first.value));
  const bool goes_on = batch.settled.rows > 0 && batch.settled.rows == known;
  const std::uint64_t room = letter_limit_ - std::min(letter_limit_, letters_.bytes);
  Work work{.batch = batch,
            .rows = rows,
            .next = known,
            .end = std::max(known, end),
            .now_ms = now_ms_(),
            .bytes = goes_on ? batch.settled.bytes : RowBytes(batch.rows_frame.view()),
            .applied = 0,
            .changes = 0,
            .letters_gone = 0,
            .letter_bytes = 0,
            // One producer's take at most as much as is left then for all others'.
            .letter_room = (room - std::min(room, progress->letter_bytes)) / 2,
            .form = 0,
            .dead = goes_on ? batch.settled.dead : DeadRows{}};
  if (known > 0 && !goes_on) {
    auto read = books_.read_dead_letters(header.producer, header.first,
                                         plus(header.first, known - 1), work.dead);
    if (!read) {
      return tl::make_unexpected(std::move(read.error()));
    }
  }
  const std::uint32_t dead_before = work.dead.count;
  if (known < work.end) {
    auto applied = apply_rows(work);
    if (!applied) {
      return tl::make_unexpected(std::move(applied.error()));
    }
    switch (*applied) {
      case Step::row_refused:
        return Attempt::row_refused;
      case Step::more_care:
        return Attempt::more_care;
      case Step::in_rows:
        return Attempt::in_rows;
      case Step::full:
        outcome.outcome = Outcome::letters_full;
        break;
      case Step::done:
        work.next = work.end;
        break;
    }
    outcome.through = Sequence{header.first.value + work.next - 1};
  }
  if (known < work.next || header.epoch > progress->epoch) {
    const Counts counts{.applied = work.applied - work.changes,
                        .dead = work.dead.count - dead_before,
                        .changes = work.changes,
                        .letter_bytes = work.letter_bytes};
    auto saved = books_.save_progress(header, outcome.through, counts, work.now_ms);
    if (!saved) {
      return tl::make_unexpected(std::move(saved.error()));
    }
  }
  outcome.rows_applied = work.applied;
  outcome.letters_gone = work.letters_gone;
  outcome.dead_now = work.dead.count - dead_before;
  outcome.dead_count = work.dead.count;
  outcome.dead = work.dead.listed;
  if (goes_on) {
    outcome.rows_applied += batch.settled.outcome.rows_applied;
    outcome.letters_gone += batch.settled.outcome.letters_gone;
    outcome.dead_now += batch.settled.outcome.dead_now;
  }
  batch.attempted = {.rows = work.next,
                     .outcome = std::move(outcome),
                     .dead = std::move(work.dead),
                     .bytes = work.bytes};
  return Attempt::applied;
}

Result<Applier::Step> Applier::apply_rows(Work& work) {
  const BatchHeader& header = work.batch.header;
  if (work.rows == nullptr) {
    auto decoded = decode_rows(work.batch.rows_frame.view(), header.rows, decoded_);
    if (!decoded) {
      return refuse_frame(work, decoded.error().what);
    }
    work.rows = &decoded_;
  }
  // Promise 7: while a task holds the transaction, everybody's rows wait.
  if (header.kind == BatchKind::insert && header.task_duration.count() > 0 &&
      !allows_task_duration_) {
    return refuse_rest(work,
                       "a task duration, which the consumer does not allow "
                       "(--allow-task-duration)");
  }
  switch (header.kind) {
    case BatchKind::define:
      return define_table(work);
    case BatchKind::retry:
      return retry_rows(work);
    case BatchKind::discard:
      return discard_letters(work);
    case BatchKind::insert:
      break;
  }
  return insert_rows(work);
}

std::string Applier::refusal(const Inserter& inserter, const std::string& table,
                             const std::vector<std::string>& columns) const {
  if (auto reserved = reserved_table_problem(table); !reserved.empty()) {
    return reserved;
  }
  if (!inserter.refusal().empty() || text_log_ == nullptr) {
    return inserter.refusal();
  }
  return text_log_->refusal(*inserter.table(), columns);
}

// The row itself: a retry's has the dead letter's id before it.
std::span<const ValueRef> Applier::values(const Work& work, std::uint32_t row) const {
  const auto all = work.rows->row(row);
  return work.batch.header.kind == BatchKind::retry ? all.subspan(1) : all;
}

std::string Applier::defect(const Work& work, std::uint32_t row, std::size_t columns) const {
  if (const auto known = work.batch.refused.find(row); known != work.batch.refused.end()) {
    return known->second;
  }
  auto problem = count_problem(values(work, row).size(), columns);
  return problem.empty() ? std::string(work.rows->defect(row)) : problem;
}

// Which rows of a batch go in together: the next ones that may, except those that were left out.
class Applier::RowGroups {
 public:
  RowGroups(const Work& work, const Inserter& inserter)
      : work_(work),
        inserter_(inserter),
        rows_(inserter.groups() != Inserter::Groups::none && !work.batch.one_by_one &&
                      work.batch.refused.empty()
                  ? work.end
                  : 0) {}

  // Of the group that begins with `row`; at least the next one.
  std::uint32_t end_from(std::uint32_t row) {
    const bool is_left_out = row >= left_out_from_ && row < left_out_until_;
    const std::uint32_t most = row < left_out_from_ ? std::min(rows_, left_out_from_) : rows_;
    if (is_left_out || row >= most) {
      return row + 1;
    }
    for (fit_until_ = std::max(fit_until_, row);
         fit_until_ < most && fit_until_ - row < Inserter::kGroupRows && fits(fit_until_);) {
      ++fit_until_;
    }
    return std::max(row + 1, std::min(fit_until_, most));
  }

  // These rows are inserted one by one.
  void leave_out(std::uint32_t from, std::uint32_t until) {
    left_out_from_ = from;
    left_out_until_ = until;
  }

 private:
  [[nodiscard]] bool fits(std::uint32_t row) const {
    return work_.rows->row(row).size() == inserter_.columns() && work_.rows->defect(row).empty();
  }

  const Work& work_;
  const Inserter& inserter_;
  std::uint32_t rows_;
  std::uint32_t fit_until_ = 0;  // those from the last group's beginning on
  std::uint32_t left_out_from_ = 0;
  std::uint32_t left_out_until_ = 0;
};

Result<Applier::Step> Applier::insert_rows(Work& work) {
  const BatchHeader& header = work.batch.header;
  auto found = tables_.inserter_or_lab(header.table, header.columns);
  if (!found) {
    return tl::make_unexpected(std::move(found.error()));
  }
  if (const auto reason = refusal(**found, header.table, header.columns); !reason.empty()) {
    return refuse_rest(work, reason);
  }
  std::optional<BatchLines> lines;
  if (text_log_ != nullptr && same_name((*found)->table()->name, text_log_->table())) {
    // It may look for its table, which may have all others forgotten.
    auto ready = text_log_->before_rows();
    if (!ready && ready.error().code == Errc::refused) {
      work.batch.setback = ready.error().what;
      return roll_back().map([] { return Step::in_rows; });
    }
    found = ready ? tables_.inserter(header.table, header.columns)
                  : tl::make_unexpected(std::move(ready.error()));
    if (!found) {
      return tl::make_unexpected(std::move(found.error()));
    }
    lines = BatchLines::make(*(*found)->table(), header.columns);
  }
  Inserter& inserter = **found;
  RowGroups groups(work, inserter);
  while (work.next < work.end) {
    if (auto room = connection_.make_room(); !room) {
      return tl::make_unexpected(std::move(room.error()));
    }
    const std::uint32_t row = work.next;
    const std::uint32_t applied_before = work.applied;
    const std::uint32_t end = groups.end_from(row);
    Result<Step> step = Step::done;
    if (end - row > 1) {
      step = insert_group(work, inserter, end, groups);
    } else {
      step = insert_one(work, inserter, row);
    }
    if (!step || *step != Step::done) {
      return step;
    }
    if (end - row == 1) {
      ++work.next;
    }
    if (lines && work.applied > applied_before) {
      text_log_->add_rows(*lines, *work.rows, row, work.applied - applied_before,
                          connection_.last_insert_rowid());
    }
  }
  return Step::done;
}

// What a failed insert says. Before anything else asks SQLite for something. Errors: the file's, or
// the transaction is given up.
Result<Applier::Failure> Applier::look_at_failure(int code, const Inserter& inserter,
                                                  const Work& work) const {
  const std::string reason = connection_.message();
  if (code == SQLITE_INTERRUPT && clock_.reason() == RowClock::Reason::row_too_long) {
    const auto limit = std::chrono::duration_cast<std::chrono::milliseconds>(clock_.limit());
    return Failure{sqlite::About::table, "the row took longer in the target than the " +
                                             std::to_string(limit.count()) +
                                             " ms of --row-time-limit"};
  }
  if (code == SQLITE_INTERRUPT) {
    return failure(code);
  }
  if (code == SQLITE_FULL && inserter.table()->may_run_out_of_ids && connection_.has_room()) {
    const TableInfo& table = *inserter.table();
    const auto& columns = work.batch.header.columns;
    const bool gives_ids = std::any_of(columns.begin(), columns.end(), [&](const auto& column) {
      return table.names_rowid(column);
    });
    return Failure{gives_ids ? sqlite::About::row : sqlite::About::table,
                   "no id is left: the greatest one was given in " + table.name +
                       ", or in a table that its triggers write"};
  }
  const sqlite::About about = sqlite::about(code);
  if (about == sqlite::About::table && code != SQLITE_ERROR_MISSING_COLLSEQ) {
    return Failure{about, "an index or a virtual table that the row reaches is damaged (" + reason +
                              "): make it again"};
  }
  return about == sqlite::About::file ? Result<Failure>(failure(code)) : Failure{about, reason};
}

Result<Applier::Step> Applier::in_rows(Work& work) {
  work.batch.setback = connection_.message();
  return roll_back().map([] { return Step::in_rows; });
}

// A savepoint is where virtual tables write what earlier rows gave them.
Result<Applier::Step> Applier::save(Work& work, const char* sql) {
  auto saved = connection_.execute(sql);
  if (!saved) {
    return saved.error().code == Errc::refused ? in_rows(work)
                                               : tl::make_unexpected(std::move(saved.error()));
  }
  return Step::done;
}

// Inserts rows [work.next, end), or the first ones, or none, and goes on after those that are in.
Result<Applier::Step> Applier::insert_group(Work& work, Inserter& inserter, std::uint32_t end,
                                            RowGroups& groups) {
  const std::uint32_t row = work.next;
  const std::uint32_t count = end - row;
  const bool all_or_none =
      work.batch.in_savepoints || inserter.groups() == Inserter::Groups::all_or_none;
  const int spilled = connection_.pages_spilled();
  if (all_or_none) {
    if (auto saved = save(work, kSave); !saved || *saved != Step::done) {
      return saved;
    }
  }
  clock_.begin_rows();
  const auto [code, passed] = inserter.insert_group(*work.rows, row, count);
  clock_.end_rows();
  std::uint32_t inserted = count;
  if (code != SQLITE_DONE) {
    if (auto failed = look_at_failure(code, inserter, work); !failed) {
      return tl::make_unexpected(std::move(failed.error()));
    }
    if (code == SQLITE_INTERRUPT) {
      // Which row takes long is found one by one.
      work.batch.one_by_one = true;
      return roll_back().map([] { return Step::more_care; });
    }
    auto left = all_or_none ? none_left(work, spilled) : rows_left(work, inserter, passed, spilled);
    if (!left) {
      return tl::make_unexpected(std::move(left.error()));
    }
    if (!left->has_value()) {
      return Step::more_care;
    }
    inserted = **left;
    if (passed < count) {
      const std::uint32_t to_blame = row + static_cast<std::uint32_t>(passed);
      groups.leave_out(to_blame, to_blame + 1);
    } else {
      groups.leave_out(row, end);
    }
  }
  if (all_or_none) {
    if (auto ended = save(work, code == SQLITE_DONE ? kKeep : kTakeBack);
        !ended || *ended != Step::done) {
      return ended;
    }
  }
  work.applied += inserted;
  work.next += inserted;
  return Step::done;
}

// How many rows of a refused group are in the table. Nothing: the whole transaction was rolled
// back, and groups are in savepoints from then on. SQLite (3.40) does not always say what it left:
// after a value of the wrong type in a STRICT table, or for a rowid, there are rows that it does
// not count, even of an INSERT without OR FAIL.
Result<std::optional<std::uint32_t>> Applier::rows_left(Work& work, Inserter& inserter,
                                                        std::size_t passed,
                                                        int pages_spilled_before) {
  const auto counted = static_cast<std::uint32_t>(connection_.changes());
  const bool is_undone = counted == 0 && connection_.pages_spilled() != pages_spilled_before;
  if (connection_.in_transaction() && counted == passed && !is_undone) {
    return counted;
  }
  inserter.take_groups_back();
  work.batch.in_savepoints = true;
  return roll_back().map([] { return std::optional<std::uint32_t>(); });
}

// The same of one in a savepoint: none once that is taken back.
Result<std::optional<std::uint32_t>> Applier::none_left(Work& work, int pages_spilled_before) {
  return has_rolled_back(pages_spilled_before).map([&](bool rolled_back) {
    work.batch.one_by_one = rolled_back;
    return rolled_back ? std::nullopt : std::optional<std::uint32_t>(0);
  });
}

Result<Applier::Step> Applier::insert_one(Work& work, Inserter& inserter, std::uint32_t row) {
  std::string reason = defect(work, row, inserter.columns());
  if (const std::string* trouble = inserter.trouble(); reason.empty() && trouble != nullptr) {
    reason = *trouble;
  }
  if (reason.empty()) {
    const bool careful = inserter.table()->careful;
    const int spilled = connection_.pages_spilled();
    if (careful) {
      if (auto saved = save(work, kSave); !saved || *saved != Step::done) {
        return saved;
      }
    }
    clock_.begin_rows();
    const int code = inserter.insert(values(work, row));
    clock_.end_rows();
    if (code != SQLITE_DONE) {
      auto failed = look_at_failure(code, inserter, work);
      if (!failed) {
        return tl::make_unexpected(std::move(failed.error()));
      }
      reason = std::move(failed->reason);
      if (failed->about == sqlite::About::table) {
        const BatchHeader& header = work.batch.header;
        const std::string name =
            header.producer.text + " " + std::to_string(plus(header.first, row).value);
        inserter.failed(name, reason,
                        code == SQLITE_INTERRUPT ? clock_.limit() : RowClock::Clock::duration{});
      }
      auto rolled_back = has_rolled_back(spilled);
      if (!rolled_back) {
        return tl::make_unexpected(std::move(rolled_back.error()));
      }
      if (*rolled_back) {
        work.batch.refused.emplace(row, std::move(reason));
        work.batch.blamed = row;
        return Step::row_refused;
      }
    }
    if (careful) {
      if (auto ended = save(work, code == SQLITE_DONE ? kKeep : kTakeBack);
          !ended || *ended != Step::done) {
        return ended;
      }
    }
    if (code == SQLITE_DONE) {
      inserter.succeeded();
      ++work.applied;
      return Step::done;
    }
  }
  return refuse(work, row, reason);
}

Result<void> Applier::roll_back() {
  return connection_.in_transaction() ? connection_.execute("ROLLBACK") : Result<void>();
}

// After a row's own error. When a statement that is taken back has written pages before, SQLite
// (3.40; sqlite3WalSavepointUndo keeps iReCksum) may commit frames without checksums: everybody
// reads them until a crash, and then they and all later ones are gone. So the whole transaction
// goes instead, and from then on no statement writes before its end.
Result<bool> Applier::has_rolled_back(int pages_spilled_before) {
  if (!connection_.in_transaction()) {
    return true;
  }
  if (connection_.pages_spilled() == pages_spilled_before) {
    return false;
  }
  return roll_back().and_then([&] { return connection_.keep_pages_in_statements(); }).map([] {
    return true;
  });
}

Result<Applier::Step> Applier::define_table(Work& work) {
  const BatchHeader& header = work.batch.header;
  std::string reason = definition_problem(header.table);
  if (reason.empty() && text_log_ != nullptr) {
    reason = text_log_->definition_problem(header.table, header.columns);
  }
  if (const auto known = work.batch.refused.find(0); known != work.batch.refused.end()) {
    reason = known->second;
  }
  if (reason.empty() && header.rows != 1) {
    reason = "the definition of a table has one row, not " + std::to_string(header.rows);
  }
  if (reason.empty()) {
    reason = work.rows->defect(0);
  }
  if (reason.empty()) {
    const int spilled = connection_.pages_spilled();
    auto sql = definition_sql(header.table, header.columns, work.rows->row(0));
    auto made = sql ? connection_.execute(*sql, "creating a table").and_then([&] {
      return tables_.refresh();
    })
                    : tl::make_unexpected(sql.error());
    if (!made && made.error().code == Errc::bad_input) {
      reason = made.error().what;
    } else if (!made && made.error().code == Errc::refused) {
      reason = connection_.message();
      auto rolled_back = has_rolled_back(spilled);
      if (!rolled_back) {
        return tl::make_unexpected(std::move(rolled_back.error()));
      }
      if (*rolled_back) {
        work.batch.refused.emplace(0, std::move(reason));
        work.batch.blamed = 0;
        return Step::row_refused;
      }
    } else if (!made) {
      return tl::make_unexpected(std::move(made.error()));
    }
  }
  if (reason.empty()) {
    work.applied = 1;
    work.changes = 1;
    return Step::done;
  }
  return refuse_rest(work, reason);
}

// Rows of the text log's table need no lines here: before the commit it reads what it lacks.
Result<Applier::Step> Applier::retry_rows(Work& work) {
  const BatchHeader& header = work.batch.header;
  auto found = tables_.inserter_or_lab(header.table, header.columns);
  if (!found) {
    return tl::make_unexpected(std::move(found.error()));
  }
  const std::string unfit = refusal(**found, header.table, header.columns);
  for (; work.next < work.end; ++work.next) {
    auto step = retry_one(work, **found, unfit);
    if (!step || *step != Step::done) {
      return step;
    }
  }
  return Step::done;
}

Result<Applier::Step> Applier::retry_one(Work& work, Inserter& inserter, const std::string& unfit) {
  if (auto room = connection_.make_room(); !room) {
    return tl::make_unexpected(std::move(room.error()));
  }
  auto letter = letter_of(work);
  if (!letter) {
    return tl::make_unexpected(std::move(letter.error()));
  }
  if (!letter->has_value() || (*letter)->kind != schema::LetterKind::row) {
    return refuse_command(work, letter->has_value() ? "this dead letter is not of a row"
                                                    : "there is no such dead letter");
  }
  // Refused again it takes the room that its letter gives back.
  work.letter_room += (*letter)->bytes;
  auto step =
      unfit.empty() ? insert_one(work, inserter, work.next) : refuse(work, work.next, unfit);
  if (!step || *step != Step::done) {
    return step;
  }
  return take_away(work, **letter).map([] { return Step::done; });
}

Result<Applier::Step> Applier::discard_letters(Work& work) {
  for (; work.next < work.end; ++work.next) {
    auto letter = letter_of(work);
    if (!letter) {
      return tl::make_unexpected(std::move(letter.error()));
    }
    if (!letter->has_value()) {
      auto refused = refuse_command(work, "there is no such dead letter");
      if (!refused || *refused != Step::done) {
        return refused;
      }
      continue;
    }
    if (auto done = take_away(work, **letter); !done) {
      return tl::make_unexpected(std::move(done.error()));
    }
    ++work.applied;
    ++work.changes;
  }
  return Step::done;
}

Result<std::optional<KeptLetter>> Applier::letter_of(const Work& work) const {
  const auto row = work.rows->row(work.next);
  const auto* id = row.empty() ? nullptr : std::get_if<std::int64_t>(&row.front());
  if (id == nullptr) {
    return std::optional<KeptLetter>();
  }
  auto letter = books_.find_dead_letter(*id);
  const BatchHeader& header = work.batch.header;
  if (letter && *letter && header.own_letters && (*letter)->producer != header.producer.text) {
    return std::optional<KeptLetter>();  // another user's: as if it were not there
  }
  return letter;
}

Result<void> Applier::take_away(Work& work, const KeptLetter& letter) {
  work.letters_gone += letter.rows;
  letters_.rows -= std::min(letters_.rows, letter.rows);
  letters_.bytes -= std::min(letters_.bytes, letter.bytes);
  return books_.remove_dead_letter(letter);
}

Result<Applier::Step> Applier::refuse_command(Work& work, std::string_view reason) {
  return keep(work, {.kind = schema::LetterKind::command,
                     .sequence = plus(work.batch.header.first, work.next),
                     .rows = 1,
                     .row = work.bytes.row(work.next),
                     .reason = reason});
}

Result<Applier::Step> Applier::refuse(Work& work, std::uint32_t row, std::string_view reason) {
  const BatchHeader& header = work.batch.header;
  const std::string fit = fitting(reason);
  const bool retry = header.kind == BatchKind::retry;
  const std::string_view bytes = work.bytes.row(row);
  const std::string without_id = retry ? without_first(bytes) : std::string();
  return keep(work, {.kind = header.kind == BatchKind::define ? schema::LetterKind::definition
                                                              : schema::LetterKind::row,
                     .sequence = plus(header.first, row),
                     .rows = 1,
                     .row = retry ? std::string_view(without_id) : bytes,
                     .reason = fit});
}

Result<Applier::Step> Applier::refuse_rest(Work& work, std::string_view reason) {
  for (; work.next < work.end; ++work.next) {
    const auto known = work.batch.refused.find(work.next);
    auto refused =
        refuse(work, work.next, known == work.batch.refused.end() ? reason : known->second);
    if (!refused || *refused != Step::done) {
      return refused;
    }
  }
  return Step::done;
}

Result<Applier::Step> Applier::refuse_frame(Work& work, std::string_view reason) {
  const BatchHeader& header = work.batch.header;
  const Sequence first = plus(header.first, work.next);
  const std::string named = "rows " + std::to_string(first.value) + " to " +
                            std::to_string(header.last().value) + ": " + std::string(reason);
  auto kept = keep(work, {.kind = schema::LetterKind::frame,
                          .sequence = first,
                          .rows = header.rows - work.next,
                          .row = work.batch.rows_frame.view(),
                          .reason = fitting(named)});
  if (kept && *kept == Step::done) {
    work.end = header.rows;
  }
  return kept;
}

// Step::full: there is no room for it.
Result<Applier::Step> Applier::keep(Work& work, const DeadLetter& letter) {
  if (work.letter_bytes + Books::bytes_of(letter) > work.letter_room) {
    return Step::full;
  }
  auto bytes = books_.add_dead_letter(work.batch.header, letter, work.now_ms, work.form);
  if (!bytes) {
    return tl::make_unexpected(std::move(bytes.error()));
  }
  work.dead.add(letter.rows, letter.sequence, letter.reason);
  work.letter_bytes += *bytes;
  letters_.rows += letter.rows;
  letters_.bytes += *bytes;
  return Step::done;
}

}  // namespace turnstile::store
