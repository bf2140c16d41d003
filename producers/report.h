// What a producing command reports at its end, as text or as one JSON object:
//   producer               P1..P3, the name of --resume, or the producer's id
//   table
//   rows_read              from the input; sequence numbers count these
//   rows_sent              at least once
//   rows_stored            acknowledged as stored or applied
//   rows_applied           committed in the target
//   rows_unacknowledged    at the level of --ack; they may or may not have arrived
//   rows_spooled           of these, rows in --spool, which the next start sends
//   rows_lost              direct mode only: rows that were not written
//   dead_letters           [{sequence, reason}], the first 100; in direct mode the lost rows
//   dead_letter_count
//   bad_rows               [{line, reason}], the first 100
//   bad_row_count
//   changed_values         values whose form the column's type changes, such as 0123 to 123
//   first_changed          {row, column, value, type} of the first of them; else null
//   unfinished_line        the last line, if it lacks its line feed and was not sent; else null
//   errors                 dead letters, bad rows, and 1 if the run ended early
//   error                  why the run ended early; else null
//   interrupted            by SIGINT or SIGTERM
//   wait_ms_total          time in which at least one row was not acknowledged
//   wait_ms_longest        for one row
//   seconds, rows_per_second
// `produce pets` without --as reports the sums over its processes, and each process in `processes`.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "client/producer.h"
#include "producers/csv/scanner.h"

namespace turnstile {

struct ChangedValue {
  std::uint64_t row;  // good row of the input, from 1
  std::string column;
  std::string value;
  std::string type;
};

struct Report {
  std::string producer;
  std::string table;
  std::string input;  // its name in lines about bad rows
  bool direct = false;
  std::uint64_t rows_read = 0;
  Summary summary;
  std::vector<csv::BadRow> bad_rows;  // the first kBadRowsListed
  std::uint64_t bad_row_count = 0;
  std::uint64_t changed_values = 0;
  std::optional<ChangedValue> first_changed;
  bool has_empty_text = false;  // a numeric column got empty text, and the log says so
  std::optional<std::uint64_t> unfinished_line;
  std::optional<Error> failure;
  bool interrupted = false;
  // The name to continue with: empty if none was given, unset if the run cannot be continued.
  std::optional<std::string> resume_name;
  std::string spool;  // where rows_spooled are; empty: no --spool
  std::chrono::milliseconds took{0};
};

inline constexpr std::size_t kBadRowsListed = 100;

std::uint64_t rows_lost(const Report& report);
std::uint64_t error_count(const Report& report);

// Several lines, the last one with its line end.
std::string text_of(const Report& report);
// Only the lines about bad rows.
std::string bad_rows_of(const Report& report);
nlohmann::ordered_json json_of(const Report& report);

// The sum of several processes' objects.
nlohmann::ordered_json sum_of(const std::vector<nlohmann::ordered_json>& reports);

// 0 all done; 1 refused, lost, bad or not acknowledged; 3 not reachable; 130 interrupted.
int exit_code_of(const Report& report);

}  // namespace turnstile
