#include "cli/check_text.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <system_error>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "proto/counted.h"
#include "proto/utf8.h"
#include "store/schema.h"

namespace turnstile::check {
namespace {

using std::chrono::steady_clock;

constexpr std::size_t kChunkBytes = std::size_t{256} * 1024;
constexpr std::chrono::milliseconds kPause{50};
constexpr std::size_t kShown = 60;

struct Record {
  std::string path;
  std::string table;
  std::uint64_t length = 0;
  std::int64_t last_rowid = store::schema::kNoRowid;
  std::uint64_t synced_length = 0;
};

// One comparison.
struct Comparison {
  TextLogReport figures;
  std::vector<std::string> problems;
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

// The line that holds this byte, as far as it can be shown on one line.
std::string shown(std::string_view text, std::size_t at) {
  at = std::min(at, text.size());
  const std::size_t before = text.substr(0, at).rfind('\n');
  std::string_view line = text.substr(before == std::string_view::npos ? 0 : before + 1);
  line = line.substr(0, std::min(line.find('\n'), kShown));
  return printable(line);
}

Result<std::optional<Record>> read_record(const Database& target,
                                          const std::filesystem::path& file) {
  auto rows = target.query(
      "SELECT path, table_name, length, last_rowid, synced_length FROM main.turnstile_text_log");
  if (!rows) {
    return tl::make_unexpected(std::move(rows.error()));
  }
  std::error_code failed;
  const auto wanted = std::filesystem::weakly_canonical(std::filesystem::absolute(file), failed);
  std::vector<Record> records;
  auto row = rows->next();
  for (; row && *row; row = rows->next()) {
    Record record{std::string(rows->bytes(0)), std::string(rows->bytes(1)),
                  static_cast<std::uint64_t>(rows->integer(2)), rows->integer(3),
                  static_cast<std::uint64_t>(rows->integer(4))};
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
  // SQLite gives the rowid by three words, each of which a column may have taken.
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

// Holds what the table gives against the file, piece by piece.
class Comparer {
 public:
  Comparer(const std::filesystem::path& path, const Record& record, Comparison& into)
      : path_(path), file_(path, std::ios::binary), record_(record), into_(into) {}

  Result<void> rows(Query& query) {
    auto row = query.next();
    for (; row && *row; row = query.next()) {
      const std::size_t start = expected_.size();
      starts_.push_back({start, query.integer(0)});
      if (append_line(query, TextForm::escaped, expected_)) {
        choose_form(query, start);
      }
      ++into_.figures.lines;
      if (expected_.size() >= kChunkBytes) {
        compare();
      }
    }
    compare();
    return row ? Result<void>() : tl::make_unexpected(std::move(row.error()));
  }

  // How many bytes the table gives.
  [[nodiscard]] std::uint64_t bytes() const { return at_; }

 private:
  struct Start {
    std::size_t at;
    std::int64_t rowid;
  };

  // The last line, which begins at `start`, may stand in the file in the earlier form.
  void choose_form(const Query& query, std::size_t start) {
    const Start row{0, starts_.back().rowid};
    std::string line = expected_.substr(start);
    expected_.resize(start);
    starts_.pop_back();
    compare();
    if (!into_.figures.first_difference) {
      std::string earlier;
      append_line(query, TextForm::only_line_breaks, earlier);
      std::string found(earlier.size(), '\0');
      file_.read(found.data(), static_cast<std::streamsize>(found.size()));
      if (file_.gcount() == static_cast<std::streamsize>(found.size()) && found == earlier) {
        line = std::move(earlier);
      }
      file_.clear();
      file_.seekg(static_cast<std::streamoff>(at_));
    }
    starts_.push_back(row);
    expected_ = std::move(line);
  }

  void compare() {
    if (!into_.figures.first_difference) {
      found_.resize(expected_.size());
      file_.read(found_.data(), static_cast<std::streamsize>(found_.size()));
      found_.resize(static_cast<std::size_t>(file_.gcount()));
      if (found_ != expected_) {
        tell_difference();
      }
    }
    at_ += expected_.size();
    expected_.clear();
    starts_.clear();
  }

  void tell_difference() {
    const auto differs = std::mismatch(found_.begin(), found_.end(), expected_.begin()).second;
    const auto at = static_cast<std::size_t>(differs - expected_.begin());
    const std::uint64_t place = at_ + at;
    into_.figures.first_difference = place;
    const auto row = std::find_if(starts_.rbegin(), starts_.rend(),
                                  [&](const Start& start) { return start.at <= at; });
    std::string what =
        at == found_.size()
            ? fmt::format("{} ends at byte {}, in the line of row {} of table {}: \"{}\"",
                          path_.string(), place, row->rowid, record_.table, shown(expected_, at))
            : fmt::format(
                  "{} differs from byte {} on, in the line of row {} of table {}: it has "
                  "\"{}\" instead of \"{}\"",
                  path_.string(), place, row->rowid, record_.table, shown(found_, at),
                  shown(expected_, at));
    if (place >= record_.synced_length) {
      what += "; the next start of a consumer mends this";
    }
    into_.problems.push_back(std::move(what));
  }

  const std::filesystem::path& path_;
  std::ifstream file_;
  const Record& record_;
  Comparison& into_;
  std::string expected_;
  std::string found_;
  std::vector<Start> starts_;  // of the lines in expected_
  std::uint64_t at_ = 0;       // where expected_ begins in the file
};

std::uint64_t count_lines(const std::filesystem::path& path, std::uint64_t bytes) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> chunk(kChunkBytes);
  std::uint64_t lines = 0;
  while (bytes > 0 && file) {
    file.read(chunk.data(),
              static_cast<std::streamsize>(std::min<std::uint64_t>(bytes, chunk.size())));
    const auto end = chunk.begin() + file.gcount();
    lines += static_cast<std::uint64_t>(std::count(chunk.begin(), end, '\n'));
    bytes -= static_cast<std::uint64_t>(file.gcount());
  }
  return lines;
}

Result<void> compare_rows(const Database& target, const CheckOptions& options, const Record& record,
                          Comparison& into) {
  TextLogReport& figures = into.figures;
  auto sql = select_rows(target, record.table);
  if (!sql) {
    return tl::make_unexpected(std::move(sql.error()));
  }
  std::uint64_t table_bytes = 0;
  if (!sql->empty()) {
    auto rows = target.query(*sql);
    if (!rows) {
      return tl::make_unexpected(std::move(rows.error()));
    }
    rows->bind(1, store::schema::kNoRowid);
    rows->bind(2, record.last_rowid);
    Comparer comparer(options.text_log, record, into);
    if (auto compared = comparer.rows(*rows); !compared) {
      return compared;
    }
    table_bytes = comparer.bytes();
    if (record.last_rowid < INT64_MAX) {
      auto behind = target.query("SELECT count(*) FROM (" + *sql + ")");
      if (!behind) {
        return tl::make_unexpected(std::move(behind.error()));
      }
      behind->bind(1, record.last_rowid + 1);
      behind->bind(2, INT64_MAX);
      auto row = behind->next();
      if (!row) {
        return tl::make_unexpected(std::move(row.error()));
      }
      figures.rows_extra = static_cast<std::uint64_t>(behind->integer(0));
    }
  }
  if (table_bytes != record.length) {
    into.problems.push_back(
        fmt::format("the target says that {} has {}, but the rows of "
                    "table {} give {}: rows were changed or deleted",
                    record.path, counted(record.length, "byte"), record.table, table_bytes));
    if (!figures.first_difference && figures.file_bytes > table_bytes) {
      figures.first_difference = table_bytes;
    }
    if (figures.file_bytes >= record.length) {
      const std::uint64_t lines = count_lines(options.text_log, record.length);
      figures.rows_missing = lines > figures.lines ? lines - figures.lines : 0;
    }
  }
  if (figures.rows_extra > 0) {
    into.problems.push_back(fmt::format(
        "table {} has {} after the last one of the text log: another program wrote {}",
        record.table, counted(figures.rows_extra, "row"), figures.rows_extra == 1 ? "it" : "them"));
  }
  return {};
}

// `size_before`: of the file, before the target's state was taken.
Result<Comparison> compare(const Database& target, const CheckOptions& options,
                           std::uint64_t size_before) {
  Comparison comparison;
  auto record = read_record(target, options.text_log);
  if (!record) {
    return tl::make_unexpected(std::move(record.error()));
  }
  TextLogReport& figures = comparison.figures;
  figures.file_bytes = size_before;
  if (!record->has_value()) {
    comparison.problems.push_back("the target knows of no text log " + options.text_log.string());
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
  report.text_log = std::move(compared->figures);
}

}  // namespace turnstile::check
