// Rows that are decoded ahead: those of their frame or none, and what the target holds is the same.
#include "store/rows_ahead.h"

#include <array>
#include <deque>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/store/fixture.h"
#include "tests/support/seed.h"

namespace turnstile::test {
namespace {

using store::Affinity;
using store::RowsAhead;

constexpr std::uint64_t kSchemaOfTest = 3;

// One row of an integer spelled as text and of a text.
Bytes numbered(std::uint64_t number) {
  const std::string text = std::to_string(number);
  return frame_of({{std::string_view(text), std::string_view("7")}});
}

class RowsAheadTest : public ::testing::Test {
 protected:
  void put(const Bytes& rows_frame, std::uint32_t rows = 1) {
    ahead_.put(rows_frame, rows, {Affinity::integer, Affinity::text}, kSchemaOfTest);
  }
  // The first value of the only row.
  std::optional<std::int64_t> take(const Bytes& rows_frame, std::uint64_t version = kSchemaOfTest) {
    const DecodedRows* rows = ahead_.take(rows_frame, version);
    if (rows == nullptr) {
      return std::nullopt;
    }
    EXPECT_EQ(rows->rows(), 1U);
    EXPECT_EQ(std::get<std::string_view>(rows->row(0)[1]), "7");
    return std::get<std::int64_t>(rows->row(0)[0]);
  }

  RowsAhead ahead_{RowsAhead::When::always};
};

TEST_F(RowsAheadTest, RowsAreDecodedAndConvertedForTheirColumns) {
  const Bytes rows = numbered(5);
  put(rows);
  ahead_.settle();
  EXPECT_EQ(take(rows), 5);
  EXPECT_EQ(take(rows), std::nullopt) << "they are given once";
  EXPECT_EQ(ahead_.given(), 1U);
}

TEST_F(RowsAheadTest, MoreThanThereIsRoomForIsLeftToTheCallerAndNothingElse) {
  std::vector<Bytes> frames;
  for (std::uint64_t i = 0; i < 2 * RowsAhead::kBatches; ++i) {
    frames.push_back(numbered(i));
    put(frames.back());
  }
  ahead_.settle();
  for (std::uint64_t i = 0; i < frames.size(); ++i) {
    const auto first = take(frames[i]);
    if (i < RowsAhead::kBatches - 1) {
      EXPECT_EQ(first, i);
    } else {
      EXPECT_EQ(first, std::nullopt) << i;
    }
  }
}

TEST_F(RowsAheadTest, WhatWasPutBeforeTheOneThatIsTakenIsDropped) {
  const std::vector<Bytes> frames{numbered(1), numbered(2), numbered(3)};
  for (const auto& one : frames) {
    put(one);
  }
  ahead_.settle();
  EXPECT_EQ(take(frames[1]), 2);
  EXPECT_EQ(take(frames[0]), std::nullopt);
  EXPECT_EQ(take(frames[2]), 3);
}

TEST_F(RowsAheadTest, AFrameThatWasNotPutIsNotGivenAndTheOthersStay) {
  const Bytes rows = numbered(1);
  const Bytes same_bytes(std::string(rows.view()));
  put(rows);
  ahead_.settle();
  EXPECT_EQ(take(same_bytes), std::nullopt);
  EXPECT_EQ(take(rows), 1);
}

TEST_F(RowsAheadTest, RowsThatWereConvertedForAnotherSchemaAreNotGiven) {
  const Bytes rows = numbered(1);
  put(rows);
  ahead_.settle();
  EXPECT_EQ(take(rows, kSchemaOfTest + 1), std::nullopt);
}

TEST_F(RowsAheadTest, AFrameThatCannotBeReadIsNotGiven) {
  const Bytes broken(std::string("\x91\x92\xA1"));
  const Bytes of_other_count = numbered(1);
  const Bytes good = numbered(2);
  put(broken);
  put(of_other_count, 2);
  put(good);
  ahead_.settle();
  EXPECT_EQ(take(broken), std::nullopt);
  EXPECT_EQ(take(of_other_count), std::nullopt);
  EXPECT_EQ(take(good), 2);
}

TEST_F(RowsAheadTest, ARowOfAnotherNumberOfValuesThanColumnsKeepsThem) {
  const Bytes rows = frame_of(
      {{std::string_view("1"), std::string_view("2"), std::int64_t{3}}, {std::string_view("4")}});
  put(rows, 2);
  ahead_.settle();
  const DecodedRows* decoded = ahead_.take(rows, kSchemaOfTest);
  ASSERT_NE(decoded, nullptr);
  EXPECT_EQ(decoded->row(0).size(), 3U);
  EXPECT_EQ(decoded->row(1).size(), 1U);
}

// Whoever takes is faster than the thread, or slower, and puts again into what it left.
TEST_F(RowsAheadTest, WhateverTheThreadHasComeToRowsAreThoseOfTheirFrame) {
  std::mt19937_64 random(test_seed());
  std::vector<Row> many(2'000, Row{std::string_view("12345"), std::string_view("7")});
  std::deque<std::pair<Bytes, std::int64_t>> put_frames;
  std::int64_t number = 0;
  for (int turn = 0; turn < 3'000; ++turn) {
    for (auto count = random() % 4; count > 0; --count) {
      const std::string text = std::to_string(++number);
      many.front().front() = std::string_view(text);
      many.resize(1 + random() % 2'000, Row{std::string_view("12345"), std::string_view("7")});
      const Bytes rows = frame_of(many);
      put(rows, static_cast<std::uint32_t>(many.size()));
      put_frames.emplace_back(rows, number);
    }
    if (random() % 16 == 0) {
      ahead_.settle();
    }
    for (auto count = random() % 4; count > 0 && !put_frames.empty(); --count) {
      const auto [rows, expected] = put_frames.front();
      put_frames.pop_front();
      if (random() % 8 == 0) {
        continue;  // dropped
      }
      if (const DecodedRows* decoded = ahead_.take(rows, kSchemaOfTest)) {
        ASSERT_EQ(std::get<std::int64_t>(decoded->row(0)[0]), expected);
        ASSERT_EQ(std::get<std::string_view>(decoded->row(decoded->rows() - 1)[1]), "7");
      }
    }
  }
  EXPECT_GT(ahead_.given(), 100U);
}

// The thread is still at a batch that nobody wants any more when its place is needed again.
TEST_F(RowsAheadTest, WhatTheThreadIsStillAtIsNotGivenForAnother) {
  const std::vector<Row> many(8'000, Row(20, std::string_view("12345")));
  const Bytes large = frame_of(many);
  for (std::uint64_t attempt = 0; attempt < 300; ++attempt) {
    put(large, static_cast<std::uint32_t>(many.size()));
    for (std::uint64_t i = 0; i < attempt % 100; ++i) {
      std::this_thread::yield();  // until about where it has begun
    }
    EXPECT_EQ(ahead_.take(large, kSchemaOfTest + 1), nullptr);
    for (std::uint64_t i = 0; i < RowsAhead::kBatches - 1; ++i) {
      const Bytes small = numbered(i);
      put(small);
      static_cast<void>(take(small));
    }
    const Bytes last = numbered(attempt);
    put(last);
    ahead_.settle();
    EXPECT_EQ(take(last).value_or(static_cast<std::int64_t>(attempt)), attempt);
  }
}

TEST(RowsAheadWithoutWork, EndsWithoutHavingBegun) {
  const RowsAhead ahead{RowsAhead::When::always};
  ahead.settle();
  EXPECT_EQ(ahead.given(), 0U);
}

// ---- the target

class ExpectedBatches : public StoreTest {
 protected:
  std::unique_ptr<store::Target> open_target(const std::string& name) {
    auto with = options();
    with.path = folder_ / (name + ".db");
    with.text_path = folder_ / (name + ".txt");
    with.text_table = "t";
    with.rows_ahead = RowsAhead::When::always;
    return open(std::move(with));
  }
};

class ExpectedRows : public ExpectedBatches, public ::testing::WithParamInterface<const char*> {};

TEST_P(ExpectedRows, AreAppliedAsAnyOthers) {
  std::mt19937_64 random(test_seed());
  constexpr std::array<std::string_view, 10> kTexts{"12", "-0", "007", "1.5", "1e3",
                                                    "",   "x",  "9 ",  "-8",  "999999999999999999"};
  auto expecting = open_target("expecting");
  auto plain = open_target("plain");
  for (const char* name : {"expecting.db", "plain.db"}) {
    auto connection = sqlite::Connection::open(folder_ / name, sqlite::Access::read_write);
    ASSERT_TRUE(connection->execute(
        "CREATE TABLE t(a INTEGER, b TEXT, c, d NUMERIC CHECK (d IS NOT 'x'), e REAL" +
        std::string(GetParam()) + ")"));
  }
  const std::vector<std::string> columns{"a", "b", "c", "d", "e"};
  std::uint64_t first = 1;
  std::uint64_t dead = 0;
  for (int transaction = 0; transaction < 40; ++transaction) {
    std::vector<std::pair<BatchHeader, Bytes>> batches;
    for (int i = 0; i < 6; ++i) {
      std::vector<Row> rows(1 + random() % 130);
      for (auto& row : rows) {
        for (std::size_t at = 0; at < columns.size() + (random() % 40 == 0 ? 1 : 0); ++at) {
          row.emplace_back(random() % 5 == 0 ? ValueRef(std::int64_t{5})
                                             : ValueRef(kTexts.at(random() % kTexts.size())));
        }
        row[4] = random() % 200 == 0 ? ValueRef(Null{}) : row[4];
      }
      batches.emplace_back(header_of("p", first, rows.size(), "t", columns), frame_of(rows));
      first += rows.size();
    }
    ASSERT_TRUE(plain->begin() && expecting->begin());
    for (std::size_t i = 0; i < batches.size(); ++i) {
      const auto& [header, rows] = batches[i];
      const auto expected = expecting->apply(header, rows);
      const auto usual = plain->apply(header, rows);
      ASSERT_TRUE(expected && usual);
      EXPECT_EQ(expected->rows_applied, usual->rows_applied);
      EXPECT_EQ(expected->dead_count, usual->dead_count);
      dead += usual->dead_count;
      if (i == 0) {
        for (std::size_t next = 1; next < batches.size(); ++next) {
          expecting->expect(batches[next].first, batches[next].second);
        }
        expecting->rows_ahead().settle();
      }
    }
    ASSERT_TRUE(plain->commit() && expecting->commit());
  }
  EXPECT_EQ(expecting->rows_ahead().given(), 200U);
  EXPECT_EQ(plain->rows_ahead().given(), 0U);
  EXPECT_GT(dead, 100U);
  EXPECT_EQ(read_text(folder_ / "expecting.txt"), read_text(folder_ / "plain.txt"));
  auto connection = sqlite::Connection::open(folder_ / "plain.db", sqlite::Access::read_write);
  ASSERT_TRUE(connection->execute("ATTACH '" + (folder_ / "expecting.db").string() + "' AS other"));
  for (const std::string table : {"t", "turnstile_dead_letters"}) {
    for (const std::string& difference :
         {"SELECT * FROM main." + table + " EXCEPT SELECT * FROM other." + table,
          "SELECT * FROM other." + table + " EXCEPT SELECT * FROM main." + table}) {
      EXPECT_EQ(*connection->query_integer("SELECT count(*) FROM (" + difference + ")"), 0);
    }
  }
  EXPECT_EQ(*connection->query_integer(
                "SELECT count(*) FROM main.t AS x JOIN other.t AS y ON x.rowid = y.rowid "
                "WHERE typeof(x.a) <> typeof(y.a) OR typeof(x.b) <> typeof(y.b) OR "
                "typeof(x.c) <> typeof(y.c) OR typeof(x.d) <> typeof(y.d) OR "
                "typeof(x.e) <> typeof(y.e)"),
            0);
}

// One that bad rows become dead letters of, and one of which they roll the transaction back.
INSTANTIATE_TEST_SUITE_P(Tables, ExpectedRows,
                         ::testing::Values("", " NOT NULL ON CONFLICT ROLLBACK"));

TEST_F(ExpectedBatches, OfWhichSomeRowsWereAppliedBeforeGiveTheOthers) {
  auto target = open_target("t");
  auto connection = sqlite::Connection::open(folder_ / "t.db", sqlite::Access::read_write);
  ASSERT_TRUE(connection->execute("CREATE TABLE t(a INTEGER)"));
  const auto rows_from = [](std::int64_t first) {
    std::vector<Row> rows;
    for (std::int64_t i = 0; i < 60; ++i) {
      rows.push_back({first + i});
    }
    return rows;
  };
  write(*target, header_of("p", 1, 60, "t", {"a"}), rows_from(1));
  const auto header = header_of("p", 31, 60, "t", {"a"});
  const Bytes rows = frame_of(rows_from(31));
  target->expect(header, rows);
  target->rows_ahead().settle();
  ASSERT_TRUE(target->begin() && target->apply(header, rows) && target->commit());
  EXPECT_EQ(target->rows_ahead().given(), 1U);
  EXPECT_EQ(*connection->query_integer("SELECT sum(a) FROM t"), 90 * 91 / 2);
}

TEST_F(ExpectedBatches, ATableThatIsMadeAnewMeanwhileGetsWhatItsColumnsSay) {
  auto target = open_target("t");
  const auto path = folder_ / "t.db";
  const auto change = [&](const std::string& sql) {
    auto connection = sqlite::Connection::open(path, sqlite::Access::read_write);
    ASSERT_TRUE(connection->execute(sql));
  };
  change("CREATE TABLE t(a INTEGER)");
  const auto row = std::vector<Row>{{std::string_view("12")}};
  write(*target, header_of("p", 1, 1, "t", {"a"}), row);
  const auto usual = header_of("p", 2, 1, "t", {"a"});
  const auto header = header_of("p", 3, 1, "t", {"a"});
  const Bytes usual_rows = frame_of(row);
  const Bytes rows = frame_of(row);
  target->expect(usual, usual_rows);
  target->expect(header, rows);
  target->rows_ahead().settle();
  ASSERT_TRUE(target->begin() && target->apply(usual, usual_rows) && target->commit());
  EXPECT_EQ(target->rows_ahead().given(), 1U);
  change("DROP TABLE t; CREATE TABLE t(a BLOB)");
  ASSERT_TRUE(target->begin() && target->apply(header, rows) && target->commit());
  auto connection = sqlite::Connection::open(path, sqlite::Access::read_write);
  EXPECT_EQ(target->rows_ahead().given(), 1U);
  EXPECT_EQ(*connection->query_text("SELECT typeof(a) FROM t"), "text");
}

TEST_F(ExpectedBatches, ThatCannotBeReadOrHaveNoTableAreRefusedAsAnyOthers) {
  auto target = open_target("t");
  auto connection = sqlite::Connection::open(folder_ / "t.db", sqlite::Access::read_write);
  ASSERT_TRUE(connection->execute("CREATE TABLE t(a INTEGER)"));
  write(*target, header_of("p", 1, 1, "t", {"a"}), {{std::string_view("12")}});
  const auto broken = header_of("p", 2, 1, "t", {"a"});
  const Bytes broken_rows(std::string("\x91\x92\xA1"));
  const auto no_table = header_of("p", 3, 1, "none", {"a"});
  const Bytes good_rows = frame_of({{std::string_view("1")}});
  target->expect(broken, broken_rows);
  target->expect(no_table, good_rows);
  target->rows_ahead().settle();
  ASSERT_TRUE(target->begin());
  EXPECT_EQ(target->apply(broken, broken_rows)->dead_count, 1U);
  EXPECT_EQ(target->apply(no_table, good_rows)->dead_count, 1U);
  ASSERT_TRUE(target->commit());
  EXPECT_EQ(target->rows_ahead().given(), 0U);
}

}  // namespace
}  // namespace turnstile::test
