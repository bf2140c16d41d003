// A reader of SQLite files for the checker, which does not use the writers' SQLite code. Opens
// read-only and never writes; a write-ahead log beside the file is read with it.
// A Database and its Queries belong to one thread. Queries end before their Database does.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace turnstile::check {

class Query {
 public:
  // False: no more rows. Errors: corrupt, with SQLite's words.
  Result<bool> next();

  [[nodiscard]] std::int64_t integer(int column) const;
  // A text or a blob; of a number its text. Valid until next().
  [[nodiscard]] std::string_view bytes(int column) const;
  [[nodiscard]] int type(int column) const;  // SQLITE_INTEGER, SQLITE_FLOAT, ...
  [[nodiscard]] int columns() const;

  void bind(int position, std::int64_t value);
  void bind(int position, std::string_view text);  // must live as long as this query

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
  };
  std::unique_ptr<sqlite3_stmt, Finalize> handle_;
};

class Database {
 public:
  // Errors: unreachable (no such file, no permission, no database, a rollback to be done first).
  static Result<Database> open(const std::filesystem::path& path);

  // What is read from here on is one state of the file, whatever is written meanwhile. Until the
  // end of the snapshot the file's writer cannot reuse its write-ahead log from the start.
  Result<void> begin_snapshot();
  void end_snapshot();

  Result<Query> query(std::string_view sql) const;
  // The single value that `sql` gives; nothing when it gives no row.
  Result<std::optional<std::int64_t>> integer(std::string_view sql) const;

  // What SQLite's own check says against the file, up to 20 lines; empty when all is well.
  [[nodiscard]] std::vector<std::string> integrity() const;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  };
  std::filesystem::path path_;
  std::unique_ptr<sqlite3, Close> handle_;
};

// A name as SQL.
std::string quoted_name(std::string_view name);

}  // namespace turnstile::check
