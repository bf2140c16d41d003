// A run: one scenario in one mode, its settings, its processes and the rows they write; and the
// recording of what happened. Values only.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "events/event.h"

namespace turnstile::lab {

enum class Mode {
  direct,     // every process writes the file by itself
  immediate,  // direct with BEGIN IMMEDIATE, in the scenario that compares the two
  queued,     // through the broker; one consumer writes
};

std::string_view name_of(Mode mode);
std::string_view title_of(Mode mode);
std::optional<Mode> mode_of(std::string_view name);

struct Settings {
  std::int64_t processes = 0;
  std::int64_t rows = 0;  // of each process
  std::chrono::milliseconds task_duration{0};
  std::chrono::milliseconds busy_timeout{5000};
  std::string journal = "delete";
  std::string begin = "deferred";

  bool operator==(const Settings&) const = default;
};

enum class Role { producer, consumer, broker };
std::string_view name_of(Role role);

// A process that has a lane.
struct LaneInfo {
  std::string name;
  Role role = Role::producer;
  std::vector<std::string> wanted;  // names of the rows it has to write, in order
};

struct RunInfo {
  std::string scenario;
  Mode mode = Mode::direct;
  Settings settings;
  std::vector<LaneInfo> lanes;
  bool has_text = false;      // the run writes out9.txt
  std::string wall;           // local start time, RFC 3339
  std::int64_t began_ns = 0;  // CLOCK_MONOTONIC

  [[nodiscard]] std::size_t rows_wanted() const;
};

// A row in the database at the end.
struct FoundRow {
  std::string table;
  std::string row;  // its name

  bool operator==(const FoundRow&) const = default;
};

struct TextFacts {
  std::size_t lines = 0;
  std::size_t intact = 0;   // lines that match a committed row exactly
  std::size_t torn = 0;     // lines that match no row
  std::size_t missing = 0;  // committed rows without a line

  bool operator==(const TextFacts&) const = default;
};

// What the files contain at the end.
struct Facts {
  std::vector<FoundRow> rows;
  std::optional<TextFacts> text;
  std::string integrity;  // result of PRAGMA integrity_check
};

struct Recording {
  RunInfo run;
  std::vector<Event> events;  // sorted by time
  Facts facts;
  bool stopped = false;  // before all rows had an answer
};

}  // namespace turnstile::lab
