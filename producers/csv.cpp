#include "producers/csv.h"

#include <xxhash.h>

#include <algorithm>
#include <filesystem>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "proto/counted.h"
#include "proto/limits.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Rows that come at once, between two looks at the clock.
constexpr std::uint64_t kItemsUnasked = 64;

}  // namespace

std::string csv_source_of(const csv::RowSource& source, const std::string& table, csv::Order order,
                          bool create) {
  const std::string text = fmt::format("{}\n{}\n{}\n{}", source.fingerprint(),
                                       order == csv::Order::reverse, create, table);
  return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

std::string csv_table_of(const std::string& path) {
  if (path == "-") {
    return {};
  }
  const std::string base = std::filesystem::path(path).stem().string();
  return base == "nutrient" ? "nutrients" : base;
}

CsvRun::CsvRun(Producer& producer, csv::RowSource& source, CsvJob job, Stopping& stopping,
               ProgressBar& bar, std::function<void(const std::string&)> log)
    : producer_(producer),
      source_(source),
      job_(std::move(job)),
      stopping_(stopping),
      bar_(bar),
      log_(std::move(log)),
      begun_(steady_clock::now()),
      random_(job_.seed) {
  for (std::size_t i = 0; i < source_.columns().size(); ++i) {
    has_null_columns_ = has_null_columns_ || has_nulls(i);
  }
  report_.table = job_.table;
  report_.input = source_.name();
  report_.resume_name = job_.resume_name;
  report_.spool = job_.spool;
}

Report CsvRun::run() {
  Result<void> done = begin();
  if (done) {
    done = stream();
    if (auto finished = finish(); !finished) {
      done = std::move(finished);
    }
  }
  bar_.clear();
  report_.summary = producer_.summary();
  report_.rows_read = report_.summary.appended;
  report_.interrupted = stopping_.requested();
  report_.took = std::chrono::round<milliseconds>(steady_clock::now() - begun_);
  if (!done && !report_.interrupted) {
    report_.failure = std::move(done.error());
  }
  return std::move(report_);
}

// What was read is sent and acknowledged, also when something ended it early.
Result<void> CsvRun::finish() {
  auto finished = producer_.finish();
  if (finished && !*finished && stopping_.requested()) {
    stopping_.be_patient();
    finished = producer_.finish(steady_clock::now() + Stopping::kLastWait);
  }
  return finished.map([](bool) {});
}

Result<void> CsvRun::begin() {
  if (source_.columns().size() > limits::kColumns) {
    return fail(Errc::bad_input,
                fmt::format("{} has {}, above the limit of {}", source_.name(),
                            counted(source_.columns().size(), "column"), limits::kColumns));
  }
  const auto started = producer_.start();
  if (!started) {
    return tl::make_unexpected(started.error());
  }
  if (auto checked = check_source(*started); !checked) {
    return checked;
  }
  const std::uint64_t definition = job_.create ? 1 : 0;
  if (started->through.value < definition) {
    if (auto checked = check_table(); !checked) {
      return checked;
    }
    std::vector<std::string> types;
    for (const auto type : source_.column_types()) {
      types.emplace_back(csv::sql_name(type));
    }
    if (auto defined = producer_.define(job_.table, source_.columns(), types); !defined) {
      return tl::make_unexpected(defined.error());
    }
  }
  producer_.into(job_.table, source_.columns());
  const std::uint64_t done =
      job_.is_new_input ? 0 : started->through.value - std::min(started->through.value, definition);
  if (const Summary so_far = producer_.summary(); so_far.spooled > 0) {
    log_(fmt::format("{} of '{}' {} kept in {} and sent first", counted(so_far.spooled, "row"),
                     job_.resume_name, is_or_are(so_far.spooled), job_.spool));
  }
  if (done == 0) {
    return {};
  }
  const auto skipped = source_.skip(done);
  if (!skipped) {
    return tl::make_unexpected(skipped.error());
  }
  if (skipped->rows < done) {
    return fail(Errc::refused,
                fmt::format("{} of '{}' {} taken before, and {} has only {}", counted(done, "row"),
                            job_.resume_name, was_or_were(done), source_.name(), skipped->rows),
                "is it the same file? Another name for --resume begins anew");
  }
  position_ = done;
  log_(fmt::format("{} of '{}' {} {} already; going on after row {}", counted(done, "row"),
                   job_.resume_name, is_or_are(done),
                   job_.spool.empty() ? "stored or applied" : "taken", done));
  return {};
}

Result<void> CsvRun::check_source(const Started& started) const {
  if (started.source.empty() || started.source == job_.source) {
    return {};
  }
  return fail(Errc::refused,
              fmt::format("'{}' belongs to another input than {} with this table and order",
                          job_.resume_name, source_.name()),
              "give the file, --table, --order and --create that it began with, or another name");
}

Result<void> CsvRun::check_table() {
  is_table_checked_ = true;
  const auto answer = producer_.check_table(job_.table, source_.columns());
  if (!answer) {
    return tl::make_unexpected(answer.error());
  }
  const std::string detail = answer->detail.empty() ? "" : ": " + answer->detail;
  switch (answer->state) {
    case TableState::ready:
    case TableState::unknown:
      return {};
    case TableState::missing_table:
      if (job_.create) {
        return {};
      }
      return fail(Errc::refused, fmt::format("there is no table '{}'{}", job_.table, detail),
                  "--create makes it, --table names another");
    case TableState::missing_column:
      return fail(
          Errc::refused,
          fmt::format("table '{}' lacks a column of {}{}", job_.table, source_.name(), detail),
          "--table names another table");
    case TableState::unusable:
      return fail(Errc::refused, fmt::format("table '{}' cannot be used{}", job_.table, detail));
  }
  return {};
}

Result<void> CsvRun::stream() {
  const bool is_paced = job_.interval.max > milliseconds(0);
  for (std::uint64_t items = 1; !stopping_.now() && (!job_.limit || position_ < *job_.limit);
       ++items) {
    auto item = source_.next();
    if (!item) {
      return tl::make_unexpected(std::move(item.error()));
    }
    if (!*item) {
      return {};
    }
    if (const auto* bad = std::get_if<csv::BadRow>(&**item)) {
      const auto going_on = take_bad(*bad);
      if (!going_on || !*going_on) {
        return going_on.map([](bool) {});
      }
    } else if (auto taken = take(std::get<csv::Record>(**item)); !taken) {
      return taken;
    }
    if (is_paced || items % kItemsUnasked == 0) {
      show_progress();
    }
  }
  return {};
}

Result<void> CsvRun::take(const csv::Record& record) {
  if (!is_table_checked_) {
    if (auto checked = check_table(); !checked) {
      return checked;
    }
  }
  if (job_.interval.max > milliseconds(0) && position_ > 0) {
    if (auto paused = pause(); !paused || stopping_.now()) {
      return paused;
    }
  }
  if (const auto appended = append(record.fields); !appended) {
    return tl::make_unexpected(appended.error());
  }
  ++position_;
  return {};
}

Result<bool> CsvRun::take_bad(const csv::BadRow& bad) {
  ++report_.bad_row_count;
  if (report_.bad_rows.size() < kBadRowsListed) {
    report_.bad_rows.push_back(bad);
  }
  if (report_.bad_row_count <= kBadRowsListed) {
    bar_.clear();
    log_(fmt::format("bad row: {}:{}: {}", source_.name(), bad.line, bad.reason));
  }
  return job_.skip_bad_rows;
}

bool CsvRun::has_nulls(std::size_t column) const {
  const auto& types = source_.column_types();
  return job_.empty == EmptyField::null ||
         (job_.empty == EmptyField::by_column && column < types.size() &&
          types[column] != csv::ColumnType::text);
}

Result<Sequence> CsvRun::append(std::span<const std::string_view> fields) {
  // A source that waits for input has the producer pumped.
  const auto next =
      job_.interval.max > milliseconds(0) ? Producer::Next::unknown : Producer::Next::at_once;
  if (!has_null_columns_) {
    return producer_.append(fields, next);
  }
  values_.clear();
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const bool is_null = fields[i].empty() && has_nulls(i);
    values_.push_back(is_null ? ValueRef(Null{}) : ValueRef(fields[i]));
  }
  return producer_.append(std::span<const ValueRef>(values_), next);
}

Result<void> CsvRun::pause() {
  std::uniform_int_distribution<milliseconds::rep> length(job_.interval.min.count(),
                                                          job_.interval.max.count());
  return producer_.pump(milliseconds(length(random_)));
}

void CsvRun::show_progress() {
  const auto now = steady_clock::now();
  if (!bar_.is_due(now)) {
    return;
  }
  const csv::Progress progress = source_.progress();
  ProgressView view;
  view.rows = position_;
  view.elapsed = std::chrono::round<milliseconds>(now - begun_);
  const auto part = [](std::uint64_t done, std::uint64_t all) {
    return all == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(all);
  };
  if (job_.limit || progress.rows_total) {
    const std::uint64_t most = ~std::uint64_t{0};
    view.fraction =
        part(position_, std::min(job_.limit.value_or(most), progress.rows_total.value_or(most)));
  } else if (progress.bytes_total) {
    view.fraction = part(progress.bytes_read, *progress.bytes_total);
  }
  bar_.update(view, now);
}

}  // namespace turnstile
