#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "flags/options.h"
#include "lab/command.h"
#include "lab/output.h"
#include "lab/picture.h"
#include "lab/recording.h"
#include "lab/report.h"

namespace turnstile::lab {
namespace {

struct ReplayFlags {
  std::string file;
  bool json = false;
  std::string report;
  std::string svg;
};

// Groups adjacent runs of the same scenario.
std::vector<std::vector<Outcome>> by_scenario(std::vector<Recording> recordings) {
  std::vector<std::vector<Outcome>> scenarios;
  for (Recording& recording : recordings) {
    const bool is_new = scenarios.empty() ||
                        scenarios.back().front().recording.run.scenario != recording.run.scenario;
    if (is_new) {
      scenarios.emplace_back();
    }
    scenarios.back().push_back(evaluate(std::move(recording)));
  }
  return scenarios;
}

Result<int> replay(const ReplayFlags& flags) {
  auto recordings = read_recordings(flags.file);
  if (!recordings) {
    return tl::make_unexpected(recordings.error());
  }
  const auto scenarios = by_scenario(std::move(*recordings));
  if (!flags.svg.empty()) {
    if (auto checked = check_one_scenario(scenarios.size()); !checked) {
      return tl::make_unexpected(checked.error());
    }
  }
  if (flags.json) {
    fmt::print("{}", json_text(scenarios));
  } else {
    const TextStyle style = style_of(stdout);
    for (const auto& outcomes : scenarios) {
      fmt::print("{}{}", &outcomes == &scenarios.front() ? "" : "\n", text_of(outcomes, style));
    }
  }
  std::fflush(stdout);
  if (!flags.report.empty()) {
    if (auto saved = save(flags.report, report_html(all_of(scenarios))); !saved) {
      return tl::make_unexpected(saved.error());
    }
  }
  if (!flags.svg.empty()) {
    if (auto saved = save(flags.svg, picture_svg(scenarios.front())); !saved) {
      return tl::make_unexpected(saved.error());
    }
  }
  return exit_code_of(scenarios);
}

}  // namespace

void add_replay_command(CLI::App& lab, int& exit_code) {
  const auto flags = std::make_shared<ReplayFlags>();
  CLI::App& app = *lab.add_subcommand("replay", "Show again what `lab run --events FILE` recorded");
  app.add_option("FILE", flags->file, "The recorded events")->required();
  add_json_flag(app, flags->json);
  app.add_option("--report", flags->report, "Write a report: one HTML file")->type_name("FILE");
  app.add_option("--svg", flags->svg, "Draw the lanes of one scenario: one SVG file")
      ->type_name("FILE");
  add_config_option(app);
  app.callback([flags, &exit_code] {
    auto done = replay(*flags);
    if (!done) {
      print_error(done.error());
    }
    exit_code = done ? *done : exit_code_for(done.error());
  });
}

}  // namespace turnstile::lab
