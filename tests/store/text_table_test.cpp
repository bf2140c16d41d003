// A text log's table that cannot be read stops nobody (promise 7): rows of that table are refused,
// the file stays as it is, and its lines follow when the table can be read again (promise 5).
#include <sqlite3.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "store/target.h"
#include "tests/store/fixture.h"

namespace turnstile::test {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class TextTableTest : public StoreTest {
 protected:
  void SetUp() override { run("CREATE TABLE t(a TEXT); CREATE TABLE other(id)"); }

  std::unique_ptr<store::Target> open_logging() {
    auto with = options();
    with.text_path = text();
    with.text_table = "t";
    return open(std::move(with));
  }
  static store::BatchOutcome insert(store::Target& target, const std::string& table,
                                    const std::string& column, const std::vector<Row>& rows) {
    const auto through = target.progress({"p"}, {0})->through;
    return write(target, header_of("p", through.value + 1, rows.size(), table, {column}), rows);
  }
  static std::uint32_t others(store::Target& target) {
    return insert(target, "other", "id", numbers(1, 3)).rows_applied;
  }
  // A column that calls a function of another program.
  void add_foreign_column() const {
    sqlite3* handle = nullptr;
    ASSERT_EQ(sqlite3_open(db().c_str(), &handle), SQLITE_OK);
    sqlite3_create_function(
        handle, "localized", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, nullptr,
        [](sqlite3_context* context, int, sqlite3_value**) { sqlite3_result_int(context, 0); },
        nullptr, nullptr);
    EXPECT_EQ(sqlite3_exec(handle, "ALTER TABLE t ADD COLUMN b AS (localized(a))", nullptr, nullptr,
                           nullptr),
              SQLITE_OK);
    sqlite3_close(handle);
  }
  [[nodiscard]] std::string log() const { return read_text(text()); }
};

TEST_F(TextTableTest, AColumnWithAForeignFunctionStopsItsTableOnlyUntilItIsGone) {
  auto target = open_logging();
  EXPECT_EQ(insert(*target, "t", "a", {{"x"}}).rows_applied, 1U);
  add_foreign_column();
  const auto refused = insert(*target, "t", "a", {{"y"}, {"z"}});
  EXPECT_EQ(refused.dead_count, 2U);
  EXPECT_THAT(refused.dead[0].reason, HasSubstr("localized"));
  EXPECT_EQ(others(*target), 3U);
  EXPECT_THAT(target->table_troubles(), ElementsAre(Field(&TableTrouble::table, "t")));
  EXPECT_THAT(target->take_notes(), ElementsAre(HasSubstr("cannot be read")));
  EXPECT_TRUE(target->housekeeping());
  EXPECT_EQ(log(), "[x]\n");
  run("ALTER TABLE t DROP COLUMN b");
  EXPECT_EQ(insert(*target, "t", "a", {{"u"}}).rows_applied, 1U);
  EXPECT_EQ(log(), "[x]\n[u]\n");
  EXPECT_THAT(target->table_troubles(), IsEmpty());
}

TEST_F(TextTableTest, ATargetThatBeginsWithATableThatCannotBeReadAppliesTheOthersRows) {
  add_foreign_column();
  auto target = open_logging();
  EXPECT_EQ(insert(*target, "t", "a", {{"y"}}).dead_count, 1U);
  EXPECT_EQ(others(*target), 3U);
  EXPECT_FALSE(target->text_log_is_behind());
}

TEST_F(TextTableTest, ARowThatCannotBeReadIsADeadLetterAndItsNeighboursGoIn) {
  run("ALTER TABLE t ADD COLUMN b AS (json_extract(a, '$.x'))");
  auto target = open_logging();
  std::vector<Row> rows(20, Row{R"({"x":1})"});
  rows[7] = {"no json"};
  const auto outcome = insert(*target, "t", "a", rows);
  EXPECT_EQ(outcome.rows_applied, 19U);
  ASSERT_EQ(outcome.dead_count, 1U);
  EXPECT_THAT(outcome.dead[0].reason, HasSubstr("malformed JSON"));
  EXPECT_EQ(others(*target), 3U);
  EXPECT_THAT(target->table_troubles(), IsEmpty());
}

TEST_F(TextTableTest, ARowOfAnotherProgramThatCannotBeReadStopsItsTableOnlyAndNoLineIsLost) {
  auto target = open_logging();
  EXPECT_EQ(insert(*target, "t", "a", {{R"({"x":1})"}}).rows_applied, 1U);
  run(R"(INSERT INTO t(a) VALUES('no json'), ('{"x":3}');)"
      "ALTER TABLE t ADD COLUMN b AS (json_extract(a, '$.x'))");
  EXPECT_EQ(insert(*target, "t", "a", {{R"({"x":4})"}}).dead_count, 1U);
  EXPECT_EQ(others(*target), 3U);
  EXPECT_EQ(log(), "[{\"x\":1}]\n");
  // The schema changes as well: without that it is looked at every few seconds.
  run("DELETE FROM t WHERE a = 'no json'; CREATE TABLE more(id)");
  EXPECT_EQ(insert(*target, "t", "a", {{R"({"x":5})"}}).rows_applied, 1U);
  EXPECT_EQ(log(), "[{\"x\":1}]\n[{\"x\":3}, 3]\n[{\"x\":5}, 5]\n");
}

TEST_F(TextTableTest, ATableReplacedByOneWithoutIdsStopsItsRowsOnlyAlsoAfterARestart) {
  const std::vector<std::string> replacements{"CREATE TABLE t(a TEXT PRIMARY KEY) WITHOUT ROWID",
                                              "CREATE VIEW t AS SELECT 'v' AS a"};
  for (const std::string& replacement : replacements) {
    {
      auto target = open_logging();
      EXPECT_EQ(insert(*target, "t", "a", {{"x"}}).rows_applied, 1U);
      run("DROP TABLE t; " + replacement);
      EXPECT_EQ(insert(*target, "t", "a", {{"y"}}).dead_count, 1U);
      EXPECT_EQ(others(*target), 3U);
    }
    auto target = open_logging();
    EXPECT_EQ(insert(*target, "t", "a", {{"y"}}).dead_count, 1U);
    EXPECT_EQ(others(*target), 3U);
    EXPECT_TRUE(target->housekeeping());
    EXPECT_EQ(log(), "[x]\n");
    run(replacement == replacements.front() ? "DROP TABLE t" : "DROP VIEW t");
    run("CREATE TABLE t(a TEXT)");
  }
}

TEST_F(TextTableTest, AFileThatWasMovedWhileItsTableCouldNotBeReadGetsItsLinesAfterwards) {
  auto target = open_logging();
  EXPECT_EQ(insert(*target, "t", "a", {{"x"}}).rows_applied, 1U);
  add_foreign_column();
  EXPECT_EQ(others(*target), 3U);
  std::filesystem::rename(text(), folder_ / "out9.txt.1");
  EXPECT_EQ(others(*target), 3U);
  EXPECT_TRUE(target->housekeeping());
  run("ALTER TABLE t DROP COLUMN b");
  EXPECT_EQ(insert(*target, "t", "a", {{"y"}}).rows_applied, 1U);
  EXPECT_EQ(log(), "[y]\n");
  EXPECT_EQ(read_text(folder_ / "out9.txt.1"), "[x]\n");
}

TEST_F(TextTableTest, AFileOfAnotherTableIsWrittenAgainAsSoonAsItsTableCanBeRead) {
  {
    auto with = options();
    with.text_path = text();
    with.text_table = "other";
    auto target = open(std::move(with));
    EXPECT_EQ(others(*target), 3U);
  }
  run("INSERT INTO t VALUES('x')");
  add_foreign_column();
  auto target = open_logging();
  EXPECT_EQ(others(*target), 3U);
  EXPECT_EQ(log(), "[1]\n[2]\n[3]\n");
  run("ALTER TABLE t DROP COLUMN b");
  EXPECT_EQ(others(*target), 3U);
  EXPECT_TRUE(target->housekeeping());
  EXPECT_EQ(log(), "[x]\n");
}

}  // namespace
}  // namespace turnstile::test
