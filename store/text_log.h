// The text log: one table's rows as lines of a text file, in the order of their rowids, which is
// the order of their commits (promise 5).
//
// How long the file must be after a commit, and which rowid it reaches, is a record in the target
// that moves in the same transaction as the rows. Lines are written after the commit, at the place
// that the record says: whoever writes late, or twice, repeats the same bytes. Up to synced() the
// file's bytes are known to be on disk; behind it they are made again from the table after a crash.
//
// Belongs to the target's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "proto/rows.h"
#include "store/schema.h"
#include "store/sqlite.h"
#include "store/tables.h"
#include "store/text_file.h"
#include "store/text_lines.h"

namespace turnstile::store {

// A place between two lines.
struct TextPosition {
  std::int64_t length = 0;                // bytes before it
  std::int64_t rowid = schema::kNoRowid;  // of the last line before it
  bool operator==(const TextPosition&) const = default;
};

class TextLog {
 public:
  TextLog(sqlite::Connection& connection, Tables& tables, const std::filesystem::path& path,
          std::string table, OpenTextFile open_file, std::function<void()> still_alive);

  [[nodiscard]] const std::string& table() const { return table_; }

  // Opens the file. Errors: unreachable, such as a file that exists and is not this target's, or a
  // table that has no rowids.
  Result<void> open();

  // In the transaction that makes this target's writer: reads the record, or makes one.
  Result<void> load();

  // ---- within a transaction
  // Forgets what an earlier one left.
  void begin();
  // Why rows of these columns cannot be logged; empty when they can.
  [[nodiscard]] std::string refusal(const TableInfo& table,
                                    const std::vector<std::string>& columns) const;
  // Before rows go into the table: makes sure that all that is there already has its lines.
  Result<void> before_rows();
  // Right after rows [first, first + count) went into the table, the last of them as `last_rowid`.
  void add_rows(const BatchLines& lines, const DecodedRows& rows, std::size_t first,
                std::size_t count, std::int64_t last_rowid);
  // All lines are to be made anew from the table; the reason becomes a note.
  void request_rebuild(std::string_view why);
  // Before COMMIT: completes the lines and moves the record.
  Result<void> finish();

  // ---- after it
  // Writes the lines of the transaction that was committed. A failure leaves the log behind.
  void committed();

  // Makes the file what the record says. False: the table does not give the lines that the record
  // counted, or the file lacks some that it counts as synced, so it takes a transaction with
  // request_rebuild(); behind() says why.
  Result<bool> restore();
  // Why the file lacks lines of committed rows; nothing when it does not.
  [[nodiscard]] const std::optional<Error>& behind() const { return behind_; }
  Result<void> sync();
  // What happened to the log from outside; empties the list.
  std::vector<std::string> take_notes();

 private:
  using Sink = std::function<Result<void>(std::string_view chunk)>;

  Result<void> prepare();
  Result<std::optional<TextPosition>> read_record(TextPosition* synced, std::string* table);
  Result<void> write_record(const TextPosition& synced);
  Result<std::int64_t> greatest_rowid();
  Result<void> advance();
  void keep_bounded();
  // Gives the lines of the rowids in (after, through] in pieces; returns their length.
  Result<std::int64_t> read_lines(std::int64_t after, std::int64_t through, const Sink& sink);
  Result<bool> restore_within_read();

  sqlite::Connection& connection_;
  Tables& tables_;
  const std::filesystem::path path_;
  const std::string table_;
  const OpenTextFile open_file_;
  const std::function<void()> still_alive_;  // called now and then during long work
  std::unique_ptr<TextFile> file_;

  // As the target has it.
  TextPosition recorded_;
  TextPosition recorded_synced_;

  // What is known of the file.
  TextPosition synced_;
  std::int64_t unsynced_bytes_ = 0;
  bool unseen_ = true;       // it was not yet compared with the record
  bool start_over_ = false;  // nothing in the file is of use
  std::optional<Error> behind_;

  // Of the open transaction.
  TextPosition next_;
  std::string lines_;      // from recorded_ to next_, while buffered_
  bool buffered_ = true;   // false: too many lines to keep; they are read again after the commit
  bool advanced_ = false;  // next_ is up to the table
  bool gap_ = false;       // rows went in whose lines are still to be read back
  bool rebuild_ = false;

  // Of the schema that tables_ knew at version prepared_for_.
  std::uint64_t prepared_for_ = 0;
  bool has_table_ = false;
  bool plain_ = false;
  sqlite::Statement greatest_;
  sqlite::Statement select_;
  sqlite::Statement record_;

  std::vector<std::string> notes_;
};

}  // namespace turnstile::store
