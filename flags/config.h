// From the command line, the environment and the config file to one set of values: a flag beats its
// environment variable, which beats the file. CLI11 would let the file beat the environment, so the
// file is read first and fills the variables that are not set.
//
// A flag that makes sense for every run has a variable: endpoint, files, log, time-outs, limits.
// `--log-level` is TURNSTILE_LOG_LEVEL; an empty one counts as not set. What a single run asks for
// (--all, --limit, --create) has none: a variable that is left over must not change what a command
// does. Only the chosen subcommand's variables are read, so that a value meant for one does not
// stop another. Any other TURNSTILE_ name is warned about.
//
// The file has lines `flag = value`. Those above the first section go to whichever subcommand has
// that flag; `[consumer]` or `[produce.csv]` to that one only, and `[produce]` to all below it. The
// deeper section wins. Names that no subcommand knows are errors.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "flags/cli11.h"

namespace turnstile {

// "log-level" -> "TURNSTILE_LOG_LEVEL"
std::string environment_name(std::string_view flag);

// What must be known of the arguments before CLI11 parses them.
struct Invocation {
  std::vector<CLI::App*> commands;    // the program, the subcommand, its subcommand; never empty
  std::set<std::string> given_flags;  // long names without dashes
  std::optional<std::string> config_file;
};

// `arguments` without the program's name.
Invocation find_invocation(CLI::App& app, std::span<const std::string> arguments);

// Whether that flag has a variable.
bool has_environment_name(std::string_view flag);

// Lines about variables that are set and that no subcommand reads. They are unset, so that
// processes that this one starts do not warn again.
std::vector<std::string> take_unknown_variables(CLI::App& app);

// Gives the options of the chosen subcommands that have one their environment variable.
void apply_environment(const Invocation& invocation);

// Where a value came from that the command line did not give: flag -> "TURNSTILE_DB in the
// environment" or "'db' in turnstile.toml".
using Origins = std::map<std::string, std::string>;

// Does all of the above, with --config or TURNSTILE_CONFIG as the file. It sets environment
// variables, so call it before threads start. Errors are Errc::bad_input and name file and key.
Result<Origins> load_settings(CLI::App& app, std::span<const std::string> arguments);

// All that main does with a finished App: settings, parsing, help, errors with their hint, and the
// callback of the subcommand, which leaves its code in `exit_code`. Returns the process's exit
// code.
int run_command_line(CLI::App& app, int argc, const char* const* argv, const int& exit_code);

}  // namespace turnstile
