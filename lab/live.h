// Turns a run in progress into messages of the stream (HTTP.md). Used by the run's thread only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lab/found.h"
#include "lab/numbers.h"
#include "lab/timeline.h"

namespace turnstile::lab {

struct LiveMessage {
  std::uint64_t run = 0;  // 0: belongs to no run
  std::string event;
  std::string data;   // one JSON object; for `segments`: new elements of `done`, comma-separated
  std::string open;   // for `segments`: the array `open`
  double now_ms = 0;  // for `segments`
};

class LiveRun {
 public:
  LiveRun(const RunInfo& run, std::uint64_t number, std::filesystem::path directory);

  LiveMessage begin() const;
  // `now_ns`: CLOCK_MONOTONIC.
  std::vector<LiveMessage> take(std::span<const Event> events, std::int64_t now_ns);
  // After the last event of the run.
  std::vector<LiveMessage> end(const Outcome& outcome, const Plan& plan,
                               const std::vector<Table>& tables);

 private:
  void add_older_than(std::int64_t time_ns);
  void describe(std::int64_t now_ns, std::vector<LiveMessage>& into);
  void add_if_new(const char* event, std::string data, std::string& last,
                  std::vector<LiveMessage>& into) const;
  LiveMessage segments(std::int64_t now_ns);
  [[nodiscard]] std::string counters(std::int64_t now_ns) const;
  [[nodiscard]] std::string text(std::optional<TextFacts> facts) const;
  [[nodiscard]] std::string table_from_events() const;
  [[nodiscard]] std::string table_from(const Table& table) const;

  Timeline timeline_;
  const std::uint64_t number_;
  const std::filesystem::path directory_;
  std::vector<Event> pending_;  // held until no older event of another process can arrive
  std::string last_counters_;
  std::string last_text_;
  std::string last_table_;
  std::string last_explain_;
  WaitGraph last_graph_;
};

}  // namespace turnstile::lab
