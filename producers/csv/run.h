// The rows of a CSV through a producer, in stream order, at their pace.
//
// Sequence BASE + k is the k-th good row in stream order; with a definition (--create) that is BASE
// + 1 and the k-th good row is BASE + k + 1. So a named producer that starts again passes over as
// many good rows as the broker says are stored or applied after BASE, or as the spool has taken.
//
// BASE is 0 for the first file of a name. The source of each batch (proto/source.h) carries BASE,
// and as its mark how many bytes of the file were read and their hash; it is kept with the rows, so
// it survives what they survive. A file that no longer begins with those bytes is another one: its
// BASE is the last row of the name, and must be known for sure.
//
// With a spool standard input is new each time: its rows follow those of earlier runs.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flags/options.h"
#include "producers/csv/reader.h"
#include "client/producer.h"
#include "producers/progress_bar.h"
#include "producers/report.h"
#include "producers/stopping.h"

namespace turnstile {

enum class WhenReplaced { begin, stop };

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
  WhenReplaced when_replaced = WhenReplaced::begin;
  std::chrono::milliseconds timeout{0};  // until it is known how far the name came; 0: no limit
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

  // See ProducerOptions::source_now.
  [[nodiscard]] std::string source_now() const;

 private:
  Result<void> begin();
  enum class Input { same, replaced, not_known };
  Result<Started> place_input();
  Result<Input> compare(const Started& started);
  Result<void> check_mark() const;
  [[nodiscard]] tl::unexpected<Error> fail_other_input() const;
  void learn_types(const TableAnswer& answer);
  Result<void> check_table();
  Result<void> stream();
  Result<void> finish();
  Result<void> take(const csv::Record& record);
  // Whether to go on.
  bool take_bad(const csv::BadRow& bad);
  Result<Sequence> append(std::span<const std::string_view> fields);
  void set_columns();
  [[nodiscard]] ValueRef value_of(std::size_t column, std::string_view field) const;
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
  std::optional<csv::Mark> known_;  // the mark of what was sent before
  std::uint64_t position_ = 0;      // good rows of the stream so far, passed over or sent
  bool is_table_checked_ = false;
  // Of the table's columns, or of those that --create makes; none: not known.
  std::vector<csv::ColumnType> types_;
  std::vector<bool> is_null_if_empty_;
  // Columns that keep each value as it is sent, such as those without a type: an integer is sent as
  // one, so that WHERE a = 2 finds it.
  std::vector<bool> keeps_kind_;
  bool has_kind_columns_ = false;
  bool has_null_columns_ = false;
  bool has_number_columns_ = false;
  std::vector<ValueRef> values_;  // of the row in hand, where a field of it is no text
};

}  // namespace turnstile
