#include "flags/options.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <optional>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/utf8.h"
#include "link/endpoint.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLongestDuration = std::chrono::hours(87600);

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

constexpr std::array<Unit, 4> kDurationUnits{Unit{"h", 3'600'000}, Unit{"m", 60'000},
                                             Unit{"s", 1'000}, Unit{"ms", 1}};
constexpr std::array<Unit, 4> kByteUnits{Unit{"GiB", std::uint64_t{1} << 30U},
                                         Unit{"MiB", std::uint64_t{1} << 20U},
                                         Unit{"KiB", std::uint64_t{1} << 10U}, Unit{"", 1}};

struct NumberAndUnit {
  std::uint64_t number;
  std::string_view unit;
};

std::optional<NumberAndUnit> split_number(std::string_view text) {
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{}) {
    return std::nullopt;
  }
  return NumberAndUnit{number, text.substr(static_cast<std::size_t>(rest - text.data()))};
}

template <std::size_t N>
std::optional<std::uint64_t> factor_of(std::string_view unit, const std::array<Unit, N>& units) {
  for (const Unit& known : units) {
    if (known.name == unit) {
      return known.factor;
    }
  }
  return std::nullopt;
}

template <std::size_t N>
std::string in_largest_unit(std::uint64_t number, const std::array<Unit, N>& units) {
  for (const Unit& unit : units) {
    if (number != 0 && number % unit.factor == 0) {
      return fmt::format("{}{}", number / unit.factor, unit.name);
    }
  }
  return "0";
}

Result<void> check_ipc_path(std::string_view endpoint) {
  const std::string_view path = endpoint.substr(kIpc.size());
  if (path.empty() || path == "*" || path.back() == '/') {
    return fail(Errc::bad_input, fmt::format("'{}' names no socket file", endpoint),
                "write it as ipc:///run/user/1000/turnstile/broker.sock");
  }
  if (path.front() == '@') {
    return fail(Errc::bad_input,
                fmt::format("'{}' is an abstract socket, which has no permissions", endpoint),
                "name a file, in a directory that only its user may enter");
  }
  return check_socket_path(endpoint);
}

Result<void> check_tcp_address(std::string_view endpoint, EndpointUse use) {
  const std::string_view address = endpoint.substr(kTcp.size());
  const std::size_t colon = address.rfind(':');
  const std::string_view host = address.substr(0, colon);
  const std::string_view port_text =
      colon == std::string_view::npos ? std::string_view() : address.substr(colon + 1);
  const auto port = split_number(port_text);
  const bool is_bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  const bool has_host =
      !host.empty() && (is_bracketed || host.find_first_of(":[]") == std::string_view::npos);
  const bool is_any = use == EndpointUse::listen && port_text == "*";
  const bool has_port = is_any || (port && port->unit.empty() && port->number > 0 &&
                                   port->number <= std::numeric_limits<std::uint16_t>::max());
  if (!has_host || !has_port) {
    return fail(Errc::bad_input, fmt::format("'{}' is no tcp://HOST:PORT", endpoint),
                "write it as tcp://127.0.0.1:5555 or tcp://[::1]:5555, port 1 to 65535");
  }
  return {};
}

// CLI11 reports what went wrong in an option through exceptions of its own.
CLI::ValidationError as_option_error(const std::string& name, const Error& error) {
  const std::string hint = error.hint.empty() ? "" : "; " + error.hint;
  return CLI::ValidationError(name, error.what + hint);
}

template <typename T>
CLI::Option* add_parsed_option(CLI::App& app, const std::string& name, T& value,
                               Result<T> (*parse)(std::string_view), const std::string& form,
                               const std::string& description) {
  const auto store = [&value, parse, name](const std::string& text) {
    auto parsed = parse(text);
    if (!parsed) {
      throw as_option_error(name, parsed.error());
    }
    value = std::move(*parsed);
  };
  return app.add_option_function<std::string>(name, store, description)->type_name(form);
}

Result<std::string> parse_endpoint(std::string_view text) {
  return check_endpoint(text).map([&] { return std::string(text); });
}

Result<std::string> parse_listen_endpoint(std::string_view text) {
  return check_endpoint(text, EndpointUse::listen).map([&] { return std::string(text); });
}

CLI::Option* add_path_option(CLI::App& app, const std::string& name, std::string& path,
                             const std::string& description) {
  CLI::Option* option = app.add_option(name, path, description)->type_name("FILE");
  return path.empty() ? option : option->default_str(path);
}

}  // namespace

int exit_code_for(const Error& error) {
  switch (error.code) {
    case Errc::bad_input:
      return static_cast<int>(ExitCode::usage);
    case Errc::refused:
    case Errc::full:
    case Errc::fenced:
      return static_cast<int>(ExitCode::refused);
    case Errc::unreachable:
    case Errc::locked:
    case Errc::io:
    case Errc::corrupt:
      return static_cast<int>(ExitCode::unreachable);
  }
  return static_cast<int>(ExitCode::refused);
}

std::string error_text(const Error& error) {
  if (error.hint.empty()) {
    return fmt::format("turnstile: {}", printable(error.what));
  }
  return fmt::format("turnstile: {}\n  hint: {}", printable(error.what), printable(error.hint));
}

void print_error(const Error& error) {
  fmt::print(stderr, "{}\n", error_text(error));
}

Result<milliseconds> parse_duration(std::string_view text) {
  const auto parts = split_number(text);
  const std::uint64_t factor = parts ? factor_of(parts->unit, kDurationUnits).value_or(0) : 0;
  if (text == "0") {
    return milliseconds(0);
  }
  if (factor == 0) {
    return fail(Errc::bad_input, fmt::format("'{}' is no duration", text),
                "write it as 250ms, 3s, 2m, 1h or 0");
  }
  if (parts->number > static_cast<std::uint64_t>(kLongestDuration.count()) / factor) {
    return fail(Errc::bad_input, fmt::format("'{}' is too long a duration", text),
                "the longest is 87600h");
  }
  return milliseconds(parts->number * factor);
}

std::string format_duration(milliseconds duration) {
  return in_largest_unit(static_cast<std::uint64_t>(duration.count()), kDurationUnits);
}

Result<DurationRange> parse_duration_range(std::string_view text) {
  constexpr std::string_view kBetween = "..";
  const std::size_t between = text.find(kBetween);
  if (between == std::string_view::npos) {
    return parse_duration(text).map([](milliseconds both) { return DurationRange{both, both}; });
  }
  const auto min = parse_duration(text.substr(0, between));
  const auto max = parse_duration(text.substr(between + kBetween.size()));
  if (!min || !max) {
    return fail(Errc::bad_input, fmt::format("'{}' is no range of durations", text),
                "write it as 1s..3s or 250ms..1s, or give one duration");
  }
  if (*min > *max) {
    return fail(Errc::bad_input, fmt::format("the range '{}' ends before it starts", text),
                "put the shorter duration first");
  }
  return DurationRange{*min, *max};
}

std::string format_duration_range(const DurationRange& range) {
  if (range.min == range.max) {
    return format_duration(range.min);
  }
  return fmt::format("{}..{}", format_duration(range.min), format_duration(range.max));
}

Result<std::uint64_t> parse_bytes(std::string_view text) {
  const auto parts = split_number(text);
  const std::uint64_t factor = parts ? factor_of(parts->unit, kByteUnits).value_or(0) : 0;
  if (factor == 0) {
    return fail(Errc::bad_input, fmt::format("'{}' is no number of bytes", text),
                "write it as 1000, 64KiB, 128MiB or 1GiB");
  }
  if (parts->number > std::numeric_limits<std::uint64_t>::max() / factor) {
    return fail(Errc::bad_input, fmt::format("'{}' is too many bytes", text));
  }
  return parts->number * factor;
}

std::string format_bytes_exactly(std::uint64_t bytes) {
  return in_largest_unit(bytes, kByteUnits);
}

Result<mode_t> parse_file_mode(std::string_view text) {
  constexpr int kOctal = 8;
  constexpr mode_t kAny = 0666;
  mode_t mode = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, mode, kOctal);
  const bool is_mode = error == std::errc{} && rest == end && (mode & ~kAny) == 0 &&
                       (mode & kPrivateFile) == kPrivateFile;
  if (!is_mode) {
    return fail(Errc::bad_input, fmt::format("'{}' is no mode of a file", text),
                "write it as 0600, 0640 or 0660: the owner reads and writes, nobody executes");
  }
  return mode;
}

void make_files_with(mode_t mode) {
  constexpr mode_t kAll = 0777;
  constexpr mode_t kRead = 0444;
  constexpr unsigned kReadToEnter = 2;
  ::umask(kAll & ~(mode | (mode & kRead) >> kReadToEnter));
}

Result<void> check_endpoint(std::string_view endpoint, EndpointUse use) {
  if (endpoint.starts_with(kIpc)) {
    return check_ipc_path(endpoint);
  }
  if (endpoint.starts_with(kTcp)) {
    return check_tcp_address(endpoint, use);
  }
  return fail(Errc::bad_input, fmt::format("'{}' is no endpoint", endpoint), kEndpointHint);
}

CLI::Option* add_duration_option(CLI::App& app, const std::string& name, milliseconds& value,
                                 const std::string& description) {
  return add_parsed_option(app, name, value, &parse_duration, "DURATION", description)
      ->default_str(format_duration(value));
}

CLI::Option* add_duration_range_option(CLI::App& app, const std::string& name, DurationRange& value,
                                       const std::string& description) {
  return add_parsed_option(app, name, value, &parse_duration_range, "DURATION[..DURATION]",
                           description)
      ->default_str(format_duration_range(value));
}

CLI::Option* add_bytes_option(CLI::App& app, const std::string& name, std::uint64_t& value,
                              const std::string& description) {
  return add_parsed_option(app, name, value, &parse_bytes, "BYTES", description)
      ->default_str(format_bytes_exactly(value));
}

CLI::Option* add_broker_option(CLI::App& app, std::string& endpoint) {
  if (endpoint.empty()) {
    endpoint = default_broker_endpoint();
  }
  return add_parsed_option(app, "--broker", endpoint, &parse_endpoint, "ENDPOINT",
                           "Where the broker listens: ipc://PATH or tcp://HOST:PORT")
      ->default_str(endpoint);
}

CLI::Option* add_listen_option(CLI::App& app, std::string& endpoint) {
  if (endpoint.empty()) {
    endpoint = default_broker_endpoint();
  }
  return add_parsed_option(app, "--broker", endpoint, &parse_listen_endpoint, "ENDPOINT",
                           "Where to listen: ipc://PATH or tcp://HOST:PORT; PORT * takes a free "
                           "one, which the log names")
      ->default_str(endpoint);
}

CLI::Option* add_db_option(CLI::App& app, std::string& path) {
  if (path.empty()) {
    path = "shared.db";
  }
  return add_path_option(app, "--db", path, "The target: the SQLite file that rows arrive in");
}

CLI::Option* add_text_option(CLI::App& app, std::string& path) {
  return add_path_option(app, "--text", path, "The text log, a line for each row of its table");
}

CLI::Option* add_mode_option(CLI::App& app) {
  const auto apply = [](const std::string& text) {
    const auto mode = parse_file_mode(text);
    if (!mode) {
      throw as_option_error("--mode", mode.error());
    }
    make_files_with(*mode);
  };
  return app
      .add_option_function<std::string>("--mode", apply,
                                        "Mode of the files that it makes, such as 0640 for a group "
                                        "that may read; those that are there keep theirs")
      ->type_name("MODE")
      ->default_str("0600");
}

CLI::Option* add_json_flag(CLI::App& app, bool& json) {
  return app.add_flag("--json", json, "Print the result as one JSON object");
}

void add_no_spin_flag(CLI::App& app, bool& no_spin) {
  app.add_flag(
      "--no-spin", no_spin,
      "Sleep immediately while waiting for an answer, instead of spinning for up to 0.4 ms");
}

void add_log_options(CLI::App& app, LogOptions& options) {
  add_parsed_option(app, "--log-level", options.level, &parse_log_level, "LEVEL",
                    "What to log: debug, info, warning or error")
      ->default_str(std::string(log_level_name(options.level)));
  app.add_flag("--quiet", options.quiet, "Log errors only, and show no progress");
}

CLI::Option* add_log_file_option(CLI::App& app, LogOptions& options) {
  return add_path_option(app, "--log-file", options.file,
                         "Append the log to this file instead of stderr; SIGHUP opens it again");
}

CLI::Option* add_config_option(CLI::App& app) {
  return app
      .add_option("--config",
                  "File of settings: FLAG = VALUE, in sections such as [consumer] and "
                  "[produce.csv]; a flag or its variable beats it")
      ->type_name("FILE")
      ->expected(1);
}

}  // namespace turnstile
