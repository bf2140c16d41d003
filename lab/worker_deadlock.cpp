// Takes two locks, the database's and out9.txt's, in the order that --first gives.
#include <fcntl.h>
#include <sys/file.h>

#include <string>
#include <thread>
#include <utility>
#include <variant>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/descriptor.h"
#include "lab/rows.h"
#include "lab/workers.h"
#include "producers/csv/reader.h"

namespace turnstile::lab {
namespace {

using Clock = std::chrono::steady_clock;

// out9.txt and its file lock, which closing the file releases.
class LockedText {
 public:
  explicit LockedText(const std::string& path)
      : file_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {}

  [[nodiscard]] bool is_open() const { return static_cast<bool>(file_); }

  // Retries until the busy timeout, as SQLite does. Returns what went wrong; empty: locked.
  std::string lock(const WorkerFlags& flags, const RowEvents& events) {
    constexpr std::chrono::milliseconds kRetryEvery{10};
    const auto until = Clock::now() + flags.busy_timeout;
    bool is_waiting = false;
    while (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) {
      if (Clock::now() >= until) {
        return flags.text + " is locked";
      }
      if (!std::exchange(is_waiting, true)) {
        events.say(EventKind::waiting, Resource::text);
      }
      std::this_thread::sleep_for(kRetryEvery);
    }
    events.say(EventKind::lock, Resource::text);
    return {};
  }

  // Returns what went wrong; empty: written.
  [[nodiscard]] std::string append(const std::string& line) const {
    const auto written = ::write(file_.get(), line.data(), line.size());
    return written == static_cast<ssize_t>(line.size()) ? "" : "out9.txt cannot be written";
  }

 private:
  Descriptor file_;
};

Result<std::vector<std::string>> read_row(const std::string& path) {
  auto source = csv::open_csv({.path = path});
  if (!source) {
    return tl::make_unexpected(source.error());
  }
  auto item = (*source)->next();
  if (!item) {
    return tl::make_unexpected(item.error());
  }
  const auto* record = *item ? std::get_if<csv::Record>(&**item) : nullptr;
  if (record == nullptr) {
    return fail(Errc::bad_input, path + " holds no row");
  }
  return std::vector<std::string>(record->fields.begin(), record->fields.end());
}

std::string insert_sql(const std::vector<std::string>& row) {
  std::string values;
  for (const auto& value : row) {
    values += values.empty() ? "'" : ", '";
    for (const char c : value) {
      values += c == '\'' ? "''" : std::string(1, c);
    }
    values += '\'';
  }
  return "INSERT INTO nutrients VALUES(" + values + ")";
}

std::string lock_database(Database& database, const RowEvents& events,
                          const std::vector<std::string>& row) {
  const auto done = database.execute("BEGIN IMMEDIATE").and_then([&] {
    return database.execute(insert_sql(row));
  });
  if (!done) {
    return done.error().what;
  }
  events.say(EventKind::lock);
  return {};
}

// Returns what went wrong; empty: the row is in both.
std::string write_both(Database& database, LockedText& text, const WorkerFlags& flags,
                       const RowEvents& events, const std::vector<std::string>& row) {
  const auto take = [&](bool is_database) {
    return is_database ? lock_database(database, events, row) : text.lock(flags, events);
  };
  const bool is_database_first = flags.first == "database";
  std::string problem = take(is_database_first);
  if (problem.empty()) {
    meet(flags, "first");
    problem = take(!is_database_first);
  }
  if (problem.empty()) {
    problem = text.append(nutrient_line(row) + '\n');
  }
  if (!problem.empty()) {
    return problem;
  }
  const auto committed = database.execute("COMMIT");
  return committed ? "" : committed.error().what;
}

}  // namespace

Result<int> work_deadlock(const WorkerFlags& flags) {
  RowEvents events(flags.as);
  auto row = read_row(flags.csv);
  if (!row) {
    return tl::make_unexpected(row.error());
  }
  auto database = open_database(flags, events);
  if (!database) {
    return tl::make_unexpected(database.error());
  }
  LockedText text(flags.text);
  if (!text.is_open()) {
    return fail(Errc::unreachable, "cannot open " + flags.text);
  }
  events.next_row(row->front());
  events.say(EventKind::trying);
  spdlog::info("{} takes {} first", flags.as, flags.first == "text" ? flags.text : flags.first);
  const std::string problem = write_both(*database, text, flags, events, *row);
  if (problem.empty()) {
    events.say(EventKind::committed);
    events.say(EventKind::acknowledged);
    spdlog::info("{} inserted {}", flags.as, row->front());
    return 0;
  }
  if (database->in_transaction()) {
    static_cast<void>(database->execute("ROLLBACK"));
  }
  events.say(EventKind::refused, Resource::database, problem);
  spdlog::error("ERROR while {} inserting {}: {}", flags.as, row->front(), problem);
  return 1;
}

}  // namespace turnstile::lab
