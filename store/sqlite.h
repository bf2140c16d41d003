// A thin RAII layer over SQLite's C interface: the target and the journal need bindings without
// copies, extended error codes and the autocommit state, which wrapper libraries hide.
// A Connection and its Statements are used by one thread at a time (they are opened without
// SQLite's mutexes). Statements end before their Connection does.
#pragma once

#include <sqlite3.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/file_identity.h"
#include "base/result.h"
#include "proto/rows.h"

namespace turnstile::sqlite {

class Statement {
 public:
  Statement() = default;

  // Bind by 1-based position. Text and blobs are not copied: they must live until reset().
  void bind(int position, const ValueRef& value);
  void bind(int position, std::int64_t value);
  void bind(int position, std::string_view text);
  void bind_blob(int position, std::string_view bytes);
  void bind_null(int position);

  // SQLITE_ROW, SQLITE_DONE or an (extended) error code.
  int step();
  void reset();

  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] std::string_view text(int column) const;  // valid until the next step or reset
  [[nodiscard]] std::string_view blob(int column) const;
  [[nodiscard]] ValueRef value(int column) const;
  [[nodiscard]] int columns() const;
  [[nodiscard]] std::size_t memory() const;  // bytes

  explicit operator bool() const { return handle_ != nullptr; }

 private:
  friend class Connection;
  struct Finalize {
    void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
  };
  std::unique_ptr<sqlite3_stmt, Finalize> handle_;
};

// Resets a statement when a scope ends: a statement that is not reset keeps its read lock.
class ResetAtEnd {
 public:
  explicit ResetAtEnd(Statement& statement) : statement_(statement) {}
  ResetAtEnd(const ResetAtEnd&) = delete;
  ResetAtEnd& operator=(const ResetAtEnd&) = delete;
  ~ResetAtEnd() { statement_.reset(); }

 private:
  Statement& statement_;
};

enum class Access { read_only, read_write, create };

class Connection {
 public:
  Connection() = default;

  // Errors name the file and say what to do (no such directory, no permission, ...). SQLite reads
  // the file only when it is first used: that it is not a database shows then. `vfs` empty: the
  // system's.
  static Result<Connection> open(const std::filesystem::path& path, Access access,
                                 const std::string& vfs = {});

  // Runs one or more statements without results. `doing` says in errors what for; empty: `sql`
  // does.
  Result<void> execute(const std::string& sql, std::string_view doing = {});
  // For statements that are kept and run many times.
  Result<Statement> prepare(std::string_view sql);
  // Runs one that gives no rows, and resets it.
  Result<void> run(Statement& statement, std::string_view doing);
  // The single integer (or text) that `sql` gives; 0 (or empty) when it gives no row.
  Result<std::int64_t> query_integer(const std::string& sql, std::string_view doing = {});
  Result<std::string> query_text(const std::string& sql, std::string_view doing = {});

  // Of a database in WAL mode with synchronous=FULL, once: see store/log_buffer.h.
  Result<void> buffer_log();

  // Of a database in WAL mode, after its log was opened: remembers which files these are. Errors:
  // io, when they are not at their paths even now.
  Result<void> remember_files();
  // Whether database and write-ahead log are still the files at their paths (promise 8): one stat
  // each. Errors: io. Always good when the files are not the system's, as those of a test.
  [[nodiscard]] Result<void> still_at_path() const;
  // After still_at_path() failed: if only the log is gone, and nobody else wrote into the database
  // since note_written(), copies what is committed in the open log into it. Whether that is all.
  bool save_lost_log();
  [[nodiscard]] bool has_database_at_path() const { return identity_at(path_) == file_; }
  // This connection wrote into the database: it made a checkpoint.
  void note_written();

  // In a write transaction: extends the write-ahead log's file by at least `bytes` of zeros, which
  // nobody reads. Overwriting syncs at twice the speed of appending. Returns the file's new length.
  // Errors: full, io. (Asking for its length is not free: the next sync writes its inode, with the
  // time of change.)
  Result<std::int64_t> grow_log(std::int64_t bytes) const;

  // Pages that statements wrote into the write-ahead log before their commit, to make room.
  [[nodiscard]] int pages_spilled() const;
  // From now on none does. make_room(), between two statements, writes instead, when a transaction
  // has 32 MiB in memory. Errors of make_room(): full, io.
  Result<void> keep_pages_in_statements();
  Result<void> make_room();

  // Called while another process holds the file, with the time waited so far; returning false gives
  // up with SQLITE_BUSY. Between calls it waits 1 ms to 50 ms, rising. Replaces any earlier one.
  void on_busy(std::function<bool(std::chrono::milliseconds waited)> handler);

  // Whether the file can grow: its file system has room, and its greatest size is not reached. When
  // it has, SQLITE_FULL may mean that a table has no id left.
  [[nodiscard]] bool has_room() const;

  [[nodiscard]] bool in_transaction() const;  // false after SQLite rolled back by itself
  [[nodiscard]] std::int64_t last_insert_rowid() const;
  [[nodiscard]] int changes() const;
  // SQLite's words for the last failure.
  [[nodiscard]] std::string message() const;
  // The last failure as an Error: `what` begins with `doing`, names the file and says why. Codes:
  // locked, full, unreachable, io, corrupt; refused when the statement or its rows are the reason.
  [[nodiscard]] Error error(int code, std::string_view doing) const;
  [[nodiscard]] sqlite3* handle() const { return handle_.get(); }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  };
  struct Busy {
    std::function<bool(std::chrono::milliseconds)> handler;
    std::chrono::steady_clock::time_point since;
  };
  static int busy_callback(void* busy, int calls);
  [[nodiscard]] const char* log_path() const;

  std::filesystem::path path_;
  std::optional<FileIdentity> file_;  // nothing: not remembered
  std::optional<FileIdentity> log_;
  std::optional<FileContent> content_;
  bool keeps_pages_ = false;
  std::unique_ptr<Busy> busy_;  // its address is given to SQLite, so it outlives moves
  std::unique_ptr<sqlite3, Close> handle_;
};

// Another program holds the database: who, where the system tells it.
Error locked_error(std::string_view doing, const std::filesystem::path& path);

// What a function or a virtual table gives; text and blobs are not copied.
void set_result(sqlite3_context* context, const ValueRef& value);

// A name as SQL: quoted, so that any valid identifier is only ever a name.
std::string quoted(std::string_view name);

// What a failure of a statement or of its COMMIT is about (promise 7).
enum class About {
  row,    // a constraint, a type, a size, an error that a trigger, a check or a function raises
  table,  // every row of this form may fail: a missing module, a damaged index, ...
  file,   // a lock, the disk, memory, damage to the file itself: try again, or open it again
};

// `code`: extended, of a statement that was prepared or run while this connection had the write
// lock. SQLITE_FULL is about the file here; Connection::has_room() tells more.
About about(int code);

}  // namespace turnstile::sqlite
