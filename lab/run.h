// What a run is: one scenario in one mode, its settings, who takes part and what they are to write;
// and all that was seen of it. Values only.
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
  immediate,  // the same with BEGIN IMMEDIATE, where that is what is shown
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

// A process that is drawn.
struct LaneInfo {
  std::string name;
  Role role = Role::producer;
  std::vector<std::string> wanted;  // the rows that it is to write, in order, by name
};

struct RunInfo {
  std::string scenario;
  Mode mode = Mode::direct;
  Settings settings;
  std::vector<LaneInfo> lanes;
  bool has_text = false;      // out9.txt is written
  std::string wall;           // local time of its beginning, RFC 3339
  std::int64_t began_ns = 0;  // of CLOCK_MONOTONIC

  [[nodiscard]] std::size_t rows_wanted() const;
};

// What the files have at the end.
struct FoundRow {
  std::string table;
  std::string row;  // its name

  bool operator==(const FoundRow&) const = default;
};

struct TextFacts {
  std::size_t lines = 0;
  std::size_t intact = 0;   // exactly a row's
  std::size_t torn = 0;     // no row's
  std::size_t missing = 0;  // committed rows whose line is not there

  bool operator==(const TextFacts&) const = default;
};

struct Facts {
  std::vector<FoundRow> rows;
  std::optional<TextFacts> text;
  std::string integrity;  // what PRAGMA integrity_check said
};

struct Recording {
  RunInfo run;
  std::vector<Event> events;  // sorted by time
  Facts facts;
  bool stopped = false;  // before its end
};

}  // namespace turnstile::lab
