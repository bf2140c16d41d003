// Read, then write, in one transaction. BEGIN DEFERRED: all read, and then all want to write.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "lab/workers.h"

namespace turnstile::lab {
namespace {

// What SQLite says; empty: it is committed.
std::string read_and_write(sqlite::Connection& connection, const WorkerFlags& flags,
                           const RowEvents& events, const std::string& row, std::int64_t number) {
  const bool is_immediate = flags.begin == "immediate";
  const std::string round = std::to_string(number);
  if (is_immediate) {
    meet(flags, round);
    events.say(EventKind::trying);
  }
  auto begun = connection.execute(is_immediate ? "BEGIN IMMEDIATE" : "BEGIN DEFERRED");
  if (begun && is_immediate) {
    events.say(EventKind::lock);
  }
  auto count =
      begun.and_then([&] { return connection.query_integer("SELECT count(*) FROM readings"); });
  if (count && !is_immediate) {
    meet(flags, round);
    events.say(EventKind::trying);
  }
  auto written = count.and_then([&](std::int64_t) {
    return connection.execute(
        fmt::format("INSERT INTO readings(name, process, number) "
                    "VALUES('{}', '{}', {})",
                    row, flags.as, number));
  });
  if (written && !is_immediate) {
    events.say(EventKind::lock);
  }
  written = written.and_then([&] { return connection.execute("COMMIT"); });
  if (written) {
    return {};
  }
  std::string message = connection.message();
  if (connection.in_transaction()) {
    static_cast<void>(connection.execute("ROLLBACK"));
  }
  return message;
}

}  // namespace

Result<int> work_upgrade(const WorkerFlags& flags) {
  RowEvents events(flags.as);
  auto connection = open_database(flags, events);
  if (!connection) {
    return tl::make_unexpected(connection.error());
  }
  bool is_any_lost = false;
  for (std::int64_t number = 1; number <= flags.rows; ++number) {
    const std::string row = fmt::format("{}-{}", flags.as, number);
    events.next_row(row);
    spdlog::info("{} reads, then inserts {}", flags.as, row);
    const std::string error = read_and_write(*connection, flags, events, row, number);
    if (error.empty()) {
      events.say(EventKind::committed);
      events.say(EventKind::acknowledged);
      spdlog::info("{} inserted {}", flags.as, row);
    } else {
      events.say(EventKind::refused, Resource::database, error);
      spdlog::error("ERROR while {} inserting {}: {}", flags.as, row, error);
      is_any_lost = true;
    }
    // Who reads again at once may keep the one that got the lock from its COMMIT, and then waits
    // for it to come to the next round: another deadlock than the one to be shown.
    meet(flags, "end-" + std::to_string(number));
  }
  return is_any_lost ? 1 : 0;
}

}  // namespace turnstile::lab
