#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "broker/broker.h"
#include "flags/cli11.h"
#include "flags/paths.h"

namespace turnstile {

// Flags of `turnstile broker`.
struct BrokerFlags {
  std::string endpoint;
  std::string journal_file = "turnstile-journal.db";
  std::uint64_t journal_limit = broker::JournalOptions{}.limit_bytes;
  std::uint64_t memory = broker::WindowOptions{}.memory_bytes;
  std::chrono::milliseconds lease = broker::CoreOptions{}.lease;
};

// `flags` must outlive the parse.
void add_broker_flags(CLI::App& app, BrokerFlags& flags);
broker::BrokerOptions broker_options(const BrokerFlags& flags);
std::vector<FileRole> broker_files(const BrokerFlags& flags);
// Logs a migrated journal, and an endpoint that others can reach.
void log_broker_notes(const broker::Broker& broker);

// `turnstile broker`. The command's exit code goes to `exit_code`, which must outlive the parse.
void add_broker_command(CLI::App& app, int& exit_code);
// `turnstile status`
void add_status_command(CLI::App& app, int& exit_code);

}  // namespace turnstile
