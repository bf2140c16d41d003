// The text log: one table's rows as lines of a text file, in the order of their rowids, which is
// the order of their commits (promise 5).
//
// How long the file must be after a commit, and which rowid it reaches, is a record in the target
// that moves in the same transaction as the rows. Lines are written after the commit, at the place
// that the record says: a writer that comes late or twice repeats the same bytes. Up to synced()
// the file's bytes are known to be on disk; later ones are made again from the table after a crash.
//
// The file need not begin with the table: its lines follow the record's base, a length and a rowid.
// When somebody moves, deletes or cuts the file, the next transaction moves the base: to the end of
// what is at the path now, and to the last row whose line was written.
//
// Belongs to the target's thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
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

// What a file holds that takes the place of one that was moved, deleted or cut.
enum class TextRotated {
  next_row,     // it begins with the next row
  whole_table,  // all rows
};

class TextLog {
 public:
  struct Options {
    std::filesystem::path path;
    std::string table;
    TextRotated rotated = TextRotated::next_row;
    bool is_ours = false;  // this process wrote it for a target that is gone
    OpenTextFile open_file;
    std::function<void()> still_alive;  // called now and then during long work
  };
  TextLog(sqlite::Connection& connection, Tables& tables, Options options);

  [[nodiscard]] const std::string& table() const { return table_; }

  // Opens the file. Errors: unreachable, such as a file that exists and is not this target's, or a
  // table that has no rowids.
  Result<void> open();

  // In the transaction that makes this target's writer: reads the record, or makes one.
  Result<void> load();

  // ---- within a transaction
  // At its start: forgets what an earlier one left, and reads what other programs put into the
  // table meanwhile. A table that cannot be read is no error: see unreadable().
  Result<void> begin();
  // Why rows of these columns cannot be logged; empty when they can.
  [[nodiscard]] std::string refusal(const TableInfo& table,
                                    const std::vector<std::string>& columns) const;
  // Why a table of this name must not be made with these columns; empty when it may.
  [[nodiscard]] std::string definition_problem(std::string_view table,
                                               const std::vector<std::string>& columns) const;
  // Before rows go into the table: makes sure that all that is there already has its lines.
  Result<void> before_rows();
  // Right after rows [first, first + count) went into the table, the last of them as `last_rowid`.
  void add_rows(const BatchLines& lines, const DecodedRows& rows, std::size_t first,
                std::size_t count, std::int64_t last_rowid);
  // The lines are to be made again from the table, from where restore() wanted it.
  void request_rebuild();
  // Before COMMIT: completes the lines and moves the record.
  Result<void> finish();

  // ---- after it
  // It was rolled back.
  void reset();
  // Writes the lines of the transaction that was committed. A failure leaves the log behind.
  void committed();

  // Makes the file what the record says. False: the table does not give the lines that the record
  // counted, or the file lacks some that it counts as synced, or another file is at the path, so it
  // takes a transaction with request_rebuild(); behind() says why.
  Result<bool> restore();
  // Whether somebody moved, deleted or changed the file; then it is behind(). And whether other
  // programs did to the table what its lines cannot follow, which is noted. For idle moments.
  void look();
  // The file is to be opened again; then it is behind().
  void reopen();
  // Why the file lacks lines of committed rows; nothing when it does not, or while its table cannot
  // be read.
  [[nodiscard]] const std::optional<Error>& behind() const;
  // Why SQLite cannot read the table, such as a generated column that calls an unknown function;
  // nullptr when it can. Until then rows of this table are refused and the file stays as it is: no
  // other table's rows wait (promise 7).
  [[nodiscard]] const std::string* unreadable() const {
    return unreadable_ ? &unreadable_->reason : nullptr;
  }
  Result<void> sync();
  // Whether the record knows less than sync() has done.
  [[nodiscard]] bool record_is_late() const { return synced_ != recorded_synced_; }
  // What happened to the log from outside; empties the list.
  std::vector<std::string> take_notes();

 private:
  using Sink = std::function<Result<void>(std::string_view chunk)>;

  struct Record {
    TextPosition end;
    TextPosition synced;
    TextPosition base;
    std::string table;
  };

  Result<void> read_new_rows();
  void set_unreadable(const std::string& reason);
  Result<void> prepare();
  Result<std::optional<Record>> read_record();
  Result<void> write_record();
  Result<std::int64_t> greatest_rowid();
  Result<void> advance();
  void keep_bounded();
  Result<std::optional<std::string>> find_change();
  void follow_change();
  void look_at_table();
  Result<bool> has_row_of_last_line();
  void note_left_out();
  Result<void> want_base(const std::string& change);
  Result<std::int64_t> end_of_lines(std::uint64_t size);
  void rebuild_from(const TextPosition& base, const std::string& note);
  [[nodiscard]] std::string written_again(const std::string& why) const;
  void write_lines(const TextPosition& from);
  Result<void> is_whole_before(const TextPosition& from);
  Result<void> open_again();
  // Gives the lines of the rowids in (after, through] in pieces; returns their length.
  Result<std::int64_t> read_lines(std::int64_t after, std::int64_t through, const Sink& sink);
  Result<bool> restore_at_path();
  Result<bool> takes_base(const std::string& change);
  Result<void> is_latest();
  Result<bool> restore_within_lock();

  sqlite::Connection& connection_;
  Tables& tables_;
  const Options options_;
  const std::filesystem::path path_;
  const std::string& table_;
  std::unique_ptr<TextFile> file_;

  // As the target has it.
  TextPosition base_;  // where the file's lines begin
  TextPosition recorded_;
  TextPosition recorded_synced_;

  // What is known of the file.
  TextPosition synced_;
  TextPosition written_;  // at least up to here; no less than synced_
  std::int64_t unsynced_bytes_ = 0;
  bool unseen_ = true;       // it was not yet compared with the record
  bool start_over_ = false;  // nothing in the file after base_ is of use
  // Where the next transaction is to begin the lines again, and the note about it.
  std::optional<TextPosition> wanted_base_;
  std::string wanted_note_;
  std::optional<Error> behind_;

  // Of the open transaction.
  TextPosition next_;
  std::string lines_;      // from recorded_ to next_, while buffered_
  bool buffered_ = true;   // false: too many lines to keep; they are read again after the commit
  bool advanced_ = false;  // next_ is up to the table
  bool gap_ = false;       // rows went in whose lines are still to be read back
  std::optional<TextPosition> rebuild_;  // the lines are made again from here on

  struct Unreadable {
    std::string reason;
    std::uint64_t version = 0;                    // of the schema
    std::chrono::steady_clock::time_point again;  // when it is tried again, at the latest
  };
  std::optional<Unreadable> unreadable_;
  std::string noted_unreadable_;

  // Of the schema that tables_ knew at version prepared_for_.
  std::uint64_t prepared_for_ = 0;
  bool has_table_ = false;
  bool plain_ = false;
  sqlite::Statement greatest_;
  sqlite::Statement select_;
  sqlite::Statement count_;
  sqlite::Statement record_;

  // Of what other programs did to the table: noted once.
  std::int64_t seen_data_version_ = -1;
  std::chrono::steady_clock::time_point next_look_at_table_{};
  bool has_told_of_last_row_ = false;
  bool has_told_of_left_out_ = false;
  struct {
    std::int64_t through = schema::kNoRowid;
    std::int64_t rows = 0;
  } counted_;  // nothing: kNoRowid

  std::vector<std::string> notes_;
};

}  // namespace turnstile::store
