// What one pass over a whole CSV tells: how many rows, where they stand, and their types.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "producers/csv/infer.h"
#include "producers/csv/scanner.h"
#include "base/result.h"

namespace turnstile::csv {

struct Header {
  std::vector<std::string> columns;
  std::string raw;  // its bytes without the line end
};

// Reads the first record and tells the scanner how many columns there are. `name` is the file in
// errors. Errors: unreachable for an empty input; bad_input for a record that is no header: a
// fault in it, an empty name, two names that are equal but for ASCII case (as SQLite compares
// them), more than kMaxColumns; a name that holds another delimiter than the comma; io. Nothing:
// the header is not finished, or missing (only with Limits::line_feed_needed).
Result<std::optional<Header>> read_header(Scanner& scanner, const std::string& name);

// Consecutive records that reverse order reads at once: as many as make up Limits::block_bytes,
// the last of them whole. 40 bytes each: for a million rows of 40 bytes about 6 KB.
struct Block {
  Place begin;
  std::uint64_t rows = 0;
  std::uint64_t bad_rows = 0;
};

struct Survey {
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;  // of the file
  std::vector<Block> blocks;
  std::vector<ColumnType> types;                 // from the good rows; none unless asked for
  std::string first_row;                         // its bytes without the line end
  std::optional<std::uint64_t> unfinished_line;  // as Scanner::unfinished_line()
};

// Reads all that stands behind the header. Error: that of the source.
Result<Survey> survey(Scanner& scanner, const Limits& limits,
                      std::optional<TypeInference> inference);

// 16 hex digits that tell one source from another: header and first row; `tail` is whatever else
// must be the same.
std::string fingerprint_of(std::string_view header, std::string_view first_row,
                           std::string_view tail = {});

}  // namespace turnstile::csv
