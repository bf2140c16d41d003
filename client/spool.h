// Rows that were taken and are not acknowledged yet, on disk. They outlive the producer's process
// and need no broker. SQLite, WAL, synchronous=FULL; SPOOL.md has the format. A spool belongs to
// one named producer and numbers its rows. SQLite's lock keeps a second process out.
//
// Belongs to one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "proto/ids.h"
#include "proto/messages.h"
#include "store/sqlite.h"

namespace turnstile {

struct SpoolOptions {
  std::filesystem::path path;
  std::uint64_t limit_bytes = std::uint64_t{1024} * 1024 * 1024;  // of frames in the spool
  std::string vfs;                                                // of SQLite; empty: the default
};

class Spool {
 public:
  // Makes the file if it is missing. Errors: locked (another process uses it), unreachable
  // (directory, permission, not a spool, another format), refused (it belongs to another producer),
  // corrupt, io.
  static Result<std::unique_ptr<Spool>> open(SpoolOptions options, const ProducerId& producer);

  // ---- as on disk

  [[nodiscard]] const std::filesystem::path& path() const { return options_.path; }
  [[nodiscard]] const ProducerId& producer() const { return producer_; }
  [[nodiscard]] const std::string& id() const { return id_; }
  [[nodiscard]] const std::string& input() const { return input_; }
  [[nodiscard]] Sequence last() const { return last_; }        // the highest number given to a row
  [[nodiscard]] Sequence dropped() const { return dropped_; }  // rows through here were deleted
  [[nodiscard]] Sequence applied() const {
    return applied_;
  }  // rows through here are known to be applied
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  // Sequences of stored batches that define tables.
  Result<std::vector<Sequence>> definitions();

  Result<void> set_input(std::string_view input);

  // Stores the batches, which continue after last(), in one synced transaction, together with
  // `input` unless it is empty. Errors: full (disk or limit: nothing was stored, retry when rows
  // were deleted); io, corrupt (nothing more can be stored: promise 8).
  Result<void> store(const std::vector<Batch>& batches, std::string_view input = {});

  // The batches after that row in order, about `max_bytes` of them, at least one. Errors: corrupt
  // (a batch is damaged or missing), io.
  Result<std::vector<Batch>> read(Sequence after, std::size_t max_bytes);

  // Rows through `acknowledged` may be deleted; rows through `applied` are known to be applied. The
  // next store() deletes them, or this call if they are worth a transaction. Errors: full, io.
  Result<void> drop(Sequence acknowledged, Sequence applied);
  // Deletes them now, and returns an empty file's space to the file system. Errors: the same.
  Result<void> trim();

 private:
  explicit Spool(SpoolOptions options) : options_(std::move(options)) {}
  Result<void> connect(const ProducerId& producer);
  Result<bool> has_tables();
  Result<void> make_tables(const ProducerId& producer);
  Result<void> read_facts(const ProducerId& producer);
  Result<void> count();
  Result<void> prepare_statements();
  Result<void> insert(const Batch& batch);
  Result<void> write_input(std::string_view input);
  struct Deleted {
    std::uint64_t bytes = 0;
    Sequence through;
  };
  Result<Deleted> delete_acknowledged();
  void has_deleted(const Deleted& deleted);
  Result<void> begin();
  Result<void> commit();
  Result<void> checkpoint_if_due();
  Error rolled_back(Error error);
  [[nodiscard]] Error damaged(const std::string& what) const;
  void shrink_if_empty();

  SpoolOptions options_;
  // In the file
  ProducerId producer_;
  std::string id_;
  std::string input_;
  Sequence last_;
  Sequence dropped_;
  Sequence applied_;
  std::uint64_t bytes_ = 0;

  // In memory only
  Sequence acknowledged_;  // rows through here may be deleted
  Sequence known_applied_;
  bool is_broken_ = false;  // a sync failed
  int wal_pages_ = 0;       // SQLite writes it after each commit
  sqlite::Connection db_;
  sqlite::Statement insert_;
  sqlite::Statement select_;
};

}  // namespace turnstile
