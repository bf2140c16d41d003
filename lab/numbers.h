// The figures of a run, computed twice: from its events and from the files at its end; and the two
// held against each other. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lab/run.h"
#include "lab/timeline.h"

namespace turnstile::lab {

struct ProcessNumbers {
  std::string process;
  std::size_t rows_wanted = 0;
  std::size_t in_database = 0;
  std::size_t locked_errors = 0;
  double waited_ms = 0;        // for answers, of all its rows
  double longest_wait_ms = 0;  // for one answer
  double done_ms = 0;          // when its last answer came; 0: none did
  std::size_t unanswered = 0;  // rows of a process that ended, or was stopped, first

  bool operator==(const ProcessNumbers&) const = default;
};

struct Numbers {
  std::size_t rows_wanted = 0;
  std::size_t in_database = 0;
  std::size_t lost = 0;  // of a run that was stopped: refused ones, the others had no chance
  std::size_t locked_errors = 0;
  double wall_ms = 0;               // from the beginning of the run to the last answer
  double longest_wait_ms = 0;       // of a row, for its answer
  double longest_lock_wait_ms = 0;  // of a row, for the lock or for the refusal
  std::uint32_t most_turns_of_others = 0;
  std::vector<ProcessNumbers> processes;
  std::optional<std::size_t> slowest;  // of those that have all answers; index into `processes`
  std::optional<std::size_t> fastest;
  std::optional<TextFacts> text;
  std::vector<std::string> cycle;

  bool operator==(const Numbers&) const = default;
};

std::size_t count_refused(const Timeline& timeline);

// Live: rows that are committed so far, by the events alone.
Numbers numbers_of(const Timeline& timeline);

// A run with all that can be said of it.
struct Outcome {
  Recording recording;
  Timeline timeline;
  Numbers numbers;
  std::vector<std::string> disagreements;  // of events and database; empty: they agree
};

// Computes everything from the recording alone, so that a replay gives the same.
Outcome evaluate(Recording recording);

}  // namespace turnstile::lab
