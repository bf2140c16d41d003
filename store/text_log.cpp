#include "store/text_log.h"

#include <system_error>
#include <utility>

namespace turnstile::store {
namespace {

constexpr std::size_t kBufferedBytes = std::size_t{16} * 1024 * 1024;
constexpr std::size_t kChunkBytes = std::size_t{256} * 1024;
constexpr std::int64_t kSyncEveryBytes = std::int64_t{8} * 1024 * 1024;

// The same file by every way to it, as far as folders tell.
std::filesystem::path absolute_path(const std::filesystem::path& path) {
  std::error_code failed;
  auto resolved = std::filesystem::weakly_canonical(std::filesystem::absolute(path), failed);
  return failed ? std::filesystem::absolute(path).lexically_normal() : resolved;
}

}  // namespace

TextLog::TextLog(sqlite::Connection& connection, Tables& tables, const std::filesystem::path& path,
                 std::string table, OpenTextFile open_file, std::function<void()> still_alive)
    : connection_(connection),
      tables_(tables),
      path_(absolute_path(path)),
      table_(std::move(table)),
      open_file_(std::move(open_file)),
      still_alive_(std::move(still_alive)) {}

Result<void> TextLog::open() {
  if (auto current = tables_.refresh(); !current) {
    return current;
  }
  auto table = tables_.find(table_);
  if (!table) {
    return tl::make_unexpected(std::move(table.error()));
  }
  if (*table != nullptr && (*table)->rowid.empty()) {
    return fail(Errc::unreachable,
                "table " + table_ + " of " + connection_.path().string() +
                    " has no rowids, so the text log cannot follow it",
                "name an ordinary table for the text log");
  }
  auto file = open_file_(path_);
  if (!file) {
    return tl::make_unexpected(std::move(file.error()));
  }
  file_ = std::move(*file);
  auto record = read_record(nullptr, nullptr);
  if (!record) {
    return tl::make_unexpected(std::move(record.error()));
  }
  auto size = file_->size();
  if (!size) {
    return tl::make_unexpected(std::move(size.error()));
  }
  if (!record->has_value() && *size > 0) {
    return fail(
        Errc::unreachable,
        path_.string() + " exists and is not the text log of " + connection_.path().string(),
        "move it away, or name another file for the text log");
  }
  return {};
}

Result<void> TextLog::load() {
  if (auto opened = open(); !opened) {
    return opened;
  }
  std::string recorded_table;
  auto record = read_record(&recorded_synced_, &recorded_table);
  if (!record) {
    return tl::make_unexpected(std::move(record.error()));
  }
  recorded_ = record->value_or(TextPosition{});
  if (!record->has_value()) {
    recorded_synced_ = {};
  }
  synced_ = recorded_synced_;
  unseen_ = true;
  begin();
  if (record->has_value() && !same_name(recorded_table, table_)) {
    request_rebuild("it held the rows of table " + recorded_table);
  }
  return {};
}

void TextLog::begin() {
  next_ = recorded_;
  lines_.clear();
  buffered_ = true;
  advanced_ = false;
  gap_ = false;
  rebuild_ = false;
}

void TextLog::request_rebuild(std::string_view why) {
  rebuild_ = true;
  notes_.push_back(path_.string() + " is written anew from table " + table_ + ": " +
                   std::string(why));
}

std::string TextLog::refusal(const TableInfo& table,
                             const std::vector<std::string>& columns) const {
  if (!same_name(table.name, table_)) {
    return {};
  }
  if (table.rowid.empty()) {
    return "table " + table.name +
           " is the text log's and must have rowids: make it an ordinary table";
  }
  for (const auto& column : columns) {
    if (table.names_rowid(column)) {
      return "table " + table.name +
             " is the text log's, which needs ids in the order of commits: " + "leave out " +
             column + " and let the target give the ids";
    }
  }
  return {};
}

Result<void> TextLog::prepare() {
  if (prepared_for_ == tables_.version()) {
    return {};
  }
  auto table = tables_.find(table_);
  if (!table) {
    return tl::make_unexpected(std::move(table.error()));
  }
  has_table_ = false;
  greatest_ = {};
  select_ = {};
  // Without rowids its rows are refused, so there is nothing to log.
  if (*table != nullptr && !(*table)->rowid.empty()) {
    std::string columns;
    for (const auto& column : (*table)->columns) {
      columns += ", t." + sqlite::quoted(column.name);
    }
    const std::string rowid = "t." + (*table)->rowid;
    const std::string from = " FROM main." + sqlite::quoted((*table)->name) + " AS t";
    auto greatest = connection_.prepare("SELECT max(" + rowid + ")" + from);
    auto select = connection_.prepare("SELECT " + rowid + columns + from + " WHERE " + rowid +
                                      " > ?1 AND " + rowid + " <= ?2 ORDER BY " + rowid);
    if (!greatest || !select) {
      return tl::make_unexpected(std::move(!greatest ? greatest.error() : select.error()));
    }
    greatest_ = std::move(*greatest);
    select_ = std::move(*select);
    has_table_ = true;
    plain_ = (*table)->plain;
  }
  prepared_for_ = tables_.version();
  return {};
}

Result<std::optional<TextPosition>> TextLog::read_record(TextPosition* synced, std::string* table) {
  auto statement = connection_.prepare(
      "SELECT length, last_rowid, synced_length, synced_rowid, table_name "
      "FROM main.turnstile_text_log WHERE path = ?1");
  if (!statement) {
    return tl::make_unexpected(std::move(statement.error()));
  }
  const std::string path = path_.string();
  statement->bind(1, std::string_view(path));
  const int code = statement->step();
  if (code == SQLITE_DONE) {
    return std::optional<TextPosition>();
  }
  if (code != SQLITE_ROW) {
    return tl::make_unexpected(connection_.error(code, "reading how long the text log is"));
  }
  if (synced != nullptr) {
    *synced = {.length = statement->integer(2), .rowid = statement->integer(3)};
  }
  if (table != nullptr) {
    *table = statement->text(4);
  }
  return TextPosition{.length = statement->integer(0), .rowid = statement->integer(1)};
}

Result<void> TextLog::write_record(const TextPosition& synced) {
  if (!record_) {
    auto statement =
        connection_.prepare("INSERT OR REPLACE INTO main.turnstile_text_log VALUES (?,?,?,?,?,?)");
    if (!statement) {
      return tl::make_unexpected(std::move(statement.error()));
    }
    record_ = std::move(*statement);
  }
  const std::string path = path_.string();
  const sqlite::ResetAtEnd reset(record_);
  int position = 0;
  record_.bind(++position, std::string_view(path));
  record_.bind(++position, std::string_view(table_));
  record_.bind(++position, next_.length);
  record_.bind(++position, next_.rowid);
  record_.bind(++position, synced.length);
  record_.bind(++position, synced.rowid);
  if (const int code = record_.step(); code != SQLITE_DONE) {
    return tl::make_unexpected(connection_.error(code, "recording how long the text log is"));
  }
  return {};
}

Result<std::int64_t> TextLog::greatest_rowid() {
  if (auto ready = prepare(); !ready) {
    return tl::make_unexpected(std::move(ready.error()));
  }
  if (!has_table_) {
    return schema::kNoRowid;
  }
  const sqlite::ResetAtEnd reset(greatest_);
  if (const int code = greatest_.step(); code != SQLITE_ROW) {
    return tl::make_unexpected(connection_.error(code, "reading the text log's table"));
  }
  return std::holds_alternative<Null>(greatest_.value(0)) ? schema::kNoRowid : greatest_.integer(0);
}

Result<void> TextLog::before_rows() {
  // A table whose rows may still change is read back once, at the end.
  if (advanced_ && !(gap_ && plain_)) {
    return {};
  }
  return advance();
}

Result<void> TextLog::advance() {
  auto greatest = greatest_rowid();
  if (!greatest) {
    return tl::make_unexpected(std::move(greatest.error()));
  }
  if (*greatest < next_.rowid && !rebuild_) {
    request_rebuild("rows at the end of table " + table_ + " were deleted");
  }
  if (*greatest > next_.rowid && !rebuild_) {
    const auto keep = [&](std::string_view chunk) -> Result<void> {
      lines_ += chunk;
      keep_bounded();
      return {};
    };
    auto bytes = read_lines(next_.rowid, *greatest, keep);
    if (!bytes) {
      return tl::make_unexpected(std::move(bytes.error()));
    }
    next_ = {.length = next_.length + *bytes, .rowid = *greatest};
  }
  advanced_ = true;
  gap_ = false;
  return {};
}

void TextLog::keep_bounded() {
  if (lines_.size() > kBufferedBytes) {
    buffered_ = false;
  }
  if (!buffered_) {
    lines_.clear();
  }
}

void TextLog::add_rows(const BatchLines& lines, const DecodedRows& rows, std::size_t first,
                       std::size_t count, std::int64_t last_rowid) {
  if (gap_ || rebuild_) {
    return;
  }
  const std::int64_t before = next_.rowid == schema::kNoRowid ? 0 : next_.rowid;
  const std::size_t start = lines_.size();
  // Any other last rowid: the table gave other ids than the next ones, or took fewer rows.
  gap_ = last_rowid - before != static_cast<std::int64_t>(count);
  for (std::size_t i = 0; i < count && !gap_; ++i) {
    gap_ = !lines.append(rows.row(first + i), before + 1 + static_cast<std::int64_t>(i), lines_);
  }
  if (gap_) {
    lines_.resize(start);
    return;
  }
  next_ = {.length = next_.length + static_cast<std::int64_t>(lines_.size() - start),
           .rowid = last_rowid};
  keep_bounded();
}

Result<std::int64_t> TextLog::read_lines(std::int64_t after, std::int64_t through,
                                         const Sink& sink) {
  if (!has_table_) {
    return 0;
  }
  const sqlite::ResetAtEnd reset(select_);
  select_.bind(1, after);
  select_.bind(2, through);
  std::int64_t bytes = 0;
  std::string chunk;
  int code = SQLITE_ROW;
  while (code == SQLITE_ROW) {
    code = select_.step();
    if (code == SQLITE_ROW) {
      append_line(select_, 1, chunk);
    }
    if (chunk.size() >= kChunkBytes || code == SQLITE_DONE) {
      bytes += static_cast<std::int64_t>(chunk.size());
      if (auto taken = sink(chunk); !taken) {
        return tl::make_unexpected(std::move(taken.error()));
      }
      chunk.clear();
      still_alive_();
    }
  }
  if (code != SQLITE_DONE) {
    return tl::make_unexpected(connection_.error(code, "reading the text log's table"));
  }
  return bytes;
}

Result<void> TextLog::finish() {
  // Always: triggers of other tables, and other programs, may have put rows into this one.
  if (auto advanced = advance(); !advanced) {
    return advanced;
  }
  if (rebuild_) {
    auto greatest = greatest_rowid();
    if (!greatest) {
      return tl::make_unexpected(std::move(greatest.error()));
    }
    const auto count_only = [](std::string_view) -> Result<void> { return {}; };
    auto bytes = read_lines(schema::kNoRowid, *greatest, count_only);
    if (!bytes) {
      return tl::make_unexpected(std::move(bytes.error()));
    }
    next_ = {.length = *bytes, .rowid = *greatest};
  }
  const TextPosition synced = rebuild_ ? TextPosition{} : synced_;
  if (!rebuild_ && next_ == recorded_ && synced == recorded_synced_) {
    return {};
  }
  return write_record(synced);
}

void TextLog::committed() {
  const TextPosition from = std::exchange(recorded_, next_);
  if (rebuild_) {
    synced_ = {};
    start_over_ = true;
  }
  recorded_synced_ = synced_;
  if (!rebuild_ && !unseen_ && from == recorded_) {
    return;
  }
  if (!rebuild_ && !unseen_ && buffered_ && !behind_) {
    auto written = write_all(*file_, static_cast<std::uint64_t>(from.length), lines_);
    unsynced_bytes_ += recorded_.length - from.length;
    if (written && unsynced_bytes_ >= kSyncEveryBytes) {
      written = sync();
    }
    if (!written) {
      behind_ = std::move(written.error());
    }
  } else {
    static_cast<void>(restore());  // behind() says what became of it
  }
  begin();
}

Result<bool> TextLog::restore() {
  // Promise 8: after a failure the file is opened anew, and what may not be on disk is written
  // again.
  auto file = open_file_(path_);
  if (!file) {
    behind_ = file.error();
    return tl::make_unexpected(std::move(file.error()));
  }
  file_ = std::move(*file);
  auto restored = connection_.execute("BEGIN").and_then([&] { return restore_within_read(); });
  if (connection_.in_transaction()) {
    // Nothing was written: this only ends the view of the table.
    if (auto ended = connection_.execute("COMMIT"); !ended && restored) {
      restored = tl::make_unexpected(std::move(ended.error()));
    }
  }
  if (!restored) {
    behind_ = restored.error();
  }
  return restored;
}

Result<bool> TextLog::restore_within_read() {
  if (auto ready = tables_.refresh().and_then([&] { return prepare(); }); !ready) {
    return tl::make_unexpected(std::move(ready.error()));
  }
  auto size = file_->size();
  if (!size) {
    return tl::make_unexpected(std::move(size.error()));
  }
  if (!start_over_ && *size < static_cast<std::uint64_t>(synced_.length)) {
    // The record must forget what it says is synced before the file is long enough again: else a
    // power cut in between could leave a file of the right length with holes in it.
    behind_ = Error{Errc::locked, "it was cut or removed", "the text log is written anew"};
    return false;
  }
  const TextPosition from = start_over_ ? TextPosition{} : synced_;
  // The length is checked before a byte is written, so that the file never gets other lines than
  // the record counted.
  const auto count_only = [](std::string_view) -> Result<void> { return {}; };
  auto counted = read_lines(from.rowid, recorded_.rowid, count_only);
  if (!counted) {
    return tl::make_unexpected(std::move(counted.error()));
  }
  if (from.length + *counted != recorded_.length) {
    behind_ = Error{Errc::locked, "rows were changed that it has", "the text log is written anew"};
    return false;
  }
  if (start_over_) {
    if (auto cut = file_->truncate(0); !cut) {
      return tl::make_unexpected(std::move(cut.error()));
    }
  }
  auto offset = static_cast<std::uint64_t>(from.length);
  const auto write = [&](std::string_view chunk) -> Result<void> {
    auto written = write_all(*file_, offset, chunk);
    offset += chunk.size();
    return written;
  };
  if (auto written = read_lines(from.rowid, recorded_.rowid, write); !written) {
    return tl::make_unexpected(std::move(written.error()));
  }
  if (!start_over_ && *size > static_cast<std::uint64_t>(recorded_.length)) {
    if (auto cut = file_->truncate(static_cast<std::uint64_t>(recorded_.length)); !cut) {
      return tl::make_unexpected(std::move(cut.error()));
    }
  }
  unsynced_bytes_ = 1;  // whatever the file held before may be unsynced as well
  if (auto synced = sync(); !synced) {
    return tl::make_unexpected(std::move(synced.error()));
  }
  start_over_ = false;
  unseen_ = false;
  behind_.reset();
  return true;
}

Result<void> TextLog::sync() {
  if (unsynced_bytes_ == 0) {
    return {};
  }
  if (auto synced = file_->sync(); !synced) {
    behind_ = synced.error();
    return synced;
  }
  unsynced_bytes_ = 0;
  synced_ = recorded_;
  return {};
}

std::vector<std::string> TextLog::take_notes() {
  return std::exchange(notes_, {});
}

}  // namespace turnstile::store
