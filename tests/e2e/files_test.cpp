// Files that others move, delete or replace while the whole system runs.
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/e2e/harness.h"

namespace turnstile::e2e {
namespace {

class ChangingFiles : public ::testing::Test {
 protected:
  std::string csv(const std::string& name, std::int64_t rows, std::int64_t first = 1) {
    write_file(system_.folder.file(name), nutrients_csv(rows, first));
    return system_.folder.file(name);
  }
  void remove_database(const std::string& name) {
    for (const char* end : {"", "-wal", "-shm"}) {
      std::filesystem::remove(system_.folder.file(name + end));
    }
  }
  void send(std::int64_t rows, std::int64_t first) {
    Process sent = system_.produce({"csv", csv("nutrient.csv", rows, first)});
    ASSERT_EQ(sent.wait(), 0) << sent.err();
  }

  Process start(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--broker", system_.endpoint});
    return Process(system_.folder, "started-" + std::to_string(++started_), arguments);
  }

  System system_;
  int started_ = 0;
};

TEST_F(ChangingFiles, ADeletedTargetIsMadeAgainAndOnlyRowsInItAreAcknowledged) {
  for (const bool in_one_process : {true, false}) {
    System system;
    auto running = system.servers(in_one_process);
    write_file(system.folder.file("nutrient.csv"), nutrients_csv(3));
    Process first = system.produce({"csv", system.folder.file("nutrient.csv")});
    ASSERT_EQ(first.wait(), 0) << first.err();
    for (const char* name : {"shared.db", "shared.db-wal", "shared.db-shm"}) {
      std::filesystem::remove(system.folder.file(name));
    }
    write_file(system.folder.file("more.csv"), nutrients_csv(5, 4));
    Process second =
        system.produce({"csv", system.folder.file("more.csv"), "--table", "nutrients"});
    EXPECT_EQ(second.wait(), 0) << second.err();
    EXPECT_EQ(system.query("SELECT count(*) FROM nutrients"), 5);
    EXPECT_NE(running.back().err().find("shared.db was moved, deleted or replaced"),
              std::string::npos)
        << running.back().err();
  }
}

TEST_F(ChangingFiles, ADeletedJournalLosesNoStoredRow) {
  Process broker = system_.broker();
  Process stored =
      system_.produce({"csv", csv("a.csv", 100), "--table", "nutrients", "--ack", "stored"});
  ASSERT_EQ(stored.wait(), 0) << stored.err();
  remove_database("journal.db");
  Process more =
      system_.produce({"csv", csv("b.csv", 100, 101), "--table", "nutrients", "--ack", "stored"});
  ASSERT_EQ(more.wait(), 0) << more.err();
  Process consumer = system_.consumer();
  ASSERT_TRUE(system_.wait_for_rows("nutrients", 200)) << broker.err() << consumer.err();
  EXPECT_EQ(system_.query("SELECT count(DISTINCT id) FROM nutrients"), 200);
  EXPECT_NE(broker.err().find("rows 1 to 100"), std::string::npos) << broker.err();
}

TEST_F(ChangingFiles, RotatedTextLogsHoldEachRowOnce) {
  Process serve = system_.serve();
  const auto text = system_.folder.file("out9.txt");
  std::string all;
  for (int day = 0; day < 3; ++day) {
    send(10, 1 + 10 * day);
    ASSERT_TRUE(system_.folder.wait_until([&] { return size_of(text) > 0; }, &serve));
    if (day < 2) {
      const auto moved = text + "." + std::to_string(day);
      std::filesystem::rename(text, moved);
      serve.signal(SIGHUP);
      ASSERT_TRUE(system_.folder.wait_until([&] { return std::filesystem::exists(text); }, &serve));
      all += read_file(moved);
    }
  }
  EXPECT_EQ(all + read_file(text), expected_text_log(system_));
  for (int i = 0; i < 100; ++i) {
    serve.signal(SIGHUP);
  }
  send(1, 31);
  EXPECT_EQ(all + read_file(text), expected_text_log(system_));
  serve.signal(SIGTERM);
  EXPECT_EQ(serve.wait(), 0) << serve.err();
  Process check = system_.check();
  EXPECT_EQ(check.wait(), 0) << check.out();
}

TEST_F(ChangingFiles, BrokerAndConsumerOutliveAHangup) {
  Process broker = system_.broker();
  Process consumer = system_.consumer();
  send(1, 1);
  broker.signal(SIGHUP);
  consumer.signal(SIGHUP);
  send(1, 2);
  EXPECT_TRUE(broker.running());
  EXPECT_TRUE(consumer.running());
}

TEST_F(ChangingFiles, ATextLogThatIsNoRegularFileIsRefusedAtTheStart) {
  const auto fifo = system_.folder.file("fifo");
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  for (const std::string& path : {std::string("/dev/null"), fifo, system_.folder.path().string()}) {
    Process serve = start({"serve", "--journal-file", system_.folder.file("journal.db"), "--db",
                           system_.folder.file("shared.db"), "--text", path});
    EXPECT_EQ(serve.wait(), 3) << serve.err();
    EXPECT_NE(serve.err().find(path), std::string::npos) << serve.err();
    Process consumer =
        start({"consumer", "--db", system_.folder.file("shared.db"), "--text", path});
    EXPECT_EQ(consumer.wait(), 3) << consumer.err();
    Process direct = start({"produce", "csv", csv("a.csv", 1), "--table", "nutrients", "--direct",
                            "--db", system_.folder.file("shared.db"), "--text", path});
    EXPECT_EQ(direct.wait(), 3) << direct.err();
  }
}

TEST_F(ChangingFiles, OneFileForTwoRolesIsRefused) {
  const auto db = system_.folder.file("shared.db");
  write_file(db, "");
  std::filesystem::create_hard_link(db, system_.folder.file("hard"));
  std::filesystem::create_symlink("shared.db", system_.folder.file("soft"));
  for (const char* name : {"shared.db", "shared.db-wal", "hard", "soft"}) {
    const auto other = system_.folder.file(name);
    Process text = start({"serve", "--journal-file", system_.folder.file("journal.db"), "--db", db,
                          "--text", other});
    EXPECT_EQ(text.wait(), 2) << name << text.err();
    Process journal = start({"serve", "--journal-file", other, "--db", db});
    EXPECT_EQ(journal.wait(), 2) << name << journal.err();
    Process direct =
        start({"produce", "csv", csv("a.csv", 1), "--direct", "--db", db, "--text", other});
    EXPECT_EQ(direct.wait(), 2) << name << direct.err();
  }
  EXPECT_EQ(size_of(db), 0U);
}

TEST_F(ChangingFiles, ABrokerWhoseSocketIsRemovedListensAgain) {
  Process serve = system_.serve();
  send(1, 1);
  const auto socket = system_.folder.file("broker.sock");
  std::filesystem::remove(socket);
  std::filesystem::remove(socket + ".lock");
  ASSERT_TRUE(system_.folder.wait_until([&] { return std::filesystem::exists(socket); }, &serve));
  send(1, 2);
  EXPECT_NE(serve.err().find("listens there again"), std::string::npos) << serve.err();
}

}  // namespace
}  // namespace turnstile::e2e
