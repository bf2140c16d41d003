// Formats messages as server-sent events, and keeps the merged state of the runs that are shown,
// for clients that connect later. Pure; used by one thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lab/live.h"

namespace turnstile::lab {

// `event: NAME`, `data: ...` and an empty line.
std::string sse_frame(const std::string& event, const std::string& data);

class Stream {
 public:
  void clear() { runs_.clear(); }
  void forget(std::uint64_t run) { runs_.erase(run); }

  // Remembers the message if its run has begun. Returns the frame for the connected listeners.
  std::string add(const LiveMessage& message);

  // All frames that a new listener needs.
  [[nodiscard]] std::string state(bool is_running) const;

 private:
  struct Run {
    std::string run;
    std::string done;  // the elements of `done` so far
    std::string open = "[]";
    double now_ms = 0;
    std::map<std::string, std::string> latest;  // by event
  };
  std::map<std::uint64_t, Run> runs_;
};

}  // namespace turnstile::lab
