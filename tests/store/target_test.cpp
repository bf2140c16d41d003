#include "store/target.h"

#include <random>

#include <gmock/gmock.h>

#include "tests/store/fixture.h"
#include "tests/support/fault_vfs.h"
#include "tests/support/seed.h"

namespace turnstile::test {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

std::vector<Row> pets(std::size_t count) {
  return {count, Row{"Ace", "Dog"}};
}

class TargetTest : public StoreTest {
 protected:
  void SetUp() override { target_ = open(options()); }

  store::BatchOutcome write_pets(std::uint64_t first, std::size_t count) {
    return write(*target_, header_of("p", first, count, "pets", pet_columns), pets(count));
  }
  [[nodiscard]] std::int64_t count_pets() const { return number("SELECT count(*) FROM pets"); }

  std::unique_ptr<store::Target> target_;
};

TEST_F(TargetTest, RowsAndProgressAreInTheFileAfterTheCommit) {
  const auto outcome = write_pets(1, 2);
  EXPECT_EQ(outcome.outcome, Outcome::applied);
  EXPECT_EQ(outcome.through, Sequence{2});
  EXPECT_EQ(outcome.rows_applied, 2U);
  EXPECT_EQ(count_pets(), 2);
  EXPECT_EQ(word("SELECT group_concat(producer || epoch || through || rows_applied || rows_dead) "
                 "FROM turnstile_producers"),
            "p1220");
  EXPECT_EQ(number("SELECT updated_at_ms FROM turnstile_producers"), now_ms_);
}

TEST_F(TargetTest, NothingIsInTheFileBeforeTheCommit) {
  ASSERT_TRUE(target_->begin());
  ASSERT_TRUE(target_->apply(header_of("p", 1, 1, "pets", pet_columns), frame_of(pets(1))));
  EXPECT_EQ(number("SELECT count(*) FROM turnstile_producers"), 0);
  target_->rollback();
  EXPECT_FALSE(target_->progress({"p"}, {0})->known);
  EXPECT_EQ(write_pets(1, 1).rows_applied, 1U);
}

TEST_F(TargetTest, RowsThatAreOnlyAppendedAreOnTheirWayToTheDiskBeforeTheCommit) {
  run("CREATE TABLE t(text); CREATE TABLE other(row)");
  FaultVfs vfs;
  auto watched = options();
  watched.vfs = vfs.name();
  target_ = open(watched);
  // Another program's commits make the target read pages anew, each time a few.
  std::uint64_t next = 1;
  const int before = vfs.reads();
  for (; vfs.reads() - before < 400; next += 1000) {
    run("INSERT INTO other VALUES(1)");
    write(*target_, header_of("p", next, 1000, "t", {"text"}), std::vector<Row>(1000, Row{"x"}));
  }
  const auto log_before = std::filesystem::file_size(db().string() + "-wal");
  const std::string text(500, 'x');
  ASSERT_TRUE(target_->begin());
  for (int batch = 0; batch < 20; ++batch, next += 1000) {  // 10 MB
    ASSERT_TRUE(target_->apply(header_of("p", next, 1000, "t", {"text"}),
                               frame_of(std::vector<Row>(1000, Row{std::string_view(text)}))));
  }
  EXPECT_GT(std::filesystem::file_size(db().string() + "-wal") - log_before, 2'000'000U);
  ASSERT_TRUE(target_->commit());
  EXPECT_EQ(number("SELECT count(*) FROM t"), static_cast<std::int64_t>(next - 1));
  target_ = nullptr;  // before its file system
}

// A row whose trigger changes more than the cache holds, and then refuses it; `careful` makes it
// leave something behind when it fails.
class RefusedAfterMuchTest : public TargetTest, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    TargetTest::SetUp();
    run("CREATE TABLE first(n, fill); CREATE TABLE much(n, fill); CREATE TABLE t(v)");
    run("WITH c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 5) "
        "INSERT INTO first SELECT 0, zeroblob(15000) FROM c");
    run("WITH c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 300) "
        "INSERT INTO much SELECT 0, zeroblob(15000) FROM c");
    run("CREATE TRIGGER refuse AFTER INSERT ON t WHEN NEW.v < 0 BEGIN "
        "UPDATE first SET n = n + 1; UPDATE much SET n = n + 1; UPDATE much SET n = n + 1; "
        "SELECT RAISE(" +
        std::string(GetParam()) + ", 'no'); END");
  }

  // What a crash would leave: the index of the log is made anew from the log.
  std::int64_t number_after_a_crash(const std::string& sql) {
    const auto left = folder_ / "left.db";
    std::filesystem::copy_file(db(), left);
    std::filesystem::copy_file(db().string() + "-wal", left.string() + "-wal");
    auto connection = sqlite::Connection::open(left, sqlite::Access::read_write);
    return connection->query_integer(sql).value();
  }
};

TEST_P(RefusedAfterMuchTest, WhatIsCommittedWithItAndAfterItOutlivesACrash) {
  const auto refused = write(*target_, header_of("p", 1, 1, "t", {"v"}), {{std::int64_t{-1}}});
  EXPECT_EQ(refused.dead_count, 1U);
  write(*target_, header_of("p", 2, 2, "t", {"v"}), {{std::int64_t{1}}, {std::int64_t{2}}});
  EXPECT_EQ(number("SELECT sum(n) FROM much"), 0);
  EXPECT_EQ(number_after_a_crash("SELECT sum(v) FROM t"), 3);
}

TEST_P(RefusedAfterMuchTest, WhatFollowsIsInTheLogBeforeTheCommitAndNotInMemory) {
  write(*target_, header_of("p", 1, 1, "t", {"v"}), {{std::int64_t{-1}}});
  run("PRAGMA wal_checkpoint(TRUNCATE)");
  const std::string text(10'000, 'x');
  ASSERT_TRUE(target_->begin());
  std::uint64_t next = 2;
  for (int batch = 0; batch < 40; ++batch, next += 100) {  // 40 MB
    ASSERT_TRUE(target_->apply(header_of("p", next, 100, "t", {"v"}),
                               frame_of(std::vector<Row>(100, Row{std::string_view(text)}))));
  }
  EXPECT_GT(std::filesystem::file_size(db().string() + "-wal"), 30'000'000U);
  ASSERT_TRUE(target_->commit());
  EXPECT_EQ(number_after_a_crash("SELECT count(*) FROM t"), 4000);
}

INSTANTIATE_TEST_SUITE_P(By, RefusedAfterMuchTest, ::testing::Values("ABORT", "FAIL", "ROLLBACK"),
                         [](const auto& by) { return std::string(by.param); });

TEST_F(TargetTest, RowsInNoOrderOfAnIndexReadItsPagesFewTimesSinceTheCacheGrows) {
  FaultVfs vfs;
  auto watched = options();
  watched.vfs = vfs.name();
  target_ = open(watched);
  run("CREATE TABLE keys(key UNIQUE)");
  std::mt19937_64 random(test_seed());
  const std::string rest(500, 'x');
  const int before = vfs.reads();
  ASSERT_TRUE(target_->begin());
  for (std::uint64_t batch = 0; batch < 12; ++batch) {  // the index has 6 MB, the rows as many
    std::vector<std::string> keys(1000);
    std::vector<Row> rows;
    for (auto& key : keys) {
      key = std::to_string(random()) + rest;
      rows.push_back({std::string_view(key)});
    }
    const auto applied = target_->apply(
        header_of("p", 1 + 1000 * batch, keys.size(), "keys", {"key"}), frame_of(rows));
    ASSERT_TRUE(applied);
    EXPECT_EQ(applied->rows_applied, 1000U);
  }
  ASSERT_TRUE(target_->commit());
  EXPECT_LT(vfs.reads() - before, 1500) << "of 12,000 rows";
  EXPECT_EQ(word("PRAGMA integrity_check"), "ok");
  target_ = nullptr;  // before its file system
}

TEST_F(TargetTest, ResentBatchIsAppliedOnceAndGivesTheOutcomeThatItHad) {
  run("CREATE TABLE u(id INTEGER UNIQUE)");
  const auto header = header_of("p", 1, 3, "u", {"id"});
  const std::vector<Row> rows{{std::int64_t{1}}, {std::int64_t{1}}, {std::int64_t{2}}};
  const auto once = write(*target_, header, rows);
  const auto again = write(*target_, header, rows);
  EXPECT_EQ(number("SELECT count(*) FROM u"), 2);
  EXPECT_EQ(once.dead_count, 1U);
  EXPECT_EQ(again.rows_applied, 0U);
  EXPECT_EQ(again.through, once.through);
  EXPECT_EQ(again.dead_count, 1U);
  ASSERT_THAT(again.dead, SizeIs(1));
  EXPECT_EQ(again.dead[0].sequence, Sequence{2});
  EXPECT_EQ(again.dead[0].reason, "UNIQUE constraint failed: u.id");
  EXPECT_EQ(number("SELECT count(*) FROM turnstile_dead_letters"), 1);
}

TEST_F(TargetTest, OverlappingBatchAppliesOnlyTheNewRows) {
  run("CREATE TABLE n(v)");
  write(*target_, header_of("p", 1, 3, "n", {"v"}),
        {{std::int64_t{1}}, {std::int64_t{2}}, {std::int64_t{3}, std::int64_t{3}}});
  const auto outcome =
      write(*target_, header_of("p", 2, 4, "n", {"v"}),
            {{std::int64_t{20}}, {std::int64_t{30}}, {std::int64_t{4}}, {std::int64_t{1}}});
  EXPECT_EQ(outcome.rows_applied, 2U);
  EXPECT_EQ(outcome.through, Sequence{5});
  EXPECT_EQ(outcome.dead_count, 1U);  // the third, from before
  EXPECT_EQ(outcome.dead.at(0).sequence, Sequence{3});
  EXPECT_EQ(word("SELECT group_concat(v) FROM (SELECT v FROM n ORDER BY rowid)"), "1,2,4,1");
}

TEST_F(TargetTest, HoleAppliesNothingAndSaysWhere) {
  write_pets(1, 2);
  const auto outcome = write_pets(4, 2);
  EXPECT_EQ(outcome.outcome, Outcome::hole);
  EXPECT_EQ(outcome.through, Sequence{2});
  EXPECT_EQ(count_pets(), 2);
  EXPECT_EQ(write(*target_, header_of("stranger", 2, 1, "pets", pet_columns), pets(1)).outcome,
            Outcome::hole);
}

TEST_F(TargetTest, BatchWithoutRowsOrSequenceAppliesNothing) {
  EXPECT_EQ(write_pets(1, 0).outcome, Outcome::hole);
  EXPECT_EQ(write_pets(0, 1).outcome, Outcome::hole);
  EXPECT_EQ(number("SELECT count(*) FROM turnstile_producers"), 0);
}

TEST_F(TargetTest, OlderEpochIsFencedAndNewerOneTakesOver) {
  auto header = header_of("p", 1, 1, "pets", pet_columns);
  header.epoch = {5};
  write(*target_, header, pets(1));
  header.first = {2};
  header.epoch = {4};
  EXPECT_EQ(write(*target_, header, pets(1)).outcome, Outcome::fenced);
  EXPECT_EQ(count_pets(), 1);
  // A newer epoch fences even when all that it sends was applied before.
  header.first = {1};
  header.epoch = {6};
  EXPECT_EQ(write(*target_, header, pets(1)).rows_applied, 0U);
  header.first = {2};
  header.epoch = {5};
  EXPECT_EQ(write(*target_, header, pets(1)).outcome, Outcome::fenced);
}

TEST_F(TargetTest, OtherSourceIsRefusedAndNoSourceIsNot) {
  auto header = header_of("p", 1, 1, "pets", pet_columns);
  header.source = "one.csv";
  write(*target_, header, pets(1));
  header.first = {2};
  header.source = "two.csv";
  EXPECT_EQ(write(*target_, header, pets(1)).outcome, Outcome::other_source);
  header.source = "";
  EXPECT_EQ(write(*target_, header, pets(1)).outcome, Outcome::applied);
  EXPECT_EQ(target_->progress({"p"}, {0})->source, "one.csv");
  EXPECT_EQ(count_pets(), 2);
}

TEST_F(TargetTest, SeveralBatchesOfOneProducerFitInOneTransaction) {
  ASSERT_TRUE(target_->begin());
  for (std::uint64_t first : {1U, 3U, 3U, 5U}) {
    ASSERT_TRUE(target_->apply(header_of("p", first, 2, "pets", pet_columns), frame_of(pets(2))));
  }
  ASSERT_TRUE(target_->commit());
  EXPECT_EQ(count_pets(), 6);
  EXPECT_EQ(target_->progress({"p"}, {0})->through, Sequence{6});
}

TEST_F(TargetTest, ProgressTellsDeadLettersBehindASequence) {
  run("CREATE TABLE u(id INTEGER UNIQUE)");
  const Row same{std::int64_t{1}};
  write(*target_, header_of("p", 1, 4, "u", {"id"}), {same, same, same, same});
  const auto all = target_->progress({"p"}, {0});
  EXPECT_EQ(all->dead_count, 3U);
  const auto some = target_->progress({"p"}, {2});
  EXPECT_EQ(some->dead_count, 2U);
  EXPECT_EQ(some->dead.at(0).sequence, Sequence{3});
  EXPECT_EQ(some->epoch, Epoch{1});
  EXPECT_TRUE(some->known);
  EXPECT_FALSE(target_->progress({"q"}, {0})->known);
}

TEST_F(TargetTest, SecondTargetFencesTheFirstInItsNextTransaction) {
  write_pets(1, 1);
  auto second = open(options());
  const auto begun = target_->begin();
  ASSERT_FALSE(begun);
  EXPECT_EQ(begun.error().code, Errc::fenced);
  EXPECT_THAT(begun.error().what, HasSubstr("generation 2"));
  EXPECT_FALSE(target_->apply(header_of("p", 2, 1, "pets", pet_columns), frame_of(pets(1))));
  write(*second, header_of("p", 2, 1, "pets", pet_columns), pets(1));
  EXPECT_EQ(count_pets(), 2);
}

TEST_F(TargetTest, TargetThatOnlyStandsByWritesNothing) {
  auto waiting = store::Target::open(options());
  ASSERT_TRUE(waiting);
  const auto begun = (*waiting)->begin();
  ASSERT_FALSE(begun);
  EXPECT_EQ(begun.error().code, Errc::fenced);
  EXPECT_EQ(write_pets(1, 1).rows_applied, 1U);
}

TEST_F(TargetTest, GenerationGrowsByOneForEachWriter) {
  EXPECT_EQ(target_->take_over()->value, 2U);
  EXPECT_EQ(target_->take_over()->value, 3U);
}

TEST_F(TargetTest, CommitWithoutTransactionIsAnError) {
  EXPECT_FALSE(target_->commit());
  EXPECT_FALSE(target_->apply(header_of("p", 1, 1, "pets", pet_columns), frame_of(pets(1))));
}

TEST_F(TargetTest, IdleProducerIsForgottenAndItsNameStartsAnew) {
  run("CREATE TABLE u(id INTEGER UNIQUE)");
  const Row same{std::int64_t{1}};
  write(*target_, header_of("old", 1, 2, "u", {"id"}), {same, same});
  pass(*target_, std::chrono::hours{24 * 29});
  write(*target_, header_of("new", 1, 1, "u", {"id"}), {{std::int64_t{2}}});
  ASSERT_TRUE(target_->housekeeping());
  EXPECT_TRUE(target_->progress({"old"}, {0})->known);
  pass(*target_, std::chrono::hours{25});
  EXPECT_FALSE(target_->progress({"old"}, {0})->known);
  EXPECT_TRUE(target_->progress({"new"}, {0})->known);
  // The letter stays for people, but is no answer to the new life's second row.
  EXPECT_EQ(target_->dead_letters(), 1U);
  const std::vector<Row> rows{{std::int64_t{3}}, {std::int64_t{4}}};
  write(*target_, header_of("old", 1, 2, "u", {"id"}), rows);
  EXPECT_EQ(write(*target_, header_of("old", 1, 2, "u", {"id"}), rows).dead_count, 0U);
}

constexpr std::int64_t kYearMs = std::int64_t{365} * 24 * 3600 * 1000;

TEST_F(TargetTest, AClockThatJumpsForgetsNobody) {
  run("CREATE TABLE u(id INTEGER)");
  for (const std::int64_t jump : {kYearMs, -2 * kYearMs, 100 * kYearMs, -90 * kYearMs / 2}) {
    write(*target_, header_of("before", 1, 1, "u", {"id"}), {{std::int64_t{1}}});
    ASSERT_TRUE(target_->housekeeping());
    now_ms_ += jump;
    write(*target_, header_of("after", 1, 1, "u", {"id"}), {{std::int64_t{2}}});
    for (int look = 0; look < 3; ++look) {
      ASSERT_TRUE(target_->housekeeping());
      now_ms_ += 61'000;
    }
    EXPECT_TRUE(target_->progress({"before"}, {0})->known) << jump;
    EXPECT_TRUE(target_->progress({"after"}, {0})->known) << jump;
    // From here on idle time counts again, for both.
    pass(*target_, std::chrono::hours{24 * 28});
    EXPECT_TRUE(target_->progress({"before"}, {0})->known) << jump;
    EXPECT_TRUE(target_->progress({"after"}, {0})->known) << jump;
    pass(*target_, std::chrono::hours{24 * 3});
    EXPECT_FALSE(target_->progress({"before"}, {0})->known) << jump;
    EXPECT_FALSE(target_->progress({"after"}, {0})->known) << jump;
  }
}

TEST_F(TargetTest, TimeInWhichNothingRanMakesNobodyIdleAlsoWhenRowsComeFirst) {
  run("CREATE TABLE u(id INTEGER)");
  write(*target_, header_of("asleep", 1, 1, "u", {"id"}), {{std::int64_t{1}}});
  write(*target_, header_of("early", 1, 1, "u", {"id"}), {{std::int64_t{2}}});
  target_.reset();
  now_ms_ += kYearMs;
  target_ = open(options());
  write(*target_, header_of("early", 2, 1, "u", {"id"}), {{std::int64_t{3}}});
  ASSERT_TRUE(target_->housekeeping());
  EXPECT_TRUE(target_->progress({"asleep"}, {0})->known);
  pass(*target_, std::chrono::hours{24 * 31});
  EXPECT_FALSE(target_->progress({"asleep"}, {0})->known);
}

TEST_F(TargetTest, TaskDurationHoldsTheFileAndAsksTheCaller) {
  auto asking = options();
  asking.allow_task_duration = true;
  int asked = 0;
  bool locked_out = false;
  asking.while_waiting = [&] {
    ++asked;
    auto other = sqlite::Connection::open(db(), sqlite::Access::read_write);
    locked_out = !other->execute("BEGIN IMMEDIATE");
    return false;  // ends the holding, long before its time
  };
  target_ = open(asking);
  auto header = header_of("p", 1, 1, "pets", pet_columns);
  header.task_duration = std::chrono::milliseconds{60'000};
  EXPECT_EQ(write(*target_, header, pets(1)).rows_applied, 1U);
  EXPECT_EQ(asked, 1);
  EXPECT_TRUE(locked_out);
  EXPECT_EQ(count_pets(), 1);
}

TEST_F(TargetTest, LockedTargetSaysSoAndCanBeTriedAgain) {
  auto other = sqlite::Connection::open(db(), sqlite::Access::read_write);
  ASSERT_TRUE(other->execute("BEGIN IMMEDIATE"));
  const auto begun = target_->begin();
  ASSERT_FALSE(begun);
  EXPECT_EQ(begun.error().code, Errc::locked);
  EXPECT_THAT(begun.error().what, HasSubstr("another program holds"));
  EXPECT_THAT(begun.error().what, HasSubstr(db().string()));
  EXPECT_FALSE(begun.error().hint.empty());
  ASSERT_TRUE(other->execute("COMMIT"));
  EXPECT_EQ(write_pets(1, 1).rows_applied, 1U);
}

TEST_F(TargetTest, FileInRollbackJournalModeIsSwitchedToWal) {
  target_.reset();
  ASSERT_TRUE(std::filesystem::remove(db()));
  run("PRAGMA journal_mode=DELETE; CREATE TABLE mine(x); INSERT INTO mine VALUES (1)");
  target_ = open(options());
  EXPECT_EQ(word("PRAGMA journal_mode"), "wal");
  EXPECT_EQ(number("SELECT x FROM mine"), 1);
}

TEST_F(TargetTest, NewFileHasPagesOf16KiB) {
  EXPECT_EQ(number("PRAGMA page_size"), 16384);
}

TEST_F(TargetTest, NewerFormatVersionIsLeftAlone) {
  target_.reset();
  run("UPDATE turnstile_meta SET value = 99 WHERE key = 'format_version'");
  auto opened = store::Target::open(options());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::unreachable);
  EXPECT_THAT(opened.error().what, HasSubstr("format version 99"));
}

TEST_F(TargetTest, FileThatIsNoDatabaseIsNamed) {
  auto other = options();
  other.path = folder_ / "notes.txt";
  write_text(other.path, std::string(4096, 'x'));
  auto opened = store::Target::open(other);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::unreachable);
  EXPECT_THAT(opened.error().what, HasSubstr("notes.txt is not an SQLite database"));
  EXPECT_EQ(read_text(other.path), std::string(4096, 'x'));
}

TEST_F(TargetTest, LabTablesAppearOnlyWhenTheyAreNamed) {
  EXPECT_EQ(number("SELECT count(*) FROM sqlite_schema WHERE name IN ('pets', 'nutrients')"), 0);
  EXPECT_EQ(target_->check_table("nutrients", {"id", "time"})->state, TableState::ready);
  EXPECT_EQ(number("SELECT count(*) FROM sqlite_schema WHERE name = 'nutrients'"), 1);
  EXPECT_EQ(number("SELECT count(*) FROM sqlite_schema WHERE name = 'pets'"), 0);
  write_pets(1, 1);
  EXPECT_EQ(count_pets(), 1);
}

TEST_F(TargetTest, CheckTableWithoutColumnsAsksWhetherTheTableIsThere) {
  run("CREATE TABLE t(g AS (a + 1), a); CREATE VIEW v AS SELECT a FROM t");
  EXPECT_EQ(target_->check_table("t", {})->state, TableState::ready);
  EXPECT_EQ(target_->check_table("none", {})->state, TableState::missing_table);
  EXPECT_EQ(target_->check_table("v", {})->state, TableState::unusable);
  EXPECT_EQ(target_->check_table("turnstile_meta", {})->state, TableState::unusable);
}

TEST_F(TargetTest, CheckTableNamesWhatIsMissing) {
  run("CREATE TABLE t(a, b); CREATE VIEW v AS SELECT a FROM t");
  EXPECT_EQ(target_->check_table("t", {"a", "B"})->state, TableState::ready);
  auto answer = target_->check_table("none", {"a"});
  EXPECT_EQ(answer->state, TableState::missing_table);
  EXPECT_EQ(answer->detail, "no such table: none");
  answer = target_->check_table("t", {"a", "c"});
  EXPECT_EQ(answer->state, TableState::missing_column);
  EXPECT_EQ(answer->detail, "table t has no column named c");
  answer = target_->check_table("v", {"a"});
  EXPECT_EQ(answer->state, TableState::unusable);
  EXPECT_EQ(answer->detail, "cannot modify v because it is a view");
  EXPECT_EQ(target_->check_table("t", {"a", "A"})->state, TableState::unusable);
  EXPECT_EQ(target_->check_table("turnstile_meta", {"key"})->state, TableState::unusable);
  EXPECT_EQ(target_->check_table("sqlite_schema", {"sql"})->state, TableState::unusable);
}

TEST_F(TargetTest, WithoutItsGenerationNobodyWrites) {
  run("DELETE FROM turnstile_meta WHERE key = 'generation'");
  const auto begun = target_->begin();
  ASSERT_FALSE(begun);
  EXPECT_EQ(begun.error().code, Errc::corrupt);
  EXPECT_THAT(begun.error().what, HasSubstr("does not say which consumer writes it"));
}

TEST_F(TargetTest, ASourceThatStaysTheSameGoesOnAndAnotherIsRefused) {
  auto header = header_of("p", 1, 1, "pets", {"name"});
  header.source = "one";
  EXPECT_EQ(write(*target_, header, {{"Rex"}}).outcome, Outcome::applied);
  header.first = {2};
  EXPECT_EQ(write(*target_, header, {{"Tom"}}).outcome, Outcome::applied);
  header.first = {3};
  header.source = "two";
  EXPECT_EQ(write(*target_, header, {{"Ace"}}).outcome, Outcome::other_source);
  EXPECT_EQ(count_pets(), 2);
}

TEST_F(TargetTest, RowsOfANewInputAreTakenOnlyWhereItBegins) {
  auto header = header_of("p", 1, 1, "pets", {"name"});
  const auto outcome = [&](std::uint64_t first, std::string source) {
    header.first = {first};
    header.source = std::move(source);
    return write(*target_, header, {{"Rex"}}).outcome;
  };
  EXPECT_EQ(outcome(1, "one+0@a:1"), Outcome::applied);
  EXPECT_EQ(outcome(2, "one+0@b:2"), Outcome::applied);
  EXPECT_EQ(outcome(1, "two+0@a:1"), Outcome::other_source);  // would be taken for the first's row
  EXPECT_EQ(outcome(2, "two+1@a:1"), Outcome::other_source);
  EXPECT_EQ(outcome(3, "two+1@a:1"), Outcome::other_source);
  EXPECT_EQ(outcome(3, "two@a:1"), Outcome::other_source);
  EXPECT_EQ(outcome(3, "two+2@a:1"), Outcome::applied);
  EXPECT_EQ(outcome(3, "two+2@a:1"), Outcome::applied);  // again, as after a crash
  EXPECT_EQ(outcome(4, "two+2@b:2"), Outcome::applied);
  EXPECT_EQ(outcome(5, "one+0@b:2"), Outcome::other_source);
  EXPECT_EQ(outcome(5, "two+4@b:2"), Outcome::applied);  // the same stem begins again
  EXPECT_EQ(target_->progress({"p"}, {0})->source, "two+4@b:2");
  EXPECT_EQ(count_pets(), 5);
}

TEST_F(TargetTest, RowThatAsksForATaskDurationIsADeadLetterUnlessThatIsAllowed) {
  write(*target_, header_of("p", 1, 1, "pets", {"name"}), {{"Ace"}});
  auto header = header_of("p", 2, 2, "pets", {"name"});
  header.task_duration = std::chrono::minutes(1);
  const auto began = std::chrono::steady_clock::now();
  const auto outcome = write(*target_, header, {{"Rex"}, {"Tom"}});
  EXPECT_EQ(outcome.outcome, Outcome::applied);
  EXPECT_EQ(outcome.dead_count, 2U);
  EXPECT_THAT(outcome.dead.at(0).reason, HasSubstr("--allow-task-duration"));
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(30));
  EXPECT_EQ(count_pets(), 1);
}

TEST_F(TargetTest, AnswerAboutATableNamesItsTypes) {
  target_.reset();
  run("CREATE TABLE kinds(k INTEGER PRIMARY KEY, i INT, r DOUBLE, n NUMERIC, t VARCHAR, b)");
  target_ = open(options());
  const auto answer = target_->check_table("kinds", {"b", "t", "n", "r", "i", "k"});
  ASSERT_TRUE(answer);
  EXPECT_THAT(answer->types, ::testing::ElementsAre("BLOB", "TEXT", "NUMERIC", "REAL", "INTEGER",
                                                    "INTEGER PRIMARY KEY"));
  EXPECT_TRUE(target_->check_table("kinds", {"none"})->types.empty());
}

TEST_F(TargetTest, ManyTablesAndFormsOfColumnsAreForgottenAndFoundAgain) {
  std::string sql = "BEGIN;";
  constexpr int kMany = 300;
  for (int i = 0; i < kMany; ++i) {
    sql += "CREATE TABLE many" + std::to_string(i) + "(v, w AS (v + 1));";
  }
  run(sql + "COMMIT");
  std::uint64_t next = 1;
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(target_->begin());
    for (int i = 0; i < kMany; ++i) {
      const auto outcome =
          target_->apply(header_of("p", next++, 1, "many" + std::to_string(i), {"v"}),
                         frame_of({{std::int64_t{i}}}));
      ASSERT_TRUE(outcome) << outcome.error().what;
      ASSERT_EQ(outcome->rows_applied, 1U);
    }
    ASSERT_TRUE(target_->commit());
  }
  EXPECT_EQ(number("SELECT sum(w) FROM many299"), 600);
}

TEST_F(TargetTest, ADefinitionHasOneRowAndSomeColumns) {
  auto header = header_of("p", 1, 2, "fresh", {"a"});
  header.kind = BatchKind::define;
  auto outcome = write(*target_, header, {{"TEXT"}, {"TEXT"}});
  ASSERT_EQ(outcome.dead_count, 2U);
  EXPECT_THAT(outcome.dead[0].reason, HasSubstr("one row"));
  header = header_of("p", 3, 1, "fresh", {});
  header.kind = BatchKind::define;
  outcome = write(*target_, header, {{}});
  EXPECT_EQ(outcome.dead_count, 1U);
  EXPECT_EQ(number("SELECT count(*) FROM sqlite_schema WHERE name = 'fresh'"), 0);
}

TEST_F(TargetTest, ATaskEndsEarlyWhenNobodyWantsItAnyMore) {
  target_.reset();
  auto asking = options();
  asking.allow_task_duration = true;
  int asked = 0;
  asking.while_waiting = [&] { return ++asked < 2; };
  target_ = open(std::move(asking));
  auto header = header_of("p", 1, 1, "pets", {"name"});
  header.task_duration = std::chrono::minutes(1);
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(write(*target_, header, {{"Rex"}}).rows_applied, 1U);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(30));
}

// ---- the files are moved, deleted or replaced

class VanishingTargetTest : public StoreTest {
 protected:
  // What moves the file, between the rows and their commit: nothing of them may be acknowledged.
  template <typename Move>
  void expect_not_acknowledged(const Move& move) {
    auto target = open(options());
    write(*target, header_of("p", 1, 1, "pets", {"name"}), {{std::string_view("Ace")}});
    ASSERT_TRUE(target->begin());
    ASSERT_TRUE(target->apply(header_of("p", 2, 1, "pets", {"name"}),
                              frame_of({{std::string_view("Rex")}})));
    move();
    const auto committed = target->commit();
    ASSERT_FALSE(committed);
    EXPECT_EQ(committed.error().code, Errc::io);
    EXPECT_THAT(committed.error().what, HasSubstr("was moved, deleted or replaced"));
    // Nor is anything else told from it.
    EXPECT_FALSE(target->progress({"p"}, {0}));
    EXPECT_FALSE(target->begin());
  }
};

TEST_F(VanishingTargetTest, ACommitIntoADeletedFileIsNoneAndTheNextTargetIsANewFile) {
  expect_not_acknowledged([&] {
    for (const char* end : {"", "-wal", "-shm"}) {
      std::filesystem::remove(db().string() + end);
    }
  });
  auto target = open(options());
  EXPECT_FALSE(target->progress({"p"}, {0})->known);
  const auto outcome = write(*target, header_of("p", 1, 2, "pets", {"name"}),
                             {{std::string_view("Ace")}, {std::string_view("Rex")}});
  EXPECT_EQ(outcome.rows_applied, 2U);
}

TEST_F(VanishingTargetTest, ACommitIntoAMovedFileIsNone) {
  expect_not_acknowledged([&] { std::filesystem::rename(db(), folder_ / "away.db"); });
}

TEST_F(VanishingTargetTest, ACommitIntoAReplacedFileIsNone) {
  expect_not_acknowledged([&] {
    std::filesystem::copy_file(db(), folder_ / "backup.db");
    std::filesystem::rename(folder_ / "backup.db", db());
  });
}

TEST_F(VanishingTargetTest, ACommitIntoADeletedWriteAheadLogIsNone) {
  expect_not_acknowledged([&] { std::filesystem::remove(db().string() + "-wal"); });
}

TEST_F(VanishingTargetTest, WithOnlyItsWriteAheadLogDeletedItKeepsWhatWasAcknowledged) {
  expect_not_acknowledged([&] { std::filesystem::remove(db().string() + "-wal"); });
  auto target = open(options());
  EXPECT_GE(target->progress({"p"}, {0})->through, Sequence{1});
  EXPECT_EQ(word("SELECT substr(group_concat(name), 1, 3) FROM pets"), "Ace");
  EXPECT_EQ(word("PRAGMA integrity_check"), "ok");
}

TEST_F(VanishingTargetTest, AMovedFileIsWholeAndItsReplacementIsNotMixedWithItsLog) {
  expect_not_acknowledged([&] {
    std::filesystem::rename(db(), folder_ / "away.db");
    auto backup = sqlite::Connection::open(db(), sqlite::Access::create);
    ASSERT_TRUE(backup->execute("CREATE TABLE pets(name); INSERT INTO pets VALUES ('Old')"));
  });
  EXPECT_EQ(word("PRAGMA integrity_check"), "ok");
  EXPECT_EQ(word("SELECT group_concat(name) FROM pets"), "Old");
  std::filesystem::remove(db());
  std::filesystem::rename(folder_ / "away.db", db());
  EXPECT_EQ(word("PRAGMA integrity_check"), "ok");
  EXPECT_EQ(word("SELECT substr(group_concat(name), 1, 3) FROM pets"), "Ace");
}

TEST_F(VanishingTargetTest, ABackupThatWasCopiedOverItIsNotMixedWithTheDeletedLog) {
  {
    auto target = open(options());
    write(*target, header_of("p", 1, 1, "pets", {"name"}), {{std::string_view("Old")}});
  }
  std::filesystem::copy_file(db(), folder_ / "backup.db");
  run("DELETE FROM pets; DELETE FROM turnstile_producers");
  expect_not_acknowledged([&] {
    std::filesystem::copy_file(folder_ / "backup.db", db(),
                               std::filesystem::copy_options::overwrite_existing);
    for (const char* end : {"-wal", "-shm"}) {
      std::filesystem::remove(db().string() + end);
    }
  });
  EXPECT_EQ(word("PRAGMA integrity_check"), "ok");
  EXPECT_EQ(word("SELECT group_concat(name) FROM pets"), "Old");
}

TEST_F(VanishingTargetTest, MovedAndBackItIsReadBackAndHasEachRowOnce) {
  auto target = open(options());
  write(*target, header_of("p", 1, 1, "pets", {"name"}), {{std::string_view("Ace")}});
  ASSERT_TRUE(target->begin());
  const auto header = header_of("p", 2, 1, "pets", {"name"});
  const auto frame = frame_of({{std::string_view("Rex")}});
  ASSERT_TRUE(target->apply(header, frame));
  std::filesystem::rename(db(), folder_ / "away.db");
  EXPECT_FALSE(target->commit());
  std::filesystem::rename(folder_ / "away.db", db());
  target.reset();
  target = open(options());
  write_frame(*target, header, frame.view());
  EXPECT_EQ(target->progress({"p"}, {0})->through, Sequence{2});
  EXPECT_EQ(word("SELECT group_concat(name) FROM pets"), "Ace,Rex");
}

TEST_F(VanishingTargetTest, AnIdleTargetNotices) {
  auto target = open(options());
  ASSERT_TRUE(target->housekeeping());
  std::filesystem::rename(db(), folder_ / "away.db");
  EXPECT_EQ(target->housekeeping().error().code, Errc::io);
}

}  // namespace
}  // namespace turnstile::test
