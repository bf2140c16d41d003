// The whole system started on files of an earlier format: what waited in the journal arrives once,
// and who resumes a name goes on where it ended.
#include <signal.h>

#include <gtest/gtest.h>

#include "tests/e2e/harness.h"
#include "tests/support/database.h"

namespace turnstile::e2e {
namespace {

std::string stream_csv(int rows) {
  std::string text = "id,name,unit_name,nutrient_nbr,rank,time\n";
  for (int id = 1; id <= rows; ++id) {
    const std::string number = std::to_string(id);
    text += number + ",\"Vitamin " + number + ", total\",MG," +
            (id % 7 == 0 ? "" : std::to_string(3 * id)) + "," + std::to_string(100 * id) +
            ",10:45\n";
  }
  return text;
}

class Migration : public ::testing::Test {
 protected:
  Migration() {
    const auto& folder = system_.folder;
    test::make_from_fixture(folder.file("journal.db"), "journal-1.sql");
    test::make_from_fixture(folder.file("shared.db"), "target-1.sql", folder.path());
    write_file(folder.file("out9.txt"), test::fixture_text("out9-1.txt"));
    // As if it had been stopped just now: progress that is idle for 30 days is forgotten.
    test::run_sql(folder.file("shared.db"),
                  "UPDATE turnstile_producers SET updated_at_ms = unixepoch() * 1000");
  }

  System system_;
};

TEST_F(Migration, WhatAFormat1JournalHeldArrivesOnceAndItsStreamGoesOn) {
  Process broker = system_.broker();
  Process consumer = system_.consumer();
  ASSERT_TRUE(system_.wait_for_rows("nutrients", 33)) << broker.err() << consumer.err();
  EXPECT_NE(broker.err().find("the journal was migrated from format 1"), std::string::npos)
      << broker.err();

  write_file(system_.folder.file("all.csv"), stream_csv(26));
  Process more = system_.produce({"csv", system_.folder.file("all.csv"), "--table", "nutrients",
                                  "--resume", "stream", "--json"});
  EXPECT_EQ(more.wait(), 0) << more.err();
  ASSERT_TRUE(system_.wait_for_status(
      [](const auto& status) { return status["journal"]["batches"] == 0; }));

  EXPECT_EQ(system_.query("SELECT count(*) FROM nutrients"), 26 + 9);
  EXPECT_EQ(system_.query("SELECT count(DISTINCT id) FROM nutrients"), 26 + 9);
  EXPECT_EQ(system_.query("SELECT count(*) FROM nutrients WHERE id <= 26"), 26);
  EXPECT_EQ(system_.query("SELECT count(*) FROM pets"), 7 + 8);
  EXPECT_EQ(system_.query("SELECT count(*) FROM turnstile_dead_letters"), 2);
  EXPECT_EQ(system_.query("SELECT through FROM turnstile_producers WHERE producer = 'stream'"), 26);
  EXPECT_EQ(read_file(system_.folder.file("out9.txt")), expected_text_log(system_));

  for (Process* process : {&consumer, &broker}) {
    process->signal(SIGTERM);
    EXPECT_EQ(process->wait(), 0) << process->err();
  }
  EXPECT_EQ(test::run_sql(system_.folder.file("journal.db"),
                          "SELECT value FROM turnstile_journal WHERE key = 'format'; "
                          "SELECT count(*) FROM batches"),
            "3\n0\n");
}

TEST_F(Migration, KilledRightAfterItsStartTheNextBrokerFindsOneFormatAndLosesNothing) {
  for (int i = 0; i < 5; ++i) {
    Process broker = system_.broker();
    broker.kill();
  }
  Process broker = system_.broker();
  Process consumer = system_.consumer();
  ASSERT_TRUE(system_.wait_for_rows("nutrients", 33)) << broker.err() << consumer.err();
  ASSERT_TRUE(system_.wait_for_rows("turnstile_dead_letters", 2)) << consumer.err();
  EXPECT_EQ(system_.query("SELECT count(DISTINCT id) FROM nutrients"), 33);
  EXPECT_EQ(system_.query("SELECT count(*) FROM pets"), 15);
}

}  // namespace
}  // namespace turnstile::e2e
