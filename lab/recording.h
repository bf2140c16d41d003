// Runs as lines of an events file (EVENTS.md): writes the lab's own lines, and reads whole files.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "lab/run.h"

namespace turnstile::lab {

inline constexpr int kEventsFormat = 1;

// The lines before the events of a run, and after them.
std::string lines_before(const RunInfo& run);
std::string lines_after(const Recording& recording);

// Splits text that arrives in arbitrary pieces into lines.
class LineReader {
 public:
  // Returns the complete lines; valid until the next call.
  std::vector<std::string_view> take(std::string_view bytes);

 private:
  std::string rest_;  // after the last line end
  std::string lines_;
};

// Reads the runs of an events file, in order. A run without its `result` line counts as stopped.
// Errors: unreachable (cannot be read), bad_input (no run in it, or a newer format).
Result<std::vector<Recording>> read_recordings(const std::string& path);

}  // namespace turnstile::lab
