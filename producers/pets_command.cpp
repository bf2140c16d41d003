#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "base/signals.h"
#include "client/identity.h"
#include "producers/command.h"
#include "producers/connection.h"
#include "producers/pets.h"
#include "producers/processes.h"
#include "proto/limits.h"

namespace turnstile {
namespace {

struct PetsFlags {
  ConnectionFlags connection;
  std::string process;  // empty: all three, each in its own process
  std::string pets_file;
  std::chrono::milliseconds task_duration{0};
};

int insert_as(const PetsFlags& options, const std::vector<Pet>& pets) {
  const StopSignal stop;
  Stopping stopping([&stop] { return stop.count(); });
  auto link = open_link(options.connection, stopping, true, std::string(kPetsTable), pet_columns());
  if (!link) {
    print_error(link.error());
    return exit_code_for(link.error());
  }
  ProducerOptions with = producer_options(options.connection, stopping, random_producer_id());
  with.batch_rows = 1;
  with.task_duration = options.task_duration;
  if (auto kept = keep_ledger(options.connection, with); !kept) {
    print_error(kept.error());
    return exit_code_for(kept.error());
  }
  Producer producer(**link, std::move(with));
  Report report = insert_pets(producer, options.process, pets_of(options.process, pets), stopping,
                              {[](const std::string& line) { spdlog::info("{}", line); },
                               [](const std::string& line) { spdlog::error("{}", line); }});
  report.direct = options.connection.direct;
  return print_report(report, options.connection.json, options.connection.log.quiet);
}

void print_sum(const std::vector<Ended>& ended) {
  std::vector<nlohmann::ordered_json> reports;
  for (const auto& process : ended) {
    auto report = nlohmann::ordered_json::parse(process.output, nullptr, false);
    if (report.is_object()) {
      reports.push_back(std::move(report));
    }
  }
  fmt::print("{}\n", sum_of(reports).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
}

int insert_as_all(const PetsFlags& options) {
  const StopSignal stop;
  std::vector<std::vector<std::string>> more;
  for (const auto& process : pet_processes()) {
    more.push_back({"--as", process});
  }
  const auto ended = run_again(more, options.connection.json, stop);
  if (!ended) {
    print_error(ended.error());
    return exit_code_for(ended.error());
  }
  if (options.connection.json) {
    print_sum(*ended);
  }
  return std::max_element(ended->begin(), ended->end(),
                          [](const Ended& a, const Ended& b) { return a.exit_code < b.exit_code; })
      ->exit_code;
}

int produce_pets(const PetsFlags& options) {
  set_up_logging(options.connection.log);
  if (auto checked = check_flags(options.connection); !checked) {
    return print_usage_error(checked.error().what, checked.error().hint);
  }
  std::vector<Pet> pets = lab_pets();
  if (!options.pets_file.empty()) {
    auto read = read_pets(options.pets_file);
    if (!read) {
      print_error(read.error());
      return exit_code_for(read.error());
    }
    pets = std::move(*read);
  }
  return options.process.empty() ? insert_as_all(options) : insert_as(options, pets);
}

}  // namespace

void add_produce_pets_command(CLI::App& produce, int& exit_code) {
  const auto options = std::make_shared<PetsFlags>();
  CLI::App& app = *produce.add_subcommand(
      "pets", "Insert the lab's pets, from three processes with two pets each");
  app.add_option("--as", options->process, "Run only P1, P2 or P3")
      ->check(CLI::IsMember(pet_processes()));
  app.add_option("--pets", options->pets_file,
                 "Other pets: a CSV with name,breed; each process inserts a third")
      ->type_name("FILE");
  add_duration_option(app, "--task-duration", options->task_duration,
                      "How long each pet holds the database between INSERT and COMMIT")
      ->check([](const std::string& text) {
        const auto duration = parse_duration(text);
        return duration && *duration > limits::kTaskDuration
                   ? "at most " + format_duration(limits::kTaskDuration)
                   : std::string();
      });
  add_connection_flags(app, options->connection);
  app.callback([options, &exit_code] { exit_code = produce_pets(*options); });
}

void add_produce_command(CLI::App& app, int& exit_code) {
  CLI::App& produce = *app.add_subcommand("produce", "Send rows: the lab's pets, or a CSV file");
  produce.require_subcommand(1);
  add_produce_pets_command(produce, exit_code);
  add_produce_csv_command(produce, exit_code);
}

}  // namespace turnstile
