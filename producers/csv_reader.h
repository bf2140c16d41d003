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

#include "producers/csv_bytes.h"
#include "producers/csv_infer.h"
#include "producers/csv_scanner.h"
#include "proto/result.h"

namespace turnstile::csv {

enum class Order {
  file,
  // Last row first. RFC 4180 cannot be read backwards: whether a line break ends a row depends on
  // the quotes before it. So the file is read twice: forward to the end, keeping where each block
  // of rows begins (about 6 KB a million rows of 40 bytes), then block by block from the last. A
  // pipe is kept in a nameless file in $TMPDIR (else /tmp) meanwhile.
  reverse,
};

struct CsvOptions {
  std::string path;  // "-" is standard input
  Order order = Order::file;
  // Fills column_types(); in file order this reads the file twice, and keeps a pipe as above.
  bool infer_types = false;
  WaitForInput wait_for_input = {};  // of a pipe, or of a file that is read once
  Limits limits = {};
};

struct Progress {
  std::uint64_t bytes_read = 0;              // of the rows given so far
  std::optional<std::uint64_t> bytes_total;  // not of a pipe read once
  std::optional<std::uint64_t> rows_total;   // good ones; known if the file is read twice
};

struct Skipped {
  std::uint64_t rows = 0;  // fewer than asked for: there were no more
  std::uint64_t bad_rows = 0;
};

class RowSource {
 public:
  RowSource(const RowSource&) = delete;
  RowSource& operator=(const RowSource&) = delete;
  virtual ~RowSource() = default;

  // What errors call it: the path, or "standard input".
  const std::string& name() const { return facts_.name; }
  const std::vector<std::string>& columns() const { return facts_.columns; }

  // One a column if CsvOptions::infer_types asked for it, else none.
  const std::vector<ColumnType>& column_types() const { return facts_.types; }

  // 16 hex digits, the same for the same rows in the same order: over header and first row (in
  // file order a file may grow at its end) and in reverse order over its size and end as well.
  const std::string& fingerprint() const { return facts_.fingerprint; }

  // A row, valid until the next call; or a bad one, after which it can go on; or the end. Waits
  // for as long as a pipe gives nothing. Errors, after which nothing more can be read: io;
  // bad_input when the file was changed between two passes.
  virtual Result<std::optional<Item>> next() = 0;

  // Passes over `rows` good rows and the bad ones before them, and stops right behind the last.
  virtual Result<Skipped> skip(std::uint64_t rows) = 0;

  virtual Progress progress() const = 0;

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

// Opens, and reads the header and the first row (the whole file if it is to be read twice).
// Errors: unreachable (no such file, a folder, no permission, empty: nothing or only a BOM),
// bad_input (a bad header), io, full (no room to keep a pipe). No row behind the header is none.
Result<std::unique_ptr<RowSource>> open_csv(const CsvOptions& options);

}  // namespace turnstile::csv
