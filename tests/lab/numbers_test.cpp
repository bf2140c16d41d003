#include "lab/numbers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lab/found.h"
#include "lab/sentence.h"
#include "tests/lab/events.h"

namespace turnstile::lab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// P1 writes both its rows; P2 loses its only row after 5 s.
Recording one_lost() {
  Recording recording;
  recording.run = run_of(Mode::direct, {{"P1", {"Ace", "Buddy"}}, {"P2", {"Cooper"}}});
  recording.events = sorted({Events("P1")
                                 .trying(0, 1, "Ace")
                                 .lock(1, 1)
                                 .committed(3000, 1)
                                 .acknowledged(3001, 1)
                                 .trying(3002, 2, "Buddy")
                                 .lock(3003, 2)
                                 .committed(6000, 2)
                                 .acknowledged(6001, 2),
                             Events("P2")
                                 .trying(10, 1, "Cooper")
                                 .waiting(11, 1)
                                 .refused(5010, 1, "database is locked")
                                 .acknowledged(5010, 1)});
  recording.facts.rows = {{"pets", "Ace"}, {"pets", "Buddy"}};
  recording.facts.integrity = "ok";
  return recording;
}

TEST(Numbers, MatchTheEventsAndTheDatabase) {
  const Outcome outcome = evaluate(one_lost());
  EXPECT_THAT(outcome.disagreements, IsEmpty());
  const Numbers& n = outcome.numbers;
  EXPECT_EQ(n.rows_wanted, 3U);
  EXPECT_EQ(n.in_database, 2U);
  EXPECT_EQ(n.lost, 1U);
  EXPECT_EQ(n.locked_errors, 1U);
  EXPECT_EQ(n.wall_ms, 6001);
  EXPECT_EQ(n.longest_wait_ms, 5000);
  EXPECT_EQ(n.longest_lock_wait_ms, 5000);
  EXPECT_EQ(n.most_turns_of_others, 1U);
  ASSERT_TRUE(n.slowest && n.fastest);
  EXPECT_EQ(n.processes[*n.slowest].process, "P1");
  EXPECT_EQ(n.processes[*n.fastest].process, "P2");
  EXPECT_EQ(n.processes[0].waited_ms, 3001 + 2999);
}

TEST(Numbers, ARowInTheEventsOnlyIsADisagreement) {
  Recording recording = one_lost();
  recording.facts.rows.pop_back();
  const Outcome outcome = evaluate(std::move(recording));
  EXPECT_THAT(
      outcome.disagreements,
      ElementsAre("the events say that Buddy was committed, but it is not in the database"));
  EXPECT_EQ(outcome.numbers.in_database, 1U);
  EXPECT_EQ(outcome.numbers.lost, 2U);
}

TEST(Numbers, ARowInTheDatabaseOnlyIsADisagreement) {
  Recording recording = one_lost();
  recording.facts.rows.push_back({"pets", "Cooper"});
  EXPECT_THAT(evaluate(std::move(recording)).disagreements,
              ElementsAre("Cooper is in the database, but no event says that it was committed"));
}

TEST(Numbers, ADuplicateRowIsADisagreement) {
  Recording recording = one_lost();
  recording.facts.rows.push_back({"pets", "Ace"});
  EXPECT_THAT(evaluate(std::move(recording)).disagreements,
              ElementsAre("Ace is in the database 2 times"));
}

TEST(Numbers, ADamagedDatabaseIsADisagreement) {
  Recording recording = one_lost();
  recording.facts.integrity = "row 1 missing from index";
  EXPECT_THAT(evaluate(std::move(recording)).disagreements,
              ElementsAre(HasSubstr("row 1 missing from index")));
}

TEST(Numbers, ARowOfAKilledProcessMayBeInTheDatabaseOrNot) {
  Recording recording;
  recording.run = run_of(Mode::direct, {{"P1", {"Ace"}}});
  recording.events = Events("P1").trying(0, 1, "Ace").lock(1, 1).crashed(5, 9).all();
  EXPECT_THAT(evaluate(recording).disagreements, IsEmpty());
  recording.facts.rows = {{"pets", "Ace"}};
  const Outcome outcome = evaluate(recording);
  EXPECT_THAT(outcome.disagreements, IsEmpty());
  EXPECT_EQ(outcome.numbers.lost, 0U);
}

TEST(Numbers, AKilledProcessWaitsUntilItsEndAndIsNotRanked) {
  Recording recording;
  recording.run = run_of(Mode::direct, {{"P1", {"Ace"}}, {"P2", {"Cooper", "Dingo"}}});
  recording.events = sorted(
      {Events("P1").trying(0, 1, "Ace").lock(1, 1).crashed(200, 9), Events("P2")
                                                                        .trying(0, 1, "Cooper")
                                                                        .waiting(1, 1)
                                                                        .lock(201, 1)
                                                                        .committed(300, 1)
                                                                        .acknowledged(301, 1)
                                                                        .trying(310, 2, "Dingo")
                                                                        .lock(311, 2)
                                                                        .committed(900, 2)
                                                                        .acknowledged(901, 2)});
  recording.facts.rows = {{"pets", "Cooper"}, {"pets", "Dingo"}};
  const Numbers numbers = evaluate(std::move(recording)).numbers;
  EXPECT_EQ(numbers.processes[0].longest_wait_ms, 200);
  EXPECT_EQ(numbers.processes[0].done_ms, 0);
  EXPECT_EQ(numbers.longest_wait_ms, 591);
  EXPECT_EQ(numbers.wall_ms, 901);
  ASSERT_TRUE(numbers.fastest && numbers.slowest);
  EXPECT_EQ(numbers.processes[*numbers.fastest].process, "P2");
  EXPECT_EQ(numbers.processes[*numbers.slowest].process, "P2");
}

TEST(Numbers, RowsNotTriedBeforeAStopAreNotLost) {
  Recording recording = one_lost();
  recording.run.lanes[1].wanted.emplace_back("Dingo");
  recording.stopped = true;
  const Outcome outcome = evaluate(std::move(recording));
  EXPECT_EQ(outcome.numbers.rows_wanted, 4U);
  EXPECT_EQ(outcome.numbers.lost, 1U);  // Cooper, which was refused
  EXPECT_EQ(explain_end(outcome),
            "The run was stopped early: 2 of 4 rows are in the database, 1 lost.");
}

TEST(Numbers, OrderOfEventsInTheFileDoesNotMatter) {
  Recording recording = one_lost();
  const Outcome in_order = evaluate(recording);
  std::reverse(recording.events.begin(), recording.events.end());
  // Events with equal times keep their order in the file, so all times here differ.
  std::erase_if(recording.events, [](const Event& event) {
    return event.kind == EventKind::acknowledged && event.process == "P2";
  });
  EXPECT_EQ(evaluate(std::move(recording)).numbers, in_order.numbers);
}

TEST(Numbers, NoRowArrivesIfNoneIsTried) {
  Recording recording;
  recording.run = run_of(Mode::queued, {{"P1", {"Ace"}}, {"consumer", {}}});
  recording.stopped = true;
  const Outcome outcome = evaluate(std::move(recording));
  EXPECT_EQ(outcome.numbers.lost, 0U);
  EXPECT_EQ(outcome.numbers.wall_ms, 0);
  EXPECT_FALSE(outcome.numbers.slowest.has_value());
  EXPECT_THAT(explain_end(outcome), HasSubstr("stopped"));
}

TEST(TextFacts, TornOverwrittenAndRepeatedLinesAreCounted) {
  const std::vector<std::string> rows{"[1, a]", "[2, b]", "[3, c]"};
  EXPECT_EQ(compare_text("[1, a]\n[2, b]\n[3, c]\n", rows), (TextFacts{3, 3, 0, 0}));
  EXPECT_EQ(compare_text("[1, a]\n, b]\n[3, c]", rows), (TextFacts{3, 2, 1, 1}));
  EXPECT_EQ(compare_text("[1, a]\n[1, a]\n", rows), (TextFacts{2, 1, 1, 2}));
  EXPECT_EQ(compare_text("", rows), (TextFacts{0, 0, 0, 3}));
}

TEST(Sentence, NamesWaitersAndHolder) {
  Timeline timeline(run_of(Mode::direct, {{"P1", {"Ace"}}, {"P2", {"b"}}, {"P3", {"c"}}}));
  in_order(timeline, {Events("P1").trying(0, 1, "Ace").lock(1, 1),
                      Events("P2").trying(2, 1, "b").waiting(3, 1),
                      Events("P3").trying(2, 1, "c").waiting(4, 1)});
  EXPECT_EQ(explain_now(timeline, 5 * kMs), "P2 and P3 wait: P1 holds the database for Ace.");
}

TEST(Sentence, NamesALossForTwoSeconds) {
  Timeline timeline(run_of(Mode::direct, {{"P1", {"Ace"}}, {"P2", {"b"}}}));
  in_order(timeline,
           {Events("P1").trying(0, 1, "Ace").lock(1, 1),
            Events("P2").trying(2, 1, "b").waiting(3, 1).refused(500, 1, "database is locked")});
  EXPECT_EQ(explain_now(timeline, 600 * kMs), "P2 lost b: database is locked, P1 held the lock.");
  EXPECT_EQ(explain_now(timeline, 9000 * kMs), "P1 holds the database for Ace; no process waits.");
}

TEST(Sentence, SaysIfNoProcessWasKilled) {
  Recording recording;
  recording.run = run_of(Mode::direct, {{"P1", {"Ace"}}});
  recording.run.scenario = "crash";
  recording.events =
      Events("P1").trying(0, 1, "Ace").lock(1, 1).committed(5, 1).acknowledged(6, 1).all();
  recording.facts.rows = {{"pets", "Ace"}};
  EXPECT_THAT(explain_end(evaluate(recording)), HasSubstr("no process held the lock long enough"));
  recording.events = Events("P1").trying(0, 1, "Ace").lock(1, 1).crashed(5, 9).all();
  recording.facts.rows.clear();
  EXPECT_THAT(explain_end(evaluate(recording)), HasSubstr("1 of 1 row lost: the killed process"));
}

TEST(Sentence, ListsAtMostThreeNames) {
  EXPECT_EQ(list_names({"a"}), "a");
  EXPECT_EQ(list_names({"a", "b", "c"}), "a, b and c");
  EXPECT_EQ(list_names({"a", "b", "c", "d", "e"}), "a, b and 3 more");
}

}  // namespace
}  // namespace turnstile::lab
