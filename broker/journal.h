// The journal: the broker's durable store of batches that are not applied yet. SQLite, WAL,
// synchronous=FULL, one transaction for all waiting batches (group commit). JOURNAL.md describes
// the format. Belongs to one thread, and to one broker: a lock on FILE.lock keeps a second one out.
//
// journal.cpp opens it and stores, reads and removes batches; journal_names.cpp has the names and
// the target; journal_reopen.cpp opens it again after a failure.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file_lock.h"
#include "base/result.h"
#include "broker/durable_store.h"
#include "broker/window.h"
#include "store/sqlite.h"

namespace turnstile::broker {

struct JournalOptions {
  std::filesystem::path path;
  std::size_t limit_bytes = std::size_t{4} * 1024 * 1024 * 1024;  // of waiting batches
  std::string vfs;                                                // SQLite's; empty: the default
  int checkpoint_pages = 1000;              // copy the write-ahead log into the file at this size
  std::uint64_t shrink_above_pages = 1024;  // shrink a larger file when it is drained
};

class Journal final : public DurableStore {
 public:
  // Migrates a file of an older format. Errors: locked (another broker), unreachable (directory,
  // permission, not a journal, a newer format), corrupt, io.
  static Result<Journal> open(JournalOptions options);

  Result<std::vector<Offset>> store(const std::vector<const Held*>& batches) override;
  Result<Read> read(Offset from, Offset last, std::size_t max_bytes, TimePoint now) override;
  void remove(const Window::Settled& settled) override;
  [[nodiscard]] bool has_removed() const override { return !removed_.empty(); }
  [[nodiscard]] bool wants_trim() const override;
  Result<void> trim() override;
  Result<Epoch> epoch(const ProducerId& producer) override;
  Result<void> set_epoch(const ProducerId& producer, Epoch epoch) override;
  Result<void> set_epochs(const std::vector<Name>& names) override;
  Result<User> owner(const ProducerId& producer) override;
  Result<std::string> target() override;
  Result<void> set_target(const std::string& path) override;
  [[nodiscard]] std::uint64_t names() const override { return names_; }
  Result<std::vector<std::pair<ProducerId, std::uint64_t>>> oldest_names(std::size_t most) override;
  Result<void> follow_clock(std::optional<std::uint64_t> looked_ms, std::uint64_t now_ms,
                            std::chrono::milliseconds step) override;
  Result<void> forget_names(const std::vector<ProducerId>& names) override;
  Result<void> reopen() override;
  [[nodiscard]] Result<void> look() const override;
  std::optional<Vanished> take_vanished() override { return std::exchange(vanished_, {}); }
  Result<Contents> contents() override;

  [[nodiscard]] std::uint64_t batches() const override { return batches_; }
  [[nodiscard]] std::uint64_t rows() const override { return rows_; }
  [[nodiscard]] std::uint64_t bytes() const override { return bytes_; }
  [[nodiscard]] std::size_t limit_bytes() const override { return options_.limit_bytes; }
  [[nodiscard]] std::size_t room() const override;
  [[nodiscard]] std::optional<std::chrono::milliseconds> age(Offset offset) override;
  [[nodiscard]] const std::filesystem::path& path() const override { return options_.path; }
  // The file's format before open() migrated it.
  [[nodiscard]] std::optional<std::int64_t> migrated_from() const { return migrated_from_; }

 private:
  Journal(JournalOptions options, FileLock lock)
      : options_(std::move(options)), lock_(std::move(lock)) {}
  Result<void> connect();
  Result<bool> has_tables();
  Result<void> rewrite_log();
  Result<void> prepare_statements();
  Result<void> count();
  Result<void> count_names();
  static std::string source_of(std::string_view header_frame);
  [[nodiscard]] Result<void> check_usable() const;
  Result<void> begin();
  Result<void> commit();
  Result<void> delete_removed();
  Result<void> checkpoint_if_due();
  Error rolled_back(Error error);
  void shrink_if_drained();
  Result<void> save_vanished();
  Result<std::vector<RowRange>> waiting_rows();
  Result<void> copy_to_path();

  // In the file
  Offset last_offset_;
  std::uint64_t batches_ = 0;
  std::uint64_t rows_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t names_ = 0;  // exact after open() and forget_names(), else an upper bound

  // In memory only
  JournalOptions options_;
  FileLock lock_;
  std::optional<std::int64_t> migrated_from_;
  bool broken_ = false;  // a sync failed: acknowledge nothing from this file until reopen()
  std::vector<Offset> removed_;
  std::uint64_t removed_bytes_ = 0;
  std::optional<Vanished> vanished_;
  std::unique_ptr<int> wal_pages_;  // SQLite keeps its address and writes it after each commit
  sqlite::Connection db_;
  sqlite::Statement insert_;
  sqlite::Statement select_;
  sqlite::Statement delete_;
};

}  // namespace turnstile::broker
