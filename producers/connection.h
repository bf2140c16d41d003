// What `produce pets` and `produce csv` share: the flags that choose where rows go, and the link
// that these flags describe.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "client/producer.h"
#include "flags/cli11.h"
#include "flags/options.h"
#include "link/link.h"
#include "producers/report.h"
#include "producers/stopping.h"
#include "store/direct_writer.h"

namespace turnstile {

struct ConnectionFlags {
  std::string broker;
  std::string db;
  std::string text;
  std::string text_table = store::DirectOptions{}.text_table;
  bool direct = false;
  std::chrono::milliseconds busy_timeout{5000};
  std::string journal = "delete";
  std::string begin = "deferred";
  std::chrono::milliseconds timeout{0};
  CLI::Option* timeout_option = nullptr;  // whether --timeout was given
  std::string ledger;                     // empty: none
  bool no_spin = false;
  bool json = false;
  LogOptions log;
};

void add_connection_flags(CLI::App& app, ConnectionFlags& flags);

// A link to the broker, or in direct mode one that writes --db. Errors: those of connect_to_broker,
// and of DirectLink::try_open for these rows.
Result<std::unique_ptr<Link>> open_link(const ConnectionFlags& flags, const Stopping& stopping,
                                        bool reopen_for_each, const std::string& table,
                                        const std::vector<std::string>& columns);

// Sets the timeout, names in messages, and lines in the log. `stopping` must outlive the producer.
ProducerOptions producer_options(const ConnectionFlags& flags, const Stopping& stopping,
                                 ProducerId id);

// Wrong usage that the parser cannot see; empty if there is none. Errors: bad_input.
Result<void> check_flags(const ConnectionFlags& flags);

// With --ledger, writes every acknowledgement to it. Errors: those of Ledger::open.
Result<void> keep_ledger(const ConnectionFlags& flags, ProducerOptions& options);

// A seed that differs between processes.
std::uint64_t random_seed();

// Prints the report to stdout (only JSON with --quiet) and the failure to stderr. Returns the exit
// code.
int print_report(const Report& report, bool json, bool quiet);

int print_usage_error(const std::string& what, const std::string& hint);

}  // namespace turnstile
