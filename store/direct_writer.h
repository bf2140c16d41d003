// Direct mode: a producer writes the file by itself, on purpose without what the queue adds: no
// sequence is kept, a row may be lost to "database is locked", and each process
// appends its lines to the text log after its commit.
// Belongs to one thread.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "events/event_sink.h"
#include "proto/messages.h"
#include "proto/rows.h"
#include "store/batch.h"
#include "store/sqlite.h"
#include "store/tables.h"

namespace turnstile::store {

enum class DirectJournal { as_it_is, rollback, wal };
enum class DirectBegin { deferred, immediate };

struct DirectOptions {
  std::filesystem::path path;
  std::filesystem::path text_path;       // empty: no text log
  std::string text_table = "nutrients";  // whose rows are appended to it
  std::chrono::milliseconds busy_timeout{5000};
  DirectJournal journal = DirectJournal::rollback;
  DirectBegin begin = DirectBegin::deferred;
  bool reopen_for_each = true;  // a connection of its own for each write, as the lab does
  // Asked about every 100 ms while a task holds the database. Returning false ends the holding.
  std::function<bool()> while_waiting;
  std::shared_ptr<EventSink> events;  // null: nobody watches
};

struct DirectOutcome {
  BatchOutcome batch;  // its dead rows were refused, and are kept nowhere
  // The rows are committed, but the text log lacks their lines.
  std::optional<Error> text_error;
};

class DirectWriter {
 public:
  explicit DirectWriter(DirectOptions options) : options_(std::move(options)) {}
  DirectWriter(const DirectWriter&) = delete;  // SQLite has its address
  DirectWriter& operator=(const DirectWriter&) = delete;
  ~DirectWriter() = default;

  // One transaction: all rows of the batch that the table takes, held for the header's task
  // duration before COMMIT. Errors: nothing was written. What a lock that was not given in time
  // says is exactly "database is locked" (Errc::locked).
  Result<DirectOutcome> write(const BatchHeader& header, std::string_view rows_frame);

  // Makes the lab's tables if they are named and missing.
  Result<TableAnswer> check_table(const std::string& table,
                                  const std::vector<std::string>& columns);

 private:
  Result<void> connect();
  void disconnect_if_asked();
  Result<void> still_at_path();
  Result<DirectOutcome> write_connected(const BatchHeader& header, std::string_view rows_frame);
  Result<DirectOutcome> define(const BatchHeader& header);
  Result<DirectOutcome> insert(const BatchHeader& header);
  Result<void> insert_rows(const BatchHeader& header, Inserter& inserter, DirectOutcome& outcome,
                           std::string& lines);
  Result<void> append_stored_line(const TableInfo& table, std::string& lines);
  void hold(std::chrono::milliseconds duration);
  int wait_for_lock(int calls);
  void tell(EventKind kind) const;

  const DirectOptions options_;
  sqlite::Connection connection_;
  std::unique_ptr<Tables> tables_;  // null: not connected
  bool has_moved_ = false;
  sqlite::Statement stored_row_;  // the text log's table by rowid
  std::uint64_t stored_row_version_ = 0;
  DecodedRows decoded_;
  const BatchHeader* writing_ = nullptr;      // null: no write under way
  std::chrono::milliseconds lock_waited_{0};  // in the present wait for a lock
};

}  // namespace turnstile::store
