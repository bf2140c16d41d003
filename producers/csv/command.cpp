#include "producers/command.h"

#include <poll.h>
#include <sched.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <CLI/CLI.hpp>
#include <spdlog/spdlog.h>

#include "base/signals.h"
#include "client/identity.h"
#include "client/spool.h"
#include "producers/connection.h"
#include "producers/csv/run.h"
#include "proto/limits.h"

namespace turnstile {
namespace {

constexpr std::size_t kDeadLogged = 10;
constexpr std::chrono::milliseconds kDeadLoggedIn{10'000};
// The source of a spool's rows from standard input, whose rows differ on each run.
constexpr const char* kStandardInput = "-";

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
  std::string final_line;
  std::string when_replaced = "begin";
  std::string resume;
  std::string spool;
  std::uint64_t spool_limit = SpoolOptions{}.limit_bytes;
};

bool is_standard_input(const CsvFlags& options) {
  return options.file == "-";
}

// To a spool, each start's standard input is a new input.
bool takes_new_rows(const CsvFlags& options) {
  return !options.spool.empty() && is_standard_input(options);
}

std::string table_of(const CsvFlags& options) {
  return options.table.empty() ? csv_table_of(options.file) : options.table;
}

// An unfinished last line waits for the next run, if there can be one.
bool waits_for_line_feed(const CsvFlags& options) {
  return options.final_line.empty() ? !options.resume.empty() : options.final_line == "wait";
}

CsvJob job_of(const CsvFlags& options, const csv::RowSource& source, csv::Order order) {
  CsvJob job;
  job.table = table_of(options);
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
  job.spool = options.spool;
  job.when_replaced = options.when_replaced == "stop" ? WhenReplaced::stop : WhenReplaced::begin;
  job.is_new_input = takes_new_rows(options);
  if (job.is_new_input) {
    job.source = kStandardInput;
  } else if (!options.resume.empty()) {
    job.source = csv_source_of(source, job.table, order, options.create);
  }
  return job;
}

int failed(const Error& error) {
  print_error(error);
  // A bad file is not wrong usage.
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

// A pipe may be silent for long. Meanwhile the producer, once there is one, reads answers, sends
// and syncs what was gathered, and notices Ctrl+C.
bool wait_for_input(int fd, const Stopping& stopping, Producer* producer) {
  constexpr int kServeEveryMs = 20;
  pollfd item{fd, POLLIN, 0};
  for (int wait_ms = 0; !stopping.now(); wait_ms = kServeEveryMs) {
    if (::poll(&item, 1, wait_ms) > 0) {
      return true;
    }
    if (producer != nullptr && !producer->pump(std::chrono::milliseconds(0))) {
      return false;
    }
  }
  return false;
}

// One run of the command. Members that outlive the producer are declared before it.
class CsvStream {
 public:
  CsvStream(const CsvFlags& options, ProducerId id)
      : options_(options), id_(std::move(id)), bar_(!options.connection.log.quiet) {}

  int run();

 private:
  Result<void> open_spool();
  Result<void> open_producer(const std::vector<std::string>& columns, const std::string& source);
  [[nodiscard]] csv::CsvOptions input();
  int input_failed(const Error& error);
  int nothing_yet();

  const CsvFlags& options_;
  ProducerId id_;
  StopSignal stop_;
  Stopping stopping_{[this] { return stop_.count(); }};
  ProgressBar bar_;
  LogLimiter limiter_{kDeadLogged, kDeadLoggedIn};
  std::unique_ptr<Spool> spool_;
  std::unique_ptr<Link> link_;
  std::optional<Producer> producer_;
  std::chrono::milliseconds timeout_{0};
  CsvRun* run_ = nullptr;  // only while it runs
};

Result<void> CsvStream::open_spool() {
  if (options_.spool.empty()) {
    return {};
  }
  auto opened = Spool::open({options_.spool, options_.spool_limit, {}}, id_);
  if (!opened) {
    return tl::make_unexpected(opened.error());
  }
  spool_ = std::move(*opened);
  return {};
}

Result<void> CsvStream::open_producer(const std::vector<std::string>& columns,
                                      const std::string& source) {
  auto link = open_link(options_.connection, stopping_, false, table_of(options_), columns);
  if (!link) {
    return tl::make_unexpected(link.error());
  }
  link_ = std::move(*link);
  ProducerOptions with = producer_options(options_.connection, stopping_, id_);
  with.named = !options_.resume.empty();
  // A pipe cannot be read again: a row whose number the target already has would be lost.
  with.sure = with.named && !spool_ && is_standard_input(options_);
  with.source = source;
  with.source_now = [this, source] { return run_ == nullptr ? source : run_->source_now(); };
  timeout_ = with.timeout;
  with.spool = spool_.get();
  with.ack = options_.ack == "stored" ? Ack::stored : Ack::applied;
  with.batch_rows = options_.interval.max > std::chrono::milliseconds(0) ? 1 : options_.batch_rows;
  with.on_dead = [this](const DeadRow& row) {
    bar_.clear();
    log_dead(limiter_, table_of(options_), row);
  };
  with.on_notice = [this, tell = with.on_notice](Notice what, const std::string& text) {
    bar_.clear();  // or the line would follow it
    tell(what, text);
  };
  if (auto kept = keep_ledger(options_.connection, with); !kept) {
    return kept;
  }
  producer_.emplace(*link_, std::move(with));
  return {};
}

csv::CsvOptions CsvStream::input() {
  csv::CsvOptions input;
  input.wait_for_input = [this](int fd) {
    return wait_for_input(fd, stopping_, producer_ ? &*producer_ : nullptr);
  };
  input.path = options_.file;
  input.order = options_.order == "reverse" ? csv::Order::reverse : csv::Order::file;
  input.infer_types = options_.create;
  input.limits.line_feed_needed = waits_for_line_feed(options_);
  input.keeps_mark = !options_.resume.empty() && !takes_new_rows(options_);
  return input;
}

// Rows in the spool are sent even if there is nothing to read.
int CsvStream::input_failed(const Error& error) {
  if (stopping_.requested()) {
    return static_cast<int>(ExitCode::interrupted);
  }
  if (producer_ && producer_->summary().spooled > 0) {
    if (auto finished = producer_->finish(); !finished) {
      return failed(finished.error());
    }
  }
  return failed(error);
}

// For a producer that reads and sends as fast as it can: it waits for the consumer, not for its own
// processor. As SCHED_BATCH it does not preempt the consumer whenever an answer wakes it (bench,
// line 4). A policy chosen by the user is kept.
void work_in_the_background() {
  if (::sched_getscheduler(0) == SCHED_OTHER) {
    constexpr sched_param kNoPriority{};
    static_cast<void>(::sched_setscheduler(0, SCHED_BATCH, &kNoPriority));
  }
}

// The header is not finished: a later run reads the input. Rows in the spool are sent anyway.
int CsvStream::nothing_yet() {
  Report report;
  report.producer = id_.text;
  report.table = table_of(options_);
  report.input = is_standard_input(options_) ? "standard input" : options_.file;
  report.resume_name = options_.resume;
  report.spool = options_.spool;
  report.direct = options_.connection.direct;
  report.unfinished_line = 1;
  if (spool_ && !producer_) {
    if (auto opened = open_producer({}, spool_->input()); !opened) {
      return failed(opened.error());
    }
  }
  if (producer_) {
    if (auto finished = producer_->finish(); !finished) {
      report.failure = finished.error();
    }
    report.summary = producer_->summary();
  }
  report.interrupted = stopping_.requested();
  return print_report(report, options_.connection.json, options_.connection.log.quiet);
}

int CsvStream::run() {
  const bool waits = is_standard_input(options_) || options_.interval.max.count() > 0;
  if (!options_.connection.direct && !waits) {
    work_in_the_background();
  }
  if (auto opened = open_spool(); !opened) {
    return failed(opened.error());
  }
  // Standard input may be silent for long; meanwhile the rows in the spool are sent.
  if (spool_ && is_standard_input(options_)) {
    if (auto opened = open_producer({}, kStandardInput); !opened) {
      return failed(opened.error());
    }
  }
  const csv::CsvOptions from = input();
  auto source = csv::open_csv(from);
  if (!source) {
    return input_failed(source.error());
  }
  if (!*source) {
    return nothing_yet();
  }
  CsvJob job = job_of(options_, **source, from.order);
  if (job.interval.max > job.interval.min) {
    spdlog::info("--interval {} with --seed {}", format_duration_range(job.interval), job.seed);
  }
  if (!producer_) {
    if (auto opened = open_producer((*source)->columns(), job.source); !opened) {
      return failed(opened.error());
    }
  }
  job.timeout = timeout_;
  CsvRun run(*producer_, **source, job, stopping_, bar_,
             [](const std::string& line) { spdlog::warn("{}", line); });
  run_ = &run;
  Report report = run.run();
  run_ = nullptr;
  report.producer = id_.text;
  report.direct = options_.connection.direct;
  if (report.direct) {
    report.resume_name.reset();
  }
  return print_report(report, options_.connection.json, options_.connection.log.quiet);
}

Result<void> check_flags(const CsvFlags& options) {
  if (is_standard_input(options) && options.table.empty()) {
    return fail(Errc::bad_input, "rows from standard input need a table", "name it with --table");
  }
  if (options.connection.direct && !options.resume.empty()) {
    return fail(Errc::bad_input, "--resume does not go with --direct",
                "direct mode records no progress to resume from");
  }
  if (options.spool.empty()) {
    return check_flags(options.connection);
  }
  if (options.resume.empty()) {
    return fail(Errc::bad_input, "--spool needs a name that outlives the process",
                "give it with --resume");
  }
  if (is_standard_input(options) && (options.create || options.order == "reverse")) {
    return fail(Errc::bad_input,
                "--spool takes rows from standard input as they arrive; --create and --order "
                "reverse read the whole input first",
                "create the table first, or save the rows to a file and give its path");
  }
  return check_flags(options.connection);
}

int produce_csv(const CsvFlags& options) {
  set_up_logging(options.connection.log);
  if (auto checked = check_flags(options); !checked) {
    return print_usage_error(checked.error().what, checked.error().hint);
  }
  if (options.resume.empty()) {
    return CsvStream(options, random_producer_id()).run();
  }
  auto named = named_producer_id(options.resume);
  if (!named) {
    return print_usage_error(named.error().what, named.error().hint);
  }
  return CsvStream(options, std::move(*named)).run();
}

}  // namespace

void add_produce_csv_command(CLI::App& produce, int& exit_code) {
  const auto options = std::make_shared<CsvFlags>();
  CLI::App& app = *produce.add_subcommand("csv", "Send the rows of a CSV file, or of - (stdin)");
  app.add_option("FILE", options->file,
                 "The CSV file, with column names in its first line; - is stdin")
      ->required();
  app.add_option("--table", options->table,
                 "The table that gets the rows; default: the file's base name");
  app.add_option("--order", options->order, "Order of the rows: first to last, or last to first")
      ->check(CLI::IsMember({"file", "reverse"}))
      ->capture_default_str();
  add_duration_range_option(app, "--interval", options->interval, "Random time between two rows");
  options->seed_option = app.add_option("--seed", options->seed, "Seed of the random intervals");
  options->limit_option =
      app.add_option("--limit", options->limit, "Send at most N rows of the stream");
  app.add_option("--batch-rows", options->batch_rows, "Send at most N rows in one message")
      ->check(CLI::Range(1U, limits::kBatchRows))
      ->capture_default_str();
  app.add_option("--ack", options->ack, "What to wait for: rows stored, or applied to the target")
      ->check(CLI::IsMember({"stored", "applied"}))
      ->capture_default_str();
  app.add_flag("--create", options->create,
               "Make the table if it is missing, with types inferred from the whole file");
  app.add_option("--empty", options->empty,
                 "Send an empty field as NULL or as empty text; default: as text, but as NULL "
                 "for INTEGER and REAL columns")
      ->check(CLI::IsMember({"null", "text"}));
  app.add_option("--final-line", options->final_line,
                 "Send a last line without a line feed, or leave it for the next run; default: "
                 "leave it with --resume")
      ->check(CLI::IsMember({"send", "wait"}));
  app.add_option("--when-replaced", options->when_replaced,
                 "With --resume, if FILE is not the file that was read before: begin with "
                 "its first row, or stop")
      ->check(CLI::IsMember({"begin", "stop"}))
      ->capture_default_str();
  app.add_option("--bad-rows", options->bad_rows, "Stop at a malformed row, or skip it")
      ->check(CLI::IsMember({"stop", "skip"}))
      ->capture_default_str();
  app.add_option("--resume", options->resume,
                 "A name for this stream; a later run with this name continues where it ended")
      ->type_name("NAME");
  app.add_option("--spool", options->spool,
                 "With --resume: keep rows in this file until they are acknowledged. They need no "
                 "broker and survive a crash; the next start sends them. Each start's standard "
                 "input is a new input")
      ->type_name("FILE");
  add_bytes_option(app, "--spool-limit", options->spool_limit,
                   "Size limit of --spool; at the limit no more rows are read");
  add_connection_flags(app, options->connection);
  app.callback([options, &exit_code] { exit_code = produce_csv(*options); });
}

}  // namespace turnstile
