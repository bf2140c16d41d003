// The journal: the broker's durable store of batches that are not applied yet. SQLite, WAL,
// synchronous=FULL; one transaction for all batches that wait (group commit). JOURNAL.md has the
// format. Belongs to one thread, and to one broker: a lock on FILE.lock keeps a second one out.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "broker/window.h"
#include "proto/result.h"
#include "store/sqlite.h"

namespace turnstile::broker {

// An advisory lock (flock) on a file of its own, released with the process however it ends.
class FileLock {
 public:
  // Errc::locked when another process has it.
  static Result<FileLock> take(const std::filesystem::path& path, const std::string& what);
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

struct JournalOptions {
  std::filesystem::path path;
  std::size_t limit_bytes = std::size_t{4} * 1024 * 1024 * 1024;  // of batches that wait
  std::string vfs;                                                // of SQLite; empty: the system's
};

class Journal {
 public:
  // Errors: locked (another broker), unreachable (folder, permission, not a journal, a newer
  // format), corrupt, io.
  static Result<Journal> open(JournalOptions options);

  // Stores the batches in one synced transaction and gives their offsets (promise 1: only then may
  // anybody be told). Errors: full (disk or limit_bytes: nothing was stored, try again later);
  // io (what is on disk is unknown: only reopen() may follow; promise 8).
  Result<std::vector<Offset>> store(const std::vector<const Held*>& batches);

  // The batches from `from` on, about `max_bytes` of them, in order, up to `last`.
  struct Read {
    std::vector<Held> batches;
    Offset through;  // the last offset looked at
    // Whose batch at `through` does not match its checksum (as far as that can be told); it is not
    // among `batches`.
    std::optional<ProducerId> damaged;
  };
  Result<Read> read(Offset from, Offset last, std::size_t max_bytes, TimePoint now);

  // The batch is applied. It leaves the file with the next store() or trim(); if the broker dies
  // before, it is delivered again, which changes nothing (promise 2).
  void remove(const Window::Settled& settled);
  [[nodiscard]] bool has_removed() const { return !removed_.empty(); }
  // Whether enough is removed to be worth a transaction of its own.
  [[nodiscard]] bool wants_trim() const;
  Result<void> trim();

  // The newest epoch that was given to a named producer; 0: none.
  Result<Epoch> epoch(const ProducerId& producer);
  Result<void> set_epoch(const ProducerId& producer, Epoch epoch);

  // Closes and opens the file, and writes and syncs anew what a failed sync left in doubt.
  Result<void> reopen();
  struct Contents {
    Cold range;
    std::vector<Window::Kept> producers;
  };
  Result<Contents> contents();

  [[nodiscard]] std::uint64_t batches() const { return batches_; }
  [[nodiscard]] std::uint64_t rows() const { return rows_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] std::size_t limit_bytes() const { return options_.limit_bytes; }
  // What may still be stored before the limit.
  [[nodiscard]] std::size_t room() const;
  // How long ago the batch at this offset was stored.
  [[nodiscard]] std::optional<std::chrono::milliseconds> age(Offset offset);
  [[nodiscard]] const std::filesystem::path& path() const { return options_.path; }

 private:
  Journal(JournalOptions options, FileLock lock)
      : options_(std::move(options)), lock_(std::move(lock)) {}
  Result<void> connect();
  Result<bool> has_tables();
  Result<void> write_anew();
  Result<void> prepare_statements();
  Result<void> count();
  [[nodiscard]] Result<void> check_usable() const;
  Result<void> begin();
  Result<void> commit();
  Result<void> delete_removed();
  Result<void> checkpoint_if_due();
  Error rolled_back(Error error);
  void shrink_if_drained();

  // In the file
  Offset last_offset_;
  std::uint64_t batches_ = 0;
  std::uint64_t rows_ = 0;
  std::uint64_t bytes_ = 0;

  // In memory only
  JournalOptions options_;
  FileLock lock_;
  bool broken_ = false;  // a sync failed: nothing is acknowledged from this file until reopen()
  std::vector<Offset> removed_;
  std::uint64_t removed_bytes_ = 0;
  std::unique_ptr<int> wal_pages_;  // SQLite writes it after each commit, so its address is fixed
  sqlite::Connection db_;
  sqlite::Statement insert_;
  sqlite::Statement select_;
  sqlite::Statement delete_;
};

}  // namespace turnstile::broker
