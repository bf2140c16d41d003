// What every subcommand's options share: how values are written, the flags that mean the same
// everywhere, and the exit codes. Parsers are pure; their errors are Errc::bad_input and name the
// text that was given and the forms that are understood.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/logging.h"
#include "base/result.h"
#include "flags/cli11.h"

namespace turnstile {

enum class ExitCode : int {
  done = 0,
  refused = 1,      // something was refused or lost; the output says what
  usage = 2,        // wrong flag, value or config file
  unreachable = 3,  // could not reach or open something
  interrupted = 130,
};

// What an error that ends a subcommand makes of its exit code.
int exit_code_for(const Error& error);

// `turnstile: <what>` and, where there is one, `  hint: <hint>`; no newline at the end.
std::string error_text(const Error& error);
void print_error(const Error& error);

// As print_error() does, but with no memory to be had.
inline constexpr const char* kOutOfMemory =
    "turnstile: there is no more memory\n"
    "  hint: give this process more (ulimit -v, MemoryMax=) or less to hold (--memory)\n";

// `250ms`, `3s`, `2m`, `1h`, `0`: a whole number and its unit, at most 87600h (ten years).
Result<std::chrono::milliseconds> parse_duration(std::string_view text);

// In the largest unit that gives a whole number, so that parse_duration reads it back.
std::string format_duration(std::chrono::milliseconds duration);

struct DurationRange {
  std::chrono::milliseconds min{0};
  std::chrono::milliseconds max{0};
};

// `1s..3s`, or one duration for both ends.
Result<DurationRange> parse_duration_range(std::string_view text);
std::string format_duration_range(const DurationRange& range);

// `1000`, `64KiB`, `128MiB`, `1GiB`.
Result<std::uint64_t> parse_bytes(std::string_view text);

// In the largest unit that gives a whole number, so that parse_bytes reads it back.
std::string format_bytes_exactly(std::uint64_t bytes);

// A broker may leave the port to the system: `tcp://HOST:*`.
enum class EndpointUse : std::uint8_t { connect, listen };
// `0640`: the mode of a file that its owner may read and write, in octal.
Result<mode_t> parse_file_mode(std::string_view text);

// Files that this process creates from now on have this mode, and users that may read them may
// enter its directories. Existing files keep their mode.
void make_files_with(mode_t mode);
inline constexpr mode_t kPrivateFile = 0600;

// `ipc://PATH`, where PATH fits a socket address of the kernel, or `tcp://HOST:PORT`.
Result<void> check_endpoint(std::string_view endpoint, EndpointUse use = EndpointUse::connect);

// Options whose values are written in one of the forms above. The referred value holds the default
// that the help shows, and must live until the command line was parsed.
CLI::Option* add_duration_option(CLI::App& app, const std::string& name,
                                 std::chrono::milliseconds& value, const std::string& description);
CLI::Option* add_duration_range_option(CLI::App& app, const std::string& name, DurationRange& value,
                                       const std::string& description);
CLI::Option* add_bytes_option(CLI::App& app, const std::string& name, std::uint64_t& value,
                              const std::string& description);

// The flags that mean the same everywhere. An empty string is replaced by the usual default
// (`shared.db`, the user's own socket); --text has none.
CLI::Option* add_broker_option(CLI::App& app, std::string& endpoint);
// The broker's own --broker.
CLI::Option* add_listen_option(CLI::App& app, std::string& endpoint);
// --no-spin.
void add_no_spin_flag(CLI::App& app, bool& no_spin);
CLI::Option* add_db_option(CLI::App& app, std::string& path);
CLI::Option* add_text_option(CLI::App& app, std::string& path);
// --mode. Unless it is given, main() has set kPrivateFile.
CLI::Option* add_mode_option(CLI::App& app);
CLI::Option* add_json_flag(CLI::App& app, bool& json);

// --log-level and --quiet.
void add_log_options(CLI::App& app, LogOptions& options);
// --log-file, of a command that runs for long.
CLI::Option* add_log_file_option(CLI::App& app, LogOptions& options);

// --config; what it does is in flags/config.h, before the command line is parsed.
CLI::Option* add_config_option(CLI::App& app);

}  // namespace turnstile
