// Ledgers: the acknowledgements that producers got and wrote down with --ledger FILE. `turnstile
// check` compares them with the target.
//
// A ledger is a text file to which a producer appends one line for each acknowledgement, after it
// came. A line is one JSON object, ended by a line feed, of at most kLedgerLineBytes bytes, written
// with one write(2). Keys in any order; others are ignored:
//
//   {"producer":"P1","first":101,"last":200,"level":"applied","at_ms":1714923541987}
//
//   producer   the producer id, as it is on the wire
//   first      the first and ...
//   last       ... the last sequence newly acknowledged at this level, after those acknowledged
//              before; 1 <= first <= last
//   level      "stored" or "applied"; `applied` includes rows that became dead letters
//   at_ms      when the acknowledgement came, in milliseconds since the Unix epoch
//
// Sequences that stand for a table's definition are acknowledged, and counted, like rows. A
// sequence may stand in a ledger as stored and later as applied. Several processes with one
// --resume name may write one ledger after the other, or one each. A line that the file ends in
// without a line feed was cut off by a crash and is not counted: its acknowledgement was not
// recorded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "inspect/check_ranges.h"

namespace turnstile::check {

inline constexpr std::size_t kLedgerLineBytes = 4096;

// What one producer had acknowledged, by all ledgers together.
struct Acknowledged {
  Ranges stored;
  Ranges applied;
};

struct LedgerFile {
  std::filesystem::path path;
  std::uint64_t lines = 0;
  std::vector<std::string> problems;  // lines that cannot be read, the first few
};

struct Ledgers {
  std::vector<LedgerFile> files;
  std::map<std::string, Acknowledged> producers;
};

// Reads what the file holds now; what is appended meanwhile is left out.
// Errors: unreachable.
Result<void> read_ledger(const std::filesystem::path& path, Ledgers& into);

}  // namespace turnstile::check
