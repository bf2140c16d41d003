// What one pass over a whole CSV finds out: how many rows, where they are, and their types.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "producers/csv/infer.h"
#include "producers/csv/scanner.h"

namespace turnstile::csv {

struct Header {
  std::vector<std::string> columns;
  std::string raw;  // its bytes without the line end
};

// Reads the first record and tells the scanner the number of columns. Errors call the file `name`.
// Errors: unreachable for an empty input; bad_input for a record that is not a header: a fault in
// it, an empty name, two names that differ only in ASCII case (SQLite compares them as equal), more
// than kMaxColumns; a name that holds a delimiter other than the comma; io. Nothing: the header is
// unfinished or missing (only with Limits::line_feed_needed).
Result<std::optional<Header>> read_header(Scanner& scanner, const std::string& name);

// Consecutive records that reverse order reads together, about Limits::block_bytes of whole
// records. 40 bytes each: for a million rows of 40 bytes about 6 KB.
struct Block {
  Place begin;
  std::uint64_t rows = 0;
  std::uint64_t bad_rows = 0;
};

struct Survey {
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;  // of the file
  std::vector<Block> blocks;
  std::vector<ColumnType> types;                 // from the good rows; empty unless asked for
  std::string first_row;                         // its bytes without the line end
  std::optional<std::uint64_t> unfinished_line;  // as Scanner::unfinished_line()
};

// Reads everything after the header. Error: that of the source.
Result<Survey> survey(Scanner& scanner, const Limits& limits,
                      std::optional<TypeInference> inference);

// 16 hex digits that identify a source: header and first row; `tail` is what else must be the same.
std::string fingerprint_of(std::string_view header, std::string_view first_row,
                           std::string_view tail = {});

}  // namespace turnstile::csv
