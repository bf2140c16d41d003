// The target: the SQLite file that the consumer writes, each row exactly once.
//
// One transaction holds the rows, their producers' progress, their dead letters and how long the
// text log must be. The commit is the point after which everything can be done again: the text log
// is written from what was committed, answers are repeated from progress and dead letters.
// TARGET.md explains the file.
//
//              take_over          begin            apply...
//   [opened] ────────────► [idle] ──────► [open] ◄──────────┐
//                            ▲              │ └─────────────┘
//                            ├── commit ────┤
//                            ├── rollback ──┤
//                            └── any error ─┤
//                                           └── Errc::io ──► [broken]: open again (promise 8)
//
// Belongs to one thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "proto/messages.h"
#include "store/applier.h"
#include "store/batch.h"
#include "store/books.h"
#include "store/row_clock.h"
#include "store/sqlite.h"
#include "store/tables.h"
#include "store/text_file.h"
#include "store/text_log.h"
#include "store/writable_target.h"

namespace turnstile::store {

// Milliseconds since the Unix epoch.
std::int64_t system_now_ms();

// by_target: as the target was made, see TARGET.md.
enum class ForeignKeys { by_target, on, off };

struct TargetOptions {
  std::filesystem::path path;
  std::filesystem::path text_path;       // empty: no text log
  std::string text_table = "nutrients";  // whose rows the text log holds
  TextRotated text_rotated = TextRotated::next_row;
  bool text_is_ours = false;  // this process wrote it for a target that is gone
  std::chrono::milliseconds busy_timeout{5000};
  std::chrono::hours keep_progress{24 * 30};  // of a producer that sends nothing
  bool allow_task_duration = false;           // rows may hold the transaction open, for the lab
  ForeignKeys foreign_keys = ForeignKeys::by_target;
  std::chrono::milliseconds row_time_limit{5000};  // of one row with its triggers; 0: none
  std::uint64_t dead_letter_limit = std::uint64_t{256} * 1024 * 1024;  // bytes
  std::string vfs;  // of SQLite; empty: the system's
  // The write-ahead log is copied into the file when it has this many pages of 16 KiB, so that it
  // is reused at about 64 MB.
  int checkpoint_pages = 4'000;
  // Called about every 100 ms while a transaction waits for a lock, a task holds the database or
  // much is read back, so that the caller can say that it is alive. Must not touch the target.
  // Returning false gives up.
  std::function<bool()> while_waiting;
  // Called about once a second while a transaction waits for a lock, with who holds it. Must not
  // touch the target.
  std::function<void(const Error&)> on_locked;
  std::function<std::int64_t()> now_ms = system_now_ms;
  OpenTextFile open_text_file = open_posix_text_file;
};

class Target final : public WritableTarget {
 public:
  // Opens or creates the file and its bookkeeping tables (turnstile_*), and looks whether the text
  // log can be this target's. Writes no row and no line: a standby may open it.
  // Errors: unreachable (missing directory, no permission, not a database, a newer format version,
  // a text log that exists but is not this target's), locked, io, full.
  static Result<std::unique_ptr<Target>> open(TargetOptions options);
  ~Target() override;

  Result<Generation> take_over() override;
  Result<void> begin() override;
  Result<BatchOutcome> apply(const BatchHeader& header, const Bytes& rows_frame) override;
  Result<void> commit() override;
  std::vector<BatchOutcome> take_outcomes() override;
  void rollback() override;

  Result<void> catch_up_text_log() override;
  [[nodiscard]] const std::optional<Error>& text_log_error() const override;
  std::vector<std::string> take_notes() override;

  Result<Progress> progress(const ProducerId& producer, Sequence since) override;
  Result<Progress> list_dead(const ProducerId& producer, Sequence since) override;
  Result<TableAnswer> check_table(const std::string& table,
                                  const std::vector<std::string>& columns) override;
  [[nodiscard]] std::uint64_t dead_letters() const override { return letters_.rows; }
  [[nodiscard]] std::vector<TableTrouble> table_troubles() const override;
  Result<void> housekeeping() override;
  void reopen_text_log() override;
  Result<void> end() override;

 private:
  Result<Progress> read_progress(const ProducerId& producer, Sequence since, Books::Letters which);
  explicit Target(TargetOptions options);

  Result<void> follow_clock(std::int64_t now);
  Result<void> prepare();
  Result<void> usable() const;
  Result<void> start();
  Result<void> finish();
  Result<void> set_foreign_keys();
  Result<void> count_letters();

  // A row had the transaction rolled back: commits all of batches_ in parts.
  Result<void> settle_in_parts(std::size_t width);
  Result<void> settle_rows(OpenBatch& batch);
  struct Trial {
    Attempt attempt = Attempt::applied;
    std::size_t batch = 0;  // in batches_: whose row it was, if one is known
    std::string reason;
  };
  Result<Trial> try_batches(std::size_t count);
  Result<Trial> try_rows(OpenBatch& batch, std::uint32_t end);
  Result<void> start_trial();
  Result<Trial> finish_trial();
  void end_transaction();
  Error abandon(Error error);
  Result<void> grow_log();
  void grow_cache(std::uint64_t rows);
  void checkpoint();
  void note_log_in_use(int pages, int copied);
  void hold(std::chrono::milliseconds duration);
  bool still_wanted();
  void tell_locked(std::chrono::milliseconds waited);

  const TargetOptions options_;
  sqlite::Connection connection_;
  sqlite::Statement begin_;
  sqlite::Statement commit_;
  std::unique_ptr<Tables> tables_;
  std::uint64_t known_tables_ = 0;  // their version when a transaction last began or was committed
  std::unique_ptr<Books> books_;
  std::unique_ptr<TextLog> text_log_;  // null: none was asked for
  std::unique_ptr<Applier> applier_;
  RowClock clock_;
  const std::optional<Error> no_error_;  // of a text log that is not kept

  std::optional<Generation> generation_;  // from take_over() on
  std::optional<Error> broken_;           // promise 8
  LetterTotals letters_;                  // committed
  bool has_large_cache_ = false;
  std::uint64_t rows_since_misses_ = 0;
  int wal_pages_ = 0;  // in the write-ahead log after the last commit
  std::int64_t wal_page_bytes_ = 0;
  std::int64_t wal_room_ = 0;  // pages that the log's file had when it was last made longer
  bool may_grow_log_ = true;
  int told_log_pages_;  // ... when it was last told that a reader keeps it
  std::vector<std::string> notes_;
  std::vector<BatchOutcome> outcomes_;
  std::chrono::steady_clock::time_point last_asked_;
  std::chrono::milliseconds told_locked_at_{0};  // into the wait at hand
  std::optional<std::int64_t> looked_ms_;        // at the clock, last
  std::optional<std::int64_t> forgot_ms_;        // looked for idle producers, last

  // Of the open transaction.
  bool must_not_wait_ = false;  // waits for no lock, and leaves a checkpoint to another
  std::vector<OpenBatch> batches_;
  std::size_t settled_ = 0;  // of these: committed before the end, see settle_in_parts()
};

}  // namespace turnstile::store
