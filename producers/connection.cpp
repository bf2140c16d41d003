#include "producers/connection.h"

#include <unistd.h>

#include <cstdio>
#include <random>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/utf8.h"
#include "client/ledger.h"
#include "flags/paths.h"
#include "link/endpoint.h"
#include "producers/direct_link.h"
#include "store/text_file.h"

namespace turnstile {
namespace {

constexpr std::chrono::milliseconds kScriptTimeout{30'000};

store::DirectOptions direct_options(const ConnectionFlags& flags, const Stopping& stopping,
                                    bool reopen_for_each) {
  store::DirectOptions options;
  options.path = flags.db;
  options.text_path = flags.text;
  options.text_table = flags.text_table;
  options.busy_timeout = flags.busy_timeout;
  options.journal =
      flags.journal == "wal" ? store::DirectJournal::wal : store::DirectJournal::rollback;
  options.begin =
      flags.begin == "immediate" ? store::DirectBegin::immediate : store::DirectBegin::deferred;
  options.reopen_for_each = reopen_for_each;
  options.while_waiting = [&stopping] { return !stopping.now(); };
  options.events = EventSink::from_environment();
  return options;
}

// No timeout on a terminal, where a user can press Ctrl+C.
std::chrono::milliseconds timeout_of(const ConnectionFlags& flags) {
  if (flags.timeout_option != nullptr && flags.timeout_option->count() > 0) {
    return flags.timeout;
  }
  return isatty(STDERR_FILENO) == 1 ? std::chrono::milliseconds(0) : kScriptTimeout;
}

}  // namespace

void add_connection_flags(CLI::App& app, ConnectionFlags& flags) {
  add_broker_option(app, flags.broker);
  add_no_spin_flag(app, flags.no_spin);
  flags.timeout_option =
      add_duration_option(app, "--timeout", flags.timeout,
                          "Give up when the broker does not answer, or no row is acknowledged, for "
                          "this time; 0 waits for ever")
          ->default_str("0 on a terminal, else 30s");
  app.add_flag("--direct", flags.direct,
               "Write the database from this process, without broker and consumer");
  add_db_option(app, flags.db)->group("With --direct");
  add_text_option(app, flags.text)->group("With --direct");
  app.add_option("--text-table", flags.text_table, "The table that --text follows")
      ->capture_default_str()
      ->group("With --direct");
  add_duration_option(app, "--busy-timeout", flags.busy_timeout,
                      "How long to wait for another process's lock on the database")
      ->group("With --direct");
  app.add_option("--journal", flags.journal, "The database's journal")
      ->check(CLI::IsMember({"delete", "wal"}))
      ->capture_default_str()
      ->group("With --direct");
  app.add_option("--begin", flags.begin, "How transactions begin")
      ->check(CLI::IsMember({"deferred", "immediate"}))
      ->capture_default_str()
      ->group("With --direct");
  app.add_option("--ledger", flags.ledger,
                 "Append a line for each acknowledgement, for `turnstile check --ledger`")
      ->type_name("FILE");
  add_mode_option(app);
  add_json_flag(app, flags.json);
  add_log_options(app, flags.log);
  add_config_option(app);
}

Result<std::unique_ptr<Link>> open_link(const ConnectionFlags& flags, const Stopping& stopping,
                                        bool reopen_for_each, const std::string& table,
                                        const std::vector<std::string>& columns) {
  if (!flags.direct) {
    return connect_to_broker(flags.broker, flags.no_spin ? Spin::never : Spin::briefly);
  }
  if (auto regular = store::check_text_path(flags.text); !regular) {
    return tl::make_unexpected(std::move(regular.error()));
  }
  auto link = std::make_unique<DirectLink>(
      direct_options(flags, stopping, reopen_for_each),
      [](const Error& error) { spdlog::error("the rows are committed, but {}", error.what); });
  if (auto opened = link->try_open(table, columns); !opened) {
    return tl::make_unexpected(opened.error());
  }
  return link;
}

ProducerOptions producer_options(const ConnectionFlags& flags, const Stopping& stopping,
                                 ProducerId id) {
  ProducerOptions options;
  options.id = std::move(id);
  options.timeout = timeout_of(flags);
  options.peer = flags.direct ? flags.db : "the broker at " + flags.broker;
  options.interrupted = [&stopping] { return stopping.now(); };
  options.seed = random_seed();
  options.events = EventSink::from_environment();
  options.on_notice = [](Notice what, const std::string& text) {
    const bool is_good =
        what == Notice::connected || what == Notice::busy_over || what == Notice::delayed;
    spdlog::log(is_good ? spdlog::level::info : spdlog::level::warn, "{}", text);
  };
  return options;
}

Result<void> check_flags(const ConnectionFlags& flags) {
  if (flags.direct && !flags.ledger.empty()) {
    return fail(
        Errc::bad_input, "--ledger does not go with --direct",
        "direct mode records no progress in the target that a ledger could be compared with");
  }
  if (flags.direct) {
    return check_distinct({database_role("--db", flags.db), plain_role("--text", flags.text)});
  }
  return {};
}

Result<void> keep_ledger(const ConnectionFlags& flags, ProducerOptions& options) {
  if (flags.ledger.empty()) {
    return {};
  }
  auto opened = Ledger::open(flags.ledger);
  if (!opened) {
    return tl::make_unexpected(opened.error());
  }
  options.on_acknowledged = [ledger = std::make_shared<Ledger>(std::move(*opened)),
                             id = options.id](const Acknowledged& acknowledged) {
    return ledger->append(id, acknowledged, std::chrono::system_clock::now());
  };
  return {};
}

std::uint64_t random_seed() {
  std::random_device device;
  return std::uniform_int_distribution<std::uint64_t>()(device);
}

int print_report(const Report& report, bool json, bool quiet) {
  if (json) {
    fmt::print("{}\n",
               json_of(report).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
  } else if (!quiet) {
    fmt::print("{}", printable_lines(text_of(report)));
  } else {
    fmt::print(stderr, "{}", printable_lines(bad_rows_of(report)));  // the log has the dead letters
  }
  std::fflush(stdout);
  if (report.failure) {
    print_error(*report.failure);
  }
  return exit_code_of(report);
}

int print_usage_error(const std::string& what, const std::string& hint) {
  const Error error{Errc::bad_input, what, hint};
  print_error(error);
  return exit_code_for(error);
}

}  // namespace turnstile
