// Config files and the values in them (flags/config.h, flags/options.h).
#include "flags/config.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <map>

#include <CLI/CLI.hpp>

#include "flags/options.h"
#include "tests/fuzz/fuzz.h"

namespace turnstile::fuzz {
namespace {

const std::vector<std::string> kFlags{"db",   "journal", "memory", "lease",
                                      "text", "broker",  "order",  "quiet"};

// A program of the real one's shape.
struct Program {
  CLI::App app{"fuzz", "turnstile"};
  std::map<std::string, std::string> values;

  Program() {
    CLI::App* broker = app.add_subcommand("broker", "");
    CLI::App* consumer = app.add_subcommand("consumer", "");
    CLI::App* produce = app.add_subcommand("produce", "");
    CLI::App* csv = produce->add_subcommand("csv", "");
    const auto add = [this](CLI::App& command, std::initializer_list<const char*> flags) {
      add_config_option(command);
      for (const char* flag : flags) {
        command.add_option("--" + std::string(flag), values[flag]);
      }
    };
    add(*broker, {"journal", "memory", "lease", "broker"});
    add(*consumer, {"db", "text", "broker"});
    add(*csv, {"db", "order", "broker"});
    csv->add_flag("--quiet");
  }
};

using Variables = std::map<std::string, std::string>;

// What the file sets for one subcommand, or nothing if it was refused.
std::optional<Variables> load(const std::string& path, std::vector<std::string> arguments) {
  static Program program;  // nothing of a file stays in it
  arguments.insert(arguments.end(), {"--config", path});
  for (const auto& flag : kFlags) {
    ::unsetenv(environment_name(flag).c_str());
  }
  const auto origins = load_settings(program.app, arguments);
  Variables set;
  for (const auto& flag : kFlags) {
    if (const char* value = std::getenv(environment_name(flag).c_str()); value != nullptr) {
      set[flag] = value;
      ::unsetenv(environment_name(flag).c_str());
    }
  }
  if (!origins) {
    expect(origins.error().code == Errc::bad_input, "a file that is refused is bad input");
    expect(origins.error().what.find(path) != std::string::npos, "and the error names it");
    expect(set.empty(), "and it sets nothing");
    return std::nullopt;
  }
  for (const auto& [flag, value] : set) {
    expect(!value.empty(), "a setting has a value");
    expect(origins->contains(flag), "and where it came from is known");
  }
  return set;
}

void expect_values_read_back(std::string_view text) {
  if (const auto duration = parse_duration(text)) {
    expect(parse_duration(format_duration(*duration)).value() == *duration, "durations read back");
  }
  if (const auto range = parse_duration_range(text)) {
    const auto again = parse_duration_range(format_duration_range(*range));
    expect(again && again->min == range->min && again->max == range->max, "ranges read back");
    expect(range->min <= range->max, "a range does not end before it begins");
  }
  if (const auto bytes = parse_bytes(text)) {
    expect(parse_bytes(format_bytes_exactly(*bytes)).value() == *bytes, "sizes read back");
  }
  static_cast<void>(check_endpoint(text));
}

}  // namespace

void run_one(std::string_view input) {
  const int fd = ::memfd_create("fuzz", MFD_CLOEXEC);
  expect(::write(fd, input.data(), input.size()) == static_cast<ssize_t>(input.size()),
         "the file can be written");
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  const auto broker = load(path, {"broker"});
  const auto consumer = load(path, {"consumer"});
  const auto csv = load(path, {"produce", "csv"});
  ::close(fd);
  expect(broker.has_value() == consumer.has_value() && broker.has_value() == csv.has_value(),
         "a file is good or bad for all subcommands alike");
  if (!broker) {
    expect_values_read_back(input);
    return;
  }
  for (const auto& [flag, value] : *broker) {
    expect(flag != "db" && flag != "text" && flag != "order",
           "a subcommand gets only the flags that it has");
    expect_values_read_back(value);
  }
}

std::vector<std::string> seeds() {
  return {"db = shared.db\nbroker = \"ipc:///tmp/b.sock\"\n\n[broker]\nmemory = 32MiB\n",
          "[produce]\norder = reverse\n[produce.csv]\ndb = 'x y.db' # comment\nquiet = true\n",
          "\xEF\xBB\xBF[consumer]\ntext=out9.txt\nunknown = 1\n",
          "lease = 1s..3s\nlease = 5s\n",
          "[nobody]\nx = 1\n",
          "[broker]\njournal = [1, 2]\n",
          "memory = \"open\n",
          "memory =\n[[broker]]\n++ = 1\n--\n",
          "a.b.c = 1\n[broker.]\n[.]\n[]\n",
          "250ms",
          "1s..3s",
          "64KiB",
          "87600h",
          "18446744073709551615",
          "tcp://127.0.0.1:5555",
          "ipc:///tmp/turnstile.sock"};
}

}  // namespace turnstile::fuzz
