#include "broker/command.h"

#include <algorithm>
#include <memory>
#include <string_view>

#include <CLI/CLI.hpp>
#include <spdlog/spdlog.h>

#include "base/counted.h"
#include "base/signals.h"
#include "flags/banner.h"
#include "flags/options.h"

namespace turnstile {
namespace {

struct BrokerCommand {
  BrokerFlags flags;
  LogOptions log;
};

int serve(const BrokerCommand& command) {
  const HangupSignal hangup;
  auto files = broker_files(command.flags);
  files.push_back(plain_role("--log-file", command.log.file));
  const auto ready =
      check_distinct(files).and_then([&] { return set_up_logging_to_file(command.log); });
  if (!ready) {
    print_error(ready.error());
    return exit_code_for(ready.error());
  }
  const StopSignal stop;
  auto broker = broker::Broker::start(broker_options(command.flags));
  if (!broker) {
    print_error(broker.error());
    return exit_code_for(broker.error());
  }
  log_banner("broker",
             {{"listens on", (*broker)->endpoint()},
              {"journal", (*broker)->journal().path().string()},
              {"batches in the journal", std::to_string((*broker)->journal().batches())}});
  log_broker_notes(**broker);
  if (auto served = (*broker)->run(stop.fd()); !served) {
    print_error(served.error());
    return exit_code_for(served.error());
  }
  spdlog::info("broker stopped; the journal holds {}",
               counted((*broker)->journal().batches(), "batch", "batches"));
  return static_cast<int>(ExitCode::done);
}

}  // namespace

broker::BrokerOptions broker_options(const BrokerFlags& flags) {
  broker::BrokerOptions options;
  options.endpoint = flags.endpoint;
  options.journal = {flags.journal_file, flags.journal_limit, {}};
  options.core.lease = flags.lease;
  options.core.window.memory_bytes = flags.memory;
  options.core.window.consumer_credit_bytes =
      std::min(options.core.window.consumer_credit_bytes, std::size_t{flags.memory} / 4);
  return options;
}

std::vector<FileRole> broker_files(const BrokerFlags& flags) {
  return {socket_role("--broker", flags.endpoint),
          journal_role("--journal-file", flags.journal_file)};
}

void log_broker_notes(const broker::Broker& broker) {
  if (const auto format = broker.journal().migrated_from()) {
    spdlog::info("the journal was migrated from format {}", *format);
  }
  const std::string_view endpoint = broker.endpoint();
  if (endpoint.starts_with("tcp://") && !endpoint.starts_with("tcp://127.") &&
      !endpoint.starts_with("tcp://[::1]")) {
    spdlog::warn("any client that can reach {} can write to the target: there is no password",
                 endpoint);
  }
}

void add_broker_flags(CLI::App& app, BrokerFlags& flags) {
  add_listen_option(app, flags.endpoint);
  app.add_option("--journal-file", flags.journal_file, "Store waiting batches in this file")
      ->capture_default_str();
  add_bytes_option(app, "--journal-limit", flags.journal_limit,
                   "Keep at most this much in the journal; at the limit producers wait");
  add_bytes_option(app, "--memory", flags.memory,
                   "Keep at most this much in memory; the rest goes to the journal")
      ->check([](const std::string& text) {
        const auto bytes = parse_bytes(text);
        return bytes && *bytes < 2 * limits::kRowsBytes
                   ? "must be at least " + format_bytes_exactly(2 * limits::kRowsBytes)
                   : std::string();
      });
  add_duration_option(app, "--lease", flags.lease,
                      "A standby takes over from a consumer silent for longer");
}

void add_broker_command(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<BrokerCommand>();
  CLI::App* broker = app.add_subcommand("broker",
                                        "Take rows from producers, keep them until they "
                                        "are applied, hand them to the consumer");
  add_broker_flags(*broker, command->flags);
  add_mode_option(*broker);
  add_log_options(*broker, command->log);
  add_log_file_option(*broker, command->log);
  add_config_option(*broker);
  broker->callback([command, &exit_code] { exit_code = serve(*command); });
}

}  // namespace turnstile
