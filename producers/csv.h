// The rows of a CSV through a producer, in stream order, at their pace.
//
// Sequence k is the k-th good row in stream order; with a definition (--create) that is sequence 1
// and the k-th good row is k + 1. So a named producer that starts again passes over as many good
// rows as the broker says are stored or applied, or as the spool has taken. With a spool standard
// input is new each time: its rows go on behind those of earlier runs.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/options.h"
#include "producers/csv_reader.h"
#include "producers/producer.h"
#include "producers/progress_bar.h"
#include "producers/report.h"
#include "producers/stopping.h"

namespace turnstile {

enum class EmptyField {
  by_column,  // empty text, but NULL where the column's type is known to be INTEGER or REAL
  null,
  text,
};

struct CsvJob {
  std::string table;
  bool create = false;  // the source must have been opened with infer_types
  bool skip_bad_rows = false;
  EmptyField empty = EmptyField::by_column;
  std::optional<std::uint64_t> limit;  // of good rows, from the beginning of the stream
  DurationRange interval;              // between two rows, random in the range
  std::uint64_t seed = 0;              // of that
  std::string resume_name;             // empty: the producer has no name
  std::string spool;                   // its path; empty: none
  bool is_new_input = false;           // no row of the stream was there before, whatever the name
  std::string source;                  // what ProducerOptions::source says
};

// The source that a named producer's progress belongs to: the same rows in the same order give the
// same sequence numbers. 16 hexadecimal digits.
std::string csv_source_of(const csv::RowSource& source, const std::string& table, csv::Order order,
                          bool create);

// The table's name for a path: its base name without extension; `nutrients` for nutrient.csv.
// Empty for "-".
std::string csv_table_of(const std::string& path);

class CsvRun {
 public:
  // All must outlive the run. `log` is for single lines to people.
  CsvRun(Producer& producer, csv::RowSource& source, CsvJob job, Stopping& stopping,
         ProgressBar& bar, std::function<void(const std::string&)> log);

  // Everything from the welcome to the last acknowledgement.
  Report run();

 private:
  Result<void> begin();
  Result<void> check_source(const Started& started) const;
  Result<void> check_table();
  Result<void> stream();
  Result<void> finish();
  Result<void> take(const csv::Record& record);
  Result<bool> take_bad(const csv::BadRow& bad);
  Result<Sequence> append(std::span<const std::string_view> fields);
  // Whether an empty field of it is sent as NULL.
  [[nodiscard]] bool has_nulls(std::size_t column) const;
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
  std::uint64_t position_ = 0;  // good rows of the stream so far, passed over or sent
  bool is_table_checked_ = false;
  bool has_null_columns_ = false;
  std::vector<ValueRef> values_;  // of the row in hand, where there are such columns
};

}  // namespace turnstile
