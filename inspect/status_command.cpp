#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/counted.h"
#include "base/utf8.h"
#include "broker/command.h"
#include "flags/options.h"
#include "link/endpoint.h"

namespace turnstile {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

struct StatusFlags {
  std::string endpoint;
  std::chrono::milliseconds timeout{5000};
  bool json = false;
  LogOptions log;
};

// Hello until a broker answers, then the question, until the answer or the deadline.
Result<nlohmann::json> ask(const StatusFlags& options) {
  auto link = connect_to_broker(options.endpoint);
  if (!link) {
    return tl::make_unexpected(link.error());
  }
  const auto deadline = Clock::now() + options.timeout;
  bool said_hello = false;
  bool asked = false;
  while (Clock::now() < deadline) {
    if (const auto& trouble = (*link)->trouble()) {
      return fail(Errc::unreachable, trouble->what, trouble->hint);
    }
    if (!said_hello) {
      Hello hello;
      hello.producer = {"status"};
      said_hello = (*link)->send(hello);
    }
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    const auto message = (*link)->receive(std::min(said_hello ? left : 20ms, left));
    if (!message) {
      continue;
    }
    if (std::holds_alternative<Welcome>(*message) && !asked) {
      asked = (*link)->send(AskStatus{1});
    } else if (const auto* refusal = std::get_if<Refusal>(&*message)) {
      if (refusal->code != RefusalCode::hello_first) {
        return fail(Errc::refused, "the broker refused: " + refusal->text);
      }
    } else if (const auto* status = std::get_if<Status>(&*message)) {
      (*link)->send(Bye{});
      auto report = nlohmann::json::from_msgpack(status->report.view(), true, false);
      if (report.is_discarded()) {
        return fail(Errc::corrupt, "the broker's report cannot be read");
      }
      return report;
    }
  }
  return fail(Errc::unreachable,
              "no answer from the broker at " + options.endpoint + " for " +
                  format_duration(options.timeout),
              "is it running? `turnstile broker` starts one, --broker names another endpoint");
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr double kMiB = 1024.0 * 1024.0;
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / kMiB);
}

// Names and reasons come from clients, and the whole report from whatever answers at the endpoint.
nlohmann::json with_printable_texts(nlohmann::json report) {
  if (report.is_string()) {
    return printable(report.get_ref<const std::string&>());
  }
  if (report.is_structured()) {
    for (auto& part : report) {
      part = with_printable_texts(std::move(part));
    }
  }
  return report;
}

std::string count_text(const nlohmann::json& map, const char* key, const char* noun,
                       const char* plural = "") {
  return counted(map[key].get<std::uint64_t>(), noun, plural);
}

// Why nothing can be applied; empty: it can.
std::string standstill(const nlohmann::json& report) {
  const auto& consumer = report["consumer"];
  if (!consumer["attached"].get<bool>()) {
    return "no consumer is running";
  }
  const std::string problem = consumer.value("problem", std::string());
  return problem.empty() ? std::string() : "the consumer cannot apply rows: " + problem;
}

void print_consumer(const nlohmann::json& consumer) {
  if (consumer["attached"].get<bool>()) {
    fmt::print("consumer    attached, {} applied, {}, target {}\n",
               count_text(consumer, "rows_applied", "row"),
               rows_per_second_text(consumer["rows_per_second"].get<double>()),
               consumer["target"].get<std::string>());
    if (const auto problem = consumer.value("problem", std::string()); !problem.empty()) {
      fmt::print("            cannot apply rows: {}\n", problem);
    }
    for (const auto& trouble : consumer.value("tables", nlohmann::json::array())) {
      fmt::print("            refuses rows of table {}: {}\n", trouble["table"].get<std::string>(),
                 trouble["reason"].get<std::string>());
    }
  } else {
    fmt::print("consumer    none; rows are stored and applied when one comes\n");
  }
  if (const auto waiting = consumer["standing_by"].get<std::uint64_t>(); waiting > 0) {
    fmt::print("            {} standing by\n", waiting);
  }
}

void print(const nlohmann::json& r) {
  const auto& window = r["window"];
  const auto& journal = r["journal"];
  fmt::print("broker      {} at {}, up {:.1f} s\n", r["version"].get<std::string>(),
             r["endpoint"].get<std::string>(), r["uptime_ms"].get<double>() / 1000);
  print_consumer(r["consumer"]);
  fmt::print("window      {}, {}, {} of {}\n", count_text(window, "batches", "batch", "batches"),
             count_text(window, "rows", "row"), bytes_text(window["bytes"].get<std::uint64_t>()),
             bytes_text(window["limit_bytes"].get<std::uint64_t>()));
  fmt::print(
      "journal     {}, {}, {} of {} ({})\n", count_text(journal, "batches", "batch", "batches"),
      count_text(journal, "rows", "row"), bytes_text(journal["bytes"].get<std::uint64_t>()),
      bytes_text(journal["limit_bytes"].get<std::uint64_t>()), journal["path"].get<std::string>());
  if (const auto problem = journal["problem"].get<std::string>(); !problem.empty()) {
    fmt::print("            {}\n", problem);
  }
  if (const auto oldest = r["oldest_waiting_ms"].get<std::int64_t>(); oldest > 0) {
    fmt::print("oldest      has waited {:.1f} s\n", static_cast<double>(oldest) / 1000);
  } else {
    fmt::print("oldest      no row waits\n");
  }
  fmt::print("dead        {} in the target\n", count_text(r, "dead_letters", "dead letter"));
  for (const auto& stopped : r["producers_stopped"]) {
    fmt::print("stopped     {}: its stored rows cannot be applied, see the broker's log\n",
               stopped.get<std::string>());
  }
  fmt::print("producers   {} connected\n", r["producers_connected"].get<std::uint64_t>());
  for (const auto& producer : r["producers"]) {
    fmt::print("            {:<32}  stored {:>10}  applied {:>10}\n",
               producer["producer"].get<std::string>(),
               producer["stored_through"].get<std::uint64_t>(),
               producer["applied_through"].get<std::uint64_t>());
  }
}

int show(const StatusFlags& options) {
  set_up_logging(options.log);
  const auto report = ask(options);
  if (!report) {
    print_error(report.error());
    return exit_code_for(report.error());
  }
  const nlohmann::json shown = with_printable_texts(*report);
  const std::string why = standstill(shown);
  if (options.json) {
    fmt::print("{}\n", report->dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
  } else if (!options.log.quiet) {
    print(shown);
  } else if (!why.empty()) {
    print_error({Errc::refused, why, ""});
  }
  return static_cast<int>(why.empty() ? ExitCode::done : ExitCode::refused);
}

}  // namespace

void add_status_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<StatusFlags>();
  CLI::App* command = app.add_subcommand("status", "Ask the broker what it holds and for whom");
  add_broker_option(*command, options->endpoint);
  add_duration_option(*command, "--timeout", options->timeout, "How long to wait for the broker");
  add_json_flag(*command, options->json);
  add_log_options(*command, options->log);
  add_config_option(*command);
  command->callback([options, &exit_code] { exit_code = show(*options); });
}

}  // namespace turnstile
