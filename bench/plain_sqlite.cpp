#include "bench/plain_sqlite.h"

#include <utility>

#include "bench/process.h"

namespace turnstile::bench {
namespace {

constexpr int kBusyTimeoutMs = 5000;

}  // namespace

bool PlainStatement::step() {
  const int code = try_step();
  if (code != SQLITE_ROW && code != SQLITE_DONE) {
    throw Failure(std::string("SQLite: ") + sqlite3_errmsg(sqlite3_db_handle(handle_.get())));
  }
  return code == SQLITE_ROW;
}

std::string_view PlainStatement::text(int column) const {
  const auto* bytes = static_cast<const char*>(
      static_cast<const void*>(sqlite3_column_text(handle_.get(), column)));
  return bytes == nullptr
             ? std::string_view()
             : std::string_view(
                   bytes, static_cast<std::size_t>(sqlite3_column_bytes(handle_.get(), column)));
}

PlainDatabase::PlainDatabase(const std::filesystem::path& path, Mode mode) {
  sqlite3* database = nullptr;
  const int flags =
      mode == Mode::read ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  const int code = sqlite3_open_v2(path.c_str(), &database, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  handle_.reset(database);
  if (code != SQLITE_OK) {
    throw Failure("cannot open " + path.string() + ": " + sqlite3_errstr(code));
  }
  sqlite3_busy_timeout(database, kBusyTimeoutMs);
}

void PlainDatabase::execute(const std::string& sql) {
  if (try_execute(sql.c_str()) != SQLITE_OK) {
    throw Failure(sql + ": " + sqlite3_errmsg(handle_.get()));
  }
}

PlainStatement PlainDatabase::prepare(const std::string& sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(handle_.get(), sql.c_str(), -1, SQLITE_PREPARE_PERSISTENT, &statement,
                         nullptr) != SQLITE_OK) {
    throw Failure(sql + ": " + sqlite3_errmsg(handle_.get()));
  }
  PlainStatement prepared;
  prepared.handle_.reset(statement);
  return prepared;
}

std::string PlainDatabase::text(const std::string& sql) {
  PlainStatement statement = prepare(sql);
  return statement.step() ? std::string(statement.text(0)) : std::string();
}

std::int64_t PlainDatabase::integer_or(const std::string& sql, std::int64_t fallback) {
  sqlite3_stmt* raw = nullptr;
  const int code = sqlite3_prepare_v2(handle_.get(), sql.c_str(), -1, &raw, nullptr);
  PlainStatement statement;
  statement.handle_.reset(raw);
  return code == SQLITE_OK && statement.try_step() == SQLITE_ROW ? statement.integer(0) : fallback;
}

void PlainDatabase::keep_log_at_close() {
  sqlite3_db_config(handle_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
}

}  // namespace turnstile::bench
