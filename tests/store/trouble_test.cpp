// What is wrong with a row or with a table stops nobody (promise 7), whenever it shows: while the
// insert is prepared, while it runs, or at the commit. Cost and space stay bounded.
#include <sqlite3.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "store/target.h"
#include "tests/store/fixture.h"
#include "tests/support/database.h"
#include "tests/support/fault_vfs.h"

namespace turnstile::test {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::vector<std::string> id_column{"id"};

constexpr const char* kSlowTrigger =
    "CREATE TRIGGER slow AFTER INSERT ON t WHEN new.id = 7 BEGIN SELECT count(*) FROM (WITH "
    "RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT i FROM c); END";

class TroubleTest : public StoreTest {
 protected:
  void SetUp() override { target_ = open(options()); }

  store::BatchOutcome insert(const std::string& table, const std::vector<Row>& rows,
                             const std::vector<std::string>& columns = id_column,
                             const std::string& producer = "p") {
    const auto through = target_->progress({producer}, {0})->through;
    return write(*target_, header_of(producer, through.value + 1, rows.size(), table, columns),
                 rows);
  }
  static std::string reason(const store::BatchOutcome& outcome) {
    return outcome.dead.empty() ? "" : outcome.dead[0].reason;
  }
  // A collation of another program.
  void make_collated() const {
    sqlite3* db_handle = nullptr;
    ASSERT_EQ(sqlite3_open(db().c_str(), &db_handle), SQLITE_OK);
    sqlite3_create_collation(db_handle, "LOCALIZED", SQLITE_UTF8, nullptr,
                             [](void*, int, const void*, int, const void*) { return 0; });
    EXPECT_EQ(sqlite3_exec(db_handle, "CREATE INDEX i ON t(id COLLATE LOCALIZED)", nullptr, nullptr,
                           nullptr),
              SQLITE_OK);
    sqlite3_close(db_handle);
  }

  std::unique_ptr<store::Target> target_;
};

TEST_F(TroubleTest, AnIndexWithAForeignCollationStopsItsTableAndNoOtherUntilItIsGone) {
  run("CREATE TABLE t(id); CREATE TABLE other(id)");
  EXPECT_EQ(insert("t", numbers(1, 3)).rows_applied, 3U);
  make_collated();
  EXPECT_EQ(reason(insert("t", numbers(4, 3))), "no such collation sequence: LOCALIZED");
  EXPECT_EQ(insert("other", numbers(1, 3)).rows_applied, 3U);
  EXPECT_THAT(target_->table_troubles(),
              ElementsAre(AllOf(Field(&TableTrouble::table, "t"),
                                Field(&TableTrouble::reason, HasSubstr("LOCALIZED")))));
  run("DROP INDEX i");
  EXPECT_EQ(insert("t", numbers(7, 3)).rows_applied, 3U);
  EXPECT_THAT(target_->table_troubles(), IsEmpty());
}

TEST_F(TroubleTest, AfterTheGreatestIdRowsWithoutOneAreDeadLettersAndOthersGoIn) {
  run("CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v)");
  EXPECT_EQ(insert("t", {{std::int64_t{9223372036854775807}}}).rows_applied, 1U);
  const auto refused = insert("t", numbers(1, 5), {"v"});
  EXPECT_EQ(refused.dead_count, 5U);
  EXPECT_THAT(reason(refused), HasSubstr("no id is left"));
  EXPECT_EQ(insert("t", numbers(1, 5)).rows_applied, 5U);
  // The same when the greatest id and the row without one come together.
  run("CREATE TABLE u(id INTEGER PRIMARY KEY AUTOINCREMENT, v)");
  const auto both = insert("u", {{std::int64_t{9223372036854775807}}, {Null{}}, {std::int64_t{3}}});
  EXPECT_EQ(both.rows_applied, 2U);
  EXPECT_EQ(both.dead_count, 1U);
}

TEST_F(TroubleTest, AForeignKeyThatFailsAtTheCommitCostsItsRowsAndNoNeighbour) {
  run("CREATE TABLE parent(id INTEGER PRIMARY KEY); INSERT INTO parent VALUES(1); "
      "CREATE TABLE child(id INTEGER REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED); "
      "CREATE TABLE other(id)");
  std::vector<Row> rows(200, Row{std::int64_t{1}});
  rows[20] = {std::int64_t{5}};
  rows[150] = {std::int64_t{6}};
  ASSERT_TRUE(target_->begin());
  ASSERT_TRUE(target_->apply(header_of("q", 1, 60, "other", {"id"}), frame_of(numbers(1, 60))));
  ASSERT_TRUE(target_->apply(header_of("p", 1, 200, "child", {"id"}), frame_of(rows)));
  ASSERT_TRUE(target_->apply(header_of("q", 61, 60, "other", {"id"}), frame_of(numbers(1, 60))));
  const auto committed = target_->commit();
  ASSERT_TRUE(committed) << committed.error().what;
  const auto outcomes = target_->take_outcomes();
  ASSERT_THAT(outcomes, SizeIs(3));
  EXPECT_EQ(outcomes[0].rows_applied, 60U);
  EXPECT_EQ(outcomes[1].rows_applied, 198U);
  ASSERT_EQ(outcomes[1].dead_count, 2U);
  EXPECT_EQ(outcomes[1].dead[0].sequence, Sequence{21});
  EXPECT_EQ(outcomes[1].dead[0].reason, "FOREIGN KEY constraint failed");
  EXPECT_EQ(outcomes[1].dead[1].sequence, Sequence{151});
  EXPECT_EQ(outcomes[2].rows_applied, 60U);
  EXPECT_EQ(number("SELECT count(*) FROM child"), 198);
  EXPECT_EQ(number("SELECT count(*) FROM other"), 120);
  EXPECT_EQ(number("SELECT count(*) FROM pragma_foreign_key_check"), 0);
  EXPECT_EQ(target_->dead_letters(), 2U);
}

TEST_F(TroubleTest, ABatchThatIsThereInPartIsSplitFromItsFirstNewRow) {
  run("CREATE TABLE parent(id INTEGER PRIMARY KEY); INSERT INTO parent VALUES(1); "
      "CREATE TABLE child(id INTEGER REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED)");
  std::vector<Row> rows(200, Row{std::int64_t{1}});
  rows[150] = {std::int64_t{6}};
  const std::vector<Row> some(rows.begin(), rows.begin() + 100);
  EXPECT_EQ(insert("child", some).rows_applied, 100U);
  ASSERT_TRUE(target_->begin());
  ASSERT_TRUE(target_->apply(header_of("p", 1, 200, "child", {"id"}), frame_of(rows)));
  ASSERT_TRUE(target_->commit());
  const auto outcomes = target_->take_outcomes();
  ASSERT_THAT(outcomes, SizeIs(1));
  EXPECT_EQ(outcomes[0].rows_applied, 99U);
  ASSERT_THAT(outcomes[0].dead, SizeIs(1));
  EXPECT_EQ(outcomes[0].dead[0].sequence, Sequence{151});
  EXPECT_EQ(number("SELECT count(*) FROM child"), 199);
}

TEST_F(TroubleTest, AParentThatComesAfterItsChildInTheBatchCounts) {
  run("CREATE TABLE n(id INTEGER PRIMARY KEY, up REFERENCES n(id) DEFERRABLE INITIALLY DEFERRED)");
  const std::vector<Row> rows{{std::int64_t{1}, std::int64_t{2}}, {std::int64_t{2}, Null{}}};
  EXPECT_EQ(insert("n", rows, {"id", "up"}).rows_applied, 2U);
}

TEST_F(TroubleTest, ADamagedIndexIsToldAndTriedAgainWhenTheSchemaChanges) {
  run("CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE other(id); "
      "CREATE VIRTUAL TABLE f USING fts5(v, content='t', content_rowid='id'); "
      "CREATE TRIGGER g AFTER INSERT ON t BEGIN "
      "INSERT INTO f(f, rowid, v) VALUES('delete', new.id, 'never there ' || new.v); "
      "INSERT INTO f(rowid, v) VALUES(new.id, new.v); END");
  std::vector<Row> rows;
  for (int i = 0; i < 50; ++i) {
    rows.push_back({"alpha"});
  }
  ASSERT_TRUE(target_->begin());
  ASSERT_TRUE(target_->apply(header_of("q", 1, 60, "other", {"id"}), frame_of(numbers(1, 60))));
  ASSERT_TRUE(target_->apply(header_of("p", 1, 50, "t", {"v"}), frame_of(rows)));
  ASSERT_TRUE(target_->commit());
  EXPECT_EQ(number("SELECT count(*) FROM other"), 60);
  EXPECT_EQ(number("SELECT (SELECT count(*) FROM t) + (SELECT count(*) FROM turnstile_letters)"),
            50);
  EXPECT_THAT(word("SELECT reason FROM turnstile_letters"), HasSubstr("is damaged"));
  EXPECT_THAT(target_->table_troubles(), SizeIs(1));
  run("DROP TRIGGER g");
  EXPECT_EQ(insert("t", {{"beta"}}, {"v"}).rows_applied, 1U);
  EXPECT_THAT(target_->table_troubles(), IsEmpty());
}

TEST_F(TroubleTest, ARowThatTakesTooLongIsADeadLetterAndTheNextOnesAreNotTried) {
  auto with = options();
  with.row_time_limit = 30ms;
  target_.reset();
  target_ = open(with);
  run(std::string("CREATE TABLE t(id); ") + kSlowTrigger);
  auto rows = numbers(1, 20);
  const auto outcome = insert("t", rows);
  EXPECT_EQ(outcome.rows_applied, 19U);
  EXPECT_THAT(reason(outcome), HasSubstr("30 ms of --row-time-limit"));
  EXPECT_EQ(number("SELECT count(*) FROM t"), 19);
  const std::vector<Row> all_slow(500, Row{std::int64_t{7}});
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_EQ(insert("t", all_slow).dead_count, 500U);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 500 * 30ms);
  EXPECT_THAT(target_->table_troubles(), SizeIs(1));
}

TEST_F(TroubleTest, AStopEndsASlowRowAndLosesNothing) {
  bool is_wanted = true;
  int asked = 0;
  auto with = options();
  with.row_time_limit = 0ms;
  with.while_waiting = [&] {
    ++asked;
    is_wanted = is_wanted && asked < 3;  // the row lasts until then
    return is_wanted;
  };
  target_.reset();
  target_ = open(with);
  run(std::string("CREATE TABLE t(id); ") + kSlowTrigger);
  ASSERT_TRUE(target_->begin());
  const auto applied =
      target_->apply(header_of("p", 1, 1, "t", {"id"}), frame_of({{std::int64_t{7}}}));
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().code, Errc::locked);
  EXPECT_GE(asked, 3);
  EXPECT_EQ(target_->progress({"p"}, {0})->through, Sequence{0});
  EXPECT_EQ(target_->dead_letters(), 0U);
  run("DROP TRIGGER slow");
  is_wanted = true;
  asked = -1'000'000;
  EXPECT_EQ(insert("t", {{std::int64_t{7}}}).rows_applied, 1U);
}

TEST_F(TroubleTest, RowsThatRollEverythingBackAreCommittedManyAtATime) {
  FaultVfs vfs;
  auto with = options();
  with.vfs = vfs.name();
  target_.reset();
  target_ = open(with);
  run("CREATE TABLE t(id); CREATE TRIGGER no AFTER INSERT ON t "
      "BEGIN SELECT RAISE(ROLLBACK, 'no'); END");
  const int before = vfs.syncs();
  EXPECT_EQ(insert("t", numbers(1, 3000)).dead_count, 3000U);
  EXPECT_LT(vfs.syncs() - before, 200);
  EXPECT_EQ(number("SELECT count(*) FROM turnstile_letters WHERE reason = 'no'"), 3000);
  target_.reset();
}

TEST_F(TroubleTest, AClauseThatRollsBackIsOverruledAndOneThatIgnoresIsNot) {
  FaultVfs vfs;
  auto with = options();
  with.vfs = vfs.name();
  target_.reset();
  target_ = open(with);
  run("CREATE TABLE r(id UNIQUE ON CONFLICT ROLLBACK); CREATE TABLE i(id UNIQUE ON CONFLICT "
      "IGNORE); "
      "CREATE TABLE both(id UNIQUE ON CONFLICT IGNORE, v UNIQUE ON CONFLICT ROLLBACK)");
  const std::vector<Row> same(1000, Row{std::int64_t{1}});
  const int before = vfs.syncs();
  const auto rolled_back = insert("r", same);
  EXPECT_EQ(rolled_back.rows_applied, 1U);
  EXPECT_EQ(reason(rolled_back), "UNIQUE constraint failed: r.id");
  EXPECT_LT(vfs.syncs() - before, 5);
  EXPECT_EQ(insert("i", same).dead_count, 0U);
  EXPECT_EQ(number("SELECT count(*) FROM i"), 1);
  EXPECT_EQ(insert("both", {{std::int64_t{1}, std::int64_t{1}}, {std::int64_t{1}, std::int64_t{2}}},
                   {"id", "v"})
                .dead_count,
            0U);
  EXPECT_EQ(insert("both", {{std::int64_t{2}, std::int64_t{1}}}, {"id", "v"}).dead_count, 1U);
  target_.reset();
}

TEST_F(TroubleTest, ATriggerThatTossesACoinEnds) {
  run("CREATE TABLE t(id); CREATE TRIGGER no AFTER INSERT ON t WHEN random() > 0 "
      "BEGIN SELECT RAISE(ROLLBACK, 'tails'); END; CREATE TABLE other(id)");
  ASSERT_TRUE(target_->begin());
  ASSERT_TRUE(target_->apply(header_of("p", 1, 300, "t", {"id"}), frame_of(numbers(1, 300))));
  ASSERT_TRUE(target_->apply(header_of("q", 1, 60, "other", {"id"}), frame_of(numbers(1, 60))));
  ASSERT_TRUE(target_->apply(header_of("p", 301, 300, "t", {"id"}), frame_of(numbers(301, 300))));
  ASSERT_TRUE(target_->commit());
  EXPECT_EQ(number("SELECT (SELECT count(*) FROM t) + (SELECT count(*) FROM turnstile_letters)"),
            600);
  EXPECT_EQ(number("SELECT count(*) FROM other"), 60);
}

TEST_F(TroubleTest, DeadLettersOfOneFormShareItsNames) {
  std::vector<std::string> columns;
  for (int i = 0; i < 2000; ++i) {
    columns.push_back("c" + std::to_string(i) + std::string(200, '"'));
  }
  EXPECT_EQ(insert("none", std::vector<Row>(2000, Row{}), columns).dead_count, 2000U);
  EXPECT_EQ(insert("none", std::vector<Row>(20, Row{}), columns).dead_count, 20U);
  EXPECT_EQ(number("SELECT count(*) FROM turnstile_forms"), 1);
  EXPECT_LT(number("SELECT sum(pgsize) FROM dbstat"), 3'000'000);
}

TEST_F(TroubleTest, AProducerWithoutRoomForItsDeadLettersIsStoppedAndOthersAreNot) {
  auto with = options();
  with.dead_letter_limit = 20'000;
  target_.reset();
  target_ = open(with);
  run("CREATE TABLE t(id UNIQUE); INSERT INTO t VALUES(1)");
  std::vector<Row> rows = numbers(100, 300);
  for (std::size_t i = 10; i < rows.size(); ++i) {
    rows[i] = {std::int64_t{1}};
  }
  const auto full = insert("t", rows);
  EXPECT_EQ(full.outcome, Outcome::letters_full);
  EXPECT_LT(full.through, Sequence{300});
  EXPECT_EQ(full.rows_applied, 10U);
  EXPECT_EQ(full.through.value, full.rows_applied + full.dead_count);
  EXPECT_EQ(target_->progress({"p"}, {0})->through, full.through);
  EXPECT_LE(number("SELECT sum(bytes) FROM turnstile_letters"), 20'000);
  // Again: the same answer, and what is no dead letter goes in.
  const auto again = write(*target_, header_of("p", 1, rows.size(), "t", {"id"}), rows);
  EXPECT_EQ(again.outcome, Outcome::letters_full);
  EXPECT_EQ(again.dead_count, full.dead_count);
  EXPECT_EQ(again.through, full.through);
  EXPECT_EQ(insert("t", numbers(1, 1), id_column, "q").dead_count, 1U);
  EXPECT_EQ(insert("t", numbers(1, 1), id_column, "r").dead_count, 1U);
  // Letters that are thrown away give their room back.
  std::vector<Row> ids;
  for (std::int64_t id = 1; id <= number("SELECT max(id) FROM turnstile_letters"); ++id) {
    ids.push_back({id});
  }
  auto discard = header_of("tool", 1, ids.size(), "turnstile_dead_letters", {"id"});
  discard.kind = BatchKind::discard;
  write(*target_, discard, ids);
  EXPECT_EQ(number("SELECT count(*) FROM turnstile_forms"), 0);
  EXPECT_EQ(number("SELECT letter_bytes FROM turnstile_producers WHERE producer = 'p'"), 0);
  EXPECT_EQ(insert("t", std::vector<Row>(20, Row{std::int64_t{1}})).outcome, Outcome::applied);
}

TEST_F(TroubleTest, ForeignKeysAreCheckedUnlessAnOlderVersionMadeTheTargetOrAFlagSaysSo) {
  const char* const kBrokenTables =
      "CREATE TABLE IF NOT EXISTS parent(id INTEGER PRIMARY KEY); "
      "CREATE TABLE IF NOT EXISTS child(id REFERENCES parent(id))";
  run(kBrokenTables);
  EXPECT_EQ(insert("child", numbers(5, 1)).dead_count, 1U);
  auto with = options();
  target_.reset();
  with.foreign_keys = store::ForeignKeys::off;
  target_ = open(with);
  EXPECT_EQ(insert("child", numbers(5, 1)).dead_count, 0U);
  EXPECT_THAT(target_->take_notes(), IsEmpty());

  target_.reset();
  std::filesystem::remove(db());
  make_from_fixture(db(), "target-1.sql", db().parent_path());
  run(kBrokenTables);
  target_ = open(options());
  EXPECT_EQ(insert("child", numbers(5, 1)).dead_count, 0U);
  EXPECT_THAT(target_->take_notes(), ElementsAre(HasSubstr("--foreign-keys on")));
  target_.reset();
  with.foreign_keys = store::ForeignKeys::on;
  target_ = open(with);
  EXPECT_EQ(insert("child", numbers(6, 1)).dead_count, 1U);
}

TEST_F(TroubleTest, NamesThatHideWhatIsReadAreNotDefinedAndHideNothing) {
  const auto define = [this](const std::string& table, std::vector<std::string> columns) {
    const auto through = target_->progress({"p"}, {0})->through;
    Row types(columns.size(), "TEXT");
    auto header = header_of("p", through.value + 1, 1, table, std::move(columns));
    header.kind = BatchKind::define;
    return write(*target_, header, {types});
  };
  EXPECT_THAT(reason(define("pragma_table_list", {"a"})), HasSubstr("would hide"));
  EXPECT_THAT(reason(define("PRAGMA_index_list", {"a"})), HasSubstr("would hide"));
  EXPECT_THAT(reason(define("sqlite_x", {"a"})), HasSubstr("belongs to SQLite"));
  for (const char* name :
       {"pragma_table_list", "pragma_table_xinfo", "pragma_index_list", "turnstile_rows_1"}) {
    run("CREATE TABLE " + std::string(name) + "(a, name, schema, type)");
  }
  run("CREATE TABLE t(id INTEGER PRIMARY KEY)");
  EXPECT_EQ(insert("t", numbers(1, 60)).rows_applied, 60U);
  EXPECT_EQ(insert("pragma_table_list", numbers(1, 60), {"a"}).rows_applied, 60U);

  auto with = options();
  with.text_path = text();
  target_.reset();
  target_ = open(with);
  EXPECT_THAT(reason(define("nutrients", {"id", "_rowid_"})), HasSubstr("_rowid_"));
  EXPECT_EQ(reason(define("nutrients", {"id", "name"})), "");
}

TEST_F(TroubleTest, AnotherObjectOfALabTablesNameIsADeadLettersReason) {
  run("CREATE TABLE t(id); CREATE INDEX pets ON t(id)");
  EXPECT_EQ(reason(insert("pets", numbers(1, 2))), "no such table: pets");
  EXPECT_EQ(insert("t", numbers(1, 2)).rows_applied, 2U);
}

TEST_F(TroubleTest, RowsForWhatAVirtualTableKeepsItsThingsInAreDeadLetters) {
  run("CREATE VIRTUAL TABLE f USING fts5(v); CREATE VIRTUAL TABLE box USING rtree(id, a, b)");
  EXPECT_THAT(reason(insert("f_data", {{std::int64_t{1}, "x"}}, {"id", "block"})),
              HasSubstr("may not be modified"));
  EXPECT_THAT(reason(insert("box_node", {{std::int64_t{1}, "x"}}, {"nodeno", "data"})),
              HasSubstr("may not be modified"));
  EXPECT_EQ(insert("f", {{"alpha"}}, {"v"}).rows_applied, 1U);
  EXPECT_EQ(insert("box", {{std::int64_t{1}, std::int64_t{2}, std::int64_t{3}}}, {"id", "a", "b"})
                .rows_applied,
            1U);
}

TEST_F(TroubleTest, ANameThatNoSqlCanSpellIsNoTable) {
  run("CREATE TABLE t(id)");
  EXPECT_EQ(insert(std::string("t\0", 2), numbers(1, 2)).dead_count, 2U);
  EXPECT_EQ(insert("t", numbers(1, 2), {std::string("id\0", 3)}).dead_count, 2U);
  EXPECT_EQ(insert("", numbers(1, 2)).dead_count, 2U);
  EXPECT_EQ(insert("t", numbers(1, 2)).rows_applied, 2U);
}

TEST_F(TroubleTest, PreparedInsertsAreBoundedInBytes) {
  std::vector<std::string> names;
  std::string columns;
  for (int i = 0; i < 2000; ++i) {
    names.push_back("c" + std::to_string(i));
    columns += (i == 0 ? "" : ",") + names.back();
  }
  run("CREATE TABLE wide(" + columns + ")");
  const Row row(2000, std::int64_t{1});
  const auto before = sqlite3_memory_used();
  for (int i = 0; i < 24; ++i) {
    std::rotate(names.begin(), names.begin() + 1, names.end());
    ASSERT_EQ(insert("wide", {row}, names).rows_applied, 1U);
  }
  EXPECT_LT(sqlite3_memory_used() - before, 24 * 1024 * 1024);
}

}  // namespace
}  // namespace turnstile::test
