// turnstile: many processes, one SQLite file, no "database is locked".
#include <CLI/CLI.hpp>

#include "broker/command.h"
#include "cli/check.h"
#include "cli/config.h"
#include "cli/dead_letters.h"
#include "cli/doctor.h"
#include "consumer/command.h"
#include "generated/version.h"
#include "producers/command.h"

int main(int argc, char** argv) {
  using namespace turnstile;
  CLI::App app("Many processes, one SQLite file, no \"database is locked\".", "turnstile");
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  int exit_code = 0;
  add_broker_command(app, exit_code);
  add_consumer_command(app, exit_code);
  add_produce_command(app, exit_code);
  add_status_command(app, exit_code);
  add_check_command(app, exit_code);
  add_dead_letters_command(app, exit_code);
  add_doctor_command(app, exit_code);
  return run_command_line(app, argc, argv, exit_code);
}
