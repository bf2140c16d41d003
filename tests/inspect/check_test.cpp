#include "inspect/check.h"

#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "inspect/check_ranges.h"
#include "tests/inspect/check_fixture.h"

namespace turnstile {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(CheckTest, SoundFilesGiveAVerdictWithNothingLostAndNothingTwice) {
  make_sound_target();
  store({batch_of("P1", 161, plain_rows(10)), batch_of("P3", 1, plain_rows(5))});
  ledger(R"({"producer":"P1","first":1,"last":160,"level":"applied","at_ms":1}
{"producer":"P1","first":1,"last":170,"level":"stored","at_ms":2}
{"producer":"P3","first":1,"last":5,"level":"stored","at_ms":3}
)");
  const auto report = check();
  EXPECT_THAT(problems(report), IsEmpty());
  EXPECT_EQ(check::verdict_line(report.verdict), "175 acknowledged, 175 present, 0 lost, 0 twice");
  EXPECT_EQ(report.producers.at("P1").waiting, 10);
  EXPECT_EQ(report.producers.at("P2").rows_dead, 1);
  EXPECT_EQ(report.producers.at("P3").waiting, 5);
  EXPECT_EQ(report.text_log->lines, 163);
}

TEST_F(CheckTest, WithoutLedgersAllThatIsAppliedOrJournaledCounts) {
  make_sound_target();
  store({batch_of("P1", 161, plain_rows(10))});
  EXPECT_EQ(check::verdict_line(check().verdict), "175 acknowledged, 175 present, 0 lost, 0 twice");
}

TEST_F(CheckTest, AnOpenTargetIsCheckedWhileItIsWritten) {
  open_target();
  for (std::uint64_t first = 1; first < 200; first += 10) {
    apply(batch_of("P1", first, plain_rows(10)));
    const auto report = check();
    EXPECT_THAT(problems(report), IsEmpty());
    EXPECT_EQ(report.producers.at("P1").through, first + 9);
  }
}

TEST_F(CheckTest, AReaderChangesNoByte) {
  make_sound_target();
  store({batch_of("P1", 161, plain_rows(10))});
  const std::string target = read(options_.target);
  const std::string journal = read(options_.journal);
  check();
  EXPECT_EQ(read(options_.target), target);
  EXPECT_EQ(read(options_.journal), journal);
}

TEST_F(CheckTest, RowsThatTheBrokerHasRemovedFromTheJournalAreNoHole) {
  make_sound_target();
  store({batch_of("P1", 151, plain_rows(10)), batch_of("P2", 6, plain_rows(1)),
         batch_of("P1", 161, plain_rows(10))});
  journal_sql("DELETE FROM batches WHERE offset = 1");
  const auto report = check();
  EXPECT_THAT(problems(report), IsEmpty());
  EXPECT_EQ(report.producers.at("P1").waiting, 10);
}

// ---- the text log's table

TEST_F(CheckTest, ADeletedRowIsNamedAndCountedAsLost) {
  make_sound_target();
  sql("DELETE FROM nutrients WHERE id = 50");
  options_.exclusive = true;
  const auto report = check();
  EXPECT_THAT(problems(report), AllOf(HasSubstr("text_log: 1 row of table nutrients"),
                                      HasSubstr("was deleted after")));
  EXPECT_EQ(report.verdict.lost, 1);
}

TEST_F(CheckTest, DeletedRowsAtTheEndAreNamedAndCountedAsLost) {
  make_sound_target();
  sql("DELETE FROM nutrients WHERE id > 160");
  options_.exclusive = true;
  const auto report = check();
  EXPECT_THAT(problems(report), HasSubstr("3 rows of table nutrients"));
  EXPECT_EQ(report.verdict.lost, 3);
}

TEST_F(CheckTest, ARepeatedRowIsNamedAndCountedAsTwice) {
  make_sound_target();
  sql("INSERT INTO nutrients(name, amount) SELECT name, amount FROM nutrients WHERE id = 7");
  options_.exclusive = true;
  const auto report = check();
  EXPECT_THAT(problems(report), HasSubstr("1 row after the last one of the text log"));
  EXPECT_EQ(report.verdict.twice, 1);
}

TEST_F(CheckTest, AChangedValueIsNamedWithItsRow) {
  make_sound_target();
  sql("UPDATE nutrients SET amount = 204 WHERE id = 3");
  EXPECT_THAT(problems(check()),
              AllOf(HasSubstr("row 3 of table nutrients"), HasSubstr("[3, Protein, 203]"),
                    HasSubstr("[3, Protein, 204]")));
}

TEST_F(CheckTest, AllRowsOfATableThatIsGoneAreLost) {
  make_sound_target();
  sql("DROP TABLE nutrients");
  options_.exclusive = true;
  EXPECT_EQ(check().verdict.lost, 163);
}

TEST_F(CheckTest, RowsThatOthersDeleteAndAddAreNotedAndNotLost) {
  make_sound_target();
  sql("DELETE FROM nutrients WHERE id IN (1, 50, 51, 163); "
      "INSERT INTO nutrients(id, name) VALUES (200, 'by hand')");
  const auto report = check();
  EXPECT_THAT(problems(report), IsEmpty());
  EXPECT_EQ(report.verdict.lost, 0);
  EXPECT_EQ(report.verdict.twice, 0);
  EXPECT_EQ(report.text_log->rows_missing, 4);
  EXPECT_EQ(report.text_log->rows_extra, 1);
}

TEST_F(CheckTest, AChangedRowAmongDeletedOnesIsStillNamed) {
  make_sound_target();
  sql("DELETE FROM nutrients WHERE id IN (1, 50); UPDATE nutrients SET amount = 9 WHERE id = 60");
  EXPECT_THAT(problems(check()), HasSubstr("row 60 of table nutrients"));
}

TEST_F(CheckTest, AnAddedColumnIsNoDamage) {
  make_sound_target();
  sql("ALTER TABLE nutrients ADD COLUMN source TEXT DEFAULT 'lab'");
  const auto report = check();
  EXPECT_THAT(problems(report), IsEmpty());
  EXPECT_EQ(report.text_log->lines, 163);
  sql("UPDATE nutrients SET amount = 9 WHERE id = 60");
  EXPECT_THAT(problems(check()), HasSubstr("row 60 of table nutrients"));
}

// ---- the text log

TEST_F(CheckTest, ATextLogBeforeItsFirstRowIsSound) {
  open_target();
  EXPECT_THAT(problems(check()), IsEmpty());
  std::filesystem::remove(options_.text_log);
  EXPECT_THAT(problems(check()), IsEmpty());
}

TEST_F(CheckTest, ATextLogThatWasMovedIsHeldAgainstItsOwnRows) {
  open_target();
  apply(batch_of("P1", 1, plain_rows(10)));
  std::filesystem::rename(options_.text_log, folder_.path() / "out9.txt.1");
  apply(batch_of("P1", 11, plain_rows(10)));
  const auto report = check();
  EXPECT_THAT(problems(report), IsEmpty());
  EXPECT_EQ(report.text_log->lines, 10);
  sql("UPDATE nutrients SET amount = 9 WHERE id = 15");
  EXPECT_THAT(problems(check()), HasSubstr("row 15 of table nutrients"));
}

TEST_F(CheckTest, WhatCannotBeReadOfADamagedTargetHasNoCount) {
  make_sound_target();
  sql("PRAGMA wal_checkpoint(TRUNCATE)");
  constexpr std::size_t kPageBytes = 16384;
  const auto page_of = [&](const std::string& table) {
    auto db = sqlite::Connection::open(options_.target, sqlite::Access::read_only);
    return static_cast<std::size_t>(
        db->query_integer("SELECT rootpage FROM sqlite_schema WHERE name = '" + table + "'")
            .value_or(0));
  };
  const std::string sound = read(options_.target);
  options_.text_log.clear();
  for (const auto& [table, unknown] :
       {std::pair<std::string, std::string>{"turnstile_producers",
                                            "an unknown number of rows applied"},
        {"nutrients", "an unknown number of rows in its tables"}}) {
    std::string bytes = sound;
    bytes.replace((page_of(table) - 1) * kPageBytes, kPageBytes, kPageBytes, '\x55');
    write(options_.target, bytes);
    options_.exclusive = true;
    const auto report = check();
    EXPECT_GT(report.problem_count, 0);
    const std::string text = check::text_report(report);
    EXPECT_THAT(text, HasSubstr(unknown));
    EXPECT_THAT(text, ::testing::Not(HasSubstr(" lost")));
    EXPECT_TRUE(nlohmann::json::parse(check::json_report(report))["lost"].is_null());
    write(options_.target, sound);
  }
}

TEST_F(CheckTest, ACutTextLogIsNamedWithTheByteItEndsAt) {
  make_sound_target();
  std::filesystem::resize_file(options_.text_log, 1000);
  const auto report = check();
  EXPECT_THAT(problems(report), HasSubstr("ends at byte 1000"));
  EXPECT_EQ(report.text_log->first_difference, 1000);
  EXPECT_EQ(report.verdict.lost, 0);
}

TEST_F(CheckTest, AnExtendedTextLogIsNamedWithWhatIsTooMuch) {
  make_sound_target();
  const std::string text = read(options_.text_log);
  write(options_.text_log, text + "[99, Never, 1]\n");
  const auto report = check();
  EXPECT_THAT(problems(report), HasSubstr("15 more than the target says"));
  EXPECT_EQ(report.text_log->first_difference, text.size());
}

TEST_F(CheckTest, AChangedByteOfTheTextLogIsNamedWithItsPlace) {
  make_sound_target();
  std::string text = read(options_.text_log);
  text[1234] = text[1234] == '#' ? '+' : '#';
  write(options_.text_log, text);
  const auto report = check();
  EXPECT_THAT(problems(report), HasSubstr("differs from byte 1234 on"));
  EXPECT_EQ(report.text_log->first_difference, 1234);
}

TEST_F(CheckTest, LinesWithEscapesAreSoundAndSoAreThoseThatAnEarlierVersionWroteRaw) {
  open_target();
  const std::string evil = "\x1B[2J\xC2\x9B\xE2\x80\xAE\ta\nb";
  const std::string bad = "\xE2\x80";  // no UTF-8, as a trigger may leave it
  apply(batch_of("P1", 1, plain_rows(3)));
  apply(batch_of("P1", 4, {{std::string_view(evil), std::int64_t{1}}}));
  sql("CREATE TRIGGER cut AFTER INSERT ON nutrients WHEN new.name = 'cut' BEGIN "
      "UPDATE nutrients SET name = CAST(x'e280' AS TEXT) WHERE id = new.id; END");
  apply(batch_of("P1", 5, {{std::string_view("cut"), std::int64_t{2}}}));
  apply(batch_of("P1", 6, plain_rows(2)));
  target_.reset();
  const std::string escaped =
      "[4, \\x1b[2J\\xc2\\x9b\\xe2\\x80\\xae\\ta\\nb, 1]\n[5, \\xe2\\x80, 2]\n";
  std::string text = read(options_.text_log);
  ASSERT_THAT(text, ::testing::HasSubstr(escaped));
  EXPECT_EQ(problems(check()), "");

  const std::string raw = "[4, \x1B[2J\xC2\x9B\xE2\x80\xAE\ta\\nb, 1]\n[5, " + bad + ", 2]\n";
  text.replace(text.find(escaped), escaped.size(), raw);
  write(options_.text_log, text);
  sql("UPDATE turnstile_text_log SET length = " + std::to_string(text.size()) +
      ", synced_length = " + std::to_string(text.size()));
  EXPECT_EQ(problems(check()), "");

  // Neither form.
  text.replace(text.find("\x1B[2J"), 1, "?");
  write(options_.text_log, text);
  EXPECT_THAT(problems(check()), ::testing::HasSubstr("in the line of row 4"));
  EXPECT_THAT(problems(check()), ::testing::Not(::testing::HasSubstr("\x1B")));
}

TEST_F(CheckTest, ATextLogThatTheTargetDoesNotKnowIsNamed) {
  make_sound_target();
  sql("DELETE FROM turnstile_text_log");
  EXPECT_THAT(problems(check()), HasSubstr("knows of no text log"));
}

TEST_F(CheckTest, ACopyOfTheTextLogIsHeldAgainstTheOnlyOneThereIs) {
  make_sound_target();
  const auto copy = folder_.path() / "copy.txt";
  std::filesystem::copy_file(options_.text_log, copy);
  options_.text_log = copy;
  EXPECT_THAT(problems(check()), IsEmpty());
}

// ---- progress and dead letters

TEST_F(CheckTest, ProgressMovedForwardShowsAsMissing) {
  make_sound_target();
  sql("UPDATE turnstile_producers SET through = through + 5 WHERE producer = 'P1'");
  const auto report = check();
  EXPECT_THAT(problems(report),
              AllOf(HasSubstr("progress: producer P1"), HasSubstr("5 are missing")));
  EXPECT_EQ(report.verdict.lost, 5);
}

TEST_F(CheckTest, ProgressMovedBackShowsAsTwice) {
  make_sound_target();
  sql("UPDATE turnstile_producers SET through = through - 5 WHERE producer = 'P1'");
  const auto report = check();
  EXPECT_THAT(problems(report), AllOf(HasSubstr("progress: producer P1"), HasSubstr("5 twice")));
  EXPECT_EQ(report.verdict.twice, 5);
}

TEST_F(CheckTest, ARepeatedDeadLetterIsNamed) {
  make_sound_target();
  sql("INSERT INTO turnstile_letters SELECT 900, producer, epoch, sequence, rows, kind, form, "
      "bytes, at_ms, live, reason, row FROM turnstile_letters");
  const auto report = check();
  EXPECT_THAT(problems(report), AllOf(HasSubstr("dead letter 900 stands for sequence 2"),
                                      HasSubstr("dead letters stand for 2")));
  EXPECT_EQ(report.verdict.twice, 1);
}

TEST_F(CheckTest, ADeadLetterBeyondProgressIsNamed) {
  make_sound_target();
  sql("UPDATE turnstile_letters SET sequence = 77");
  EXPECT_THAT(problems(check()), HasSubstr("dead letter for sequence 77, but its progress is 5"));
}

TEST_F(CheckTest, AForgottenProducersRetiredLettersAreSound) {
  make_sound_target();
  sql("UPDATE turnstile_letters SET live = 0; "
      "DELETE FROM turnstile_producers WHERE producer = 'P2'");
  EXPECT_THAT(problems(check()), IsEmpty());
}

// ---- the journal

TEST_F(CheckTest, AFlippedByteInAJournaledBatchIsNamedWithItsOffset) {
  make_sound_target();
  store({batch_of("P1", 161, plain_rows(10)), batch_of("P1", 171, plain_rows(10))});
  journal_sql("UPDATE batches SET rows = x'92' || substr(rows, 2) WHERE offset = 2");
  const auto report = check();
  EXPECT_THAT(problems(report), HasSubstr("offset 2: the batch is damaged: its checksum"));
  EXPECT_EQ(report.journal->damaged, 1);
}

TEST_F(CheckTest, AByteFlippedInTheJournalsFileIsNamed) {
  make_sound_target();
  store({batch_of("P1", 161, {{std::string_view("unmistakable"), std::int64_t{1}}})});
  journal_sql("PRAGMA wal_checkpoint(TRUNCATE)");
  std::string bytes = read(options_.journal);
  const auto at = bytes.find("unmistakable");
  ASSERT_NE(at, std::string::npos);
  bytes[at] = 'U';
  write(options_.journal, bytes);
  EXPECT_THAT(problems(check()), HasSubstr("offset 1: the batch is damaged"));
}

TEST_F(CheckTest, ColumnsThatTheHeaderContradictsAreNamed) {
  make_sound_target();
  store({batch_of("P1", 161, plain_rows(10))});
  journal_sql("UPDATE batches SET producer = 'P9'");
  EXPECT_THAT(problems(check()), HasSubstr("offset 1: the batch is damaged"));
}

TEST_F(CheckTest, ABatchMissingInTheMiddleIsAHoleAndLost) {
  make_sound_target();
  store({batch_of("P1", 161, plain_rows(10)), batch_of("P1", 171, plain_rows(10)),
         batch_of("P1", 181, plain_rows(10))});
  journal_sql("DELETE FROM batches WHERE offset = 2");
  const auto report = check();
  EXPECT_THAT(problems(report), AllOf(HasSubstr("offset 3: producer P1"),
                                      HasSubstr("171 to 180 are neither applied nor")));
  EXPECT_EQ(report.verdict.lost, 10);
  EXPECT_EQ(report.journal->missing_offsets, 1);
}

TEST_F(CheckTest, ABatchMissingBehindTheProgressIsAHole) {
  make_sound_target();
  store({batch_of("P1", 161, plain_rows(10)), batch_of("P1", 171, plain_rows(10))});
  journal_sql("DELETE FROM batches WHERE offset = 1");
  EXPECT_THAT(problems(check()), HasSubstr("161 to 170 are neither applied nor"));
}

// ---- ledgers

TEST_F(CheckTest, ARowAcknowledgedAsAppliedThatIsNotInTheTargetIsLost) {
  make_sound_target();
  ledger("{\"producer\":\"P1\",\"first\":150,\"last\":165,\"level\":\"applied\",\"at_ms\":1}\n");
  const auto report = check();
  EXPECT_THAT(problems(report), HasSubstr("161 to 165 were acknowledged as applied"));
  EXPECT_EQ(check::verdict_line(report.verdict), "16 acknowledged, 11 present, 5 lost, 0 twice");
}

TEST_F(CheckTest, ARowAcknowledgedAsStoredThatIsNowhereIsLost) {
  make_sound_target();
  store({batch_of("P1", 161, plain_rows(10))});
  ledger(
      "{\"producer\":\"P1\",\"first\":161,\"last\":172,\"level\":\"stored\",\"at_ms\":1}\n"
      "{\"producer\":\"gone\",\"first\":1,\"last\":1,\"level\":\"stored\",\"at_ms\":1}\n");
  const auto report = check();
  EXPECT_THAT(problems(report),
              AllOf(HasSubstr("producer P1: 171 to 172 were acknowledged as stored"),
                    HasSubstr("producer gone: 1 were")));
  EXPECT_EQ(report.verdict.lost, 3);
}

TEST_F(CheckTest, LedgersOfSeveralProcessesCountASequenceOnce) {
  make_sound_target();
  ledger("{\"producer\":\"P1\",\"first\":1,\"last\":100,\"level\":\"applied\",\"at_ms\":1}\n");
  ledger("{\"producer\":\"P1\",\"first\":50,\"last\":160,\"level\":\"applied\",\"at_ms\":1}\n");
  EXPECT_EQ(check().verdict.acknowledged, 160);
}

TEST_F(CheckTest, ALedgersUnfinishedLastLineIsNotCounted) {
  make_sound_target();
  ledger(
      "{\"producer\":\"P1\",\"first\":1,\"last\":10,\"level\":\"applied\",\"at_ms\":1}\n"
      "{\"producer\":\"P1\",\"first\":11,\"last\":999,\"level\":\"applied\",\"at_ms\":1}");
  const auto report = check();
  EXPECT_THAT(problems(report), IsEmpty());
  EXPECT_EQ(report.verdict.acknowledged, 10);
}

TEST_F(CheckTest, AnOverlongLineIsNotCountedEitherWhenTheFileEndsInIt) {
  make_sound_target();
  const std::string good =
      "{\"producer\":\"P1\",\"first\":1,\"last\":10,\"level\":\"applied\",\"at_ms\":1}\n";
  ledger(good + std::string(10'000, 'x'));
  EXPECT_THAT(problems(check()), IsEmpty());
  ledger(good + std::string(10'000, 'x') + "\n");
  EXPECT_THAT(problems(check()), HasSubstr("line 2 of the ledger"));
}

TEST_F(CheckTest, LedgerLinesThatCannotBeReadAreNamed) {
  make_sound_target();
  ledger(
      "{\"producer\":\"P1\",\"first\":1,\"last\":10,\"level\":\"applied\",\"at_ms\":1}\n"
      "garbage\n" +
      std::string(10'000, 'x') +
      "\n"
      "{\"producer\":\"P1\",\"first\":0,\"last\":10,\"level\":\"applied\",\"at_ms\":1}\n"
      "{\"producer\":\"P1\",\"first\":9,\"last\":8,\"level\":\"applied\",\"at_ms\":1}\n"
      "{\"producer\":\"P1\",\"first\":1,\"last\":10,\"level\":\"maybe\",\"at_ms\":1}\n"
      "{\"producer\":\"P1\",\"first\":11,\"last\":20,\"level\":\"applied\",\"at_ms\":1}\n");
  const auto report = check();
  for (const char* line : {"line 2 of", "line 3 of", "line 4 of", "line 5 of", "line 6 of"}) {
    EXPECT_THAT(problems(report), HasSubstr(line));
  }
  EXPECT_EQ(report.problem_count, 5);
  EXPECT_EQ(report.verdict.acknowledged, 20);
}

// ---- numbers of rows

TEST_F(CheckTest, ExclusiveCountsRowsAndNotDefinitions) {
  make_sound_target();
  options_.exclusive = true;
  const auto report = check();
  EXPECT_THAT(problems(report), IsEmpty());
  EXPECT_EQ(report.producers.at("P2").changes, 1);
  EXPECT_EQ(report.target.rows_applied, 163);
}

TEST_F(CheckTest, ADeadLetterThatWasDeletedByHandIsNamed) {
  make_sound_target();
  sql("DELETE FROM turnstile_letters");
  EXPECT_THAT(problems(check()), HasSubstr("1 row was refused, 0 of them dealt with since"));
}

TEST_F(CheckTest, ExclusiveTellsARowOfAnyTableThatIsGone) {
  open_target();
  apply(batch_of("P1", 1, plain_rows(10)));
  target_.reset();
  options_.text_log.clear();
  options_.exclusive = true;
  EXPECT_THAT(problems(check()), IsEmpty());
  sql("DELETE FROM nutrients WHERE id = 3");
  const auto report = check();
  EXPECT_THAT(problems(report), HasSubstr("10 rows were applied, but the tables have 9"));
  EXPECT_EQ(report.verdict.lost, 1);
}

TEST_F(CheckTest, ExclusiveTellsARowOfAnyTableThatIsTwice) {
  open_target();
  apply(batch_of("P1", 1, plain_rows(10)));
  target_.reset();
  options_.text_log.clear();
  options_.exclusive = true;
  sql("INSERT INTO nutrients(name) VALUES ('again')");
  EXPECT_EQ(check().verdict.twice, 1);
}

// ---- files that cannot be opened

TEST_F(CheckTest, FilesThatAreMissingOrOfAnotherKindAreErrors) {
  const auto expect_unreachable = [&](std::string_view part) {
    const auto report = check::check(options_);
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, Errc::unreachable);
    EXPECT_THAT(report.error().what, HasSubstr(std::string(part)));
  };
  expect_unreachable("there is no file");
  write(options_.target, "this is no database, and long enough to see that it is none");
  expect_unreachable("cannot be read");
  std::filesystem::remove(options_.target);
  sql("CREATE TABLE anything(a)");
  expect_unreachable("is no target");
  std::filesystem::remove(options_.target);
  make_sound_target();
  options_.journal = options_.target;
  expect_unreachable("is no journal");
  options_.journal.clear();
  options_.ledgers = {folder_.path() / "nowhere"};
  expect_unreachable("the ledger");
  options_.ledgers.clear();
  std::filesystem::remove(options_.text_log);
  expect_unreachable("the text log");
}

TEST_F(CheckTest, FormatsThatItDoesNotKnowAreRefusedAndTheJournalsFirstIsRead) {
  make_sound_target();
  store({batch_of("P1", 161, plain_rows(1))});
  for (const char* format : {"99", "0"}) {
    journal_sql("UPDATE turnstile_journal SET value = " + std::string(format) +
                " WHERE key = 'format'");
    const auto refused = check::check(options_);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().what, HasSubstr("has format " + std::string(format)));
  }
  journal_sql("UPDATE turnstile_journal SET value = 1 WHERE key = 'format'");
  EXPECT_THAT(problems(check()), IsEmpty());
  sql("UPDATE turnstile_meta SET value = 99 WHERE key = 'format_version'");
  const auto report = check::check(options_);
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().what, HasSubstr("format version 99"));
}

TEST_F(CheckTest, ADamagedTargetIsNamed) {
  open_target();
  apply(batch_of("P1", 1, plain_rows(5000)));
  target_.reset();
  sql("PRAGMA wal_checkpoint(TRUNCATE)");
  std::string bytes = read(options_.target);
  const std::size_t page = 16384;
  ASSERT_GT(bytes.size(), 9 * page);
  bytes.replace(8 * page, 64, std::string(64, '\x5a'));
  write(options_.target, bytes);
  EXPECT_THAT(problems(check()), HasSubstr("integrity: "));
}

// ---- reports

TEST_F(CheckTest, TheReportsEndInTheVerdictAndNameEachProblem) {
  make_sound_target();
  sql("UPDATE turnstile_producers SET through = through + 5 WHERE producer = 'P1'");
  const auto report = check();
  EXPECT_THAT(check::text_report(report),
              AllOf(HasSubstr("WRONG     progress: producer P1"),
                    HasSubstr("170 acknowledged, 165 present, 5 lost, 0 twice\n")));
  const auto json = nlohmann::json::parse(check::json_report(report));
  EXPECT_FALSE(json["sound"]);
  EXPECT_EQ(json["lost"], 5);
  EXPECT_EQ(json["problems"][0]["breach"], "progress");
  EXPECT_EQ(json["producers"][0]["producer"], "P1");
  EXPECT_EQ(json["producers"][0]["missing"], 5);
}

TEST(CheckVerdictTest, NumbersAreGrouped) {
  EXPECT_EQ(check::verdict_line({1'000'000, 999'999, 1, 0}),
            "1,000,000 acknowledged, 999,999 present, 1 lost, 0 twice");
}

TEST(CheckRangesTest, NeighboursMergeAndDifferencesSplit) {
  check::Ranges ranges;
  ranges.add(1, 10);
  ranges.add(21, 30);
  ranges.add(11, 20);
  EXPECT_EQ(ranges.ranges(), (std::map<std::uint64_t, std::uint64_t>{{1, 30}}));
  check::Ranges middle;
  middle.add(5, 6);
  middle.add(29, 40);
  EXPECT_EQ(ranges.minus(middle).ranges(),
            (std::map<std::uint64_t, std::uint64_t>{{1, 4}, {7, 28}}));
  EXPECT_EQ(ranges.behind(28).count(), 2);
  EXPECT_EQ(ranges.behind(30).count(), 0);
  EXPECT_EQ(middle.minus(ranges).ranges(), (std::map<std::uint64_t, std::uint64_t>{{31, 40}}));
}

}  // namespace
}  // namespace turnstile
