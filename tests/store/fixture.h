// What the tests of the store share: a folder of their own, batches from literals, and a second,
// plain connection that reads what the target holds.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "proto/messages.h"
#include "proto/rows.h"
#include "store/sqlite.h"
#include "store/target.h"
#include "store/text_lines.h"

namespace turnstile::test {

using Row = std::vector<ValueRef>;

inline const std::vector<std::string> pet_columns{"name", "breed"};

class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "turnstile-store-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::filesystem::path operator/(std::string_view name) const {
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

// Rows of one column: `first` and what follows it.
inline std::vector<Row> numbers(std::int64_t first, std::int64_t count) {
  std::vector<Row> rows;
  for (std::int64_t i = 0; i < count; ++i) {
    rows.push_back({first + i});
  }
  return rows;
}

inline Bytes frame_of(const std::vector<Row>& rows) {
  RowsEncoder encoder;
  for (const auto& row : rows) {
    encoder.add(std::span<const ValueRef>(row));
  }
  return encoder.take();
}

inline BatchHeader header_of(std::string producer, std::uint64_t first, std::size_t rows,
                             std::string table, std::vector<std::string> columns) {
  BatchHeader header;
  header.producer = {std::move(producer)};
  header.epoch = {1};
  header.first = {first};
  header.rows = static_cast<std::uint32_t>(rows);
  header.table = std::move(table);
  header.columns = std::move(columns);
  return header;
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

inline void write_text(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

class StoreTest : public ::testing::Test {
 protected:
  store::TargetOptions options() {
    store::TargetOptions options;
    options.path = db();
    options.busy_timeout = std::chrono::milliseconds{50};
    options.now_ms = [this] { return now_ms_; };
    return options;
  }
  [[nodiscard]] std::filesystem::path db() const { return folder_ / "t.db"; }
  [[nodiscard]] std::filesystem::path text() const { return folder_ / "out9.txt"; }

  static std::unique_ptr<store::Target> open(store::TargetOptions options) {
    auto target = store::Target::open(std::move(options));
    if (!target) {
      ADD_FAILURE() << target.error().what;
      return nullptr;
    }
    auto taken = (*target)->take_over();
    EXPECT_TRUE(taken) << taken.error().what;
    return std::move(*target);
  }

  // One transaction with one batch.
  static store::BatchOutcome write_frame(store::Target& target, const BatchHeader& header,
                                         std::string_view frame) {
    auto begun = target.begin();
    EXPECT_TRUE(begun) << begun.error().what;
    auto outcome = target.apply(header, Bytes(std::string(frame)));
    EXPECT_TRUE(outcome) << outcome.error().what;
    auto committed = target.commit();
    EXPECT_TRUE(committed) << committed.error().what;
    return outcome ? *outcome : store::BatchOutcome{};
  }
  static store::BatchOutcome write(store::Target& target, const BatchHeader& header,
                                   const std::vector<Row>& rows) {
    return write_frame(target, header, frame_of(rows).view());
  }

  // The clock goes on, and the consumer with it.
  void pass(store::Target& target, std::chrono::hours time) {
    for (std::chrono::hours passed{0}; passed < time; ++passed) {
      now_ms_ += std::chrono::milliseconds(std::chrono::hours{1}).count();
      ASSERT_TRUE(target.housekeeping());
    }
  }

  // As another program would.
  void run(const std::string& sql) const {
    auto connection = sqlite::Connection::open(db(), sqlite::Access::create);
    ASSERT_TRUE(connection) << connection.error().what;
    auto done = connection->execute(sql);
    ASSERT_TRUE(done) << done.error().what;
  }
  [[nodiscard]] std::int64_t number(const std::string& sql) const {
    auto connection = sqlite::Connection::open(db(), sqlite::Access::read_write);
    EXPECT_TRUE(connection);
    auto value = connection->query_integer(sql);
    EXPECT_TRUE(value) << value.error().what;
    return value.value_or(-1);
  }
  [[nodiscard]] std::string word(const std::string& sql) const {
    auto connection = sqlite::Connection::open(db(), sqlite::Access::read_write);
    EXPECT_TRUE(connection);
    auto value = connection->query_text(sql);
    EXPECT_TRUE(value) << value.error().what;
    return value.value_or("");
  }

  // What the text log of this table should hold.
  [[nodiscard]] std::string lines_of(const std::string& table) const {
    auto connection = sqlite::Connection::open(db(), sqlite::Access::read_write);
    EXPECT_TRUE(connection);
    auto stored = connection->prepare("SELECT * FROM " + table + " ORDER BY rowid");
    EXPECT_TRUE(stored);
    std::string lines;
    while (stored->step() == SQLITE_ROW) {
      store::append_line(*stored, 0, lines);
    }
    return lines;
  }

  TempFolder folder_;
  std::int64_t now_ms_ = 1'700'000'000'000;
};

}  // namespace turnstile::test
