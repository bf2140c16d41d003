#include "producers/csv/run.h"

#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "base/counted.h"
#include "proto/limits.h"
#include "proto/source.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// BYTES:HASH
std::optional<csv::Mark> mark_of(std::string_view text) {
  csv::Mark mark;
  const char* const end = text.data() + text.size();
  const auto bytes = std::from_chars(text.data(), end, mark.bytes, 16);
  if (bytes.ec != std::errc{} || bytes.ptr == end || *bytes.ptr != ':') {
    return std::nullopt;
  }
  const auto hash = std::from_chars(bytes.ptr + 1, end, mark.hash, 16);
  return hash.ec == std::errc{} && hash.ptr == end ? std::optional(mark) : std::nullopt;
}

// Rows read between two checks of the clock.
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
      random_(job_.seed),
      values_(source_.columns().size(), source_.column_types(), job_.empty) {
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

// Sends what was read and waits for its acknowledgement, even when an error ended the input early.
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
  const auto started = place_input();
  if (!started) {
    return tl::make_unexpected(started.error());
  }
  const std::uint64_t definition = job_.create ? 1 : 0;
  const std::uint64_t taken = started->through.value - std::min(started->through.value, base_);
  if (taken < definition) {
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
  const std::uint64_t done = job_.is_new_input ? 0 : taken - std::min(taken, definition);
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
                "is it the same file? For another file, use a new --resume name");
  }
  if (auto checked = check_mark(); !checked) {
    return checked;
  }
  position_ = done;
  log_(fmt::format("{} of '{}' {} {} already; continuing after row {}", counted(done, "row"),
                   job_.resume_name, is_or_are(done),
                   job_.spool.empty() ? "stored or applied" : "taken", done));
  return {};
}

// STEM+BASE@BYTES:HASH, the last two in hexadecimal.
std::string CsvRun::source_now() const {
  const auto mark = source_.mark();
  if (!mark) {
    return job_.source;
  }
  std::string text = fmt::format("{}+{}@{:x}:{:016x}", job_.source, base_, mark->bytes, mark->hash);
  if (text.size() > limits::kSourceBytes) {
    text = fmt::format("{}+{}", job_.source, base_);
  }
  return text;
}

tl::unexpected<Error> CsvRun::fail_other_input() const {
  return fail(Errc::refused,
              fmt::format("{} with this table and order is not what '{}' started with",
                          source_.name(), job_.resume_name),
              "give the file, --table, --order and --create that it started with, or use a new "
              "--resume name");
}

// Whether the rows taken before are the first rows of this input.
Result<CsvRun::Input> CsvRun::compare(const Started& started) {
  base_ = 0;
  known_.reset();
  if (started.source.empty()) {
    return started.is_all ? Input::same : Input::not_known;
  }
  if (started.source == job_.source) {
    return Input::same;
  }
  const SourceText known = parse_source(started.source);
  known_ = mark_of(known.mark);
  if (!known_ || !source_.mark()) {
    if (known.stem != job_.source) {
      return fail_other_input();
    }
    base_ = known.base;
    return Input::same;
  }
  const auto begins = source_.begins_as(*known_);
  if (!begins) {
    return tl::make_unexpected(begins.error());
  }
  if (*begins && !**begins) {
    return Input::replaced;
  }
  if (known.stem == job_.source) {
    base_ = known.base;
    return Input::same;
  }
  // Before its first row existed, the file had another stem.
  const bool has_rows = started.through.value > known.base + (job_.create ? 1 : 0);
  if (has_rows) {
    return fail_other_input();
  }
  return Input::replaced;
}

// Finds out which rows of this input the name already has, and sets base_. Never a guess: a new
// input gets numbers that no other row can have.
Result<Started> CsvRun::place_input() {
  auto started = producer_.start();
  const auto deadline = steady_clock::now() + job_.timeout;
  for (bool has_said = false;; has_said = true) {
    if (!started || job_.is_new_input || job_.resume_name.empty()) {
      return started;
    }
    const auto input = compare(*started);
    if (!input) {
      return tl::make_unexpected(input.error());
    }
    if (*input == Input::same) {
      return started;
    }
    if (*input == Input::replaced && job_.when_replaced == WhenReplaced::stop) {
      return fail(
          Errc::refused,
          fmt::format("{} is not the file that '{}' was reading", source_.name(), job_.resume_name),
          "--when-replaced begin sends it from its first row");
    }
    if (*input == Input::replaced && started->is_all) {
      base_ = started->through.value;
      known_.reset();
      log_(fmt::format("{} is a new file; it is sent from its first row", source_.name()));
      return started;
    }
    if (!has_said) {
      log_(fmt::format("waiting for a consumer: only it can tell which rows of '{}' have arrived",
                       job_.resume_name));
    }
    if (job_.timeout > milliseconds(0) && steady_clock::now() >= deadline) {
      return fail(Errc::unreachable,
                  fmt::format("no consumer could tell which rows of '{}' have arrived; nothing was "
                              "sent",
                              job_.resume_name),
                  "start `turnstile consumer`, then run this again");
    }
    started = producer_.start_again();
  }
}

// For a pipe, which cannot be checked before it is read: whether the skipped rows are the rows that
// were sent.
Result<void> CsvRun::check_mark() const {
  const auto now = source_.mark();
  if (!known_ || !now || now->bytes != known_->bytes || now->hash == known_->hash) {
    return {};
  }
  return fail(Errc::refused,
              fmt::format("{} is not what '{}' was reading", source_.name(), job_.resume_name),
              "give the file by its path, or use a new --resume name");
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
      values_.learn_types(answer->types);
      return {};
    case TableState::unknown:
      return {};
    case TableState::missing_table:
      if (job_.create) {
        return {};
      }
      return fail(Errc::refused, fmt::format("there is no table '{}'{}", job_.table, detail),
                  "use --create to make it, or --table for another table");
    case TableState::missing_column:
      return fail(
          Errc::refused,
          fmt::format("table '{}' lacks a column of {}{}", job_.table, source_.name(), detail),
          "use --table for another table");
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
      report_.unfinished_line = source_.unfinished_line();
      if (report_.unfinished_line && job_.is_new_input) {
        // No later run reads this input again.
        take_bad({*report_.unfinished_line,
                  "the input ended within this line (--final-line send sends it)"});
        report_.unfinished_line.reset();
      }
      return {};
    }
    if (const auto* bad = std::get_if<csv::BadRow>(&**item)) {
      if (!take_bad(*bad)) {
        return {};
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

bool CsvRun::take_bad(const csv::BadRow& bad) {
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

// No value changes silently.
void CsvRun::note_changed_forms(std::span<const std::string_view> fields) {
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const csv::ColumnType type = values_.type(i);
    if (csv::changes_form(type, fields[i])) {
      ++report_.changed_values;
      if (!report_.first_changed) {
        report_.first_changed =
            ChangedValue{position_ + 1, source_.columns()[i], std::string(fields[i]),
                         std::string(csv::sql_name(type))};
      }
    }
    if (job_.empty == EmptyField::text && fields[i].empty() && type != csv::ColumnType::text &&
        !report_.has_empty_text) {
      report_.has_empty_text = true;
      log_(
          fmt::format("row {}: an empty field goes into the {} column {} as empty text (--empty "
                      "text)",
                      position_ + 1, csv::sql_name(type), source_.columns()[i]));
    }
  }
}

Result<Sequence> CsvRun::append(std::span<const std::string_view> fields) {
  // While the source waits for input, it calls the producer's pump().
  const auto next =
      job_.interval.max > milliseconds(0) ? Producer::Next::unknown : Producer::Next::immediately;
  if (values_.has_numbers()) {
    note_changed_forms(fields);
  }
  if (values_.is_all_text(fields)) {
    return producer_.append(fields, next);
  }
  return producer_.append(values_.values(fields), next);
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
