// An SQLite file system that fails on purpose: the n-th write or sync of a kind of file, with a
// code of the test's choice. Everything else goes to the system's own. One thread at a time.
// Outlives the connections that use it.
#pragma once

#include <sqlite3.h>

#include <memory>
#include <string>

namespace turnstile::test {

class FaultVfs {
 public:
  enum class Operation { write, sync };
  enum class File { database, wal, any };

  FaultVfs();
  FaultVfs(const FaultVfs&) = delete;
  FaultVfs& operator=(const FaultVfs&) = delete;
  ~FaultVfs();

  // To open a connection with.
  [[nodiscard]] const std::string& name() const { return name_; }

  // The nth such operation from now on (1: the next), and `times - 1` after it, fail with `code`.
  // Replaces what was asked before.
  void fail(Operation operation, File file, int nth, int code, int times = 1);
  void fail_no_more() { times_ = 0; }

  [[nodiscard]] int failures() const { return failures_; }  // so far
  [[nodiscard]] int syncs() const { return syncs_; }        // that succeeded
  [[nodiscard]] int reads() const { return reads_; }

  // For the methods of its files: SQLITE_OK, or the code to fail with.
  int before(Operation operation, File file);
  void synced() { ++syncs_; }
  void reading() { ++reads_; }
  [[nodiscard]] sqlite3_vfs* system() const { return system_; }

 private:
  std::string name_;
  sqlite3_vfs* system_;
  std::unique_ptr<sqlite3_vfs> vfs_;

  Operation operation_ = Operation::sync;
  File file_ = File::any;
  int until_ = 0;
  int code_ = SQLITE_OK;
  int times_ = 0;
  int failures_ = 0;
  int syncs_ = 0;
  int reads_ = 0;
};

}  // namespace turnstile::test
