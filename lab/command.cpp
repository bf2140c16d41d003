#include "lab/command.h"

#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "flags/options.h"
#include "lab/json.h"
#include "lab/output.h"
#include "lab/terminal.h"

namespace turnstile {
namespace {

void add_list_command(CLI::App& lab, int& exit_code) {
  const auto json = std::make_shared<bool>(false);
  CLI::App& app = *lab.add_subcommand("list", "The scenarios: what each shows, and its settings");
  add_json_flag(app, *json);
  app.callback([json, &exit_code] {
    fmt::print("{}", *json ? lab::dump(lab::json_of_scenarios()) + '\n'
                           : lab::list_text(lab::style_of(stdout)));
    exit_code = static_cast<int>(ExitCode::done);
  });
}

}  // namespace

void add_lab_command(CLI::App& app, int& exit_code) {
  CLI::App& lab = *app.add_subcommand(
      "lab", "Run the same work direct and through the broker, and see who waits for the lock");
  lab.require_subcommand(1);
  add_list_command(lab, exit_code);
  lab::add_run_command(lab, exit_code);
  lab::add_replay_command(lab, exit_code);
  lab::add_serve_command(lab, exit_code);
  lab::add_worker_command(lab, exit_code);
}

}  // namespace turnstile
