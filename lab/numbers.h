// The figures of a run, computed from its events and from the files at its end, and compared. Pure.
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
  double waited_ms = 0;        // for answers, summed over its rows
  double longest_wait_ms = 0;  // for one answer
  double done_ms = 0;          // time of its last answer; 0: none
  std::size_t unanswered = 0;  // rows without an answer

  bool operator==(const ProcessNumbers&) const = default;
};

struct Numbers {
  std::size_t rows_wanted = 0;
  std::size_t in_database = 0;
  std::size_t lost = 0;  // in a stopped run: only refused rows
  std::size_t locked_errors = 0;
  double wall_ms = 0;               // from the start of the run to the last answer
  double longest_wait_ms = 0;       // of a row for its answer
  double longest_lock_wait_ms = 0;  // of a row for the lock, or for the refusal
  std::uint32_t most_turns_of_others = 0;
  std::vector<ProcessNumbers> processes;
  std::optional<std::size_t> slowest;  // index into `processes`, among those with all answers
  std::optional<std::size_t> fastest;
  std::optional<TextFacts> text;
  std::vector<std::string> cycle;

  bool operator==(const Numbers&) const = default;
};

std::size_t count_refused(const Timeline& timeline);

// From the events alone: the rows committed so far.
Numbers numbers_of(const Timeline& timeline);

// A run with everything that is derived from it.
struct Outcome {
  Recording recording;
  Timeline timeline;
  Numbers numbers;
  std::vector<std::string> disagreements;  // between events and database; empty: they agree
};

// Uses the recording only, so that a replay gives the same outcome.
Outcome evaluate(Recording recording);

}  // namespace turnstile::lab
