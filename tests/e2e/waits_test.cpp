// Those who wait are told why, and may give up.
#include <sqlite3.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <optional>
#include <regex>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/e2e/harness.h"

namespace turnstile::e2e {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

class Waits : public ::testing::Test {
 protected:
  Process status(const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"status", "--broker", system_.endpoint};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return {system_.folder, "status-of-" + std::to_string(++looks_), arguments};
  }
  // A run with one row.
  Process send_one(const std::vector<std::string>& more = {}, const std::string& timeout = "1s") {
    write_file(system_.folder.file("one.csv"), "name,breed\nAce,Dog\n");
    std::vector<std::string> arguments{
        "csv", system_.folder.file("one.csv"), "--table", "pets", "--timeout", timeout};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return system_.produce(arguments, "one" + std::to_string(++looks_));
  }
  // Of the target alone.
  Process check(const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"check", "--db", system_.folder.file("shared.db")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return {system_.folder, "check" + std::to_string(++looks_), arguments};
  }
  void wait_for_broker() {
    ASSERT_TRUE(system_.wait_for_status([](const auto& s) { return s.is_object(); }));
  }

  System system_;
  int looks_ = 0;
};

TEST_F(Waits, WithoutAConsumerARunEndsAtItsTimeoutAndSaysWhatIsStored) {
  const Process broker = system_.broker();
  wait_for_broker();
  Process run = send_one();
  EXPECT_EQ(run.wait(), 3);
  EXPECT_THAT(run.err(), HasSubstr("1 row is stored; no consumer is running"));
  EXPECT_THAT(run.out(), HasSubstr("1 sent, 1 stored, 0 applied"));
  EXPECT_THAT(run.out(), HasSubstr("1 row is stored and applied later"));
  const Process consumer = system_.consumer();
  EXPECT_TRUE(system_.wait_for_rows("pets", 1));
}

TEST_F(Waits, AConsumerThatCannotOpenItsTextLogIsTheReasonInStatusAndInTheRun) {
  write_file(system_.folder.file("out9.txt"), "mine\n");
  const Process serve = system_.serve();
  ASSERT_TRUE(system_.wait_for_status(
      [](const auto& s) { return s["consumer"].value("problem", "") != ""; }));
  Process looks = status();
  EXPECT_EQ(looks.wait(), 1);
  EXPECT_THAT(looks.out(), HasSubstr("cannot apply rows: "));
  EXPECT_THAT(looks.out(), HasSubstr("out9.txt"));
  Process run = send_one();
  EXPECT_EQ(run.wait(), 3);
  EXPECT_THAT(run.err(), HasSubstr("1 row is stored; the consumer cannot apply rows: "));
  EXPECT_THAT(run.err(), HasSubstr("out9.txt"));
  EXPECT_THAT(run.err(), Not(HasSubstr("no consumer")));
  // Put right, everything arrives, and the status is well again.
  std::filesystem::remove(system_.folder.file("out9.txt"));
  EXPECT_TRUE(system_.wait_for_rows("pets", 1));
  EXPECT_TRUE(
      system_.wait_for_status([](const auto& s) { return s["consumer"]["problem"] == ""; }));
  Process well = status();
  EXPECT_EQ(well.wait(), 0) << well.out();
}

TEST_F(Waits, TheProgramThatLocksTheTargetIsNamed) {
  const Process broker = system_.broker();
  const Process consumer = system_.consumer();
  ASSERT_TRUE(
      system_.wait_for_status([](const auto& s) { return s["consumer"]["attached"] == true; }));
  Process first = send_one();
  ASSERT_EQ(first.wait(), 0) << first.err();
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(system_.folder.file("shared.db").c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_busy_timeout(db, 10'000), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  Process run = send_one({}, "0");
  const std::string holder = "locked by PID " + std::to_string(::getpid()) + " (";
  EXPECT_TRUE(system_.wait_for_status([&](const auto& s) {
    return s["consumer"].value("problem", "").find(holder) != std::string::npos;
  }));
  EXPECT_TRUE(system_.folder.wait_until([&] {
    return run.err().find(holder) != std::string::npos;
  })) << run.err();
  EXPECT_EQ(sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(db);
  EXPECT_EQ(run.wait(), 0) << run.err();
  EXPECT_TRUE(
      system_.wait_for_status([](const auto& s) { return s["consumer"]["problem"] == ""; }));
}

TEST_F(Waits, AMissingSocketAndABrokerThatEndedAreToldApartImmediately) {
  const auto begun = std::chrono::steady_clock::now();
  Process none = status({"--timeout", "60s"});
  EXPECT_EQ(none.wait(), 3);
  EXPECT_THAT(none.err(), HasSubstr("there is no socket " + system_.folder.file("broker.sock")));
  {
    Process broker = system_.broker();
    wait_for_broker();
    broker.kill();  // the socket stays
  }
  Process ended = status({"--timeout", "60s"});
  EXPECT_EQ(ended.wait(), 3);
  EXPECT_THAT(ended.err(), HasSubstr("no broker listens on the socket "));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 60s);
  Process run = send_one();
  EXPECT_EQ(run.wait(), 3);
  EXPECT_THAT(run.err(), HasSubstr("no broker listens on the socket "));
}

TEST_F(Waits, ABrokerThatDoesNotAnswerIsCalledThat) {
  Process broker = system_.broker();
  wait_for_broker();
  broker.pause();
  Process looks = status({"--timeout", "300ms"});
  EXPECT_EQ(looks.wait(), 3);
  EXPECT_THAT(looks.err(), HasSubstr("no answer from the broker at "));
  Process run = send_one();
  EXPECT_EQ(run.wait(), 3);
  EXPECT_THAT(run.err(), HasSubstr("no answer from the broker at "));
  broker.signal(SIGCONT);
}

TEST_F(Waits, QuietPrintsNothingButErrors) {
  const Process broker = system_.broker();
  wait_for_broker();
  Process alone = status({"--quiet"});
  EXPECT_EQ(alone.wait(), 1);
  EXPECT_EQ(alone.out(), "");
  EXPECT_THAT(alone.err(), HasSubstr("no consumer is running"));
  const Process consumer = system_.consumer();
  ASSERT_TRUE(
      system_.wait_for_status([](const auto& s) { return s["consumer"]["attached"] == true; }));
  Process well = status({"--quiet"});
  EXPECT_EQ(well.wait(), 0);
  EXPECT_EQ(well.out() + well.err(), "");
  Process json = status({"--quiet", "--json"});
  EXPECT_EQ(json.wait(), 0);
  EXPECT_EQ(json.json()["consumer"]["attached"], true);
  Process run = send_one({"--quiet"});
  EXPECT_EQ(run.wait(), 0);
  EXPECT_EQ(run.out() + run.err(), "");
  Process checked = check({"--quiet"});
  EXPECT_EQ(checked.wait(), 0);
  EXPECT_EQ(checked.out() + checked.err(), "");
}

TEST_F(Waits, NothingSaysOneRows) {
  const Process serve = system_.serve();
  ASSERT_TRUE(
      system_.wait_for_status([](const auto& s) { return s["consumer"]["attached"] == true; }));
  Process run = send_one();
  EXPECT_EQ(run.wait(), 0) << run.err();
  ASSERT_TRUE(
      system_.wait_for_status([](const auto& s) { return s["consumer"]["rows_applied"] == 1; }));
  Process looks = status();
  EXPECT_EQ(looks.wait(), 0);
  Process checked = check();
  EXPECT_EQ(checked.wait(), 0) << checked.out();
  const std::regex wrong("\\b1 (rows|batches|lines|dead letters|bytes)\\b");
  for (const std::string& text : {run.out(), run.err(), looks.out(), checked.out()}) {
    EXPECT_FALSE(std::regex_search(text, wrong)) << text;
  }
}

}  // namespace
}  // namespace turnstile::e2e
