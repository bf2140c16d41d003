#include "store/sqlite.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <system_error>
#include <thread>
#include <utility>

#include "base/descriptor.h"
#include "store/lock_holder.h"
#include "store/log_buffer.h"

namespace turnstile::sqlite {
namespace {

constexpr int kPrimaryCode = 0xFF;

// SQLite takes a null pointer for NULL, whatever the length.
const char* bytes_of(std::string_view view) {
  return view.data() == nullptr ? "" : view.data();
}

std::string_view view_of(const void* bytes, int size) {
  return bytes == nullptr
             ? std::string_view{}
             : std::string_view(static_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

// SQLite makes a file with 0644 at most, and the files beside it with the mode of the file; here
// the umask alone decides. An empty file is an empty database. What fails shows when it is opened.
void make_file(const std::filesystem::path& path) {
  constexpr mode_t kMode = 0666;
  const Descriptor made(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kMode));
}

// Damage to an index or to a virtual table, or a collation that this program does not have.
bool is_of_one_object(int code) {
  return code == SQLITE_CORRUPT_VTAB || code == SQLITE_CORRUPT_INDEX ||
         code == SQLITE_CORRUPT_SEQUENCE || code == SQLITE_ERROR_MISSING_COLLSEQ;
}

Error cannot_open(const std::filesystem::path& path, std::string_view doing, int system_error,
                  const std::string& message) {
  std::error_code ignored;
  const std::string file = path.string();
  const std::string start = std::string(doing) + ": ";
  const auto parent = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  if (std::filesystem::is_directory(path, ignored)) {
    return {Errc::unreachable, start + file + " is a directory", "name a file"};
  }
  // A file that may not be made is tried once more for reading, which hides why.
  const bool may_not_make = !std::filesystem::exists(path, ignored) &&
                            std::filesystem::exists(parent, ignored) &&
                            ::faccessat(AT_FDCWD, parent.c_str(), W_OK, AT_EACCESS) != 0;
  if (system_error == EACCES || system_error == EPERM || may_not_make) {
    return {
        Errc::unreachable, start + "no permission to open or create " + file,
        "give this user the right to read and write it and its directory, or name another file"};
  }
  if (!std::filesystem::exists(parent, ignored)) {
    return {Errc::unreachable, start + "there is no directory " + parent.string(),
            "make the directory, or name another file"};
  }
  if (!std::filesystem::exists(path, ignored) && system_error == ENOENT) {
    return {Errc::unreachable, start + "there is no file " + file, "name another file"};
  }
  const std::string why =
      system_error != 0 ? std::generic_category().message(system_error) : message;
  return {Errc::unreachable, start + file + " cannot be opened (" + why + ")",
          "see whether the file and its directory can be read and written"};
}

Error moved(const std::filesystem::path& path) {
  return {Errc::io,
          path.string() +
              " was moved, deleted or replaced while it was open; nothing is acknowledged from the "
              "file that was there, and the one at its path is opened or made",
          "to move such files away, stop this program first"};
}

Error describe(int code, std::string_view doing, const std::filesystem::path& path,
               int system_error, const std::string& message) {
  const std::string file = path.string();
  const std::string start = std::string(doing) + ": ";
  const bool out_of_space = system_error == ENOSPC || system_error == EDQUOT;
  if (is_of_one_object(code)) {
    return {Errc::refused, start + message + " (" + file + ")", {}};
  }
  switch (code & kPrimaryCode) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
      return locked_error(doing, path);
    case SQLITE_INTERRUPT:
      return {Errc::locked, start + "it was ended before its time", "it is tried again"};
    case SQLITE_FULL:
      return {Errc::full, start + "no space left for " + file, "free space on its file system"};
    case SQLITE_NOMEM:
      return {Errc::full, start + "out of memory with " + file, "free memory"};
    case SQLITE_NOTADB:
      return {Errc::unreachable, start + file + " is not an SQLite database",
              "name another file, or move this one away"};
    case SQLITE_CANTOPEN:
      return cannot_open(path, doing, system_error, message);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      if (code == SQLITE_READONLY_DBMOVED) {
        return {Errc::unreachable, start + file + " was moved or deleted while it was open",
                "put it back, or start again"};
      }
      return {Errc::unreachable, start + file + " cannot be written (" + message + ")",
              "give this user the right to write the file and its directory"};
    case SQLITE_IOERR:
      // A write that found no room can be tried again; a failed sync never counts as that.
      if (out_of_space && code != SQLITE_IOERR_FSYNC) {
        return {Errc::full, start + "no space left for " + file, "free space on its file system"};
      }
      return {Errc::io,
              start + "reading or writing " + file + " failed (" + message +
                  (system_error != 0 ? ", " + std::generic_category().message(system_error) : "") +
                  ")",
              "look at the disk (dmesg), then open the file again"};
    case SQLITE_CORRUPT:
      return {Errc::corrupt, start + file + " is damaged (" + message + ")",
              "copy it away, then see what `sqlite3 " + file + " '.recover'` can save"};
    default:
      return {Errc::refused, start + message + " (" + file + ")", {}};
  }
}

}  // namespace

Error locked_error(std::string_view doing, const std::filesystem::path& path) {
  const std::string start = std::string(doing) + ": ";
  const std::string file = path.string();
  if (const std::string holder = lock_holder(path); !holder.empty()) {
    return {Errc::locked, start + "another program holds " + file + ": it is locked by " + holder,
            "let it finish or end it"};
  }
  return {Errc::locked, start + "another program holds " + file,
          "let it finish or end it; `fuser -v " + file + "` names it"};
}

void Statement::bind(int position, const ValueRef& value) {
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    bind(position, *text);
  } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    bind(position, *integer);
  } else if (const auto* real = std::get_if<double>(&value)) {
    sqlite3_bind_double(handle_.get(), position, *real);
  } else if (const auto* blob = std::get_if<Blob>(&value)) {
    bind_blob(position, blob->bytes);
  } else {
    bind_null(position);
  }
}

void set_result(sqlite3_context* context, const ValueRef& value) {
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    sqlite3_result_text64(context, bytes_of(*text), text->size(), SQLITE_STATIC, SQLITE_UTF8);
  } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    sqlite3_result_int64(context, *integer);
  } else if (const auto* real = std::get_if<double>(&value)) {
    sqlite3_result_double(context, *real);
  } else if (const auto* blob = std::get_if<Blob>(&value)) {
    sqlite3_result_blob64(context, bytes_of(blob->bytes), blob->bytes.size(), SQLITE_STATIC);
  } else {
    sqlite3_result_null(context);
  }
}

void Statement::bind(int position, std::int64_t value) {
  sqlite3_bind_int64(handle_.get(), position, value);
}

void Statement::bind(int position, std::string_view text) {
  sqlite3_bind_text64(handle_.get(), position, bytes_of(text), text.size(), SQLITE_STATIC,
                      SQLITE_UTF8);
}

void Statement::bind_blob(int position, std::string_view bytes) {
  sqlite3_bind_blob64(handle_.get(), position, bytes_of(bytes), bytes.size(), SQLITE_STATIC);
}

void Statement::bind_null(int position) {
  sqlite3_bind_null(handle_.get(), position);
}

int Statement::step() {
  return sqlite3_step(handle_.get());
}

void Statement::reset() {
  sqlite3_reset(handle_.get());
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(handle_.get(), column);
}

std::string_view Statement::text(int column) const {
  // The bytes are counted after the conversion that the pointer asks for.
  const void* bytes = sqlite3_column_text(handle_.get(), column);
  return view_of(bytes, sqlite3_column_bytes(handle_.get(), column));
}

std::string_view Statement::blob(int column) const {
  const void* bytes = sqlite3_column_blob(handle_.get(), column);
  return view_of(bytes, sqlite3_column_bytes(handle_.get(), column));
}

ValueRef Statement::value(int column) const {
  switch (sqlite3_column_type(handle_.get(), column)) {
    case SQLITE_INTEGER:
      return integer(column);
    case SQLITE_FLOAT:
      return sqlite3_column_double(handle_.get(), column);
    case SQLITE_TEXT:
      return text(column);
    case SQLITE_BLOB:
      return Blob{blob(column)};
    default:
      return Null{};
  }
}

std::size_t Statement::memory() const {
  return handle_ == nullptr ? 0
                            : static_cast<std::size_t>(
                                  sqlite3_stmt_status(handle_.get(), SQLITE_STMTSTATUS_MEMUSED, 0));
}

int Statement::columns() const {
  return sqlite3_column_count(handle_.get());
}

Result<Connection> Connection::open(const std::filesystem::path& path, Access access,
                                    const std::string& vfs) {
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  switch (access) {
    case Access::read_only:
      flags |= SQLITE_OPEN_READONLY;
      break;
    case Access::read_write:
      flags |= SQLITE_OPEN_READWRITE;
      break;
    case Access::create:
      flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
      break;
  }
  if (access == Access::create && vfs.empty() && path != ":memory:") {
    make_file(path);
  }
  Connection connection;
  connection.path_ = path;
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &handle, flags, vfs.empty() ? nullptr : vfs.c_str());
  connection.handle_.reset(handle);
  if (code != SQLITE_OK) {
    return tl::make_unexpected(connection.error(code, "opening the database"));
  }
  // SQLite opens a file that it may not write for reading only, and says so at the first write.
  if (access != Access::read_only && sqlite3_db_readonly(handle, "main") == 1) {
    return tl::make_unexpected(
        describe(SQLITE_READONLY, "opening the database", path, 0, "no permission"));
  }
  return connection;
}

Result<void> Connection::execute(const std::string& sql, std::string_view doing) {
  const int code = sqlite3_exec(handle_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) {
    return tl::make_unexpected(error(code, doing.empty() ? sql : doing));
  }
  return {};
}

Result<void> Connection::run(Statement& statement, std::string_view doing) {
  const ResetAtEnd reset(statement);
  const int code = statement.step();
  if (code != SQLITE_DONE) {
    return tl::make_unexpected(error(code, doing));
  }
  return {};
}

Result<void> Connection::buffer_log() {
  // SQLite opens the log when it first reads.
  if (auto read = query_integer("SELECT count(*) FROM sqlite_schema"); !read) {
    return tl::make_unexpected(std::move(read.error()));
  }
  sqlite3_file* database = nullptr;
  sqlite3_file* log = nullptr;
  for (const auto& [what, file] :
       {std::pair(SQLITE_FCNTL_FILE_POINTER, &database), {SQLITE_FCNTL_JOURNAL_POINTER, &log}}) {
    if (const int code = sqlite3_file_control(handle_.get(), "main", what, file);
        code != SQLITE_OK) {
      return tl::make_unexpected(error(code, "opening the write-ahead log"));
    }
  }
  sqlite::buffer_log(database, log,
                     sqlite3_filename_wal(sqlite3_db_filename(handle_.get(), "main")));
  return {};
}

Result<void> Connection::remember_files() {
  int has_moved = 0;
  if (sqlite3_file_control(handle_.get(), "main", SQLITE_FCNTL_HAS_MOVED, &has_moved) !=
      SQLITE_OK) {
    return {};  // a test's file system
  }
  file_ = identity_at(path_);
  log_ = identity_at(log_path());
  if (has_moved != 0 || !file_ || !log_) {
    return tl::make_unexpected(moved(has_moved != 0 || !file_ ? path_ : log_path()));
  }
  note_written();
  return {};
}

void Connection::note_written() {
  if (file_) {
    content_ = content_at(path_);
  }
}

// A database that others wrote into, such as a backup that was copied over it, is not what the log
// belongs to any more. And a log that is left beside another database would be mixed with that.
bool Connection::save_lost_log() {
  const bool has_database = has_database_at_path();
  if (has_database && content_at(path_) != content_) {
    return false;
  }
  int pages = 0;
  int copied = 0;
  if (sqlite3_wal_checkpoint_v2(handle_.get(), "main", SQLITE_CHECKPOINT_PASSIVE, &pages,
                                &copied) != SQLITE_OK ||
      pages != copied) {
    return false;
  }
  if (!has_database && identity_at(log_path()) == log_) {
    ::unlink(log_path());
  }
  return true;
}

// SQLite's SQLITE_FCNTL_HAS_MOVED compares the inode only, and knows nothing of the log.
Result<void> Connection::still_at_path() const {
  if (!file_) {
    return {};
  }
  if (identity_at(path_) != file_) {
    return tl::make_unexpected(moved(path_));
  }
  if (const auto log = log_path(); identity_at(log) != log_) {
    return tl::make_unexpected(moved(log));
  }
  return {};
}

const char* Connection::log_path() const {
  return sqlite3_filename_wal(sqlite3_db_filename(handle_.get(), "main"));
}

Result<std::int64_t> Connection::grow_log(std::int64_t bytes) const {
  // SQLite's own files take writes below 128 KiB, and a log buffer passes writes of this size on.
  constexpr auto kZeros = static_cast<sqlite3_int64>(kStraightBytes);
  static const std::string zeros(kStraightBytes, '\0');
  sqlite3_file* log = nullptr;
  sqlite3_int64 at = 0;
  int code = sqlite3_file_control(handle_.get(), "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
  if (code == SQLITE_OK) {
    code = log->pMethods->xFileSize(log, &at);
  }
  const sqlite3_int64 end = at + (bytes + kZeros - 1) / kZeros * kZeros;
  for (; code == SQLITE_OK && at < end; at += kZeros) {
    code = log->pMethods->xWrite(log, zeros.data(), static_cast<int>(kZeros), at);
  }
  if (code != SQLITE_OK) {
    int cause = 0;
    if (log != nullptr &&
        log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &cause) != SQLITE_OK) {
      cause = 0;
    }
    return tl::make_unexpected(
        describe(code, "making the write-ahead log longer", path_, cause, sqlite3_errstr(code)));
  }
  return end;
}

Result<Statement> Connection::prepare(std::string_view sql) {
  Statement statement;
  sqlite3_stmt* handle = nullptr;
  const int code = sqlite3_prepare_v3(handle_.get(), sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &handle, nullptr);
  statement.handle_.reset(handle);
  if (code != SQLITE_OK) {
    return tl::make_unexpected(error(code, "preparing a statement"));
  }
  return statement;
}

Result<std::int64_t> Connection::query_integer(const std::string& sql, std::string_view doing) {
  auto statement = prepare(sql);
  if (!statement) {
    return tl::make_unexpected(
        error(sqlite3_extended_errcode(handle_.get()), doing.empty() ? sql : doing));
  }
  const int code = statement->step();
  if (code != SQLITE_ROW && code != SQLITE_DONE) {
    return tl::make_unexpected(error(code, doing.empty() ? sql : doing));
  }
  return code == SQLITE_ROW ? statement->integer(0) : 0;
}

Result<std::string> Connection::query_text(const std::string& sql, std::string_view doing) {
  auto statement = prepare(sql);
  if (!statement) {
    return tl::make_unexpected(
        error(sqlite3_extended_errcode(handle_.get()), doing.empty() ? sql : doing));
  }
  const int code = statement->step();
  if (code != SQLITE_ROW && code != SQLITE_DONE) {
    return tl::make_unexpected(error(code, doing.empty() ? sql : doing));
  }
  return code == SQLITE_ROW ? std::string(statement->text(0)) : std::string();
}

int Connection::busy_callback(void* busy, int calls) {
  using std::chrono::milliseconds;
  constexpr std::array kWaits{milliseconds{1},  milliseconds{2},  milliseconds{5},
                              milliseconds{10}, milliseconds{20}, milliseconds{50}};
  auto& state = *static_cast<Busy*>(busy);
  const auto now = std::chrono::steady_clock::now();
  if (calls == 0) {
    state.since = now;
  }
  if (!state.handler(std::chrono::duration_cast<milliseconds>(now - state.since))) {
    return 0;
  }
  std::this_thread::sleep_for(
      kWaits.at(std::min(static_cast<std::size_t>(calls), kWaits.size() - 1)));
  return 1;
}

void Connection::on_busy(std::function<bool(std::chrono::milliseconds waited)> handler) {
  auto busy = std::make_unique<Busy>(Busy{std::move(handler), {}});
  sqlite3_busy_handler(handle_.get(), busy_callback, busy.get());
  busy_ = std::move(busy);
}

bool Connection::has_room() const {
  constexpr std::uint64_t kEnough = std::uint64_t{16} * 1024 * 1024;
  const auto number = [this](const char* sql) {
    sqlite3_stmt* statement = nullptr;
    std::int64_t value = 0;
    if (sqlite3_prepare_v2(handle_.get(), sql, -1, &statement, nullptr) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
      value = sqlite3_column_int64(statement, 0);
    }
    sqlite3_finalize(statement);
    return value;
  };
  struct statvfs system {};
  if (::statvfs(path_.c_str(), &system) != 0 || system.f_bavail * system.f_frsize < kEnough) {
    return false;
  }
  return number("PRAGMA main.page_count") + 1 < number("PRAGMA main.max_page_count");
}

bool Connection::in_transaction() const {
  return sqlite3_get_autocommit(handle_.get()) == 0;
}

int Connection::pages_spilled() const {
  int pages = 0;
  int unused = 0;
  sqlite3_db_status(handle_.get(), SQLITE_DBSTATUS_CACHE_SPILL, &pages, &unused, 0);
  return pages;
}

Result<void> Connection::keep_pages_in_statements() {
  // More pages than any cache has. "OFF" would stop sqlite3_db_cacheflush() as well, and so would a
  // number whose lowest byte is 0.
  return execute("PRAGMA cache_spill=1000000001").map([this] { keeps_pages_ = true; });
}

Result<void> Connection::make_room() {
  constexpr int kMostBytes = 32 * 1024 * 1024;
  int bytes = 0;
  int unused = 0;
  if (!keeps_pages_ ||
      sqlite3_db_status(handle_.get(), SQLITE_DBSTATUS_CACHE_USED, &bytes, &unused, 0) !=
          SQLITE_OK ||
      bytes < kMostBytes) {
    return {};
  }
  // Busy: a page is in use, all others are written.
  const int code = sqlite3_db_cacheflush(handle_.get());
  if (code != SQLITE_OK && code != SQLITE_BUSY) {
    return tl::make_unexpected(error(code, "writing a transaction's first pages"));
  }
  return {};
}

std::int64_t Connection::last_insert_rowid() const {
  return sqlite3_last_insert_rowid(handle_.get());
}

int Connection::changes() const {
  return sqlite3_changes(handle_.get());
}

std::string Connection::message() const {
  return sqlite3_errmsg(handle_.get());
}

Error Connection::error(int code, std::string_view doing) const {
  return describe(code, doing, path_, sqlite3_system_errno(handle_.get()), message());
}

std::string quoted(std::string_view name) {
  std::string out = "\"";
  for (const char c : name) {
    if (c == '"') {
      out += '"';
    }
    out += c;
  }
  out += '"';
  return out;
}

About about(int code) {
  if (is_of_one_object(code)) {
    return About::table;
  }
  switch (code & kPrimaryCode) {
    case SQLITE_BUSY:
    case SQLITE_PROTOCOL:
    case SQLITE_IOERR:
    case SQLITE_FULL:
    case SQLITE_NOMEM:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_NOLFS:
      return About::file;
    default:
      return About::row;
  }
}

}  // namespace turnstile::sqlite
