// The spool's format (SPOOL.md), shared by its writer and its readers.
#pragma once

#include <xxhash.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace turnstile {

inline constexpr std::int64_t kSpoolFormat = 1;
inline constexpr int kSpoolPageBytes = 16 * 1024;

inline constexpr std::string_view kSpoolTables = R"sql(
CREATE TABLE turnstile_spool(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE batches(
  first    INTEGER PRIMARY KEY,
  last     INTEGER NOT NULL,
  kind     INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  header   BLOB NOT NULL,
  rows     BLOB NOT NULL);
)sql";

// XXH3, 64 bits, chained: each hash is the seed of the next, and `first` is the seed of the first
// hash. Detects a changed byte in any column, and a batch in another one's place.
inline std::int64_t spool_checksum(std::uint64_t first, std::uint64_t last, std::uint64_t kind,
                                   std::string_view header, std::string_view rows) {
  std::array<char, 16> numbers{};  // big-endian: the same on every machine
  for (std::size_t i = 0; i < 8; ++i) {
    numbers.at(i) = static_cast<char>(last >> (56 - 8 * i));
    numbers.at(8 + i) = static_cast<char>(kind >> (56 - 8 * i));
  }
  std::uint64_t hash = XXH3_64bits_withSeed(numbers.data(), numbers.size(), first);
  hash = XXH3_64bits_withSeed(header.data(), header.size(), hash);
  return static_cast<std::int64_t>(XXH3_64bits_withSeed(rows.data(), rows.size(), hash));
}

}  // namespace turnstile
