#include "producers/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace turnstile {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::Not;

Report report_of_two() {
  Report report;
  report.producer = "P1";
  report.table = "pets";
  report.input = "pets.csv";
  report.rows_read = 2;
  report.summary.appended = report.summary.sent = report.summary.stored = 2;
  report.summary.applied = 2;
  report.summary.waited_total = milliseconds(30);
  report.summary.waited_longest = milliseconds(20);
  report.took = milliseconds(500);
  return report;
}

TEST(ReportTest, AllDoneIsExitCodeZero) {
  EXPECT_EQ(exit_code_of(report_of_two()), 0);
}

TEST(ReportTest, RefusedOrMissingRowsAreExitCodeOne) {
  Report dead = report_of_two();
  dead.summary.dead_count = 1;
  EXPECT_EQ(exit_code_of(dead), 1);
  Report bad = report_of_two();
  bad.bad_row_count = 1;
  EXPECT_EQ(exit_code_of(bad), 1);
  Report unacknowledged = report_of_two();
  unacknowledged.summary.unacknowledged = 1;
  EXPECT_EQ(exit_code_of(unacknowledged), 1);
  Report fenced = report_of_two();
  fenced.failure = Error{Errc::fenced, "a newer process", ""};
  EXPECT_EQ(exit_code_of(fenced), 1);
  Report data = report_of_two();
  data.failure = Error{Errc::bad_input, "the file was changed", ""};
  EXPECT_EQ(exit_code_of(data), 1);
}

TEST(ReportTest, UnreachableBrokerIsExitCodeThree) {
  Report report = report_of_two();
  report.failure = Error{Errc::unreachable, "no answer", ""};
  EXPECT_EQ(exit_code_of(report), 3);
}

TEST(ReportTest, InterruptIsExitCode130) {
  Report report = report_of_two();
  report.interrupted = true;
  EXPECT_EQ(exit_code_of(report), 130);
}

TEST(ReportTest, JsonHasTheDocumentedFields) {
  Report report = report_of_two();
  report.bad_rows = {{7, "1 field, the header has 2"}};
  report.bad_row_count = 1;
  report.summary.dead = {{{2}, "no such table: pets"}};
  report.summary.dead_count = 1;
  report.summary.applied = 1;
  const auto json = json_of(report);
  EXPECT_EQ(json["producer"], "P1");
  EXPECT_EQ(json["table"], "pets");
  EXPECT_EQ(json["rows_read"], 2);
  EXPECT_EQ(json["rows_sent"], 2);
  EXPECT_EQ(json["rows_stored"], 2);
  EXPECT_EQ(json["rows_applied"], 1);
  EXPECT_EQ(json["rows_lost"], 0);
  EXPECT_EQ(json["rows_unacknowledged"], 0);
  EXPECT_EQ(json["dead_letters"][0]["sequence"], 2);
  EXPECT_EQ(json["dead_letters"][0]["reason"], "no such table: pets");
  EXPECT_EQ(json["bad_rows"][0]["line"], 7);
  EXPECT_EQ(json["bad_rows"][0]["reason"], "1 field, the header has 2");
  EXPECT_EQ(json["errors"], 2);
  EXPECT_TRUE(json["error"].is_null());
  EXPECT_EQ(json["interrupted"], false);
  EXPECT_EQ(json["wait_ms_total"], 30);
  EXPECT_EQ(json["wait_ms_longest"], 20);
  EXPECT_EQ(json["seconds"], 0.5);
  EXPECT_EQ(json["rows_per_second"], 4);
}

TEST(ReportTest, DirectRowsThatWereNotWrittenAreLost) {
  Report report = report_of_two();
  report.direct = true;
  report.summary.applied = 1;
  report.summary.dead = {{{2}, "database is locked"}};
  report.summary.dead_count = 1;
  EXPECT_EQ(json_of(report)["rows_lost"], 1);
  EXPECT_EQ(json_of(report)["rows_stored"], 1);
  EXPECT_THAT(text_of(report), HasSubstr("1 written, 1 lost"));
  EXPECT_THAT(text_of(report), HasSubstr("lost: pets row 2: database is locked"));
}

TEST(ReportTest, TextNamesBadRowsByFileAndLine) {
  Report report = report_of_two();
  report.bad_rows = {{7, "1 field, the header has 2"}};
  report.bad_row_count = 1;
  EXPECT_THAT(text_of(report), HasSubstr("bad row: pets.csv:7: 1 field, the header has 2"));
}

TEST(ReportTest, TextShowsTheFirstDeadLettersAndCountsTheRest) {
  Report report = report_of_two();
  for (std::uint64_t i = 1; i <= 40; ++i) {
    report.summary.dead.push_back({{i}, "no"});
  }
  report.summary.dead_count = 4000;
  EXPECT_THAT(text_of(report), HasSubstr("dead letter: pets row 10: no"));
  EXPECT_THAT(text_of(report), Not(HasSubstr("row 11: no")));
  EXPECT_THAT(text_of(report), HasSubstr("... and 3990 more"));
}

TEST(ReportTest, InterruptedTextSaysHowToContinue) {
  Report report = report_of_two();
  report.interrupted = true;
  EXPECT_THAT(text_of(report), Not(HasSubstr("--resume")));
  report.resume_name = "";
  EXPECT_THAT(text_of(report), HasSubstr("2 rows were applied; to be able to continue"));
  report.resume_name = "nightly";
  EXPECT_THAT(text_of(report), HasSubstr("continue with --resume nightly"));
}

TEST(ReportTest, SumOverProcessesAddsRowsAndTakesTheLongestWait) {
  Report first = report_of_two();
  Report second = report_of_two();
  second.producer = "P2";
  second.summary.applied = 1;
  second.summary.dead = {{{2}, "no"}};
  second.summary.dead_count = 1;
  second.summary.waited_longest = milliseconds(25);
  const auto sum = sum_of({json_of(first), json_of(second)});
  EXPECT_EQ(sum["rows_sent"], 4);
  EXPECT_EQ(sum["rows_applied"], 3);
  EXPECT_EQ(sum["errors"], 1);
  EXPECT_EQ(sum["dead_letters"].size(), 1U);
  EXPECT_EQ(sum["wait_ms_total"], 60);
  EXPECT_EQ(sum["wait_ms_longest"], 25);
  EXPECT_EQ(sum["rows_per_second"], 8);
  EXPECT_EQ(sum["processes"].size(), 2U);
}

TEST(ReportTest, SumIsTrueIfAnyIsTrueAndTakesTheFirstNonNullValue) {
  const auto sum = sum_of(
      {{{"interrupted", false}, {"error", nullptr}}, {{"interrupted", true}, {"error", "e"}}});
  EXPECT_EQ(sum["interrupted"], true);
  EXPECT_EQ(sum["error"], "e");
  EXPECT_EQ(sum["rows_per_second"], 0);
}

}  // namespace
}  // namespace turnstile
