#include "store/direct_writer.h"

#include <chrono>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "tests/store/fixture.h"

namespace turnstile::test {
namespace {

using std::chrono::milliseconds;
using store::DirectBegin;
using store::DirectJournal;
using store::DirectWriter;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class DirectWriterTest : public StoreTest {
 protected:
  store::DirectOptions direct() {
    store::DirectOptions options;
    options.path = db();
    options.busy_timeout = milliseconds{20};
    return options;
  }
  static BatchHeader pets(std::size_t rows = 1) {
    return header_of("P1", 1, rows, "pets", pet_columns);
  }
  static Bytes ace() { return frame_of({{"Ace", "Dog"}}); }
};

TEST_F(DirectWriterTest, RowsAreCommittedInRollbackJournalModeWithoutBookkeeping) {
  DirectWriter writer(direct());
  const auto written = writer.write(pets(2), frame_of({{"Ace", "Dog"}, {"Buddy", "Dog"}}).view());
  ASSERT_TRUE(written) << written.error().what;
  EXPECT_EQ(written->batch.rows_applied, 2U);
  EXPECT_EQ(word("SELECT group_concat(id || name) FROM pets"), "1Ace,2Buddy");
  EXPECT_EQ(word("PRAGMA journal_mode"), "delete");
  EXPECT_EQ(number("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'turnstile%'"), 0);
}

TEST_F(DirectWriterTest, JournalModeIsSetWhenAskedFor) {
  auto options = direct();
  options.journal = DirectJournal::wal;
  ASSERT_TRUE(DirectWriter(options).write(pets(), ace().view()));
  EXPECT_EQ(word("PRAGMA journal_mode"), "wal");
  options.journal = DirectJournal::as_it_is;
  ASSERT_TRUE(DirectWriter(options).write(pets(), ace().view()));
  EXPECT_EQ(word("PRAGMA journal_mode"), "wal");
}

TEST_F(DirectWriterTest, LockedDatabaseSaysExactlyWhatSqliteSaysAfterTheBusyTimeout) {
  DirectWriter writer(direct());
  ASSERT_TRUE(writer.write(pets(), ace().view()));
  for (const auto begin : {DirectBegin::deferred, DirectBegin::immediate}) {
    for (const bool reopen : {true, false}) {
      auto options = direct();
      options.begin = begin;
      options.reopen_for_each = reopen;
      DirectWriter loser(options);
      auto holder = sqlite::Connection::open(db(), sqlite::Access::read_write);
      ASSERT_TRUE(holder->execute("BEGIN IMMEDIATE"));
      const auto start = std::chrono::steady_clock::now();
      const auto lost = loser.write(pets(), ace().view());
      // It waited: nothing was read in the transaction before its first write.
      EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds{15});
      ASSERT_FALSE(lost);
      EXPECT_EQ(lost.error().code, Errc::locked);
      EXPECT_EQ(lost.error().what, "database is locked");
      ASSERT_TRUE(holder->execute("COMMIT"));
      EXPECT_TRUE(loser.write(pets(), ace().view()));
    }
  }
  EXPECT_EQ(number("SELECT count(*) FROM pets"), 5);
}

TEST_F(DirectWriterTest, TaskHoldsTheDatabaseBetweenInsertAndCommit) {
  auto options = direct();
  bool held = false;
  std::string loser_says;
  options.while_waiting = [&] {
    held = true;
    const auto lost = DirectWriter(direct()).write(pets(), ace().view());
    loser_says = lost ? "written" : lost.error().what;
    return false;
  };
  auto header = pets();
  header.task_duration = milliseconds{60'000};
  ASSERT_TRUE(DirectWriter(options).write(header, ace().view()));
  EXPECT_TRUE(held);
  EXPECT_EQ(loser_says, "database is locked");
  EXPECT_EQ(number("SELECT count(*) FROM pets"), 1);
}

TEST_F(DirectWriterTest, RefusedRowsAreToldAndTheirNeighboursArrive) {
  run("CREATE TABLE u(id INTEGER UNIQUE)");
  DirectWriter writer(direct());
  const auto written = writer.write(header_of("P1", 5, 4, "u", {"id"}),
                                    frame_of({{"1"}, {"1"}, {"2"}, {"3", "3"}}).view());
  ASSERT_TRUE(written);
  EXPECT_EQ(written->batch.rows_applied, 2U);
  EXPECT_EQ(written->batch.dead_count, 2U);
  ASSERT_THAT(written->batch.dead, SizeIs(2));
  EXPECT_EQ(written->batch.dead[0].sequence, Sequence{6});
  EXPECT_EQ(written->batch.dead[0].reason, "UNIQUE constraint failed: u.id");
  EXPECT_EQ(written->batch.dead[1].reason, "2 values for 1 column");
  EXPECT_EQ(number("SELECT count(*) FROM u"), 2);
}

TEST_F(DirectWriterTest, TextLogIsAppendedTo) {
  auto options = direct();
  options.text_path = text();
  options.text_table = "t";
  run("CREATE TABLE t(a INTEGER, b REAL)");
  write_text(text(), "before\n");
  for (const bool reopen : {true, false}) {
    options.reopen_for_each = reopen;
    DirectWriter writer(options);
    for (int i = 0; i < 2; ++i) {
      const auto written = writer.write(header_of("P1", 1, 2, "t", {"a", "b"}),
                                        frame_of({{"1", "2"}, {"x", "y"}}).view());
      ASSERT_TRUE(written);
      EXPECT_FALSE(written->text_error);
    }
  }
  std::string expected = "before\n";
  for (int i = 0; i < 4; ++i) {
    expected += "[1, 2.0]\n[x, y]\n";
  }
  EXPECT_EQ(read_text(text()), expected);
}

TEST_F(DirectWriterTest, TextLogThatCannotBeWrittenIsToldBesideTheCommittedRows) {
  auto options = direct();
  options.text_path = folder_ / "none" / "out9.txt";
  options.text_table = "pets";
  const auto written = DirectWriter(options).write(pets(), ace().view());
  ASSERT_TRUE(written);
  ASSERT_TRUE(written->text_error);
  EXPECT_THAT(written->text_error->what, HasSubstr("out9.txt"));
  EXPECT_EQ(number("SELECT count(*) FROM pets"), 1);
}

TEST_F(DirectWriterTest, DefinitionMakesTheTable) {
  DirectWriter writer(direct());
  auto header = header_of("P1", 1, 1, "fresh", {"a", "b"});
  header.kind = BatchKind::define;
  ASSERT_TRUE(writer.write(header, frame_of({{"INTEGER", "TEXT"}}).view()));
  EXPECT_EQ(writer.check_table("fresh", {"a", "b"})->state, TableState::ready);
  EXPECT_EQ(writer.write(header, frame_of({{"INTEGER", "STRING"}}).view())->batch.dead_count, 1U);
}

TEST_F(DirectWriterTest, CheckTableNamesWhatIsMissing) {
  DirectWriter writer(direct());
  EXPECT_EQ(writer.check_table("none", {"a"})->state, TableState::missing_table);
  EXPECT_EQ(writer.check_table("pets", {"name"})->state, TableState::ready);
  const auto answer = writer.check_table("pets", {"colour"});
  EXPECT_EQ(answer->state, TableState::missing_column);
  EXPECT_EQ(answer->detail, "table pets has no column named colour");
  EXPECT_EQ(writer.write(header_of("P1", 1, 1, "none", {"a"}), frame_of({{"1"}}).view())
                ->batch.dead.at(0)
                .reason,
            "no such table: none");
}

TEST_F(DirectWriterTest, MissingFolderIsNamed) {
  auto options = direct();
  options.path = folder_ / "none" / "t.db";
  const auto written = DirectWriter(options).write(pets(), ace().view());
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Errc::unreachable);
  EXPECT_THAT(written.error().what, HasSubstr("there is no directory"));
}

TEST_F(DirectWriterTest, WhatCanNeverGoInIsRefusedAsAWhole) {
  DirectWriter writer(direct());
  const auto reason = [&](const BatchHeader& header, std::string_view frame) {
    const auto written = writer.write(header, frame);
    EXPECT_TRUE(written) << written.error().what;
    EXPECT_EQ(written->batch.dead_count, header.rows);
    EXPECT_EQ(written->batch.rows_applied, 0U);
    return written->batch.dead.empty() ? std::string() : written->batch.dead[0].reason;
  };
  EXPECT_THAT(reason(pets(2), "no rows"), HasSubstr("frame"));
  EXPECT_THAT(reason(header_of("P1", 1, 1, "turnstile_meta", {"key", "value"}), ace().view()),
              HasSubstr("turnstile_meta"));
  auto retry = pets();
  retry.kind = BatchKind::retry;
  EXPECT_FALSE(reason(retry, ace().view()).empty());
  auto define = header_of("P1", 1, 2, "fresh", {"a"});
  define.kind = BatchKind::define;
  EXPECT_THAT(reason(define, frame_of({{"TEXT"}, {"TEXT"}}).view()), HasSubstr("one row"));
  EXPECT_EQ(number("SELECT count(*) FROM sqlite_schema WHERE name IN ('fresh', 'pets')"), 0);
}

TEST_F(DirectWriterTest, OfManyRefusedRowsTheFirstAreListedAndAllAreCounted) {
  run("CREATE TABLE picky(v CHECK (v > 0))");
  const std::size_t rows = limits::kDeadListed + 50;
  const auto written =
      DirectWriter(direct()).write(header_of("P1", 1, rows, "picky", {"v"}),
                                   frame_of(std::vector<Row>(rows, Row{std::int64_t{0}})).view());
  ASSERT_TRUE(written) << written.error().what;
  EXPECT_EQ(written->batch.dead_count, rows);
  EXPECT_EQ(written->batch.dead.size(), limits::kDeadListed);
}

TEST_F(DirectWriterTest, ATextLogWithoutRoomIsToldAndTheRowsStay) {
  auto options = direct();
  options.text_path = "/dev/full";
  options.text_table = "pets";
  const auto written = DirectWriter(options).write(pets(), ace().view());
  ASSERT_TRUE(written) << written.error().what;
  ASSERT_TRUE(written->text_error);
  EXPECT_EQ(written->text_error->code, Errc::full);
  EXPECT_EQ(number("SELECT count(*) FROM pets"), 1);
}

TEST_F(DirectWriterTest, AHoldingEndsWhenItIsNotWantedAnyMore) {
  auto options = direct();
  int asked = 0;
  options.while_waiting = [&] { return ++asked < 2; };
  auto header = pets();
  header.task_duration = std::chrono::minutes(1);
  const auto began = std::chrono::steady_clock::now();
  ASSERT_TRUE(DirectWriter(options).write(header, ace().view()));
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(30));
  EXPECT_EQ(asked, 2);
  EXPECT_EQ(number("SELECT count(*) FROM pets"), 1);
}

}  // namespace
}  // namespace turnstile::test
