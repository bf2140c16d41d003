// Processes that are started in any order, stopped and killed in mid-stream: every row once, in
// order, and the text log equal to the table.
#include <signal.h>
#include <sqlite3.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <random>

#include <gtest/gtest.h>

#include "tests/e2e/harness.h"

namespace turnstile::e2e {
namespace {

constexpr int kKills = kSanitized ? 4 : 20;

class Restart : public ::testing::Test {
 protected:
  // The stream goes slowly enough for something to be hit, in batches of a few rows.
  std::vector<std::string> stream_arguments() {
    return {
        "csv",   system_.folder.file("nutrient.csv"), "--batch-rows", "20", "--resume", "stream",
        "--json"};
  }

  void write_csv(std::int64_t rows) {
    rows_ = rows;
    write_file(system_.folder.file("nutrient.csv"), nutrients_csv(rows));
  }

  std::uintmax_t text_bytes() {
    std::error_code missing;
    const auto size = std::filesystem::file_size(system_.folder.file("out9.txt"), missing);
    return missing ? 0 : size;
  }

  bool nobody_writes() {
    sqlite3* db = nullptr;
    const int opened = sqlite3_open(system_.folder.file("shared.db").c_str(), &db);
    const std::unique_ptr<sqlite3, int (*)(sqlite3*)> close(db, sqlite3_close_v2);
    return opened == SQLITE_OK &&
           sqlite3_exec(db, "BEGIN IMMEDIATE; ROLLBACK", nullptr, nullptr, nullptr) == SQLITE_OK;
  }

  void expect_everything_once_in_order() {
    EXPECT_EQ(system_.query("SELECT count(*) FROM nutrients"), rows_);
    EXPECT_EQ(system_.query("SELECT count(DISTINCT id) FROM nutrients"), rows_);
    EXPECT_EQ(system_.query("SELECT count(*) FROM nutrients WHERE id <> rowid"), 0)
        << "the rows of one producer are not in its order";
    EXPECT_EQ(read_file(system_.folder.file("out9.txt")), expected_text_log(system_));
    EXPECT_EQ(system_.query("SELECT count(*) FROM turnstile_dead_letters"), 0);
    EXPECT_EQ(system_.rows("PRAGMA integrity_check")[0][0], "ok");
  }

  System system_;
  std::int64_t rows_ = 0;
};

TEST_F(Restart, StartedInEveryOrderAndRestartedInMidStreamEveryRowArrivesOnce) {
  std::array<int, 3> order{0, 1, 2};
  int permutation = 0;
  std::int64_t expected = 0;
  do {
    SCOPED_TRACE("permutation " + std::to_string(permutation));
    System system;
    constexpr std::int64_t kRows = 1500;
    write_file(system.folder.file("nutrient.csv"), nutrients_csv(kRows));
    const std::vector<std::function<Process()>> starts{
        [&] {
          return system.produce({"csv", system.folder.file("nutrient.csv"), "--interval", "1ms",
                                 "--resume", "stream", "--timeout", "60s"});
        },
        [&] { return system.broker(); }, [&] { return system.consumer(); }};
    std::vector<Process> running;
    for (const int which : order) {
      running.push_back(starts[static_cast<std::size_t>(which)]());
    }
    const auto text = system.folder.file("out9.txt");
    const auto grown_beyond = [&](std::uintmax_t bytes) {
      return system.folder.wait_until([&] {
        std::error_code missing;
        const auto size = std::filesystem::file_size(text, missing);
        return !missing && size > bytes;
      });
    };
    ASSERT_TRUE(grown_beyond(1000));
    // Each stopped and started again, in the same order.
    for (std::size_t i = 0; i < running.size(); ++i) {
      running[i].signal(SIGTERM);
      const auto code = running[i].wait(5s);
      ASSERT_TRUE(code.has_value()) << "does not stop: " << running[i].err();
      EXPECT_EQ(*code, order[i] == 0 ? 130 : 0) << running[i].err();
      running[i] = starts[static_cast<std::size_t>(order[i])]();
    }
    for (std::size_t i = 0; i < running.size(); ++i) {
      if (order[i] == 0) {
        EXPECT_EQ(running[i].wait(), 0) << running[i].err();
      }
    }
    expected = kRows;
    EXPECT_EQ(system.query("SELECT count(*) FROM nutrients"), expected);
    EXPECT_EQ(system.query("SELECT count(*) FROM nutrients WHERE id <> rowid"), 0);
    EXPECT_EQ(read_file(text), expected_text_log(system));
    ++permutation;
  } while (std::next_permutation(order.begin(), order.end()));
  EXPECT_EQ(permutation, 6);
}

// Kills one of the processes kKills times, each time after a seeded amount of progress.
class Kill : public Restart, public ::testing::WithParamInterface<const char*> {};

TEST_P(Kill, KilledAgainAndAgainInMidStreamEveryRowArrivesOnceInOrder) {
  // Single rows that come one by one `serve` applies in the broker's thread.
  const bool one_by_one = std::string(GetParam()) == "serve_one_by_one";
  const std::string victim_name = one_by_one ? "serve" : GetParam();
  std::mt19937_64 random(test_seed());
  const std::int64_t rows_a_stream = one_by_one ? 1'000 : 20'000;
  constexpr int kStreams = 60;
  const auto bytes_a_stream = nutrients_csv(rows_a_stream).size();
  int stream = 0;
  const auto start = [&](const std::string& name) {
    return name == "broker"     ? system_.broker()
           : name == "consumer" ? system_.consumer()
           : name == "serve"
               ? system_.serve()
               : system_.produce({"csv", system_.folder.file("nutrient.csv"), "--batch-rows",
                                  one_by_one ? "1" : "20", "--interval", one_by_one ? "1ms" : "0",
                                  "--resume", "stream" + std::to_string(stream)});
  };
  std::vector<Process> servers = system_.servers(victim_name == "serve");
  const auto errors = [&] {
    std::string all;
    for (const Process& server : servers) {
      all += server.err();
    }
    return all;
  };
  int kills = 0;
  // Stream after stream, each hit as often as its speed allows, after a seeded amount of progress.
  for (; kills < kKills && stream < kStreams; ++stream) {
    write_file(system_.folder.file("nutrient.csv"), nutrients_csv(rows_a_stream, rows_ + 1));
    rows_ += rows_a_stream;
    Process producer = start("producer");
    Process& victim = victim_name == "producer"   ? producer
                      : victim_name == "consumer" ? servers.back()
                                                  : servers.front();
    std::uniform_int_distribution<std::uintmax_t> step(1, bytes_a_stream / 4);
    while (kills < kKills) {
      const auto progress = text_bytes() + step(random);
      ASSERT_TRUE(system_.folder.wait_until(
          [&] { return text_bytes() >= progress || !producer.running(); }, &producer))
          << errors() << producer.err();
      if (!producer.running()) {
        break;
      }
      victim.kill();
      ++kills;
      victim = start(victim_name);
    }
    ASSERT_EQ(producer.wait(), 0) << producer.err() << errors();
  }
  ASSERT_TRUE(system_.wait_for_text_log()) << errors();
  expect_everything_once_in_order();
  EXPECT_EQ(kills, kKills) << "the streams were too short for this many kills";
}

INSTANTIATE_TEST_SUITE_P(Each, Kill,
                         ::testing::Values("broker", "consumer", "producer", "serve",
                                           "serve_one_by_one"),
                         [](const auto& victim) { return std::string(victim.param); });

// The second one has the same target, journal and socket in mind.
TEST_F(Restart, ServeRefusesASecondOneAndFinishesWhatIsInHandWithinTwoSeconds) {
  write_csv(20'000);
  Process first = system_.serve();
  Process producer = system_.produce(stream_arguments());
  ASSERT_TRUE(system_.folder.wait_until([&] { return text_bytes() > 10'000; })) << first.err();
  Process second = system_.serve();
  EXPECT_EQ(second.wait(), 3) << second.err();
  first.signal(SIGTERM);
  EXPECT_EQ(first.wait(2s), 0) << first.err();
  first = system_.serve();
  EXPECT_EQ(producer.wait(), 0) << producer.err() << first.err();
  expect_everything_once_in_order();
}

TEST_F(Restart, ASecondConsumerStandsByAndTakesOverWhenTheFirstIsKilled) {
  write_csv(20'000);
  Process broker = system_.broker();
  Process first = system_.consumer();
  ASSERT_TRUE(
      system_.wait_for_status([](const auto& s) { return s["consumer"]["attached"] == true; }));
  Process second = system_.consumer({}, "standby");
  ASSERT_TRUE(
      system_.wait_for_status([](const auto& s) { return s["consumer"]["standing_by"] == 1; }));
  Process producer = system_.produce(stream_arguments());
  ASSERT_TRUE(system_.folder.wait_until([&] { return text_bytes() > 10'000; }));
  first.kill();
  EXPECT_EQ(producer.wait(), 0) << producer.err() << second.err();
  expect_everything_once_in_order();
  EXPECT_NE(second.err().find("stands by"), std::string::npos) << second.err();
}

TEST_F(Restart, APausedConsumerThatLostItsLeaseWritesNothingAndStops) {
  write_csv(20'000);
  Process broker = system_.broker({"--lease", kSanitized ? "5s" : "500ms"});
  Process first = system_.consumer();
  ASSERT_TRUE(
      system_.wait_for_status([](const auto& s) { return s["consumer"]["attached"] == true; }));
  Process second = system_.consumer({}, "standby");
  ASSERT_TRUE(
      system_.wait_for_status([](const auto& s) { return s["consumer"]["standing_by"] == 1; }));
  Process producer = system_.produce(stream_arguments());
  ASSERT_TRUE(system_.folder.wait_until([&] { return text_bytes() > 10'000; }));
  // In the middle of a transaction it would keep SQLite's lock, and nobody could take over.
  ASSERT_TRUE(system_.folder.wait_until([&] {
    first.pause();
    const bool is_between = nobody_writes();
    if (!is_between) {
      first.signal(SIGCONT);
    }
    return is_between;
  }));
  EXPECT_EQ(producer.wait(), 0) << producer.err() << second.err();
  first.signal(SIGCONT);
  EXPECT_EQ(first.wait(), 1) << first.err();
  EXPECT_NE(first.err().find("another consumer"), std::string::npos) << first.err();
  expect_everything_once_in_order();
}

}  // namespace
}  // namespace turnstile::e2e
