// SQLite on a PowerDisk, with all that the product's ways need: rollback journals, write-ahead log
// with its shared memory (which no power cut survives), locks between connections. It syncs folders
// where SQLite's own file system for Unix does, and reports errors as that does.
//
// One object is one process: kill() ends it as SIGKILL would, and begins another. Outlives the
// connections that use it. One thread.
#pragma once

#include <sqlite3.h>

#include <memory>
#include <set>
#include <string>

#include "store/text_file.h"
#include "tests/support/power_disk.h"

namespace turnstile::test {

struct PowerFile;

class PowerVfs {
 public:
  explicit PowerVfs(PowerDisk& disk);
  PowerVfs(const PowerVfs&) = delete;
  PowerVfs& operator=(const PowerVfs&) = delete;
  ~PowerVfs();

  // To open a connection with.
  [[nodiscard]] const std::string& name() const { return name_; }
  // What it wrote stays as it is, unsynced; its files and locks are gone.
  void kill();
  // Text files of the same process.
  [[nodiscard]] store::OpenTextFile text_files();

  // ---- for the methods of its files
  [[nodiscard]] PowerDisk& disk() { return disk_; }
  [[nodiscard]] const PowerDisk::Process& process() const { return process_; }
  int fail(int code, int error);
  [[nodiscard]] int last_error() const { return last_error_; }
  void opened(PowerFile* file) { open_.insert(file); }
  void closed(PowerFile* file) { open_.erase(file); }

 private:
  PowerDisk& disk_;
  std::string name_;
  std::unique_ptr<sqlite3_vfs> vfs_;
  PowerDisk::Process process_ = PowerDisk::new_process();
  std::set<PowerFile*> open_;
  int last_error_ = 0;
};

}  // namespace turnstile::test
