// What the target refuses, and that nobody else is stopped by it (promise 7).
#include <cstdint>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "proto/limits.h"
#include "store/target.h"
#include "tests/store/fixture.h"

namespace turnstile::test {
namespace {

using ::testing::EndsWith;
using ::testing::SizeIs;

Row number_row(std::int64_t value) {
  return {value};
}

class RefusalTest : public StoreTest {
 protected:
  void SetUp() override { target_ = open(options()); }

  store::BatchOutcome insert(const std::string& table, const std::vector<Row>& rows,
                             std::vector<std::string> columns = {"id"}) {
    const auto through = target_->progress({"p"}, {0})->through;
    return write(*target_,
                 header_of("p", through.value + 1, rows.size(), table, std::move(columns)), rows);
  }
  store::BatchOutcome define(const std::string& table, std::vector<std::string> columns,
                             const Row& types) {
    const auto through = target_->progress({"p"}, {0})->through;
    auto header = header_of("p", through.value + 1, 1, table, std::move(columns));
    header.kind = BatchKind::define;
    return write(*target_, header, {types});
  }
  static std::string reason(const store::BatchOutcome& outcome) {
    return outcome.dead.empty() ? "" : outcome.dead[0].reason;
  }

  std::unique_ptr<store::Target> target_;
};

TEST_F(RefusalTest, OneBadRowAmongAHundredIsOneDeadLetterAndNinetyNineRows) {
  run("CREATE TABLE u(id INTEGER UNIQUE)");
  auto rows = numbers(1, 100);
  rows[73] = number_row(5);
  const auto outcome = insert("u", rows);
  EXPECT_EQ(outcome.rows_applied, 99U);
  EXPECT_EQ(outcome.dead_count, 1U);
  EXPECT_EQ(outcome.through, Sequence{100});
  EXPECT_EQ(outcome.dead.at(0).sequence, Sequence{74});
  EXPECT_EQ(reason(outcome), "UNIQUE constraint failed: u.id");
  EXPECT_EQ(number("SELECT count(*) FROM u"), 99);
  EXPECT_EQ(number("SELECT rows_applied FROM turnstile_producers"), 99);
  EXPECT_EQ(number("SELECT rows_dead FROM turnstile_producers"), 1);
  EXPECT_EQ(target_->dead_letters(), 1U);
}

TEST_F(RefusalTest, DeadLetterKeepsTheRowAsItWasSentAndWhoSentIt) {
  run("CREATE TABLE u(id INTEGER UNIQUE, name TEXT)");
  const std::vector<Row> rows{{std::int64_t{1}, "Ace"}, {std::int64_t{1}, "Buddy"}};
  insert("u", rows, {"id", "name"});
  EXPECT_EQ(word("SELECT producer || '|' || epoch || '|' || sequence || '|' || rows || '|' || kind "
                 "|| '|' || table_name || '|' || columns || '|' || reason || '|' || at_ms "
                 "FROM turnstile_dead_letters"),
            "p|1|2|1|1|u|[\"id\",\"name\"]|UNIQUE constraint failed: u.id|1700000000000");
  // MessagePack: an array of two, 1, a text of five bytes.
  EXPECT_EQ(word("SELECT hex(row) FROM turnstile_dead_letters"), "9201A54275646479");
}

TEST_F(RefusalTest, RowWithTheWrongNumberOfValuesIsADeadLetter) {
  run("CREATE TABLE t(a, b)");
  std::vector<Row> rows(60, Row{std::int64_t{1}, std::int64_t{2}});
  rows[1] = {std::int64_t{1}, std::int64_t{2}, std::int64_t{3}};
  rows[55] = {std::int64_t{1}};
  const auto outcome = insert("t", rows, {"a", "b"});
  EXPECT_EQ(outcome.rows_applied, 58U);
  ASSERT_THAT(outcome.dead, SizeIs(2));
  EXPECT_EQ(outcome.dead[0].reason, "3 values for 2 columns");
  EXPECT_EQ(outcome.dead[1].reason, "1 value for 2 columns");
  EXPECT_EQ(outcome.dead[1].sequence, Sequence{56});
}

TEST_F(RefusalTest, ValueThatNoColumnCanHoldIsADeadLetterOfItsRowOnly) {
  run("CREATE TABLE t(a)");
  const auto outcome = insert("t", {{"good"}, {"bad \xFF"}, {"good"}}, {"a"});
  EXPECT_EQ(outcome.rows_applied, 2U);
  EXPECT_EQ(reason(outcome), "text that is not UTF-8");
  EXPECT_EQ(word("SELECT hex(row) FROM turnstile_dead_letters"), "91A562616420FF");
}

TEST_F(RefusalTest, EveryRowForAMissingTableIsADeadLetter) {
  const auto outcome = insert("none", numbers(1, 3));
  EXPECT_EQ(outcome.dead_count, 3U);
  EXPECT_EQ(outcome.through, Sequence{3});
  EXPECT_EQ(reason(outcome), "no such table: none");
  EXPECT_EQ(number("SELECT count(*) FROM turnstile_dead_letters"), 3);
}

TEST_F(RefusalTest, RowsForAMissingColumnAViewOrATableOfTurnstileAreDeadLetters) {
  run("CREATE TABLE t(a); CREATE VIEW v AS SELECT a FROM t");
  EXPECT_EQ(reason(insert("t", numbers(1, 1), {"y"})), "table t has no column named y");
  EXPECT_EQ(reason(insert("v", numbers(1, 1), {"a"})), "cannot modify v because it is a view");
  EXPECT_EQ(reason(insert("turnstile_producers", numbers(1, 1), {"through"})),
            "table turnstile_producers belongs to turnstile");
  EXPECT_EQ(reason(insert("Turnstile_Meta", numbers(1, 1), {"value"})),
            "table Turnstile_Meta belongs to turnstile");
  EXPECT_EQ(reason(insert("sqlite_schema", numbers(1, 1), {"sql"})),
            "table sqlite_schema belongs to SQLite");
  EXPECT_EQ(reason(insert("t", {{std::int64_t{1}, std::int64_t{2}}}, {"a", "A"})),
            "column a is named twice");
  EXPECT_EQ(reason(insert("t", {{}}, {})), "no column is named");
  EXPECT_EQ(number("SELECT count(*) FROM t"), 0);
}

TEST_F(RefusalTest, NamesAreOnlyEverNames) {
  run(R"(CREATE TABLE "a""b; DROP TABLE x"("c""; --"))");
  EXPECT_EQ(insert(R"(a"b; DROP TABLE x)", numbers(1, 60), {R"(c"; --)"}).rows_applied, 60U);
}

TEST_F(RefusalTest, FrameThatCannotBeReadIsOneDeadLetterForAllItsRows) {
  insert("pets", {{"Ace"}}, {"name"});
  const Bytes frame = frame_of(numbers(1, 100));
  const auto cut = frame.view().substr(0, frame.size() - 1);
  const auto header = header_of("p", 2, 100, "pets", {"name"});
  const auto outcome = write_frame(*target_, header, cut);
  EXPECT_EQ(outcome.outcome, Outcome::applied);
  EXPECT_EQ(outcome.dead_count, 100U);
  EXPECT_EQ(outcome.through, Sequence{101});
  ASSERT_THAT(outcome.dead, SizeIs(1));
  EXPECT_EQ(outcome.dead[0].sequence, Sequence{2});
  EXPECT_EQ(reason(outcome), "rows 2 to 101: the rows frame holds a truncated frame");
  EXPECT_EQ(number("SELECT length(row) FROM turnstile_dead_letters"),
            static_cast<std::int64_t>(cut.size()));
  EXPECT_EQ(number("SELECT rows FROM turnstile_dead_letters"), 100);
  EXPECT_EQ(number("SELECT kind FROM turnstile_dead_letters"), 3);
  EXPECT_EQ(target_->dead_letters(), 100U);
  // Again, whole and in part.
  EXPECT_EQ(write_frame(*target_, header, cut).dead_count, 100U);
  const auto part = write(*target_, header_of("p", 50, 10, "pets", {"name"}), numbers(1, 10));
  EXPECT_EQ(part.dead_count, 10U);
  EXPECT_EQ(part.dead.at(0).sequence, Sequence{50});
  EXPECT_EQ(target_->progress({"p"}, {91})->dead_count, 10U);
}

TEST_F(RefusalTest, ManyDeadLettersAreAllCountedAndTheFirstAreListed) {
  const auto outcome = insert("none", numbers(1, 300));
  EXPECT_EQ(outcome.dead_count, 300U);
  EXPECT_THAT(outcome.dead, SizeIs(limits::kDeadListed));
}

TEST_F(RefusalTest, LongReasonFitsAMessage) {
  run("CREATE TABLE t(id); CREATE TRIGGER no BEFORE INSERT ON t BEGIN SELECT RAISE(ABORT, '" +
      std::string(2000, 'x') + "'); END");
  const auto outcome = insert("t", numbers(1, 1));
  EXPECT_LE(reason(outcome).size(), limits::kReasonBytes);
  EXPECT_THAT(reason(outcome), EndsWith("..."));
}

TEST_F(RefusalTest, RowThatRollsEverythingBackTakesNoNeighbourWithIt) {
  run("CREATE TABLE r(id INTEGER UNIQUE ON CONFLICT ROLLBACK); CREATE TABLE other(id)");
  ASSERT_TRUE(target_->begin());
  auto before = target_->apply(header_of("q", 1, 60, "other", {"id"}), frame_of(numbers(1, 60)));
  ASSERT_TRUE(before);
  auto rows = numbers(1, 100);
  rows[49] = number_row(3);
  rows[70] = number_row(3);
  auto outcome = target_->apply(header_of("p", 1, 100, "r", {"id"}), frame_of(rows));
  ASSERT_TRUE(outcome) << outcome.error().what;
  ASSERT_TRUE(target_->commit());
  EXPECT_EQ(outcome->rows_applied, 98U);
  ASSERT_THAT(outcome->dead, SizeIs(2));
  EXPECT_EQ(outcome->dead[0].sequence, Sequence{50});
  EXPECT_EQ(outcome->dead[1].sequence, Sequence{71});
  EXPECT_EQ(number("SELECT count(*) FROM r"), 98);
  EXPECT_EQ(number("SELECT count(*) FROM other"), 60);
  EXPECT_EQ(target_->progress({"q"}, {0})->through, Sequence{60});
  EXPECT_EQ(target_->dead_letters(), 2U);
}

TEST_F(RefusalTest, TriggerThatRollsEverythingBackTakesNoNeighbourWithIt) {
  run("CREATE TABLE r(id); CREATE TRIGGER no AFTER INSERT ON r WHEN new.id = 7 "
      "BEGIN SELECT RAISE(ROLLBACK, 'not seven'); END");
  const auto outcome = insert("r", numbers(1, 20));
  EXPECT_EQ(outcome.rows_applied, 19U);
  EXPECT_EQ(reason(outcome), "not seven");
  EXPECT_EQ(number("SELECT count(*) FROM r"), 19);
}

TEST_F(RefusalTest, TableThatKeepsRowsOfAFailedStatementGetsEachOnce) {
  run("CREATE TABLE f(id INTEGER UNIQUE ON CONFLICT FAIL)");
  auto rows = numbers(1, 100);
  rows[30] = number_row(1);
  EXPECT_EQ(insert("f", rows).rows_applied, 99U);
  EXPECT_EQ(number("SELECT count(*) FROM f"), 99);
}

TEST_F(RefusalTest, TriggerThatFailsAfterTheInsertLeavesNothingBehind) {
  run("CREATE TABLE f(id); CREATE TRIGGER no AFTER INSERT ON f WHEN new.id = 7 "
      "BEGIN SELECT RAISE(FAIL, 'not seven'); END");
  const auto outcome = insert("f", numbers(1, 100));
  EXPECT_EQ(outcome.rows_applied, 99U);
  EXPECT_EQ(reason(outcome), "not seven");
  EXPECT_EQ(number("SELECT count(*) FROM f WHERE id = 7"), 0);
  EXPECT_EQ(number("SELECT count(*) FROM f"), 99);
}

TEST_F(RefusalTest, StrictTableRefusesAValueOfAnotherType) {
  run("CREATE TABLE s(id INTEGER, any ANY) STRICT");
  const auto outcome = insert("s", {{"12", "12"}, {"twelve", "12"}}, {"id", "any"});
  EXPECT_EQ(outcome.rows_applied, 1U);
  EXPECT_EQ(reason(outcome), "cannot store TEXT value in INTEGER column s.id");
  EXPECT_EQ(word("SELECT typeof(id) || typeof(any) FROM s"), "integertext");
}

TEST_F(RefusalTest, DefinitionMakesTheTableAndTakesItsSequence) {
  const auto made = define("fresh", {"id", "na\"me"}, {"INTEGER", "TEXT"});
  EXPECT_EQ(made.rows_applied, 1U);
  EXPECT_EQ(made.through, Sequence{1});
  EXPECT_EQ(insert("fresh", {{"1", "x"}}, {"id", "na\"me"}).rows_applied, 1U);
  EXPECT_EQ(define("fresh", {"id"}, {"TEXT"}).rows_applied, 1U);  // there already: nothing to do
  EXPECT_EQ(word("SELECT group_concat(name || type) FROM pragma_table_info('fresh')"),
            "idINTEGER,na\"meTEXT");
}

TEST_F(RefusalTest, DefinitionAndItsRowsFitInOneTransaction) {
  ASSERT_TRUE(target_->begin());
  auto header = header_of("p", 1, 1, "fresh", {"id"});
  ASSERT_EQ(
      target_->apply(header_of("q", 1, 1, "fresh", {"id"}), frame_of(numbers(1, 1)))->dead_count,
      1U);
  header.kind = BatchKind::define;
  ASSERT_EQ(target_->apply(header, frame_of({{"INTEGER"}}))->rows_applied, 1U);
  ASSERT_EQ(
      target_->apply(header_of("q", 2, 1, "fresh", {"id"}), frame_of(numbers(1, 1)))->rows_applied,
      1U);
  ASSERT_TRUE(target_->commit());
  EXPECT_EQ(number("SELECT count(*) FROM fresh"), 1);
}

TEST_F(RefusalTest, DefinitionThatIsNoneIsADeadLetter) {
  EXPECT_EQ(reason(define("t", {"a"}, {"INTEGER PRIMARY KEY"})),
            "the type of column a is none of INTEGER, REAL, TEXT, BLOB, NUMERIC");
  EXPECT_EQ(reason(define("t", {"a"}, {std::int64_t{1}})),
            "the type of column a is none of INTEGER, REAL, TEXT, BLOB, NUMERIC");
  EXPECT_EQ(reason(define("t", {"a"}, {"TEXT", "TEXT"})), "2 values for 1 column");
  EXPECT_EQ(reason(define("t", {"a", "A"}, {"TEXT", "TEXT"})), "duplicate column name: A");
  EXPECT_EQ(reason(define("turnstile_x", {"a"}, {"TEXT"})),
            "table turnstile_x belongs to turnstile");
  EXPECT_EQ(number("SELECT count(*) FROM sqlite_schema WHERE name = 't'"), 0);
  EXPECT_EQ(number("SELECT max(kind) FROM turnstile_dead_letters"), 2);
  EXPECT_EQ(target_->progress({"p"}, {0})->through, Sequence{5});
}

TEST_F(RefusalTest, TableMadeDroppedOrChangedByOthersIsSeen) {
  EXPECT_EQ(insert("t", numbers(1, 60)).dead_count, 60U);
  run("CREATE TABLE t(id)");
  EXPECT_EQ(insert("t", numbers(1, 60)).rows_applied, 60U);
  run("ALTER TABLE t ADD COLUMN more");
  EXPECT_EQ(insert("t", {{std::int64_t{1}, "x"}}, {"id", "more"}).rows_applied, 1U);
  run("ALTER TABLE t RENAME COLUMN id TO other");
  EXPECT_EQ(reason(insert("t", numbers(1, 60))), "table t has no column named id");
  run("DROP TABLE t");
  EXPECT_EQ(reason(insert("t", {{std::int64_t{1}, "x"}}, {"id", "more"})), "no such table: t");
  run("CREATE TABLE t(id INTEGER)");
  EXPECT_EQ(insert("t", {{"7"}}).rows_applied, 1U);
  EXPECT_EQ(word("SELECT typeof(id) FROM t"), "integer");
}

TEST_F(RefusalTest, EverNewColumnsAreTakenInBoundedMemory) {
  std::string columns;
  std::vector<std::string> names;
  for (int i = 0; i < 20; ++i) {
    names.push_back("c" + std::to_string(i));
    columns += (i == 0 ? "" : ",") + names.back();
  }
  run("CREATE TABLE wide(" + columns + ")");
  std::uint32_t applied = 0;
  for (std::size_t i = 0; i < 20; ++i) {
    for (std::size_t j = 0; j < 20; ++j) {
      if (i != j) {
        applied += insert("wide", {{"x", "y"}}, {names[i], names[j]}).rows_applied;
      }
    }
  }
  EXPECT_EQ(applied, 380U);
}

TEST_F(RefusalTest, AsManyColumnsAsATableCanHaveAreInserted) {
  std::string columns = "c0";
  std::vector<std::string> names{"c0"};
  for (int i = 1; i < 2000; ++i) {
    names.push_back("c" + std::to_string(i));
    columns += "," + names.back();
  }
  run("CREATE TABLE wide(" + columns + ")");
  const std::vector<Row> rows(40, Row(2000, std::int64_t{1}));
  EXPECT_EQ(insert("wide", rows, names).rows_applied, 40U);
}

}  // namespace
}  // namespace turnstile::test
