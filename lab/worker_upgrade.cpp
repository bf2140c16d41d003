// Reads, then writes, in one transaction. With BEGIN DEFERRED, all processes read before any of
// them writes.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "lab/workers.h"

namespace turnstile::lab {
namespace {

// Returns SQLite's message; empty: the row is committed.
std::string read_and_write(Database& database, const WorkerFlags& flags, const RowEvents& events,
                           const std::string& row, std::int64_t number) {
  const bool is_immediate = flags.begin == "immediate";
  const std::string round = std::to_string(number);
  if (is_immediate) {
    meet(flags, round);
    events.say(EventKind::trying);
  }
  auto begun = database.execute(is_immediate ? "BEGIN IMMEDIATE" : "BEGIN DEFERRED");
  if (begun && is_immediate) {
    events.say(EventKind::lock);
  }
  auto read = begun.and_then([&] { return database.execute("SELECT count(*) FROM readings"); });
  if (read && !is_immediate) {
    meet(flags, round);
    events.say(EventKind::trying);
  }
  auto written = read.and_then([&] {
    return database.execute(
        fmt::format("INSERT INTO readings(name, process, number) "
                    "VALUES('{}', '{}', {})",
                    row, flags.as, number));
  });
  if (written && !is_immediate) {
    events.say(EventKind::lock);
  }
  written = written.and_then([&] { return database.execute("COMMIT"); });
  if (written) {
    return {};
  }
  if (database.in_transaction()) {
    static_cast<void>(database.execute("ROLLBACK"));
  }
  return written.error().what;
}

}  // namespace

Result<int> work_upgrade(const WorkerFlags& flags) {
  RowEvents events(flags.as);
  auto database = open_database(flags, events);
  if (!database) {
    return tl::make_unexpected(database.error());
  }
  bool is_any_lost = false;
  for (std::int64_t number = 1; number <= flags.rows; ++number) {
    const std::string row = fmt::format("{}-{}", flags.as, number);
    events.next_row(row);
    spdlog::info("{} reads, then inserts {}", flags.as, row);
    const std::string error = read_and_write(*database, flags, events, row, number);
    if (error.empty()) {
      events.say(EventKind::committed);
      events.say(EventKind::acknowledged);
      spdlog::info("{} inserted {}", flags.as, row);
    } else {
      events.say(EventKind::refused, Resource::database, error);
      spdlog::error("ERROR while {} inserting {}: {}", flags.as, row, error);
      is_any_lost = true;
    }
    // A process that reads again immediately could block the lock holder's COMMIT, and would then
    // wait for that process in the next round: not the deadlock this scenario shows.
    meet(flags, "end-" + std::to_string(number));
  }
  return is_any_lost ? 1 : 0;
}

}  // namespace turnstile::lab
