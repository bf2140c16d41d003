#include "inspect/check_text.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <system_error>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "base/counted.h"
#include "base/utf8.h"
#include "store/schema.h"

namespace turnstile::check {
namespace {

using std::chrono::steady_clock;

constexpr std::size_t kChunkBytes = std::size_t{256} * 1024;
constexpr std::chrono::milliseconds kPause{50};
constexpr std::size_t kShown = 60;

using Record = TextRecord;

// One comparison.
struct Comparison {
  TextLogReport figures;
  std::vector<std::string> problems;
  std::vector<std::string> notes;
  std::uint64_t older_lines = 0;  // from before columns were added
};

// How a text stands in a line. Lines that were written before version 0.2 have only their line
// breaks escaped, and stay valid.
enum class TextForm { escaped, only_line_breaks };

// Of the character at the beginning of `text`: its bytes, and its number. 0 bytes: there is none.
struct Character {
  std::size_t bytes = 0;
  std::uint32_t number = 0;
};

Character character_of(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i]));
  };
  constexpr std::uint32_t kContinuation = 0x80;
  constexpr std::uint32_t kPayload = 0x3F;
  constexpr std::array<std::uint32_t, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
  constexpr std::uint32_t kGreatest = 0x10FFFF;
  const std::uint32_t lead = byte(0);
  const std::size_t bytes = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead >= 0xF8 || (lead >= 0x80 && lead < 0xC0) || text.size() < bytes) {
    return {};
  }
  std::uint32_t number = bytes == 1 ? lead : lead & (0x7FU >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & ~kPayload) != kContinuation) {
      return {};
    }
    number = number << 6U | (byte(i) & kPayload);
  }
  const bool is_surrogate = number >= 0xD800 && number <= 0xDFFF;
  if (number < kLeast.at(bytes) || number > kGreatest || is_surrogate) {
    return {};
  }
  return {bytes, number};
}

// What a terminal obeys: controls, what turns the direction of text, and separators of lines.
bool is_command(std::uint32_t number) {
  return number < 0x20 || (number >= 0x7F && number <= 0x9F) || number == 0x61C ||
         number == 0x200E || number == 0x200F || (number >= 0x2028 && number <= 0x202E) ||
         (number >= 0x2066 && number <= 0x2069);
}

// True: in the other form it would be another text.
bool append_text(std::string_view text, TextForm form, std::string& out) {
  bool differs = false;
  while (!text.empty()) {
    const Character character = character_of(text);
    const std::size_t bytes = std::max(character.bytes, std::size_t{1});
    const bool is_line_break = text.front() == '\n' || text.front() == '\r';
    const bool is_escaped = character.bytes == 0 || is_command(character.number);
    differs = differs || (is_escaped && !is_line_break);
    if (is_line_break) {
      out += text.front() == '\n' ? "\\n" : "\\r";
    } else if (!is_escaped || form == TextForm::only_line_breaks) {
      out += text.substr(0, bytes);
    } else if (text.front() == '\t') {
      out += "\\t";
    } else {
      for (const char c : text.substr(0, bytes)) {
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
      }
    }
    text.remove_prefix(bytes);
  }
  return differs;
}

// A row as a line: NULL empty, a blob as x'hex', a number as SQLite casts it to text. True: the
// other form would give another line.
bool append_line(const Query& row, TextForm form, std::string& out) {
  bool differs = false;
  out += '[';
  for (int column = 1; column < row.columns(); ++column) {
    if (column > 1) {
      out += ", ";
    }
    const std::string_view bytes = row.bytes(column);
    const int type = row.type(column);
    if (type == SQLITE_BLOB) {
      out += "x'";
      for (const char c : bytes) {
        fmt::format_to(std::back_inserter(out), "{:02x}", static_cast<unsigned char>(c));
      }
      out += '\'';
    } else if (type == SQLITE_TEXT) {
      differs = append_text(bytes, form, out) || differs;
    } else {
      out += bytes;
    }
  }
  out += "]\n";
  return differs;
}

// The line that holds this byte, cut to what fits on one line.
std::string shown(std::string_view text, std::size_t at) {
  at = std::min(at, text.size());
  const std::size_t before = text.substr(0, at).rfind('\n');
  std::string_view line = text.substr(before == std::string_view::npos ? 0 : before + 1);
  line = line.substr(0, std::min(line.find('\n'), kShown));
  return printable(line);
}

// The statement that gives a table's rowids and then its columns, as SELECT * does; empty when
// there is no such table.
Result<std::string> select_rows(const Database& target, const std::string& table) {
  auto columns = target.query(
      "SELECT name FROM pragma_table_xinfo(?1, 'main') WHERE hidden <> 1 ORDER BY cid");
  if (!columns) {
    return tl::make_unexpected(std::move(columns.error()));
  }
  columns->bind(1, std::string_view(table));
  std::string list;
  auto row = columns->next();
  for (; row && *row; row = columns->next()) {
    list += ", " + quoted_name(columns->bytes(0));
  }
  if (!row) {
    return tl::make_unexpected(std::move(row.error()));
  }
  if (list.empty()) {
    return std::string();
  }
  // SQLite has three words for the rowid; a column may have taken any of them.
  for (const char* word : {"rowid", "_rowid_", "oid"}) {
    const std::string sql = fmt::format("SELECT {}{} FROM main.{}", word, list, quoted_name(table));
    auto taken =
        target.query("SELECT 1 FROM pragma_table_xinfo(?1, 'main') WHERE lower(name) = ?2");
    if (!taken) {
      return tl::make_unexpected(std::move(taken.error()));
    }
    taken->bind(1, std::string_view(table));
    taken->bind(2, std::string_view(word));
    auto is_taken = taken->next();
    if (!is_taken) {
      return tl::make_unexpected(std::move(is_taken.error()));
    }
    if (!*is_taken) {
      return fmt::format("{} WHERE {} BETWEEN ?1 AND ?2 ORDER BY {}", sql, word, word);
    }
  }
  return fail(Errc::corrupt, "table " + table + " shows no rowids");
}

// The lines of a file from one place on, one after the other.
class Lines {
 public:
  Lines(const std::filesystem::path& path, std::uint64_t from)
      : file_(path, std::ios::binary), at_(from) {
    file_.seekg(static_cast<std::streamoff>(from));
  }

  // Moves to the next, with its line feed. False: there is none; line() may be a part of one.
  bool next() {
    at_ += line_.size();
    line_.clear();
    if (!std::getline(file_, line_) || file_.eof()) {
      return false;
    }
    line_ += '\n';
    return true;
  }
  [[nodiscard]] const std::string& line() const { return line_; }
  [[nodiscard]] std::uint64_t at() const { return at_; }  // where it begins

 private:
  std::ifstream file_;
  std::string line_;
  std::uint64_t at_;
};

std::uint64_t count_lines(const std::filesystem::path& path, std::uint64_t from, std::uint64_t to) {
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(from));
  std::vector<char> chunk(kChunkBytes);
  std::uint64_t lines = 0;
  std::uint64_t bytes = to - std::min(from, to);
  while (bytes > 0 && file) {
    file.read(chunk.data(),
              static_cast<std::streamsize>(std::min<std::uint64_t>(bytes, chunk.size())));
    const auto end = chunk.begin() + file.gcount();
    lines += static_cast<std::uint64_t>(std::count(chunk.begin(), end, '\n'));
    bytes -= static_cast<std::uint64_t>(file.gcount());
  }
  return lines;
}

// A line from before columns were added has the first fields only.
bool has_first_fields(std::string_view line, std::string_view expected) {
  constexpr std::string_view kEnd = "]\n";
  constexpr std::string_view kNext = ", ";
  if (!line.ends_with(kEnd)) {
    return false;
  }
  line.remove_suffix(kEnd.size());
  return expected.starts_with(line) && expected.substr(line.size()).starts_with(kNext);
}

// Holds what the table gives against the file. Rows that others deleted keep their lines, so the
// file may have lines between two rows' own, as many as rows are missing.
class Comparer {
 public:
  Comparer(const CheckOptions& options, const Record& record, std::uint64_t rows, Comparison& into)
      : path_(options.text_log),
        lines_(path_, record.base_length),
        record_(record),
        rows_(rows),
        into_(into) {}

  Result<void> compare(Query& query) {
    auto row = query.next();
    for (; row && *row; row = query.next()) {
      ++into_.figures.lines;
      if (into_.figures.first_difference) {
        continue;  // they are counted
      }
      expected_.clear();
      earlier_.clear();
      if (append_line(query, TextForm::escaped, expected_)) {
        append_line(query, TextForm::only_line_breaks, earlier_);
      }
      find_line(query.integer(0));
    }
    if (row && !into_.figures.first_difference) {
      const std::uint64_t there = count_lines(path_, lines_.at() + lines_.line().size(),
                                              std::max(record_.length, lines_.at()));
      into_.figures.rows_missing += there;  // after the last row's
    }
    return row ? Result<void>() : tl::make_unexpected(std::move(row.error()));
  }

 private:
  [[nodiscard]] bool fits() {
    if (is_whole()) {
      is_older_ = false;
      return true;
    }
    return is_older_ && (has_first_fields(lines_.line(), expected_) ||
                         has_first_fields(lines_.line(), earlier_));
  }

  [[nodiscard]] bool is_whole() const {
    return lines_.line() == expected_ || lines_.line() == earlier_;
  }

  void find_line(std::int64_t rowid) {
    const bool is_there = lines_.next();
    if (is_there && fits()) {
      count_older();
      return;
    }
    const std::uint64_t place = lines_.at();
    const std::string found = lines_.line();
    if (!to_skip_) {
      const std::uint64_t lines = count_lines(path_, record_.base_length, record_.length);
      to_skip_ = lines - std::min(lines, rows_);
    }
    std::uint64_t skipped = 0;
    for (bool more = is_there; more && skipped < *to_skip_;) {
      ++skipped;
      more = lines_.next();
      if (more && fits()) {
        *to_skip_ -= skipped;
        into_.figures.rows_missing += skipped;
        count_older();
        return;
      }
    }
    tell_difference(place, found, rowid);
  }

  void count_older() { into_.older_lines += is_older_ && !is_whole() ? 1 : 0; }

  void tell_difference(std::uint64_t place, const std::string& found, std::int64_t rowid) {
    const auto differs =
        std::mismatch(found.begin(), found.end(), expected_.begin(), expected_.end()).second;
    const auto at = static_cast<std::size_t>(differs - expected_.begin());
    into_.figures.first_difference = place + at;
    std::string what =
        at == found.size()
            ? fmt::format("{} ends at byte {}, in the line of row {} of table {}: \"{}\"",
                          path_.string(), place + at, rowid, record_.table, shown(expected_, at))
            : fmt::format(
                  "{} differs from byte {} on, in the line of row {} of table {}: it has "
                  "\"{}\" instead of \"{}\"",
                  path_.string(), place + at, rowid, record_.table, shown(found, at),
                  shown(expected_, at));
    if (place + at >= record_.synced_length) {
      what += "; the next start of a consumer puts this right";
    } else {
      what +=
          "; to have it written again, move the file away and start the consumer with "
          "--text-rotated whole";
    }
    into_.problems.push_back(std::move(what));
  }

  const std::filesystem::path& path_;
  Lines lines_;
  const Record& record_;
  const std::uint64_t rows_;
  Comparison& into_;
  std::string expected_;
  std::string earlier_;                   // the same line in the form before; empty: no other
  bool is_older_ = true;                  // no line was whole yet
  std::optional<std::uint64_t> to_skip_;  // lines without a row, at most
};

Result<std::uint64_t> count_rows(const Database& target, const std::string& sql, std::int64_t first,
                                 std::int64_t last) {
  auto rows = target.query("SELECT count(*) FROM (" + sql + ")");
  if (!rows) {
    return tl::make_unexpected(std::move(rows.error()));
  }
  rows->bind(1, first);
  rows->bind(2, last);
  auto row = rows->next();
  if (!row) {
    return tl::make_unexpected(std::move(row.error()));
  }
  return static_cast<std::uint64_t>(rows->integer(0));
}

// What another program did to the table is a fault only where there is none.
void tell_of_others(const CheckOptions& options, const Record& record, Comparison& into) {
  const TextLogReport& figures = into.figures;
  std::vector<std::string>& where = options.exclusive ? into.problems : into.notes;
  if (figures.rows_missing > 0) {
    where.push_back(fmt::format("{} of table {} {} deleted after {} had the lines",
                                counted(figures.rows_missing, "row"), record.table,
                                was_or_were(figures.rows_missing), record.path));
  }
  if (figures.rows_extra > 0) {
    where.push_back(fmt::format(
        "table {} has {} after the last one of the text log: another program wrote {}",
        record.table, counted(figures.rows_extra, "row"), figures.rows_extra == 1 ? "it" : "them"));
  }
  if (into.older_lines > 0) {
    into.notes.push_back(fmt::format("{} of {} {} from before columns were added",
                                     counted(into.older_lines, "line"), record.path,
                                     is_or_are(into.older_lines)));
  }
}

Result<void> compare_rows(const Database& target, const CheckOptions& options, const Record& record,
                          Comparison& into) {
  TextLogReport& figures = into.figures;
  auto sql = select_rows(target, record.table);
  if (!sql) {
    return tl::make_unexpected(std::move(sql.error()));
  }
  if (sql->empty()) {
    figures.rows_missing = count_lines(options.text_log, record.base_length, record.length);
    tell_of_others(options, record, into);
    return {};
  }
  auto rows = target.query(*sql);
  if (!rows) {
    return tl::make_unexpected(std::move(rows.error()));
  }
  const std::int64_t first =
      record.base_rowid == store::schema::kNoRowid ? record.base_rowid : record.base_rowid + 1;
  auto there = count_rows(target, *sql, first, record.last_rowid);
  if (!there) {
    return tl::make_unexpected(std::move(there.error()));
  }
  rows->bind(1, first);
  rows->bind(2, record.last_rowid);
  Comparer comparer(options, record, *there, into);
  if (auto compared = comparer.compare(*rows); !compared) {
    return compared;
  }
  if (record.last_rowid < INT64_MAX) {
    auto extra = count_rows(target, *sql, record.last_rowid + 1, INT64_MAX);
    if (!extra) {
      return tl::make_unexpected(std::move(extra.error()));
    }
    figures.rows_extra = *extra;
  }
  tell_of_others(options, record, into);
  return {};
}

// `size_before`: of the file, before the target's state was taken.
Result<Comparison> compare(const Database& target, const CheckOptions& options,
                           std::uint64_t size_before) {
  Comparison comparison;
  auto record = find_text_record(target, options.text_log);
  if (!record) {
    return tl::make_unexpected(std::move(record.error()));
  }
  TextLogReport& figures = comparison.figures;
  figures.file_bytes = size_before;
  if (!record->has_value()) {
    if (size_before > 0) {
      comparison.problems.push_back("the target knows of no text log " + options.text_log.string());
    } else {
      comparison.notes.emplace_back("the text log has no line yet");
    }
    return comparison;
  }
  figures.path = (*record)->path;
  figures.table = (*record)->table;
  figures.recorded_bytes = (*record)->length;
  if ((*record)->synced_length > (*record)->length) {
    comparison.problems.push_back(fmt::format("the target says that {} of {} are synced, of {}",
                                              counted((*record)->synced_length, "byte"),
                                              figures.path, figures.recorded_bytes));
  }
  if (auto compared = compare_rows(target, options, **record, comparison); !compared) {
    return tl::make_unexpected(std::move(compared.error()));
  }
  if (size_before > figures.recorded_bytes) {
    if (!figures.first_difference) {
      figures.first_difference = figures.recorded_bytes;
    }
    comparison.problems.push_back(
        fmt::format("{} has {}, {} more than the target says: from byte {} on it holds what "
                    "is not committed",
                    options.text_log.string(), counted(size_before, "byte"),
                    size_before - figures.recorded_bytes, figures.recorded_bytes));
  }
  return comparison;
}

Result<Comparison> compare_now(Database& target, const CheckOptions& options) {
  std::error_code failed;
  const auto size = std::filesystem::file_size(options.text_log, failed);
  if (auto begun = target.begin_snapshot(); !begun) {
    return tl::make_unexpected(std::move(begun.error()));
  }
  auto compared = compare(target, options, failed ? 0 : size);
  target.end_snapshot();
  return compared;
}

}  // namespace

Result<std::optional<TextRecord>> find_text_record(const Database& target,
                                                   const std::filesystem::path& file) {
  const auto has_base =
      target.integer("SELECT value >= 2 FROM main.turnstile_meta WHERE key = 'format_version'");
  auto rows = target.query(fmt::format(
      "SELECT path, table_name, length, last_rowid, synced_length{} FROM main.turnstile_text_log",
      has_base && has_base->value_or(0) != 0 ? ", base_length, base_rowid" : ""));
  if (!rows) {
    return tl::make_unexpected(std::move(rows.error()));
  }
  std::error_code failed;
  const auto wanted = std::filesystem::weakly_canonical(std::filesystem::absolute(file), failed);
  std::vector<TextRecord> records;
  auto row = rows->next();
  for (; row && *row; row = rows->next()) {
    TextRecord record{.path = std::string(rows->bytes(0)),
                      .table = std::string(rows->bytes(1)),
                      .length = static_cast<std::uint64_t>(rows->integer(2)),
                      .last_rowid = rows->integer(3),
                      .synced_length = static_cast<std::uint64_t>(rows->integer(4))};
    if (rows->columns() > 5) {
      record.base_length = static_cast<std::uint64_t>(rows->integer(5));
      record.base_rowid = rows->integer(6);
    }
    if (record.path == wanted.string()) {
      return std::optional(std::move(record));
    }
    records.push_back(std::move(record));
  }
  if (!row) {
    return tl::make_unexpected(std::move(row.error()));
  }
  // A copy of the one text log that there is, under another name.
  return records.size() == 1 ? std::optional(std::move(records.front())) : std::nullopt;
}

void check_text_log(Database& target, Report& report) {
  const auto deadline = steady_clock::now() + report.options.patience;
  auto compared = compare_now(target, report.options);
  while ((!compared || !compared->problems.empty()) && steady_clock::now() < deadline) {
    std::this_thread::sleep_for(kPause);
    compared = compare_now(target, report.options);
  }
  if (!compared) {
    report.add(Breach::integrity,
               "the text log cannot be held against its table: " + compared.error().what);
    return;
  }
  for (std::string& problem : compared->problems) {
    report.add(Breach::text_log, std::move(problem));
  }
  report.notes.insert(report.notes.end(), compared->notes.begin(), compared->notes.end());
  report.text_log = std::move(compared->figures);
}

}  // namespace turnstile::check
