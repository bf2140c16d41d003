#include "lab/scenario.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "flags/options.h"

namespace turnstile::lab {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr milliseconds kDefaultsTakeAtMost = 60s;

std::vector<Scenario> make_scenarios() {
  const std::vector<Setting> pets{Setting::task_duration, Setting::busy_timeout, Setting::journal,
                                  Setting::begin};
  return {
      {"quick",
       "Six pets",
       "Three processes write two pets each. Each holds the database only as long as the write "
       "takes.",
       "Short transactions work: no row is lost in either mode.",
       {Mode::direct, Mode::queued},
       {3, 2, 0ms, 5s, "delete", "deferred"},
       pets,
       1s},
      {"slow",
       "Six pets, slowly",
       "Three processes write two pets each. Each pet holds the database for the task duration.",
       "Direct, at least one pet is lost to \"database is locked\". Through the queue, all arrive.",
       {Mode::direct, Mode::queued},
       {3, 2, 3s, 5s, "delete", "deferred"},
       pets,
       31s},
      {"stream",
       "A stream into out9.txt",
       "Two streams of nutrients write the database and out9.txt while six pets are inserted. "
       "Direct, each stream opens out9.txt for itself.",
       "Direct, lines of out9.txt are overwritten and torn. Through the queue, none is.",
       {Mode::direct, Mode::queued},
       {2, 40, 0ms, 5s, "delete", "deferred"},
       {Setting::rows, Setting::busy_timeout, Setting::journal, Setting::begin},
       5s},
      {"crowd",
       "A crowd",
       "Many processes write as fast as they can, each row in a transaction of its own.",
       "Direct, one process keeps re-taking the lock and the others starve: the slowest process "
       "needs many times as long as the fastest. Through the queue, no row is lost.",
       {Mode::direct, Mode::queued},
       {64, 8, 0ms, 5s, "delete", "deferred"},
       {Setting::processes, Setting::rows, Setting::busy_timeout, Setting::journal, Setting::begin},
       8s},
      {"upgrade",
       "Read, then write",
       "Each transaction begins with a read and then writes, so the read lock has to become a "
       "write lock.",
       "BEGIN DEFERRED gets \"database is locked\" immediately, whatever the busy timeout. BEGIN "
       "IMMEDIATE waits its turn. Through the queue, there is nothing to upgrade.",
       {Mode::direct, Mode::immediate, Mode::queued},
       {3, 3, 0ms, 5s, "delete", "deferred"},
       {Setting::processes, Setting::rows, Setting::busy_timeout, Setting::journal},
       1s},
      {"deadlock",
       "Two locks, opposite order",
       "A takes the database and then out9.txt, B takes out9.txt and then the database.",
       "Direct, each waits for the other until a timeout ends the deadlock, and a row is lost. "
       "Through the queue, producers hold no lock, so there can be no deadlock.",
       {Mode::direct, Mode::queued},
       {2, 1, 0ms, 1500ms, "delete", "deferred"},
       {Setting::busy_timeout, Setting::journal},
       2s},
      {"crash",
       "Killed while holding the lock",
       "Direct, the process that holds the lock is killed. Through the queue, the consumer is "
       "killed and started again.",
       "Direct, the rows of the killed process are lost, and the others go on. Through the queue, "
       "no row is lost.",
       {Mode::direct, Mode::queued},
       {3, 2, 600ms, 5s, "delete", "deferred"},
       pets,
       7s},
  };
}

std::vector<SettingInfo> make_settings() {
  return {
      {Setting::processes, "processes", "--processes", "Processes", 1, 64, false, {}},
      {Setting::rows, "rows", "--rows", "Rows per process", 1, 10'000, false, {}},
      {Setting::task_duration,
       "task_duration_ms",
       "--task-duration",
       "Task duration",
       0,
       60'000,
       true,
       {}},
      {Setting::busy_timeout,
       "busy_timeout_ms",
       "--busy-timeout",
       "Busy timeout",
       0,
       60'000,
       true,
       {}},
      {Setting::journal, "journal", "--journal", "Journal", 0, 0, false, {"delete", "wal"}},
      {Setting::begin, "begin", "--begin", "Begin", 0, 0, false, {"deferred", "immediate"}},
  };
}

Result<void> check_number(Setting setting, std::int64_t value) {
  const SettingInfo& info = info_of(setting);
  if (value < info.min || value > info.max) {
    const std::string unit = info.is_duration ? "ms" : "";
    return fail(Errc::bad_input, fmt::format("{} must be {}{} to {}{}, not {}{}", info.name,
                                             info.min, unit, info.max, unit, value, unit));
  }
  return {};
}

Result<void> check_choice(Setting setting, const std::string& value) {
  const SettingInfo& info = info_of(setting);
  if (std::find(info.choices.begin(), info.choices.end(), value) == info.choices.end()) {
    return fail(Errc::bad_input, fmt::format("{} must be {}, not '{}'", info.name,
                                             fmt::join(info.choices, " or "), value));
  }
  return {};
}

}  // namespace

std::span<const SettingInfo> all_settings() {
  static const std::vector<SettingInfo> all = make_settings();
  return all;
}

const SettingInfo& info_of(Setting setting) {
  const auto all = all_settings();
  return *std::find_if(all.begin(), all.end(),
                       [&](const SettingInfo& info) { return info.setting == setting; });
}

std::string value_of(const Settings& settings, Setting setting) {
  switch (setting) {
    case Setting::processes:
      return std::to_string(settings.processes);
    case Setting::rows:
      return std::to_string(settings.rows);
    case Setting::task_duration:
      return format_duration(settings.task_duration);
    case Setting::busy_timeout:
      return format_duration(settings.busy_timeout);
    case Setting::journal:
      return settings.journal;
    case Setting::begin:
      break;
  }
  return settings.begin;
}

bool Scenario::adjusts(Setting setting) const {
  return std::find(adjustable.begin(), adjustable.end(), setting) != adjustable.end();
}

std::span<const Scenario> scenarios() {
  static const std::vector<Scenario> all = make_scenarios();
  return all;
}

Result<const Scenario*> find_scenario(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Scenario& scenario : scenarios()) {
    if (scenario.name == name) {
      return &scenario;
    }
    names.push_back(scenario.name);
  }
  return fail(Errc::bad_input, fmt::format("there is no scenario '{}'", name),
              fmt::format("there are {}", fmt::join(names, ", ")));
}

std::vector<const Scenario*> default_scenarios() {
  std::vector<const Scenario*> chosen;
  milliseconds take{0};
  for (const Scenario& scenario : scenarios()) {
    if (take + scenario.takes <= kDefaultsTakeAtMost) {
      take += scenario.takes;
      chosen.push_back(&scenario);
    }
  }
  return chosen;
}

Result<void> check_settings(const Scenario& scenario, const Settings& settings) {
  for (const SettingInfo& info : all_settings()) {
    const bool is_changed =
        value_of(settings, info.setting) != value_of(scenario.settings, info.setting);
    if (is_changed && !scenario.adjusts(info.setting)) {
      return fail(Errc::bad_input,
                  fmt::format("{} changes nothing in '{}'", info.name, scenario.name));
    }
  }
  return check_number(Setting::processes, settings.processes)
      .and_then([&] { return check_number(Setting::rows, settings.rows); })
      .and_then(
          [&] { return check_number(Setting::task_duration, settings.task_duration.count()); })
      .and_then([&] { return check_number(Setting::busy_timeout, settings.busy_timeout.count()); })
      .and_then([&] { return check_choice(Setting::journal, settings.journal); })
      .and_then([&] { return check_choice(Setting::begin, settings.begin); });
}

}  // namespace turnstile::lab
