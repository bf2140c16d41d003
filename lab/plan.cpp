#include "lab/plan.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "flags/options.h"
#include "producers/pets.h"

namespace turnstile::lab {
namespace {

using namespace std::chrono_literals;
using Arguments = std::vector<std::string>;

constexpr const char* kEndpoint = "ipc://broker.sock";
constexpr auto kStreamInterval = 50ms;

Arguments joined(Arguments first, const Arguments& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

Arguments direct_arguments(const Settings& settings, Mode mode) {
  return {"--db",           kDatabase,
          "--busy-timeout", format_duration(settings.busy_timeout),
          "--journal",      settings.journal,
          "--begin",        mode == Mode::immediate ? "immediate" : settings.begin};
}

// Tells a producer where to send its rows.
Arguments destination(const Plan& plan) {
  const RunInfo& run = plan.run;
  return run.mode == Mode::queued ? Arguments{"--broker", kEndpoint}
                                  : joined({"--direct"}, direct_arguments(run.settings, run.mode));
}

void add_servers(Plan& plan) {
  if (plan.run.mode != Mode::queued) {
    return;
  }
  Arguments broker{"broker", "--broker", kEndpoint, "--journal-file", "journal.db"};
  if (plan.crash) {
    broker = joined(std::move(broker), {"--lease", "1s"});
  }
  Arguments consumer{"consumer", "--broker", kEndpoint, "--db", kDatabase, "--allow-task-duration"};
  if (plan.run.has_text) {
    consumer = joined(std::move(consumer), {"--text", kTextLog});
  }
  plan.servers.push_back({"broker", Role::broker, std::move(broker)});
  plan.servers.push_back({"consumer", Role::consumer, std::move(consumer)});
  plan.run.lanes.push_back({"consumer", Role::consumer, {}});
}

void add_producer(Plan& plan, const std::string& name, Arguments arguments,
                  std::vector<std::string> wanted) {
  plan.producers.push_back({name, Role::producer, std::move(arguments)});
  plan.run.lanes.push_back({name, Role::producer, std::move(wanted)});
}

void add_pets(Plan& plan) {
  for (const auto& process : pet_processes()) {
    std::vector<std::string> wanted;
    for (const Pet& pet : pets_of(process, lab_pets())) {
      wanted.push_back(pet.name);
    }
    add_producer(plan, process,
                 joined({"produce", "pets", "--as", process, "--task-duration",
                         format_duration(plan.run.settings.task_duration)},
                        destination(plan)),
                 std::move(wanted));
  }
  plan.tables.push_back(pets_table());
}

// A producer that sends its own CSV file, row by row.
void add_csv(Plan& plan, const std::string& name, const TablePlan& table, CsvRows rows,
             std::chrono::milliseconds interval) {
  const std::string file = name + ".csv";
  plan.files.emplace_back(file, std::move(rows.content));
  add_producer(plan, name,
               joined({"produce", "csv", file, "--table", table.name, "--batch-rows", "1",
                       "--interval", format_duration(interval)},
                      destination(plan)),
               std::move(rows.names));
}

// C01 to C64, or U1 to U3.
std::vector<std::string> names_of(char letter, std::int64_t count) {
  constexpr std::int64_t kOneDigit = 9;
  std::vector<std::string> names;
  for (std::int64_t i = 1; i <= count; ++i) {
    names.push_back(count > kOneDigit ? fmt::format("{}{:02}", letter, i)
                                      : fmt::format("{}{}", letter, i));
  }
  return names;
}

void plan_stream(Plan& plan) {
  constexpr std::size_t kIdsApart = 100'000;
  const Settings& settings = plan.run.settings;
  const auto rows = static_cast<std::size_t>(settings.rows);
  plan.run.has_text = true;
  plan.tables.push_back(nutrients_table());
  std::size_t first_id = kIdsApart + 1;
  for (const auto& name : names_of('S', 2)) {
    CsvRows made = nutrient_rows(rows, first_id, name == "S1");
    first_id += kIdsApart;
    if (plan.run.mode == Mode::queued) {
      add_csv(plan, name, nutrients_table(), std::move(made), kStreamInterval);
      continue;
    }
    const std::string file = name + ".csv";
    plan.files.emplace_back(file, std::move(made.content));
    add_producer(plan, name,
                 joined({"lab", "worker", "stream", "--as", name, "--with", "S1,S2", "--csv", file,
                         "--text", kTextLog, "--interval", format_duration(kStreamInterval)},
                        direct_arguments(settings, plan.run.mode)),
                 std::move(made.names));
  }
  add_pets(plan);
}

void plan_crowd(Plan& plan) {
  const Settings& settings = plan.run.settings;
  plan.tables.push_back(readings_table());
  for (const auto& name : names_of('C', settings.processes)) {
    add_csv(plan, name, readings_table(),
            reading_rows(name, static_cast<std::size_t>(settings.rows)), 0ms);
  }
}

void plan_upgrade(Plan& plan) {
  const Settings& settings = plan.run.settings;
  plan.tables.push_back(readings_table());
  const auto names = names_of('U', settings.processes);
  for (const auto& name : names) {
    CsvRows rows = reading_rows(name, static_cast<std::size_t>(settings.rows));
    if (plan.run.mode == Mode::queued) {
      add_csv(plan, name, readings_table(), std::move(rows), 0ms);
      continue;
    }
    add_producer(
        plan, name,
        joined({"lab", "worker", "upgrade", "--as", name, "--with",
                fmt::format("{}", fmt::join(names, ",")), "--rows", std::to_string(settings.rows)},
               direct_arguments(settings, plan.run.mode)),
        std::move(rows.names));
  }
}

void plan_deadlock(Plan& plan) {
  const Settings& settings = plan.run.settings;
  plan.run.has_text = true;
  plan.tables.push_back(nutrients_table());
  std::size_t id = 1;
  for (const std::string name : {"A", "B"}) {
    CsvRows rows = nutrient_rows(1, id++);
    if (plan.run.mode == Mode::queued) {
      add_csv(plan, name, nutrients_table(), std::move(rows), 0ms);
      continue;
    }
    const std::string file = name + ".csv";
    plan.files.emplace_back(file, std::move(rows.content));
    add_producer(plan, name,
                 joined({"lab", "worker", "deadlock", "--as", name, "--with", "A,B", "--first",
                         name == "A" ? "database" : "text", "--csv", file, "--text", kTextLog},
                        direct_arguments(settings, plan.run.mode)),
                 std::move(rows.names));
  }
}

void plan_crash(Plan& plan) {
  plan.crash = CrashPlan{};
  plan.crash->after = plan.run.settings.task_duration / 3;
  if (plan.run.mode == Mode::queued) {
    plan.crash->role = Role::consumer;
    plan.crash->restart = true;
  }
  add_pets(plan);
}

}  // namespace

Plan make_plan(const Scenario& scenario, Mode mode, const Settings& settings) {
  Plan plan;
  plan.run.scenario = scenario.name;
  plan.run.mode = mode;
  plan.run.settings = settings;
  if (scenario.name == "stream") {
    plan_stream(plan);
  } else if (scenario.name == "crowd") {
    plan_crowd(plan);
  } else if (scenario.name == "upgrade") {
    plan_upgrade(plan);
  } else if (scenario.name == "deadlock") {
    plan_deadlock(plan);
  } else if (scenario.name == "crash") {
    plan_crash(plan);
  } else {
    add_pets(plan);
  }
  add_servers(plan);
  return plan;
}

}  // namespace turnstile::lab
