// The disk fails: nothing is acknowledged that is not there (promises 1 and 8).
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "store/target.h"
#include "tests/store/fixture.h"
#include "tests/support/fault_vfs.h"

namespace turnstile::test {
namespace {

using ::testing::HasSubstr;
using File = FaultVfs::File;
using Operation = FaultVfs::Operation;

class FailureTest : public StoreTest {
 protected:
  void SetUp() override {
    target_ = open(faulty());
    write(*target_, header_of("p", 1, 1, "pets", {"name"}), {{"Ace"}});
  }
  store::TargetOptions faulty() {
    auto with = options();
    with.vfs = vfs_.name();
    return with;
  }
  Result<void> write_second() {
    return target_->begin()
        .and_then([&] {
          return target_->apply(header_of("p", 2, 1, "pets", {"name"}), frame_of({{"Buddy"}}));
        })
        .and_then([&](const store::BatchOutcome&) { return target_->commit(); });
  }

  FaultVfs vfs_;
  std::unique_ptr<store::Target> target_;
};

TEST_F(FailureTest, EveryCommitIsSynced) {
  const int before = vfs_.syncs();
  ASSERT_TRUE(write_second());
  EXPECT_GT(vfs_.syncs(), before);
}

TEST_F(FailureTest, FullDiskLeavesNothingAppliedAndTheSameBatchCanBeTriedAgain) {
  vfs_.fail(Operation::write, File::wal, 1, SQLITE_FULL);
  const auto written = write_second();
  ASSERT_FALSE(written);
  EXPECT_EQ(vfs_.failures(), 1);
  EXPECT_EQ(written.error().code, Errc::full);
  EXPECT_THAT(written.error().what, HasSubstr("no space left"));
  EXPECT_EQ(number("SELECT count(*) FROM pets"), 1);
  EXPECT_EQ(target_->progress({"p"}, {0})->through, Sequence{1});
  ASSERT_TRUE(write_second());
  EXPECT_EQ(number("SELECT count(*) FROM pets"), 2);
}

TEST_F(FailureTest, AfterAFailedSyncEveryCallFailsUntilTheTargetIsOpenedAnew) {
  vfs_.fail(Operation::sync, File::wal, 1, SQLITE_IOERR_FSYNC);
  auto written = write_second();
  ASSERT_FALSE(written);
  EXPECT_EQ(vfs_.failures(), 1);
  EXPECT_EQ(written.error().code, Errc::io);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(target_->begin().error().code, Errc::io);
    EXPECT_EQ(target_->commit().error().code, Errc::io);
    EXPECT_EQ(target_->take_over().error().code, Errc::io);
    EXPECT_EQ(target_->progress({"p"}, {0}).error().code, Errc::io);
    EXPECT_EQ(target_->housekeeping().error().code, Errc::io);
    EXPECT_EQ(target_->check_table("pets", {"name"}).error().code, Errc::io);
  }
  target_.reset();
  target_ = open(faulty());
  // Whether the row is there is for the file to say; it comes again and is there once.
  ASSERT_TRUE(write_second());
  EXPECT_EQ(number("SELECT count(*) FROM pets WHERE name = 'Buddy'"), 1);
  EXPECT_EQ(number("SELECT count(*) FROM pets"), 2);
}

TEST_F(FailureTest, WriteErrorEndsTheTargetToo) {
  vfs_.fail(Operation::write, File::wal, 1, SQLITE_IOERR_WRITE);
  ASSERT_FALSE(write_second());
  EXPECT_EQ(target_->begin().error().code, Errc::io);
}

// A transaction of one row makes a log of 1 MiB longer before it is written over.
class GrowingLogTest : public FailureTest {
 protected:
  std::uintmax_t log_bytes() const { return std::filesystem::file_size(db().string() + "-wal"); }
  // Commits single rows until the log was made longer, or the commit failed.
  Result<void> write_until_it_grows() {
    for (; sequence_ < 500; ++sequence_) {
      const auto before = log_bytes();
      auto written = target_->begin()
                         .and_then([&] {
                           return target_->apply(header_of("p", sequence_, 1, "pets", {"name"}),
                                                 frame_of({{"Buddy"}}));
                         })
                         .and_then([&](const store::BatchOutcome&) { return target_->commit(); });
      if (!written || log_bytes() > before + kMiB) {
        return written;
      }
    }
    ADD_FAILURE() << "it never grew";
    return {};
  }

  void write_until_the_next_grows() {
    while (log_bytes() < kMiB) {
      write(*target_, header_of("p", sequence_++, 1, "pets", {"name"}), {{"Dingo"}});
    }
  }

  static constexpr std::uintmax_t kMiB = std::uintmax_t{1024} * 1024;
  std::uint64_t sequence_ = 2;
};

TEST_F(GrowingLogTest, SingleRowsGoIntoSpaceThatIsThereAlreadyAndTheFileIsRead) {
  ASSERT_TRUE(write_until_it_grows());
  const auto grown = log_bytes();
  for (int i = 0; i < 20; ++i) {
    ++sequence_;
    write(*target_, header_of("p", sequence_, 1, "pets", {"name"}), {{"Cooper"}});
  }
  EXPECT_EQ(log_bytes(), grown);
  const auto copy = folder_ / "copy.db";
  std::filesystem::copy_file(db(), copy);
  std::filesystem::copy_file(db().string() + "-wal", copy.string() + "-wal");
  auto other = sqlite::Connection::open(copy, sqlite::Access::read_write);
  ASSERT_TRUE(other);
  EXPECT_EQ(other->query_integer("SELECT count(*) FROM pets"),
            static_cast<std::int64_t>(sequence_));
  EXPECT_EQ(other->query_text("PRAGMA integrity_check"), "ok");
}

TEST_F(GrowingLogTest, ADiskWithoutRoomForThatTakesTheRowAllTheSame) {
  write_until_the_next_grows();
  vfs_.fail(Operation::write, File::wal, 1, SQLITE_FULL);
  write(*target_, header_of("p", sequence_, 1, "pets", {"name"}), {{"Emma"}});
  EXPECT_EQ(vfs_.failures(), 1);
  EXPECT_EQ(number("SELECT count(*) FROM pets WHERE name = 'Emma'"), 1);
}

TEST_F(GrowingLogTest, AWriteErrorThereEndsTheTargetAsAnyOther) {
  write_until_the_next_grows();
  vfs_.fail(Operation::write, File::wal, 1, SQLITE_IOERR_WRITE);
  const auto written = write_until_it_grows();
  EXPECT_EQ(vfs_.failures(), 1);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Errc::io);
  EXPECT_EQ(target_->begin().error().code, Errc::io);
}

TEST_F(FailureTest, FailedSyncOfTheTargetItselfIsNotHiddenByTheCommitBeforeIt) {
  // Enough pages for a checkpoint, which syncs the database file after the commit.
  const std::string big(std::size_t{1024} * 1024, 'x');
  vfs_.fail(Operation::sync, File::database, 1, SQLITE_IOERR_FSYNC);
  std::uint64_t sequence = 2;
  bool failed = false;
  for (int i = 0; i < 40 && !failed; ++i) {
    ASSERT_TRUE(target_->begin());
    const std::vector<Row> rows(3, Row{std::string_view(big)});
    ASSERT_TRUE(target_->apply(header_of("p", sequence, 3, "pets", {"name"}), frame_of(rows)));
    sequence += 3;
    // The commit itself is synced in the write-ahead log, so it is true.
    ASSERT_TRUE(target_->commit());
    failed = vfs_.failures() > 0;
  }
  ASSERT_TRUE(failed);
  EXPECT_EQ(target_->begin().error().code, Errc::io);
  target_.reset();
  target_ = open(faulty());
  EXPECT_EQ(target_->progress({"p"}, {0})->through.value, sequence - 1);
  EXPECT_EQ(number("SELECT count(*) FROM pets"), static_cast<std::int64_t>(sequence - 1));
  EXPECT_EQ(word("PRAGMA integrity_check"), "ok");
}

TEST_F(FailureTest, EveryPlaceOfAFullDiskLeavesAllOrNothing) {
  run("CREATE TABLE n(id INTEGER UNIQUE, filler TEXT)");
  const std::string filler(20'000, 'f');
  std::uint64_t first = 1;
  for (int nth = 1; nth <= 30; ++nth) {
    std::vector<Row> rows;
    for (std::uint64_t i = 0; i < 60; ++i) {
      rows.push_back({static_cast<std::int64_t>(first + i), std::string_view(filler)});
    }
    const Bytes frame = frame_of(rows);
    const auto header = header_of("n", first, rows.size(), "n", {"id", "filler"});
    vfs_.fail(Operation::write, File::any, nth, SQLITE_FULL);
    const auto tried = target_->begin()
                           .and_then([&] { return target_->apply(header, frame); })
                           .and_then([&](const store::BatchOutcome&) { return target_->commit(); });
    vfs_.fail_no_more();
    EXPECT_EQ(number("SELECT count(*) FROM n"),
              static_cast<std::int64_t>(tried ? first + 59 : first - 1));
    if (!tried) {
      EXPECT_EQ(tried.error().code, Errc::full) << tried.error().what;
      EXPECT_EQ(write_frame(*target_, header, frame.view()).rows_applied, 60U);
    }
    first += 60;
  }
  EXPECT_GT(vfs_.failures(), 5);
  EXPECT_EQ(number("SELECT count(DISTINCT id) FROM n"), static_cast<std::int64_t>(first - 1));
}

TEST_F(FailureTest, NoTransactionBeginsBeforeATextLogThatOthersCutIsWholeAgain) {
  auto with = faulty();
  with.text_path = text();
  with.text_table = "pets";
  with.text_rotated = store::TextRotated::whole_table;
  target_.reset();
  std::string whole;
  int waited = 0;
  for (int nth = 1; nth <= 12; ++nth) {
    target_ = open(with);
    whole = read_text(text());
    // The record learns that all of it is synced.
    ASSERT_TRUE(target_->begin());
    ASSERT_TRUE(target_->commit());
    target_.reset();
    ASSERT_EQ(number("SELECT synced_length FROM turnstile_text_log"),
              static_cast<std::int64_t>(whole.size()));
    std::filesystem::resize_file(text(), 1);
    vfs_.fail(Operation::write, File::wal, nth, SQLITE_IOERR_WRITE);
    auto opened = store::Target::open(with);
    if (opened && (*opened)->take_over()) {
      const bool begun = (*opened)->begin().has_value();
      EXPECT_EQ(begun, read_text(text()) == whole) << nth;
      waited += begun ? 0 : 1;
    }
    vfs_.fail_no_more();
  }
  EXPECT_GT(waited, 0);
  target_ = open(with);
  ASSERT_TRUE(write_second());
  EXPECT_EQ(read_text(text()).substr(0, whole.size()), whole);
  EXPECT_GT(read_text(text()).size(), whole.size());
}

}  // namespace
}  // namespace turnstile::test
