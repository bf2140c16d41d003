// Runs this program again as several child processes.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/signals.h"

namespace turnstile {

struct Ended {
  int exit_code = 0;   // 128 plus the signal's number if a signal ended it
  std::string output;  // of stdout, if captured
};

// Starts one process for each of `more`, with this process's own arguments plus those, and waits
// for all. Passes on signals that `stop` gets. With `keep_output` it captures their stdout (64 KiB
// of each at most), otherwise they share this process's. Errors: unreachable when a process cannot
// be started; processes already started are stopped first.
Result<std::vector<Ended>> run_again(const std::vector<std::vector<std::string>>& more,
                                     bool keep_output, const StopSignal& stop);

}  // namespace turnstile
