// Worker processes that make the mistakes `turnstile produce` does not make: writing out9.txt at a
// position of their own, reading before writing, taking two locks in opposite order. They run in
// the run's directory.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "events/event_sink.h"
#include "lab/database.h"

namespace turnstile::lab {

struct WorkerFlags {
  std::string as;                 // this process's name
  std::vector<std::string> with;  // all processes that meet, including this one
  std::string db;
  std::string text;
  std::string csv;
  std::string first;  // database, text
  std::int64_t rows = 0;
  std::chrono::milliseconds interval{0};
  std::chrono::milliseconds busy_timeout{0};
  std::string journal = "delete";
  std::string begin = "deferred";
};

// Returns the exit code: 0, or 1 when a row was lost. Errors: a file that cannot be opened.
Result<int> work_stream(const WorkerFlags& flags);
Result<int> work_upgrade(const WorkerFlags& flags);
Result<int> work_deadlock(const WorkerFlags& flags);

// Returns when all of `with` have reached the same place, or after 5 s.
void meet(const WorkerFlags& flags, const std::string& place);

// Reports events about the current row.
class RowEvents {
 public:
  explicit RowEvents(std::string process)
      : process_(std::move(process)), sink_(EventSink::from_environment()) {}

  void next_row(std::string name) {
    ++sequence_;
    row_ = std::move(name);
  }
  void say(EventKind kind, Resource resource = Resource::database,
           const std::string& error = {}) const;

 private:
  std::string process_;
  std::shared_ptr<EventSink> sink_;
  std::uint64_t sequence_ = 0;
  std::string row_;
};

// Reports when the connection begins to wait. `events` must outlive the result.
Result<Database> open_database(const WorkerFlags& flags, const RowEvents& events);

}  // namespace turnstile::lab
