// Journals of earlier formats (tests/fixtures) open as the current format, with all their content.
// A crash in between leaves one format or the other.
#include <cstdint>
#include <ctime>
#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/journal.h"
#include "broker/journal_migrations.h"
#include "tests/support/database.h"
#include "tests/support/fault_vfs.h"
#include "tests/support/killed.h"
#include "tests/support/memory_folder.h"

namespace turnstile::broker {
namespace {

using test::run_sql;
using testing::HasSubstr;

constexpr const char* kBatches =
    "SELECT offset, producer, first, last, stored_at_ms, checksum, hex(header), hex(rows) "
    "FROM batches ORDER BY offset";
constexpr const char* kEpochs = "SELECT name, epoch FROM producers ORDER BY name";
constexpr const char* kVersion = "SELECT value FROM turnstile_journal WHERE key='format'";
constexpr const char* kTables = "SELECT name, sql FROM sqlite_schema ORDER BY name";

class JournalMigrationTest : public testing::Test {
 protected:
  JournalMigrationTest() { begin_anew(); }

  void begin_anew() {
    for (const char* more : {"", "-wal", "-shm"}) {
      std::filesystem::remove(path_.string() + more);
    }
    test::make_from_fixture(path_, "journal-1.sql");
  }

  Result<Journal> open(const std::string& vfs = {}) { return Journal::open({path_, 1 << 20, vfs}); }

  // Format 1 or 3, complete; then format 3 once it is opened.
  void expect_one_format_and_all_batches() {
    const std::string version = run_sql(path_, kVersion);
    EXPECT_EQ(run_sql(path_, kTables), version == "1\n" ? old_tables_ : new_tables_);
    EXPECT_EQ(run_sql(path_, kBatches), batches_);
    EXPECT_EQ(run_sql(path_, kEpochs), epochs_);
    const auto journal = open();
    ASSERT_TRUE(journal) << journal.error().what;
    EXPECT_EQ(journal->migrated_from(),
              version == "1\n" ? std::optional<std::int64_t>(1) : std::nullopt);
    EXPECT_EQ(run_sql(path_, kVersion), "3\n");
    EXPECT_EQ(run_sql(path_, kTables), new_tables_);
    EXPECT_EQ(run_sql(path_, kBatches), batches_);
    EXPECT_EQ(run_sql(path_, kEpochs), epochs_);
  }

  static std::string tables_of_a_new_one(const std::filesystem::path& path) {
    EXPECT_TRUE(Journal::open({path, 1 << 20, {}}));
    return run_sql(path, kTables);
  }

  test::MemoryFolder directory_;
  std::filesystem::path path_ = directory_ / "journal.db";
  std::string new_tables_ = tables_of_a_new_one(directory_ / "new.db");
  std::string old_tables_ = (begin_anew(), run_sql(path_, kTables));
  std::string batches_ = run_sql(path_, kBatches);
  std::string epochs_ = run_sql(path_, kEpochs);
};

TEST_F(JournalMigrationTest, Format1OpensWithAllItsBatchesAndIsLikeANewOne) {
  ASSERT_EQ(run_sql(path_, kVersion), "1\n");
  {
    auto journal = open();
    ASSERT_TRUE(journal) << journal.error().what;
    EXPECT_EQ(journal->migrated_from(), 1);
    EXPECT_EQ(journal->batches(), 14U);
    EXPECT_EQ(journal->rows(), 24U + 9 + 9);
    const auto read = journal->read({1}, {14}, SIZE_MAX, TimePoint{});
    ASSERT_TRUE(read);
    EXPECT_EQ(read->batches.size(), 14U);
    EXPECT_FALSE(read->damaged);
    EXPECT_EQ(journal->epoch({"stream"})->value, 1795488014623U);
  }
  expect_one_format_and_all_batches();
}

TEST_F(JournalMigrationTest, ExistingNamesCountAsUsedNowAndANewEpochUpdatesTheirTime) {
  const std::int64_t began_ms = std::int64_t{std::time(nullptr)} * 1000;
  auto journal = open();
  ASSERT_TRUE(journal) << journal.error().what;
  const auto touched = [&](const std::string& name) {
    return std::stoll(run_sql(path_, "SELECT touched_ms FROM producers WHERE name='" + name + "'"));
  };
  EXPECT_GE(touched("zoo"), began_ms);
  EXPECT_LE(touched("zoo"), std::int64_t{std::time(nullptr)} * 1000);
  run_sql(path_, "UPDATE producers SET touched_ms=1");
  ASSERT_TRUE(journal->set_epoch({"zoo"}, {1795488014999}));
  EXPECT_GE(touched("zoo"), began_ms);
  EXPECT_EQ(touched("late"), 1);
  EXPECT_EQ(journal->epoch({"zoo"})->value, 1795488014999U);
}

TEST_F(JournalMigrationTest, KilledAtAnyStatementItHasTheOldFormatOrTheNewFormat) {
  const auto migrate = [](sqlite::Connection& connection) {
    return connection.execute("PRAGMA synchronous=FULL").has_value() &&
           sqlite::migrate(connection, journal_format()).has_value();
  };
  int kills = 0;
  while (test::killed_at_statement(path_, kills + 1, migrate)) {
    SCOPED_TRACE("killed at statement " + std::to_string(++kills));
    expect_one_format_and_all_batches();
    begin_anew();
  }
  EXPECT_GE(kills, 8) << "PRAGMA, two reads, BEGIN, four steps and the version";
}

TEST_F(JournalMigrationTest, AfterAFailedWriteOrSyncItHasOneFormatAndTheNextStartWorks) {
  using Vfs = test::FaultVfs;
  struct Fault {
    Vfs::Operation operation;
    int code;
    Errc expected;
  };
  for (const Fault& fault : {Fault{Vfs::Operation::write, SQLITE_FULL, Errc::full},
                             Fault{Vfs::Operation::write, SQLITE_IOERR_WRITE, Errc::io},
                             Fault{Vfs::Operation::sync, SQLITE_IOERR_FSYNC, Errc::io}}) {
    int failures = 0;
    for (int nth = 1;; ++nth) {
      SCOPED_TRACE("failure " + std::to_string(fault.code) + " at number " + std::to_string(nth));
      begin_anew();
      Vfs vfs;
      vfs.fail(fault.operation, Vfs::File::any, nth, fault.code);
      const auto journal = open(vfs.name());
      if (vfs.failures() == 0) {
        EXPECT_TRUE(journal) << journal.error().what;
        break;
      }
      ++failures;
      if (!journal) {
        EXPECT_EQ(journal.error().code, fault.expected) << journal.error().what;
      }
      vfs.fail_no_more();
      expect_one_format_and_all_batches();
      if (HasFatalFailure()) {
        return;
      }
    }
    EXPECT_GE(failures, 2);
  }
}

TEST_F(JournalMigrationTest, AnUnknownFormatIsRefusedAndNotChanged) {
  run_sql(path_, "UPDATE turnstile_journal SET value=0 WHERE key='format'");
  const auto journal = open();
  ASSERT_FALSE(journal);
  EXPECT_EQ(journal.error().code, Errc::unreachable);
  EXPECT_THAT(journal.error().what, HasSubstr("format version 0"));
  EXPECT_EQ(run_sql(path_, kTables), old_tables_);
}

}  // namespace
}  // namespace turnstile::broker
