#include <fstream>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/plain_sqlite.h"
#include "bench/process.h"
#include "bench/rows.h"
#include "tests/support/folder.h"

namespace turnstile::bench {
namespace {

constexpr const char* kSample =
    "id,name,unit_name,nutrient_nbr,rank,time\n"
    "2047,Energy,KCAL,957,280,6:45\n"
    "2061,\"Ergosta-7,22-dienol\",MG,,16211,19:45\n"
    "2054,\"a \"\"b\"\"\",MG,,,9:45\n";

class Checks : public testing::Test {
 protected:
  Checks() {
    std::ofstream(folder_.path() / "sample.csv") << kSample;
    sample_.emplace(folder_.path() / "sample.csv");
  }

  // A database of these rows, in this order.
  std::filesystem::path database_of(const std::vector<std::uint64_t>& ids) {
    auto path = folder_.path() / "rows.db";
    PlainDatabase database(path, PlainDatabase::Mode::create);
    database.execute(kCreateTable);
    PlainStatement insert = database.prepare("INSERT INTO nutrients VALUES (?,?,?,?,?,?)");
    for (const auto id : ids) {
      int position = 1;
      for (const auto value : sample_->row(id)) {
        insert.bind(position++, value);
      }
      insert.step();
      insert.reset();
    }
    return path;
  }

  void change(const std::string& sql) {
    PlainDatabase(folder_.path() / "rows.db", PlainDatabase::Mode::create).execute(sql);
  }

  Folder folder_;
  std::optional<Sample> sample_;
};

TEST_F(Checks, AllRowsInEachProducersOrderPass) {
  // Producer 0 has rows 1 to 3, producer 1 has 4 and 5.
  const auto db = database_of({1, 4, 2, 3, 5});
  EXPECT_NO_THROW(check_database(db, sample_->fingerprint(1, 5), {3, 2}));
}

TEST_F(Checks, AMissingRowIsFound) {
  const auto db = database_of({1, 2, 3, 5});
  EXPECT_THROW(check_database(db, sample_->fingerprint(1, 5), {5}), Failure);
}

TEST_F(Checks, AMissingLastRowIsFound) {
  const auto db = database_of({1, 2, 3, 4});
  EXPECT_THROW(check_database(db, sample_->fingerprint(1, 5), {5}), Failure);
}

TEST_F(Checks, ADuplicateRowIsFound) {
  const auto db = database_of({1, 2, 2, 3});
  EXPECT_THROW(check_database(db, sample_->fingerprint(1, 3), {3}), Failure);
}

TEST_F(Checks, RowsOfOneProducerInTheWrongOrderAreFound) {
  const auto db = database_of({1, 3, 2});
  EXPECT_THROW(check_database(db, sample_->fingerprint(1, 3), {3}), Failure);
}

TEST_F(Checks, AChangedValueIsFound) {
  const auto db = database_of({1, 2, 3});
  change("UPDATE nutrients SET rank = 281 WHERE id = 1");
  EXPECT_THROW(check_database(db, sample_->fingerprint(1, 3), {3}), Failure);
}

TEST_F(Checks, KnownMissingRowsPassAndOthersFail) {
  const auto db = database_of({1, 3});
  Fingerprint written;
  written.add(sample_->row(1));
  written.add(sample_->row(3));
  EXPECT_NO_THROW(check_database(db, written, {3}, Holes::known));
  written.add(sample_->row(2));
  EXPECT_THROW(check_database(db, written, {3}, Holes::known), Failure);
}

TEST_F(Checks, TheTextLogIsComparedWithEachRow) {
  const auto db = database_of({1, 2, 3});
  const auto text = folder_.path() / "out9.txt";
  std::ofstream(text) << "[1, Energy, KCAL, 957, 280, 6:45]\n"
                         "[2, Ergosta-7,22-dienol, MG, , 16211, 19:45]\n"
                         "[3, a \"b\", MG, , , 9:45]\n";
  EXPECT_NO_THROW(check_text(text, db));
  std::ofstream(text, std::ios::app) << "[3, a \"b\", MG, , , 9:45]\n";
  EXPECT_THROW(check_text(text, db), Failure);
  std::ofstream(text, std::ios::trunc) << "[1, Energy, KCAL, 957, 280, 6:45]\n";
  EXPECT_THROW(check_text(text, db), Failure);
}

TEST_F(Checks, ASampleWrittenAsCsvIsReadBackUnchanged) {
  const auto csv = folder_.path() / "rows.csv";
  sample_->write_csv(csv, 3, 5);
  const MemoryRows rows(csv);
  ASSERT_EQ(rows.size(), 5U);
  Fingerprint found;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    found.add(rows.row(i));
  }
  EXPECT_EQ(found, sample_->fingerprint(3, 5));
  EXPECT_EQ(rows.row(0)[0], "3");
}

TEST(Shares, CoverAllRowsWithoutGaps) {
  const Shares shares = equal_shares(20'000, 64);
  EXPECT_EQ(std::accumulate(shares.begin(), shares.end(), std::uint64_t{0}), 20'000U);
  EXPECT_EQ(first_of(shares, 0), 1U);
  EXPECT_EQ(first_of(shares, 1), shares[0] + 1);
  EXPECT_EQ(first_of(shares, 64), 20'001U);
}

TEST(Gate, OpensForAllWhenAllAreReady) {
  const Shared<int> passed(3);
  Gate gate;
  std::vector<Process> processes;
  for (std::size_t i = 0; i < 3; ++i) {
    processes.push_back(Process::run("child", [&, i] {
      gate.pass();
      passed[i] = 1;
    }));
  }
  EXPECT_THAT(passed.all(), testing::Each(0));
  gate.open(3);
  for (auto& process : processes) {
    process.finish();
  }
  EXPECT_THAT(passed.all(), testing::Each(1));
}

TEST(Process, ThatThrowsIsAFailure) {
  auto process = Process::run("child", [] { throw Failure("no"); });
  EXPECT_THROW(process.finish(), Failure);
}

}  // namespace
}  // namespace turnstile::bench
