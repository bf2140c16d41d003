// Builds events by hand, for tests.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "events/event.h"
#include "lab/run.h"
#include "lab/timeline.h"

namespace turnstile::lab {

inline constexpr std::int64_t kMs = 1'000'000;

inline std::int64_t began_ns() {
  return 5'000'000'000;
}

// Lanes by name and wanted rows; the lane named `consumer` is the consumer.
inline RunInfo run_of(Mode mode,
                      std::vector<std::pair<std::string, std::vector<std::string>>> lanes) {
  RunInfo run;
  run.scenario = "slow";
  run.mode = mode;
  run.began_ns = began_ns();
  for (auto& [name, wanted] : lanes) {
    const Role role = name == "consumer" ? Role::consumer : Role::producer;
    run.lanes.push_back({name, role, std::move(wanted)});
  }
  return run;
}

// Events of one process, whose name is also its producer id. Times in ms since the run began.
class Events {
 public:
  explicit Events(std::string process) : process_(process), producer_(std::move(process)) {}

  // The following events are about rows of this producer.
  Events& of(std::string producer) {
    producer_ = std::move(producer);
    return *this;
  }
  Events& trying(int at_ms, std::uint64_t first, std::string row = {}, std::uint32_t rows = 1) {
    return add(at_ms, EventKind::trying, first, rows).with_row(std::move(row));
  }
  Events& waiting(int at_ms, std::uint64_t first, Resource resource = Resource::database) {
    return add(at_ms, EventKind::waiting, first, 1).with_resource(resource);
  }
  Events& lock(int at_ms, std::uint64_t first, std::uint32_t rows = 1,
               Resource resource = Resource::database) {
    return add(at_ms, EventKind::lock, first, rows).with_resource(resource);
  }
  Events& committed(int at_ms, std::uint64_t first) {
    return add(at_ms, EventKind::committed, first, 1);
  }
  Events& refused(int at_ms, std::uint64_t first, std::string error) {
    add(at_ms, EventKind::refused, first, 1);
    events_.back().error = std::move(error);
    return *this;
  }
  Events& acknowledged(int at_ms, std::uint64_t first, std::uint32_t rows = 1) {
    add(at_ms, EventKind::acknowledged, first, rows);
    events_.back().level = "applied";
    return *this;
  }
  Events& started(int at_ms) { return add(at_ms, EventKind::started, 0, 0); }
  Events& ended(int at_ms, int code) {
    add(at_ms, EventKind::ended, 0, 0);
    events_.back().code = code;
    return *this;
  }
  Events& crashed(int at_ms, int signal) {
    add(at_ms, EventKind::crashed, 0, 0);
    events_.back().code = signal;
    return *this;
  }

  [[nodiscard]] const std::vector<Event>& all() const { return events_; }
  void into(Timeline& timeline) const {
    for (const Event& event : events_) {
      timeline.add(event);
    }
  }

 private:
  Events& add(int at_ms, EventKind kind, std::uint64_t first, std::uint32_t rows) {
    Event event;
    event.kind = kind;
    event.time_ns = began_ns() + at_ms * kMs;
    event.process = process_;
    event.producer = producer_;
    event.first = first;
    event.rows = rows;
    events_.push_back(std::move(event));
    return *this;
  }
  Events& with_row(std::string row) {
    events_.back().row = std::move(row);
    return *this;
  }
  Events& with_resource(Resource resource) {
    events_.back().resource = resource;
    return *this;
  }

  std::string process_;
  std::string producer_;
  std::vector<Event> events_;
};

// All events, sorted by time.
inline std::vector<Event> sorted(std::initializer_list<Events> parts) {
  std::vector<Event> all;
  for (const Events& part : parts) {
    all.insert(all.end(), part.all().begin(), part.all().end());
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Event& a, const Event& b) { return a.time_ns < b.time_ns; });
  return all;
}

inline void in_order(Timeline& timeline, std::initializer_list<Events> parts) {
  for (const Event& event : sorted(parts)) {
    timeline.add(event);
  }
}

}  // namespace turnstile::lab
