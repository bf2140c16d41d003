#include "broker/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "broker/journal_migrations.h"
#include "broker/journal_schema.h"
#include "base/counted.h"
#include "base/file_identity.h"
#include "store/idle_time.h"

namespace turnstile::broker {
namespace {

std::int64_t now_ms() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count();
}

std::int64_t signed_of(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}
std::uint64_t unsigned_of(std::int64_t value) {
  return static_cast<std::uint64_t>(value);
}

// Removed batches are deleted with the next store(), or by themselves when there are so many.
constexpr std::size_t kTrimBatches = 1024;
constexpr std::uint64_t kTrimBytes = std::uint64_t{64} * 1024 * 1024;

bool sync_path(const std::filesystem::path& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
  const bool is_synced = fd >= 0 && ::fsync(fd) == 0;
  if (fd >= 0) {
    const int problem = errno;
    ::close(fd);
    errno = problem;
  }
  return is_synced;
}

}  // namespace

Result<FileLock> FileLock::take(const std::filesystem::path& path, const std::string& what) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    return fail(Errc::unreachable,
                "cannot open the lock file " + path.string() + ": " + std::strerror(errno),
                "Check that the folder exists and that you may write in it.");
  }
  FileLock lock(fd, path, what);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return fail(Errc::locked, "another broker already uses " + what,
                "Stop it first, or give this one a place of its own.");
  }
  return lock;
}

FileLock::FileLock(FileLock&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::move(other.path_)),
      what_(std::move(other.what_)) {}

FileLock& FileLock::operator=(FileLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  std::swap(what_, other.what_);
  return *this;
}

Result<void> FileLock::keep() {
  if (identity_at(path_) == identity_of(fd_)) {
    return {};
  }
  return take(path_, what_).map([this](FileLock again) { *this = std::move(again); });
}

FileLock::~FileLock() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

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
  const auto old = has_tables();  // before anything is changed: it may be somebody else's file
  if (!old) {
    return tl::make_unexpected(old.error());
  }
  std::string sql = *old ? ""
                         : "PRAGMA page_size=" + std::to_string(kJournalPageBytes) +
                               "; PRAGMA auto_vacuum=INCREMENTAL; ";
  sql +=
      // Without secure_delete, which some builds of SQLite have on: it writes each page that
      // becomes free, as much as was stored.
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
  if (auto written = write_anew(); !written) {
    return written;
  }
  // SQLite's own checkpoints after a commit hide a sync that failed (promise 8): this one does not
  // checkpoint, it only counts, and checkpoint_if_due() looks at the outcome.
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

// False: the file is new. Errors: what is there is no journal of this format.
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

Result<void> Journal::reopen() {
  broken_ = true;
  insert_ = {};
  select_ = {};
  delete_ = {};
  if (auto left = leave_vanished(); !left) {
    return left;  // it stays open for the next try
  }
  db_ = {};
  return lock_.keep().and_then([&] { return connect(); });
}

Result<void> Journal::look() const {
  return check_usable().and_then([&] { return db_.still_at_path(); });
}

// Promise 1: a file without a path can be read as long as it is open, so what was acknowledged goes
// from there to the path. A file that somebody put there has batches and offsets of its own, which
// this must not mix with others. Errors: nothing can be made at the path now.
Result<void> Journal::leave_vanished() {
  if (db_.handle() == nullptr || db_.still_at_path()) {
    return {};
  }
  if (db_.in_transaction()) {
    static_cast<void>(db_.execute("ROLLBACK"));
  }
  const bool lacks_only_log = db_.has_database_at_path();
  if (db_.save_lost_log() && lacks_only_log) {
    return {};
  }
  Vanished vanished;
  auto rows = waiting_rows();
  if (rows) {
    vanished.held = std::move(*rows);
  } else {
    vanished.problem = rows.error().what;
  }
  std::error_code failed;
  if (lacks_only_log) {
    vanished.problem = "its write-ahead log is gone";
  } else if (std::filesystem::is_regular_file(options_.path, failed)) {
    vanished.problem = "another file is at its path";
  } else if (rows) {
    if (auto copied = copy_to_path(); !copied) {
      return copied;
    }
    vanished.is_kept = true;
  }
  vanished_ = std::move(vanished);
  return {};
}

// What was acknowledged and is not applied, in the order of storing.
Result<std::vector<RowRange>> Journal::waiting_rows() {
  auto select = db_.prepare("SELECT offset, producer, first, last FROM batches WHERE offset <= " +
                            std::to_string(last_offset_.value) + " ORDER BY offset");
  if (!select) {
    return tl::make_unexpected(std::move(select.error()));
  }
  std::sort(removed_.begin(), removed_.end());
  std::vector<RowRange> all;
  int code = SQLITE_DONE;
  while ((code = select->step()) == SQLITE_ROW) {
    const Offset offset{unsigned_of(select->integer(0))};
    if (std::binary_search(removed_.begin(), removed_.end(), offset)) {
      continue;
    }
    RowRange rows{ProducerId{std::string(select->text(1))},
                  Sequence{unsigned_of(select->integer(2))},
                  Sequence{unsigned_of(select->integer(3))}};
    if (!all.empty() && all.back().producer == rows.producer &&
        next(all.back().last) == rows.first) {
      all.back().last = rows.last;
    } else {
      all.push_back(std::move(rows));
    }
  }
  if (code != SQLITE_DONE) {
    return tl::make_unexpected(db_.error(code, "reading the journal that vanished"));
  }
  return all;
}

// Whole and synced under another name first. What was applied, or never acknowledged, comes along
// and changes nothing (promise 2).
Result<void> Journal::copy_to_path() {
  const std::string copy = options_.path.string() + ".copy";
  ::unlink(copy.c_str());
  std::string literal;
  for (const char c : copy) {
    literal += c == '\'' ? "''" : std::string(1, c);
  }
  auto copied = db_.execute("VACUUM INTO '" + literal + "'", "copying the journal that vanished");
  auto folder = options_.path.parent_path();
  folder = folder.empty() ? "." : folder;
  const bool is_there = copied && sync_path(copy, O_RDWR) &&
                        ::link(copy.c_str(), options_.path.c_str()) == 0 &&
                        sync_path(folder, O_RDONLY | O_DIRECTORY);
  if (copied && !is_there) {
    copied = fail(Errc::unreachable, "cannot put a copy of the journal at " +
                                         options_.path.string() + ": " + std::strerror(errno));
  }
  ::unlink(copy.c_str());
  return copied;
}

// Promise 8: what is in the write-ahead log when it is opened may have been written by somebody
// whose sync failed, and a second sync of the same bytes proves nothing. Copied into the file they
// are other bytes.
Result<void> Journal::write_anew() {
  const auto busy = db_.query_integer("PRAGMA wal_checkpoint(TRUNCATE)");
  db_.note_written();
  if (!busy) {
    return tl::make_unexpected(busy.error());
  }
  if (*busy != 0) {
    return fail(Errc::locked, "another program reads the journal " + options_.path.string(),
                "Let it finish or end it; `fuser -v " + options_.path.string() + "` names it.");
  }
  return {};
}

Result<void> Journal::check_usable() const {
  if (broken_) {
    return fail(Errc::io, "the journal " + options_.path.string() +
                              " failed to sync and was not opened anew since");
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
  // Promise 8, after the commit: until then the file could still be moved with what was written.
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
  return {};  // without room, or beside a reader, it is tried after the next commit
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
  // First, so that what is stored takes the room of what is deleted.
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
  // A drained journal must not give an offset a second time.
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

// Best effort: a journal that could not shrink now shrinks another time.
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

Result<Epoch> Journal::epoch(const ProducerId& producer) {
  if (auto usable = check_usable(); !usable) {
    return tl::make_unexpected(usable.error());
  }
  // The id's characters need no quoting (is_valid_producer_id).
  auto epoch = db_.query_integer("SELECT coalesce((SELECT epoch FROM producers WHERE name='" +
                                 producer.text + "'), 0)");
  if (!epoch) {
    return tl::make_unexpected(epoch.error());
  }
  return Epoch{unsigned_of(*epoch)};
}

Result<void> Journal::set_epoch(const ProducerId& producer, Epoch epoch) {
  return set_epochs({{producer, epoch, {}}});
}

Result<User> Journal::owner(const ProducerId& producer) {
  if (auto usable = check_usable(); !usable) {
    return tl::make_unexpected(usable.error());
  }
  constexpr std::int64_t kNobody = -1;
  const auto owner = db_.query_integer("SELECT coalesce((SELECT owner FROM producers WHERE name='" +
                                       producer.text + "'), " + std::to_string(kNobody) + ")");
  if (!owner) {
    return tl::make_unexpected(owner.error());
  }
  return *owner == kNobody ? User() : User(static_cast<uid_t>(*owner));
}

Result<std::string> Journal::target() {
  if (auto usable = check_usable(); !usable) {
    return tl::make_unexpected(usable.error());
  }
  auto select = db_.prepare("SELECT path FROM target");
  if (!select) {
    return tl::make_unexpected(select.error());
  }
  const int code = select->step();
  if (code != SQLITE_ROW && code != SQLITE_DONE) {
    return tl::make_unexpected(db_.error(code, "reading the journal"));
  }
  return code == SQLITE_ROW ? std::string(select->text(0)) : std::string();
}

Result<void> Journal::set_target(const std::string& path) {
  if (auto begun = begin(); !begun) {
    return begun;
  }
  auto set = db_.execute("DELETE FROM target");
  if (set) {
    auto insert = db_.prepare("INSERT INTO target VALUES(?)");
    if (!insert) {
      return tl::make_unexpected(rolled_back(insert.error()));
    }
    insert->bind(1, std::string_view(path));
    if (const int code = insert->step(); code != SQLITE_DONE) {
      set = tl::make_unexpected(db_.error(code, "storing the target's path"));
    }
  }
  if (!set) {
    return tl::make_unexpected(rolled_back(set.error()));
  }
  return commit();
}

Result<void> Journal::set_epochs(const std::vector<Name>& names) {
  if (auto begun = begin(); !begun) {
    return begun;
  }
  const std::string touched = std::to_string(now_ms());
  for (const auto& [producer, epoch, owner] : names) {
    auto set = db_.execute("INSERT INTO producers VALUES('" + producer.text + "', " +
                           std::to_string(epoch.value) + ", " + touched + ", " +
                           (owner ? std::to_string(*owner) : "NULL") +
                           ") ON CONFLICT(name) DO UPDATE SET epoch=excluded.epoch, "
                           "touched_ms=excluded.touched_ms, "
                           "owner=coalesce(owner, excluded.owner)");
    if (!set) {
      return tl::make_unexpected(rolled_back(set.error()));
    }
  }
  names_ += names.size();
  return commit();
}

Result<std::vector<std::pair<ProducerId, std::uint64_t>>> Journal::oldest_names(std::size_t most) {
  if (auto usable = check_usable(); !usable) {
    return tl::make_unexpected(usable.error());
  }
  auto select =
      db_.prepare("SELECT name, touched_ms FROM producers ORDER BY touched_ms, name LIMIT " +
                  std::to_string(most));
  if (!select) {
    return tl::make_unexpected(select.error());
  }
  std::vector<std::pair<ProducerId, std::uint64_t>> names;
  int code = SQLITE_DONE;
  while ((code = select->step()) == SQLITE_ROW) {
    names.emplace_back(ProducerId{std::string(select->text(0))}, unsigned_of(select->integer(1)));
  }
  if (code != SQLITE_DONE) {
    return tl::make_unexpected(db_.error(code, "reading the journal"));
  }
  return names;
}

Result<void> Journal::follow_clock(std::optional<std::uint64_t> looked_ms, std::uint64_t now_ms,
                                   std::chrono::milliseconds step) {
  if (auto usable = check_usable(); !usable) {
    return usable;
  }
  std::int64_t last = signed_of(looked_ms.value_or(now_ms));
  if (!looked_ms && names_ > 0) {
    const auto newest = db_.query_integer("SELECT max(touched_ms) FROM producers");
    if (!newest) {
      return tl::make_unexpected(newest.error());
    }
    last = *newest;
  }
  const auto shift = store::idle_shift(last, signed_of(now_ms), step);
  if (!shift || names_ == 0) {
    return {};
  }
  if (auto begun = begin(); !begun) {
    return begun;
  }
  auto moved = db_.execute("UPDATE producers SET touched_ms=min(" + std::to_string(now_ms) +
                           ", touched_ms+" + std::to_string(*shift) + ")");
  if (!moved) {
    return tl::make_unexpected(rolled_back(moved.error()));
  }
  return commit();
}

Result<void> Journal::forget_names(const std::vector<ProducerId>& names) {
  if (auto begun = begin(); !begun) {
    return begun;
  }
  for (const ProducerId& name : names) {
    if (auto gone = db_.execute("DELETE FROM producers WHERE name='" + name.text + "'"); !gone) {
      return tl::make_unexpected(rolled_back(gone.error()));
    }
  }
  if (auto committed = commit(); !committed) {
    return committed;
  }
  return count_names();
}

Result<void> Journal::count_names() {
  const auto names = db_.query_integer("SELECT count(*) FROM producers");
  if (!names) {
    return tl::make_unexpected(names.error());
  }
  names_ = unsigned_of(*names);
  return {};
}

// Of a batch; what cannot be read is found when the batch is handed over.
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
