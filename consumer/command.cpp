#include "consumer/command.h"

#include <memory>
#include <utility>

#include <CLI/CLI.hpp>
#include <spdlog/spdlog.h>

#include "cli/banner.h"
#include "cli/options.h"
#include "cli/signals.h"
#include "link/endpoint.h"

namespace turnstile {
namespace {

struct ConsumerCommand {
  std::string endpoint;
  ConsumerFlags flags;
  LogOptions log;
};

int consume(const ConsumerCommand& command) {
  set_up_logging(command.log);
  const StopSignal stop;
  auto link = connect_to_broker(command.endpoint);
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

consumer::ConsumerOptions consumer_options(const ConsumerFlags& flags) {
  consumer::ConsumerOptions options;
  options.target.path = flags.db;
  options.target.text_path = flags.text;
  options.target.text_table = flags.text_table;
  options.target.busy_timeout = flags.busy_timeout;
  options.target.keep_progress =
      std::chrono::duration_cast<std::chrono::hours>(flags.keep_progress);
  options.target.allow_task_duration = flags.allow_task_duration;
  options.events = lab::EventSink::from_environment();
  return options;
}

void add_consumer_flags(CLI::App& app, ConsumerFlags& flags) {
  add_db_option(app, flags.db);
  add_text_option(app, flags.text);
  app.add_option("--text-table", flags.text_table, "The table whose rows --text shows")
      ->capture_default_str();
  add_duration_option(app, "--busy-timeout", flags.busy_timeout,
                      "How long to wait for another program that holds the target");
  add_duration_option(app, "--keep-progress", flags.keep_progress,
                      "A producer idle for longer is forgotten");
  app.add_flag("--allow-task-duration", flags.allow_task_duration,
               "Let rows hold the target open (produce pets --task-duration), which makes all others "
               "wait; for lessons");
}

void add_consumer_command(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<ConsumerCommand>();
  CLI::App* consumer = app.add_subcommand(
      "consumer", "Apply the rows that a broker holds to one SQLite file, each exactly once");
  add_broker_option(*consumer, command->endpoint);
  add_consumer_flags(*consumer, command->flags);
  add_mode_option(*consumer);
  add_log_options(*consumer, command->log);
  add_config_option(*consumer);
  consumer->callback([command, &exit_code] { exit_code = consume(*command); });
}

}  // namespace turnstile
