#include "broker/command.h"

#include <memory>
#include <string>

#include <spdlog/spdlog.h>

#include "broker/broker.h"
#include "cli/banner.h"
#include "cli/options.h"
#include "cli/signals.h"

namespace turnstile {
namespace {

struct BrokerFlags {
  std::string endpoint;
  std::string journal_file = "turnstile-journal.db";
  std::uint64_t journal_limit = broker::JournalOptions{}.limit_bytes;
  std::uint64_t memory = broker::WindowOptions{}.memory_bytes;
  std::chrono::milliseconds lease = broker::CoreOptions{}.lease;
  LogOptions log;
};

int serve(const BrokerFlags& options) {
  set_up_logging(options.log);
  const StopSignal stop;
  broker::BrokerOptions broker_options;
  broker_options.endpoint = options.endpoint;
  broker_options.journal = {options.journal_file, options.journal_limit, {}};
  broker_options.core.lease = options.lease;
  broker_options.core.window.memory_bytes = options.memory;
  broker_options.core.window.consumer_credit_bytes =
      std::min(broker_options.core.window.consumer_credit_bytes, std::size_t{options.memory} / 4);
  auto broker = broker::Broker::start(std::move(broker_options));
  if (!broker) {
    print_error(broker.error());
    return exit_code_for(broker.error());
  }
  log_banner("broker",
             {{"listens on", (*broker)->endpoint()},
              {"journal", (*broker)->journal().path().string()},
              {"batches in the journal", std::to_string((*broker)->journal().batches())}});
  if (const auto format = (*broker)->journal().migrated_from()) {
    spdlog::info("the journal had format {}; it was migrated to the present one", *format);
  }
  if (options.endpoint.starts_with("tcp://") && !options.endpoint.starts_with("tcp://127.") &&
      !options.endpoint.starts_with("tcp://[::1]")) {
    spdlog::warn("whoever can reach {} can write to the target; nothing asks for a password",
                 (*broker)->endpoint());
  }
  if (auto served = (*broker)->run(stop.fd()); !served) {
    print_error(served.error());
    return exit_code_for(served.error());
  }
  spdlog::info("broker stopped; {} batches wait in the journal", (*broker)->journal().batches());
  return static_cast<int>(ExitCode::done);
}

}  // namespace

void add_broker_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<BrokerFlags>();
  CLI::App* command = app.add_subcommand("broker",
                                         "Take rows from producers, keep them until they "
                                         "are applied, hand them to the consumer");
  add_broker_option(*command, options->endpoint);
  command
      ->add_option("--journal-file", options->journal_file,
                   "The broker's durable store of batches that wait")
      ->capture_default_str();
  add_bytes_option(*command, "--journal-limit", options->journal_limit,
                   "Batches that may wait in the journal; at the limit producers wait");
  add_bytes_option(*command, "--memory", options->memory,
                   "Batches that may be held in memory; beyond it they go to the journal")
      ->check([](const std::string& text) {
        const auto bytes = parse_bytes(text);
        return bytes && *bytes < 2 * limits::kRowsBytes
                   ? "must be at least " + format_bytes_exactly(2 * limits::kRowsBytes)
                   : std::string();
      });
  add_duration_option(*command, "--lease", options->lease,
                      "A consumer silent for longer loses its place to one that stands by");
  add_log_options(*command, options->log);
  add_config_option(*command);
  command->callback([options, &exit_code] { exit_code = serve(*options); });
}

}  // namespace turnstile
