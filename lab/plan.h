// What a run needs before it begins: processes with their arguments, files, tables. Pure.
// All paths are relative to the run's directory, where its processes run.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lab/rows.h"
#include "lab/run.h"
#include "lab/scenario.h"

namespace turnstile::lab {

inline constexpr const char* kDatabase = "shared.db";
inline constexpr const char* kTextLog = "out9.txt";
inline constexpr const char* kEventsFile = "events.ndjson";

struct ProcessPlan {
  std::string name;
  Role role = Role::producer;
  std::vector<std::string> arguments;  // for `turnstile`
};

// Kills the lock holder after it has held the lock for `after`.
struct CrashPlan {
  Role role = Role::producer;
  std::chrono::milliseconds after{0};
  bool restart = false;
};

struct Plan {
  RunInfo run;
  std::vector<ProcessPlan> servers;  // broker, then consumer; none in direct mode
  std::vector<ProcessPlan> producers;
  std::vector<TablePlan> tables;
  std::vector<std::pair<std::string, std::string>> files;  // name, content
  std::optional<CrashPlan> crash;
};

// `settings` have passed check_settings().
Plan make_plan(const Scenario& scenario, Mode mode, const Settings& settings);

}  // namespace turnstile::lab
