#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "flags/options.h"
#include "inspect/check.h"

namespace turnstile {
namespace {

struct Options {
  std::string db;
  std::string journal;
  std::string text;
  std::vector<std::string> ledgers;
  bool exclusive = false;
  bool json = false;
  bool quiet = false;
};

int run_check(const Options& options) {
  check::CheckOptions wanted;
  wanted.target = options.db;
  wanted.journal = options.journal;
  wanted.text_log = options.text;
  wanted.ledgers.assign(options.ledgers.begin(), options.ledgers.end());
  wanted.exclusive = options.exclusive;
  const auto report = check::check(wanted);
  if (!report) {
    print_error(report.error());
    return exit_code_for(report.error());
  }
  if (options.quiet && !options.json) {
    fmt::print(stderr, "{}", check::problems_text(*report));
  } else {
    fmt::print("{}", options.json ? check::json_report(*report) : check::text_report(*report));
  }
  return static_cast<int>(report->problem_count == 0 ? ExitCode::done : ExitCode::refused);
}

}  // namespace

void add_check_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand(
      "check", "Prove from the files that nothing was lost and nothing came twice");
  const auto options = std::make_shared<Options>();
  add_db_option(*command, options->db);
  command->add_option("--journal-file", options->journal, "The broker's journal")
      ->type_name("FILE");
  add_text_option(*command, options->text);
  command
      ->add_option("--ledger", options->ledgers,
                   "Acknowledgements that a program kept, a JSON object a line (see "
                   "inspect/check_ledger.h); may be repeated")
      ->type_name("FILE");
  command->add_flag("--exclusive", options->exclusive,
                    "Nothing but turnstile ever wrote the target's tables, which began empty: they "
                    "must have as many rows as were applied");
  add_json_flag(*command, options->json);
  command->add_flag("--quiet", options->quiet, "Print nothing but what is wrong");
  add_config_option(*command);
  command->callback([options, &exit_code] { exit_code = run_check(*options); });
}

}  // namespace turnstile
