#include "store/direct_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>
#include <utility>

#include "base/descriptor.h"
#include "proto/limits.h"
#include "store/definition.h"
#include "store/text_file.h"
#include "store/text_lines.h"

namespace turnstile::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// What the lab prints is SQLite's own message, nothing else.
Error as_the_lab_says(Error error) {
  if (error.code == Errc::locked) {
    error.what = "database is locked";
  }
  return error;
}

template <typename T>
Result<T> as_the_lab_says(Result<T> result) {
  return std::move(result).map_error([](Error error) { return as_the_lab_says(std::move(error)); });
}

DirectOutcome all_rows_refused(const BatchHeader& header, const std::string& reason) {
  DirectOutcome outcome;
  outcome.batch.through = header.last();
  outcome.batch.dead_now = header.rows;
  outcome.batch.dead_count = header.rows;
  for (std::uint32_t i = 0; i < header.rows && i < limits::kDeadListed; ++i) {
    outcome.batch.dead.push_back({plus(header.first, i), reason});
  }
  return outcome;
}

Result<void> append_to(const std::filesystem::path& path, std::string_view lines) {
  constexpr mode_t kMode = 0666;  // less the umask
  const Descriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, kMode));
  if (!fd) {
    return tl::make_unexpected(file_error(errno, "opening", path));
  }
  Result<void> result;
  while (!lines.empty() && result) {
    const ssize_t written = ::write(fd.get(), lines.data(), lines.size());
    if (written >= 0) {
      lines.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      result = tl::make_unexpected(file_error(errno, "writing", path));
    }
  }
  return result;
}

}  // namespace

Result<void> DirectWriter::connect() {
  constexpr const char* kDoing = "opening the database";
  if (tables_ != nullptr) {
    return {};
  }
  auto opened = sqlite::Connection::open(options_.path, sqlite::Access::create);
  if (!opened) {
    return tl::make_unexpected(std::move(opened.error()));
  }
  connection_ = std::move(*opened);
  sqlite3_busy_handler(
      connection_.handle(),
      [](void* writer, int calls) {
        return static_cast<DirectWriter*>(writer)->wait_for_lock(calls);
      },
      this);
  if (options_.journal != DirectJournal::as_it_is) {
    const std::string wanted = options_.journal == DirectJournal::wal ? "wal" : "delete";
    auto mode = connection_.query_text("PRAGMA journal_mode", kDoing);
    if (mode && *mode != wanted) {
      mode = connection_.query_text("PRAGMA journal_mode=" + wanted, kDoing);
    }
    if (!mode) {
      return tl::make_unexpected(std::move(mode.error()));
    }
  }
  tables_ = std::make_unique<Tables>(connection_);
  return {};
}

void DirectWriter::disconnect_if_asked() {
  if (options_.reopen_for_each || has_moved_) {
    has_moved_ = false;
    stored_row_ = {};
    tables_.reset();
    connection_ = {};
  }
}

// A connection that is kept writes on into a file that was moved or deleted (promise 8).
Result<void> DirectWriter::still_at_path() {
  int moved = 0;
  has_moved_ = sqlite3_file_control(connection_.handle(), "main", SQLITE_FCNTL_HAS_MOVED, &moved) ==
                   SQLITE_OK &&
               moved != 0;
  if (has_moved_) {
    return fail(Errc::io, options_.path.string() + " was moved or deleted while it was open",
                "send the rows again");
  }
  return {};
}

Result<DirectOutcome> DirectWriter::write(const BatchHeader& header, std::string_view rows_frame) {
  writing_ = &header;
  auto written = connect().and_then([&] { return write_connected(header, rows_frame); });
  writing_ = nullptr;
  if (!written && connection_.handle() != nullptr && connection_.in_transaction()) {
    static_cast<void>(connection_.execute("ROLLBACK"));  // the first failure is the one to tell
  }
  disconnect_if_asked();
  return as_the_lab_says(std::move(written));
}

Result<DirectOutcome> DirectWriter::write_connected(const BatchHeader& header,
                                                    std::string_view rows_frame) {
  if (auto decoded = decode_rows(rows_frame, header.rows, decoded_); !decoded) {
    return all_rows_refused(header, decoded.error().what);
  }
  if (auto reserved = reserved_table_problem(header.table); !reserved.empty()) {
    return all_rows_refused(header, reserved);
  }
  if (header.kind == BatchKind::retry) {
    return all_rows_refused(header, "dead letters are sent again through the queue only");
  }
  if (auto current = tables_->refresh(); !current) {
    return tl::make_unexpected(std::move(current.error()));
  }
  return header.kind == BatchKind::define ? define(header) : insert(header);
}

Result<DirectOutcome> DirectWriter::define(const BatchHeader& header) {
  if (auto problem = definition_problem(header.table); !problem.empty()) {
    return all_rows_refused(header, problem);
  }
  if (header.rows != 1) {
    return all_rows_refused(header, "the definition of a table has one row");
  }
  auto made = definition_sql(header.table, header.columns, decoded_.row(0))
                  .and_then([&](const std::string& sql) {
                    return connection_.execute(sql, "creating a table");
                  });
  if (!made && (made.error().code == Errc::bad_input || made.error().code == Errc::refused)) {
    return all_rows_refused(header, made.error().what);
  }
  if (!made) {
    return tl::make_unexpected(std::move(made.error()));
  }
  DirectOutcome outcome;
  outcome.batch.through = header.last();
  outcome.batch.rows_applied = 1;
  return outcome;
}

Result<DirectOutcome> DirectWriter::insert(const BatchHeader& header) {
  auto found = tables_->inserter_or_lab(header.table, header.columns);
  if (!found) {
    return tl::make_unexpected(std::move(found.error()));
  }
  Inserter& inserter = **found;
  if (!inserter.refusal().empty()) {
    return all_rows_refused(header, inserter.refusal());
  }
  // Nothing may be read between BEGIN and the first INSERT: a transaction that reads first does not
  // wait for a lock, it fails immediately.
  DirectOutcome outcome;
  outcome.batch.through = header.last();
  std::string lines;
  auto committed =
      connection_.execute(options_.begin == DirectBegin::immediate ? "BEGIN IMMEDIATE" : "BEGIN")
          .and_then([&] { return insert_rows(header, inserter, outcome, lines); })
          .and_then([&] {
            if (outcome.batch.rows_applied > 0) {
              hold(header.task_duration);
            }
            return connection_.execute("COMMIT", "committing");
          })
          .and_then([&] { return still_at_path(); });
  if (!committed) {
    return tl::make_unexpected(std::move(committed.error()));
  }
  tell(EventKind::committed);
  if (!lines.empty()) {
    if (auto appended = append_to(options_.text_path, lines); !appended) {
      outcome.text_error = std::move(appended.error());
    }
  }
  return outcome;
}

Result<void> DirectWriter::insert_rows(const BatchHeader& header, Inserter& inserter,
                                       DirectOutcome& outcome, std::string& lines) {
  const TableInfo& table = *inserter.table();
  const bool logged = !options_.text_path.empty() && !table.rowid.empty() &&
                      same_name(table.name, options_.text_table);
  const auto format = logged ? BatchLines::make(table, header.columns) : std::nullopt;
  for (std::uint32_t i = 0; i < header.rows; ++i) {
    const auto row = decoded_.row(i);
    std::string reason = count_problem(row.size(), inserter.columns());
    if (reason.empty()) {
      reason = decoded_.defect(i);
    }
    if (reason.empty()) {
      const int code = inserter.insert(row);
      if (code != SQLITE_DONE && sqlite::about(code) == sqlite::About::file) {
        return tl::make_unexpected(connection_.error(code, "inserting a row"));
      }
      if (code != SQLITE_DONE) {
        reason = connection_.message();
        if (!connection_.in_transaction()) {
          return fail(Errc::refused, reason,
                      "the table rolls back all rows for one that it refuses");
        }
      }
    }
    if (!reason.empty()) {
      ++outcome.batch.dead_now;
      ++outcome.batch.dead_count;
      if (outcome.batch.dead.size() < limits::kDeadListed) {
        outcome.batch.dead.push_back({plus(header.first, i), std::move(reason)});
      }
      continue;
    }
    if (++outcome.batch.rows_applied == 1) {
      tell(EventKind::lock);
    }
    if (logged && !(format && format->append(row, connection_.last_insert_rowid(), lines))) {
      if (auto appended = append_stored_line(table, lines); !appended) {
        return appended;
      }
    }
  }
  return {};
}

Result<void> DirectWriter::append_stored_line(const TableInfo& table, std::string& lines) {
  if (!stored_row_ || stored_row_version_ != tables_->version()) {
    std::string sql = "SELECT ";
    for (const auto& column : table.columns) {
      sql += (&column == &table.columns.front() ? "t." : ", t.") + sqlite::quoted(column.name);
    }
    sql += " FROM main." + sqlite::quoted(table.name) + " AS t WHERE t." + table.rowid + " = ?1";
    auto prepared = connection_.prepare(sql);
    if (!prepared) {
      return tl::make_unexpected(std::move(prepared.error()));
    }
    stored_row_ = std::move(*prepared);
    stored_row_version_ = tables_->version();
  }
  const sqlite::ResetAtEnd reset(stored_row_);
  stored_row_.bind(1, connection_.last_insert_rowid());
  const int code = stored_row_.step();
  if (code == SQLITE_ROW) {
    append_line(stored_row_, 0, lines);
  } else if (code != SQLITE_DONE) {
    return tl::make_unexpected(connection_.error(code, "reading a row back"));
  }
  return {};
}

void DirectWriter::hold(milliseconds duration) {
  constexpr milliseconds kAskEvery{100};
  if (duration > milliseconds(0)) {
    tell(EventKind::holding);
  }
  const auto until = steady_clock::now() + std::min(duration, limits::kTaskDuration);
  for (auto now = steady_clock::now(); now < until; now = steady_clock::now()) {
    std::this_thread::sleep_for(std::min<steady_clock::duration>(until - now, kAskEvery));
    if (options_.while_waiting && !options_.while_waiting()) {
      return;
    }
  }
}

// As sqlite3_busy_timeout() waits, with SQLite's own delays, so that being watched changes nothing.
int DirectWriter::wait_for_lock(int calls) {
  constexpr std::array kDelays{milliseconds{1},  milliseconds{2},  milliseconds{5},
                               milliseconds{10}, milliseconds{15}, milliseconds{20},
                               milliseconds{25}, milliseconds{25}, milliseconds{25},
                               milliseconds{50}, milliseconds{50}, milliseconds{100}};
  if (calls == 0) {
    lock_waited_ = milliseconds(0);
    tell(EventKind::waiting);
  }
  const auto delay =
      std::min(kDelays.at(std::min(static_cast<std::size_t>(calls), kDelays.size() - 1)),
               options_.busy_timeout - lock_waited_);
  if (delay <= milliseconds(0)) {
    return 0;
  }
  std::this_thread::sleep_for(delay);
  lock_waited_ += delay;
  return 1;
}

void DirectWriter::tell(EventKind kind) const {
  if (options_.events == nullptr) {
    return;
  }
  if (writing_ != nullptr) {
    options_.events->about(kind, *writing_);
  } else {
    options_.events->about(kind);  // it waits to open the database: for no row yet
  }
}

Result<TableAnswer> DirectWriter::check_table(const std::string& table,
                                              const std::vector<std::string>& columns) {
  const auto look = [&]() -> Result<TableAnswer> {
    auto found =
        tables_->refresh().and_then([&] { return tables_->inserter_or_lab(table, columns); });
    if (!found) {
      return tl::make_unexpected(std::move(found.error()));
    }
    return answer_about(**found, table, columns);
  };
  auto answer = connect().and_then(look);
  disconnect_if_asked();
  return as_the_lab_says(std::move(answer));
}

}  // namespace turnstile::store
