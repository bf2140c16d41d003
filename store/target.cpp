#include "store/target.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <string>
#include <thread>
#include <utility>

#include "base/utf8.h"
#include "proto/limits.h"
#include "store/idle_time.h"

namespace turnstile::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kAskEvery{100};
constexpr milliseconds kLockedToldEvery{1000};
// Dead letters of rows that had transactions rolled back, in one transaction. A row that is applied
// between them is committed with them, so that it is not tried again: it may end differently.
constexpr std::uint32_t kLettersTogether = 64;
constexpr std::size_t kTroublesTold = 16;
constexpr milliseconds kForgetEvery{60'000};

// The cache is small at first, so that rows that are only appended stay near the processor and are
// written while more come, and large from the time that it misses as many pages as it holds in few
// rows: where indexes are written in no order.
constexpr const char* kSettings =
    "PRAGMA synchronous=FULL; PRAGMA cache_size=-2048; PRAGMA temp_store=MEMORY";
constexpr std::int64_t kSmallCacheBytes = std::int64_t{2048} * 1024;
constexpr std::uint64_t kRowsAMiss = 64;
constexpr const char* kLargeCache = "PRAGMA cache_size=-32768";

constexpr std::int64_t kPageBytes = std::int64_t{16} * 1024;
// Transactions of a few rows wait for little but their sync. A log of at least kLogPagesPerStep
// pages gets as many again when fewer than kLogPagesAhead are unused.
constexpr std::size_t kFewRowsBytes = std::size_t{16} * 1024;
constexpr std::int64_t kLogPagesAhead = 8;
constexpr std::int64_t kLogPagesPerStep = 64;
constexpr std::int64_t kLogPageHeader = 24;

}  // namespace

std::int64_t system_now_ms() {
  return std::chrono::duration_cast<milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Target::Target(TargetOptions options)
    : options_(std::move(options)),
      clock_(options_.row_time_limit,
             [this] { return !options_.while_waiting || options_.while_waiting(); }),
      told_log_pages_(options_.checkpoint_pages) {}

Target::~Target() {
  rollback();
  if (text_log_ != nullptr && !text_log_->behind()) {
    // What fails here is written again at the next start: the record does not count it as synced.
    static_cast<void>(text_log_->sync());
  }
}

Result<std::unique_ptr<Target>> Target::open(TargetOptions options) {
  std::unique_ptr<Target> target(new Target(std::move(options)));
  if (auto prepared = target->prepare(); !prepared) {
    return tl::make_unexpected(std::move(prepared.error()));
  }
  return target;
}

Result<void> Target::prepare() {
  constexpr const char* kDoing = "opening the target";
  auto opened = sqlite::Connection::open(options_.path, sqlite::Access::create, options_.vfs);
  if (!opened) {
    return tl::make_unexpected(std::move(opened.error()));
  }
  connection_ = std::move(*opened);
  connection_.on_busy([this](milliseconds waited) {
    tell_locked(waited);
    return !must_not_wait_ && waited < options_.busy_timeout && still_wanted();
  });
  // What a virtual table keeps its own things in takes no rows: they would damage it.
  sqlite3_db_config(connection_.handle(), SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  // The page size counts for a new file only.
  auto mode = connection_.execute("PRAGMA page_size=16384", kDoing).and_then([&] {
    return connection_.query_text("PRAGMA journal_mode=WAL", kDoing);
  });
  if (!mode) {
    return tl::make_unexpected(std::move(mode.error()));
  }
  if (*mode != "wal") {
    return fail(Errc::unreachable,
                "opening the target: " + options_.path.string() +
                    " cannot have a write-ahead log (it is in mode " + *mode + ")",
                "put it on a local file system");
  }
  // A log that grew because of a reader gives its space back when SQLite restarts it.
  const std::string size_limit = "; PRAGMA journal_size_limit=" +
                                 std::to_string(kPageBytes * options_.checkpoint_pages / 4 * 5);
  if (auto set = connection_.execute(kSettings + size_limit, kDoing); !set) {
    return set;
  }
  if (auto buffered =
          connection_.buffer_log().and_then([&] { return connection_.remember_files(); });
      !buffered) {
    return buffered;
  }
  auto page_bytes = connection_.query_integer("PRAGMA page_size", kDoing);
  if (!page_bytes) {
    return tl::make_unexpected(std::move(page_bytes.error()));
  }
  wal_page_bytes_ = *page_bytes + kLogPageHeader;
  if (auto made = Books::create(connection_); !made) {
    return made;
  }
  for (auto& [statement, sql] :
       {std::pair(&begin_, "BEGIN IMMEDIATE"), std::pair(&commit_, "COMMIT")}) {
    auto prepared = connection_.prepare(sql);
    if (!prepared) {
      return tl::make_unexpected(std::move(prepared.error()));
    }
    *statement = std::move(*prepared);
  }
  auto books = Books::open(connection_);
  if (!books) {
    return tl::make_unexpected(std::move(books.error()));
  }
  books_ = std::make_unique<Books>(std::move(*books));
  if (auto counted = count_letters(); !counted) {
    return counted;
  }
  if (auto set = set_foreign_keys(); !set) {
    return set;
  }
  tables_ = std::make_unique<Tables>(connection_);
  if (!options_.text_path.empty()) {
    text_log_ = std::make_unique<TextLog>(
        connection_, *tables_,
        TextLog::Options{.path = options_.text_path,
                         .table = options_.text_table,
                         .rotated = options_.text_rotated,
                         .is_ours = options_.text_is_ours,
                         .open_file = options_.open_text_file,
                         .still_alive = [this] { static_cast<void>(still_wanted()); }});
    if (auto ready = text_log_->open(); !ready) {
      return ready;
    }
  }
  applier_ = std::make_unique<Applier>(
      Applier::Context{.connection = connection_,
                       .tables = *tables_,
                       .books = *books_,
                       .text_log = text_log_.get(),
                       .clock = clock_,
                       .now_ms = options_.now_ms,
                       .letter_limit = options_.dead_letter_limit,
                       .allows_task_duration = options_.allow_task_duration});
  clock_.watch(connection_.handle());
  // Instead of SQLite's own checkpoints, which hide their failures (promise 8).
  sqlite3_wal_hook(
      connection_.handle(),
      [](void* pages, sqlite3*, const char*, int count) {
        *static_cast<int*>(pages) = count;
        return SQLITE_OK;
      },
      &wal_pages_);
  return {};
}

Result<void> Target::count_letters() {
  return books_->count_dead_letters().map([this](const LetterTotals& found) { letters_ = found; });
}

Result<void> Target::set_foreign_keys() {
  auto by_target = books_->checks_foreign_keys();
  auto references = connection_.query_text(
      "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND sql LIKE '%REFERENCES%' "
      "ORDER BY name LIMIT 1");
  if (!by_target || !references) {
    return tl::make_unexpected(std::move(!by_target ? by_target.error() : references.error()));
  }
  const bool is_default = options_.foreign_keys == ForeignKeys::by_target;
  const bool on = is_default ? *by_target : options_.foreign_keys == ForeignKeys::on;
  if (is_default && !on && !references->empty()) {
    notes_.push_back("table " + printable(*references, limits::kNameBytes) + " of " +
                     options_.path.string() +
                     " has foreign keys, which are not checked: --foreign-keys on checks them, "
                     "--foreign-keys off ends this message");
  }
  return connection_.execute(on ? "PRAGMA foreign_keys=ON" : "PRAGMA foreign_keys=OFF");
}

Result<void> Target::usable() const {
  if (broken_) {
    return fail(broken_->code, broken_->what, "open the target again");
  }
  return {};
}

Error Target::abandon(Error error) {
  rollback();
  if (error.code == Errc::io) {
    // Promise 8: what is on disk is unknown until it is read back. Closing must not copy from the
    // write-ahead log what may not be there; opening checks its checksums.
    broken_ = error;
    sqlite3_db_config(connection_.handle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  }
  return error;
}

Result<Generation> Target::take_over() {
  if (auto ready = usable(); !ready) {
    return tl::make_unexpected(std::move(ready.error()));
  }
  rollback();
  const std::int64_t now = options_.now_ms();
  auto generation = connection_.run(begin_, "becoming the target's writer").and_then([&] {
    return books_->next_generation();
  });
  auto taken = generation.map([](Generation) {}).and_then([&]() -> Result<void> {
    return text_log_ == nullptr ? Result<void>() : text_log_->load();
  });
  if (taken) {
    looked_ms_.reset();
    taken = follow_clock(now);  // before rows make somebody recent
  }
  if (taken) {
    taken = finish();
  }
  if (!taken) {
    return tl::make_unexpected(abandon(std::move(taken.error())));
  }
  generation_ = *generation;
  looked_ms_ = now;
  if (auto counted = count_letters(); !counted) {
    return tl::make_unexpected(abandon(std::move(counted.error())));
  }
  // A text log that cannot be written now stops begin(), not this.
  static_cast<void>(catch_up_text_log());
  return *generation;
}

// BEGIN, and promise 4.
Result<void> Target::start() {
  if (!generation_) {
    return fail(Errc::fenced, "this consumer has not taken over " + options_.path.string());
  }
  auto current = connection_.run(begin_, "beginning a transaction").and_then([&] {
    return books_->generation();
  });
  if (current && *current != *generation_) {
    rollback();
    return fail(Errc::fenced,
                "another consumer (generation " + std::to_string(current->value) + ") writes " +
                    options_.path.string() + " now",
                "stop this one");
  }
  if (tables_->version() != known_tables_) {
    tables_->forget_all();
  }
  auto begun = current.map([](Generation) {}).and_then([&] { return tables_->refresh(); });
  if (!begun) {
    return tl::make_unexpected(abandon(std::move(begun.error())));
  }
  known_tables_ = tables_->version();
  applier_->begin(letters_);
  if (text_log_ != nullptr) {
    if (auto ready = text_log_->begin(); !ready) {
      return tl::make_unexpected(abandon(std::move(ready.error())));
    }
  }
  return {};
}

Result<void> Target::begin() {
  if (auto ready = usable(); !ready) {
    return ready;
  }
  rollback();
  if (auto written = catch_up_text_log(); !written) {
    return written;
  }
  return start().map([this] { clock_.begin(); });
}

Result<BatchOutcome> Target::apply(const BatchHeader& header, const Bytes& rows_frame) {
  if (auto ready = usable(); !ready) {
    return tl::make_unexpected(std::move(ready.error()));
  }
  if (!connection_.in_transaction()) {
    return fail(Errc::refused, "no transaction is open in " + options_.path.string());
  }
  OpenBatch& batch = batches_.emplace_back();
  batch.header = header;
  batch.rows_frame = rows_frame;
  batch.in_savepoints = batches_.front().in_savepoints;
  auto attempt = applier_->apply(batch, nullptr, header.rows);
  if (!attempt) {
    return tl::make_unexpected(abandon(std::move(attempt.error())));
  }
  if (*attempt != Attempt::applied) {
    const std::size_t before = batches_.size() - 1 - settled_;
    const std::size_t width = *attempt == Attempt::more_care ? before + 1
                              : *attempt == Attempt::in_rows ? before / 2 + 1
                                                             : before;
    auto settled = settle_in_parts(width).and_then([this] { return start(); });
    if (!settled) {
      return tl::make_unexpected(abandon(std::move(settled.error())));
    }
  }
  const BatchOutcome& outcome = batches_.back().attempted.outcome;
  grow_cache(outcome.rows_applied);
  if (outcome.rows_applied > 0 && options_.allow_task_duration) {
    hold(header.task_duration);
  }
  return outcome;
}

// Promise 7: what is committed here is so little at a time that the rows to blame are found, and
// not so little that many rows take long. A part that failed is halved, one that did not is
// doubled; a row that is known is taken out. Outside a transaction, and ends so.
Result<void> Target::settle_in_parts(std::size_t width) {
  for (std::size_t i = settled_; i < batches_.size(); ++i) {
    batches_[i].in_savepoints = true;
  }
  while (settled_ < batches_.size()) {
    width = std::clamp<std::size_t>(width, 1, batches_.size() - settled_);
    auto trial = try_batches(width);
    if (!trial) {
      return tl::make_unexpected(std::move(trial.error()));
    }
    if (trial->attempt == Attempt::applied) {
      width *= 2;
      continue;
    }
    if (trial->attempt == Attempt::more_care) {
      continue;  // its batch says how; each can only once or twice
    }
    const bool is_known = trial->attempt == Attempt::row_refused;
    if (width > 1) {
      width = is_known && trial->batch > settled_ ? trial->batch - settled_ : width / 2;
      if (!is_known || trial->batch > settled_) {
        continue;
      }
    }
    if (auto settled = settle_rows(batches_[settled_]); !settled) {
      return settled;
    }
    ++settled_;
    width = 1;
  }
  return {};
}

// One batch, each part of its rows in a transaction of its own: progress says how far it is.
Result<void> Target::settle_rows(OpenBatch& batch) {
  const std::uint32_t rows = batch.header.rows;
  auto decoded = std::make_shared<DecodedRows>();
  const bool is_whole = !decode_rows(batch.rows_frame.view(), rows, *decoded);
  batch.decoded = is_whole ? nullptr : std::move(decoded);
  auto progress = books_->progress(batch.header.producer);
  if (!progress) {
    return tl::make_unexpected(std::move(progress.error()));
  }
  const std::uint64_t first = batch.header.first.value;
  const std::uint64_t reached = std::max(first, progress->through.value + 1);
  auto done = static_cast<std::uint32_t>(std::min<std::uint64_t>(rows, reached - first));
  std::uint32_t tried = rows;  // rows of a part that are not refused yet
  while (done < rows) {
    std::uint32_t end = done;
    std::uint32_t open = 0;
    std::uint32_t first_open = rows;
    for (std::uint32_t letters = 0; end < rows && letters < kLettersTogether; ++end) {
      if (batch.refused.contains(end)) {
        ++letters;
      } else if (open == tried) {
        break;
      } else {
        first_open = std::min(first_open, end);
        ++open;
      }
    }
    auto trial = try_rows(batch, is_whole ? rows : end);
    if (!trial) {
      return tl::make_unexpected(std::move(trial.error()));
    }
    switch (trial->attempt) {
      case Attempt::applied:
        done = std::max(end, batch.settled.rows);
        if (batch.settled.outcome.outcome != Outcome::applied || is_whole) {
          return {};
        }
        tried = std::min(rows, 2 * std::max(open, 1U));
        break;
      case Attempt::more_care:
        break;
      case Attempt::row_refused:
        // What went in before it is committed next, with its letter.
        tried = 0;
        for (std::uint32_t row = done; row < batch.blamed; ++row) {
          tried += batch.refused.contains(row) ? 0 : 1;
        }
        tried = std::max(tried, 1U);
        break;
      case Attempt::in_rows:
        if (open == 0 || is_whole) {
          return fail(Errc::refused, trial->reason,
                      "look at the tables of " + options_.path.string());
        }
        if (open == 1) {
          batch.refused.emplace(first_open, trial->reason);
        }
        tried = std::max(open / 2, 1U);
        break;
    }
  }
  return {};
}

Result<Target::Trial> Target::try_batches(std::size_t count) {
  if (auto begun = start_trial(); !begun) {
    return tl::make_unexpected(std::move(begun.error()));
  }
  for (std::size_t i = settled_; i < settled_ + count; ++i) {
    auto attempt = applier_->apply(batches_[i], nullptr, batches_[i].header.rows);
    if (!attempt) {
      return tl::make_unexpected(std::move(attempt.error()));
    }
    if (*attempt != Attempt::applied) {
      return Trial{*attempt, i, batches_[i].setback};
    }
  }
  auto trial = finish_trial();
  if (trial && trial->attempt == Attempt::applied) {
    settled_ += count;
  }
  return trial;
}

Result<Target::Trial> Target::try_rows(OpenBatch& batch, std::uint32_t end) {
  if (auto begun = start_trial(); !begun) {
    return tl::make_unexpected(std::move(begun.error()));
  }
  auto attempt = applier_->apply(batch, batch.decoded.get(), end);
  if (!attempt) {
    return tl::make_unexpected(std::move(attempt.error()));
  }
  if (*attempt != Attempt::applied) {
    return Trial{*attempt, settled_, batch.setback};
  }
  auto trial = finish_trial();
  if (trial && trial->attempt == Attempt::applied) {
    batch.settled = batch.attempted;
  }
  return trial;
}

Result<void> Target::start_trial() {
  if (!still_wanted()) {
    return fail(Errc::locked, "the transaction was given up");
  }
  return start();
}

Result<Target::Trial> Target::finish_trial() {
  auto finished = finish();
  if (finished) {
    return Trial{};
  }
  if (finished.error().code != Errc::refused) {
    return tl::make_unexpected(std::move(finished.error()));
  }
  std::string reason = connection_.message();
  end_transaction();
  return Trial{Attempt::in_rows, settled_, std::move(reason)};
}

// Everything that belongs to COMMIT, and COMMIT.
Result<void> Target::finish() {
  if (text_log_ != nullptr) {
    if (auto lines = text_log_->finish(); !lines) {
      return lines;
    }
  }
  if (auto grown = grow_log(); !grown) {
    return grown;
  }
  if (auto committed = connection_.run(commit_, "committing"); !committed) {
    return committed;
  }
  letters_ = applier_->letters();
  // Promise 8, after the commit: until then the file could still be moved with what was written.
  if (auto there = connection_.still_at_path(); !there) {
    static_cast<void>(connection_.save_lost_log());
    return there;
  }
  known_tables_ = tables_->version();
  if (text_log_ != nullptr) {
    text_log_->committed();
  }
  if (!std::exchange(must_not_wait_, false)) {
    checkpoint();
  }
  return {};
}

Result<void> Target::commit() {
  if (auto ready = usable(); !ready) {
    return ready;
  }
  if (!connection_.in_transaction()) {
    return fail(Errc::refused, "no transaction is open in " + options_.path.string());
  }
  auto finished = finish();
  if (!finished && finished.error().code == Errc::refused && settled_ < batches_.size()) {
    end_transaction();
    finished = settle_in_parts((batches_.size() - settled_) / 2);
  }
  if (!finished) {
    return tl::make_unexpected(abandon(std::move(finished.error())));
  }
  for (std::size_t i = 0; settled_ > 0 && i < batches_.size(); ++i) {
    outcomes_.push_back(std::move(batches_[i].attempted.outcome));
  }
  batches_.clear();
  settled_ = 0;
  clock_.end();
  return {};
}

std::vector<BatchOutcome> Target::take_outcomes() {
  return std::exchange(outcomes_, {});
}

void Target::rollback() {
  batches_.clear();
  settled_ = 0;
  outcomes_.clear();
  must_not_wait_ = false;
  clock_.end();
  end_transaction();
}

void Target::end_transaction() {
  if (connection_.handle() != nullptr && connection_.in_transaction()) {
    // When this fails, SQLite rolls back by itself: nothing was committed either way.
    static_cast<void>(connection_.execute("ROLLBACK"));
  }
  if (text_log_ != nullptr) {
    text_log_->reset();
  }
}

Result<void> Target::grow_log() {
  std::size_t bytes = 0;
  for (const auto& batch : batches_) {
    bytes += batch.rows_frame.size();
  }
  // Not worth it for the first pages of a log, nor for the last before SQLite restarts it.
  const bool is_worth_it = bytes <= kFewRowsBytes && wal_pages_ >= kLogPagesPerStep &&
                           wal_pages_ < options_.checkpoint_pages;
  if (!may_grow_log_ || !is_worth_it || wal_room_ >= wal_pages_ + kLogPagesAhead) {
    return {};
  }
  auto grown = connection_.grow_log(kLogPagesPerStep * wal_page_bytes_);
  if (grown) {
    wal_room_ = *grown / wal_page_bytes_;
  } else if (grown.error().code == Errc::full) {
    may_grow_log_ = false;  // the row itself may have room yet
  } else {
    return tl::make_unexpected(std::move(grown.error()));
  }
  return {};
}

// Rows that are only appended read a page back now and then.
void Target::grow_cache(std::uint64_t rows) {
  if (has_large_cache_) {
    return;
  }
  rows_since_misses_ += rows;
  int missed = 0;
  int unused = 0;
  const auto look = [&](bool reset) {
    return sqlite3_db_status(connection_.handle(), SQLITE_DBSTATUS_CACHE_MISS, &missed, &unused,
                             reset ? 1 : 0);
  };
  if (look(false) != SQLITE_OK || missed < kSmallCacheBytes / wal_page_bytes_) {
    return;
  }
  look(true);
  if (std::exchange(rows_since_misses_, 0) < kRowsAMiss * static_cast<std::uint64_t>(missed)) {
    has_large_cache_ = connection_.execute(kLargeCache).has_value();
  }
}

void Target::checkpoint() {
  if (wal_pages_ < options_.checkpoint_pages) {
    return;
  }
  int log = 0;
  int copied = 0;
  const int code = sqlite3_wal_checkpoint_v2(connection_.handle(), "main",
                                             SQLITE_CHECKPOINT_PASSIVE, &log, &copied);
  // Readers that hinder it, or a full disk: the next commit tries again. What was committed is
  // synced in the write-ahead log, so a failure here takes nothing back; but it is the last.
  note_log_in_use(log, copied);
  connection_.note_written();
  if (code != SQLITE_OK) {
    Error error = connection_.error(code, "copying the write-ahead log into the target");
    if (error.code == Errc::io) {
      static_cast<void>(abandon(std::move(error)));
    }
  }
}

// SQLite restarts the log only when no reader needs its content. A reader that does not end keeps
// it growing, and without this note nobody would know why the disk fills.
void Target::note_log_in_use(int pages, int copied) {
  if (pages <= copied) {
    told_log_pages_ = options_.checkpoint_pages;
    return;
  }
  if (pages >= 2 * told_log_pages_) {
    told_log_pages_ = pages;
    const std::string path = options_.path.string();
    std::error_code gone;
    const auto bytes = std::filesystem::file_size(path + "-wal", gone);
    notes_.push_back("the write-ahead log of " + path + " has " +
                     std::to_string(gone ? 0 : bytes / (std::uintmax_t{1024} * 1024)) +
                     " MiB and grows: a program that reads this database does not end its "
                     "transaction; `fuser -v " +
                     path + "` names those that have it open");
  }
}

bool Target::still_wanted() {
  const auto now = steady_clock::now();
  if (!options_.while_waiting || now - last_asked_ < kAskEvery) {
    return true;
  }
  last_asked_ = now;
  return options_.while_waiting();
}

void Target::tell_locked(milliseconds waited) {
  if (waited < told_locked_at_) {
    told_locked_at_ = milliseconds(0);  // another wait
  }
  if (options_.on_locked && waited >= told_locked_at_ + kLockedToldEvery) {
    told_locked_at_ = waited;
    options_.on_locked(sqlite::locked_error("beginning a transaction", options_.path));
  }
}

void Target::hold(milliseconds duration) {
  const auto until = steady_clock::now() + std::min(duration, limits::kTaskDuration);
  for (auto now = steady_clock::now(); now < until; now = steady_clock::now()) {
    std::this_thread::sleep_for(std::min<steady_clock::duration>(until - now, kAskEvery));
    if (!still_wanted()) {
      return;
    }
  }
}

std::vector<TableTrouble> Target::table_troubles() const {
  auto found = tables_->troubles(kTroublesTold);
  const std::string* reason = text_log_ == nullptr ? nullptr : text_log_->unreadable();
  if (reason != nullptr && std::none_of(found.begin(), found.end(), [&](const auto& known) {
        return same_name(known.table, text_log_->table());
      })) {
    found.push_back({text_log_->table(), *reason});
  }
  return found;
}

const std::optional<Error>& Target::text_log_error() const {
  return text_log_ == nullptr ? no_error_ : text_log_->behind();
}

std::vector<std::string> Target::take_notes() {
  std::vector<std::string> notes = std::exchange(notes_, {});
  if (text_log_ != nullptr) {
    auto more = text_log_->take_notes();
    notes.insert(notes.end(), std::make_move_iterator(more.begin()),
                 std::make_move_iterator(more.end()));
  }
  return notes;
}

Result<void> Target::catch_up_text_log() {
  if (!text_log_is_behind()) {
    return {};
  }
  if (auto ready = usable(); !ready) {
    return ready;
  }
  auto restored = text_log_->restore();
  if (!text_log_is_behind()) {
    return {};
  }
  if (!restored) {
    return tl::make_unexpected(std::move(restored.error()));
  }
  if (auto begun = start(); !begun) {
    return begun;
  }
  text_log_->request_rebuild();
  if (auto done = commit(); !done) {
    return done;
  }
  if (text_log_is_behind()) {
    return tl::make_unexpected(*text_log_error());
  }
  return {};
}

void Target::reopen_text_log() {
  if (text_log_ != nullptr) {
    text_log_->reopen();
  }
}

Result<void> Target::end() {
  rollback();
  auto done = housekeeping();
  if (done && text_log_ != nullptr && text_log_->record_is_late()) {
    // Without it the next start writes some lines again, no more.
    must_not_wait_ = true;
    if (start()) {
      static_cast<void>(commit());
    }
  }
  return done;
}

Result<Progress> Target::progress(const ProducerId& producer, Sequence since) {
  return read_progress(producer, since, Books::Letters::all);
}

Result<Progress> Target::list_dead(const ProducerId& producer, Sequence since) {
  return read_progress(producer, since, Books::Letters::listed);
}

Result<Progress> Target::read_progress(const ProducerId& producer, Sequence since,
                                       Books::Letters which) {
  if (auto ready = usable(); !ready) {
    return tl::make_unexpected(std::move(ready.error()));
  }
  auto known = connection_.still_at_path().and_then([&] { return books_->progress(producer); });
  if (!known) {
    return tl::make_unexpected(std::move(known.error()));
  }
  Progress progress{.known = known->known,
                    .epoch = known->epoch,
                    .through = known->through,
                    .source = std::move(known->source),
                    .dead_count = 0,
                    .dead = {}};
  if (progress.through > since) {
    DeadRows dead;
    auto read = books_->read_dead_letters(producer, next(since), progress.through, dead, which);
    if (!read) {
      return tl::make_unexpected(std::move(read.error()));
    }
    progress.dead_count = dead.count;
    progress.dead = std::move(dead.listed);
  }
  return progress;
}

Result<TableAnswer> Target::check_table(const std::string& table,
                                        const std::vector<std::string>& columns) {
  if (auto begun = begin(); !begun) {
    return tl::make_unexpected(std::move(begun.error()));
  }
  auto found = tables_->inserter_or_lab(table, columns);
  if (!found) {
    return tl::make_unexpected(abandon(std::move(found.error())));
  }
  const auto about = [&](const Inserter& inserter, const std::vector<std::string>& named) {
    TableAnswer said = answer_about(inserter, table, named);
    if (said.state == TableState::ready && text_log_ != nullptr) {
      said.detail = text_log_->refusal(*inserter.table(), named);
      said.state = said.detail.empty() ? TableState::ready : TableState::unusable;
    }
    return said;
  };
  TableAnswer answer = about(**found, columns);
  if (columns.empty() && (*found)->table() != nullptr) {
    // Whether it takes rows at all: for any column that it has.
    const std::vector<Column> all = (*found)->table()->columns;
    for (auto column = all.begin(); column != all.end() && answer.state != TableState::ready;
         ++column) {
      found = tables_->inserter(table, {column->name});
      if (!found) {
        return tl::make_unexpected(abandon(std::move(found.error())));
      }
      answer = about(**found, {column->name});
    }
  }
  if (auto committed = commit(); !committed) {
    return tl::make_unexpected(std::move(committed.error()));
  }
  return answer;
}

// In a transaction. Idle time is running time (idle_time.h): corrects what is recorded.
Result<void> Target::follow_clock(std::int64_t now) {
  auto last = looked_ms_ ? Result<std::int64_t>(*looked_ms_) : books_->latest_update();
  if (!last) {
    return tl::make_unexpected(std::move(last.error()));
  }
  const auto shift = idle_shift(*last, now, idle_step(options_.keep_progress));
  if (shift && *last != 0) {
    if (auto moved = books_->move_updates(*shift, now); !moved) {
      return moved;
    }
  }
  return {};
}

Result<void> Target::housekeeping() {
  if (auto ready = usable(); !ready) {
    return ready;
  }
  if (auto there = connection_.still_at_path(); !there) {
    static_cast<void>(connection_.save_lost_log());
    return tl::make_unexpected(abandon(std::move(there.error())));
  }
  if (text_log_ != nullptr) {
    text_log_->look();
  }
  if (auto written = catch_up_text_log(); !written) {
    return written;
  }
  if (text_log_ != nullptr) {
    if (auto synced = text_log_->sync(); !synced) {
      return synced;
    }
  }
  const std::int64_t now = options_.now_ms();
  if (forgot_ms_ && now >= *forgot_ms_ && now < *forgot_ms_ + kForgetEvery.count()) {
    return {};
  }
  if (!looked_ms_ || idle_shift(*looked_ms_, now, idle_step(options_.keep_progress))) {
    if (auto begun = begin(); !begun) {
      return begun;
    }
    if (auto followed = follow_clock(now); !followed) {
      return tl::make_unexpected(abandon(std::move(followed.error())));
    }
    if (auto committed = commit(); !committed) {
      return committed;
    }
  }
  looked_ms_ = now;
  forgot_ms_ = now;
  const std::int64_t before = now - milliseconds(options_.keep_progress).count();
  auto idle = books_->has_idle(before);
  if (!idle) {
    return tl::make_unexpected(std::move(idle.error()));
  }
  if (!*idle) {
    return {};
  }
  if (auto begun = begin(); !begun) {
    return begun;
  }
  if (auto forgotten = books_->forget_idle(before); !forgotten) {
    return tl::make_unexpected(abandon(std::move(forgotten.error())));
  }
  return commit();
}

}  // namespace turnstile::store
