#include "inspect/check_sqlite.h"

#include <system_error>
#include <utility>

namespace turnstile::check {
namespace {

constexpr int kBusyTimeoutMs = 5'000;

tl::unexpected<Error> cannot_read(const std::filesystem::path& path, const std::string& why) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    return fail(Errc::unreachable, "there is no file " + path.string(), "name another file");
  }
  return fail(Errc::unreachable, path.string() + " cannot be read: " + why,
              "see whether it is a database and whether this user can read it; in its directory "
              "SQLite makes the files -wal and -shm");
}

}  // namespace

Result<bool> Query::next() {
  const int code = sqlite3_step(handle_.get());
  if (code == SQLITE_ROW || code == SQLITE_DONE) {
    return code == SQLITE_ROW;
  }
  return fail(Errc::corrupt, sqlite3_errmsg(sqlite3_db_handle(handle_.get())));
}

std::int64_t Query::integer(int column) const {
  return sqlite3_column_int64(handle_.get(), column);
}

std::string_view Query::bytes(int column) const {
  const void* data = type(column) == SQLITE_BLOB
                         ? sqlite3_column_blob(handle_.get(), column)
                         : static_cast<const void*>(sqlite3_column_text(handle_.get(), column));
  const int size = sqlite3_column_bytes(handle_.get(), column);
  return data == nullptr
             ? std::string_view()
             : std::string_view(static_cast<const char*>(data), static_cast<std::size_t>(size));
}

int Query::type(int column) const {
  return sqlite3_column_type(handle_.get(), column);
}

int Query::columns() const {
  return sqlite3_column_count(handle_.get());
}

void Query::bind(int position, std::int64_t value) {
  sqlite3_bind_int64(handle_.get(), position, value);
}

void Query::bind(int position, std::string_view text) {
  sqlite3_bind_text64(handle_.get(), position, text.data(), text.size(), SQLITE_STATIC,
                      SQLITE_UTF8);
}

Result<Database> Database::open(const std::filesystem::path& path) {
  Database database;
  database.path_ = path;
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &handle, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, nullptr);
  database.handle_.reset(handle);
  if (code != SQLITE_OK) {
    return cannot_read(path, sqlite3_errstr(code));
  }
  sqlite3_busy_timeout(handle, kBusyTimeoutMs);
  // The file is read only when it is first used.
  if (auto tables = database.integer("SELECT count(*) FROM sqlite_schema"); !tables) {
    return cannot_read(path, tables.error().what);
  }
  return database;
}

Result<void> Database::begin_snapshot() {
  if (sqlite3_exec(handle_.get(), "BEGIN", nullptr, nullptr, nullptr) != SQLITE_OK) {
    return cannot_read(path_, sqlite3_errmsg(handle_.get()));
  }
  // BEGIN alone takes no snapshot; the first read does.
  if (auto read = integer("SELECT count(*) FROM sqlite_schema"); !read) {
    return cannot_read(path_, read.error().what);
  }
  return {};
}

void Database::end_snapshot() {
  // Nothing was written: this only lets go of the view.
  sqlite3_exec(handle_.get(), "COMMIT", nullptr, nullptr, nullptr);
}

Result<Query> Database::query(std::string_view sql) const {
  Query query;
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(handle_.get(), sql.data(), static_cast<int>(sql.size()),
                                      &statement, nullptr);
  query.handle_.reset(statement);
  if (code != SQLITE_OK) {
    return fail(Errc::corrupt, sqlite3_errmsg(handle_.get()));
  }
  return query;
}

Result<std::optional<std::int64_t>> Database::integer(std::string_view sql) const {
  auto asked = query(sql);
  if (!asked) {
    return tl::make_unexpected(std::move(asked.error()));
  }
  auto row = asked->next();
  if (!row) {
    return tl::make_unexpected(std::move(row.error()));
  }
  return *row ? std::optional(asked->integer(0)) : std::nullopt;
}

std::vector<std::string> Database::integrity() const {
  std::vector<std::string> lines;
  auto checked = query("PRAGMA integrity_check(20)");
  if (!checked) {
    return {checked.error().what};
  }
  auto row = checked->next();
  for (; row && *row; row = checked->next()) {
    if (checked->bytes(0) != "ok") {
      lines.emplace_back(checked->bytes(0));
    }
  }
  if (!row) {
    lines.push_back(row.error().what);
  }
  return lines;
}

std::string quoted_name(std::string_view name) {
  std::string out = "\"";
  for (const char c : name) {
    out += c;
    if (c == '"') {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace turnstile::check
