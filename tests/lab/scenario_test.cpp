// Checks each scenario's claim with real processes. The limits allow for a busy machine.
#include <sys/wait.h>

#include <algorithm>
#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/e2e/harness.h"

namespace turnstile::e2e {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class LabRun : public ::testing::Test {
 protected:
  // Runs the scenario, and replays its recording: text and figures must be the same.
  void run(const std::string& scenario, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{
        "lab",      "run",   scenario, "--events", events(), "--out", folder_.path().string(),
        "--report", report()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    Process run(folder_, "run", arguments);
    ASSERT_EQ(run.wait(), 0) << run.out() << run.err();
    text_ = run.out();
    errors_ = run.err();
    Process replay(folder_, "replay", {"lab", "replay", events()});
    ASSERT_EQ(replay.wait(), 0) << replay.err();
    EXPECT_EQ(replay.out(), text_);
    Process figures(folder_, "figures", {"lab", "replay", events(), "--json"});
    ASSERT_EQ(figures.wait(), 0) << figures.err();
    runs_ = figures.json()["runs"];
    for (const json& one : runs_) {
      EXPECT_TRUE(one["agrees"].get<bool>()) << one["disagreements"];
    }
  }

  [[nodiscard]] const json& of(const std::string& mode) const {
    const auto found = std::find_if(runs_.begin(), runs_.end(),
                                    [&](const json& one) { return one["mode"] == mode; });
    if (found == runs_.end()) {
      throw std::runtime_error("no run is " + mode);
    }
    return *found;
  }
  [[nodiscard]] const json& numbers(const std::string& mode) const { return of(mode)["numbers"]; }
  [[nodiscard]] std::string events() const { return folder_.file("events.ndjson"); }
  [[nodiscard]] std::string report() const { return folder_.file("report.html"); }

  void expect_all_arrived(const std::string& mode) const {
    const json& n = numbers(mode);
    EXPECT_EQ(n["lost"], 0) << text_;
    EXPECT_EQ(n["in_database"], n["rows_wanted"]);
    EXPECT_EQ(n["locked_errors"], 0);
  }

  Folder folder_;
  std::string text_;
  std::string errors_;
  json runs_;
};

// True if the text has a control character other than a line end.
bool has_control_characters(const std::string& text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\n') || byte == 0x7f;
  });
}

TEST_F(LabRun, QuickPetsAllArriveInBothModes) {
  run("quick");
  expect_all_arrived("direct");
  expect_all_arrived("queued");
  EXPECT_EQ(numbers("direct")["rows_wanted"], 6);
  EXPECT_THAT(errors_, HasSubstr("wrote " + folder_.file("out0.txt")));
  EXPECT_THAT(errors_, HasSubstr("wrote " + report()));
  const std::string document = read_file(folder_.file("out0.txt"));
  EXPECT_THAT(document, ContainsRegex("20[0-9-]+ [0-9:]+,[0-9]+ - INFO -   Called insert_pet\\(\\) "
                                      "with process=P3, name=Emma, breed=Rabbit\\."));
  EXPECT_THAT(document, HasSubstr(" - INFO -   turnstile lab "));
}

TEST_F(LabRun, AnExistingDocumentIsKept) {
  write_file(folder_.file("out0.txt"), "mine");
  write_file(folder_.file("out0-2.txt"), "mine too");
  run("quick", {"--mode", "queued"});
  EXPECT_EQ(read_file(folder_.file("out0.txt")), "mine");
  EXPECT_EQ(read_file(folder_.file("out0-2.txt")), "mine too");
  EXPECT_THAT(read_file(folder_.file("out0-3.txt")), HasSubstr("insert_pet"));
  EXPECT_THAT(errors_, HasSubstr("wrote " + folder_.file("out0-3.txt")));
  run("quick", {"--mode", "queued", "--overwrite"});
  EXPECT_THAT(read_file(folder_.file("out0.txt")), HasSubstr("insert_pet"));
}

TEST_F(LabRun, SlowPetsAreLostDirectAndNotThroughTheQueue) {
  // With sanitizers on a busy machine, processes may start seconds apart.
  run("slow",
      {"--task-duration", kSanitized ? "3s" : "600ms", "--busy-timeout", kSanitized ? "5s" : "1s"});
  EXPECT_GE(numbers("direct")["lost"], 1) << text_;
  EXPECT_EQ(numbers("direct")["locked_errors"], numbers("direct")["lost"]);
  EXPECT_GE(numbers("direct")["longest_wait_ms"], 1000);
  expect_all_arrived("queued");
  EXPECT_EQ(numbers("queued")["in_database"], 6);
  EXPECT_FALSE(has_control_characters(text_)) << text_;
  EXPECT_THAT(text_, ContainsRegex("direct +6 +[0-5] +[1-6] "));
  EXPECT_THAT(text_, ContainsRegex("queued +6 +6 +0 "));
  EXPECT_THAT(text_, HasSubstr("database is locked, P"));  // ... held the lock
  const std::string document = read_file(folder_.file("out3.txt"));
  EXPECT_THAT(document, ContainsRegex(" - ERROR -   ERROR while P[123] inserting pet [A-Z][a-z]+: "
                                      "database is locked"));
}

TEST_F(LabRun, LinesAreTornDirectAndNotThroughTheQueue) {
  run("stream");
  const json direct = numbers("direct")["text"];
  EXPECT_GE(direct["torn"].get<int>(), 1) << text_;
  EXPECT_GE(direct["missing"].get<int>(), 20) << text_;
  expect_all_arrived("queued");
  EXPECT_EQ(numbers("queued")["text"],
            json({{"lines", 80}, {"intact", 80}, {"torn", 0}, {"missing", 0}}));
}

TEST_F(LabRun, ProcessesStarveDirectAndNotThroughTheQueue) {
  run("crowd", {"--processes", "24", "--rows", "12"});
  const json& direct = numbers("direct");
  EXPECT_GE(direct["most_turns_of_others"].get<int>(), 5) << text_;
  EXPECT_EQ(direct["processes"].size(), 24U);
  EXPECT_GT(direct["slowest"]["done_ms"].get<double>(), direct["fastest"]["done_ms"].get<double>());
  expect_all_arrived("queued");
}

TEST_F(LabRun, ADeferredUpgradeIsRefusedImmediatelyAndBeginImmediateWaits) {
  run("upgrade", {"--busy-timeout", "20s"});
  const json& direct = numbers("direct");
  EXPECT_EQ(direct["rows_wanted"], 9);
  EXPECT_EQ(direct["lost"], 6) << text_;  // of three readers, one may write
  EXPECT_EQ(direct["locked_errors"], 6);
  EXPECT_LT(direct["wall_ms"], 10'000);  // half of the busy timeout
  expect_all_arrived("immediate");
  expect_all_arrived("queued");
}

TEST_F(LabRun, DirectModeDeadlocksAndTheQueueCannot) {
  run("deadlock", {"--busy-timeout", "800ms"});
  EXPECT_EQ(numbers("direct")["cycle"], json({"A", "B"})) << text_;
  EXPECT_GE(numbers("direct")["lost"], 1);
  EXPECT_EQ(of("direct")["graph"]["edges"].size(), 2U);
  EXPECT_THAT(text_, HasSubstr("a cycle: A -> B -> A"));
  expect_all_arrived("queued");
  EXPECT_THAT(numbers("queued")["cycle"], IsEmpty());
}

TEST_F(LabRun, ACrashLosesRowsDirectAndNoneThroughTheQueue) {
  run("crash", {"--task-duration", "400ms", "--busy-timeout", "20s"});
  const json& direct = numbers("direct");
  EXPECT_GE(direct["lost"], 1) << text_;
  EXPECT_LE(direct["lost"], 2);  // the current row, and the process's next row
  EXPECT_EQ(direct["locked_errors"], 0);
  expect_all_arrived("queued");
  EXPECT_THAT(read_file(events()),
              AllOf(ContainsRegex(R"("kind":"crashed","process":"P[123]".*"signal":9)"),
                    ContainsRegex(R"("kind":"crashed","process":"consumer".*"signal":9)")));
}

TEST_F(LabRun, ReportIsSelfContained) {
  run("quick");
  const std::string html = read_file(report());
  EXPECT_THAT(html, AllOf(HasSubstr("<body class=\"report\">"), HasSubstr("mountLanes"),
                          HasSubstr("Six pets"), HasSubstr("\"Ace\"")));
  EXPECT_THAT(html, Not(ContainsRegex("(src|href)=\"")));
  EXPECT_THAT(html, Not(ContainsRegex("\nimport ")));
}

TEST_F(LabRun, ReplayDrawsThePictureOfTheRun) {
  const std::string drawn = folder_.file("run.svg");
  const std::string redrawn = folder_.file("replay.svg");
  run("quick", {"--svg", drawn});
  Process replay(folder_, "redraw", {"lab", "replay", events(), "--svg", redrawn});
  ASSERT_EQ(replay.wait(), 0) << replay.err();
  EXPECT_EQ(read_file(drawn).find("<svg "), 0U);
  EXPECT_EQ(read_file(drawn), read_file(redrawn));
}

TEST_F(LabRun, APictureOfSeveralScenariosIsWrongUsage) {
  const std::string picture = folder_.file("run.svg");
  Process run(folder_, "run", {"lab", "run", "quick", "slow", "--svg", picture});
  EXPECT_EQ(run.wait(), 2);
  EXPECT_THAT(run.err(), HasSubstr("--svg draws one scenario, not 2"));
}

TEST_F(LabRun, ASettingWithoutEffectIsWrongUsage) {
  Process run(folder_, "run", {"lab", "run", "quick", "--rows", "3"});
  EXPECT_EQ(run.wait(), 2);
  EXPECT_THAT(run.err(), HasSubstr("--rows changes nothing in quick"));
  Process unknown(folder_, "unknown", {"lab", "run", "nothing"});
  EXPECT_EQ(unknown.wait(), 2);
  EXPECT_THAT(unknown.err(), AllOf(HasSubstr("'nothing'"), HasSubstr("deadlock")));
  Process beyond(folder_, "beyond", {"lab", "run", "crowd", "--processes", "65"});
  EXPECT_EQ(beyond.wait(), 2);
}

TEST_F(LabRun, ListShowsEveryScenario) {
  Process list(folder_, "list", {"lab", "list"});
  EXPECT_EQ(list.wait(), 0);
  for (const char* name : {"quick", "slow", "stream", "crowd", "upgrade", "deadlock", "crash"}) {
    EXPECT_THAT(list.out(), HasSubstr(std::string(name) + ": "));
  }
  EXPECT_FALSE(has_control_characters(list.out()));
}

// All descendants of `pid`.
std::vector<std::string> children_of(pid_t pid) {
  std::vector<std::string> children;
  std::istringstream ids(
      read_file("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children"));
  for (std::string id; ids >> id;) {
    children.push_back(id);
  }
  return children;
}

TEST_F(LabRun, AnInterruptEndsAllProcessesAndPrintsTheSummary) {
  for (const std::string mode : {"direct", "queued"}) {
    Process run(folder_, "run-" + mode,
                {"lab", "run", "slow", "--mode", mode, "--out", folder_.path().string(), "--json"},
                {"TMPDIR=" + folder_.path().string()});
    // The run's temporary directory appears in a directory of this test, with the events in it.
    std::filesystem::path work;
    const auto holds = [&] {
      for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
        if (entry.path().filename().string().starts_with("turnstile-lab-")) {
          work = entry.path();
          return read_file(work / "events.ndjson").find("\"holding\"") != std::string::npos;
        }
      }
      return false;
    };
    const auto until = std::chrono::steady_clock::now() + kPatience;
    while (!holds() && std::chrono::steady_clock::now() < until) {
      run.wait(20ms);  // it does not end
    }
    ASSERT_TRUE(holds());
    const auto children = children_of(run.pid());
    EXPECT_GE(children.size(), 3U);
    run.signal(SIGINT);
    EXPECT_EQ(run.wait(), 130);
    const json ended = run.json()["runs"][0];
    EXPECT_TRUE(ended["stopped"].get<bool>());
    EXPECT_TRUE(ended["agrees"].get<bool>()) << ended;
    EXPECT_THAT(ended["sentence"].get<std::string>(), HasSubstr("stopped"));
    for (const auto& child : children) {
      EXPECT_FALSE(std::filesystem::exists("/proc/" + child)) << child;
    }
    EXPECT_FALSE(std::filesystem::exists(work));
  }
}

}  // namespace
}  // namespace turnstile::e2e
