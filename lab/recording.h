// Runs as lines of an events file (EVENTS.md): what the lab writes besides the processes' own
// events, and all of it read back.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lab/run.h"
#include "base/result.h"

namespace turnstile::lab {

inline constexpr int kEventsFormat = 1;

// What stands before the events of a run, and behind them.
std::string lines_before(const RunInfo& run);
std::string lines_behind(const Recording& recording);

// Takes in text as it comes, in any pieces, and gives the events that are whole.
class LineReader {
 public:
  // The lines that have come to their end; they live until the next call.
  std::vector<std::string_view> take(std::string_view bytes);

 private:
  std::string rest_;  // behind the last line end
  std::string lines_;
};

// The runs of an events file, in order. A run whose `result` is missing is there too, as stopped.
// Errors: unreachable (cannot be read), bad_input (no run in it, or of a newer format).
Result<std::vector<Recording>> read_recordings(const std::string& path);

}  // namespace turnstile::lab
