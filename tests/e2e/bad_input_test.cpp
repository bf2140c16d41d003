// What bad input gets: a clear error that says what and where, the right exit code, nothing lost.
#include <signal.h>
#include <sqlite3.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "tests/e2e/harness.h"

namespace turnstile::e2e {
namespace {

using ::testing::Test;

class BadInput : public Test {
 protected:
  std::string csv(const std::string& content, const std::string& name = "nutrient.csv") {
    write_file(system_.folder.file(name), content);
    return system_.folder.file(name);
  }
  void start() {
    broker_.emplace(system_.broker());
    consumer_.emplace(system_.consumer());
    ASSERT_TRUE(
        system_.wait_for_status([](const auto& s) { return s["consumer"]["attached"] == true; }));
  }
  static std::string said(const Process& process) { return process.out() + process.err(); }

  System system_;
  std::optional<Process> broker_;
  std::optional<Process> consumer_;
};

constexpr char kHeader[] = "id,name,unit_name,nutrient_nbr,rank,time\n";

TEST_F(BadInput, AShortRowStopsTheStreamBehindTheRowsBeforeItAndIsNamedWithFileAndLine) {
  start();
  const auto file = csv(std::string(kHeader) + "1,a,G,1,1,1:00\n2,b,G\n3,c,G,3,3,3:00\n");
  Process stop = system_.produce({"csv", file});
  EXPECT_EQ(stop.wait(), 1);
  EXPECT_NE(said(stop).find("nutrient.csv:3"), std::string::npos) << said(stop);
  EXPECT_EQ(system_.query("SELECT group_concat(id) FROM nutrients"), 1);
  Process skip = system_.produce({"csv", file, "--bad-rows", "skip", "--json"});
  EXPECT_EQ(skip.wait(), 1);
  EXPECT_EQ(skip.json()["rows_applied"], 2);
  EXPECT_EQ(skip.json()["bad_rows"].size(), 1U);
  EXPECT_EQ(skip.json()["bad_rows"][0]["line"], 3);
}

TEST_F(BadInput, UnbalancedQuotesNulBytesAndInvalidUtf8AreNamedWithTheirLine) {
  start();
  for (const std::string& bad :
       {std::string("2,\"b,G,1,1,1:00\n"), std::string("2,b\0c,G,1,1,1:00\n", 16),
        std::string("2,b\xFF,G,1,1,1:00\n"), std::string("2,b\"c,G,1,1,1:00\n")}) {
    Process process = system_.produce({"csv", csv(kHeader + bad)});
    EXPECT_EQ(process.wait(), 1) << said(process);
    EXPECT_NE(said(process).find("nutrient.csv:2"), std::string::npos) << said(process);
  }
}

TEST_F(BadInput, FilesThatCannotBeReadGiveExit3AndHeaderOnlyIsNoError) {
  start();
  for (const std::string& file :
       {csv("", "empty.csv"), system_.folder.file("missing.csv"), system_.folder.path().string()}) {
    Process process = system_.produce({"csv", file, "--table", "nutrients"});
    EXPECT_EQ(process.wait(), 3) << said(process);
    EXPECT_NE(said(process).find(file), std::string::npos) << said(process);
  }
  Process header_only = system_.produce({"csv", csv(kHeader), "--json"});
  EXPECT_EQ(header_only.wait(), 0) << said(header_only);
  EXPECT_EQ(header_only.json()["rows_read"], 0);
}

TEST_F(BadInput, AColumnThatTheTableLacksIsRefusedBeforeARowIsSent) {
  start();
  Process process = system_.produce({"csv", csv("id,colour\n1,red\n")});
  EXPECT_EQ(process.wait(), 1);
  EXPECT_NE(said(process).find("colour"), std::string::npos) << said(process);
  EXPECT_EQ(system_.query("SELECT count(*) FROM turnstile_dead_letters"), 0);
}

TEST_F(BadInput, WithoutAConsumerRowsForAMissingTableAreStoredAndBecomeDeadLetters) {
  broker_.emplace(system_.broker());
  Process process = system_.produce(
      {"csv", csv("id,colour\n1,red\n2,blue\n", "paint.csv"), "--ack", "stored", "--json"});
  EXPECT_EQ(process.wait(), 0) << said(process);
  consumer_.emplace(system_.consumer());
  ASSERT_TRUE(system_.wait_for_rows("turnstile_dead_letters", 2)) << consumer_->err();
  EXPECT_EQ(system_.rows("SELECT DISTINCT reason FROM turnstile_dead_letters")[0][0],
            "no such table: paint");
}

TEST_F(BadInput, ARowThatTheTableRefusesIsADeadLetterAndItsNeighboursArrive) {
  start();
  Process pets = system_.produce({"pets", "--as", "P1"});
  ASSERT_EQ(pets.wait(), 0);
  Process process = system_.produce(
      {"csv", csv("id,name,breed\n10,Rex,Dog\n1,Twin,Dog\n11,Tom,Cat\n", "pets.csv"), "--json"});
  EXPECT_EQ(process.wait(), 1) << said(process);
  EXPECT_EQ(process.json()["rows_applied"], 2);
  EXPECT_EQ(process.json()["dead_letters"][0]["sequence"], 2);
  EXPECT_EQ(process.json()["dead_letters"][0]["reason"], "UNIQUE constraint failed: pets.id");
  EXPECT_EQ(system_.query("SELECT count(*) FROM pets WHERE name IN ('Rex', 'Tom')"), 2);
  // A report may be 20 ms old (PROTOCOL.md).
  EXPECT_TRUE(system_.wait_for_status([](const auto& s) { return s["dead_letters"] == 1; }));
}

TEST_F(BadInput, ABrokerThatIsNotThereIsNamedAndTheRowsAreCountedAsNotAcknowledged) {
  Process process = system_.produce(
      {"csv", csv(std::string(kHeader) + "1,a,G,1,1,1:00\n"), "--timeout", "3s", "--json"});
  EXPECT_EQ(process.wait(), 3) << said(process);
  EXPECT_NE(process.err().find("broker.sock"), std::string::npos) << process.err();
}

TEST_F(BadInput, ATargetLockedByAnotherProgramIsWaitedOutAndNothingIsLost) {
  start();
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(system_.folder.file("shared.db").c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_busy_timeout(db, 10'000), SQLITE_OK);  // the consumer may be writing
  ASSERT_EQ(sqlite3_exec(db, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  consumer_->signal(SIGTERM);
  ASSERT_TRUE(consumer_->wait());
  consumer_.emplace(system_.consumer({"--busy-timeout", "100ms"}));
  Process process = system_.produce({"pets", "--as", "P1"});
  ASSERT_TRUE(system_.folder.wait_until([&] {
    return consumer_->err().find("shared.db") != std::string::npos &&
           consumer_->err().find("another program") != std::string::npos;
  })) << consumer_->err();
  EXPECT_TRUE(process.running()) << "a producer was told that rows arrived in a locked file";
  sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
  sqlite3_close(db);
  EXPECT_EQ(process.wait(), 0) << said(process);
  EXPECT_EQ(system_.query("SELECT count(*) FROM pets"), 2);
}

// `serve` applies a few rows in the broker's own thread, which must not wait for a lock.
TEST_F(BadInput, WhileAnotherProgramHoldsTheTargetOfServeRowsAreStoredAndArriveAfterwards) {
  Process serve = system_.serve({"--busy-timeout", "10m"});
  Process before = system_.produce({"pets", "--as", "P1"});
  ASSERT_EQ(before.wait(), 0) << said(before) << serve.err();
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(system_.folder.file("shared.db").c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_busy_timeout(db, 10'000), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  Process stored = system_.produce({"csv", csv("name,breed\nRex,Dog\nTom,Cat\n"), "--table", "pets",
                                    "--batch-rows", "1", "--ack", "stored"});
  EXPECT_EQ(stored.wait(), 0) << said(stored) << serve.err();
  EXPECT_EQ(system_.query("SELECT count(*) FROM pets"), 2);
  sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
  sqlite3_close(db);
  EXPECT_TRUE(system_.wait_for_rows("pets", 4)) << serve.err();
}

TEST_F(BadInput, AMissingFolderOfTheTargetIsNamedAndTheRowsArriveOnceItIsThere) {
  broker_.emplace(system_.broker());
  const std::string folder = system_.folder.file("later");
  Process consumer(system_.folder, "lost",
                   {"consumer", "--db", folder + "/shared.db", "--broker",
                    "ipc://" + system_.folder.file("broker.sock")});
  Process process = system_.produce({"pets", "--as", "P1"});
  ASSERT_TRUE(system_.folder.wait_until([&] {
    return consumer.err().find(folder) != std::string::npos;
  })) << consumer.err();
  std::filesystem::create_directory(folder);
  EXPECT_EQ(process.wait(), 0) << said(process) << consumer.err();
}

TEST_F(BadInput, AFileThatIsNoDatabaseIsLeftAsItIs) {
  broker_.emplace(system_.broker());
  write_file(system_.folder.file("shared.db"), std::string(5000, 'x'));
  consumer_.emplace(system_.consumer());
  ASSERT_TRUE(system_.folder.wait_until([&] {
    return consumer_->err().find("is not an SQLite database") != std::string::npos;
  })) << consumer_->err();
  EXPECT_EQ(read_file(system_.folder.file("shared.db")), std::string(5000, 'x'));
}

TEST_F(BadInput, ASecondBrokerOnTheSameJournalRefusesToStart) {
  broker_.emplace(system_.broker());
  ASSERT_TRUE(system_.wait_for_status([](const auto&) { return true; }));
  Process second(system_.folder, "second",
                 {"broker", "--journal-file", system_.folder.file("journal.db"), "--broker",
                  "ipc://" + system_.folder.file("other.sock")});
  EXPECT_EQ(second.wait(), 3);
  EXPECT_NE(second.err().find("journal.db"), std::string::npos) << second.err();
  Process third(system_.folder, "third",
                {"broker", "--journal-file", system_.folder.file("other.db"), "--broker",
                 "ipc://" + system_.folder.file("broker.sock")});
  EXPECT_EQ(third.wait(), 3);
  EXPECT_NE(third.err().find("broker.sock"), std::string::npos) << third.err();
}

TEST_F(BadInput, TheOlderOfTwoProducersWithOneNameIsFenced) {
  start();
  const auto file = csv(nutrients_csv(2000));
  Process older = system_.produce({"csv", file, "--resume", "twin", "--interval", "5ms"});
  ASSERT_TRUE(system_.wait_for_rows("nutrients", 5)) << older.err();
  Process newer = system_.produce({"csv", file, "--resume", "twin"});
  EXPECT_EQ(older.wait(), 1) << older.err();
  EXPECT_NE(older.err().find("twin"), std::string::npos) << older.err();
  EXPECT_EQ(newer.wait(), 0) << newer.err();
  EXPECT_EQ(system_.query("SELECT count(*) FROM nutrients"), 2000);
  EXPECT_EQ(system_.query("SELECT count(DISTINCT id) FROM nutrients"), 2000);
}

TEST_F(BadInput, AFileThatWasReplacedIsRefusedBeforeARowIsSentIfAskedAndElseSentWhole) {
  start();
  Process first = system_.produce({"csv", csv(nutrients_csv(10)), "--resume", "job"});
  ASSERT_EQ(first.wait(), 0) << first.err();
  const auto other_file = csv(nutrients_csv(50, 1000));
  Process other =
      system_.produce({"csv", other_file, "--resume", "job", "--when-replaced", "stop"});
  EXPECT_EQ(other.wait(), 1) << other.err();
  EXPECT_EQ(system_.query("SELECT count(*) FROM nutrients"), 10);
  for (int run = 0; run < 2; ++run) {
    Process whole = system_.produce({"csv", other_file, "--resume", "job"});
    EXPECT_EQ(whole.wait(), 0) << whole.err();
    EXPECT_EQ(system_.query("SELECT count(*) FROM nutrients"), 60);
  }
  Process reverse = system_.produce({"csv", other_file, "--resume", "job", "--order", "reverse"});
  EXPECT_EQ(reverse.wait(), 1) << reverse.err();
  EXPECT_EQ(system_.query("SELECT count(*) FROM nutrients"), 60);
}

TEST_F(BadInput, ALedgerThatCannotBeWrittenEndsBeforeARowIsSent) {
  start();
  const std::string ledger = system_.folder.file("missing/ledger");
  for (const auto& what : {std::vector<std::string>{"pets", "--as", "P1", "--ledger", ledger},
                           {"csv", csv(nutrients_csv(10)), "--ledger", ledger}}) {
    Process process = system_.produce(what);
    EXPECT_EQ(process.wait(), 3) << said(process);
    EXPECT_NE(process.err().find("missing/ledger"), std::string::npos) << process.err();
  }
  EXPECT_EQ(system_.status()["consumer"]["rows_applied"], 0);
}

TEST_F(BadInput, OfManyBadRowsAllAreCountedAndTheFirstAreListed) {
  constexpr int kBad = 150;
  start();
  std::string text = nutrients_csv(10);
  for (int i = 0; i < kBad; ++i) {
    text += "too,few\n";
  }
  Process process = system_.produce({"csv", csv(text), "--bad-rows", "skip", "--json"});
  EXPECT_EQ(process.wait(), 1) << said(process);
  EXPECT_EQ(process.json()["bad_row_count"], kBad);
  EXPECT_LT(process.json()["bad_rows"].size(), kBad);
  EXPECT_EQ(system_.query("SELECT count(*) FROM nutrients"), 10);
}

TEST_F(BadInput, MoreColumnsThanATableMayHaveAreNamedBeforeARowIsSent) {
  start();
  std::string header = "c0";
  for (int i = 1; i < 5000; ++i) {
    header += ",c" + std::to_string(i);
  }
  Process process = system_.produce({"csv", csv(header + "\n1\n"), "--create", "--table", "wide"});
  EXPECT_EQ(process.wait(), 1) << said(process);
  EXPECT_NE(process.err().find("5000"), std::string::npos) << process.err();
}

TEST_F(BadInput, AnEmptyFieldBecomesNullWhereThatIsAskedForAndALimitHolds) {
  start();
  Process process = system_.produce({"csv", csv("id,name\n1,\n2,b\n3,c\n"), "--empty", "null",
                                     "--limit", "2", "--interval", "1ms..2ms", "--seed", "7"});
  EXPECT_EQ(process.wait(), 0) << said(process);
  EXPECT_EQ(system_.query("SELECT count(*) FROM nutrients"), 2);
  EXPECT_EQ(system_.query("SELECT count(*) FROM nutrients WHERE name IS NULL"), 1);
}

TEST_F(BadInput, WrongUsageGivesExit2) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{},
        {"fly"},
        {"produce", "csv"},
        {"produce", "csv", "x", "--interval", "3"},
        {"produce", "csv", "x", "--resume", "a", "--direct"},
        {"produce", "csv", "x", "--resume", "no name!"},
        {"produce", "csv", "x", "--spool", "s"},
        {"produce", "csv", "-"},
        {"produce", "csv", "-", "--table", "t", "--resume", "a", "--spool", "s", "--create"},
        {"produce", "pets", "--as", "P9"},
        {"broker", "--broker", "http://x"},
        {"broker", "--memory", "much"},
        {"consumer", "--nonsense"}}) {
    Process process(system_.folder, "usage", arguments);
    EXPECT_EQ(process.wait(), 2) << said(process);
    EXPECT_FALSE(process.err().empty());
  }
}

}  // namespace
}  // namespace turnstile::e2e
