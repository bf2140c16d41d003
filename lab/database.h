// A run's database, used as any program uses SQLite: the lab shows what such programs meet.
#pragma once

#include <sqlite3.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace turnstile::lab {

// What a query gives. NULL is an empty string.
struct Table {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
};

class Database {
 public:
  // Creates the file if it does not exist. Errors: unreachable.
  static Result<Database> open(const std::filesystem::path& path,
                               std::chrono::milliseconds busy_timeout);

  // Runs one statement. Errors: io, with SQLite's message.
  Result<Table> query(const std::string& sql);
  Result<void> execute(const std::string& sql);

  // Calls `on_wait` whenever the connection begins to wait for a lock.
  void watch_waits(std::function<void()> on_wait);
  [[nodiscard]] bool in_transaction() const;

 private:
  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  };
  struct Waits {
    std::chrono::milliseconds timeout;
    std::function<void()> on_wait;
    std::chrono::steady_clock::time_point since;
  };
  static int wait(void* waits, int calls);

  std::unique_ptr<Waits> waits_;  // SQLite has its address
  std::unique_ptr<sqlite3, Close> handle_;
};

}  // namespace turnstile::lab
