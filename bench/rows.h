// The rows that all sides write: the sample's rows, repeated and renumbered. And checks that all of
// them arrived, unchanged and in order, without code of Turnstile.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/plain_sqlite.h"

namespace turnstile::bench {

inline constexpr std::size_t kColumns = 6;
inline constexpr const char* kTable = "nutrients";
inline constexpr std::array<std::string_view, kColumns> kColumnNames{
    "id", "name", "unit_name", "nutrient_nbr", "rank", "time"};
inline constexpr const char* kCreateTable =
    "CREATE TABLE nutrients(id INTEGER, name TEXT, unit_name TEXT, nutrient_nbr TEXT, "
    "rank INTEGER, time TEXT)";

std::vector<std::string> column_names();

using Row = std::array<std::string_view, kColumns>;

// Equal for the same rows in any order.
struct Fingerprint {
  std::uint64_t rows = 0;
  std::uint64_t sum = 0;

  void add(const Row& row);
  bool operator==(const Fingerprint&) const = default;
};

class Sample {
 public:
  explicit Sample(const std::filesystem::path& csv);

  // Row number `id`, from 1. Valid until the next call.
  const Row& row(std::uint64_t id);

  // Rows first, first + 1, ... as a CSV file.
  void write_csv(const std::filesystem::path& path, std::uint64_t first, std::uint64_t rows);

  Fingerprint fingerprint(std::uint64_t first, std::uint64_t rows);

 private:
  std::vector<std::array<std::string, kColumns>> rows_;
  std::string id_;
  Row row_;
};

// The parsed rows of a CSV file, in memory.
class MemoryRows {
 public:
  explicit MemoryRows(const std::filesystem::path& csv);

  [[nodiscard]] std::size_t size() const { return ends_.size() / kColumns; }
  [[nodiscard]] Row row(std::size_t index) const;

 private:
  std::string bytes_;
  std::vector<std::size_t> ends_;  // end of each value, row by row
};

// The number of rows of each producer, in order of their ids: producer 0 has rows 1 to shares[0],
// and so on.
using Shares = std::vector<std::uint64_t>;
Shares equal_shares(std::uint64_t rows, std::size_t producers);
std::uint64_t first_of(const Shares& shares, std::size_t producer);

// Throws Failure unless the table holds exactly these rows, with each producer's rows in order.
// Holes::known: rows are missing, and the fingerprint accounts for it.
enum class Holes { none, known };
void check_database(const std::filesystem::path& db, const Fingerprint& expected,
                    const Shares& shares, Holes holes = Holes::none);

// Throws Failure unless line N is the table's row N, for all rows.
void check_text(const std::filesystem::path& text, const std::filesystem::path& db);

// Watches a target during a measurement. Keeps one connection, because opening one takes longer
// than a query.
class ProgressWatch {
 public:
  explicit ProgressWatch(std::filesystem::path db) : db_(std::move(db)) {}
  // The rows that the producers' progress counts in the target; 0 if there is no target yet.
  [[nodiscard]] std::uint64_t rows();

 private:
  std::filesystem::path db_;
  std::optional<PlainDatabase> database_;
};

}  // namespace turnstile::bench
