// Sends the rows of a CSV through a producer, in stream order, at the chosen pace.
//
// Sequence BASE + k is the k-th good row in stream order. With a definition (--create), the
// definition is BASE + 1 and the k-th good row is BASE + k + 1. A restarted named producer
// therefore skips the good rows that are stored or applied after BASE according to the broker, or
// taken according to the spool.
//
// BASE is 0 for the first file of a name. The source of each batch (proto/source.h) carries BASE,
// and as its mark the number of bytes read from the file and their hash. The source is kept with
// the rows and survives as they do. A file that no longer begins with those bytes is another file:
// its BASE is the last row of the name, which must be known for sure.
//
// With a spool, standard input is a new input each time: its rows follow those of earlier runs.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "client/producer.h"
#include "flags/options.h"
#include "producers/csv/reader.h"
#include "producers/csv/row_values.h"
#include "producers/progress_bar.h"
#include "producers/report.h"
#include "producers/stopping.h"

namespace turnstile {

enum class WhenReplaced { begin, stop };

struct CsvJob {
  std::string table;
  bool create = false;  // the source must have been opened with infer_types
  bool skip_bad_rows = false;
  EmptyField empty = EmptyField::by_column;
  std::optional<std::uint64_t> limit;  // of good rows, counted from the beginning of the stream
  DurationRange interval;              // between two rows, random in the range
  std::uint64_t seed = 0;              // of the interval
  std::string resume_name;             // empty: the producer has no name
  std::string spool;                   // its path; empty: none
  bool is_new_input = false;           // no earlier run sent rows of this stream, whatever the name
  std::string source;                  // the same as ProducerOptions::source
  WhenReplaced when_replaced = WhenReplaced::begin;
  std::chrono::milliseconds timeout{0};  // until the last row of the name is known; 0: none
};

// Identifies the input of a named producer: the same rows in the same order get the same sequence
// numbers. 16 hexadecimal digits.
std::string csv_source_of(const csv::RowSource& source, const std::string& table, csv::Order order,
                          bool create);

// The table's name for a path: its base name without extension; `nutrients` for nutrient.csv.
// Empty for "-".
std::string csv_table_of(const std::string& path);

class CsvRun {
 public:
  // All must outlive the run. `log` prints single lines to the user.
  CsvRun(Producer& producer, csv::RowSource& source, CsvJob job, Stopping& stopping,
         ProgressBar& bar, std::function<void(const std::string&)> log);

  // Everything from the welcome to the last acknowledgement.
  Report run();

  // See ProducerOptions::source_now.
  [[nodiscard]] std::string source_now() const;

 private:
  Result<void> begin();
  enum class Input { same, replaced, not_known };
  Result<Started> place_input();
  Result<Input> compare(const Started& started);
  Result<void> check_mark() const;
  [[nodiscard]] tl::unexpected<Error> fail_other_input() const;
  Result<void> check_table();
  Result<void> stream();
  Result<void> finish();
  Result<void> take(const csv::Record& record);
  // True: continue.
  bool take_bad(const csv::BadRow& bad);
  Result<Sequence> append(std::span<const std::string_view> fields);
  void note_changed_forms(std::span<const std::string_view> fields);
  Result<void> pause();
  void show_progress();

  Producer& producer_;
  csv::RowSource& source_;
  CsvJob job_;
  Stopping& stopping_;
  ProgressBar& bar_;
  std::function<void(const std::string&)> log_;

  ProgressBar::TimePoint begun_;
  std::mt19937_64 random_;
  Report report_;
  std::uint64_t base_ = 0;          // see above
  std::optional<csv::Mark> known_;  // the mark of the rows sent before
  std::uint64_t position_ = 0;      // good rows of the stream so far, skipped or sent
  bool is_table_checked_ = false;
  RowValues values_;
};

}  // namespace turnstile
