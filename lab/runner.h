// Runs one scenario in one mode with real processes of this program, in a temporary directory, and
// returns what happened. None of its processes outlives it.
//
//   prepare ──► servers ready ──► producers run, events are read ──► all ended ──► servers stopped
//                     └── stop_fd readable, or an error ──► all are stopped ──┘           │
//                                                                      files are read ◄───┘
//
// One thread. It calls the watcher's functions, which must return quickly.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include "base/result.h"
#include "events/event.h"
#include "lab/found.h"
#include "lab/plan.h"
#include "lab/run.h"

namespace turnstile::lab {

// Not called for a run that was stopped, or failed, before it began.
struct Watcher {
  // The run begins: `began_ns` is set.
  std::function<void(const RunInfo& run, const std::filesystem::path& directory)> on_begin;
  // About every `every`: the events since the last call, in the order of the file.
  std::function<void(std::span<const Event> events)> on_events;
  // All processes have ended. The files were read and still exist.
  std::function<void(const Recording& recording, const std::vector<Table>& tables)> on_end;
  std::chrono::milliseconds every{100};
};

struct Ran {
  Recording recording;
  std::string events;  // the events file
  std::string log;     // what all processes logged, in order
};

// `stop_fd`: readable when the run must stop. Errors: unreachable (a process cannot be started, or
// ended before it was ready; no room for files), those of SQLite.
Result<Ran> run_plan(Plan plan, int stop_fd, const Watcher& watcher);

}  // namespace turnstile::lab
