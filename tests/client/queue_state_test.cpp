#include "client/queue_state.h"

#include <cstdint>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace turnstile {
namespace {

std::string packed(const nlohmann::json& report) {
  const auto bytes = nlohmann::json::to_msgpack(report);
  return {bytes.begin(), bytes.end()};
}

nlohmann::json report_with(const nlohmann::json& tables) {
  return {{"consumer",
           {{"attached", true},
            {"rows_applied", 42},
            {"rows_per_second", 1.5},
            {"problem", "disk full"},
            {"tables", tables}}},
          {"journal", {{"problem", "no space left"}, {"rows", 3}}},
          {"producers", {{{"producer", "p"}, {"named", false}}}},
          {"oldest_waiting_ms", 12'345}};
}

TEST(QueueState, AStatusReportIsRead) {
  const auto state =
      read_queue_state(packed(report_with({{{"table", "pets"}, {"reason", "no such module: m"}}})));
  ASSERT_TRUE(state);
  EXPECT_TRUE(state->has_consumer);
  EXPECT_EQ(state->problem, "disk full");
  EXPECT_EQ(state->journal_problem, "no space left");
  EXPECT_EQ(state->rows_applied, 42U);
  EXPECT_EQ(state->oldest.count(), 12'345);
  ASSERT_EQ(state->tables.size(), 1U);
  EXPECT_EQ(state->tables[0].table, "pets");
  EXPECT_EQ(state->tables[0].reason, "no such module: m");
}

TEST(QueueState, ATruncatedReportIsRejected) {
  const std::string report = packed(report_with({{{"table", "pets"}, {"reason", "x"}}}));
  for (std::size_t size = 0; size < report.size(); ++size) {
    EXPECT_FALSE(read_queue_state(report.substr(0, size))) << size;
  }
}

TEST(QueueState, AnythingElseIsRejected) {
  const std::string deep(100'000, '\x91');
  for (const std::string& report :
       {std::string("rows"), packed(nlohmann::json::array()), packed({{"consumer", 7}}),
        "\x81\xA1x" + deep,
        packed(report_with(nlohmann::json(std::vector<nlohmann::json>(21, {{"table", "t"}}))))}) {
    EXPECT_FALSE(read_queue_state(report));
  }
}

TEST(QueueState, ControlCharactersAreEscaped) {
  auto report = report_with(nlohmann::json::array());
  report["consumer"]["problem"] = "\x1b[2Jdisk\nfull";
  const auto state = read_queue_state(packed(report));
  ASSERT_TRUE(state);
  EXPECT_EQ(state->problem, "\\x1b[2Jdisk\\nfull");
}

TEST(QueueState, TheFirstReasonThatBlocksTheRowsIsReported) {
  QueueState state;
  EXPECT_EQ(reason_of(state, true, "pets"), "no consumer is running");
  state.has_consumer = true;
  EXPECT_EQ(reason_of(state, true, "pets"), "the consumer is busy");
  EXPECT_TRUE(is_only_busy(state, true, "pets"));
  state.tables = {{"pets", "no such module: m"}};
  EXPECT_EQ(reason_of(state, true, "others"), "the consumer is busy");
  EXPECT_EQ(reason_of(state, true, "pets"), "the consumer refuses rows of pets: no such module: m");
  EXPECT_FALSE(is_only_busy(state, true, "pets"));
  state.problem = "disk full";
  EXPECT_EQ(reason_of(state, true, "pets"), "the consumer cannot apply rows: disk full");
  EXPECT_FALSE(is_only_busy(state, true, "others"));
  state.journal_problem = "no space left";
  EXPECT_EQ(reason_of(state, true, "pets"), "the consumer cannot apply rows: disk full");
  EXPECT_EQ(reason_of(state, false, "pets"), "the broker cannot store rows: no space left");
}

}  // namespace
}  // namespace turnstile
