// Random rows, written as RFC 4180 with random quoting and line ends, are read back unchanged in
// both orders, for every size of buffer, pieces and blocks.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "producers/csv/reader.h"
#include "tests/producers/csv/testing.h"
#include "tests/support/sanitized.h"

namespace turnstile::csv {
namespace {

using Row = std::vector<std::string>;

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  std::size_t below(std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(engine_);
  }
  bool chance(std::size_t one_in) { return below(one_in) == 0; }

 private:
  std::mt19937_64 engine_;
};

// A new seed each time; a failure prints its seed, which reproduces it.
std::uint64_t chosen_seed() {
  const char* given = std::getenv("TURNSTILE_TEST_SEED");
  const std::uint64_t seed = given != nullptr ? std::stoull(given) : std::random_device{}();
  std::cout << "TURNSTILE_TEST_SEED=" << seed << '\n';
  return seed;
}

std::string random_field(Random& random) {
  const std::vector<std::string> pieces_to_choose = {
      "a", "7", " ", ",", "\"", "\n", "\r", "\r\n", "\xC3\xA9", "\xF0\x9F\x90\x95", "word", "-1"};
  std::string field;
  const std::size_t pieces = random.chance(20) ? 60 : random.below(5);
  for (std::size_t i = 0; i < pieces; ++i) {
    field += pieces_to_choose[random.below(pieces_to_choose.size())];
  }
  return field;
}

std::string written(const std::string& field, Random& random) {
  if (field.find_first_of(",\"\r\n") == std::string::npos && !random.chance(4)) {
    return field;
  }
  std::string quoted = "\"";
  for (const char c : field) {
    quoted += c;
    if (c == '"') {
      quoted += c;
    }
  }
  return quoted + '"';
}

struct Case {
  std::string text;
  std::vector<Row> rows;
};

Case random_case(Random& random) {
  const std::size_t columns = 1 + random.below(5);
  Case made;
  if (random.chance(4)) {
    made.text = "\xEF\xBB\xBF";
  }
  for (std::size_t i = 0; i < columns; ++i) {
    made.text += (i == 0 ? "" : ",") + written(fmt::format("c{}", i), random);
  }
  made.text += random.chance(2) ? "\n" : "\r\n";
  const std::size_t rows = random.below(12);
  for (std::size_t r = 0; r < rows; ++r) {
    Row row(columns);
    std::string line;
    for (std::size_t i = 0; i < columns; ++i) {
      row[i] = random_field(random);
      line += (i == 0 ? "" : ",") + written(row[i], random);
    }
    made.text += line;
    // An empty last row needs its line end to be a row.
    if (r + 1 < rows || line.empty() || !random.chance(3)) {
      made.text += random.chance(2) ? "\n" : "\r\n";
    }
    made.rows.push_back(std::move(row));
  }
  return made;
}

std::vector<Row> rows_of(RowSource& source) {
  std::vector<Row> rows;
  for (;;) {
    const auto item = source.next();
    if (!item) {
      ADD_FAILURE() << item.error().what;
      return rows;
    }
    if (!*item) {
      return rows;
    }
    if (const auto* record = std::get_if<Record>(&**item)) {
      rows.emplace_back(record->fields.begin(), record->fields.end());
    } else {
      ADD_FAILURE() << testing::show(**item);
    }
  }
}

TEST(CsvProperty, WrittenRowsComeBackInBothOrders) {
  const std::uint64_t seed = chosen_seed();
  Random random(seed);
  testing::MemoryFile file;
  const std::string path = file.path();
  constexpr int kCases = kSanitized ? 200 : 1500;
  for (int i = 0; i < kCases && !HasFailure(); ++i) {
    const Case made = random_case(random);
    SCOPED_TRACE(fmt::format("seed {}, case {}:\n{}", seed, i, made.text));
    file.write(made.text);
    const Limits limits{.buffer_bytes = 1 + random.below(40), .block_bytes = 1 + random.below(60)};
    EXPECT_EQ(rows_of(*testing::must_open({.path = path, .limits = limits})), made.rows);
    EXPECT_EQ(
        rows_of(*testing::must_open({.path = path, .order = Order::reverse, .limits = limits})),
        std::vector<Row>(made.rows.rbegin(), made.rows.rend()));
  }
}

// Any bytes: both orders agree on every row and every fault, and the sizes change nothing.
TEST(CsvProperty, GarbageGivesTheSameRowsAndFaultsInBothOrders) {
  const std::vector<std::string> pieces_to_choose = {
      "a",          "1",    ",",        ",",    ",",
      "\"",         "\"",   "\n",       "\n",   "\r\n",
      "\r",         "\"\"", "\xC3\xA9", "\xFF", std::string(1, '\0'),
      "longer text"};
  const std::uint64_t seed = chosen_seed();
  Random random(seed);
  testing::MemoryFile file;
  const std::string path = file.path();
  constexpr int kCases = kSanitized ? 400 : 3000;
  for (int i = 0; i < kCases && !HasFailure(); ++i) {
    std::string text = "a,b\n";
    for (std::size_t n = random.below(40); n > 0; --n) {
      text += pieces_to_choose[random.below(pieces_to_choose.size())];
    }
    SCOPED_TRACE(fmt::format("seed {}, case {}: {}", seed, i, ::testing::PrintToString(text)));
    file.write(text);
    Limits limits{.max_record_bytes = 20};
    auto expected = testing::drain(*testing::must_open({.path = path, .limits = limits}));
    limits.buffer_bytes = 1 + random.below(40);
    limits.block_bytes = 1 + random.below(60);
    EXPECT_EQ(testing::drain(*testing::must_open({.path = path, .limits = limits})), expected);
    std::reverse(expected.begin(), expected.end());
    EXPECT_EQ(testing::drain(
                  *testing::must_open({.path = path, .order = Order::reverse, .limits = limits})),
              expected);
  }
}

}  // namespace
}  // namespace turnstile::csv
