#include "client/spool.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/rows.h"
#include "tests/support/database.h"
#include "tests/support/failing_memory.h"
#include "tests/support/fault_vfs.h"
#include "tests/support/folder.h"
#include "tests/support/memory_folder.h"
#include "tests/support/sanitized.h"
#include "tests/support/seed.h"

namespace turnstile {
namespace {

using test::FaultVfs;
using test::run_sql;
using test::test_seed;
using ::testing::AnyOf;
using ::testing::HasSubstr;

class SpoolTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path path() const { return folder_.path() / "rows.spool"; }

  std::unique_ptr<Spool> open() { return must_open({path(), limit_, vfs_}); }
  static std::unique_ptr<Spool> must_open(SpoolOptions options) {
    auto spool = Spool::open(std::move(options), {"name"});
    if (!spool) {
      throw std::runtime_error(spool.error().what);
    }
    return std::move(*spool);
  }
  Error open_error(const std::string& name = "name") {
    auto spool = Spool::open({path(), limit_, {}}, {name});
    EXPECT_FALSE(spool);
    return spool ? Error{} : spool.error();
  }

  static Batch batch(std::uint64_t first, std::uint32_t rows, std::size_t bytes = 10) {
    RowsEncoder encoder;
    const std::string value(bytes, 'x');
    for (std::uint32_t i = 0; i < rows; ++i) {
      encoder.add(std::vector<std::string_view>{value});
    }
    Batch one;
    one.header.producer = {"name"};
    one.header.first = {first};
    one.header.rows = rows;
    one.header.table = "pets";
    one.header.columns = {"breed"};
    one.header.source = "source";
    one.rows_frame = encoder.take();
    return one;
  }
  static void store(Spool& spool, const std::vector<Batch>& batches) {
    const auto stored = spool.store(batches);
    ASSERT_TRUE(stored) << stored.error().what;
  }
  // "first-last" of each stored batch after that row.
  static std::vector<std::string> kept(Spool& spool, Sequence behind) {
    std::vector<std::string> out;
    const auto batches = spool.read(behind, std::size_t{1} << 30U);
    EXPECT_TRUE(batches) << batches.error().what;
    for (const Batch& one : *batches) {
      out.push_back(std::to_string(one.header.first.value) + "-" +
                    std::to_string(one.header.last().value));
    }
    return out;
  }

  Folder folder_;
  std::uint64_t limit_ = SpoolOptions{}.limit_bytes;
  std::string vfs_;
};

using Kept = std::vector<std::string>;

TEST_F(SpoolTest, StoredBatchesKeepTheirNumbersAndContentAfterReopen) {
  const Batch first = batch(1, 3);
  std::string id;
  {
    auto spool = open();
    id = spool->id();
    store(*spool, {first, batch(4, 2)});
    store(*spool, {batch(6, 1)});
  }
  auto spool = open();
  EXPECT_EQ(spool->id(), id);
  EXPECT_EQ(spool->last(), Sequence{6});
  EXPECT_EQ(kept(*spool, {0}), (Kept{"1-3", "4-5", "6-6"}));
  EXPECT_EQ(kept(*spool, {5}), (Kept{"6-6"}));
  const auto read = spool->read({0}, 1);
  ASSERT_TRUE(read);
  ASSERT_EQ(read->size(), 1U) << "at least one, and no more than asked for";
  EXPECT_EQ(read->front().rows_frame.view(), first.rows_frame.view());
  EXPECT_EQ(read->front().header.columns, first.header.columns);
  EXPECT_EQ(read->front().header.source, "source");
}

TEST_F(SpoolTest, NumbersContinueAfterDroppedRows) {
  {
    auto spool = open();
    store(*spool, {batch(1, 3), batch(4, 2)});
    ASSERT_TRUE(spool->drop({5}, {4}));
    ASSERT_TRUE(spool->trim());
    EXPECT_EQ(spool->bytes(), 0U);
  }
  auto spool = open();
  EXPECT_EQ(spool->last(), Sequence{5});
  EXPECT_EQ(spool->dropped(), Sequence{5});
  EXPECT_EQ(spool->applied(), Sequence{4});
  EXPECT_EQ(kept(*spool, {5}), Kept{});
}

TEST_F(SpoolTest, ABatchStaysUntilAllOfItIsAcknowledged) {
  auto spool = open();
  store(*spool, {batch(1, 3), batch(4, 2)});
  ASSERT_TRUE(spool->drop({4}, {4}));
  ASSERT_TRUE(spool->trim());
  EXPECT_EQ(spool->dropped(), Sequence{3});
  spool.reset();
  spool = open();
  EXPECT_EQ(kept(*spool, {3}), (Kept{"4-5"}));
}

TEST_F(SpoolTest, ASecondProcessIsRefused) {
  const auto spool = open();
  const Error error = open_error();
  EXPECT_EQ(error.code, Errc::locked);
  EXPECT_THAT(error.what, HasSubstr("another process uses the spool"));
}

TEST_F(SpoolTest, AnotherNameIsRefused) {
  (void)open();
  const Error error = open_error("other");
  EXPECT_EQ(error.code, Errc::refused);
  EXPECT_THAT(error.what, HasSubstr("belongs to the name 'name', not to 'other'"));
}

TEST_F(SpoolTest, AnotherDatabaseAndANewerFormatAreRefusedAndNotChanged) {
  run_sql(path(), "CREATE TABLE mine(a)");
  EXPECT_THAT(open_error().what, HasSubstr("is not a spool"));
  EXPECT_EQ(run_sql(path(), "SELECT name FROM sqlite_schema"), "mine\n");
  EXPECT_EQ(run_sql(path(), "PRAGMA journal_mode"), "delete\n");
  std::filesystem::remove(path());
  (void)open();
  run_sql(path(), "UPDATE turnstile_spool SET value=2 WHERE key='format'");
  EXPECT_THAT(open_error().what, HasSubstr("has format 2"));
}

TEST_F(SpoolTest, AChangedByteInAnyColumnStopsReadingThere) {
  for (const std::string& change :
       {std::string("rows=CAST(replace(rows, 'x', 'y') AS BLOB)"),
        std::string("header=CAST(replace(header, 'breed', 'breid') AS BLOB)"),
        std::string("kind=3"), std::string("checksum=checksum+1")}) {
    std::filesystem::remove(path());
    {
      auto spool = open();
      store(*spool, {batch(1, 3), batch(4, 2), batch(6, 1)});
    }
    run_sql(path(), "UPDATE batches SET " + change + " WHERE first=4");
    auto spool = open();
    const auto read = spool->read({3}, 1000);
    ASSERT_FALSE(read) << change;
    EXPECT_EQ(read.error().code, Errc::corrupt);
    EXPECT_THAT(read.error().what, HasSubstr("rows 4 to 5 are not what was stored"));
  }
}

TEST_F(SpoolTest, AMissingBatchIsFoundAtOpen) {
  {
    auto spool = open();
    store(*spool, {batch(1, 3), batch(4, 2), batch(6, 1)});
  }
  run_sql(path(), "DELETE FROM batches WHERE first=4");
  const Error error = open_error();
  EXPECT_EQ(error.code, Errc::corrupt);
  EXPECT_THAT(error.what, HasSubstr("it holds 4 rows, and should hold rows 1 to 6"));
}

TEST_F(SpoolTest, AtItsLimitItTakesNothingUntilRowsAreDropped) {
  limit_ = 4000;
  auto spool = open();
  store(*spool, {batch(1, 1, 3000)});
  const auto refused = spool->store({batch(2, 1, 3000)});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::full);
  EXPECT_EQ(spool->last(), Sequence{1});
  ASSERT_TRUE(spool->drop({1}, {1}));
  store(*spool, {batch(2, 1, 3000)});
  EXPECT_EQ(kept(*spool, {1}), (Kept{"2-2"}));
}

TEST_F(SpoolTest, AnEmptySpoolReturnsItsSpaceAndABusyOneReusesIt) {
  auto spool = open();
  std::uint64_t next = 1;
  std::uintmax_t most = 0;
  constexpr std::size_t kMib = std::size_t{1} << 20U;
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 4; ++i) {
      store(*spool, {batch(next++, 1, kMib)});
    }
    ASSERT_TRUE(spool->drop({next - 2}, {next - 2}));  // one stays
    ASSERT_TRUE(spool->trim());
    most = std::max(most, std::filesystem::file_size(path()));
  }
  EXPECT_LT(most, 16 * kMib) << "80 MiB passed through it";
  std::vector<Batch> many;
  for (int i = 0; i < 24; ++i) {
    many.push_back(batch(next++, 1, kMib));
  }
  store(*spool, many);
  ASSERT_TRUE(spool->drop({next - 1}, {next - 1}));
  ASSERT_TRUE(spool->trim());
  EXPECT_LT(
      std::filesystem::file_size(path()) + std::filesystem::file_size(path().string() + "-wal"),
      kMib);
}

TEST_F(SpoolTest, AfterAFailedSyncNothingIsTakenAndTheNextStartHasTheTakenRows) {
  FaultVfs vfs;
  vfs_ = vfs.name();
  {
    auto spool = open();
    store(*spool, {batch(1, 3)});
    vfs.fail(FaultVfs::Operation::sync, FaultVfs::File::any, 1, SQLITE_IOERR_FSYNC);
    const auto failed = spool->store({batch(4, 1)});
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Errc::io);
    EXPECT_EQ(spool->last(), Sequence{3});
    const auto again = spool->store({batch(4, 1)});
    ASSERT_FALSE(again) << "the sync works again, but the result of the failed one is unknown";
    EXPECT_EQ(again.error().code, Errc::io);
  }
  auto spool = open();
  ASSERT_GE(spool->last(), Sequence{3});
  EXPECT_EQ(kept(*spool, {0}).front(), "1-3");
}

TEST_F(SpoolTest, AFullDiskTakesNothingUntilThereIsRoom) {
  FaultVfs vfs;
  vfs_ = vfs.name();
  auto spool = open();
  store(*spool, {batch(1, 3)});
  for (int nth = 1; nth <= 2; ++nth) {  // the log's frame, its header and its page
    vfs.fail(FaultVfs::Operation::write, FaultVfs::File::any, nth, SQLITE_FULL);
    const auto full = spool->store({batch(4, 1)});
    vfs.fail_no_more();
    ASSERT_FALSE(full) << nth;
    EXPECT_EQ(full.error().code, Errc::full);
    EXPECT_EQ(spool->last(), Sequence{3});
  }
  store(*spool, {batch(4, 1)});
  spool.reset();
  spool = open();
  EXPECT_EQ(kept(*spool, {0}), (Kept{"1-3", "4-4"}));
}

// A crash may leave any part of the end of the log.
TEST_F(SpoolTest, APartialEndOfTheLogIsRemovedAndEarlierSyncedRowsStay) {
  std::mt19937_64 random(test_seed());
  auto spool = open();
  std::vector<std::uintmax_t> synced{
      std::filesystem::file_size(path().string() + "-wal")};  // batch by batch
  for (std::uint64_t first = 1; first <= 10; ++first) {
    store(*spool, {batch(first, 1, random() % 20'000)});
    synced.push_back(std::filesystem::file_size(path().string() + "-wal"));
  }
  std::ifstream file(path().string() + "-wal", std::ios::binary);
  const std::string whole_log{std::istreambuf_iterator<char>(file), {}};
  const auto copy = folder_.path() / "copy.spool";
  for (int round = 0; round < 50; ++round) {
    for (const char* end : {"", "-wal"}) {
      std::filesystem::copy_file(path().string() + end, copy.string() + end,
                                 std::filesystem::copy_options::overwrite_existing);
    }
    const auto log = copy.string() + "-wal";
    auto cut = std::uniform_int_distribution<std::uintmax_t>(0, synced.back())(random);
    std::filesystem::resize_file(log, cut);
    if (round % 2 == 1) {  // space that the file got and that was never written: zeros
      std::filesystem::resize_file(log, synced.back());
      cut = std::min(whole_log.find_first_not_of('\0', cut), whole_log.size());
    }
    const auto whole = std::upper_bound(synced.begin(), synced.end(), cut) - synced.begin();
    const auto again = must_open({copy, limit_, {}});
    EXPECT_EQ(again->last().value,
              static_cast<std::uint64_t>(std::max<std::ptrdiff_t>(whole, 1) - 1))
        << "cut at " << cut;
    EXPECT_EQ(kept(*again, {0}).size(), again->last().value);
  }
}

// What a process did until SQLite ran out of memory, and what it reported.
struct SpoolUsage {
  std::optional<Error> error;
  std::uint64_t kept = 0;   // rows through here were reported as stored
  std::uint64_t tried = 0;  // rows through here were passed to store()
  std::uint64_t dropped = 0;
  std::string input;

  template <typename T>
  bool succeeded(const Result<T>& done) {
    if (!done && !error) {
      error = done.error();
    }
    return done.has_value();
  }
};

class SpoolNoMemoryTest : public SpoolTest {
 protected:
  // Reaches its limit after the second of three, so that the third must make room first.
  SpoolOptions options() { return {memory_ / "rows.spool", 900, {}}; }

  SpoolUsage use() {
    SpoolUsage usage;
    for (int start = 0; start < 2 && !usage.error; ++start) {
      auto spool = Spool::open(options(), {"name"});
      if (!usage.succeeded(spool)) {
        break;
      }
      if (usage.succeeded((*spool)->definitions()) && usage.succeeded((*spool)->set_input("in"))) {
        usage.input = "in";
      }
      for (int i = 0; i < 3 && !usage.error && start == 0; ++i) {
        const std::uint64_t first = usage.tried + 1;
        usage.tried += 20;
        if (usage.succeeded((*spool)->store({batch(first, 10), batch(first + 10, 10)}))) {
          usage.kept = usage.tried;
        }
        if (i == 0 && !usage.error) {
          usage.dropped = 20;
          usage.succeeded((*spool)->drop(Sequence{20}, Sequence{20}));
        }
      }
      const auto read = (*spool)->read((*spool)->dropped(), std::size_t{1} << 30U);
      if (!usage.error && usage.succeeded(read)) {
        EXPECT_EQ(read->size(), 4U);
      }
      usage.succeeded((*spool)->trim());
    }
    return usage;
  }

  void expect_kept(const SpoolUsage& usage) {
    const auto spool = must_open(options());
    EXPECT_GE(spool->last().value, usage.kept);
    EXPECT_LE(spool->last().value, usage.tried);
    EXPECT_LE(spool->dropped().value, usage.dropped);
    EXPECT_THAT(spool->input(), usage.input.empty() ? AnyOf("", "in") : AnyOf("in", "in"));
    std::uint64_t next = spool->dropped().value + 1;
    const auto batches = spool->read(spool->dropped(), std::size_t{1} << 30U);
    ASSERT_TRUE(batches) << batches.error().what;
    for (const Batch& one : *batches) {
      EXPECT_EQ(one.header.first.value, next);
      next = one.header.last().value + 1;
    }
    EXPECT_EQ(next, spool->last().value + 1);
  }

  void begin_anew() {
    for (const char* more : {"", "-wal", "-shm"}) {
      std::filesystem::remove(options().path.string() + more);
    }
  }

 private:
  test::MemoryFolder memory_;
};

TEST_F(SpoolNoMemoryTest, AnyFailedAllocationIsReportedAndTheNextStartHasAllStoredRows) {
  test::FailingMemory memory;
  memory.fail_no_more();
  const SpoolUsage sound = use();
  ASSERT_FALSE(sound.error) << sound.error->what;
  EXPECT_EQ(sound.kept, 60U);
  const int allocations = memory.allocations();
  for (const bool and_after : {false, true}) {
    // Some hundreds; the number changes with the code.
    const int runs = (and_after ? 100 : 500) / (kSanitized ? 5 : 1);
    const int stride = std::max(1, allocations / runs);
    int reported = 0;
    for (int nth = 1; nth <= allocations && !HasFailure(); nth += stride) {
      SCOPED_TRACE("allocation " + std::to_string(nth) + " of " + std::to_string(allocations));
      begin_anew();
      memory.fail(nth, and_after);
      const SpoolUsage usage = use();
      memory.fail_no_more();
      reported += usage.error ? 1 : 0;
      expect_kept(usage);
    }
    EXPECT_GT(reported, kSanitized ? 3 : 30);
  }
}

}  // namespace
}  // namespace turnstile
