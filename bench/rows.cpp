#include "bench/rows.h"

#include <sqlite3.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <memory>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "bench/process.h"
#include "producers/csv/reader.h"

namespace turnstile::bench {
namespace {

void for_each_record(const std::filesystem::path& csv,
                     const std::function<void(const turnstile::csv::Record&)>& take) {
  turnstile::csv::CsvOptions options;
  options.path = csv;
  const auto source = value_of(turnstile::csv::open_csv(options));
  while (auto item = value_of(source->next())) {
    const auto* record = std::get_if<turnstile::csv::Record>(&*item);
    if (record == nullptr || record->fields.size() != kColumns) {
      throw Failure(fmt::format("{} has a row without exactly {} values", csv.string(), kColumns));
    }
    take(*record);
  }
}

void append_field(std::string& out, std::string_view field) {
  if (field.find_first_of("\",\r\n") == std::string_view::npos) {
    out += field;
    return;
  }
  out += '"';
  for (const char c : field) {
    out += c;
    if (c == '"') {
      out += c;
    }
  }
  out += '"';
}

}  // namespace

std::vector<std::string> column_names() {
  return {kColumnNames.begin(), kColumnNames.end()};
}

void Fingerprint::add(const Row& row) {
  std::array<char, 1024> buffer;
  std::string longer;
  std::size_t size = 0;
  for (const auto value : row) {
    size += value.size() + 1;
  }
  std::string_view whole;
  if (size <= buffer.size()) {
    char* at = buffer.data();
    for (const auto value : row) {
      at = std::copy(value.begin(), value.end(), at);
      *at++ = '\x1f';
    }
    whole = {buffer.data(), size};
  } else {
    for (const auto value : row) {
      longer += value;
      longer += '\x1f';
    }
    whole = longer;
  }
  ++rows;
  sum += std::hash<std::string_view>{}(whole);
}

Sample::Sample(const std::filesystem::path& csv) {
  for_each_record(csv, [&](const turnstile::csv::Record& record) {
    auto& row = rows_.emplace_back();
    std::copy(record.fields.begin(), record.fields.end(), row.begin());
  });
  if (rows_.empty()) {
    throw Failure(csv.string() + " has no rows");
  }
}

const Row& Sample::row(std::uint64_t id) {
  const auto& source = rows_[(id - 1) % rows_.size()];
  std::copy(source.begin(), source.end(), row_.begin());
  id_ = std::to_string(id);
  row_[0] = id_;
  return row_;
}

void Sample::write_csv(const std::filesystem::path& path, std::uint64_t first, std::uint64_t rows) {
  constexpr std::size_t kChunk = std::size_t{1} << 20U;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  std::string chunk = fmt::format("{}\n", fmt::join(kColumnNames, ","));
  for (std::uint64_t id = first; id < first + rows; ++id) {
    const Row& values = row(id);
    for (std::size_t i = 0; i < kColumns; ++i) {
      append_field(chunk, values[i]);
      chunk += i + 1 < kColumns ? ',' : '\n';
    }
    if (chunk.size() > kChunk) {
      file << chunk;
      chunk.clear();
    }
  }
  file << chunk;
  if (!file.flush()) {
    throw Failure("cannot write " + path.string());
  }
}

Fingerprint Sample::fingerprint(std::uint64_t first, std::uint64_t rows) {
  Fingerprint result;
  for (std::uint64_t id = first; id < first + rows; ++id) {
    result.add(row(id));
  }
  return result;
}

MemoryRows::MemoryRows(const std::filesystem::path& csv) {
  for_each_record(csv, [&](const turnstile::csv::Record& record) {
    for (const auto field : record.fields) {
      bytes_ += field;
      ends_.push_back(bytes_.size());
    }
  });
}

Row MemoryRows::row(std::size_t index) const {
  Row row;
  std::size_t begin = index == 0 ? 0 : ends_[index * kColumns - 1];
  for (std::size_t i = 0; i < kColumns; ++i) {
    const std::size_t end = ends_[index * kColumns + i];
    row[i] = std::string_view(bytes_).substr(begin, end - begin);
    begin = end;
  }
  return row;
}

Shares equal_shares(std::uint64_t rows, std::size_t producers) {
  Shares shares(producers, rows / producers);
  for (std::size_t i = 0; i < rows % producers; ++i) {
    ++shares[i];
  }
  return shares;
}

std::uint64_t first_of(const Shares& shares, std::size_t producer) {
  return std::accumulate(shares.begin(), shares.begin() + static_cast<std::ptrdiff_t>(producer),
                         std::uint64_t{1});
}

// ---- checks

void check_database(const std::filesystem::path& db, const Fingerprint& expected,
                    const Shares& shares, Holes holes) {
  std::vector<std::uint64_t> last_ids;  // last id of each producer's share
  std::vector<std::uint64_t> seen;      // last id found so far of each producer
  std::uint64_t id = 0;
  for (const auto share : shares) {
    seen.push_back(id);
    id += share;
    last_ids.push_back(id);
  }
  PlainDatabase database(db, PlainDatabase::Mode::read);
  PlainStatement select = database.prepare(
      "SELECT id, name, unit_name, nutrient_nbr, rank, time FROM nutrients ORDER BY rowid");
  Fingerprint found;
  while (select.step()) {
    Row row;
    for (std::size_t i = 0; i < kColumns; ++i) {
      row[i] = select.text(static_cast<int>(i));
    }
    found.add(row);
    const auto number = static_cast<std::uint64_t>(select.integer(0));
    const auto owner = std::lower_bound(last_ids.begin(), last_ids.end(), number);
    if (owner == last_ids.end()) {
      throw Failure(fmt::format("{} has row {}, which was never sent", db.string(), number));
    }
    auto& before = seen[static_cast<std::size_t>(owner - last_ids.begin())];
    if (number <= before || (holes == Holes::none && number != before + 1)) {
      throw Failure(fmt::format("{} has row {} after row {}", db.string(), number, before));
    }
    before = number;
  }
  if (found != expected) {
    throw Failure(fmt::format("{} has {} rows instead of {}, or wrong values", db.string(),
                              found.rows, expected.rows));
  }
  if (database.text("PRAGMA quick_check") != "ok") {
    throw Failure(db.string() + " is damaged");
  }
}

void check_text(const std::filesystem::path& text, const std::filesystem::path& db) {
  PlainDatabase database(db, PlainDatabase::Mode::read);
  PlainStatement select = database.prepare(
      "SELECT '[' || id || ', ' || name || ', ' || unit_name || ', ' || nutrient_nbr || ', ' || "
      "coalesce(rank, '') || ', ' || time || ']' FROM nutrients ORDER BY rowid");
  std::ifstream file(text);
  std::string line;
  std::uint64_t number = 0;
  while (select.step()) {
    ++number;
    if (!std::getline(file, line) || line != select.text(0)) {
      throw Failure(fmt::format("{} line {} differs from the table", text.string(), number));
    }
  }
  if (std::getline(file, line)) {
    throw Failure(fmt::format("{} has more than {} lines", text.string(), number));
  }
}

std::uint64_t ProgressWatch::rows() {
  if (!database_ && !std::filesystem::exists(db_)) {
    return 0;
  }
  if (!database_) {
    database_.emplace(db_, PlainDatabase::Mode::read);
  }
  return static_cast<std::uint64_t>(
      database_->integer_or("SELECT coalesce(sum(through), 0) FROM turnstile_producers", 0));
}

}  // namespace turnstile::bench
