#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/signals.h"
#include "base/utf8.h"
#include "cli/dead_letters.h"
#include "flags/options.h"
#include "link/endpoint.h"

namespace turnstile {
namespace {

using dead_letters::Change;
using dead_letters::Letter;
using dead_letters::Outcome;
using dead_letters::Setting;

struct LetterOptions {
  std::string db;
  std::string broker;
  std::string table;
  std::vector<std::int64_t> ids;
  std::vector<std::string> settings;
  std::chrono::milliseconds timeout{30'000};
  bool all = false;
  bool json = false;
  LogOptions log;
};

int print_failure(const Error& error) {
  print_error(error);
  return exit_code_for(error);
}

Result<std::vector<Letter>> find_all(const check::Database& target,
                                     const std::vector<std::int64_t>& ids) {
  std::vector<Letter> letters;
  for (const std::int64_t id : ids) {
    auto letter = dead_letters::find(target, id);
    if (!letter) {
      return tl::make_unexpected(std::move(letter.error()));
    }
    if (!letter->has_value()) {
      return fail(Errc::refused, fmt::format("there is no dead letter {}", id),
                  "`turnstile dead-letters list` tells which there are");
    }
    letters.push_back(std::move(**letter));
  }
  return letters;
}

int run_list(const LetterOptions& options) {
  auto target = dead_letters::open_target(options.db);
  if (!target) {
    return print_failure(target.error());
  }
  const auto letters = dead_letters::list(*target, options.table);
  if (!letters) {
    return print_failure(letters.error());
  }
  fmt::print("{}",
             options.json ? dead_letters::list_json(*letters) : dead_letters::list_text(*letters));
  return static_cast<int>(ExitCode::done);
}

int run_show(const LetterOptions& options) {
  auto target = dead_letters::open_target(options.db);
  if (!target) {
    return print_failure(target.error());
  }
  const auto letters = find_all(*target, options.ids);
  if (!letters) {
    return print_failure(letters.error());
  }
  const Letter& letter = letters->front();
  fmt::print("{}",
             options.json ? dead_letters::show_json(letter) : dead_letters::show_text(letter));
  return static_cast<int>(ExitCode::done);
}

// The ids that were given, or, with --all, those of all rows (and of the rest as well when they are
// to be thrown away).
Result<std::vector<Letter>> chosen(const LetterOptions& options, bool retry) {
  auto target = dead_letters::open_target(options.db);
  if (!target) {
    return tl::make_unexpected(std::move(target.error()));
  }
  if (!options.all) {
    return find_all(*target, options.ids);
  }
  auto listed = dead_letters::list(*target, options.table);
  if (!listed) {
    return listed;
  }
  std::vector<std::int64_t> ids;
  for (const Letter& letter : *listed) {
    if (!retry || letter.kind == store::schema::LetterKind::row) {
      ids.push_back(letter.id);
    }
  }
  return find_all(*target, ids);
}

Result<std::vector<Change>> changes_for(bool retry, const std::vector<Setting>& settings,
                                        const std::vector<Letter>& letters) {
  std::vector<Change> changes;
  for (const Letter& letter : letters) {
    Change change{letter, std::nullopt};
    if (retry) {
      // The values refer into `letters` and `settings`, which outlive the sending.
      auto row = dead_letters::corrected(letter, settings);
      if (!row) {
        return tl::make_unexpected(std::move(row.error()));
      }
      change.row = std::move(*row);
    }
    changes.push_back(std::move(change));
  }
  return changes;
}

int print_outcomes(const LetterOptions& options, bool retry, const std::vector<Outcome>& outcomes) {
  std::size_t refused = 0;
  auto list = nlohmann::ordered_json::array();
  for (const Outcome& outcome : outcomes) {
    refused += outcome.refused.empty() ? 0 : 1;
    list.push_back(
        {{"id", outcome.id}, {"done", outcome.refused.empty()}, {"reason", outcome.refused}});
    if (!outcome.refused.empty() && !options.json) {
      constexpr std::size_t kReasonShown = 1024;
      fmt::print(options.log.quiet ? stderr : stdout,
                 "dead letter {} was refused again, and is a new one: {}\n", outcome.id,
                 printable(outcome.refused, kReasonShown));
    }
  }
  const std::size_t done = outcomes.size() - refused;
  if (options.json) {
    const nlohmann::ordered_json json{{"done", done}, {"refused", refused}, {"letters", list}};
    fmt::print("{}\n", json.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace));
  } else if (!options.log.quiet) {
    fmt::print("{} {}, {} refused\n", done, retry ? "applied" : "discarded", refused);
  }
  return static_cast<int>(refused == 0 ? ExitCode::done : ExitCode::refused);
}

int run_change(const LetterOptions& options, bool retry) {
  set_up_logging(options.log);
  if (options.all == !options.ids.empty()) {
    return print_failure({Errc::bad_input, "name the dead letters, or all of them with --all", ""});
  }
  std::vector<Setting> settings;
  for (const std::string& text : options.settings) {
    auto setting = dead_letters::parse_setting(text);
    if (!setting) {
      return print_failure(setting.error());
    }
    settings.push_back(std::move(*setting));
  }
  const auto letters = chosen(options, retry);
  if (!letters) {
    return print_failure(letters.error());
  }
  const auto changes = changes_for(retry, settings, *letters);
  if (!changes) {
    return print_failure(changes.error());
  }
  if (changes->empty()) {
    return print_outcomes(options, retry, {});
  }
  auto link = connect_to_broker(options.broker);
  if (!link) {
    return print_failure(link.error());
  }
  const StopSignal stop;
  const auto outcomes = dead_letters::send(**link, *changes,
                                           {.timeout = options.timeout,
                                            .peer = "the broker at " + options.broker,
                                            .interrupted = [&] { return stop.requested(); }});
  if (!outcomes && stop.requested()) {
    print_error(outcomes.error());
    return static_cast<int>(ExitCode::interrupted);
  }
  return outcomes ? print_outcomes(options, retry, *outcomes) : print_failure(outcomes.error());
}

void add_change(CLI::App& group, const std::shared_ptr<LetterOptions>& options, bool retry,
                int& exit_code) {
  CLI::App* command =
      retry ? group.add_subcommand("retry", "Send rows through the queue again, corrected or not")
            : group.add_subcommand("discard", "Throw dead letters away");
  command->add_option("ids", options->ids, "Which dead letters")->type_name("ID");
  command->add_flag("--all", options->all, "All of them, or with --table those of that table");
  command->add_option("--table", options->table, "With --all: only rows of this table");
  if (retry) {
    command
        ->add_option("--set", options->settings,
                     "A value to send instead: NULL, 12, 1.5, x'00ff', or text; 'text' is text")
        ->type_name("COLUMN=VALUE");
  }
  add_db_option(*command, options->db);
  add_broker_option(*command, options->broker);
  add_duration_option(*command, "--timeout", options->timeout,
                      "How long to wait for broker and consumer");
  add_json_flag(*command, options->json);
  add_log_options(*command, options->log);
  add_config_option(*command);
  command->callback([options, retry, &exit_code] { exit_code = run_change(*options, retry); });
}

}  // namespace

void add_dead_letters_command(CLI::App& app, int& exit_code) {
  CLI::App* group = app.add_subcommand(
      "dead-letters", "Rows that the target refused: look at them, send them again, discard them");
  group->require_subcommand(1);
  const auto options = std::make_shared<LetterOptions>();

  CLI::App* list = group->add_subcommand("list", "One line for each dead letter");
  add_db_option(*list, options->db);
  list->add_option("--table", options->table, "Only rows of this table");
  add_json_flag(*list, options->json);
  add_config_option(*list);
  list->callback([options, &exit_code] { exit_code = run_list(*options); });

  CLI::App* show = group->add_subcommand("show", "All that is known of one dead letter");
  show->add_option("id", options->ids, "Which dead letter")
      ->type_name("ID")
      ->required()
      ->expected(1);
  add_db_option(*show, options->db);
  add_json_flag(*show, options->json);
  add_config_option(*show);
  show->callback([options, &exit_code] { exit_code = run_show(*options); });

  add_change(*group, options, true, exit_code);
  add_change(*group, options, false, exit_code);
}

}  // namespace turnstile
