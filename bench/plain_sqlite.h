// SQLite as any C++ program would use it, without code of Turnstile: for the comparisons and the
// checks. Failures throw.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace turnstile::bench {

class PlainStatement {
 public:
  // False after the last row.
  bool step();
  // Returns SQLite's result code instead of throwing.
  int try_step() { return sqlite3_step(handle_.get()); }
  void reset() { sqlite3_reset(handle_.get()); }

  // Text is not copied: it must live until the next reset.
  void bind(int position, std::string_view text) {
    sqlite3_bind_text(handle_.get(), position, text.data(), static_cast<int>(text.size()),
                      SQLITE_STATIC);
  }
  void bind(int position, std::int64_t value) {
    sqlite3_bind_int64(handle_.get(), position, value);
  }

  [[nodiscard]] std::string_view text(int column) const;
  [[nodiscard]] std::int64_t integer(int column) const {
    return sqlite3_column_int64(handle_.get(), column);
  }

 private:
  friend class PlainDatabase;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  std::unique_ptr<sqlite3_stmt, Finalize> handle_;
};

class PlainDatabase {
 public:
  enum class Mode { read, create };

  // For one thread. The busy timeout is 5 s.
  PlainDatabase(const std::filesystem::path& path, Mode mode);

  void execute(const std::string& sql);
  // Returns SQLite's result code instead of throwing.
  int try_execute(const char* sql) {
    return sqlite3_exec(handle_.get(), sql, nullptr, nullptr, nullptr);
  }
  PlainStatement prepare(const std::string& sql);
  std::string text(const std::string& sql);
  // `fallback` if the query fails.
  std::int64_t integer_or(const std::string& sql, std::int64_t fallback);

  // Keeps the write-ahead log when the database is closed.
  void keep_log_at_close();

 private:
  struct Close {
    void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
  };
  std::unique_ptr<sqlite3, Close> handle_;
};

}  // namespace turnstile::bench
