#include "flags/config.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/utf8.h"
#include "flags/options.h"

namespace turnstile {
namespace {

constexpr std::size_t kLargestFile = std::size_t{1} << 20U;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::size_t kShownName = 80;
constexpr std::string_view kPrefix = "TURNSTILE_";

// The flags that have a variable.
constexpr std::array<std::string_view, 24> kVariables{"begin",
                                                      "broker",
                                                      "busy-timeout",
                                                      "config",
                                                      "db",
                                                      "dead-letter-limit",
                                                      "foreign-keys",
                                                      "journal",
                                                      "journal-file",
                                                      "journal-limit",
                                                      "keep-progress",
                                                      "lease",
                                                      "ledger",
                                                      "log-file",
                                                      "log-level",
                                                      "memory",
                                                      "port",
                                                      "quiet",
                                                      "row-time-limit",
                                                      "spool-limit",
                                                      "text",
                                                      "text-rotated",
                                                      "text-table",
                                                      "timeout"};

// Read by scripts, tests and clients, or by the lab's processes from the one that starts them.
constexpr std::array<std::string_view, 22> kOtherVariables{
    "PROGRAM", "LIBRARY",  "SEED", "EVENTS", "PROCESS", "TEST_SEED", "KILLS",    "CUTS",
    "SEEDS",   "ROUNDS",   "SOAK", "TRACE",  "WORLD",   "NO_ASLR",   "CHROMIUM", "BENCH",
    "TESTS",   "SANITIZE", "FUZZ", "TIDY",   "SHOTS",   "OUT"};

// No settings: flags that print something and exit, and the flag that names the config file.
bool is_setting(std::string_view flag) {
  return flag != "help" && flag != "help-all" && flag != "version" && flag != "config";
}

template <typename Names>
bool contains(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Carries a value of the config file to the parser for a flag without a variable. No shell sets
// such a name.
std::string private_name(std::string_view flag) {
  return "turnstile." + std::string(flag);
}

bool has_value(const std::string& variable) {
  const char* value = std::getenv(variable.c_str());
  return value != nullptr && *value != '\0';
}

std::string display(std::span<CLI::App* const> commands) {
  std::string text = "turnstile";
  for (const CLI::App* command : commands.subspan(1)) {
    text += " " + command->get_name();
  }
  return text;
}

CLI::App* subcommand(CLI::App& app, std::string_view name) {
  for (CLI::App* candidate : app.get_subcommands({})) {
    if (!name.empty() && candidate->get_name() == name) {
      return candidate;
    }
  }
  return nullptr;
}

CLI::Option* option_of(CLI::App& app, std::string_view flag) {
  return app.get_option_no_throw("--" + std::string(flag));
}

bool anything_below_has(CLI::App& app, std::string_view flag) {
  const auto below = app.get_subcommands({});
  return option_of(app, flag) != nullptr ||
         std::any_of(below.begin(), below.end(),
                     [&](CLI::App* command) { return anything_below_has(*command, flag); });
}

Result<std::string> read_settings(const std::string& path) {
  const std::string hint = "name a readable text file with --config or TURNSTILE_CONFIG";
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return fail(Errc::bad_input, fmt::format("the config file '{}' is a directory", path), hint);
  }
  std::ifstream file(path, std::ios::binary);
  std::string text(kLargestFile + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.eof() && file.fail()) {
    return fail(Errc::bad_input, fmt::format("cannot read the config file '{}'", path), hint);
  }
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kLargestFile || text.find('\0') != std::string::npos) {
    return fail(Errc::bad_input, fmt::format("'{}' is no config file: {}", path,
                                             text.size() > kLargestFile ? "it has more than 1 MiB"
                                                                        : "it holds a NUL byte"));
  }
  if (text.starts_with(kByteOrderMark)) {
    text.erase(0, kByteOrderMark.size());
  }
  return text;
}

// Checks the file's entries against the program's flags and picks those of the chosen subcommand.
class SettingsFile {
 public:
  SettingsFile(std::string path, CLI::App& app) : path_(std::move(path)), app_(&app) {}

  // flag -> value; of two sections that both set a flag, the deeper one's.
  Result<std::map<std::string, std::string>> values_for(std::span<CLI::App* const> commands) {
    const auto text = read_settings(path_);
    if (!text) {
      return tl::make_unexpected(text.error());
    }
    std::istringstream input(*text);
    for (const CLI::ConfigItem& item : CLI::ConfigBase().from_config(input)) {
      if (const auto taken = take(item, commands); !taken) {
        return tl::make_unexpected(taken.error());
      }
    }
    std::map<std::string, std::string> values;
    for (const auto& [flag, found] : found_) {
      values.emplace(flag, found.value);
    }
    return values;
  }

 private:
  struct Found {
    std::size_t depth;  // of the section, 0 above the first one
    std::string value;
  };

  Result<void> take(const CLI::ConfigItem& item, std::span<CLI::App* const> commands) {
    CLI::App* section = app_;
    bool is_chosen = true;
    for (std::size_t depth = 0; depth < item.parents.size(); ++depth) {
      section = subcommand(*section, item.parents[depth]);
      if (section == nullptr) {
        return complain(
            fmt::format("has a section [{}], which is no subcommand", fmt::join(item.parents, ".")),
            "sections are named after subcommands, such as [consumer] or "
            "[produce.csv]");
      }
      is_chosen = is_chosen && depth + 1 < commands.size() && commands[depth + 1] == section;
    }
    if (item.inputs.empty() && (item.name == "++" || item.name == "--")) {
      return {};  // CLI11's marks for where a section starts and ends
    }
    if (auto checked = check(item, *section); !checked) {
      return checked;
    }
    if (is_chosen && is_wanted(item.name, commands.subspan(item.parents.size()))) {
      Found& found = found_.try_emplace(item.name, Found{0, {}}).first->second;
      if (item.parents.size() >= found.depth) {
        found = {item.parents.size(), item.inputs.front()};
      }
    }
    return {};
  }

  Result<void> check(const CLI::ConfigItem& item, CLI::App& section) {
    const std::string key = item.fullname();
    if (!is_setting(item.name) || !anything_below_has(section, item.name)) {
      return complain(
          fmt::format("sets '{}', which is no flag there", key),
          "keys are long flags without their dashes; --help of a subcommand lists them");
    }
    if (item.inputs.size() != 1 || !seen_.insert(key).second) {
      return complain(fmt::format("does not give '{}' exactly one value", key),
                      "set it once, and put quotes around a value with spaces or commas");
    }
    const std::string& value = item.inputs.front();
    if (value.empty()) {
      return complain(fmt::format("gives '{}' no value", key),
                      "leave the line out for the default");
    }
    if (value.front() == '"' || value.front() == '\'') {
      return complain(fmt::format("has a quote that does not end in the value of '{}'", key),
                      "end it; a # starts a comment, even between quotes");
    }
    return {};
  }

  static bool is_wanted(const std::string& flag, std::span<CLI::App* const> commands) {
    return std::any_of(commands.begin(), commands.end(),
                       [&](CLI::App* command) { return option_of(*command, flag) != nullptr; });
  }

  Result<void> complain(const std::string& what, std::string hint) const {
    return fail(Errc::bad_input, fmt::format("the config file '{}' {}", path_, what),
                std::move(hint));
  }

  std::string path_;
  CLI::App* app_;
  std::map<std::string, Found> found_;
  std::set<std::string> seen_;
};

bool names_flag(std::string_view message, const std::string& flag) {
  const std::string dashed = "--" + flag;
  const std::size_t at = message.find(dashed);
  if (at == std::string_view::npos) {
    return false;
  }
  const std::size_t end = at + dashed.size();
  return end == message.size() ||
         (std::isalnum(static_cast<unsigned char>(message[end])) == 0 && message[end] != '-');
}

Error as_usage_error(const CLI::ParseError& error, const Origins& origins,
                     std::span<CLI::App* const> commands) {
  const std::string see_help = fmt::format("see {} --help", display(commands));
  const CLI::App& command = *commands.back();
  // CLI11 says only that a subcommand is missing, not which name it did not know.
  const std::vector<std::string> unknown = command.remaining();
  if (!command.get_subcommands({}).empty() && !unknown.empty()) {
    return {Errc::bad_input,
            fmt::format("'{}' is no {} of {}", unknown[0],
                        unknown[0].starts_with('-') ? "flag" : "subcommand", display(commands)),
            see_help};
  }
  for (const auto& [flag, source] : origins) {
    if (names_flag(error.what(), flag)) {
      return {Errc::bad_input, error.what(), fmt::format("the value comes from {}", source)};
    }
  }
  return {Errc::bad_input, error.what(), see_help};
}

// An unset shell variable must not mean the default.
void refuse_empty_values(const Invocation& invocation) {
  for (CLI::App* command : invocation.commands) {
    for (CLI::Option* option : command->get_options()) {
      if (option->get_items_expected_max() > 0) {
        option->check(CLI::Validator(
            [](std::string& value) {
              return value.empty() ? std::string("the value is empty") : std::string();
            },
            ""));
      }
    }
  }
}

}  // namespace

std::string environment_name(std::string_view flag) {
  std::string name(kPrefix);
  for (const char character : flag) {
    const auto byte = static_cast<unsigned char>(character);
    name += character == '-' ? '_' : static_cast<char>(std::toupper(byte));
  }
  return name;
}

bool has_environment_name(std::string_view flag) {
  return contains(kVariables, flag);
}

std::vector<std::string> take_unknown_variables(CLI::App& app) {
  std::vector<std::string> names;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::string_view name = text.substr(0, text.find('='));
    if (name.starts_with(kPrefix) && name.size() + 1 < text.size() &&
        !contains(kOtherVariables, name.substr(kPrefix.size()))) {
      names.emplace_back(name);
    }
  }
  std::vector<std::string> lines;
  for (const std::string& name : names) {
    std::string flag = name.substr(kPrefix.size());
    std::transform(flag.begin(), flag.end(), flag.begin(), [](unsigned char c) {
      return c == '_' ? '-' : static_cast<char>(std::tolower(c));
    });
    const bool is_flag = anything_below_has(app, flag);
    if (is_flag && has_environment_name(flag) && environment_name(flag) == name) {
      continue;
    }
    lines.push_back(fmt::format("{} in the environment is ignored: {}", printable(name, kShownName),
                                is_flag ? "--" + flag +
                                              " is given on the command line, or in a "
                                              "config file"
                                        : "no setting has that name"));
    unsetenv(name.c_str());
  }
  return lines;
}

Invocation find_invocation(CLI::App& app, std::span<const std::string> arguments) {
  Invocation invocation{{&app}, {}, {}};
  for (std::size_t i = 0; i < arguments.size() && arguments[i] != "--"; ++i) {
    const std::string& argument = arguments[i];
    CLI::App& command = *invocation.commands.back();
    if (!argument.starts_with('-')) {
      if (CLI::App* chosen = subcommand(command, argument); chosen != nullptr) {
        invocation.commands.push_back(chosen);
      }
      continue;
    }
    const std::size_t equals = argument.find('=');
    const CLI::Option* option = command.get_option_no_throw(argument.substr(0, equals));
    if (option == nullptr) {
      continue;
    }
    const auto& names = option->get_lnames();
    invocation.given_flags.insert(names.begin(), names.end());
    const bool is_config = option->check_lname("config");
    if (equals != std::string::npos) {
      if (is_config) {
        invocation.config_file = argument.substr(equals + 1);
      }
    } else if (option->get_items_expected_max() > 0 && i + 1 < arguments.size()) {
      ++i;
      if (is_config) {
        invocation.config_file = arguments[i];
      }
    }
  }
  return invocation;
}

void apply_environment(const Invocation& invocation) {
  for (CLI::App* command : invocation.commands) {
    for (CLI::Option* option : command->get_options()) {
      const auto& names = option->get_lnames();
      if (!names.empty() && has_environment_name(names.front())) {
        option->envname(environment_name(names.front()));
      }
    }
  }
}

Result<Origins> load_settings(CLI::App& app, std::span<const std::string> arguments) {
  const Invocation invocation = find_invocation(app, arguments);
  apply_environment(invocation);
  refuse_empty_values(invocation);

  Origins origins;
  for (CLI::App* command : invocation.commands) {
    for (const CLI::Option* option : command->get_options()) {
      const std::string variable = option->get_envname();
      if (!variable.empty() && has_value(variable)) {
        origins.emplace(option->get_lnames().front(), variable + " in the environment");
      }
    }
  }

  std::string path = invocation.config_file.value_or("");
  const std::string config_variable = environment_name("config");
  if (!invocation.config_file && has_value(config_variable)) {
    path = std::getenv(config_variable.c_str());
  }
  if (!path.empty() || invocation.config_file) {
    const auto values = SettingsFile(path, app).values_for(invocation.commands);
    if (!values) {
      return tl::make_unexpected(values.error());
    }
    for (const auto& [flag, value] : *values) {
      const bool is_private = !has_environment_name(flag);
      const std::string variable = is_private ? private_name(flag) : environment_name(flag);
      if (is_private) {
        for (CLI::App* command : invocation.commands) {
          if (CLI::Option* option = option_of(*command, flag); option != nullptr) {
            option->envname(variable);
          }
        }
      }
      if (is_private || !has_value(variable)) {
        setenv(variable.c_str(), value.c_str(), 1);
        origins.insert_or_assign(flag, fmt::format("'{}' in {}", flag, path));
      }
    }
  }
  for (const std::string& flag : invocation.given_flags) {
    origins.erase(flag);
  }
  return origins;
}

int run_command_line(CLI::App& app, int argc, const char* const* argv, const int& exit_code) {
  const std::span<const char* const> all(argv, static_cast<std::size_t>(argc));
  const std::vector<std::string> arguments(all.begin() + 1, all.end());
  const auto origins = load_settings(app, arguments);
  if (!origins) {
    print_error(origins.error());
    return static_cast<int>(ExitCode::usage);
  }
  const auto unknown = take_unknown_variables(app);
  if (!origins->contains("quiet") &&
      !find_invocation(app, arguments).given_flags.contains("quiet")) {
    for (const std::string& line : unknown) {
      fmt::print(stderr, "turnstile: warning: {}\n", line);
    }
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      return app.exit(error);  // prints what --help or --version asked for
    }
    print_error(as_usage_error(error, *origins, find_invocation(app, arguments).commands));
    return static_cast<int>(ExitCode::usage);
  }
  return exit_code;
}

}  // namespace turnstile
