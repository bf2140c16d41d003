// What a waiting producer reads from the broker's status report: why its rows are not applied.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/messages.h"

namespace turnstile {

struct QueueState {
  bool has_consumer = false;
  std::string problem;                  // why the consumer cannot apply rows; empty: it can
  std::vector<TableTrouble> tables;     // whose rows it refuses
  std::uint64_t rows_applied = 0;       // by this consumer
  std::string journal_problem;          // why the broker cannot store rows; empty: it can
  std::chrono::milliseconds oldest{0};  // age of the oldest row that is not applied
};

// Nothing: not a status report. Treats the report as hostile.
std::optional<QueueState> read_queue_state(std::string_view report);

// The consumer works, and rows of this table only have to wait.
bool is_only_busy(const QueueState& state, bool stored, const std::string& table);

// For example "no consumer is running". The rows wait to be stored (`stored` false) or applied.
std::string reason_of(const QueueState& state, bool stored, const std::string& table);

}  // namespace turnstile
