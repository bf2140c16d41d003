#include "consumer/command.h"

#include <memory>
#include <utility>

#include <CLI/CLI.hpp>
#include <spdlog/spdlog.h>

#include "base/signals.h"
#include "flags/banner.h"
#include "flags/options.h"
#include "link/endpoint.h"

namespace turnstile {
namespace {

struct ConsumerCommand {
  std::string endpoint;
  ConsumerFlags flags;
  bool no_spin = false;
  LogOptions log;
};

int consume(const ConsumerCommand& command) {
  const HangupSignal hangup;
  const auto ready =
      check_consumer_files(command.flags, {plain_role("--log-file", command.log.file),
                                           socket_role("--broker", command.endpoint)})
          .and_then([&] { return set_up_logging_to_file(command.log); });
  if (!ready) {
    print_error(ready.error());
    return exit_code_for(ready.error());
  }
  const StopSignal stop;
  auto link = connect_to_broker(command.endpoint, command.no_spin ? Spin::never : Spin::briefly);
  if (!link) {
    print_error(link.error());
    return exit_code_for(link.error());
  }
  const ConsumerFlags& flags = command.flags;
  log_banner("consumer", {{"broker", command.endpoint},
                          {"target", flags.db},
                          {"text log", flags.text.empty() ? "none" : flags.text}});
  consumer::Consumer consumer(**link, consumer_options(flags),
                              [&stop] { return stop.requested(); });
  if (auto ran = consumer.run(); !ran) {
    print_error(ran.error());
    return exit_code_for(ran.error());
  }
  spdlog::info("consumer stopped");
  return static_cast<int>(ExitCode::done);
}

}  // namespace

Result<void> check_consumer_files(const ConsumerFlags& flags, std::vector<FileRole> others) {
  others.push_back(database_role("--db", flags.db));
  others.push_back(plain_role("--text", flags.text));
  return check_distinct(others).and_then(
      [&] { return flags.text.empty() ? Result<void>() : store::check_text_path(flags.text); });
}

consumer::ConsumerOptions consumer_options(const ConsumerFlags& flags) {
  consumer::ConsumerOptions options;
  options.target.path = flags.db;
  options.new_target = flags.new_target;
  options.target.text_path = flags.text;
  options.target.text_table = flags.text_table;
  options.target.text_rotated = flags.text_rotated == "whole" ? store::TextRotated::whole_table
                                                              : store::TextRotated::next_row;
  options.target.busy_timeout = flags.busy_timeout;
  options.target.keep_progress =
      std::chrono::duration_cast<std::chrono::hours>(flags.keep_progress);
  options.target.allow_task_duration = flags.allow_task_duration;
  options.reopens_asked = hangups;
  options.target.row_time_limit = flags.row_time_limit;
  options.target.dead_letter_limit = flags.dead_letter_limit;
  if (!flags.foreign_keys.empty()) {
    options.target.foreign_keys =
        flags.foreign_keys == "on" ? store::ForeignKeys::on : store::ForeignKeys::off;
  }
  options.events = EventSink::from_environment();
  return options;
}

void add_consumer_flags(CLI::App& app, ConsumerFlags& flags) {
  add_db_option(app, flags.db);
  app.add_flag("--new-target", flags.new_target,
               "Let the broker's rows go to --db from now on, though they were for another file");
  add_text_option(app, flags.text);
  app.add_option("--text-table", flags.text_table, "The table whose rows --text shows")
      ->capture_default_str();
  app.add_option("--text-rotated", flags.text_rotated,
                 "When --text was moved, deleted or cut: the new file begins with the next row "
                 "(new), or holds the whole table (whole)")
      ->check(CLI::IsMember({"new", "whole"}))
      ->capture_default_str();
  add_duration_option(app, "--busy-timeout", flags.busy_timeout,
                      "How long to wait for another program that holds the target");
  add_duration_option(app, "--keep-progress", flags.keep_progress,
                      "A producer idle for longer is forgotten");
  app.add_flag(
      "--allow-task-duration", flags.allow_task_duration,
      "Let rows hold the target open (produce pets --task-duration), which makes all others "
      "wait; for lessons");
  add_duration_option(app, "--row-time-limit", flags.row_time_limit,
                      "A row whose triggers and checks take longer becomes a dead letter; 0: none");
  add_bytes_option(app, "--dead-letter-limit", flags.dead_letter_limit,
                   "Space of all dead letters; a producer whose own would take more than is left "
                   "is stopped");
  app.add_option("--foreign-keys", flags.foreign_keys,
                 "Whether rows must obey foreign keys; without it: on, unless an older Turnstile "
                 "made this file its target")
      ->check(CLI::IsMember({"on", "off"}));
}

void add_consumer_command(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<ConsumerCommand>();
  CLI::App* consumer = app.add_subcommand(
      "consumer", "Apply the rows that a broker holds to one SQLite file, each exactly once");
  add_broker_option(*consumer, command->endpoint);
  add_no_spin_flag(*consumer, command->no_spin);
  add_consumer_flags(*consumer, command->flags);
  add_mode_option(*consumer);
  add_log_options(*consumer, command->log);
  add_log_file_option(*consumer, command->log);
  add_config_option(*consumer);
  consumer->callback([command, &exit_code] { exit_code = consume(*command); });
}

}  // namespace turnstile
