#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "consumer/consumer.h"
#include "flags/cli11.h"
#include "flags/paths.h"

namespace turnstile {

// Flags of `turnstile consumer`.
struct ConsumerFlags {
  std::string db;
  bool new_target = false;
  std::string text;
  std::string text_table = store::TargetOptions{}.text_table;
  std::string text_rotated = "new";
  std::chrono::milliseconds busy_timeout = store::TargetOptions{}.busy_timeout;
  std::chrono::milliseconds keep_progress = store::TargetOptions{}.keep_progress;
  bool allow_task_duration = false;
  std::chrono::milliseconds row_time_limit = store::TargetOptions{}.row_time_limit;
  std::uint64_t dead_letter_limit = store::TargetOptions{}.dead_letter_limit;
  std::string foreign_keys;  // on or off; empty: as the target was made
};

// `flags` must outlive the parse.
void add_consumer_flags(CLI::App& app, ConsumerFlags& flags);
consumer::ConsumerOptions consumer_options(const ConsumerFlags& flags);
// What may not wait until rows come. Errors: bad_input, unreachable.
Result<void> check_consumer_files(const ConsumerFlags& flags, std::vector<FileRole> others);

// `turnstile consumer`. The command's exit code goes to `exit_code`, which must outlive the parse.
void add_consumer_command(CLI::App& app, int& exit_code);

}  // namespace turnstile
