#include "store/text_log.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "base/counted.h"

namespace turnstile::store {

using std::chrono::steady_clock;

namespace {

constexpr std::size_t kBufferedBytes = std::size_t{16} * 1024 * 1024;
constexpr std::size_t kChunkBytes = std::size_t{256} * 1024;
constexpr std::int64_t kSyncEveryBytes = std::int64_t{8} * 1024 * 1024;
constexpr std::uint64_t kLookBackBytes = std::uint64_t{64} * 1024;
// Of ids: a table with more is not counted.
constexpr std::int64_t kCountedIds = 1'000'000;
constexpr std::chrono::milliseconds kShortLook{5};
constexpr int kLookPauses = 100;
constexpr std::chrono::seconds kReadAgain{5};

// A line that was written before columns were added has the first fields only.
bool is_same_row(std::string_view line, std::string_view now) {
  constexpr std::string_view kEnd = "]\n";
  if (line == now || !line.ends_with(kEnd)) {
    return line == now;
  }
  line.remove_suffix(kEnd.size());
  return now.starts_with(line) && now.substr(line.size()).starts_with(", ");
}

// The same path for every way to a file that leads through other directories or links.
std::filesystem::path absolute_path(const std::filesystem::path& path) {
  std::error_code failed;
  auto resolved = std::filesystem::weakly_canonical(std::filesystem::absolute(path), failed);
  return failed ? std::filesystem::absolute(path).lexically_normal() : resolved;
}

}  // namespace

TextLog::TextLog(sqlite::Connection& connection, Tables& tables, Options options)
    : connection_(connection),
      tables_(tables),
      options_(std::move(options)),
      path_(absolute_path(options_.path)),
      table_(options_.table) {}

Result<void> TextLog::open() {
  if (auto current = tables_.refresh(); !current) {
    return current;
  }
  auto file = options_.open_file(path_);
  if (!file) {
    return tl::make_unexpected(std::move(file.error()));
  }
  file_ = std::move(*file);
  auto record = read_record();
  if (!record) {
    return tl::make_unexpected(std::move(record.error()));
  }
  auto table = tables_.find(table_);
  if (!table) {
    return tl::make_unexpected(std::move(table.error()));
  }
  // One that the log followed before is another matter: see read_problem().
  if (!record->has_value() && *table != nullptr && (*table)->rowid.empty()) {
    return fail(Errc::unreachable,
                "table " + table_ + " of " + connection_.path().string() +
                    " has no rowids, so the text log cannot follow it",
                "name an ordinary table for the text log");
  }
  auto size = file_->size();
  if (!size) {
    return tl::make_unexpected(std::move(size.error()));
  }
  if (!record->has_value() && *size > 0 && !options_.is_ours) {
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
  auto read = read_record();
  if (!read) {
    return tl::make_unexpected(std::move(read.error()));
  }
  const Record record = read->value_or(Record{});
  base_ = record.base;
  recorded_ = record.end;
  recorded_synced_ = record.synced;
  synced_ = recorded_synced_;
  written_ = synced_;
  unseen_ = true;
  reset();
  if (read->has_value() && !same_name(record.table, table_)) {
    rebuild_from({}, written_again("it held the rows of table " + record.table));
  }
  auto size = file_->size();
  if (!size) {
    return tl::make_unexpected(std::move(size.error()));
  }
  if (!read->has_value() && *size > 0) {
    if (auto wanted = want_base("is of a target that is gone"); !wanted) {
      return wanted;
    }
    request_rebuild();
  }
  return read_new_rows();
}

Result<void> TextLog::begin() {
  reset();
  return read_new_rows();
}

// Promise 7: what the table holds before a transaction's first row is no fault of these rows.
Result<void> TextLog::read_new_rows() {
  if (unreadable_ && unreadable_->version == tables_.version() &&
      steady_clock::now() < unreadable_->again) {
    return {};
  }
  unreadable_.reset();
  auto advanced = advance();
  if (!advanced && advanced.error().code == Errc::refused) {
    set_unreadable(advanced.error().what);
    return {};
  }
  if (advanced) {
    noted_unreadable_.clear();
  }
  return advanced;
}

void TextLog::set_unreadable(const std::string& reason) {
  if (rebuild_) {
    wanted_base_ = *rebuild_;
    behind_ = Error{Errc::locked, path_.string() + " is to be written again", ""};
  }
  reset();
  prepared_for_ = 0;
  unreadable_ = Unreadable{
      .reason = reason, .version = tables_.version(), .again = steady_clock::now() + kReadAgain};
  if (std::exchange(noted_unreadable_, reason) != reason) {
    notes_.push_back("table " + table_ + " cannot be read (" + reason + "): until it can, " +
                     path_.string() + " gets no lines and rows of the table are refused");
  }
}

void TextLog::reset() {
  next_ = recorded_;
  lines_.clear();
  buffered_ = true;
  advanced_ = false;
  gap_ = false;
  rebuild_.reset();
}

void TextLog::request_rebuild() {
  rebuild_from(wanted_base_.value_or(TextPosition{}), wanted_note_);
}

void TextLog::rebuild_from(const TextPosition& base, const std::string& note) {
  rebuild_ = base;
  wanted_note_ = note;
  notes_.push_back(note);
}

std::string TextLog::written_again(const std::string& why) const {
  return path_.string() + " is written again from table " + table_ + ": " + why;
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
  if (unreadable_) {
    return "table " + table.name + " is the text log's and cannot be read: " + unreadable_->reason;
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

std::string TextLog::definition_problem(std::string_view table,
                                        const std::vector<std::string>& columns) const {
  if (!same_name(table, table_)) {
    return {};
  }
  for (const std::string& column : columns) {
    if (same_name(column, "rowid") || same_name(column, "_rowid_") || same_name(column, "oid")) {
      return "table " + table_ + " is the text log's, which reads its ids by the name " + column +
             ": name the column differently";
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
  count_ = {};
  if (*table != nullptr) {
    if ((*table)->rowid.empty()) {
      return fail(Errc::refused,
                  (*table)->problem.empty() ? "it has no rowids" : (*table)->problem);
    }
    std::string columns;
    for (const auto& column : (*table)->columns) {
      columns += ", t." + sqlite::quoted(column.name);
    }
    const std::string rowid = "t." + (*table)->rowid;
    const std::string from = " FROM main." + sqlite::quoted((*table)->name) + " AS t";
    auto greatest = connection_.prepare("SELECT max(" + rowid + ")" + from);
    auto select = connection_.prepare("SELECT " + rowid + columns + from + " WHERE " + rowid +
                                      " > ?1 AND " + rowid + " <= ?2 ORDER BY " + rowid);
    auto count = connection_.prepare("SELECT count(*)" + from + " WHERE " + rowid + " > ?1 AND " +
                                     rowid + " <= ?2");
    for (auto* each : {&greatest, &select, &count}) {
      if (!*each) {
        return tl::make_unexpected(std::move(each->error()));
      }
    }
    greatest_ = std::move(*greatest);
    select_ = std::move(*select);
    count_ = std::move(*count);
    has_table_ = true;
    plain_ = (*table)->plain;
  }
  prepared_for_ = tables_.version();
  return {};
}

Result<std::optional<TextLog::Record>> TextLog::read_record() {
  auto statement = connection_.prepare(
      "SELECT length, last_rowid, synced_length, synced_rowid, base_length, base_rowid, table_name "
      "FROM main.turnstile_text_log WHERE path = ?1");
  if (!statement) {
    return tl::make_unexpected(std::move(statement.error()));
  }
  const std::string path = path_.string();
  statement->bind(1, std::string_view(path));
  const int code = statement->step();
  if (code == SQLITE_DONE) {
    return std::optional<Record>();
  }
  if (code != SQLITE_ROW) {
    return tl::make_unexpected(connection_.error(code, "reading how long the text log is"));
  }
  return Record{.end = {.length = statement->integer(0), .rowid = statement->integer(1)},
                .synced = {.length = statement->integer(2), .rowid = statement->integer(3)},
                .base = {.length = statement->integer(4), .rowid = statement->integer(5)},
                .table = std::string(statement->text(6))};
}

Result<void> TextLog::write_record() {
  const TextPosition& base = rebuild_ ? *rebuild_ : base_;
  const TextPosition& synced = rebuild_ ? *rebuild_ : synced_;
  if (!record_) {
    auto statement = connection_.prepare(
        "INSERT OR REPLACE INTO main.turnstile_text_log(path, table_name, length, last_rowid, "
        "synced_length, synced_rowid, base_length, base_rowid) VALUES (?,?,?,?,?,?,?,?)");
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
  record_.bind(++position, base.length);
  record_.bind(++position, base.rowid);
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
    rebuild_from(*greatest < base_.rowid ? TextPosition{} : base_,
                 written_again("rows at the end of table " + table_ + " were deleted"));
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
      options_.still_alive();
    }
  }
  if (code != SQLITE_DONE) {
    return tl::make_unexpected(connection_.error(code, "reading the text log's table"));
  }
  return bytes;
}

Result<void> TextLog::finish() {
  if (unreadable_) {
    return {};
  }
  // Always: triggers of other tables, and other programs, may have put rows into this one.
  if (auto advanced = advance(); !advanced) {
    return advanced;
  }
  if (!rebuild_ && !unseen_) {
    follow_change();
  }
  if (rebuild_) {
    auto greatest = greatest_rowid();
    if (!greatest) {
      return tl::make_unexpected(std::move(greatest.error()));
    }
    const auto count_only = [](std::string_view) -> Result<void> { return {}; };
    const std::int64_t last = std::max(*greatest, rebuild_->rowid);
    auto bytes = read_lines(rebuild_->rowid, last, count_only);
    if (!bytes && bytes.error().code == Errc::refused) {
      set_unreadable(bytes.error().what);
      return {};
    }
    if (!bytes) {
      return tl::make_unexpected(std::move(bytes.error()));
    }
    next_ = {.length = rebuild_->length + *bytes, .rowid = last};
  } else if (next_ == recorded_ && synced_ == recorded_synced_) {
    return {};
  }
  return write_record();
}

// What became of the file since its last line was written: nothing, if all is well.
Result<std::optional<std::string>> TextLog::find_change() {
  auto seen = file_->look();
  if (!seen) {
    return tl::make_unexpected(std::move(seen.error()));
  }
  std::optional<std::string> change;
  if (!seen->is_at_path) {
    change = "was moved, deleted or replaced";
  } else if (seen->size < static_cast<std::uint64_t>(written_.length)) {
    change = "was cut to " + std::to_string(seen->size) + " bytes";
  }
  // Of bytes that are too many, nothing but these is wrong.
  unseen_ = unseen_ || (!change && seen->size > static_cast<std::uint64_t>(recorded_.length));
  return change;
}

// Promise 5: lines of this transaction are for the file that is at the path. What fails here fails
// no transaction: the lines follow later.
void TextLog::follow_change() {
  if (behind_) {
    return;
  }
  auto change = find_change();
  if (change && *change) {
    auto wanted = open_again().and_then([&] { return want_base(**change); });
    if (wanted) {
      request_rebuild();
      return;
    }
    behind_ = std::move(wanted.error());
  } else if (!change) {
    behind_ = std::move(change.error());
  }
}

const std::optional<Error>& TextLog::behind() const {
  static const std::optional<Error> nothing;
  return unreadable_ ? nothing : behind_;
}

void TextLog::look() {
  if (unreadable_) {
    static_cast<void>(tables_.refresh().and_then([this] { return read_new_rows(); }));
    reset();
  }
  if (unreadable_ || behind_ || unseen_) {
    return;
  }
  auto change = find_change();
  if (!change) {
    behind_ = std::move(change.error());
  } else if (*change) {
    behind_ = Error{Errc::locked, path_.string() + " " + **change, "its lines follow"};
  } else if (unseen_) {
    behind_ = Error{Errc::locked, path_.string() + " has bytes that are not its own", ""};
  } else {
    look_at_table();
  }
}

// Lines follow ids. Rows that take ids up to the last line's get none: those that another program
// inserts there, that take the place of deleted ones, or that VACUUM moves. What fails here is
// looked at another time.
void TextLog::look_at_table() {
  const auto begun = steady_clock::now();
  if (begun < next_look_at_table_) {
    return;
  }
  const auto version = connection_.query_integer("PRAGMA main.data_version");
  if (!version || *version == seen_data_version_ || recorded_.length == base_.length ||
      !tables_.refresh() || !prepare() || !has_table_) {
    return;
  }
  const auto is_there = has_row_of_last_line();
  if (is_there && !*is_there && !std::exchange(has_told_of_last_row_, true)) {
    notes_.push_back("row " + std::to_string(recorded_.rowid) + " of table " + table_ +
                     " is not the one of the last line in " + path_.string() +
                     " any more: another program changed or replaced it, or VACUUM gave the rows "
                     "new ids; the line stays, and rows that took ids of earlier ones have none");
  }
  note_left_out();
  seen_data_version_ = *version;
  // A large table that others write often takes a hundredth of the time at most.
  const auto ended = steady_clock::now();
  if (ended - begun > kShortLook) {
    next_look_at_table_ = ended + kLookPauses * (ended - begun);
  }
}

// True as well when the row was deleted: its line stays.
Result<bool> TextLog::has_row_of_last_line() {
  const std::uint64_t length =
      std::min(kLookBackBytes, static_cast<std::uint64_t>(recorded_.length - base_.length));
  auto tail = file_->read_some(static_cast<std::uint64_t>(recorded_.length) - length,
                               static_cast<std::size_t>(length));
  if (!tail) {
    return tl::make_unexpected(std::move(tail.error()));
  }
  const auto before = tail->size() < 2 ? std::string::npos : tail->rfind('\n', tail->size() - 2);
  if (before == std::string::npos && length == kLookBackBytes) {
    return true;  // a line too long to be compared
  }
  const std::string line = tail->substr(before == std::string::npos ? 0 : before + 1);
  std::string now;
  const auto keep = [&](std::string_view chunk) -> Result<void> {
    now += chunk;
    return {};
  };
  return read_lines(recorded_.rowid - 1, recorded_.rowid, keep).map([&](std::int64_t bytes) {
    return bytes == 0 || line.empty() || is_same_row(line, now);
  });
}

void TextLog::note_left_out() {
  const auto count = [&](std::int64_t through) -> std::optional<std::int64_t> {
    const sqlite::ResetAtEnd reset(count_);
    count_.bind(1, base_.rowid);
    count_.bind(2, through);
    return count_.step() == SQLITE_ROW ? std::optional(count_.integer(0)) : std::nullopt;
  };
  const std::int64_t first = std::max<std::int64_t>(base_.rowid, 0);
  if (recorded_.rowid - first > kCountedIds) {
    return;
  }
  const auto before = counted_.through == schema::kNoRowid ? std::nullopt : count(counted_.through);
  if (before && *before > counted_.rows && !std::exchange(has_told_of_left_out_, true)) {
    const auto rows = static_cast<std::uint64_t>(*before - counted_.rows);
    notes_.push_back("another program inserted " + counted(rows, "row") + " into table " + table_ +
                     " with ids below the last line's: " + path_.string() + " has no line of " +
                     (rows == 1 ? "it" : "them"));
  }
  if (const auto now = count(recorded_.rowid)) {
    counted_ = {recorded_.rowid, *now};
  }
}

void TextLog::reopen() {
  if (!behind_) {
    behind_ = Error{Errc::locked, path_.string() + " is opened again", ""};
  }
}

// Where the lines go on in the file that is at the path.
Result<void> TextLog::want_base(const std::string& change) {
  const std::string start = path_.string() + " " + change + ": ";
  if (options_.rotated == TextRotated::whole_table) {
    wanted_base_ = TextPosition{};
    wanted_note_ = start + "all rows of table " + table_ + " are written again";
    return {};
  }
  auto size = file_->size();
  auto end = size ? end_of_lines(*size) : tl::make_unexpected(std::move(size.error()));
  if (!end) {
    return tl::make_unexpected(std::move(end.error()));
  }
  wanted_base_ = TextPosition{.length = *end, .rowid = written_.rowid};
  wanted_note_ = start + "it goes on at byte " + std::to_string(*end) +
                 " with the rows that it does not have yet";
  return {};
}

// Bytes after the last line feed are a part of a line that somebody cut.
Result<std::int64_t> TextLog::end_of_lines(std::uint64_t size) {
  while (size > 0) {
    const std::uint64_t from = size - std::min(size, kLookBackBytes);
    auto bytes = file_->read_some(from, static_cast<std::size_t>(size - from));
    if (!bytes) {
      return tl::make_unexpected(std::move(bytes.error()));
    }
    if (const auto at = bytes->rfind('\n'); at != std::string::npos) {
      return static_cast<std::int64_t>(from + at + 1);
    }
    size = from;
  }
  return 0;
}

void TextLog::committed() {
  if (unreadable_) {
    reset();
    return;
  }
  const TextPosition from = std::exchange(recorded_, next_);
  if (rebuild_) {
    counted_ = {};
    base_ = *rebuild_;
    synced_ = base_;
    written_ = base_;
    start_over_ = true;
    wanted_base_.reset();
  }
  recorded_synced_ = synced_;
  if (!rebuild_ && !unseen_ && from == recorded_) {
    reset();
    return;
  }
  if (!rebuild_ && !unseen_ && buffered_ && !behind_) {
    write_lines(from);
  } else {
    static_cast<void>(restore());  // behind() says what became of it
  }
  reset();
}

void TextLog::write_lines(const TextPosition& from) {
  auto written = write_all(*file_, static_cast<std::uint64_t>(from.length), lines_);
  if (written && from.length > 0) {
    written = is_whole_before(from);
  }
  unsynced_bytes_ += recorded_.length - from.length;
  if (written) {
    written_ = recorded_;
    if (unsynced_bytes_ >= kSyncEveryBytes) {
      written = sync();
    }
  }
  if (!written) {
    behind_ = std::move(written.error());
  }
}

// Of a file that was cut since the last look, lines in their place make a hole of zeros before
// them: the hole goes, and they with it, to follow at the new end.
Result<void> TextLog::is_whole_before(const TextPosition& from) {
  auto before = file_->read_some(static_cast<std::uint64_t>(from.length - 1), 1);
  if (!before) {
    return tl::make_unexpected(std::move(before.error()));
  }
  if (before->empty() || before->front() == '\n') {
    return {};
  }
  if (auto cut = file_->truncate(0); !cut) {
    return cut;
  }
  return fail(Errc::locked, path_.string() + " was cut while it was written", "its lines follow");
}

Result<void> TextLog::open_again() {
  auto file = options_.open_file(path_);
  if (!file) {
    return tl::make_unexpected(std::move(file.error()));
  }
  if (unsynced_bytes_ > 0 && !behind_) {
    // The moved file should keep its last lines; a failure here is no loss of the log.
    static_cast<void>(file_->sync());
  }
  file_ = std::move(*file);
  return {};
}

Result<bool> TextLog::restore() {
  auto restored = restore_at_path();
  if (!restored) {
    behind_ = restored.error();
    if (behind_->code == Errc::refused) {
      set_unreadable(behind_->what);
    }
  }
  return restored;
}

// Promise 8: after a failure the file is opened again, and what may not be on disk is written
// again.
Result<bool> TextLog::restore_at_path() {
  const auto before = file_->look();
  if (auto opened = open_again(); !opened) {
    return tl::make_unexpected(std::move(opened.error()));
  }
  if (before && !before->is_at_path) {
    return takes_base("was moved, deleted or replaced");
  }
  // With the write lock, because this may cut the file: a consumer that was paused before it, and
  // lost its lease meanwhile, would cut what its successor wrote.
  if (auto begun = connection_.execute("BEGIN IMMEDIATE"); !begun) {
    begun.error().code = Errc::io;  // no fault of the table
    return tl::make_unexpected(std::move(begun.error()));
  }
  auto restored = is_latest().and_then([this] { return restore_within_lock(); });
  if (connection_.in_transaction()) {
    // Nothing was written: this only ends the lock.
    if (auto ended = connection_.execute("COMMIT"); !ended && restored) {
      restored = tl::make_unexpected(std::move(ended.error()));
    }
  }
  return restored;
}

// The record must forget what it says is synced before the file is long enough again: else a power
// cut in between could leave a file of the right length with holes in it. So it takes a
// transaction.
Result<bool> TextLog::takes_base(const std::string& change) {
  return want_base(change).map([&] {
    behind_ = Error{Errc::locked, path_.string() + " " + change, "its lines follow"};
    return false;
  });
}

// Whether the record is the one that this writer made last; else the file is a successor's.
Result<void> TextLog::is_latest() {
  const auto record = read_record();
  if (!record) {
    return tl::make_unexpected(record.error());
  }
  if (record->value_or(Record{}).end == recorded_) {
    return {};
  }
  return fail(Errc::fenced, "another consumer writes " + path_.string());
}

Result<bool> TextLog::restore_within_lock() {
  if (auto ready = tables_.refresh().and_then([&] { return prepare(); }); !ready) {
    return tl::make_unexpected(std::move(ready.error()));
  }
  auto size = file_->size();
  if (!size) {
    return tl::make_unexpected(std::move(size.error()));
  }
  if (*size < static_cast<std::uint64_t>(written_.length)) {
    return takes_base("was cut to " + std::to_string(*size) + " bytes");
  }
  if (wanted_base_) {
    return false;
  }
  const TextPosition from = start_over_ ? base_ : synced_;
  // The length is checked before a byte is written, so that the file never gets other lines than
  // the record counted.
  const auto count_only = [](std::string_view) -> Result<void> { return {}; };
  auto counted = read_lines(from.rowid, recorded_.rowid, count_only);
  if (!counted) {
    return tl::make_unexpected(std::move(counted.error()));
  }
  if (from.length + *counted != recorded_.length) {
    const std::string why = "rows were changed that it has";
    wanted_base_ = base_;
    wanted_note_ = written_again(why);
    behind_ = Error{Errc::locked, path_.string() + ": " + why, "its lines follow"};
    return false;
  }
  if (start_over_) {
    if (auto cut = file_->truncate(static_cast<std::uint64_t>(base_.length)); !cut) {
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
  written_ = recorded_;
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
