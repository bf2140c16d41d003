#include "base/logging.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <iterator>
#include <mutex>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/ansicolor_sink.h>
#include <spdlog/sinks/base_sink.h>

#include "base/descriptor.h"
#include "base/signals.h"
#include "base/utf8.h"

namespace turnstile {
namespace {

struct NamedLevel {
  std::string_view name;
  LogLevel level;
  spdlog::level::level_enum spdlog_level;
};

constexpr std::array<NamedLevel, 4> kLevels{
    NamedLevel{"debug", LogLevel::debug, spdlog::level::debug},
    NamedLevel{"info", LogLevel::info, spdlog::level::info},
    NamedLevel{"warning", LogLevel::warning, spdlog::level::warn},
    NamedLevel{"error", LogLevel::error, spdlog::level::err}};

const NamedLevel& named(LogLevel level) {
  for (const NamedLevel& known : kLevels) {
    if (known.level == level) {
      return known;
    }
  }
  return kLevels.back();
}

void append(spdlog::memory_buf_t& dest, std::string_view text) {
  dest.append(text.data(), text.data() + text.size());
}

class LevelInCapitals : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm& /*time*/,
              spdlog::memory_buf_t& dest) override {
    switch (message.level) {
      case spdlog::level::trace:
      case spdlog::level::debug:
        return append(dest, "DEBUG");
      case spdlog::level::info:
        return append(dest, "INFO");
      case spdlog::level::warn:
        return append(dest, "WARNING");
      default:
        return append(dest, "ERROR");
    }
  }

  [[nodiscard]] std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<LevelInCapitals>();
  }
};

class OneLineMessage : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm& /*time*/,
              spdlog::memory_buf_t& dest) override {
    append(dest, printable({message.payload.data(), message.payload.size()}));
  }

  [[nodiscard]] std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<OneLineMessage>();
  }
};

// Appends; what cannot be written is lost, as on stderr.
class LogFile final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit LogFile(std::string path) : path_(std::move(path)), seen_hangups_(hangups()) {}

  // The old file stays when this fails.
  bool open() {
    constexpr mode_t kMode = 0600;
    Descriptor fd(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, kMode));
    if (!fd) {
      return false;
    }
    fd_ = std::move(fd);
    return true;
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (const int now = hangups(); now != seen_hangups_) {
      seen_hangups_ = now;
      open();
    }
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    const char* at = line.data();
    for (std::size_t left = line.size(); left > 0;) {
      const ssize_t written = ::write(fd_.get(), at, left);
      if (written < 0 && errno != EINTR) {
        return;
      }
      at += std::max<ssize_t>(written, 0);
      left -= static_cast<std::size_t>(std::max<ssize_t>(written, 0));
    }
  }
  void flush_() override {}

 private:
  std::string path_;
  int seen_hangups_;
  Descriptor fd_;
};

void log_to(spdlog::sink_ptr sink, const LogOptions& options) {
  sink->set_formatter(make_log_formatter());
  auto logger = std::make_shared<spdlog::logger>("turnstile", std::move(sink));
  logger->set_level(named(options.quiet ? LogLevel::error : options.level).spdlog_level);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace

Result<LogLevel> parse_log_level(std::string_view text) {
  for (const NamedLevel& known : kLevels) {
    if (known.name == text) {
      return known.level;
    }
  }
  return fail(Errc::bad_input, fmt::format("'{}' is no log level", text),
              "use debug, info, warning or error");
}

std::string_view log_level_name(LogLevel level) {
  return named(level).name;
}

std::unique_ptr<spdlog::formatter> make_log_formatter() {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<LevelInCapitals>('*').add_flag<OneLineMessage>('?').set_pattern(
      "%Y-%m-%d %H:%M:%S,%e - %^%*%$ -   %?");
  return formatter;
}

spdlog::color_mode log_colour_mode(const char* no_color) {
  const bool unwanted = no_color != nullptr && *no_color != '\0';
  return unwanted ? spdlog::color_mode::never : spdlog::color_mode::automatic;
}

void set_up_logging(const LogOptions& options) {
  log_to(std::make_shared<spdlog::sinks::ansicolor_stderr_sink_mt>(
             log_colour_mode(std::getenv("NO_COLOR"))),
         options);
}

Result<void> set_up_logging_to_file(const LogOptions& options) {
  set_up_logging(options);
  if (options.file.empty()) {
    return {};
  }
  auto file = std::make_shared<LogFile>(options.file);
  if (!file->open()) {
    return fail(Errc::unreachable,
                fmt::format("cannot open the log file {}: {}", options.file,
                            std::generic_category().message(errno)),
                "make its directory, give this user the right to write it, or name another file");
  }
  log_to(std::move(file), options);
  return {};
}

LogLimiter::LogLimiter(std::size_t lines, std::chrono::milliseconds interval)
    : lines_(lines), interval_(interval) {}

bool LogLimiter::admit(TimePoint now) {
  close_interval(now);
  if (!interval_start_) {
    interval_start_ = now;
  }
  ++seen_;
  return seen_ <= lines_;
}

std::optional<std::string> LogLimiter::left_out(TimePoint now) {
  close_interval(now);
  if (left_out_ == 0) {
    return std::nullopt;
  }
  return fmt::format("... and {} more like it", std::exchange(left_out_, 0));
}

void LogLimiter::close_interval(TimePoint now) {
  if (!interval_start_ || now - *interval_start_ < interval_) {
    return;
  }
  left_out_ += seen_ > lines_ ? seen_ - lines_ : 0;
  seen_ = 0;
  interval_start_.reset();
}

}  // namespace turnstile
