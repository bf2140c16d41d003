#include "broker/journal.h"

#include <fstream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/journal_schema.h"
#include "tests/broker/batches.h"
#include "tests/broker/folder.h"
#include "tests/support/fault_vfs.h"

namespace turnstile::broker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Operation = test::FaultVfs::Operation;
using File = test::FaultVfs::File;

Held held(const std::string& producer, std::uint64_t first, std::uint64_t last,
          std::size_t bytes = 100) {
  const Batch batch = batch_of(producer, first, last, bytes);
  return {{producer},       {first},      {last}, batch.header_frame,
          batch.rows_frame, std::nullopt, kStart, {}};
}

class JournalTest : public testing::Test {
 protected:
  Journal open() { return open({path_, limit_, {}}); }
  static Journal open(JournalOptions options) {
    auto journal = Journal::open(std::move(options));
    if (!journal) {
      throw std::runtime_error(journal.error().what);
    }
    return std::move(*journal);
  }
  static std::vector<Offset> store(Journal& journal, const std::vector<Held>& batches) {
    std::vector<const Held*> pointers;
    pointers.reserve(batches.size());
    for (const Held& one : batches) {
      pointers.push_back(&one);
    }
    auto offsets = journal.store(pointers);
    EXPECT_TRUE(offsets) << offsets.error().what;
    return offsets ? *offsets : std::vector<Offset>{};
  }
  static Errc store_error(Journal& journal, const Held& one) {
    const auto offsets = journal.store({&one});
    EXPECT_FALSE(offsets);
    return offsets ? Errc::bad_input : offsets.error().code;
  }
  static void remove(Journal& journal, const Held& one, Offset offset) {
    Window::Settled settled;
    settled.rows = one.last.value - one.first.value + 1;
    settled.bytes = one.bytes();
    settled.remove = offset;
    journal.remove(settled);
  }
  static std::vector<Held> read(Journal& journal) {
    const auto contents = journal.contents();
    EXPECT_TRUE(contents);
    auto out = journal.read(contents->range.next, contents->range.last, SIZE_MAX, kStart);
    EXPECT_TRUE(out) << out.error().what;
    EXPECT_FALSE(out->damaged);
    return std::move(out->batches);
  }
  void with_sqlite(const std::string& sql) const {
    auto db = sqlite::Connection::open(path_, sqlite::Access::create);
    ASSERT_TRUE(db);
    const auto done = db->execute(sql);
    ASSERT_TRUE(done) << done.error().what;
  }

  TempDirectory directory_;
  std::filesystem::path path_ = directory_ / "journal.db";
  std::size_t limit_ = std::size_t{1024} * 1024;
};

TEST_F(JournalTest, StoredBatchesAreReadBackAfterOpeningAgain) {
  const Held one = held("a", 1, 10);
  const Held two = held("b", 5, 5, 100'000);
  {
    Journal journal = open();
    EXPECT_THAT(store(journal, {one, two}), ElementsAre(Offset{1}, Offset{2}));
  }
  Journal journal = open();
  EXPECT_EQ(journal.batches(), 2U);
  EXPECT_EQ(journal.rows(), 11U);
  EXPECT_EQ(journal.bytes(), one.bytes() + two.bytes());
  const auto batches = read(journal);
  ASSERT_EQ(batches.size(), 2U);
  EXPECT_EQ(batches[0].producer, one.producer);
  EXPECT_EQ(batches[0].first, one.first);
  EXPECT_EQ(batches[0].last, one.last);
  EXPECT_EQ(batches[0].offset, Offset{1});
  EXPECT_EQ(batches[0].header_frame.view(), one.header_frame.view());
  EXPECT_EQ(batches[1].rows_frame.view(), two.rows_frame.view());
}

TEST_F(JournalTest, ItsContentsNameEachProducersLastRow) {
  Journal journal = open();
  store(journal, {held("a", 1, 10), held("b", 1, 3), held("a", 11, 20)});
  const auto contents = journal.contents();
  ASSERT_TRUE(contents);
  EXPECT_EQ(contents->range.next, Offset{1});
  EXPECT_EQ(contents->range.last, Offset{3});
  ASSERT_EQ(contents->producers.size(), 2U);
  EXPECT_EQ(contents->producers[0].last, Sequence{20});
  EXPECT_EQ(contents->producers[0].batches, 2U);
  EXPECT_EQ(contents->producers[1].producer, ProducerId{"b"});
}

TEST_F(JournalTest, AnEmptyJournalHasNothingToLoad) {
  Journal journal = open();
  EXPECT_TRUE(journal.contents()->range.empty());
  EXPECT_FALSE(journal.age({1}));
}

TEST_F(JournalTest, ReadingStopsAfterTheBatchThatReachesTheBound) {
  Journal journal = open();
  const Held one = held("a", 1, 1, 1000);
  store(journal, {one, held("a", 2, 2, 1000), held("a", 3, 3, 1000)});
  auto out = journal.read({1}, {3}, one.bytes() + 1, kStart);
  ASSERT_TRUE(out);
  EXPECT_EQ(out->batches.size(), 2U);
  EXPECT_EQ(out->through, Offset{2});
  out = journal.read({3}, {3}, SIZE_MAX, kStart);
  ASSERT_TRUE(out);
  EXPECT_EQ(out->batches.size(), 1U);
  EXPECT_EQ(out->through, Offset{3});
}

TEST_F(JournalTest, RemovedBatchesLeaveTheFileWithTheNextStoreOrTrim) {
  const Held one = held("a", 1, 10);
  {
    Journal journal = open();
    store(journal, {one, one, one});
    remove(journal, one, {1});
    EXPECT_EQ(journal.batches(), 2U);
    EXPECT_FALSE(journal.wants_trim());
    store(journal, {one});
    EXPECT_FALSE(journal.has_removed());
    remove(journal, one, {3});
    ASSERT_TRUE(journal.trim());
  }
  Journal journal = open();
  const auto batches = read(journal);
  ASSERT_EQ(batches.size(), 2U);
  EXPECT_EQ(batches[0].offset, Offset{2});
  EXPECT_EQ(batches[1].offset, Offset{4});
}

TEST_F(JournalTest, ARemovedBatchComesBackAfterACrashBeforeTheTrim) {
  const Held one = held("a", 1, 10);
  {
    Journal journal = open();
    store(journal, {one, one});
    remove(journal, one, {1});
  }
  EXPECT_EQ(open().batches(), 2U);
}

TEST_F(JournalTest, OffsetsAreNeverGivenTwiceEvenAfterADrain) {
  const Held one = held("a", 1, 10);
  {
    Journal journal = open();
    store(journal, {one, one});
    remove(journal, one, {1});
    remove(journal, one, {2});
    EXPECT_TRUE(journal.wants_trim());
    ASSERT_TRUE(journal.trim());
  }
  Journal journal = open();
  EXPECT_EQ(journal.batches(), 0U);
  EXPECT_THAT(store(journal, {one}), ElementsAre(Offset{3}));
}

TEST_F(JournalTest, ManyRemovedBytesAreTrimmedBeforeTheJournalIsDrained) {
  limit_ = std::size_t{1} << 30;
  Journal journal = open();
  const Held large = held("a", 1, 1, std::size_t{8} * 1024 * 1024);
  store(journal, std::vector<Held>(9, large));
  for (std::uint64_t offset = 1; offset <= 8; ++offset) {
    EXPECT_FALSE(journal.wants_trim());
    remove(journal, large, {offset});
  }
  EXPECT_TRUE(journal.wants_trim());
}

TEST_F(JournalTest, ADrainedJournalShrinks) {
  limit_ = std::size_t{1} << 30;
  Journal journal = open();
  const Held large = held("a", 1, 1, std::size_t{1024} * 1024);
  std::vector<Offset> offsets;
  for (int i = 0; i < 5; ++i) {
    for (const Offset o : store(journal, std::vector<Held>(8, large))) {
      offsets.push_back(o);
    }
  }
  const auto size = [&] {
    return std::filesystem::file_size(path_) + std::filesystem::file_size(path_.string() + "-wal");
  };
  EXPECT_GT(size(), 40U * 1024 * 1024);
  for (const Offset o : offsets) {
    remove(journal, large, o);
  }
  ASSERT_TRUE(journal.trim());
  EXPECT_LT(size(), 1024U * 1024);
}

TEST_F(JournalTest, TheWriteAheadLogStaysSmallHoweverMuchIsStored) {
  limit_ = std::size_t{1} << 30;
  Journal journal = open();
  const Held large = held("a", 1, 1, std::size_t{1024} * 1024);
  for (int i = 0; i < 100; ++i) {
    store(journal, {large});
  }
  EXPECT_LT(std::filesystem::file_size(path_.string() + "-wal"), 24U * 1024 * 1024);
}

TEST_F(JournalTest, ASecondBrokerIsLockedOut) {
  const Journal journal = open();
  const auto second = Journal::open({path_, limit_, {}});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::locked);
  EXPECT_THAT(second.error().what, HasSubstr(path_.string()));
}

TEST_F(JournalTest, AtTheLimitNothingIsStoredUntilThereIsRoom) {
  const Held one = held("a", 1, 10, 1000);
  limit_ = one.bytes() * 2;
  Journal journal = open();
  store(journal, {one});
  EXPECT_EQ(journal.room(), one.bytes());
  const auto two_more = journal.store({&one, &one});
  ASSERT_FALSE(two_more);
  EXPECT_EQ(two_more.error().code, Errc::full);
  EXPECT_EQ(journal.batches(), 1U);
  store(journal, {one});
  EXPECT_EQ(journal.room(), 0U);
  EXPECT_EQ(store_error(journal, one), Errc::full);
  remove(journal, one, {1});
  store(journal, {one});
  EXPECT_EQ(read(journal).size(), 2U);
}

TEST_F(JournalTest, ABatchLargerThanTheLimitIsStoredWhenItIsAlone) {
  limit_ = 10;
  Journal journal = open();
  store(journal, {held("a", 1, 10, 1000)});
  EXPECT_EQ(store_error(journal, held("a", 11, 20, 1)), Errc::full);
}

// Each column of a batch, changed by another program.
class DamagedJournalTest : public JournalTest, public testing::WithParamInterface<const char*> {};

TEST_P(DamagedJournalTest, ADamagedBatchIsReportedWithItsOffsetAndNotDelivered) {
  Journal journal = open();
  store(journal, {held("a", 1, 10), held("b", 1, 10), held("c", 1, 10)});
  with_sqlite("UPDATE batches SET " + std::string(GetParam()) + " WHERE offset=2");
  auto out = journal.read({1}, {3}, SIZE_MAX, kStart);
  ASSERT_TRUE(out) << out.error().what;
  EXPECT_TRUE(out->damaged);
  EXPECT_EQ(out->through, Offset{2});
  ASSERT_EQ(out->batches.size(), 1U);
  EXPECT_EQ(out->batches[0].producer, ProducerId{"a"});
  out = journal.read({3}, {3}, SIZE_MAX, kStart);
  ASSERT_TRUE(out);
  EXPECT_FALSE(out->damaged);
  EXPECT_EQ(out->batches.size(), 1U);
}

INSTANTIATE_TEST_SUITE_P(
    EachColumn, DamagedJournalTest,
    testing::Values("rows=CAST('s' || substr(rows, 2) AS BLOB)", "rows=x''",
                    "header=CAST(substr(header, 1, 9) || 'Q' || substr(header, 11) AS BLOB)",
                    "producer='a'", "producer=x'FF00'", "first=2", "last=11", "checksum=checksum+1",
                    "rows=substr(rows || header, 1, length(rows)+1)"));

TEST_F(JournalTest, ABatchAtAnotherOffsetIsDamaged) {
  Journal journal = open();
  store(journal, {held("a", 1, 10), held("a", 11, 20)});
  with_sqlite("UPDATE batches SET offset=3 WHERE offset=1");
  const auto out = journal.read({1}, {3}, SIZE_MAX, kStart);
  ASSERT_TRUE(out);
  EXPECT_EQ(out->through, Offset{3});
  EXPECT_EQ(out->damaged, ProducerId{"a"});
}

TEST_F(JournalTest, ANewerFormatIsRefused) {
  { const Journal journal = open(); }
  with_sqlite("UPDATE turnstile_journal SET value=4 WHERE key='format'");
  const auto again = Journal::open({path_, limit_, {}});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::unreachable);
  EXPECT_THAT(again.error().what, HasSubstr("format version 4"));
}

TEST_F(JournalTest, AnotherProgramsDatabaseIsRefusedAndNotChanged) {
  with_sqlite("CREATE TABLE pets(name)");
  const auto content = [&] {
    std::ostringstream out;
    out << std::ifstream(path_, std::ios::binary).rdbuf();
    return out.str();
  };
  const std::string before = content();
  const auto journal = Journal::open({path_, limit_, {}});
  ASSERT_FALSE(journal);
  EXPECT_EQ(journal.error().code, Errc::unreachable);
  EXPECT_THAT(journal.error().what, HasSubstr("not a journal"));
  EXPECT_EQ(content(), before);
}

TEST_F(JournalTest, AFileThatIsNotADatabaseIsRefused) {
  std::ofstream(path_) << std::string(5000, 'x');
  const auto journal = Journal::open({path_, limit_, {}});
  ASSERT_FALSE(journal);
  EXPECT_EQ(journal.error().code, Errc::unreachable);
}

TEST_F(JournalTest, AMissingDirectoryIsNamed) {
  const auto journal = Journal::open({directory_ / "no" / "journal.db", limit_, {}});
  ASSERT_FALSE(journal);
  EXPECT_EQ(journal.error().code, Errc::unreachable);
  EXPECT_THAT(journal.error().what, HasSubstr("no/journal.db"));
}

TEST_F(JournalTest, EpochsSurvive) {
  {
    Journal journal = open();
    EXPECT_EQ(*journal.epoch({"mine"}), Epoch{0});
    ASSERT_TRUE(journal.set_epoch({"mine"}, {7}));
    ASSERT_TRUE(journal.set_epoch({"mine"}, {9}));
    ASSERT_TRUE(journal.set_epoch({"other"}, {1}));
  }
  Journal journal = open();
  EXPECT_EQ(*journal.epoch({"mine"}), Epoch{9});
  EXPECT_EQ(*journal.epoch({"other"}), Epoch{1});
}

TEST_F(JournalTest, OnAFullDiskNothingIsStoredAndALaterTryWorks) {
  test::FaultVfs vfs;
  Journal journal = open({path_, limit_, vfs.name()});
  const Held one = held("a", 1, 10);
  vfs.fail(Operation::write, File::wal, 1, SQLITE_FULL);
  EXPECT_EQ(store_error(journal, one), Errc::full);
  EXPECT_EQ(journal.batches(), 0U);
  EXPECT_THAT(store(journal, {one}), ElementsAre(Offset{1}));
}

// Promise 8.
TEST_F(JournalTest, AfterAFailedSyncNothingIsStoredOrReadUntilItIsReopened) {
  test::FaultVfs vfs;
  Journal journal = open({path_, limit_, vfs.name()});
  const Held one = held("a", 1, 10);
  store(journal, {one});
  vfs.fail(Operation::sync, File::wal, 1, SQLITE_IOERR_FSYNC);
  EXPECT_EQ(store_error(journal, held("a", 11, 20)), Errc::io);
  EXPECT_EQ(store_error(journal, held("a", 11, 20)), Errc::io);
  EXPECT_FALSE(journal.trim());
  EXPECT_FALSE(journal.read({1}, {1}, SIZE_MAX, kStart));
  EXPECT_FALSE(journal.epoch({"mine"}));
  EXPECT_FALSE(journal.set_epoch({"mine"}, {1}));
  EXPECT_FALSE(journal.contents());
  ASSERT_TRUE(journal.reopen());
  const auto batches = read(journal);
  ASSERT_FALSE(batches.empty());
  EXPECT_EQ(batches[0].last, Sequence{10});
  EXPECT_FALSE(store(journal, {held("a", 11, 20)}).empty());
}

// Promise 8 also covers the sync of the file itself, in a checkpoint.
TEST_F(JournalTest, AFailedSyncInACheckpointIsNotHidden) {
  limit_ = std::size_t{1} << 30;
  test::FaultVfs vfs;
  Journal journal = open({path_, limit_, vfs.name()});
  const Held large = held("a", 1, 1, std::size_t{1024} * 1024);
  vfs.fail(Operation::sync, File::database, 1, SQLITE_IOERR_FSYNC);
  std::optional<Errc> failed;
  for (int i = 0; i < 30 && !failed; ++i) {
    if (const auto offsets = journal.store({&large}); !offsets) {
      failed = offsets.error().code;
    }
  }
  EXPECT_EQ(failed, Errc::io);
  EXPECT_FALSE(journal.store({&large}));
  ASSERT_TRUE(journal.reopen());
  EXPECT_TRUE(journal.store({&large}));
}

TEST_F(JournalTest, AfterAFailedReopenItStaysClosedUntilOneSucceeds) {
  test::FaultVfs vfs;
  Journal journal = open({path_, limit_, vfs.name()});
  store(journal, {held("a", 1, 10)});
  vfs.fail(Operation::sync, File::any, 1, SQLITE_IOERR_FSYNC, 1000);
  EXPECT_EQ(store_error(journal, held("a", 11, 20)), Errc::io);
  EXPECT_FALSE(journal.reopen());
  EXPECT_EQ(store_error(journal, held("a", 11, 20)), Errc::io);
  EXPECT_FALSE(journal.read({1}, {1}, SIZE_MAX, kStart));
  vfs.fail_no_more();
  ASSERT_TRUE(journal.reopen());
  EXPECT_FALSE(read(journal).empty());
}

TEST_F(JournalTest, OpeningWritesAndSyncsAgainWhatAFailedSyncWrote) {
  test::FaultVfs vfs;
  Journal journal = open({path_, limit_, vfs.name()});
  vfs.fail(Operation::sync, File::wal, 1, SQLITE_IOERR_FSYNC);
  EXPECT_EQ(store_error(journal, held("a", 1, 10)), Errc::io);
  ASSERT_TRUE(journal.reopen());
  // The log must hold nothing that only a second sync of old bytes would cover.
  const auto wal = path_.string() + "-wal";
  EXPECT_TRUE(!std::filesystem::exists(wal) || std::filesystem::file_size(wal) == 0);
}

TEST_F(JournalTest, OpeningIsRefusedWhileAnotherProgramReadsTheOldLog) {
  auto reader = [&] {
    Journal journal = open();
    store(journal, {held("a", 1, 10)});
    auto other = sqlite::Connection::open(path_, sqlite::Access::read_write);
    EXPECT_TRUE(other->execute("BEGIN"));
    EXPECT_EQ(other->query_integer("SELECT count(*) FROM batches").value(), 1);
    store(journal, {held("a", 11, 20)});
    return std::move(*other);
  }();
  const auto refused = Journal::open({path_, limit_, {}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::locked);
  EXPECT_THAT(refused.error().what, HasSubstr("another program reads"));
  ASSERT_TRUE(reader.execute("COMMIT"));
  EXPECT_EQ(open().batches(), 2U);
}

TEST_F(JournalTest, AfterAFailedSyncItAnswersNothingUntilItIsReopened) {
  test::FaultVfs vfs;
  Journal journal = open({path_, limit_, vfs.name()});
  store(journal, {held("a", 1, 10)});
  ASSERT_TRUE(journal.set_epoch({"name"}, {7}));
  vfs.fail(Operation::sync, File::any, 1, SQLITE_IOERR_FSYNC);
  EXPECT_EQ(store_error(journal, held("a", 11, 20)), Errc::io);
  EXPECT_FALSE(journal.contents());
  EXPECT_FALSE(journal.read({1}, {1}, SIZE_MAX, kStart));
  EXPECT_FALSE(journal.epoch({"name"}));
  EXPECT_FALSE(journal.set_epoch({"name"}, {8}));
  EXPECT_FALSE(journal.oldest_names(1));
  EXPECT_FALSE(journal.forget_names({{"name"}}));
  EXPECT_FALSE(journal.trim());
  EXPECT_FALSE(journal.age({1}));
  ASSERT_TRUE(journal.reopen());
  EXPECT_EQ(journal.epoch({"name"})->value, 7U);
  EXPECT_TRUE(journal.age({1}));
  EXPECT_FALSE(journal.age({99}));
}

// ---- the file is moved, deleted or replaced

class VanishingJournalTest : public JournalTest {
 protected:
  void remove_files() const {
    for (const char* end : {"", "-wal", "-shm", ".lock"}) {
      std::filesystem::remove(path_.string() + end);
    }
  }
};

TEST_F(VanishingJournalTest, NothingIsStoredInADeletedFileAndItsContentGoesToTheNextOne) {
  Journal journal = open();
  const Held applied = held("a", 1, 5);
  const Held waiting = held("a", 6, 10);
  const auto offsets = store(journal, {applied, waiting});
  ASSERT_TRUE(journal.set_epoch({"a"}, {7}));
  remove(journal, applied, offsets.at(0));
  remove_files();
  const Held refused = held("b", 1, 3);
  EXPECT_EQ(store_error(journal, refused), Errc::io);
  EXPECT_FALSE(journal.look());
  ASSERT_TRUE(journal.reopen());
  const auto vanished = journal.take_vanished();
  ASSERT_TRUE(vanished);
  EXPECT_TRUE(vanished->is_kept) << vanished->problem;
  ASSERT_EQ(vanished->held.size(), 1U);
  EXPECT_EQ(vanished->held[0].producer, ProducerId{"a"});
  EXPECT_EQ(vanished->held[0].first, Sequence{6});
  EXPECT_EQ(vanished->held[0].last, Sequence{10});
  EXPECT_FALSE(journal.take_vanished());
  ASSERT_TRUE(journal.look());
  const auto batches = read(journal);
  ASSERT_EQ(batches.size(), 2U);  // the refused one is there, as it may be after any failed commit
  EXPECT_EQ(batches[0].offset, offsets.at(1));
  EXPECT_EQ(batches[0].rows_frame.view(), waiting.rows_frame.view());
  EXPECT_EQ(*journal.epoch({"a"}), Epoch{7});
  EXPECT_THAT(store(journal, {refused}), ElementsAre(Offset{4}));
  // Its lock is at its path again, too.
  EXPECT_EQ(Journal::open({path_, limit_, {}}).error().code, Errc::locked);
}

TEST_F(VanishingJournalTest, RowsOnlyInTheOldFileAreNamedIfAnotherFileIsAtItsPath) {
  std::filesystem::path other = directory_ / "other.db";
  {
    Journal journal = open({other, limit_, {}});
    store(journal, {held("z", 1, 1)});
  }
  Journal journal = open();
  store(journal, {held("a", 1, 5), held("a", 6, 10), held("b", 3, 3)});
  std::filesystem::rename(other, path_);
  std::filesystem::remove(path_.string() + "-wal");
  EXPECT_EQ(store_error(journal, held("a", 11, 11)), Errc::io);
  ASSERT_TRUE(journal.reopen());
  const auto vanished = journal.take_vanished();
  ASSERT_TRUE(vanished);
  EXPECT_FALSE(vanished->is_kept);
  ASSERT_EQ(vanished->held.size(), 2U);
  EXPECT_EQ(vanished->held[0].last, Sequence{10});
  EXPECT_EQ(vanished->held[1].producer, ProducerId{"b"});
  EXPECT_EQ(read(journal).at(0).producer, ProducerId{"z"});
}

TEST_F(VanishingJournalTest, WithoutADirectoryItIsRetriedAndNothingIsLost) {
  std::filesystem::create_directory(directory_ / "sub");
  path_ = directory_ / "sub" / "journal.db";
  Journal journal = open();
  store(journal, {held("a", 1, 5)});
  std::filesystem::rename(directory_ / "sub", directory_ / "away");
  EXPECT_FALSE(journal.look());
  EXPECT_FALSE(journal.reopen());
  EXPECT_FALSE(journal.reopen());
  std::filesystem::create_directory(directory_ / "sub");
  ASSERT_TRUE(journal.reopen());
  EXPECT_TRUE(journal.take_vanished()->is_kept);
  EXPECT_EQ(read(journal).size(), 1U);
}

TEST_F(VanishingJournalTest, MovedWithoutItsLogAndSharedMemoryItLosesNothing) {
  Journal journal = open();
  store(journal, {held("a", 1, 5)});
  std::filesystem::rename(path_, directory_ / "away.db");
  ASSERT_TRUE(journal.reopen());
  EXPECT_TRUE(journal.take_vanished()->is_kept);
  EXPECT_EQ(read(journal).size(), 1U);
  store(journal, {held("a", 6, 6)});
  EXPECT_EQ(read(journal).size(), 2U);
}

TEST_F(VanishingJournalTest, WithOnlyItsWriteAheadLogDeletedItLosesNothing) {
  Journal journal = open();
  store(journal, {held("a", 1, 5)});
  std::filesystem::remove(path_.string() + "-wal");
  EXPECT_EQ(store_error(journal, held("a", 6, 6)), Errc::io);
  ASSERT_TRUE(journal.reopen());
  EXPECT_FALSE(journal.take_vanished());
  ASSERT_GE(read(journal).size(), 1U);
  EXPECT_EQ(read(journal).at(0).last, Sequence{5});
}

TEST_F(VanishingJournalTest, MovedAndMovedBackItIsTheSameFile) {
  Journal journal = open();
  store(journal, {held("a", 1, 5)});
  std::filesystem::rename(path_, directory_ / "away.db");
  EXPECT_EQ(store_error(journal, held("a", 6, 6)), Errc::io);
  std::filesystem::rename(directory_ / "away.db", path_);
  ASSERT_TRUE(journal.reopen());
  EXPECT_FALSE(journal.take_vanished());
  EXPECT_GE(read(journal).size(), 1U);
}

}  // namespace
}  // namespace turnstile::broker
