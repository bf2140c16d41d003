// Rows of a CSV, one after another, in file order or last row first, in constant memory.
//
//   auto source = csv::open_csv({.path = "nutrient.csv", .order = csv::Order::reverse});
//   while (auto item = (*source)->next(); item && *item) { ... }
//
// Each source belongs to one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "producers/csv/bytes.h"
#include "producers/csv/infer.h"
#include "producers/csv/scanner.h"

namespace turnstile::csv {

enum class Order {
  file,
  // Last row first. RFC 4180 cannot be read backwards: whether a line break ends a row depends on
  // the quotes before it. So the file is read twice: forward, to record where each block of rows
  // begins (about 6 KB for a million rows of 40 bytes), then block by block from the end. A pipe is
  // copied to an unnamed file in $TMPDIR (else /tmp).
  reverse,
};

struct CsvOptions {
  std::string path;  // "-" is standard input
  Order order = Order::file;
  // Fills column_types(). In file order this reads the file twice, and copies a pipe as above.
  bool infer_types = false;
  WaitForInput wait_for_input = {};  // of a pipe, or of a file that is read once
  bool keeps_mark = false;           // for RowSource::mark(), in file order
  Limits limits = {};  // with line_feed_needed the last line waits until it is finished
};

struct Progress {
  std::uint64_t bytes_read = 0;              // of the rows returned so far
  std::optional<std::uint64_t> bytes_total;  // not for a pipe that is read once
  std::optional<std::uint64_t> rows_total;   // good rows; known if the file is read twice
};

struct Skipped {
  std::uint64_t rows = 0;  // fewer than asked for at the end of the input
  std::uint64_t bad_rows = 0;
};

class RowSource {
 public:
  RowSource(const RowSource&) = delete;
  RowSource& operator=(const RowSource&) = delete;
  virtual ~RowSource() = default;

  // Its name in errors: the path, or "standard input".
  const std::string& name() const { return facts_.name; }
  const std::vector<std::string>& columns() const { return facts_.columns; }

  // One for each column if CsvOptions::infer_types is set, else empty.
  const std::vector<ColumnType>& column_types() const { return facts_.types; }

  // 16 hex digits, the same for the same rows in the same order. In file order they cover header
  // and first row, since a file may grow at its end; in reverse order also size and end.
  const std::string& fingerprint() const { return facts_.fingerprint; }

  // A row, valid until the next call; or a bad row, after which reading may continue; or the end.
  // Waits while a pipe has nothing. Errors, after which nothing more can be read: io; bad_input
  // when the file changed between two passes.
  virtual Result<std::optional<Item>> next() = 0;

  // Skips `rows` good rows and the bad ones before them, and stops directly after the last.
  virtual Result<Skipped> skip(std::uint64_t rows) = 0;

  virtual Progress progress() const = 0;

  // What was read through the latest returned row; empty unless CsvOptions::keeps_mark.
  virtual std::optional<Mark> mark() { return std::nullopt; }
  // Whether the input begins with the bytes of that mark; empty if it cannot be read again. Error:
  // io.
  virtual Result<std::optional<bool>> begins_as(const Mark& /*mark*/) {
    return std::optional<bool>();
  }

  // At the end: the line of an unfinished last record (Limits::line_feed_needed).
  virtual std::optional<std::uint64_t> unfinished_line() const { return std::nullopt; }

 protected:
  struct Facts {
    std::string name;
    std::vector<std::string> columns;
    std::vector<ColumnType> types;
    std::string fingerprint;
  };
  RowSource() = default;

  Facts facts_;
};

// Opens the input, and reads the header and the first row (the whole file if it is read twice).
// Nullptr: the header is unfinished or missing (only with Limits::line_feed_needed). Errors:
// unreachable (no such file, a directory, no permission, empty: nothing or only a BOM), bad_input
// (a bad header), io, full (no room to copy a pipe). A file with only a header is no error.
Result<std::unique_ptr<RowSource>> open_csv(const CsvOptions& options);

}  // namespace turnstile::csv
