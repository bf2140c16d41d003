// Processes that runs start for what `turnstile produce` does not do, since it does it right:
// writing out9.txt from a place of one's own, reading before writing, two locks in opposite order.
// They run in the run's folder.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "events/event_sink.h"
#include "base/result.h"
#include "store/sqlite.h"

namespace turnstile::lab {

struct WorkerFlags {
  std::string as;                 // this process's name
  std::vector<std::string> with;  // all that meet, this one too
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

// The exit code: 0, or 1 when a row was lost. Errors: those of opening.
Result<int> work_stream(const WorkerFlags& flags);
Result<int> work_upgrade(const WorkerFlags& flags);
Result<int> work_deadlock(const WorkerFlags& flags);

// Returns when all of `with` have come to the same place, or after 5 s.
void meet(const WorkerFlags& flags, const std::string& place);

// What workers say of the row at hand.
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

// A connection that says when it begins to wait. `events` must outlive it.
Result<sqlite::Connection> open_database(const WorkerFlags& flags, const RowEvents& events);

}  // namespace turnstile::lab
