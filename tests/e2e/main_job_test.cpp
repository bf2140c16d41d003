// The main job with real processes: pets and a nutrient stream, queued and direct.
#include <signal.h>

#include <algorithm>

#include <gtest/gtest.h>

#include "tests/e2e/harness.h"

namespace turnstile::e2e {
namespace {

using Rows = std::vector<std::vector<std::string>>;

class EitherWay : public ::testing::TestWithParam<bool> {};

TEST_P(EitherWay, PetsAndNutrientsArriveOnceInOrderAndTheTextLogIsTheTable) {
  System system;
  write_file(system.folder.file("nutrient.csv"), nutrients_csv(477));
  std::vector<Process> servers = system.servers(GetParam());
  std::vector<Process> producers;
  for (const std::string name : {"P1", "P2", "P3"}) {
    producers.push_back(system.produce({"pets", "--as", name}, name));
  }
  producers.push_back(system.produce(
      {"csv", system.folder.file("nutrient.csv"), "--order", "reverse", "--json"}, "stream"));
  for (auto& producer : producers) {
    EXPECT_EQ(producer.wait(), 0) << producer.err();
  }
  EXPECT_EQ(system.query("SELECT count(*) FROM pets"), 6);
  for (const auto& [process, first, second] :
       {std::tuple{"P1", "Ace", "Buddy"}, {"P2", "Cooper", "Dingo"}, {"P3", "Emma", "Felix"}}) {
    EXPECT_LT(system.query(std::string("SELECT id FROM pets WHERE name='") + first + "'"),
              system.query(std::string("SELECT id FROM pets WHERE name='") + second + "'"))
        << process;
  }
  EXPECT_EQ(system.query("SELECT count(*) FROM nutrients"), 477);
  EXPECT_EQ(system.query("SELECT id FROM nutrients ORDER BY rowid LIMIT 1"), 477)
      << "the last row of the file is the first of the stream";
  const std::string text = read_file(system.folder.file("out9.txt"));
  EXPECT_EQ(text, expected_text_log(system));
  EXPECT_TRUE(text.starts_with("[477, Vitamin 477, total, MG, , 476, 10:45]\n"))
      << text.substr(0, 80);
  EXPECT_EQ(producers.back().json()["rows_applied"], 477);
  EXPECT_EQ(system.rows("PRAGMA integrity_check"), (Rows{{"ok"}}));

  servers.front().signal(SIGTERM);
  servers.back().signal(SIGINT);
  for (Process& server : servers) {
    EXPECT_EQ(server.wait(2s), 0) << server.err();
  }
}

INSTANTIATE_TEST_SUITE_P(MainJob, EitherWay, ::testing::Bool(), [](const auto& in_one_process) {
  return in_one_process.param ? "InOneProcess" : "BrokerAndConsumer";
});

TEST(MainJob, PetsWithoutANameStartsThreeProcesses) {
  System system;
  Process broker = system.broker();
  Process consumer = system.consumer();
  Process pets = system.produce({"pets"});
  EXPECT_EQ(pets.wait(), 0) << pets.err();
  EXPECT_EQ(system.rows("SELECT name, breed FROM pets ORDER BY name"), (Rows{{"Ace", "Dog"},
                                                                             {"Buddy", "Dog"},
                                                                             {"Cooper", "Rabbit"},
                                                                             {"Dingo", "Dog"},
                                                                             {"Emma", "Rabbit"},
                                                                             {"Felix", "Cat"}}));
}

TEST(MainJob, OtherPetsAreSharedOutAndTheReportSumsUpAllThreeProcesses) {
  System system;
  write_file(system.folder.file("others.csv"), "name,breed\nKiwi,Parrot\nLuna,Cat\n");
  Process broker = system.broker();
  Process consumer = system.consumer();
  Process pets = system.produce({"pets", "--pets", system.folder.file("others.csv"), "--json"});
  EXPECT_EQ(pets.wait(), 0) << pets.err();
  EXPECT_EQ(pets.json()["rows_applied"], system.query("SELECT count(*) FROM pets")) << pets.out();
  EXPECT_EQ(system.rows("SELECT DISTINCT name, breed FROM pets ORDER BY name"),
            (Rows{{"Kiwi", "Parrot"}, {"Luna", "Cat"}}));
}

TEST(MainJob, StatusTellsPeopleOfBrokerConsumerQueueAndProducers) {
  System system;
  write_file(system.folder.file("nutrient.csv"), nutrients_csv(20));
  Process broker = system.broker();
  ASSERT_TRUE(system.wait_for_status([](const auto& s) { return s.is_object(); }));
  Process alone(system.folder, "alone", {"status", "--broker", system.endpoint});
  EXPECT_EQ(alone.wait(), 1) << alone.err();  // nothing can be applied
  EXPECT_NE(alone.out().find("consumer    none; rows are stored and applied when one comes\n"),
            std::string::npos)
      << alone.out();
  Process consumer = system.consumer();
  ASSERT_TRUE(
      system.wait_for_status([](const auto& s) { return s["consumer"]["attached"] == true; }));
  Process stand_by = system.consumer({}, "second");
  ASSERT_TRUE(
      system.wait_for_status([](const auto& s) { return s["consumer"]["standing_by"] == 1; }));
  Process stream = system.produce({"csv", system.folder.file("nutrient.csv"), "--resume", "nightly",
                                   "--interval", "1s..2s", "--limit", "15"});
  ASSERT_TRUE(system.wait_for_status([](const auto& s) { return s["producers_connected"] == 1; }));
  Process status(system.folder, "full", {"status", "--broker", system.endpoint});
  EXPECT_EQ(status.wait(), 0) << status.err();
  for (const char* part :
       {"broker      ", "consumer    attached, ", "            1 standing by\n", "window      ",
        "journal     ", "producers   1 connected\n", "            nightly "}) {
    EXPECT_NE(status.out().find(part), std::string::npos) << part << " in\n" << status.out();
  }
}

TEST(MainJob, OverTcpRowsArriveAsOverASocketFile) {
  System system;
  write_file(system.folder.file("nutrient.csv"), nutrients_csv(200));
  system.endpoint = "tcp://127.0.0.1:*";
  Process broker = system.broker();
  Process consumer = system.consumer();
  Process stream = system.produce({"csv", system.folder.file("nutrient.csv"), "--json"});
  EXPECT_EQ(stream.wait(), 0) << stream.err();
  EXPECT_EQ(stream.json()["rows_applied"], 200);
  EXPECT_EQ(system.query("SELECT count(*) FROM nutrients"), 200);
}

TEST(MainJob, DirectPetsThatHoldTheDatabaseLosePetsAndQueuedOnesDoNot) {
  System direct;
  Process lost = direct.produce({"pets", "--direct", "--db", direct.folder.file("shared.db"),
                                 "--task-duration", "1s", "--busy-timeout", "500ms"});
  EXPECT_EQ(lost.wait(), 1);
  EXPECT_NE(lost.err().find("ERROR while P"), std::string::npos) << lost.err();
  EXPECT_NE(lost.err().find(": database is locked"), std::string::npos) << lost.err();
  EXPECT_LT(direct.query("SELECT count(*) FROM pets"), 6);
  EXPECT_GE(direct.query("SELECT count(*) FROM pets"), 1);

  System queued;
  Process broker = queued.broker();
  Process consumer = queued.consumer({"--allow-task-duration"});
  Process kept = queued.produce({"pets", "--task-duration", "300ms"});
  EXPECT_EQ(kept.wait(), 0) << kept.err();
  EXPECT_EQ(queued.query("SELECT count(*) FROM pets"), 6);
}

TEST(MainJob, ConsumerThatDoesNotAllowTaskDurationsKeepsSuchRowsAsDeadLetters) {
  System system;
  Process broker = system.broker();
  Process consumer = system.consumer();
  Process refused = system.produce({"pets", "--task-duration", "60s"});
  EXPECT_EQ(refused.wait(), 1) << refused.err();
  EXPECT_EQ(system.query("SELECT count(*) FROM turnstile_dead_letters "
                         "WHERE reason LIKE '%--allow-task-duration%'"),
            6);
}

TEST(MainJob, RowsSentWhileNoConsumerRunsAreAppliedWhenOneComes) {
  System system;
  write_file(system.folder.file("nutrient.csv"), nutrients_csv(1000));
  Process broker = system.broker();
  Process stored =
      system.produce({"csv", system.folder.file("nutrient.csv"), "--ack", "stored", "--json"});
  EXPECT_EQ(stored.wait(), 0) << stored.err();
  EXPECT_EQ(stored.json()["rows_stored"], 1000);
  EXPECT_FALSE(std::filesystem::exists(system.folder.file("shared.db")));
  broker.kill();  // what was stored survives the broker
  broker = system.broker();
  Process consumer = system.consumer();
  EXPECT_TRUE(system.wait_for_rows("nutrients", 1000)) << consumer.err();
  EXPECT_EQ(system.query("SELECT count(DISTINCT id) FROM nutrients"), 1000);
}

TEST(MainJob, AStreamThatKeepsUpNeverTouchesTheJournal) {
  constexpr int kTries = 10;
  constexpr int kKeepsUpMs = 50;  // half of what a consumer may take before its rows are stored
  int longest_ms = kKeepsUpMs;
  // A disk may stand still for a moment, and then the stream has not kept up.
  for (int i = 0; i < kTries && longest_ms >= kKeepsUpMs; ++i) {
    System system;
    write_file(system.folder.file("nutrient.csv"), nutrients_csv(20));
    Process broker = system.broker();
    Process consumer = system.consumer();
    ASSERT_TRUE(
        system.wait_for_status([](const auto& s) { return s["consumer"]["attached"] == true; }));
    Process stream =
        system.produce({"csv", system.folder.file("nutrient.csv"), "--interval", "10ms", "--json"});
    ASSERT_EQ(stream.wait(), 0) << stream.err();
    longest_ms = stream.json()["wait_ms_longest"];
    broker.signal(SIGTERM);
    EXPECT_EQ(broker.wait(), 0);
    if (longest_ms < kKeepsUpMs) {
      // The journal's own write-ahead log still holds every page that was ever stored.
      const std::string wal = read_file(system.folder.file("journal.db-wal"));
      const std::string db = read_file(system.folder.file("journal.db"));
      EXPECT_EQ((wal + db).find("Vitamin"), std::string::npos);
    }
  }
  EXPECT_LT(longest_ms, kKeepsUpMs) << "no stream kept up";
}

TEST(MainJob, InterruptedStreamSaysHowToGoOnAndResumeGoesOnExactly) {
  System system;
  write_file(system.folder.file("nutrient.csv"), nutrients_csv(2000));
  Process broker = system.broker();
  Process consumer = system.consumer();
  Process first = system.produce({"csv", system.folder.file("nutrient.csv"), "--interval", "1ms",
                                  "--resume", "nightly", "--order", "reverse"});
  ASSERT_TRUE(system.wait_for_rows("nutrients", 50)) << first.err();
  first.signal(SIGINT);
  EXPECT_EQ(first.wait(), 130) << first.err();
  EXPECT_NE((first.out() + first.err()).find("--resume nightly"), std::string::npos)
      << first.out() << first.err();
  const auto applied = system.query("SELECT count(*) FROM nutrients");
  EXPECT_LT(applied, 2000);
  Process second = system.produce(
      {"csv", system.folder.file("nutrient.csv"), "--resume", "nightly", "--order", "reverse"});
  EXPECT_EQ(second.wait(), 0) << second.err();
  EXPECT_EQ(system.query("SELECT count(*) FROM nutrients"), 2000);
  EXPECT_EQ(system.query("SELECT count(DISTINCT id) FROM nutrients"), 2000);
  EXPECT_EQ(read_file(system.folder.file("out9.txt")), expected_text_log(system));
}

TEST(MainJob, CreateMakesTheTableWithTypesOfTheWholeFile) {
  System system;
  write_file(system.folder.file("people.csv"),
             "\xEF\xBB\xBFid,\"full "
             "\"\"name\"\"\",height,zip\r\n1,\"Eve\r\nAdams\",1.5,007\r\n2,Bob,2,12\r\n3,,,9");
  Process broker = system.broker();
  Process consumer = system.consumer();
  ASSERT_TRUE(
      system.wait_for_status([](const auto& s) { return s["consumer"]["attached"] == true; }));
  Process missing = system.produce({"csv", system.folder.file("people.csv")});
  EXPECT_EQ(missing.wait(), 1);
  EXPECT_NE(missing.err().find("people"), std::string::npos) << missing.err();
  EXPECT_NE(missing.err().find("--create"), std::string::npos) << missing.err();
  Process created = system.produce({"csv", system.folder.file("people.csv"), "--create"});
  EXPECT_EQ(created.wait(), 0) << created.err();
  EXPECT_EQ(
      system.rows("SELECT name, type FROM pragma_table_info('people')"),
      (Rows{{"id", "INTEGER"}, {"full \"name\"", "TEXT"}, {"height", "REAL"}, {"zip", "TEXT"}}));
  EXPECT_EQ(system.rows("SELECT *, typeof(height) FROM people ORDER BY id"),
            (Rows{{"1", "Eve\r\nAdams", "1.5", "007", "real"},
                  {"2", "Bob", "2.0", "12", "real"},
                  {"3", "", "", "9", "null"}}));
}

TEST(MainJob, AFileWithoutATimeColumnGivesNullTimes) {
  System system;
  write_file(system.folder.file("nutrient.csv"),
             "id,name,unit_name,nutrient_nbr,rank\n1003,Protein,G,203,600.0\n");
  Process broker = system.broker();
  Process consumer = system.consumer();
  Process stream = system.produce({"csv", system.folder.file("nutrient.csv")});
  EXPECT_EQ(stream.wait(), 0) << stream.err();
  EXPECT_EQ(system.query("SELECT count(*) FROM nutrients WHERE time IS NULL"), 1);
  EXPECT_EQ(read_file(system.folder.file("out9.txt")), "[1003, Protein, G, 203, 600, ]\n");
}

TEST(MainJob, DirectStreamWritesTableAndTextByItself) {
  System system;
  write_file(system.folder.file("nutrient.csv"), nutrients_csv(477));
  Process stream = system.produce({"csv", system.folder.file("nutrient.csv"), "--direct", "--order",
                                   "reverse", "--db", system.folder.file("shared.db"), "--text",
                                   system.folder.file("out9.txt")});
  EXPECT_EQ(stream.wait(), 0) << stream.err();
  EXPECT_EQ(system.query("SELECT count(*) FROM nutrients"), 477);
  EXPECT_EQ(read_file(system.folder.file("out9.txt")), expected_text_log(system));
}

TEST(MainJob, ManyRowsStayWithinTheirMemory) {
  constexpr std::int64_t kRows = kSanitized ? 20'000 : 200'000;
  System system;
  write_file(system.folder.file("nutrient.csv"), nutrients_csv(kRows));
  Process broker = system.broker();
  Process consumer = system.consumer();
  Process stream =
      system.produce({"csv", system.folder.file("nutrient.csv"), "--order", "reverse", "--json"});
  std::uint64_t peak = 0;
  EXPECT_TRUE(system.folder.wait_until(
      [&] {
        peak = std::max(peak, stream.peak_resident_kib());
        return !stream.running();
      },
      &stream));
  EXPECT_EQ(stream.wait(), 0) << stream.err();
  EXPECT_EQ(system.query("SELECT count(DISTINCT id) FROM nutrients"), kRows);
  EXPECT_EQ(read_file(system.folder.file("out9.txt")), expected_text_log(system));
  if (!kSanitized) {
    constexpr std::uint64_t kLimitKib = 128 * 1024;
    EXPECT_LT(peak, kLimitKib);
    EXPECT_LT(broker.peak_resident_kib(), kLimitKib);
    EXPECT_LT(consumer.peak_resident_kib(), kLimitKib);
  }
}

}  // namespace
}  // namespace turnstile::e2e
