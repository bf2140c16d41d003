#include "client/spool.h"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/counted.h"
#include "client/identity.h"
#include "client/spool_schema.h"

namespace turnstile {
namespace {

// An empty spool larger than this returns its space to the file system.
constexpr std::int64_t kSpoolShrinkAbovePages = 1024;
constexpr int kSpoolCheckpointPages = 1000;
// Acknowledged rows are deleted with the next store, or on their own when there are this many.
constexpr std::uint64_t kSpoolTrimRows = 10'000;

std::int64_t sql_integer(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}

Sequence sequence_of(std::int64_t value) {
  return {static_cast<std::uint64_t>(value)};
}

std::uint64_t kind_of(const Batch& batch) {
  return static_cast<std::uint64_t>(batch.header.kind);
}

}  // namespace

Result<std::unique_ptr<Spool>> Spool::open(SpoolOptions options, const ProducerId& producer) {
  std::unique_ptr<Spool> spool(new Spool(std::move(options)));  // SQLite gets its address
  if (auto connected = spool->connect(producer); !connected) {
    Error error = std::move(connected.error());
    if (error.code == Errc::locked) {
      error = {Errc::locked, "another process uses the spool " + spool->path().string(),
               "wait for it, or give this one a --spool and a --resume name of its own"};
    }
    return tl::make_unexpected(std::move(error));
  }
  return spool;
}

Result<void> Spool::connect(const ProducerId& producer) {
  auto db = sqlite::Connection::open(options_.path, sqlite::Access::create, options_.vfs);
  if (!db) {
    return tl::make_unexpected(db.error());
  }
  db_ = std::move(*db);
  if (auto set = db_.execute("PRAGMA locking_mode=EXCLUSIVE"); !set) {
    return set;
  }
  const auto old = has_tables();  // before any change: it may be a file of another program
  if (!old) {
    return tl::make_unexpected(old.error());
  }
  if (*old) {
    if (auto read = read_facts(producer); !read) {
      return read;
    }
  }
  std::string sql =
      *old ? ""
           : fmt::format("PRAGMA page_size={}; PRAGMA auto_vacuum=INCREMENTAL; ", kSpoolPageBytes);
  sql += "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;";
  if (auto set = db_.execute(sql, "opening the spool"); !set) {
    return set;
  }
  if (!*old) {
    if (auto made = make_tables(producer); !made) {
      return made;
    }
  }
  // Promise 8: a process whose sync failed may have written the log, and a second sync of the same
  // bytes proves nothing. A checkpoint copies them, and syncs the copy.
  if (const auto busy = db_.query_integer("PRAGMA wal_checkpoint(TRUNCATE)"); !busy) {
    return tl::make_unexpected(busy.error());
  }
  sqlite3_wal_hook(
      db_.handle(),
      [](void* pages, sqlite3* /*db*/, const char* /*name*/, int now) {
        *static_cast<int*>(pages) = now;
        return SQLITE_OK;
      },
      &wal_pages_);
  if (auto counted = count(); !counted) {
    return counted;
  }
  return prepare_statements();
}

Result<bool> Spool::has_tables() {
  const auto tables = db_.query_integer("SELECT count(*) FROM sqlite_schema", "opening the spool");
  if (!tables) {
    return tl::make_unexpected(tables.error());
  }
  if (*tables == 0) {
    return false;
  }
  const auto ours = db_.query_integer(
      "SELECT count(*) FROM sqlite_schema WHERE type='table' AND name='turnstile_spool'");
  if (!ours) {
    return tl::make_unexpected(ours.error());
  }
  if (*ours == 0) {
    return fail(Errc::unreachable, path().string() + " is not a spool of turnstile",
                "give --spool another name, or move that file away");
  }
  const auto format = db_.query_integer("SELECT value FROM turnstile_spool WHERE key='format'");
  if (!format) {
    return tl::make_unexpected(format.error());
  }
  if (*format != kSpoolFormat) {
    return fail(Errc::unreachable,
                fmt::format("the spool {} has format {}, this program knows format {}",
                            path().string(), *format, kSpoolFormat),
                "use the version of turnstile that wrote it");
  }
  return true;
}

Result<void> Spool::make_tables(const ProducerId& producer) {
  producer_ = producer;
  id_ = random_producer_id().text;
  // The characters of ids need no quoting (is_valid_producer_id).
  return db_.execute(
      fmt::format("BEGIN IMMEDIATE; {} INSERT INTO turnstile_spool VALUES('format', {}), "
                  "('producer', '{}'), ('id', '{}'), ('input', ''), ('dropped', 0), "
                  "('applied', 0); COMMIT",
                  kSpoolTables, kSpoolFormat, producer_.text, id_),
      "making the spool");
}

Result<void> Spool::read_facts(const ProducerId& producer) {
  const auto fact = [this](std::string_view key) {
    return db_.query_text(fmt::format("SELECT value FROM turnstile_spool WHERE key='{}'", key));
  };
  const auto name = fact("producer");
  const auto id = fact("id");
  const auto input = fact("input");
  for (const auto* one : {&name, &id, &input}) {
    if (!*one) {
      return tl::make_unexpected(one->error());
    }
  }
  if (*name != producer.text) {
    return fail(Errc::refused,
                fmt::format("the spool {} belongs to the name '{}', not to '{}'", path().string(),
                            *name, producer.text),
                "give --resume that name, or --spool another file");
  }
  producer_ = producer;
  id_ = *id;
  input_ = *input;
  return {};
}

Result<void> Spool::count() {
  const auto dropped = db_.query_integer("SELECT value FROM turnstile_spool WHERE key='dropped'");
  const auto applied = db_.query_integer("SELECT value FROM turnstile_spool WHERE key='applied'");
  const auto last = db_.query_integer("SELECT coalesce(max(last), 0) FROM batches");
  const auto rows = db_.query_integer("SELECT coalesce(sum(last - first + 1), 0) FROM batches");
  const auto bytes =
      db_.query_integer("SELECT coalesce(sum(length(header) + length(rows)), 0) FROM batches");
  for (const auto* read : {&dropped, &applied, &last, &rows, &bytes}) {
    if (!*read) {
      return tl::make_unexpected(read->error());
    }
  }
  dropped_ = acknowledged_ = sequence_of(*dropped);
  applied_ = known_applied_ = sequence_of(*applied);
  last_ = std::max(dropped_, sequence_of(*last));
  bytes_ = static_cast<std::uint64_t>(*bytes);
  if (sequence_of(*rows).value != last_.value - dropped_.value) {
    return tl::make_unexpected(damaged(fmt::format(
        "it holds {}, and should hold rows {} to {}",
        counted(static_cast<std::uint64_t>(*rows), "row"), dropped_.value + 1, last_.value)));
  }
  return {};
}

Result<void> Spool::prepare_statements() {
  for (const auto& [statement, sql] :
       {std::pair{&insert_, "INSERT INTO batches VALUES(?,?,?,?,?,?)"},
        std::pair{&select_,
                  "SELECT first, last, kind, checksum, header, rows FROM batches "
                  "WHERE first > ? ORDER BY first"}}) {
    auto prepared = db_.prepare(sql);
    if (!prepared) {
      return tl::make_unexpected(prepared.error());
    }
    *statement = std::move(*prepared);
  }
  return {};
}

Result<std::vector<Sequence>> Spool::definitions() {
  auto select = db_.prepare(fmt::format("SELECT first FROM batches WHERE kind={} ORDER BY first",
                                        static_cast<int>(BatchKind::define)));
  if (!select) {
    return tl::make_unexpected(select.error());
  }
  std::vector<Sequence> found;
  int code = SQLITE_ROW;
  while ((code = select->step()) == SQLITE_ROW) {
    found.push_back(sequence_of(select->integer(0)));
  }
  if (code != SQLITE_DONE) {
    return tl::make_unexpected(db_.error(code, "reading the spool"));
  }
  return found;
}

Result<void> Spool::set_input(std::string_view input) {
  if (auto begun = begin(); !begun) {
    return begun;
  }
  if (auto written = write_input(input); !written) {
    return tl::make_unexpected(rolled_back(std::move(written.error())));
  }
  if (auto committed = commit(); !committed) {
    return committed;
  }
  input_ = input;
  return {};
}

Result<void> Spool::write_input(std::string_view input) {
  auto update = db_.prepare("UPDATE turnstile_spool SET value=? WHERE key='input'");
  if (!update) {
    return tl::make_unexpected(update.error());
  }
  update->bind(1, input);
  if (const int code = update->step(); code != SQLITE_DONE) {
    return tl::make_unexpected(db_.error(code, "writing the spool"));
  }
  return {};
}

Result<void> Spool::begin() {
  if (is_broken_) {
    return fail(Errc::io, "the spool " + path().string() + " failed to sync",
                "check its disk, and start again: the next start sends the rows that were taken");
  }
  return db_.execute("BEGIN IMMEDIATE", "writing the spool");
}

Result<void> Spool::commit() {
  if (auto committed = db_.execute("COMMIT", "writing the spool"); !committed) {
    return tl::make_unexpected(rolled_back(committed.error()));
  }
  return checkpoint_if_due();
}

Error Spool::rolled_back(Error error) {
  is_broken_ = is_broken_ || error.code == Errc::io || error.code == Errc::corrupt;
  if (db_.in_transaction() && !db_.execute("ROLLBACK")) {
    is_broken_ = true;
  }
  return error;
}

Result<void> Spool::checkpoint_if_due() {
  if (wal_pages_ < kSpoolCheckpointPages) {
    return {};
  }
  // The commit stands whatever happens here. Without room, the next commit tries again.
  if (auto copied = db_.execute("PRAGMA wal_checkpoint(PASSIVE)", "writing the spool");
      !copied && copied.error().code != Errc::full) {
    is_broken_ = true;
  }
  return {};
}

Result<void> Spool::insert(const Batch& batch) {
  const BatchHeader& header = batch.header;
  BatchHeader without_epoch = header;
  without_epoch.epoch = {};
  const Bytes frame = encode_batch_header(without_epoch);
  insert_.bind(1, sql_integer(header.first.value));
  insert_.bind(2, sql_integer(header.last().value));
  insert_.bind(3, sql_integer(kind_of(batch)));
  insert_.bind(4, spool_checksum(header.first.value, header.last().value, kind_of(batch),
                                 frame.view(), batch.rows_frame.view()));
  insert_.bind_blob(5, frame.view());
  insert_.bind_blob(6, batch.rows_frame.view());
  const int code = insert_.step();
  Error error = code == SQLITE_DONE ? Error{} : db_.error(code, "keeping rows");
  insert_.reset();
  if (code != SQLITE_DONE) {
    return tl::make_unexpected(std::move(error));
  }
  bytes_ += frame.size() + batch.rows_frame.size();
  return {};
}

Result<void> Spool::store(const std::vector<Batch>& batches, std::string_view input) {
  std::uint64_t bytes = 0;
  Sequence last = last_;
  for (const Batch& batch : batches) {
    bytes += batch.rows_frame.size();
    last = batch.header.last();
  }
  if (bytes_ > 0 && bytes_ + bytes > options_.limit_bytes && acknowledged_ > dropped_) {
    if (auto trimmed = trim(); !trimmed) {
      return trimmed;
    }
  }
  if (bytes_ > 0 && bytes_ + bytes > options_.limit_bytes) {
    return fail(Errc::full,
                fmt::format("the spool {} is at its limit of {}", path().string(),
                            counted(options_.limit_bytes, "byte")),
                "start the broker if it is not running, or raise --spool-limit");
  }
  const std::uint64_t bytes_before = bytes_;
  if (auto begun = begin(); !begun) {
    return begun;
  }
  const auto deleted = delete_acknowledged();
  Result<void> done = deleted.map([](const Deleted&) {});
  for (auto batch = batches.begin(); batch != batches.end() && done; ++batch) {
    done = insert(*batch);
  }
  if (done && !input.empty() && input != input_) {
    done = write_input(input);
  }
  if (!done) {
    bytes_ = bytes_before;
    return tl::make_unexpected(rolled_back(std::move(done.error())));
  }
  if (auto committed = commit(); !committed) {
    bytes_ = bytes_before;
    return committed;
  }
  has_deleted(*deleted);
  last_ = last;
  if (!input.empty()) {
    input_ = input;
  }
  return {};
}

void Spool::has_deleted(const Deleted& deleted) {
  bytes_ -= deleted.bytes;
  dropped_ = deleted.through;
  applied_ = known_applied_;
}

Result<Spool::Deleted> Spool::delete_acknowledged() {
  if (acknowledged_ <= dropped_ && known_applied_ <= applied_) {
    return Deleted{0, dropped_};
  }
  const std::string from = fmt::format("FROM batches WHERE last <= {}", acknowledged_.value);
  const auto bytes =
      db_.query_integer("SELECT coalesce(sum(length(header) + length(rows)), 0) " + from);
  const auto through = db_.query_integer("SELECT coalesce(max(last), 0) " + from);
  if (!bytes || !through) {
    return tl::make_unexpected(!bytes ? bytes.error() : through.error());
  }
  const Deleted gone{static_cast<std::uint64_t>(*bytes), std::max(dropped_, sequence_of(*through))};
  auto deleted =
      db_.execute(fmt::format("DELETE {}; UPDATE turnstile_spool SET value={} WHERE key='dropped'; "
                              "UPDATE turnstile_spool SET value={} WHERE key='applied'",
                              from, gone.through.value, known_applied_.value),
                  "dropping acknowledged rows");
  if (!deleted) {
    return tl::make_unexpected(deleted.error());
  }
  return gone;
}

Result<void> Spool::drop(Sequence acknowledged, Sequence applied) {
  acknowledged_ = std::max(acknowledged_, std::min(acknowledged, last_));
  known_applied_ = std::max(known_applied_, std::min(applied, last_));
  const bool is_worth_it = acknowledged_.value - dropped_.value >= kSpoolTrimRows;
  return is_worth_it ? trim() : Result<void>();
}

Result<void> Spool::trim() {
  if (acknowledged_ <= dropped_ && known_applied_ <= applied_) {
    return {};
  }
  if (auto begun = begin(); !begun) {
    return begun;
  }
  const auto deleted = delete_acknowledged();
  if (!deleted) {
    return tl::make_unexpected(rolled_back(deleted.error()));
  }
  if (auto committed = commit(); !committed) {
    return committed;
  }
  has_deleted(*deleted);
  shrink_if_empty();
  return {};
}

// Best effort: a later trim may shrink the file.
void Spool::shrink_if_empty() {
  if (dropped_ < last_) {
    return;
  }
  const auto pages = db_.query_integer("PRAGMA page_count");
  if (pages && *pages > kSpoolShrinkAbovePages) {
    (void)db_.execute("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)");
  }
}

Error Spool::damaged(const std::string& what) const {
  return {Errc::corrupt, fmt::format("the spool {} is damaged: {}", path().string(), what),
          "later rows are not sent; SPOOL.md says how to look inside"};
}

Result<std::vector<Batch>> Spool::read(Sequence after, std::size_t max_bytes) {
  std::vector<Batch> batches;
  std::size_t bytes = 0;
  const sqlite::ResetAtEnd reset(select_);
  select_.bind(1, sql_integer(after.value));
  int code = SQLITE_ROW;
  while ((batches.empty() || bytes < max_bytes) && (code = select_.step()) == SQLITE_ROW) {
    const Sequence first = sequence_of(select_.integer(0));
    const Sequence last = sequence_of(select_.integer(1));
    const auto kind = static_cast<std::uint64_t>(select_.integer(2));
    const std::string_view header = select_.blob(4);
    const std::string_view rows = select_.blob(5);
    if (first != next(after)) {
      return tl::make_unexpected(damaged(fmt::format("row {} is missing", after.value + 1)));
    }
    auto decoded = decode_batch_header(header);
    if (!decoded ||
        select_.integer(3) != spool_checksum(first.value, last.value, kind, header, rows) ||
        decoded->first != first || decoded->last() != last || decoded->producer != producer_) {
      return tl::make_unexpected(
          damaged(fmt::format("rows {} to {} are not what was stored", first.value, last.value)));
    }
    Batch batch;
    batch.header = std::move(*decoded);
    batch.rows_frame = Bytes(std::string(rows));
    bytes += rows.size();
    batches.push_back(std::move(batch));
    after = last;
  }
  if (code != SQLITE_ROW && code != SQLITE_DONE) {
    return tl::make_unexpected(db_.error(code, "reading the spool"));
  }
  return batches;
}

}  // namespace turnstile
