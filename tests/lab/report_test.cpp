#include "lab/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lab/assets.h"
#include "lab/json.h"
#include "lab/live.h"
#include "lab/plan.h"
#include "lab/stream.h"
#include "tests/lab/events.h"
#include "tests/support/folder.h"

namespace turnstile::lab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

// The largest drawing: 64 processes with 200 rows each, and every row waits.
Recording large_recording(Mode mode) {
  const auto scenario = find_scenario("crowd");
  Settings settings = (*scenario)->settings;
  settings.rows = 200;
  Recording recording;
  recording.run = make_plan(**scenario, mode, settings).run;
  recording.run.began_ns = began_ns();
  int at_ms = 0;
  for (std::uint64_t row = 1; row <= 200; ++row) {
    for (const LaneInfo& lane : recording.run.lanes) {
      if (lane.role == Role::consumer) {
        continue;
      }
      Events events(lane.name);
      events.trying(at_ms, row, lane.wanted[row - 1]);
      Events consumer("consumer");
      if (mode == Mode::queued) {
        consumer.of(lane.name)
            .trying(at_ms + 2, row)
            .lock(at_ms + 4, row)
            .committed(at_ms + 7, row);
      } else {
        events.waiting(at_ms + 2, row).lock(at_ms + 4, row).committed(at_ms + 7, row);
      }
      events.acknowledged(at_ms + 8, row);
      for (const Event& event : sorted({events, consumer})) {
        recording.events.push_back(event);
      }
      recording.facts.rows.push_back({"readings", lane.wanted[row - 1]});
      at_ms += 9;
    }
  }
  recording.facts.integrity = "ok";
  return recording;
}

TEST(Report, Of64ProcessesWith200RowsIsBelow5MB) {
  const Outcome direct = evaluate(large_recording(Mode::direct));
  const Outcome queued = evaluate(large_recording(Mode::queued));
  for (const Outcome* outcome : {&direct, &queued}) {
    EXPECT_THAT(outcome->disagreements, SizeIs(0));
    EXPECT_EQ(outcome->numbers.in_database, 12'800U);
  }
  EXPECT_LT(report_html({&direct, &queued}).size(), 5'000'000U);
}

TEST(Report, RowNamesAndErrorsAreEscaped) {
  Recording recording;
  const std::string bad = "</script><script>alert(1)</script>";
  recording.run = run_of(Mode::direct, {{"P1", {bad}}});
  recording.events = Events("P1").trying(0, 1, bad).refused(5, 1, "<b>no & \"no\"</b>").all();
  recording.facts.integrity = "<i>bad</i>";
  const Outcome outcome = evaluate(std::move(recording));
  const std::string html = report_html({&outcome});
  EXPECT_THAT(html, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(html, Not(HasSubstr("<b>no")));
  EXPECT_THAT(html, Not(HasSubstr("<i>bad")));
  EXPECT_THAT(html, HasSubstr("\\u003c/script>"));
  EXPECT_THAT(html, Not(HasSubstr("{{data}}")));
}

TEST(Assets, ContainTheFilesOfThePage) {
  EXPECT_THAT(std::string(asset("index.html")), HasSubstr("app.js"));
  EXPECT_THAT(std::string(asset("lanes.js")), HasSubstr("export function mountLanes"));
  for (const Asset& one : assets()) {
    EXPECT_FALSE(one.content.empty()) << one.name;
  }
  EXPECT_TRUE(asset("none").empty());
}

// The `data:` of all frames of that event.
std::vector<nlohmann::json> data_of(const std::string& frames, const std::string& event) {
  std::vector<nlohmann::json> found;
  const std::string start = "event: " + event + "\ndata: ";
  for (auto at = frames.find(start); at != std::string::npos; at = frames.find(start, at + 1)) {
    const auto from = at + start.size();
    found.push_back(nlohmann::json::parse(frames.substr(from, frames.find('\n', from) - from)));
  }
  return found;
}

TEST(Stream, ALateListenerGetsAllSegmentsInOneEvent) {
  const Folder folder;
  Recording recording;
  recording.run = run_of(Mode::direct, {{"P1", {"Ace"}}, {"P2", {"Cooper"}}});
  recording.events =
      sorted({Events("P1").trying(0, 1, "Ace").lock(1, 1).committed(60, 1).acknowledged(61, 1),
              Events("P2")
                  .trying(10, 1, "Cooper")
                  .waiting(11, 1)
                  .lock(62, 1)
                  .committed(70, 1)
                  .acknowledged(71, 1)});
  recording.facts.rows = {{"pets", "Ace"}, {"pets", "Cooper"}};
  LiveRun live(recording.run, 3, folder.path());
  Stream stream;
  std::string sent = stream.add(live.begin());
  const auto add = [&](const std::vector<LiveMessage>& messages) {
    for (const LiveMessage& message : messages) {
      sent += stream.add(message);
    }
  };
  const std::span<const Event> events(recording.events);
  add(live.take(events.first(5), began_ns() + 50 * kMs));
  add(live.take(events.subspan(5), began_ns() + 200 * kMs));
  const Outcome outcome = evaluate(recording);
  Plan plan;
  plan.tables = {pets_table()};
  add(live.end(outcome, plan, {Table{{"id", "name"}, {{"1", "Ace"}, {"2", "Cooper"}}}}));

  const std::string late = stream.state(false);
  EXPECT_THAT(data_of(late, "hello"), SizeIs(1));
  ASSERT_THAT(data_of(late, "run"), SizeIs(1));
  EXPECT_EQ(data_of(late, "run")[0], data_of(sent, "run")[0]);
  nlohmann::json done = nlohmann::json::array();
  for (const auto& segments : data_of(sent, "segments")) {
    EXPECT_EQ(segments["run"], 3);
    done.insert(done.end(), segments["done"].begin(), segments["done"].end());
  }
  ASSERT_THAT(data_of(late, "segments"), SizeIs(1));
  EXPECT_EQ(data_of(late, "segments")[0]["done"], done);
  EXPECT_THAT(data_of(late, "segments")[0]["open"], SizeIs(0));
  EXPECT_EQ(data_of(late, "table")[0]["from"], "database");
  EXPECT_EQ(data_of(late, "ended")[0]["numbers"]["in_database"], 2);
  EXPECT_EQ(data_of(late, "counters")[0]["committed"], 2);
  // During the run, the open bars had a holder.
  const auto first = data_of(sent, "segments")[0]["open"];
  EXPECT_EQ(first[0], nlohmann::json::parse(R"([0,["h",1.0,20.0,"Ace"]])"));
  EXPECT_EQ(first[1], nlohmann::json::parse(R"([1,["w",11.0,20.0,"Cooper","P1"]])"));
}

TEST(Stream, ForgottenRunsAreNotInTheState) {
  Stream stream;
  for (const std::uint64_t run : {1U, 2U}) {
    const std::string number = std::to_string(run);
    stream.add({run, "run", R"({"run":)" + number + "}", {}, 0});
    stream.add({run, "explain", R"({"text":"of )" + number + "\"}", {}, 0});
  }
  stream.forget(1);
  EXPECT_THAT(stream.state(true), AllOf(Not(HasSubstr("of 1")), HasSubstr("of 2")));
  stream.clear();
  EXPECT_THAT(stream.state(true), Not(HasSubstr("explain")));
}

TEST(Stream, AFailureBeforeTheRunIsSentOnce) {
  Stream stream;
  EXPECT_THAT(stream.add({1, "failed", R"({"run":1,"error":"no room"})", {}, 0}),
              HasSubstr("no room"));
  EXPECT_THAT(stream.state(false), Not(HasSubstr("no room")));
}

TEST(Json, ScenariosListTheirAdjustableSettings) {
  const auto all = nlohmann::json::parse(dump(json_of_scenarios()));
  EXPECT_THAT(all["scenarios"], SizeIs(scenarios().size()));
  for (const auto& scenario : all["scenarios"]) {
    for (const auto& name : scenario["adjustable"]) {
      EXPECT_TRUE(scenario["settings"].contains(name.get<std::string>())) << scenario["name"];
    }
  }
}

TEST(Json, UnknownSettingsAndWrongTypesAreRefused) {
  const Settings own;
  const auto changed = settings_from(nlohmann::json::parse(R"({"rows":7,"journal":"wal"})"), own);
  ASSERT_TRUE(changed.has_value());
  EXPECT_EQ(changed->rows, 7);
  EXPECT_EQ(changed->journal, "wal");
  EXPECT_EQ(changed->busy_timeout, own.busy_timeout);
  for (const char* bad : {R"({"rows":"7"})", R"({"rows":1.5})", R"({"journal":1})", R"({"x":1})",
                          "[]", "1", "null"}) {
    EXPECT_FALSE(settings_from(nlohmann::json::parse(bad), own).has_value()) << bad;
  }
}

}  // namespace
}  // namespace turnstile::lab
