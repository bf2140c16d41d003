#include "store/log_buffer.h"

#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include "tests/store/fixture.h"
#include "tests/support/fault_vfs.h"
#include "tests/support/seed.h"

namespace turnstile::test {
namespace {

using sqlite::Access;
using sqlite::Connection;

// A file as SQLite opens its log, without a database.
class LogFile {
 public:
  explicit LogFile(const std::filesystem::path& path, int kind = SQLITE_OPEN_WAL)
      : name_(sqlite3_create_filename(path.c_str(), "", path.c_str(), 0, nullptr)),
        vfs_(sqlite3_vfs_find(nullptr)),
        memory_(static_cast<std::size_t>(vfs_->szOsFile)) {
    EXPECT_EQ(vfs_->xOpen(vfs_, name_, file(), SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | kind,
                          nullptr),
              SQLITE_OK);
  }
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;
  ~LogFile() {
    EXPECT_EQ(file()->pMethods->xClose(file()), SQLITE_OK);
    sqlite3_free_filename(name_);
  }
  sqlite3_file* file() { return reinterpret_cast<sqlite3_file*>(memory_.data()); }
  const sqlite3_io_methods* operator->() { return file()->pMethods; }
  [[nodiscard]] const char* name() const { return name_; }

  std::int64_t size() {
    sqlite3_int64 bytes = -1;
    EXPECT_EQ(file()->pMethods->xFileSize(file(), &bytes), SQLITE_OK);
    return bytes;
  }
  std::string read(int bytes, std::int64_t at) {
    std::string out(static_cast<std::size_t>(bytes), '?');
    const int code = file()->pMethods->xRead(file(), out.data(), bytes, at);
    EXPECT_TRUE(code == SQLITE_OK || code == SQLITE_IOERR_SHORT_READ) << code;
    return out;
  }

 private:
  sqlite3_filename name_;
  sqlite3_vfs* vfs_;
  std::vector<char> memory_;
};

class LogBuffer : public StoreTest {
 protected:
  Connection open(const std::string& vfs = {}) {
    auto opened = Connection::open(db(), Access::create, vfs);
    EXPECT_TRUE(opened) << opened.error().what;
    EXPECT_TRUE(
        opened->execute("PRAGMA page_size=16384; PRAGMA journal_mode=WAL;"
                        "PRAGMA synchronous=FULL; PRAGMA cache_size=20;"
                        "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, bytes)"));
    EXPECT_TRUE(opened->buffer_log());
    return std::move(*opened);
  }
  // Some two megabytes: several pieces, and more than the cache has room for.
  static Result<void> add_rows(Connection& connection) {
    return connection.execute(
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) "
        "INSERT INTO t(bytes) SELECT zeroblob(1000) FROM n");
  }
};

TEST_F(LogBuffer, WhatIsReadAndHowLongItIsAreAsWithoutItWhateverTheOrder) {
  std::mt19937_64 random(test_seed());
  const auto below = [&](int n) { return std::uniform_int_distribution<int>(0, n - 1)(random); };
  const auto plain_path = folder_ / "plain-wal";
  const auto path = folder_ / "buffered-wal";
  for (const char* database : {"plain", "buffered"}) {  // whose rights SQLite gives to their logs
    std::ofstream(folder_ / database).put('\n');
  }
  {
    LogFile database(folder_ / "buffered", SQLITE_OPEN_MAIN_DB);
    LogFile plain(plain_path);
    LogFile buffered(path);
    sqlite::buffer_log(database.file(), buffered.file(), buffered.name());
    std::int64_t next = 0;
    std::string bytes(65'536, '\0');
    for (int i = 0; i < 1000; ++i) {
      const int what = below(20);
      if (what < 15) {
        // Mostly where the last one ended, as frames come; now and then back, as after a rollback.
        const std::array sizes{24, 4096, 16'384, 65'536};
        const int size = what == 0 ? 1 + below(70) : sizes.at(static_cast<std::size_t>(below(4)));
        next = what == 1 ? below(static_cast<int>(next) + 1) : next;
        const int times = below(4) == 0 ? 1 + below(60) : 1;  // enough for full pieces, or not
        for (int time = 0; time < times; ++time, next += size) {
          std::generate_n(bytes.begin(), size, [&] { return static_cast<char>(random()); });
          ASSERT_EQ(plain->xWrite(plain.file(), bytes.data(), size, next), SQLITE_OK);
          ASSERT_EQ(buffered->xWrite(buffered.file(), bytes.data(), size, next), SQLITE_OK);
        }
      } else if (what < 17) {
        const int at = below(static_cast<int>(next) + 1);
        const int size = 1 + below(65'536);
        ASSERT_EQ(buffered.read(size, at), plain.read(size, at)) << "call " << i;
      } else if (what == 17) {
        ASSERT_EQ(buffered.size(), plain.size()) << "call " << i;
      } else if (what == 18) {
        ASSERT_EQ(buffered->xSync(buffered.file(), SQLITE_SYNC_NORMAL), SQLITE_OK);
        ASSERT_EQ(std::filesystem::file_size(path), static_cast<std::uintmax_t>(plain.size()));
      } else if (below(20) == 0) {
        next = below(static_cast<int>(next) + 1);
        ASSERT_EQ(plain->xTruncate(plain.file(), next), SQLITE_OK);
        ASSERT_EQ(buffered->xTruncate(buffered.file(), next), SQLITE_OK);
      }
    }
    ASSERT_EQ(buffered->xSync(buffered.file(), SQLITE_SYNC_NORMAL), SQLITE_OK);
  }
  EXPECT_TRUE(read_text(path) == read_text(plain_path)) << "differ after the end";
}

TEST_F(LogBuffer, AnotherConnectionSeesEachCommitAsSoonAsItReturned) {
  Connection connection = open();
  for (int commits = 1; commits <= 3; ++commits) {
    ASSERT_TRUE(add_rows(connection));
    EXPECT_EQ(word("SELECT count(*) FROM t"), std::to_string(2000 * commits));
    ASSERT_TRUE(
        connection.execute("INSERT INTO t(bytes) VALUES('few'); DELETE FROM t WHERE "
                           "bytes='few'"));
  }
  EXPECT_EQ(word("PRAGMA integrity_check"), "ok");
}

TEST_F(LogBuffer, PagesThatLeftTheCacheAreReadBackWithinTheTransactionAndGoneAfterItsRollback) {
  Connection connection = open();
  ASSERT_TRUE(connection.execute("BEGIN"));
  ASSERT_TRUE(add_rows(connection));
  ASSERT_TRUE(connection.execute("UPDATE t SET bytes='x' WHERE id % 3 = 0"));
  EXPECT_EQ(connection.query_integer("SELECT sum(length(bytes)) FROM t"), 666 + 1334 * 1000);
  EXPECT_EQ(word("SELECT count(*) FROM t"), "0") << "nothing is committed yet";
  ASSERT_TRUE(connection.execute("ROLLBACK"));
  ASSERT_TRUE(add_rows(connection));
  EXPECT_EQ(word("SELECT count(*) FROM t"), "2000");
  EXPECT_EQ(word("PRAGMA integrity_check"), "ok");
}

// What ended without a commit is in nobody's way: others write where it would have been.
TEST_F(LogBuffer, WhatARolledBackOrEmptyTransactionLeftIsNeverWrittenOverCommitsOfOthers) {
  for (const bool ends_by_reading : {true, false}) {
    for (const bool grows : {true, false}) {
      SCOPED_TRACE(std::to_string(ends_by_reading) + std::to_string(grows));
      std::filesystem::remove(db());
      Connection connection = open();
      ASSERT_TRUE(add_rows(connection));
      ASSERT_TRUE(connection.execute("BEGIN IMMEDIATE"));
      if (grows) {
        ASSERT_TRUE(connection.grow_log(1'050'112));
        ASSERT_TRUE(connection.execute("COMMIT"));
      } else {
        // As many pages as before, and those not in the log: then nothing is read from it.
        ASSERT_TRUE(
            connection.execute("COMMIT; PRAGMA wal_checkpoint; BEGIN IMMEDIATE;"
                               "UPDATE t SET bytes=randomblob(1000)"));
        ASSERT_TRUE(connection.execute("ROLLBACK"));
      }
      Connection other = open();
      ASSERT_TRUE(add_rows(other));
      ASSERT_TRUE(add_rows(other));
      if (ends_by_reading) {
        EXPECT_EQ(connection.query_integer("SELECT count(*) FROM t"), 6000);
      }
      connection = {};
      EXPECT_EQ(word("PRAGMA integrity_check"), "ok");
      EXPECT_EQ(number("SELECT count(*) FROM t"), 6000);
    }
  }
}

TEST_F(LogBuffer, AfterALostPageTheTransactionCannotBeCommittedEvenIfThereIsRoomAgain) {
  FaultVfs vfs;
  Connection connection = open(vfs.name());
  ASSERT_TRUE(connection.execute("BEGIN IMMEDIATE"));
  ASSERT_TRUE(add_rows(connection));
  vfs.fail(FaultVfs::Operation::write, FaultVfs::File::wal, 1, SQLITE_FULL);
  // A page that left the cache is asked for, and what is kept has to go to the file first. SQLite
  // takes back this statement, and leaves the transaction open.
  EXPECT_FALSE(connection.execute("UPDATE t SET id = id + 100000"));
  EXPECT_EQ(vfs.failures(), 1);
  ASSERT_TRUE(connection.in_transaction());
  EXPECT_FALSE(connection.execute("COMMIT"));
  if (connection.in_transaction()) {
    ASSERT_TRUE(connection.execute("ROLLBACK"));
  }
  EXPECT_EQ(word("SELECT count(*) FROM t"), "0");
  ASSERT_TRUE(add_rows(connection));
  EXPECT_EQ(word("SELECT count(*) FROM t"), "2000");
  EXPECT_EQ(word("PRAGMA integrity_check"), "ok");
}

TEST_F(LogBuffer, AWriteOrSyncThatFailsAnywhereInACommitLeavesNothingOfItAndTheNextGoesThrough) {
  using Vfs = FaultVfs;
  for (const auto& [operation, code] : {std::pair(Vfs::Operation::write, SQLITE_FULL),
                                        std::pair(Vfs::Operation::write, SQLITE_IOERR_WRITE),
                                        std::pair(Vfs::Operation::sync, SQLITE_IOERR_FSYNC)}) {
    int faults = 0;
    for (int nth = 1; nth <= faults + 1; ++nth) {
      SCOPED_TRACE("code " + std::to_string(code) + ", operation " + std::to_string(nth));
      std::filesystem::remove(db());
      Vfs vfs;
      {
        Connection connection = open(vfs.name());
        vfs.fail(operation, Vfs::File::wal, nth, code);
        const auto added = add_rows(connection);
        faults += vfs.failures();
        EXPECT_EQ(added.has_value(), vfs.failures() == 0);
        vfs.fail_no_more();
        EXPECT_EQ(word("SELECT count(*) FROM t"), added ? "2000" : "0");
        ASSERT_TRUE(add_rows(connection));
        EXPECT_EQ(word("SELECT count(*) FROM t"), added ? "4000" : "2000");
      }
      EXPECT_EQ(word("PRAGMA integrity_check"), "ok");
    }
    // Two megabytes in pieces of at most 124 KiB, and one sync.
    EXPECT_GE(faults, operation == Vfs::Operation::write ? 16 : 1);
  }
}

}  // namespace
}  // namespace turnstile::test
