// Rows that were taken and are not acknowledged yet, on disk: they outlive the producer's process
// and need no broker. SQLite, WAL, synchronous=FULL; SPOOL.md has the format. One spool belongs to
// one named producer and numbers its rows; SQLite's lock keeps a second process out.
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

#include "proto/ids.h"
#include "proto/messages.h"
#include "base/result.h"
#include "store/sqlite.h"

namespace turnstile {

struct SpoolOptions {
  std::filesystem::path path;
  std::uint64_t limit_bytes = std::uint64_t{1024} * 1024 * 1024;  // of frames that are kept
  std::string vfs;                                                // of SQLite; empty: the system's
};

class Spool {
 public:
  // Makes the file if it is missing. Errors: locked (another process uses it), unreachable (folder,
  // permission, no spool, another format), refused (it belongs to another producer), corrupt, io.
  static Result<std::unique_ptr<Spool>> open(SpoolOptions options, const ProducerId& producer);

  // ---- as on disk

  [[nodiscard]] const std::filesystem::path& path() const { return options_.path; }
  [[nodiscard]] const ProducerId& producer() const { return producer_; }
  [[nodiscard]] const std::string& id() const { return id_; }
  [[nodiscard]] const std::string& input() const { return input_; }
  [[nodiscard]] Sequence last() const { return last_; }        // the last number that was given
  [[nodiscard]] Sequence dropped() const { return dropped_; }  // rows through here have left
  [[nodiscard]] Sequence applied() const { return applied_; }  // known to be, through here
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  // Sequences of what is kept that are definitions of tables, not rows.
  Result<std::vector<Sequence>> definitions();

  Result<void> set_input(std::string_view input);

  // Keeps the batches, whose sequences go on behind last(), in one synced transaction, and `input`
  // with them unless it is empty. Errors: full (disk or limit: nothing was kept, try again when
  // rows have left); io, corrupt (nothing more can be kept: promise 8).
  Result<void> store(const std::vector<Batch>& batches, std::string_view input = {});

  // The batches behind that row, about `max_bytes` of them (one at least), in order.
  // Errors: corrupt (a batch is damaged, or one is missing), io.
  Result<std::vector<Batch>> read(Sequence behind, std::size_t max_bytes);

  // Rows through `acknowledged` may leave, of which those through `applied` are known to be. They
  // leave with a later store(), or here when it is worth a transaction. Errors: full, io.
  Result<void> drop(Sequence acknowledged, Sequence applied);
  // They leave now, and an empty file gives its space back. Errors: the same.
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
  Sequence acknowledged_;  // may leave through here
  Sequence told_applied_;
  bool is_broken_ = false;  // a sync failed
  int wal_pages_ = 0;       // SQLite writes it after each commit
  sqlite::Connection db_;
  sqlite::Statement insert_;
  sqlite::Statement select_;
};

}  // namespace turnstile
