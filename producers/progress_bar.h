// A progress bar on a terminal: fraction, rows, rate and remaining time. Not thread-safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace turnstile {

struct ProgressView {
  std::uint64_t rows = 0;
  double fraction = -1;  // done, 0 to 1; negative if the total is unknown
  std::chrono::milliseconds elapsed{0};
};

// At most `width` columns. Pure.
std::string render_progress(const ProgressView& view, std::size_t width);

class ProgressBar {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // Shows itself on stderr if that is a terminal and the bar is wanted.
  explicit ProgressBar(bool wanted);
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar() { clear(); }

  // Whether it is time for the next update(): ten times a second, never if the bar is not shown.
  [[nodiscard]] bool is_due(TimePoint now) const { return is_shown_ && now >= next_; }
  void update(const ProgressView& view, TimePoint now);
  // Clears the line for other output.
  void clear();

 private:
  bool is_shown_;
  bool is_drawn_ = false;
  TimePoint next_{};
};

}  // namespace turnstile
