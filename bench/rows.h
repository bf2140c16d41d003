// The rows that everybody writes: the sample's, again and again, numbered anew; and whether they
// are all there, unchanged and in order, read with no code of the product.
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

// The same for the same rows in whatever order.
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

// Rows of a CSV file in memory, parsed.
class MemoryRows {
 public:
  explicit MemoryRows(const std::filesystem::path& csv);

  [[nodiscard]] std::size_t size() const { return ends_.size() / kColumns; }
  [[nodiscard]] Row row(std::size_t index) const;

 private:
  std::string bytes_;
  std::vector<std::size_t> ends_;  // of the values, row by row
};

// How many rows each producer has, in order of their ids: producer 0 has 1 to rows[0], and so on.
using Shares = std::vector<std::uint64_t>;
Shares equal_shares(std::uint64_t rows, std::size_t producers);
std::uint64_t first_of(const Shares& shares, std::size_t producer);

// Throws Failure unless the table holds exactly these rows, and those of each producer stand in
// order. `holes`: some are missing, as the fingerprint says.
enum class Holes { none, known };
void check_database(const std::filesystem::path& db, const Fingerprint& expected,
                    const Shares& shares, Holes holes = Holes::none);

// Throws Failure unless each line is that of the table's row in its place.
void check_text(const std::filesystem::path& text, const std::filesystem::path& db);

// Looks at a target that is being measured, through one connection: to open one takes longer than
// to ask it.
class ProgressWatch {
 public:
  explicit ProgressWatch(std::filesystem::path db) : db_(std::move(db)) {}
  // Rows that producers' progress counts in the target; 0 while there is none.
  [[nodiscard]] std::uint64_t rows();

 private:
  std::filesystem::path db_;
  std::optional<PlainDatabase> database_;
};

}  // namespace turnstile::bench
