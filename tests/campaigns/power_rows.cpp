#include "tests/campaigns/power_rows.h"

#include <array>
#include <span>

#include "proto/rows.h"

namespace turnstile::test::power {
namespace {

constexpr std::uint64_t kRowsInARun = 40;  // for the same table

// splitmix64: spreads what is counted.
std::uint64_t spread(std::string_view producer, std::uint64_t sequence) {
  std::uint64_t x = sequence * 0x9E3779B97F4A7C15ULL;
  for (const char c : producer) {
    x = (x ^ static_cast<unsigned char>(c)) * 0xBF58476D1CE4E5B9ULL;
    x ^= x >> 29U;
  }
  x *= 0x94D049BB133111EBULL;
  return x ^ (x >> 31U);
}

}  // namespace

bool is_definition(std::uint64_t sequence) {
  return sequence <= kDefinitions;
}

std::string_view table_of(std::uint64_t sequence) {
  if (is_definition(sequence)) {
    return sequence == 1 ? kLogged : kOther;
  }
  return sequence / kRowsInARun % 3 == 2 ? kOther : kLogged;
}

bool is_bad(std::string_view producer, std::uint64_t sequence) {
  return !is_definition(sequence) && spread(producer, sequence) % 23 == 0;
}

std::string filler_of(std::string_view producer, std::uint64_t sequence) {
  const std::uint64_t dice = spread(producer, sequence) >> 8U;
  const std::size_t length = dice % 200 == 0 ? 20'000 : dice % 90;
  std::string filler(length, static_cast<char>('a' + dice % 26));
  if (dice % 5 == 0) {
    filler += "\nline";
  }
  return filler;
}

Batch batch_from(const std::string& producer, std::uint64_t first, std::uint32_t most) {
  Batch batch;
  BatchHeader& header = batch.header;
  header.producer = {producer};
  header.first = {first};
  header.table = std::string(table_of(first));
  header.columns = {"producer", "seq", "filler"};
  RowsEncoder rows;
  if (is_definition(first)) {
    header.kind = BatchKind::define;
    rows.add(std::array<std::string_view, 3>{"TEXT", "INTEGER", "TEXT"});
  } else {
    for (std::uint64_t sequence = first; rows.rows() < most && table_of(sequence) == header.table;
         ++sequence) {
      const std::string filler = filler_of(producer, sequence);
      const std::array<ValueRef, 3> values{std::string_view(producer),
                                           static_cast<std::int64_t>(sequence),
                                           std::string_view(filler)};
      rows.add(std::span(values).first(is_bad(producer, sequence) ? 2 : 3));
    }
  }
  header.rows = rows.rows();
  batch.rows_frame = rows.take();
  return batch;
}

}  // namespace turnstile::test::power
