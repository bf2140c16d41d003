// Promise 5: the text log holds exactly the committed rows of its table, in commit order, once
// each.
#include "store/text_log.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include "store/target.h"
#include "store/text_file.h"
#include "tests/store/fixture.h"

namespace turnstile::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// What goes wrong with the files that faulty_files() opens.
struct Faults {
  std::optional<Error> on_write;
  std::optional<Error> on_sync;
  std::size_t at_most = std::string::npos;  // bytes that one write takes
  bool cut_before_write = false;            // another program does, once
  int syncs = 0;
};

class FaultyFile final : public store::TextFile {
 public:
  FaultyFile(std::unique_ptr<store::TextFile> file, Faults& faults)
      : file_(std::move(file)), faults_(faults) {}

  Result<std::uint64_t> size() override { return file_->size(); }
  Result<std::size_t> write_some(std::uint64_t offset, std::string_view bytes) override {
    if (faults_.on_write) {
      // Part of it arrives, as on a disk that fills up.
      static_cast<void>(file_->write_some(offset, bytes.substr(0, bytes.size() / 2)));
      return tl::make_unexpected(*faults_.on_write);
    }
    if (std::exchange(faults_.cut_before_write, false)) {
      static_cast<void>(file_->truncate(0));
    }
    return file_->write_some(offset, bytes.substr(0, faults_.at_most));
  }
  Result<void> truncate(std::uint64_t length) override { return file_->truncate(length); }
  Result<std::string> read_some(std::uint64_t offset, std::size_t size) override {
    return file_->read_some(offset, size);
  }
  Result<Look> look() override { return file_->look(); }
  Result<void> sync() override {
    ++faults_.syncs;
    if (faults_.on_sync) {
      return tl::make_unexpected(*faults_.on_sync);
    }
    return file_->sync();
  }

 private:
  std::unique_ptr<store::TextFile> file_;
  Faults& faults_;
};

const std::vector<std::string> nutrient_columns{"id",           "name", "unit_name",
                                                "nutrient_nbr", "rank", "time"};
const Row protein{"1003", "Protein", "G", "203", "600", "10:45"};
constexpr std::string_view kProteinLine = "[1003, Protein, G, 203, 600, 10:45]\n";

std::string times(std::size_t count, std::string_view line) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) {
    out += line;
  }
  return out;
}

class TextLogTest : public StoreTest {
 protected:
  store::TargetOptions logging(std::string table = "nutrients") {
    auto with = options();
    with.text_path = text();
    with.text_table = std::move(table);
    with.open_text_file =
        [this](const std::filesystem::path& path) -> Result<std::unique_ptr<store::TextFile>> {
      auto file = store::open_posix_text_file(path);
      if (file) {
        *file = std::make_unique<FaultyFile>(std::move(*file), faults_);
      }
      return file;
    };
    return with;
  }
  store::BatchOutcome nutrients(store::Target& target, const std::vector<Row>& rows) {
    const auto through = target.progress({"n"}, {0})->through;
    return write(target,
                 header_of("n", through.value + 1, rows.size(), "nutrients", nutrient_columns),
                 rows);
  }
  store::BatchOutcome insert(store::Target& target, const std::string& table,
                             std::vector<std::string> columns, const std::vector<Row>& rows) {
    const auto through = target.progress({"n"}, {0})->through;
    return write(target, header_of("n", through.value + 1, rows.size(), table, std::move(columns)),
                 rows);
  }
  [[nodiscard]] std::string log() const { return read_text(text()); }
  [[nodiscard]] std::int64_t recorded(const std::string& column) const {
    return number("SELECT " + column + " FROM turnstile_text_log");
  }

  Faults faults_;
};

TEST_F(TextLogTest, LineHasTheRowsFieldsInTableOrder) {
  auto target = open(logging());
  nutrients(*target, {protein});
  EXPECT_EQ(log(), kProteinLine);
  EXPECT_EQ(recorded("length"), static_cast<std::int64_t>(kProteinLine.size()));
  EXPECT_EQ(recorded("last_rowid"), 1);
}

TEST_F(TextLogTest, ColumnThatIsNotNamedPrintsEmpty) {
  auto target = open(logging());
  insert(*target, "nutrients", {"name", "id"}, {{"Protein", std::int64_t{1003}}});
  EXPECT_EQ(log(), "[1003, Protein, , , , ]\n");
}

TEST_F(TextLogTest, ValuesPrintAsTheyAreStored) {
  run("CREATE TABLE t(i INTEGER, r REAL, s TEXT, b BLOB, n NUMERIC)");
  auto target = open(logging("t"));
  insert(*target, "t", {"i", "r", "s", "b", "n"},
         {{"007", "1", "a\nb\rc", Blob{std::string_view("\x00\xFF", 2)}, "1.50"},
          {3.0, 0.1, std::int64_t{5}, std::int64_t{-5}, "x"},
          {Null{}, Null{}, 2.5, "blob", Null{}}});
  EXPECT_EQ(log(), "[7, 1.0, a\\nb\\rc, x'00ff', 1.5]\n[3, 0.1, 5, -5, x]\n[, , 2.5, blob, ]\n");
}

TEST_F(TextLogTest, WhatATerminalWouldObeyIsEscapedFromTheBatchAndFromTheTable) {
  run("CREATE TABLE t(s TEXT)");
  auto target = open(logging("t"));
  const std::string evil =
      "\x1B]0;x\x07\t\xC2\x9B"
      "31m\xE2\x80\xAE\xE2\x80\xA8 caf\xC3\xA9 \xE2\x80\x93";
  insert(*target, "t", {"s"}, {{std::string_view(evil)}});
  const std::string line =
      "[\\x1b]0;x\\x07\\t\\xc2\\x9b31m\\xe2\\x80\\xae\\xe2\\x80\\xa8 caf\xC3\xA9 \xE2\x80\x93]\n";
  EXPECT_EQ(log(), line);
  EXPECT_EQ(lines_of("t"), line);
}

TEST_F(TextLogTest, TableWithAnIntegerKeyPrintsTheIdThatTheTargetGave) {
  auto target = open(logging("pets"));
  insert(*target, "pets", {"name", "breed"}, {{"Ace", "Dog"}, {"Buddy", "Dog"}});
  EXPECT_EQ(log(), "[1, Ace, Dog]\n[2, Buddy, Dog]\n");
}

TEST_F(TextLogTest, RowsOfOtherTablesAndRefusedRowsHaveNoLine) {
  run("CREATE TABLE t(id INTEGER UNIQUE)");
  auto target = open(logging("t"));
  insert(*target, "pets", {"name"}, {{"Ace"}});
  insert(*target, "t", {"id"}, {{"1"}, {"1"}, {"2"}});
  EXPECT_EQ(log(), "[1]\n[2]\n");
}

TEST_F(TextLogTest, LinesOfARolledBackTransactionAreNotWritten) {
  auto target = open(logging());
  ASSERT_TRUE(target->begin());
  ASSERT_TRUE(
      target->apply(header_of("n", 1, 1, "nutrients", nutrient_columns), frame_of({protein})));
  EXPECT_EQ(log(), "");
  target->rollback();
  nutrients(*target, {protein});
  EXPECT_EQ(log(), kProteinLine);
}

TEST_F(TextLogTest, BatchThatNamesTheIdsIsRefusedWithWhatToDo) {
  auto target = open(logging("pets"));
  const auto answer = target->check_table("pets", {"id", "name"});
  EXPECT_EQ(answer->state, TableState::unusable);
  EXPECT_THAT(answer->detail, HasSubstr("let the target give the ids"));
  for (const char* column : {"ID", "rowid", "oid", "_rowid_"}) {
    const auto outcome = insert(*target, "pets", {column, "name"}, {{"5", "Ace"}});
    EXPECT_EQ(outcome.dead_count, 1U);
    EXPECT_THAT(outcome.dead.at(0).reason, HasSubstr("let the target give the ids"));
  }
  EXPECT_EQ(log(), "");
  EXPECT_EQ(target->check_table("nutrients", {"id"})->state, TableState::ready);
}

TEST_F(TextLogTest, TableWithoutRowidsIsRefusedAtTheStartOrRowByRow) {
  run("CREATE TABLE w(id TEXT PRIMARY KEY) WITHOUT ROWID");
  const auto opened = store::Target::open(logging("w"));
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::unreachable);
  EXPECT_THAT(opened.error().what, HasSubstr("has no rowids"));

  auto target = open(logging("later"));
  run("CREATE TABLE later(id TEXT PRIMARY KEY) WITHOUT ROWID");
  const auto outcome = insert(*target, "later", {"id"}, {{"x"}});
  EXPECT_THAT(outcome.dead.at(0).reason, HasSubstr("must have rowids"));
  EXPECT_EQ(log(), "");
}

TEST_F(TextLogTest, FileOfSomebodyElseIsLeftAlone) {
  write_text(text(), "my thesis\n");
  const auto opened = store::Target::open(logging());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::unreachable);
  EXPECT_THAT(opened.error().what, HasSubstr("exists and is not the text log of"));
  EXPECT_THAT(opened.error().hint, HasSubstr("move it away"));
  EXPECT_EQ(log(), "my thesis\n");
}

TEST_F(TextLogTest, EmptyFileIsTaken) {
  write_text(text(), "");
  auto target = open(logging());
  nutrients(*target, {protein});
  EXPECT_EQ(log(), kProteinLine);
}

TEST_F(TextLogTest, FolderThatIsMissingIsNamed) {
  auto with = logging();
  with.text_path = folder_ / "none" / "out9.txt";
  const auto opened = store::Target::open(with);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::unreachable);
  EXPECT_THAT(opened.error().what, HasSubstr("none/out9.txt"));
}

TEST_F(TextLogTest, RowsFromBeforeTheLogAreWrittenWhenItStarts) {
  {
    auto target = open(options());
    nutrients(*target, {protein, protein});
  }
  auto target = open(logging());
  EXPECT_EQ(log(), times(2, kProteinLine));
  nutrients(*target, {protein});
  EXPECT_EQ(log(), times(3, kProteinLine));
  EXPECT_THAT(target->take_notes(), IsEmpty());
}

TEST_F(TextLogTest, RowsFromAMeantimeWithoutTheLogFollow) {
  {
    auto target = open(logging());
    nutrients(*target, {protein});
  }
  {
    auto target = open(options());
    nutrients(*target, {protein});
  }
  auto target = open(logging());
  EXPECT_EQ(log(), times(2, kProteinLine));
}

TEST_F(TextLogTest, RowsThatAnotherProgramInsertsGetTheirLines) {
  auto target = open(logging());
  nutrients(*target, {protein});
  run("INSERT INTO nutrients(id) VALUES (7)");
  nutrients(*target, {protein});
  EXPECT_EQ(log(), std::string(kProteinLine) + "[7, , , , , ]\n" + std::string(kProteinLine));
}

TEST_F(TextLogTest, RowsThatATriggerInsertsGetTheirLines) {
  auto target = open(logging());
  nutrients(*target, {protein});
  run("CREATE TABLE t(a); CREATE TRIGGER copy AFTER INSERT ON t BEGIN "
      "INSERT INTO nutrients(id) VALUES (new.a); END");
  insert(*target, "t", {"a"}, {{"8"}, {"9"}});
  EXPECT_EQ(log(), std::string(kProteinLine) + "[8, , , , , ]\n[9, , , , , ]\n");
}

TEST_F(TextLogTest, TornTailIsCutAndLostTailIsWrittenAgain) {
  {
    auto target = open(logging());
    nutrients(*target, {protein, protein});
  }
  write_text(text(), times(2, kProteinLine) + "[1003, Prot");
  open(logging());
  EXPECT_EQ(log(), times(2, kProteinLine));
  // A power cut may leave anything behind the synced length, which is still 0 in the record.
  EXPECT_EQ(recorded("synced_length"), 0);
  write_text(text(), std::string("[1003") + std::string(40, '\0'));
  open(logging());
  EXPECT_EQ(log(), times(2, kProteinLine));
}

// ---- others move, delete and cut the file

const Row calcium{"1087", "Calcium", "MG", "301", "5300", "10:46"};
constexpr std::string_view kCalciumLine = "[1087, Calcium, MG, 301, 5300, 10:46]\n";
const Row iron{"1089", "Iron", "MG", "303", "5400", "10:47"};
constexpr std::string_view kIronLine = "[1089, Iron, MG, 303, 5400, 10:47]\n";

TEST_F(TextLogTest, AfterAMoveTheNewFileBeginsWithTheNextRow) {
  auto target = open(logging());
  nutrients(*target, {protein});
  std::filesystem::rename(text(), folder_ / "out9.txt.1");
  nutrients(*target, {calcium});
  EXPECT_EQ(log(), kCalciumLine);
  EXPECT_EQ(read_text(folder_ / "out9.txt.1"), kProteinLine);
  EXPECT_FALSE(target->text_log_is_behind());
  EXPECT_THAT(target->take_notes(), ElementsAre(HasSubstr("was moved, deleted or replaced")));
  nutrients(*target, {iron});
  EXPECT_EQ(log(), std::string(kCalciumLine) + std::string(kIronLine));
  EXPECT_THAT(target->take_notes(), IsEmpty());
}

TEST_F(TextLogTest, AfterAMoveTheNewFileHoldsTheWholeTableIfThatWasAskedFor) {
  auto with = logging();
  with.text_rotated = store::TextRotated::whole_table;
  auto target = open(with);
  nutrients(*target, {protein});
  std::filesystem::rename(text(), folder_ / "out9.txt.1");
  nutrients(*target, {calcium});
  EXPECT_EQ(log(), std::string(kProteinLine) + std::string(kCalciumLine));
  EXPECT_THAT(target->take_notes(), ElementsAre(HasSubstr("all rows of table nutrients")));
}

TEST_F(TextLogTest, AFileThatSomebodyMadeInItsPlaceIsGoneOnWith) {
  auto target = open(logging());
  nutrients(*target, {protein});
  std::filesystem::rename(text(), folder_ / "out9.txt.1");
  write_text(text(), "");  // logrotate, with `create`
  nutrients(*target, {calcium});
  EXPECT_EQ(log(), kCalciumLine);
  std::filesystem::remove(text());
  write_text(text(), "what an editor saved\nhalf a li");
  nutrients(*target, {iron});
  EXPECT_EQ(log(), "what an editor saved\n" + std::string(kIronLine));
}

TEST_F(TextLogTest, ACutFileGoesOnAtItsNewEndWithoutZeros) {
  auto target = open(logging());
  nutrients(*target, {protein, protein});
  std::filesystem::resize_file(text(), 0);
  nutrients(*target, {calcium});
  EXPECT_EQ(log(), kCalciumLine);
  EXPECT_THAT(target->take_notes(), ElementsAre(HasSubstr("was cut to 0 bytes")));
  nutrients(*target, {iron});
  // In the midst of the second line: the part of a line goes.
  std::filesystem::resize_file(text(), kCalciumLine.size() + 5);
  nutrients(*target, {protein});
  EXPECT_EQ(log(), std::string(kCalciumLine) + std::string(kProteinLine));
  target.reset();
  target = open(logging());
  EXPECT_EQ(log(), std::string(kCalciumLine) + std::string(kProteinLine));
}

TEST_F(TextLogTest, AFileThatIsCutBetweenTheLookAndTheWriteKeepsNoZeros) {
  auto target = open(logging());
  nutrients(*target, {protein, protein});
  faults_.cut_before_write = true;
  nutrients(*target, {calcium});
  EXPECT_EQ(log().find('\0'), std::string::npos);
  ASSERT_TRUE(target->catch_up_text_log());
  EXPECT_EQ(log(), kCalciumLine);
  nutrients(*target, {iron});
  EXPECT_EQ(log(), std::string(kCalciumLine) + std::string(kIronLine));
}

TEST_F(TextLogTest, AWriterThatLostItsLeaseBeforeItsLinesWereWrittenCutsNoneOfItsSuccessor) {
  auto paused = open(logging());
  nutrients(*paused, {protein});
  faults_.on_write = Error{Errc::full, "no space left", ""};
  nutrients(*paused, {calcium});
  faults_.on_write.reset();
  auto successor = open(logging());
  nutrients(*successor, {iron});
  const auto lines = std::string(kProteinLine) + std::string(kCalciumLine) + std::string(kIronLine);
  EXPECT_EQ(log(), lines);
  const auto caught_up = paused->catch_up_text_log();
  ASSERT_FALSE(caught_up);
  EXPECT_EQ(caught_up.error().code, Errc::fenced);
  EXPECT_EQ(log(), lines);
}

TEST_F(TextLogTest, BytesThatOthersAppendAreCutAgain) {
  auto target = open(logging());
  nutrients(*target, {protein});
  write_text(text(), std::string(kProteinLine) + "a note of somebody else's, longer than a line\n");
  nutrients(*target, {calcium});
  EXPECT_EQ(log(), std::string(kProteinLine) + std::string(kCalciumLine));
}

TEST_F(TextLogTest, AnIdleTargetMakesTheFileAgain) {
  auto target = open(logging());
  nutrients(*target, {protein});
  std::filesystem::rename(text(), folder_ / "out9.txt.1");
  ASSERT_TRUE(target->housekeeping());
  EXPECT_TRUE(std::filesystem::exists(text()));
  EXPECT_EQ(log(), "");
  nutrients(*target, {calcium});
  EXPECT_EQ(log(), kCalciumLine);
  EXPECT_EQ(read_text(folder_ / "out9.txt.1"), kProteinLine);
}

TEST_F(TextLogTest, RowsAreCommittedWhileTheFolderIsGoneAndTheirLinesFollow) {
  const auto sub = folder_ / "logs";
  std::filesystem::create_directory(sub);
  auto with = logging();
  with.text_path = sub / "out9.txt";
  auto target = open(with);
  nutrients(*target, {protein});
  std::filesystem::rename(sub, folder_ / "away");
  EXPECT_EQ(nutrients(*target, {calcium}).rows_applied, 1U);
  ASSERT_TRUE(target->text_log_is_behind());
  EXPECT_FALSE(target->begin());
  std::filesystem::create_directory(sub);
  ASSERT_TRUE(target->catch_up_text_log());
  nutrients(*target, {iron});
  EXPECT_EQ(read_text(sub / "out9.txt"), std::string(kCalciumLine) + std::string(kIronLine));
  EXPECT_EQ(read_text(folder_ / "away" / "out9.txt"), kProteinLine);
}

TEST_F(TextLogTest, SomethingElseInItsPlaceIsNotWrittenAndSaysWhy) {
  auto target = open(logging());
  nutrients(*target, {protein});
  std::filesystem::rename(text(), folder_ / "out9.txt.1");
  std::filesystem::create_symlink("/dev/null", text());
  EXPECT_EQ(nutrients(*target, {calcium}).rows_applied, 1U);
  ASSERT_TRUE(target->text_log_is_behind());
  EXPECT_THAT(target->text_log_error()->what, HasSubstr("is not a regular file"));
  std::filesystem::remove(text());
  ASSERT_TRUE(target->catch_up_text_log());
  EXPECT_EQ(log(), kCalciumLine);
}

TEST_F(TextLogTest, TwoMovesBetweenTwoCommitsLoseNoLine) {
  auto target = open(logging());
  nutrients(*target, {protein});
  std::filesystem::rename(text(), folder_ / "out9.txt.2");
  write_text(text(), "");
  std::filesystem::rename(text(), folder_ / "out9.txt.1");
  nutrients(*target, {calcium, iron});
  EXPECT_EQ(read_text(folder_ / "out9.txt.2") + read_text(folder_ / "out9.txt.1") + log(),
            std::string(kProteinLine) + std::string(kCalciumLine) + std::string(kIronLine));
}

TEST_F(TextLogTest, FileThatWasMovedWhileNoConsumerRanBeginsWithTheNextRow) {
  for (const char* moved : {"out9.txt.1", "out9.txt.2"}) {
    {
      auto target = open(logging());
      nutrients(*target, {protein, protein});
      ASSERT_TRUE(target->end());
    }
    std::filesystem::rename(text(), folder_ / moved);
  }
  auto target = open(logging());
  EXPECT_EQ(log(), "");
  nutrients(*target, {calcium});
  EXPECT_EQ(log(), kCalciumLine);
  EXPECT_EQ(read_text(folder_ / "out9.txt.2"), times(2, kProteinLine));
}

// What was not known to be on disk is written again rather than lost.
TEST_F(TextLogTest, FileThatWasDeletedAfterACrashHasTheRowsSinceTheLastSync) {
  {
    auto target = open(logging());
    nutrients(*target, {protein, protein});
    ASSERT_TRUE(target->housekeeping());
    nutrients(*target, {calcium});
  }
  ASSERT_EQ(recorded("synced_length"), static_cast<std::int64_t>(2 * kProteinLine.size()));
  std::filesystem::remove(text());
  auto target = open(logging());
  EXPECT_EQ(log(), kCalciumLine);
}

TEST_F(TextLogTest, FileThatWasDeletedIsMadeAgainWithTheWholeTableIfThatWasAskedFor) {
  {
    auto target = open(logging());
    nutrients(*target, {protein, protein});
    ASSERT_TRUE(target->housekeeping());
    nutrients(*target, {protein});
  }
  EXPECT_GT(recorded("synced_length"), 0);
  std::filesystem::remove(text());
  auto with = logging();
  with.text_rotated = store::TextRotated::whole_table;
  auto target = open(with);
  EXPECT_EQ(log(), times(3, kProteinLine));
}

TEST_F(TextLogTest, ANewFilesTornTailIsMadeWholeFromItsOwnRows) {
  {
    auto target = open(logging());
    nutrients(*target, {protein});
    std::filesystem::rename(text(), folder_ / "out9.txt.1");
    nutrients(*target, {calcium, iron});
  }
  write_text(text(), std::string(kCalciumLine) + "[108");
  open(logging());
  EXPECT_EQ(log(), std::string(kCalciumLine) + std::string(kIronLine));
}

TEST_F(TextLogTest, DeletedRowsBeforeTheNewFilesFirstMakeItBeWrittenFromTheTable) {
  auto target = open(logging());
  nutrients(*target, {protein, protein});
  std::filesystem::rename(text(), folder_ / "out9.txt.1");
  nutrients(*target, {calcium});
  run("DELETE FROM nutrients");
  nutrients(*target, {iron});  // its id is 1 again
  EXPECT_EQ(log(), kIronLine);
}

TEST_F(TextLogTest, ReopenedItIsTheSameFileAndLacksNothing) {
  auto target = open(logging());
  nutrients(*target, {protein});
  for (int i = 0; i < 3; ++i) {
    target->reopen_text_log();
    nutrients(*target, {protein});
  }
  EXPECT_EQ(log(), times(4, kProteinLine));
  EXPECT_THAT(target->take_notes(), IsEmpty());
}

TEST_F(TextLogTest, OfATargetThatIsGoneItGoesOnAtItsEndInTheProcessThatWroteIt) {
  {
    auto target = open(logging());
    nutrients(*target, {protein});
  }
  std::filesystem::remove(db());
  ASSERT_FALSE(store::Target::open(logging()));
  auto ours = logging();
  ours.text_is_ours = true;
  {
    auto target = open(ours);
    EXPECT_EQ(log(), kProteinLine);
  }
  auto target = open(logging());  // from now on it is known
  nutrients(*target, {calcium});
  EXPECT_EQ(log(), std::string(kProteinLine) + std::string(kCalciumLine));
}

// ---- others change the table

TEST_F(TextLogTest, RowsThatAnotherProgramPutsAmongTheOldOnesAreToldOnce) {
  auto target = open(logging());
  nutrients(*target, {protein, protein, protein});
  run("DELETE FROM nutrients WHERE rowid = 2");  // a retention job's: no matter
  ASSERT_TRUE(target->housekeeping());
  EXPECT_THAT(target->take_notes(), IsEmpty());
  for (int id : {-5, 2}) {
    run("INSERT INTO nutrients(rowid, id) VALUES (" + std::to_string(id) + ", 7)");
    ASSERT_TRUE(target->housekeeping());
  }
  EXPECT_THAT(target->take_notes(), ElementsAre(HasSubstr("inserted 1 row")));
  nutrients(*target, {calcium});
  EXPECT_EQ(log(), times(3, kProteinLine) + std::string(kCalciumLine));
}

TEST_F(TextLogTest, RowsThatTakeIdsOfDeletedOnesAreTold) {
  auto target = open(logging());
  nutrients(*target, {protein, protein});
  ASSERT_TRUE(target->housekeeping());
  run("DELETE FROM nutrients WHERE rowid = 2; INSERT INTO nutrients(id) VALUES (7), (8)");
  ASSERT_TRUE(target->housekeeping());
  EXPECT_THAT(target->take_notes(), ElementsAre(HasSubstr("row 2 of table nutrients")));
}

TEST_F(TextLogTest, AfterAVacuumThatMovedRowsTheLinesAreTheTables) {
  auto target = open(logging());
  nutrients(*target, {protein, calcium, iron});
  run("DELETE FROM nutrients WHERE rowid = 1");
  run("VACUUM");
  nutrients(*target, {protein});
  EXPECT_EQ(log(), std::string(kCalciumLine) + std::string(kIronLine) + std::string(kProteinLine));
}

TEST_F(TextLogTest, AfterAVacuumAndRowsOfOthersWhatHasNoLineIsTold) {
  auto target = open(logging());
  nutrients(*target, {protein, calcium, iron});
  run("DELETE FROM nutrients WHERE rowid = 1");
  run("VACUUM");
  run("INSERT INTO nutrients(id) VALUES (7), (8)");
  ASSERT_TRUE(target->housekeeping());
  EXPECT_THAT(target->take_notes(), ElementsAre(HasSubstr("VACUUM gave the rows new ids")));
}

TEST_F(TextLogTest, AColumnThatIsAddedIsNoOtherRow) {
  auto target = open(logging());
  nutrients(*target, {protein});
  run("ALTER TABLE nutrients ADD COLUMN source TEXT");
  ASSERT_TRUE(target->housekeeping());
  EXPECT_THAT(target->take_notes(), IsEmpty());
  nutrients(*target, {calcium});
  EXPECT_EQ(log(), std::string(kProteinLine) + "[1087, Calcium, MG, 301, 5300, 10:46, ]\n");
}

// ---- what is synced

TEST_F(TextLogTest, RecordMovesToWhatWasSyncedWithTheNextTransaction) {
  auto target = open(logging());
  nutrients(*target, {protein});
  const int before = faults_.syncs;
  ASSERT_TRUE(target->housekeeping());
  ASSERT_TRUE(target->housekeeping());
  EXPECT_EQ(faults_.syncs, before + 1);
  EXPECT_EQ(recorded("synced_length"), 0);
  insert(*target, "pets", {"name"}, {{"Ace"}});
  EXPECT_EQ(recorded("synced_length"), static_cast<std::int64_t>(kProteinLine.size()));
  EXPECT_EQ(recorded("synced_rowid"), 1);
}

TEST_F(TextLogTest, CrashBetweenCommitAndWriteIsMadeGoodAtTheNextStart) {
  {
    auto target = open(logging());
    nutrients(*target, {protein});
    faults_.on_write = Error{Errc::io, "the machine is gone", ""};
    nutrients(*target, {protein, protein});
    EXPECT_TRUE(target->text_log_is_behind());
    EXPECT_THAT(log(), ::testing::Not(times(3, kProteinLine)));
  }
  faults_ = {};
  auto target = open(logging());
  EXPECT_FALSE(target->text_log_is_behind());
  EXPECT_EQ(log(), times(3, kProteinLine));
}

TEST_F(TextLogTest, RowsAreCommittedWhileTheLogIsFullAndTheirLinesFollow) {
  auto target = open(logging());
  faults_.on_write = Error{Errc::full, "no space left", ""};
  EXPECT_EQ(nutrients(*target, {protein}).rows_applied, 1U);
  ASSERT_TRUE(target->text_log_is_behind());
  EXPECT_EQ(target->text_log_error()->code, Errc::full);
  EXPECT_EQ(number("SELECT count(*) FROM nutrients"), 1);
  EXPECT_EQ(target->catch_up_text_log().error().code, Errc::full);
  EXPECT_EQ(target->begin().error().code, Errc::full);
  faults_ = {};
  EXPECT_TRUE(target->catch_up_text_log());
  EXPECT_FALSE(target->text_log_is_behind());
  EXPECT_EQ(log(), kProteinLine);
  nutrients(*target, {protein});
  EXPECT_EQ(log(), times(2, kProteinLine));
}

TEST_F(TextLogTest, AfterAFailedSyncTheBytesAreWrittenAgainBeforeTheyCountAsSynced) {
  auto target = open(logging());
  nutrients(*target, {protein});
  faults_.on_sync = Error{Errc::io, "sync failed", ""};
  EXPECT_FALSE(target->housekeeping());
  EXPECT_TRUE(target->text_log_is_behind());
  faults_ = {};
  // As if the unsynced page had been lost.
  write_text(text(), std::string(kProteinLine.size(), '\0'));
  EXPECT_TRUE(target->catch_up_text_log());
  EXPECT_EQ(log(), kProteinLine);
}

TEST_F(TextLogTest, ShortWritesAreCompleted) {
  faults_.at_most = 5;
  auto target = open(logging());
  nutrients(*target, {protein, protein});
  EXPECT_EQ(log(), times(2, kProteinLine));
}

TEST_F(TextLogTest, DeletedRowsAtTheEndMakeItBeWrittenAnew) {
  auto target = open(logging());
  nutrients(*target, {protein, protein, protein});
  run("DELETE FROM nutrients WHERE rowid > 1");
  nutrients(*target, {{"7", "x", "x", "x", "7", "x"}});
  EXPECT_EQ(log(), std::string(kProteinLine) + "[7, x, x, x, 7, x]\n");
  EXPECT_THAT(target->take_notes(), ElementsAre(HasSubstr("were deleted")));
  nutrients(*target, {protein});
  EXPECT_EQ(log(), std::string(kProteinLine) + "[7, x, x, x, 7, x]\n" + std::string(kProteinLine));
}

TEST_F(TextLogTest, RowsChangedSinceTheLastSyncMakeItBeWrittenAnew) {
  {
    auto target = open(logging());
    nutrients(*target, {protein, protein});
  }
  run("UPDATE nutrients SET name = 'changed by hand' WHERE rowid = 1");
  auto target = open(logging());
  EXPECT_EQ(log(), "[1003, changed by hand, G, 203, 600, 10:45]\n" + std::string(kProteinLine));
  EXPECT_THAT(target->take_notes(), ElementsAre(HasSubstr("changed")));
  EXPECT_EQ(recorded("length"), static_cast<std::int64_t>(log().size()));
}

TEST_F(TextLogTest, DroppedTableEmptiesTheLog) {
  auto target = open(logging());
  nutrients(*target, {protein, protein});
  run("DROP TABLE nutrients");
  nutrients(*target, {protein});
  EXPECT_EQ(log(), kProteinLine);
}

TEST_F(TextLogTest, OtherTableForTheSameFileIsWrittenAnew) {
  {
    auto target = open(logging());
    nutrients(*target, {protein});
    insert(*target, "pets", {"name"}, {{"Ace"}});
  }
  auto target = open(logging("pets"));
  EXPECT_EQ(log(), "[1, Ace, ]\n");
  EXPECT_THAT(target->take_notes(), ElementsAre(HasSubstr("it held the rows of table nutrients")));
}

TEST_F(TextLogTest, OtherFileGetsAllRowsAndTheFirstIsFoundAgainLater) {
  {
    auto target = open(logging());
    nutrients(*target, {protein});
  }
  auto elsewhere = logging();
  elsewhere.text_path = folder_ / "other.txt";
  {
    auto target = open(elsewhere);
    nutrients(*target, {protein});
    EXPECT_EQ(read_text(folder_ / "other.txt"), times(2, kProteinLine));
    EXPECT_EQ(log(), kProteinLine);
  }
  open(logging());
  EXPECT_EQ(log(), times(2, kProteinLine));
}

TEST_F(TextLogTest, SameFileByAnotherWayIsTheSameLog) {
  {
    auto target = open(logging());
    nutrients(*target, {protein});
  }
  auto other_way = logging();
  std::filesystem::create_directory(folder_ / "sub");
  other_way.text_path = folder_ / "sub" / ".." / "out9.txt";
  auto target = open(other_way);
  nutrients(*target, {protein});
  EXPECT_EQ(log(), times(2, kProteinLine));
}

TEST_F(TextLogTest, RetiredWriterCannotSpoilTheLog) {
  auto first = open(logging());
  nutrients(*first, {protein});
  auto second = open(logging());
  nutrients(*second, {protein});
  EXPECT_FALSE(first->begin());
  EXPECT_TRUE(first->catch_up_text_log());
  first.reset();
  nutrients(*second, {protein});
  EXPECT_EQ(log(), times(3, kProteinLine));
}

TEST_F(TextLogTest, StandbyDoesNotTouchTheFile) {
  auto first = open(logging());
  nutrients(*first, {protein});
  write_text(text(), std::string(kProteinLine) + "being written");
  auto standby = store::Target::open(logging());
  ASSERT_TRUE(standby);
  standby->reset();
  EXPECT_EQ(log(), std::string(kProteinLine) + "being written");
}

TEST_F(TextLogTest, TransactionTooBigToKeepIsReadBack) {
  run("CREATE TABLE big(s TEXT)");
  auto target = open(logging("big"));
  const std::string value(1'000'000, 'v');
  ASSERT_TRUE(target->begin());
  for (std::uint64_t i = 0; i < 20; ++i) {
    ASSERT_TRUE(target->apply(header_of("n", i + 1, 1, "big", {"s"}),
                              frame_of({{std::string_view(value)}})));
  }
  ASSERT_TRUE(target->commit());
  EXPECT_FALSE(target->text_log_is_behind());
  EXPECT_EQ(log(), times(20, "[" + value + "]\n"));
  insert(*target, "big", {"s"}, {{"small"}});
  EXPECT_EQ(log(), times(20, "[" + value + "]\n") + "[small]\n");
}

TEST_F(TextLogTest, LongLogIsSyncedOnItsWay) {
  run("CREATE TABLE big(s TEXT)");
  auto target = open(logging("big"));
  const std::string value(900'000, 'v');
  const int before = faults_.syncs;
  for (std::uint64_t i = 0; i < 12; ++i) {
    insert(*target, "big", {"s"}, {{std::string_view(value)}});
  }
  EXPECT_EQ(faults_.syncs, before + 1);
  EXPECT_GT(recorded("synced_length"), 8'000'000);
}

}  // namespace
}  // namespace turnstile::test
