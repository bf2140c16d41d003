// This program again, as several processes of its own.
#pragma once

#include <string>
#include <vector>

#include "base/signals.h"
#include "base/result.h"

namespace turnstile {

struct Ended {
  int exit_code = 0;   // 128 and the signal's number for a process that a signal ended
  std::string output;  // of stdout, when it was asked for
};

// Starts one process for each of `more`, with this process's own arguments and those; waits for
// all. Signals that `stop` gets are handed on to them. With `keep_output` their stdout is kept (64
// KiB of each at most), otherwise it is this one's. Errors: unreachable when a process cannot be
// started; those that were are stopped first.
Result<std::vector<Ended>> run_again(const std::vector<std::vector<std::string>>& more,
                                     bool keep_output, const StopSignal& stop);

}  // namespace turnstile
