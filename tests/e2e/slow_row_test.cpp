// A row that keeps the target busy keeps nobody else waiting for what does not need the target.
#include <signal.h>

#include <gtest/gtest.h>

#include "tests/e2e/harness.h"
#include "tests/support/database.h"

namespace turnstile::e2e {
namespace {

class SlowRow : public ::testing::TestWithParam<bool> {
 protected:
  SlowRow() {
    // The row never ends by itself.
    test::run_sql(system_.folder.file("shared.db"),
                  "PRAGMA journal_mode=WAL; CREATE TABLE ok(a); CREATE TABLE slow(n INTEGER); "
                  "CREATE TRIGGER g AFTER INSERT ON slow WHEN new.n = 7 BEGIN "
                  "SELECT count(*) FROM (WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL "
                  "SELECT i + 1 FROM c) SELECT i FROM c); END");
    write_file(system_.folder.file("slow.csv"), "n\n7\n");
    write_file(system_.folder.file("ok.csv"), "a\n1\n");
  }
  // `limit`: of the row's time.
  void start(const std::string& limit) {
    const std::vector<std::string> flags{"--row-time-limit", limit};
    if (GetParam()) {
      running_.push_back(system_.serve(flags));
    } else {
      running_.push_back(system_.broker());
      running_.push_back(system_.consumer(flags));
    }
    ASSERT_TRUE(
        system_.wait_for_status([](const auto& s) { return s["consumer"]["attached"] == true; }));
  }
  Process produce(const std::string& table, const std::string& ack) {
    return system_.produce(
        {"csv", system_.folder.file(table + ".csv"), "--table", table, "--ack", ack, "--json"},
        table);
  }

  System system_;
  std::vector<Process> running_;
};

TEST_P(SlowRow, StatusStoredAndAStopDoNotWaitForIt) {
  start("0");
  Process slow = produce("slow", "stored");
  EXPECT_EQ(slow.wait(), 0) << slow.err();
  Process good = produce("ok", "stored");
  EXPECT_EQ(good.wait(), 0) << good.err();
  EXPECT_EQ(good.json()["rows_stored"], 1);
  EXPECT_FALSE(system_.status().is_null());
  EXPECT_EQ(system_.query("SELECT count(*) FROM ok"), 0);
  for (auto process = running_.rbegin(); process != running_.rend(); ++process) {
    process->signal(SIGTERM);
    EXPECT_EQ(process->wait(), 0) << process->err();
  }
  EXPECT_EQ(system_.query("SELECT count(*) FROM slow"), 0);
  EXPECT_EQ(system_.query("SELECT count(*) FROM turnstile_dead_letters"), 0);
  // Nothing is lost: with a limit the row is a dead letter, and the other one is there.
  running_.clear();
  start("200ms");
  ASSERT_TRUE(system_.wait_for_rows("ok", 1));
  ASSERT_TRUE(system_.wait_for_rows("turnstile_dead_letters", 1));
}

INSTANTIATE_TEST_SUITE_P(In, SlowRow, ::testing::Bool(), [](const auto& in_one_process) {
  return in_one_process.param ? "OneProcess" : "Two";
});

}  // namespace
}  // namespace turnstile::e2e
