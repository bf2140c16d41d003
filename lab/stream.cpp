#include "lab/stream.h"

#include <array>

#include <fmt/format.h>

#include "generated/version.h"
#include "lab/json.h"

namespace turnstile::lab {
namespace {

constexpr std::array kInOrder{"counters", "text", "table", "explain", "graph", "ended", "failed"};

std::string segments_of(std::uint64_t run, double now_ms, const std::string& done,
                        const std::string& open) {
  return fmt::format(R"({{"run":{},"now_ms":{},"done":[{}],"open":{}}})", run, now_ms, done, open);
}

}  // namespace

std::string sse_frame(const std::string& event, const std::string& data) {
  return "event: " + event + "\ndata: " + data + "\n\n";
}

std::string Stream::add(const LiveMessage& message) {
  if (message.run == 0) {
    return sse_frame(message.event, message.data);
  }
  if (message.event == "run") {
    runs_[message.run].run = message.data;
    return sse_frame(message.event, message.data);
  }
  const auto found = runs_.find(message.run);
  if (found == runs_.end()) {
    return sse_frame(message.event, message.data);  // `failed`: the run did not begin
  }
  Run& run = found->second;
  if (message.event == "segments") {
    run.done += (run.done.empty() || message.data.empty() ? "" : ",") + message.data;
    run.open = message.open;
    run.now_ms = message.now_ms;
    return sse_frame("segments",
                     segments_of(message.run, message.now_ms, message.data, message.open));
  }
  run.latest[message.event] = message.data;
  return sse_frame(message.event, message.data);
}

std::string Stream::state(bool is_running) const {
  std::string frames = sse_frame("hello", dump({{"version", kVersion}, {"running", is_running}}));
  for (const auto& [number, run] : runs_) {
    frames += sse_frame("run", run.run);
    frames += sse_frame("segments", segments_of(number, run.now_ms, run.done, run.open));
    for (const char* event : kInOrder) {
      const auto found = run.latest.find(event);
      if (found != run.latest.end()) {
        frames += sse_frame(event, found->second);
      }
    }
  }
  return frames;
}

}  // namespace turnstile::lab
