#include <poll.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include <spdlog/spdlog.h>

#include "cli/signals.h"
#include "producers/command.h"
#include "producers/connection.h"
#include "producers/csv.h"
#include "producers/identity.h"
#include "proto/limits.h"

namespace turnstile {
namespace {

constexpr std::size_t kDeadLogged = 10;
constexpr std::chrono::milliseconds kDeadLoggedIn{10'000};

struct CsvFlags {
  ConnectionFlags connection;
  std::string file;
  std::string table;
  std::string order = "file";
  DurationRange interval;
  std::uint64_t seed = 0;
  CLI::Option* seed_option = nullptr;
  std::uint64_t limit = 0;
  CLI::Option* limit_option = nullptr;
  std::uint32_t batch_rows = 1000;
  std::string ack = "applied";
  bool create = false;
  std::string empty;
  std::string bad_rows = "stop";
  std::string resume;
};

CsvJob job_of(const CsvFlags& options, const csv::RowSource& source, csv::Order order) {
  CsvJob job;
  job.table = options.table.empty() ? csv_table_of(options.file) : options.table;
  job.create = options.create;
  job.skip_bad_rows = options.bad_rows == "skip";
  if (!options.empty.empty()) {
    job.empty = options.empty == "null" ? EmptyField::null : EmptyField::text;
  }
  if (options.limit_option->count() > 0) {
    job.limit = options.limit;
  }
  job.interval = options.interval;
  job.seed = options.seed_option->count() > 0 ? options.seed : random_seed();
  job.resume_name = options.resume;
  if (!options.resume.empty()) {
    job.source = csv_source_of(source, job.table, order, options.create);
  }
  return job;
}

int failed(const Error& error) {
  print_error(error);
  // What is wrong with a file is no wrong usage.
  return error.code == Errc::bad_input ? static_cast<int>(ExitCode::refused) : exit_code_for(error);
}

void log_dead(LogLimiter& limiter, const std::string& table, const DeadRow& row) {
  const auto now = std::chrono::steady_clock::now();
  if (const auto left_out = limiter.left_out(now)) {
    spdlog::error("{}", *left_out);
  }
  if (limiter.admit(now)) {
    spdlog::error("{} row {}: {}", table, row.sequence.value, row.reason);
  }
}

// A pipe may be silent for long: meanwhile the producer, once there is one, takes in answers and
// sends what was gathered, and Ctrl+C is heard.
bool wait_for_input(int fd, const Stopping& stopping, Producer* producer) {
  constexpr int kServeEveryMs = 20;
  pollfd item{fd, POLLIN, 0};
  while (!stopping.now()) {
    if (::poll(&item, 1, kServeEveryMs) > 0) {
      return true;
    }
    if (producer != nullptr && !producer->pump(std::chrono::milliseconds(0))) {
      return false;
    }
  }
  return false;
}

int stream(const CsvFlags& options, ProducerId id) {
  const StopSignal stop;
  Stopping stopping([&stop] { return stop.count(); });
  Producer* reading_for = nullptr;
  csv::CsvOptions csv_options;
  csv_options.wait_for_input = [&](int fd) { return wait_for_input(fd, stopping, reading_for); };
  csv_options.path = options.file;
  csv_options.order = options.order == "reverse" ? csv::Order::reverse : csv::Order::file;
  csv_options.infer_types = options.create;
  auto source = csv::open_csv(csv_options);
  if (!source) {
    return stopping.requested() ? static_cast<int>(ExitCode::interrupted) : failed(source.error());
  }
  CsvJob job = job_of(options, **source, csv_options.order);
  if (job.interval.max > job.interval.min) {
    spdlog::info("--interval {} with --seed {}", format_duration_range(job.interval), job.seed);
  }
  auto link = open_link(options.connection, stopping, false, job.table, (*source)->columns());
  if (!link) {
    return failed(link.error());
  }
  ProgressBar bar(!options.connection.log.quiet);
  ProducerOptions producer_with = producer_options(options.connection, stopping, std::move(id));
  producer_with.named = !options.resume.empty();
  producer_with.source = job.source;
  producer_with.ack = options.ack == "stored" ? Ack::stored : Ack::applied;
  producer_with.batch_rows =
      job.interval.max > std::chrono::milliseconds(0) ? 1 : options.batch_rows;
  LogLimiter limiter(kDeadLogged, kDeadLoggedIn);
  producer_with.on_dead = [&](const DeadRow& row) {
    bar.clear();
    log_dead(limiter, job.table, row);
  };
  const std::string producer_name = producer_with.id.text;
  Producer producer(**link, std::move(producer_with));
  reading_for = &producer;
  CsvRun run(producer, **source, job, stopping, bar,
             [](const std::string& line) { spdlog::warn("{}", line); });
  Report report = run.run();
  report.producer = producer_name;
  report.direct = options.connection.direct;
  if (report.direct) {
    report.resume_name.reset();
  }
  return print_report(report, options.connection.json);
}

int produce_csv(const CsvFlags& options) {
  set_up_logging(options.connection.log);
  if (options.file == "-" && options.table.empty()) {
    return print_usage_error("rows from standard input need a table", "name it with --table");
  }
  if (options.resume.empty()) {
    return stream(options, random_producer_id());
  }
  if (options.connection.direct) {
    return print_usage_error("--resume does not go with --direct",
                             "nothing keeps how far a direct producer came");
  }
  auto named = named_producer_id(options.resume);
  if (!named) {
    return print_usage_error(named.error().what, named.error().hint);
  }
  return stream(options, std::move(*named));
}

}  // namespace

void add_produce_csv_command(CLI::App& produce, int& exit_code) {
  const auto options = std::make_shared<CsvFlags>();
  CLI::App& app = *produce.add_subcommand("csv", "Send the rows of a CSV file, or of - (stdin)");
  app.add_option("FILE", options->file, "The CSV, with a header of column names; - is stdin")
      ->required();
  app.add_option("--table", options->table,
                 "The table that gets the rows; unless given, the file's base name");
  app.add_option("--order", options->order, "The first row first, or the last")
      ->check(CLI::IsMember({"file", "reverse"}))
      ->capture_default_str();
  add_duration_range_option(app, "--interval", options->interval,
                            "Time between two rows, random in the range");
  options->seed_option = app.add_option("--seed", options->seed, "Of the random intervals");
  options->limit_option =
      app.add_option("--limit", options->limit, "Send only the first so many rows of the stream");
  app.add_option("--batch-rows", options->batch_rows, "Rows that are sent as one message at most")
      ->check(CLI::Range(1U, limits::kBatchRows))
      ->capture_default_str();
  app.add_option("--ack", options->ack, "What to wait for: rows stored, or applied to the target")
      ->check(CLI::IsMember({"stored", "applied"}))
      ->capture_default_str();
  app.add_flag("--create", options->create,
               "Make the table if it is missing, with types inferred from the whole file");
  app.add_option("--empty", options->empty,
                 "Send an empty field as NULL or as empty text; unless given, as text, but as NULL "
                 "for the INTEGER and REAL columns of --create")
      ->check(CLI::IsMember({"null", "text"}));
  app.add_option("--bad-rows", options->bad_rows, "Stop before a bad row, or go on behind it")
      ->check(CLI::IsMember({"stop", "skip"}))
      ->capture_default_str();
  app.add_option("--resume", options->resume,
                 "A name for this stream, with which a later run goes on where it ended")
      ->type_name("NAME");
  add_connection_flags(app, options->connection);
  app.callback([options, &exit_code] { exit_code = produce_csv(*options); });
}

}  // namespace turnstile
