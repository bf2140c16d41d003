// Runs one scenario in one mode with real processes of this program, in a folder of its own that is
// gone at the end, and tells what happened. Whatever happens, none of its processes outlives it.
//
//   prepare ──► servers ready ──► producers run, events are followed ──► all ended ──► servers end
//                     └── stop_fd readable, or something failed ──► all are ended ──┘      │
//                                                                        files are read ◄──┘
//
// One thread. What watches is called on it, and must not take long.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include "events/event.h"
#include "lab/found.h"
#include "lab/plan.h"
#include "lab/run.h"
#include "base/result.h"

namespace turnstile::lab {

// Told nothing of a run that ended before it began: that was stopped, or failed, earlier.
struct Watcher {
  // The run begins: its clock is set.
  std::function<void(const RunInfo& run, const std::filesystem::path& folder)> on_begin;
  // About every `every`: what came since the last call, as it stands in the file.
  std::function<void(std::span<const Event> events)> on_events;
  // All processes have ended and the files were read, but are still there.
  std::function<void(const Recording& recording, const std::vector<Table>& tables)> on_end;
  std::chrono::milliseconds every{100};
};

struct Ran {
  Recording recording;
  std::string events;  // the events file
  std::string log;     // what all processes said, in the order in which they said it
};

// `stop_fd`: readable when the run is to be ended. Errors: unreachable (a process cannot be
// started, or ended before it was ready; no room for files), those of SQLite.
Result<Ran> run_plan(Plan plan, int stop_fd, const Watcher& watcher);

}  // namespace turnstile::lab
