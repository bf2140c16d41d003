// What listeners of the stream get: messages as server-sent events, and for whoever comes later all
// that was sent of the runs that are shown, folded together. Pure; belongs to one thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lab/live.h"

namespace turnstile::lab {

// `event: NAME` and `data: ...`, with the empty line that ends it.
std::string sse_frame(const std::string& event, const std::string& data);

class Stream {
 public:
  void clear() { runs_.clear(); }
  void forget(std::uint64_t run) { runs_.erase(run); }

  // Remembers the message, if its run has begun; the frame to send to those who listen.
  std::string add(const LiveMessage& message);

  // For a new listener.
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
