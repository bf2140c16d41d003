#include "producers/progress_bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <fmt/format.h>

namespace turnstile {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kEvery{100};
constexpr std::size_t kLeastBar = 10;
constexpr std::size_t kMostBar = 40;

std::string count_text(double count) {
  constexpr double kThousand = 1e3;
  constexpr double kMillion = 1e6;
  if (count >= kMillion) {
    return fmt::format("{:.2f} M", count / kMillion);
  }
  if (count >= 10 * kThousand) {
    return fmt::format("{:.1f} k", count / kThousand);
  }
  return fmt::format("{:.0f}", count);
}

std::string time_text(double seconds) {
  constexpr double kMinute = 60;
  constexpr double kHour = 3600;
  if (seconds >= kHour) {
    return fmt::format("{:.0f} h {:.0f} min", std::floor(seconds / kHour),
                       std::floor(std::fmod(seconds, kHour) / kMinute));
  }
  if (seconds >= kMinute) {
    return fmt::format("{:.0f} min {:.0f} s", std::floor(seconds / kMinute),
                       std::floor(std::fmod(seconds, kMinute)));
  }
  return fmt::format("{:.0f} s", std::ceil(seconds));
}

std::size_t terminal_width() {
  constexpr std::size_t kUsual = 80;
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
    return kUsual;
  }
  return size.ws_col;
}

}  // namespace

std::string render_progress(const ProgressView& view, std::size_t width) {
  const double seconds = std::chrono::duration<double>(view.elapsed).count();
  const auto rows = static_cast<double>(view.rows);
  const auto rows_text = [](double count) {
    const std::string text = count_text(count);
    return text + (text == "1" ? " row" : " rows");
  };
  std::string text = rows_text(rows);
  if (seconds > 0) {
    text += fmt::format("  {}/s", rows_text(rows / seconds));
  }
  if (view.fraction < 0) {
    return text.substr(0, width);
  }
  const double fraction = std::min(view.fraction, 1.0);
  if (fraction > 0) {
    text += fmt::format("  {} left", time_text(seconds / fraction - seconds));
  }
  text = fmt::format("{:3.0f} %  {}", std::floor(fraction * 100), text);
  // The bar gets the rest of the line, between brackets and before a space.
  constexpr std::size_t kAround = 3;
  if (width >= text.size() + kAround + kLeastBar) {
    const std::size_t length = std::min(width - text.size() - kAround, kMostBar);
    const auto done = static_cast<std::size_t>(fraction * static_cast<double>(length));
    text = fmt::format("[{}{}] {}", std::string(done, '#'), std::string(length - done, '.'), text);
  }
  return text.substr(0, width);
}

ProgressBar::ProgressBar(bool wanted) : is_shown_(wanted && isatty(STDERR_FILENO) == 1) {}

void ProgressBar::update(const ProgressView& view, TimePoint now) {
  if (!is_shown_) {
    return;
  }
  next_ = now + kEvery;
  is_drawn_ = true;
  fmt::print(stderr, "\r{}\x1b[K", render_progress(view, terminal_width() - 1));
  std::fflush(stderr);
}

void ProgressBar::clear() {
  if (is_drawn_) {
    is_drawn_ = false;
    fmt::print(stderr, "\r\x1b[K");
    std::fflush(stderr);
  }
}

}  // namespace turnstile
