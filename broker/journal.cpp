#include "broker/journal.h"

#include <algorithm>
#include <utility>

#include "base/counted.h"
#include "broker/journal_migrations.h"
#include "broker/journal_schema.h"
#include "broker/journal_values.h"

namespace turnstile::broker {
namespace {

// Removed batches are deleted with the next store(), or by trim() when there are this many.
constexpr std::size_t kTrimBatches = 1024;
constexpr std::uint64_t kTrimBytes = std::uint64_t{64} * 1024 * 1024;

}  // namespace

Result<Journal> Journal::open(JournalOptions options) {
  auto lock =
      FileLock::take(options.path.string() + ".lock", "the journal " + options.path.string());
  if (!lock) {
    return tl::make_unexpected(lock.error());
  }
  Journal journal(std::move(options), std::move(*lock));
  if (auto connected = journal.connect(); !connected) {
    return tl::make_unexpected(connected.error());
  }
  return journal;
}

Result<void> Journal::connect() {
  auto db = sqlite::Connection::open(options_.path, sqlite::Access::create, options_.vfs);
  if (!db) {
    return tl::make_unexpected(db.error());
  }
  db_ = std::move(*db);
  const auto old = has_tables();  // before any change: it may be another program's file
  if (!old) {
    return tl::make_unexpected(old.error());
  }
  std::string sql = *old ? ""
                         : "PRAGMA page_size=" + std::to_string(kJournalPageBytes) +
                               "; PRAGMA auto_vacuum=INCREMENTAL; ";
  sql +=
      // Some builds of SQLite turn secure_delete on, which writes each freed page again.
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-16384; "
      "PRAGMA secure_delete=OFF; "
      "PRAGMA journal_size_limit=33554432;";
  if (!*old) {
    sql += "BEGIN IMMEDIATE;" + std::string(kJournalTables) +
           "INSERT INTO turnstile_journal VALUES('format', " + std::to_string(kJournalFormat) +
           "), ('last_offset', 0); COMMIT;";
  }
  if (auto set = db_.execute(sql); !set) {
    return set;
  }
  if (auto buffered = db_.buffer_log().and_then([&] { return db_.remember_files(); }); !buffered) {
    return buffered;
  }
  auto migrated = sqlite::migrate(db_, journal_format());
  if (!migrated) {
    return tl::make_unexpected(migrated.error());
  }
  if (*migrated) {
    migrated_from_ = *migrated;
  }
  if (auto written = rewrite_log(); !written) {
    return written;
  }
  // SQLite's automatic checkpoints hide a failed sync (promise 8). So this hook only counts pages,
  // and checkpoint_if_due() checkpoints and looks at the result.
  wal_pages_ = std::make_unique<int>(0);
  sqlite3_wal_hook(
      db_.handle(),
      [](void* pages, sqlite3* /*db*/, const char* /*name*/, int now) {
        *static_cast<int*>(pages) = now;
        return SQLITE_OK;
      },
      wal_pages_.get());
  if (auto prepared = prepare_statements(); !prepared) {
    return prepared;
  }
  if (auto counted = count(); !counted) {
    return counted;
  }
  broken_ = false;
  return {};
}

// False: the file is new. Errors: the file is not a journal of this format.
Result<bool> Journal::has_tables() {
  const auto tables = db_.query_integer("SELECT count(*) FROM sqlite_schema");
  if (!tables) {
    return tl::make_unexpected(tables.error());
  }
  if (*tables == 0) {
    return false;
  }
  const auto ours = db_.query_integer(
      "SELECT count(*) FROM sqlite_schema WHERE type='table' AND name='turnstile_journal'");
  if (!ours) {
    return tl::make_unexpected(ours.error());
  }
  if (*ours == 0) {
    return fail(Errc::unreachable, options_.path.string() + " is not a journal of turnstile",
                "Give --journal-file another name, or move that file away.");
  }
  if (auto version = sqlite::find_version(db_, journal_format()); !version) {
    return tl::make_unexpected(version.error());
  }
  return true;
}

Result<void> Journal::prepare_statements() {
  for (const auto& [statement, sql] :
       {std::pair{&insert_, "INSERT INTO batches VALUES(?,?,?,?,?,?,?,?)"},
        std::pair{&select_,
                  "SELECT offset, producer, first, last, stored_at_ms, checksum, header, "
                  "rows FROM batches WHERE offset BETWEEN ? AND ? ORDER BY offset"},
        std::pair{&delete_, "DELETE FROM batches WHERE offset BETWEEN ? AND ?"}}) {
    auto prepared = db_.prepare(sql);
    if (!prepared) {
      return tl::make_unexpected(prepared.error());
    }
    *statement = std::move(*prepared);
  }
  return {};
}

Result<void> Journal::count() {
  const auto last = db_.query_integer(
      "SELECT max(value, coalesce((SELECT max(offset) FROM batches), 0)) "
      "FROM turnstile_journal WHERE key='last_offset'");
  const auto batches = db_.query_integer("SELECT count(*) FROM batches");
  const auto rows = db_.query_integer("SELECT coalesce(sum(last - first + 1), 0) FROM batches");
  const auto bytes =
      db_.query_integer("SELECT coalesce(sum(length(header) + length(rows)), 0) FROM batches");
  for (const auto* read : {&last, &batches, &rows, &bytes}) {
    if (!*read) {
      return tl::make_unexpected(read->error());
    }
  }
  last_offset_ = {unsigned_of(*last)};
  batches_ = unsigned_of(*batches);
  rows_ = unsigned_of(*rows);
  bytes_ = unsigned_of(*bytes);
  removed_.clear();
  removed_bytes_ = 0;
  return count_names();
}

Result<void> Journal::check_usable() const {
  if (broken_) {
    return fail(Errc::io, "the journal " + options_.path.string() +
                              " failed to sync and has not been reopened");
  }
  return {};
}

Result<void> Journal::begin() {
  if (auto usable = check_usable(); !usable) {
    return usable;
  }
  return db_.execute("BEGIN IMMEDIATE");
}

Result<void> Journal::commit() {
  if (auto committed = db_.execute("COMMIT"); !committed) {
    return tl::make_unexpected(rolled_back(committed.error()));
  }
  // Promise 8. Only after the commit: until then somebody could move the file.
  if (auto there = db_.still_at_path(); !there) {
    broken_ = true;
    return there;
  }
  return checkpoint_if_due();
}

Result<void> Journal::checkpoint_if_due() {
  if (*wal_pages_ < options_.checkpoint_pages) {
    return {};
  }
  auto copied = db_.execute("PRAGMA wal_checkpoint(PASSIVE)");
  db_.note_written();
  if (!copied && copied.error().code != Errc::full && copied.error().code != Errc::locked) {
    broken_ = true;
    return copied;
  }
  return {};  // a full disk or a reader: the next commit tries again
}

Error Journal::rolled_back(Error error) {
  broken_ = broken_ || error.code == Errc::io || error.code == Errc::corrupt;
  if (db_.in_transaction() && !db_.execute("ROLLBACK")) {
    broken_ = true;
  }
  return error;
}

Result<std::vector<Offset>> Journal::store(const std::vector<const Held*>& batches) {
  std::uint64_t bytes = 0;
  std::uint64_t rows = 0;
  for (const Held* held : batches) {
    bytes += held->bytes();
    rows += held->last.value - held->first.value + 1;
  }
  if (bytes > room() && bytes_ > 0) {
    return fail(Errc::full,
                "the journal " + options_.path.string() + " is at its limit of " +
                    counted(options_.limit_bytes, "byte"),
                "Start a consumer, or raise --journal-limit.");
  }
  if (auto begun = begin(); !begun) {
    return tl::make_unexpected(begun.error());
  }
  // First, so that new batches reuse the space.
  if (auto deleted = delete_removed(); !deleted) {
    return tl::make_unexpected(rolled_back(deleted.error()));
  }
  std::vector<Offset> offsets;
  const std::int64_t stored_at = now_ms();
  Offset offset = last_offset_;
  for (const Held* held : batches) {
    ++offset.value;
    insert_.bind(1, signed_of(offset.value));
    insert_.bind(2, std::string_view(held->producer.text));
    insert_.bind(3, signed_of(held->first.value));
    insert_.bind(4, signed_of(held->last.value));
    insert_.bind(5, stored_at);
    insert_.bind(
        6, journal_checksum(offset.value, {held->producer.text, held->first.value, held->last.value,
                                           held->header_frame.view(), held->rows_frame.view()}));
    insert_.bind_blob(7, held->header_frame.view());
    insert_.bind_blob(8, held->rows_frame.view());
    const int code = insert_.step();
    if (code != SQLITE_DONE) {
      Error error = db_.error(code, "storing a batch");
      insert_.reset();
      return tl::make_unexpected(rolled_back(std::move(error)));
    }
    insert_.reset();
    offsets.push_back(offset);
  }
  if (auto committed = commit(); !committed) {
    return tl::make_unexpected(committed.error());
  }
  removed_.clear();
  removed_bytes_ = 0;
  last_offset_ = offset;
  batches_ += batches.size();
  rows_ += rows;
  bytes_ += bytes;
  return offsets;
}

Result<Journal::Read> Journal::read(Offset from, Offset last, std::size_t max_bytes,
                                    TimePoint now) {
  if (auto usable = check_usable(); !usable) {
    return tl::make_unexpected(usable.error());
  }
  Read out;
  out.through = last;
  std::size_t bytes = 0;
  const std::int64_t wall_now = now_ms();
  const sqlite::ResetAtEnd reset(select_);
  select_.bind(1, signed_of(from.value));
  select_.bind(2, signed_of(last.value));
  int code = SQLITE_ROW;
  while (bytes < max_bytes && (code = select_.step()) == SQLITE_ROW) {
    const Offset offset{unsigned_of(select_.integer(0))};
    const std::chrono::milliseconds age(wall_now - select_.integer(4));
    Held held{ProducerId{std::string(select_.text(1))},
              Sequence{unsigned_of(select_.integer(2))},
              Sequence{unsigned_of(select_.integer(3))},
              Bytes(std::string(select_.blob(6))),
              Bytes(std::string(select_.blob(7))),
              offset,
              now - std::max(age, std::chrono::milliseconds(0)),
              Ticket{}};
    if (journal_checksum(offset.value, {held.producer.text, held.first.value, held.last.value,
                                        held.header_frame.view(), held.rows_frame.view()}) !=
        select_.integer(5)) {
      out.through = offset;
      out.damaged = is_valid_producer_id(held.producer.text) ? std::move(held.producer)
                                                             : ProducerId{"unreadable"};
      return out;
    }
    bytes += held.bytes();
    if (bytes >= max_bytes) {
      out.through = offset;
    }
    out.batches.push_back(std::move(held));
  }
  if (code != SQLITE_ROW && code != SQLITE_DONE) {
    return tl::make_unexpected(db_.error(code, "reading the journal"));
  }
  return out;
}

void Journal::remove(const Window::Settled& settled) {
  removed_.push_back(*settled.remove);
  removed_bytes_ += settled.bytes;
  --batches_;
  rows_ -= settled.rows;
  bytes_ -= settled.bytes;
}

bool Journal::wants_trim() const {
  return has_removed() &&
         (batches_ == 0 || removed_.size() >= kTrimBatches || removed_bytes_ >= kTrimBytes);
}

std::size_t Journal::room() const {
  return bytes_ >= options_.limit_bytes ? 0 : options_.limit_bytes - bytes_;
}

Result<void> Journal::delete_removed() {
  if (removed_.empty()) {
    return {};
  }
  std::sort(removed_.begin(), removed_.end());
  for (auto from = removed_.begin(); from != removed_.end();) {
    auto to = from;
    while (to + 1 != removed_.end() && (to + 1)->value == to->value + 1) {
      ++to;
    }
    delete_.bind(1, signed_of(from->value));
    delete_.bind(2, signed_of(to->value));
    const int code = delete_.step();
    Error error = code == SQLITE_DONE ? Error{} : db_.error(code, "removing applied batches");
    delete_.reset();
    if (code != SQLITE_DONE) {
      return tl::make_unexpected(std::move(error));
    }
    from = to + 1;
  }
  // A drained journal must not give an offset twice.
  return db_.execute("UPDATE turnstile_journal SET value=max(value, " +
                     std::to_string(removed_.back().value) + ") WHERE key='last_offset'");
}

Result<void> Journal::trim() {
  if (auto begun = begin(); !begun) {
    return begun;
  }
  if (auto deleted = delete_removed(); !deleted) {
    return tl::make_unexpected(rolled_back(deleted.error()));
  }
  if (auto committed = commit(); !committed) {
    return committed;
  }
  removed_.clear();
  removed_bytes_ = 0;
  shrink_if_drained();
  return {};
}

// Best effort: a later call tries again.
void Journal::shrink_if_drained() {
  if (batches_ > 0) {
    return;
  }
  const auto pages = db_.query_integer("PRAGMA page_count");
  if (pages && unsigned_of(*pages) > options_.shrink_above_pages) {
    (void)db_.execute("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)");
    db_.note_written();
  }
}

// A header that cannot be read is found when its batch is delivered.
std::string Journal::source_of(std::string_view header_frame) {
  auto header = decode_batch_header(header_frame);
  return header ? std::move(header->source) : std::string();
}

Result<Journal::Contents> Journal::contents() {
  if (auto usable = check_usable(); !usable) {
    return tl::make_unexpected(usable.error());
  }
  Contents contents;
  const auto first = db_.query_integer("SELECT coalesce(min(offset), 0) FROM batches");
  const auto last = db_.query_integer("SELECT coalesce(max(offset), 0) FROM batches");
  if (!first || !last) {
    return tl::make_unexpected(!first ? first.error() : last.error());
  }
  if (*last > 0) {
    contents.range = {Offset{unsigned_of(*first)}, Offset{unsigned_of(*last)}};
  }
  auto select = db_.prepare(
      "SELECT producer, g.last, g.batches, b.header FROM "
      "  (SELECT max(offset) AS newest, max(last) AS last, count(*) AS batches FROM batches "
      "   GROUP BY producer) AS g JOIN batches AS b ON b.offset = g.newest");
  if (!select) {
    return tl::make_unexpected(select.error());
  }
  int code = SQLITE_DONE;
  while ((code = select->step()) == SQLITE_ROW) {
    contents.producers.push_back({ProducerId{std::string(select->text(0))},
                                  Sequence{unsigned_of(select->integer(1))},
                                  unsigned_of(select->integer(2)), source_of(select->blob(3))});
  }
  if (code != SQLITE_DONE) {
    return tl::make_unexpected(db_.error(code, "reading the journal"));
  }
  return contents;
}

std::optional<std::chrono::milliseconds> Journal::age(Offset offset) {
  if (broken_) {
    return std::nullopt;
  }
  const auto at = db_.query_integer("SELECT stored_at_ms FROM batches WHERE offset=" +
                                    std::to_string(offset.value));
  if (!at || *at == 0) {
    return std::nullopt;
  }
  return std::chrono::milliseconds(std::max<std::int64_t>(now_ms() - *at, 0));
}

}  // namespace turnstile::broker
