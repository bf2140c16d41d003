// The journal's format (JOURNAL.md), shared by its writer and its readers.
#pragma once

#include <xxhash.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace turnstile::broker {

inline constexpr std::int64_t kJournalFormat = 3;
// The oldest format with the current `batches`, which a reader can read.
inline constexpr std::int64_t kJournalBatchesSince = 1;
inline constexpr int kJournalPageBytes = 16 * 1024;

inline constexpr std::string_view kJournalTables = R"sql(
CREATE TABLE turnstile_journal(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE batches(
  offset       INTEGER PRIMARY KEY,
  producer     TEXT NOT NULL,
  first        INTEGER NOT NULL,
  last         INTEGER NOT NULL,
  stored_at_ms INTEGER NOT NULL,
  checksum     INTEGER NOT NULL,
  header       BLOB NOT NULL,
  rows         BLOB NOT NULL);
CREATE TABLE producers(name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, touched_ms INTEGER NOT NULL,
  owner INTEGER) WITHOUT ROWID;
CREATE TABLE target(path TEXT NOT NULL);
)sql";

// XXH3, 64 bits, chained: each column's hash seeds the next one, and the offset seeds the first.
// The checksum shows a changed byte in any column, and a batch at another offset.
struct JournalColumns {
  std::string_view producer;
  std::uint64_t first;
  std::uint64_t last;
  std::string_view header;
  std::string_view rows;
};

inline std::int64_t journal_checksum(std::uint64_t offset, const JournalColumns& columns) {
  const auto add = [](std::uint64_t seed, std::string_view bytes) {
    return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
  };
  std::array<char, 16> range{};  // big-endian: the same on every machine
  for (std::size_t i = 0; i < 8; ++i) {
    range.at(i) = static_cast<char>(columns.first >> (56 - 8 * i));
    range.at(8 + i) = static_cast<char>(columns.last >> (56 - 8 * i));
  }
  std::uint64_t hash = add(offset, columns.producer);
  hash = add(hash, std::string_view(range.data(), range.size()));
  hash = add(hash, columns.header);
  return static_cast<std::int64_t>(add(hash, columns.rows));
}

}  // namespace turnstile::broker
