#include "consumer/command.h"

#include <memory>
#include <string>

#include <spdlog/spdlog.h>

#include "cli/banner.h"
#include "cli/options.h"
#include "cli/signals.h"
#include "consumer/consumer.h"
#include "link/zmq_dealer.h"

namespace turnstile {
namespace {

struct ConsumerFlags {
  std::string endpoint;
  std::string db;
  std::string text;
  std::string text_table = store::TargetOptions{}.text_table;
  std::chrono::milliseconds busy_timeout = store::TargetOptions{}.busy_timeout;
  std::chrono::milliseconds keep_progress = store::TargetOptions{}.keep_progress;
  LogOptions log;
};

int consume(const ConsumerFlags& options) {
  set_up_logging(options.log);
  const StopSignal stop;
  consumer::ConsumerOptions consumer_options;
  consumer_options.target.path = options.db;
  consumer_options.target.text_path = options.text;
  consumer_options.target.text_table = options.text_table;
  consumer_options.target.busy_timeout = options.busy_timeout;
  consumer_options.target.keep_progress =
      std::chrono::duration_cast<std::chrono::hours>(options.keep_progress);
  auto link = ZmqDealer::connect(options.endpoint);
  if (!link) {
    print_error(link.error());
    return exit_code_for(link.error());
  }
  log_banner("consumer", {{"broker", options.endpoint},
                          {"target", options.db},
                          {"text log", options.text.empty() ? "none" : options.text}});
  consumer::Consumer consumer(**link, std::move(consumer_options),
                              [&stop] { return stop.requested(); });
  if (auto ran = consumer.run(); !ran) {
    print_error(ran.error());
    return exit_code_for(ran.error());
  }
  spdlog::info("consumer stopped");
  return static_cast<int>(ExitCode::done);
}

}  // namespace

void add_consumer_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<ConsumerFlags>();
  CLI::App* command = app.add_subcommand(
      "consumer", "Apply the rows that a broker holds to one SQLite file, each exactly once");
  add_broker_option(*command, options->endpoint);
  add_db_option(*command, options->db);
  add_text_option(*command, options->text);
  command->add_option("--text-table", options->text_table, "The table whose rows --text shows")
      ->capture_default_str();
  add_duration_option(*command, "--busy-timeout", options->busy_timeout,
                      "How long to wait for another program that holds the target");
  add_duration_option(*command, "--keep-progress", options->keep_progress,
                      "A producer idle for longer is forgotten");
  add_log_options(*command, options->log);
  add_config_option(*command);
  command->callback([options, &exit_code] { exit_code = consume(*options); });
}

}  // namespace turnstile
