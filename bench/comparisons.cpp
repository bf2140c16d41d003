#include "bench/comparisons.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "bench/plain_sqlite.h"

namespace turnstile::bench {
namespace {

constexpr std::size_t kGroupRows = 50;
constexpr std::size_t kTransactionRows = 10'000;

constexpr std::size_t kIdColumn = 0;
constexpr std::size_t kRankColumn = 4;

std::string insert_sql(std::size_t rows) {
  std::string sql = "INSERT INTO nutrients VALUES ";
  for (std::size_t i = 0; i < rows; ++i) {
    sql += i == 0 ? "(?,?,?,?,?,?)" : ",(?,?,?,?,?,?)";
  }
  return sql;
}

std::optional<std::int64_t> integer_of(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size() ? std::optional(value)
                                                                 : std::nullopt;
}

// A row with SQLite's types. Integers are parsed before the measured time begins.
struct ParsedRow {
  Row texts;
  std::int64_t id;
  std::optional<std::int64_t> rank;
};

std::vector<ParsedRow> parsed(const MemoryRows& rows) {
  std::vector<ParsedRow> result;
  result.reserve(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row row = rows.row(i);
    result.push_back({row, integer_of(row[kIdColumn]).value(), integer_of(row[kRankColumn])});
  }
  return result;
}

void bind(PlainStatement& statement, int position, const ParsedRow& row) {
  for (std::size_t i = 0; i < kColumns; ++i, ++position) {
    if (i == kIdColumn) {
      statement.bind(position, row.id);
    } else if (i == kRankColumn && row.rank) {
      statement.bind(position, *row.rank);
    } else {
      statement.bind(position, row.texts[i]);
    }
  }
}

void insert_all(const std::vector<ParsedRow>& rows, const std::filesystem::path& db) {
  PlainDatabase database(db, PlainDatabase::Mode::create);
  database.keep_log_at_close();
  database.execute(kTargetFileSettings);
  database.execute(kTargetSettings);
  database.execute(kCreateTable);
  PlainStatement group = database.prepare(insert_sql(kGroupRows));
  PlainStatement one = database.prepare(insert_sql(1));
  const auto insert = [&](PlainStatement& statement, std::size_t first, std::size_t count) {
    int position = 1;
    for (std::size_t i = first; i < first + count; ++i) {
      bind(statement, position, rows[i]);
      position += static_cast<int>(kColumns);
    }
    statement.step();
    statement.reset();
  };
  for (std::size_t begin = 0; begin < rows.size(); begin += kTransactionRows) {
    const std::size_t end = std::min(begin + kTransactionRows, rows.size());
    database.execute("BEGIN IMMEDIATE");
    std::size_t at = begin;
    for (; at + kGroupRows <= end; at += kGroupRows) {
      insert(group, at, kGroupRows);
    }
    for (; at < end; ++at) {
      insert(one, at, 1);
    }
    database.execute("COMMIT");
  }
}

class DirectWriter final : public WaitingWriter {
 public:
  explicit DirectWriter(const std::filesystem::path& db)
      : database_(db, PlainDatabase::Mode::create) {
    database_.execute("PRAGMA synchronous=FULL");
    insert_ = database_.prepare(insert_sql(1));
  }

  bool write(const Row& row) override {
    if (database_.try_execute("BEGIN IMMEDIATE") != SQLITE_OK) {
      return false;
    }
    for (std::size_t i = 0; i < kColumns; ++i) {
      insert_.bind(static_cast<int>(i) + 1, row[i]);
    }
    const bool inserted = insert_.try_step() == SQLITE_DONE;
    insert_.reset();
    if (inserted && database_.try_execute("COMMIT") == SQLITE_OK) {
      return true;
    }
    database_.try_execute("ROLLBACK");
    return false;
  }

 private:
  PlainDatabase database_;
  PlainStatement insert_;
};

}  // namespace

double import_with_shell(const std::filesystem::path& csv, const std::filesystem::path& db,
                         const std::filesystem::path& log) {
  PlainDatabase(db, PlainDatabase::Mode::create)
      .execute(fmt::format("{}; {}", kTargetFileSettings, kCreateTable));
  auto shell =
      Process::start({"sqlite3", "-batch", "-init", "/dev/null", "-cmd", kTargetSettings, "-cmd",
                      ".dbconfig no_ckpt_on_close on", db,
                      fmt::format(".import --csv --skip 1 \"{}\" {}", csv.string(), kTable)},
                     log);
  shell.finish();
  return shell.seconds();
}

double insert_from_memory(const std::filesystem::path& csv, const std::filesystem::path& db) {
  const Shared<double> seconds(1);
  Process::run("the limit", [&] {
    const MemoryRows texts(csv);
    const auto rows = parsed(texts);
    const double began = now_seconds();
    insert_all(rows, db);
    seconds[0] = now_seconds() - began;
  }).finish();
  return seconds[0];
}

void make_direct_database(const std::filesystem::path& db) {
  PlainDatabase database(db, PlainDatabase::Mode::create);
  database.execute(fmt::format("PRAGMA journal_mode=WAL; {}", kCreateTable));
}

std::unique_ptr<WaitingWriter> open_direct_writer(const std::filesystem::path& db) {
  return std::make_unique<DirectWriter>(db);
}

}  // namespace turnstile::bench
