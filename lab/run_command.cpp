#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/signals.h"
#include "flags/banner.h"
#include "flags/options.h"
#include "lab/command.h"
#include "lab/json.h"
#include "lab/output.h"
#include "lab/picture.h"
#include "lab/report.h"
#include "lab/runner.h"
#include "lab/scenario.h"

namespace turnstile::lab {
namespace {

struct RunFlags {
  std::vector<std::string> names;
  std::vector<std::string> modes;
  Settings settings;
  std::map<Setting, CLI::Option*> given;
  bool json = false;
  std::string report;
  std::string svg;
  std::string events;
  std::string out = ".";
  bool overwrite = false;
};

// The scenarios whose log is saved, and the file names.
const std::map<std::string, std::string>& documents() {
  static const std::map<std::string, std::string> names{{"quick", "out0.txt"},
                                                        {"slow", "out3.txt"}};
  return names;
}

Settings settings_for(const Scenario& scenario, const RunFlags& flags) {
  Settings settings = scenario.settings;
  const auto is_given = [&](Setting setting) {
    return scenario.adjusts(setting) && flags.given.at(setting)->count() > 0;
  };
  if (is_given(Setting::processes)) {
    settings.processes = flags.settings.processes;
  }
  if (is_given(Setting::rows)) {
    settings.rows = flags.settings.rows;
  }
  if (is_given(Setting::task_duration)) {
    settings.task_duration = flags.settings.task_duration;
  }
  if (is_given(Setting::busy_timeout)) {
    settings.busy_timeout = flags.settings.busy_timeout;
  }
  if (is_given(Setting::journal)) {
    settings.journal = flags.settings.journal;
  }
  if (is_given(Setting::begin)) {
    settings.begin = flags.settings.begin;
  }
  return settings;
}

Result<std::vector<const Scenario*>> chosen(const RunFlags& flags) {
  std::vector<const Scenario*> all;
  for (const auto& name : flags.names) {
    auto found = find_scenario(name);
    if (!found) {
      return tl::make_unexpected(found.error());
    }
    all.push_back(*found);
  }
  if (all.empty()) {
    all = default_scenarios();
  }
  for (const auto& [setting, option] : flags.given) {
    const bool matters = std::any_of(
        all.begin(), all.end(), [s = setting](const Scenario* one) { return one->adjusts(s); });
    if (option->count() > 0 && !matters) {
      std::vector<std::string_view> names;
      names.reserve(all.size());
      for (const Scenario* one : all) {
        names.push_back(one->name);
      }
      return fail(
          Errc::bad_input,
          fmt::format("{} changes nothing in {}", info_of(setting).flag, fmt::join(names, ", ")),
          "`turnstile lab list` shows the settings of each scenario");
    }
  }
  for (const Scenario* scenario : all) {
    if (auto checked = check_settings(*scenario, settings_for(*scenario, flags)); !checked) {
      return tl::make_unexpected(checked.error());
    }
  }
  return all;
}

std::vector<Mode> modes_of(const Scenario& scenario, const RunFlags& flags) {
  std::vector<Mode> modes;
  for (const Mode mode : scenario.modes) {
    if (flags.modes.empty() ||
        std::find(flags.modes.begin(), flags.modes.end(), name_of(mode)) != flags.modes.end()) {
      modes.push_back(mode);
    }
  }
  return modes;
}

// Shows the current run on a terminal.
class Progress {
 public:
  Progress() : is_on_(::isatty(STDERR_FILENO) == 1) {}
  void show(const std::string& text) {
    if (is_on_) {
      fmt::print(stderr, "\r\x1b[K{}", text);
      std::fflush(stderr);
    }
  }
  void clear() { show(""); }

 private:
  bool is_on_;
};

// The timestamp format of the log's lines.
std::string log_stamp() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch());
  std::tm local{};
  ::localtime_r(&seconds, &local);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &local);
  return fmt::format("{},{:03}", text.data(), ms.count() % 1000);
}

std::string banner_of(const Scenario& scenario, Mode mode, const Settings& settings) {
  std::string text;
  const std::string stamp = log_stamp();
  for (const auto& line :
       banner_lines("lab", {{"scenario", std::string(scenario.name)},
                            {"mode", std::string(title_of(mode))},
                            {"task duration", format_duration(settings.task_duration)},
                            {"busy timeout", format_duration(settings.busy_timeout)}})) {
    text += fmt::format("{} - INFO -   {}\n", stamp, line);
  }
  return text;
}

struct ScenarioRun {
  std::vector<Outcome> outcomes;
  std::string events;
  std::string log;
};

Result<ScenarioRun> run_scenario(const Scenario& scenario, const RunFlags& flags,
                                 const StopSignal& stop, Progress& progress) {
  ScenarioRun done;
  const Settings settings = settings_for(scenario, flags);
  for (const Mode mode : modes_of(scenario, flags)) {
    if (stop.requested()) {
      break;
    }
    done.log += banner_of(scenario, mode, settings);
    Watcher watcher;
    std::size_t seen = 0;
    watcher.on_events = [&](std::span<const Event> events) {
      seen += events.size();
      progress.show(fmt::format("{}, {}: {} events", scenario.name, name_of(mode), seen));
    };
    auto ran = run_plan(make_plan(scenario, mode, settings), stop.fd(), watcher);
    if (!ran) {
      return tl::make_unexpected(ran.error());
    }
    done.events += ran->events;
    done.log += ran->log;
    done.outcomes.push_back(evaluate(std::move(ran->recording)));
  }
  progress.clear();
  return done;
}

// On stderr, because stdout holds the result.
void say_written(const std::string& path) {
  fmt::print(stderr, "wrote {}\n", path);
}

Result<void> save_documents(const Scenario& scenario, const ScenarioRun& run,
                            const RunFlags& flags) {
  const auto document = documents().find(std::string(scenario.name));
  if (document == documents().end()) {
    return {};
  }
  const std::filesystem::path path = std::filesystem::path(flags.out) / document->second;
  auto written = flags.overwrite ? save(path.string(), run.log).map([&] { return path.string(); })
                                 : save_beside(path, run.log);
  if (!written) {
    return tl::make_unexpected(written.error());
  }
  say_written(*written);
  return {};
}

Result<int> run_all(const RunFlags& flags) {
  auto scenarios = chosen(flags);
  if (!scenarios) {
    return tl::make_unexpected(scenarios.error());
  }
  if (!flags.svg.empty()) {
    if (auto checked = check_one_scenario(scenarios->size()); !checked) {
      return tl::make_unexpected(checked.error());
    }
  }
  const StopSignal stop;
  Progress progress;
  std::vector<std::vector<Outcome>> all;
  if (!flags.events.empty()) {
    if (auto begun = save(flags.events, ""); !begun) {
      return tl::make_unexpected(begun.error());
    }
  }
  for (const Scenario* scenario : *scenarios) {
    if (stop.requested()) {
      break;
    }
    auto run = run_scenario(*scenario, flags, stop, progress);
    if (!run) {
      return tl::make_unexpected(run.error());
    }
    if (run->outcomes.empty()) {
      continue;
    }
    if (!flags.json) {
      fmt::print("{}{}", all.empty() ? "" : "\n", text_of(run->outcomes, style_of(stdout)));
      std::fflush(stdout);
    }
    auto saved = save_documents(*scenario, *run, flags);
    if (saved && !flags.events.empty()) {
      saved = save(flags.events, run->events, true);
    }
    if (!saved) {
      return tl::make_unexpected(saved.error());
    }
    all.push_back(std::move(run->outcomes));
  }
  if (!flags.events.empty()) {
    say_written(flags.events);
  }
  if (flags.json) {
    fmt::print("{}", json_text(all));
    std::fflush(stdout);
  }
  if (!flags.report.empty()) {
    if (auto saved = save(flags.report, report_html(all_of(all))); !saved) {
      return tl::make_unexpected(saved.error());
    }
    say_written(flags.report);
  }
  if (!flags.svg.empty() && !all.empty()) {
    if (auto saved = save(flags.svg, picture_svg(all.front())); !saved) {
      return tl::make_unexpected(saved.error());
    }
    say_written(flags.svg);
  }
  return stop.requested() ? static_cast<int>(ExitCode::interrupted) : exit_code_of(all);
}

void add_settings(CLI::App& app, RunFlags& flags) {
  for (const SettingInfo& info : all_settings()) {
    const std::string flag(info.flag);
    const std::string help = fmt::format("{}; default: the scenario's own", info.title);
    CLI::Option* option = nullptr;
    switch (info.setting) {
      case Setting::processes:
        option = app.add_option(flag, flags.settings.processes, help);
        break;
      case Setting::rows:
        option = app.add_option(flag, flags.settings.rows, help);
        break;
      case Setting::task_duration:
        option = add_duration_option(app, flag, flags.settings.task_duration, help);
        break;
      case Setting::busy_timeout:
        option = add_duration_option(app, flag, flags.settings.busy_timeout, help);
        break;
      case Setting::journal:
        option = app.add_option(flag, flags.settings.journal, help);
        break;
      case Setting::begin:
        option = app.add_option(flag, flags.settings.begin, help);
        break;
    }
    if (!info.choices.empty()) {
      option->check(
          CLI::IsMember(std::vector<std::string>(info.choices.begin(), info.choices.end())));
    }
    option->default_str("");
    flags.given[info.setting] = option;
  }
}

}  // namespace

void add_run_command(CLI::App& lab, int& exit_code) {
  const auto flags = std::make_shared<RunFlags>();
  CLI::App& app = *lab.add_subcommand(
      "run", "Run scenarios, direct and through the queue, and explain what happened");
  app.add_option("NAME", flags->names,
                 "Scenarios from `turnstile lab list`; default: those that together take under a "
                 "minute");
  app.add_option("--mode", flags->modes, "Run only these modes")
      ->check(CLI::IsMember({"direct", "immediate", "queued"}));
  add_settings(app, *flags);
  add_json_flag(app, flags->json);
  app.add_option("--report", flags->report, "Write a report: one HTML file")->type_name("FILE");
  app.add_option("--svg", flags->svg, "Draw the lanes of one scenario: one SVG file")
      ->type_name("FILE");
  app.add_option("--events", flags->events, "Save the events, for `turnstile lab replay`")
      ->type_name("FILE");
  app.add_option(
         "--out", flags->out,
         "Write out0.txt (quick) and out3.txt (slow) here; if one exists, out0-2.txt and so "
         "on")
      ->type_name("DIR")
      ->capture_default_str();
  app.add_flag("--overwrite", flags->overwrite, "Replace an existing out0.txt or out3.txt");
  add_config_option(app);
  app.callback([flags, &exit_code] {
    auto done = run_all(*flags);
    if (!done) {
      print_error(done.error());
    }
    exit_code = done ? *done : exit_code_for(done.error());
  });
}

}  // namespace turnstile::lab
