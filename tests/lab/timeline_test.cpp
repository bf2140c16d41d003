#include "lab/timeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/lab/events.h"

namespace turnstile::lab {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Segment bar(SegmentKind kind, int from_ms, int to_ms, std::string row, std::string holder = {}) {
  return {kind, from_ms * kMs, to_ms * kMs, std::move(row), std::move(holder), {}};
}

Segment moment_of(SegmentKind kind, int at_ms, std::string row, std::string holder = {},
                  std::string error = {}) {
  return {kind, at_ms * kMs, at_ms * kMs, std::move(row), std::move(holder), std::move(error)};
}

TEST(Timeline, DirectRowIsTriedHeldAndCommitted) {
  Timeline timeline(run_of(Mode::direct, {{"P1", {"Ace"}}}));
  Events("P1").trying(0, 1, "Ace").lock(5, 1).committed(20, 1).acknowledged(21, 1).into(timeline);
  timeline.finish(began_ns() + 30 * kMs);
  EXPECT_THAT(
      timeline.lanes()[0].segments,
      ElementsAre(bar(SegmentKind::trying, 0, 5, "Ace"), bar(SegmentKind::holding, 5, 20, "Ace"),
                  moment_of(SegmentKind::committed, 20, "Ace")));
  EXPECT_TRUE(timeline.rows().front()->committed);
  EXPECT_EQ(timeline.rows().front()->lock_ns, 5 * kMs);
  EXPECT_EQ(timeline.rows().front()->answered_ns, 21 * kMs);
}

TEST(Timeline, AWaitNamesTheLockHolder) {
  Timeline timeline(run_of(Mode::direct, {{"P1", {"Ace"}}, {"P2", {"Cooper"}}}));
  in_order(timeline, {Events("P1").trying(0, 1, "Ace").lock(1, 1).committed(60, 1),
                      Events("P2").trying(10, 1, "Cooper").waiting(11, 1).lock(62, 1)});
  timeline.finish(began_ns() + 70 * kMs);
  EXPECT_THAT(timeline.lanes()[1].segments,
              ElementsAre(bar(SegmentKind::trying, 10, 11, "Cooper"),
                          bar(SegmentKind::waiting, 11, 62, "Cooper", "P1"),
                          bar(SegmentKind::holding, 62, 70, "Cooper")));
}

TEST(Timeline, AWaitIsCutWhenALongHeldLockChangesHands) {
  Timeline timeline(run_of(Mode::direct, {{"P1", {"a"}}, {"P2", {"b"}}, {"P3", {"c"}}}));
  in_order(timeline,
           {Events("P1").trying(0, 1, "a").lock(0, 1).committed(3000, 1),
            Events("P2").trying(0, 1, "b").waiting(1, 1).lock(3010, 1),
            Events("P3").trying(0, 1, "c").waiting(1, 1).refused(5000, 1, "database is locked")});
  timeline.finish(began_ns() + 5001 * kMs);
  EXPECT_THAT(timeline.lanes()[2].segments,
              ElementsAre(bar(SegmentKind::trying, 0, 1, "c"),
                          bar(SegmentKind::waiting, 1, 3010, "c", "P1"),
                          bar(SegmentKind::waiting, 3010, 5000, "c", "P2"),
                          moment_of(SegmentKind::lost, 5000, "c", "P2", "database is locked")));
  const RowFate* lost = timeline.rows().back();
  EXPECT_TRUE(lost->refused);
  EXPECT_FALSE(lost->committed);
  EXPECT_EQ(lost->turns_of_others, 1U);
}

TEST(Timeline, ALossNamesTheHolderThatReportsItsLockSoonAfter) {
  Timeline timeline(run_of(Mode::direct, {{"P1", {"a"}}, {"P2", {"b", "b2"}}, {"P3", {"c"}}}));
  in_order(timeline,
           {Events("P2").trying(0, 1, "b").refused(1, 1, "database is locked").trying(3, 2, "b2"),
            Events("P1").trying(0, 1, "a").lock(2, 1).committed(40, 1),
            Events("P3").trying(50, 1, "c").refused(60, 1, "database is locked"),
            Events("P1").acknowledged(90, 1)});
  timeline.finish(began_ns() + 100 * kMs);
  EXPECT_EQ(timeline.lanes()[1].segments[1],
            moment_of(SegmentKind::lost, 1, "b", "P1", "database is locked"));
  EXPECT_EQ(timeline.lanes()[2].segments.back(),
            moment_of(SegmentKind::lost, 60, "c", "", "database is locked"));
}

TEST(Timeline, AWaitToOpenTheDatabaseCountsForTheFirstRow) {
  Timeline timeline(run_of(Mode::direct, {{"P1", {"a"}}, {"P2", {"b"}}, {"P3", {"c"}}}));
  in_order(timeline, {Events("P1").trying(0, 1, "a").lock(0, 1).committed(300, 1),
                      Events("P3").trying(300, 1, "c").lock(301, 1).committed(310, 1),
                      Events("P2").started(1).waiting(2, 0).trying(311, 1, "b").lock(313, 1)});
  timeline.finish(began_ns() + 400 * kMs);
  EXPECT_EQ(timeline.lanes()[1].segments[0], bar(SegmentKind::waiting, 2, 301, "", "P1"));
  EXPECT_EQ(timeline.lanes()[1].segments[1], bar(SegmentKind::waiting, 301, 311, "", "P3"));
  const RowFate& row = *timeline.rows()[1];
  EXPECT_EQ(row.name, "b");
  EXPECT_EQ(row.tried_ns, 2 * kMs);
  EXPECT_EQ(row.turns_of_others, 1U);
}

TEST(Timeline, ManyShortHoldsAreOneWaitForTheLongestHolder) {
  Timeline timeline(run_of(Mode::direct, {{"P1", {"a1", "a2"}}, {"P2", {"b"}}, {"P3", {"c"}}}));
  in_order(timeline, {Events("P1")
                          .trying(0, 1, "a1")
                          .lock(0, 1)
                          .committed(2, 1)
                          .trying(12, 2, "a2")
                          .lock(12, 2)
                          .committed(13, 2),
                      Events("P2").trying(2, 1, "b").lock(2, 1).committed(12, 1),
                      Events("P3").trying(1, 1, "c").waiting(1, 1).lock(14, 1)});
  timeline.finish(began_ns() + 14 * kMs);
  EXPECT_THAT(timeline.lanes()[2].segments,
              ElementsAre(bar(SegmentKind::waiting, 1, 14, "c", "P2")));
  EXPECT_EQ(timeline.rows().back()->turns_of_others, 2U);
}

TEST(Timeline, ANewLockEndsTheHoldOfAHolderWhoseCommitIsRecordedLate) {
  Timeline timeline(run_of(Mode::direct, {{"P1", {"a"}}, {"P2", {"b"}}}));
  in_order(timeline, {Events("P1").trying(0, 1, "a").lock(0, 1).committed(21, 1),
                      Events("P2").trying(0, 1, "b").waiting(0, 1).lock(20, 1)});
  timeline.finish(began_ns() + 30 * kMs);
  EXPECT_THAT(timeline.lanes()[0].segments,
              ElementsAre(bar(SegmentKind::holding, 0, 20, "a"),
                          moment_of(SegmentKind::committed, 21, "a")));
  EXPECT_EQ(timeline.holder(), "P2");
}

TEST(Timeline, QueuedRowsWaitInTheQueueUntilTheyAreAcknowledged) {
  Timeline timeline(run_of(Mode::queued, {{"P1", {"a", "b", "c"}}, {"consumer", {}}}));
  in_order(timeline, {Events("P1")
                          .trying(0, 1, "a")
                          .trying(1, 2, "b")
                          .trying(2, 3, "c")
                          .acknowledged(10, 1)
                          .acknowledged(30, 2, 2),
                      Events("consumer")
                          .of("P1")
                          .trying(3, 1)
                          .lock(4, 1)
                          .committed(9, 1)
                          .trying(12, 2, "", 2)
                          .lock(13, 2, 2)
                          .committed(28, 2)
                          .committed(28, 3)});
  timeline.finish(began_ns() + 40 * kMs);
  EXPECT_THAT(timeline.lanes()[0].segments,
              ElementsAre(bar(SegmentKind::waiting, 0, 10, "a", "queue"),
                          moment_of(SegmentKind::acknowledged, 10, "a"),
                          bar(SegmentKind::waiting, 10, 30, "b +1", "queue"),
                          moment_of(SegmentKind::acknowledged, 30, "b +1")));
  EXPECT_THAT(timeline.lanes()[1].segments,
              ElementsAre(bar(SegmentKind::trying, 3, 4, "a"), bar(SegmentKind::holding, 4, 9, "a"),
                          moment_of(SegmentKind::committed, 9, "a"),
                          bar(SegmentKind::trying, 12, 13, "b +1"),
                          bar(SegmentKind::holding, 13, 28, "b +1"),
                          moment_of(SegmentKind::committed, 28, "b +1")));
  EXPECT_THAT(timeline.commits(),
              ElementsAre(std::pair("a", "P1"), std::pair("b", "P1"), std::pair("c", "P1")));
}

TEST(Timeline, ACrashEndsTheHoldAndTheFateOfItsRowIsUnknown) {
  Timeline timeline(run_of(Mode::direct, {{"P1", {"a"}}, {"P2", {"b"}}}));
  in_order(timeline, {Events("P1").started(0).trying(0, 1, "a").lock(1, 1).crashed(10, 9),
                      Events("P2").started(0).trying(0, 1, "b").waiting(2, 1).lock(12, 1)});
  EXPECT_EQ(timeline.holder(), "P2");
  EXPECT_FALSE(timeline.is_alive("P1"));
  EXPECT_TRUE(timeline.is_alive("P2"));
  EXPECT_TRUE(timeline.rows().front()->unsure);
  ASSERT_TRUE(timeline.last_crash().has_value());
  EXPECT_EQ(timeline.last_crash()->segment,
            moment_of(SegmentKind::crashed, 10, "a", "", "ended by signal 9"));
}

TEST(Timeline, OpposingLocksFormACycle) {
  Timeline timeline(run_of(Mode::direct, {{"A", {"1"}}, {"B", {"2"}}}));
  in_order(timeline, {Events("A").trying(0, 1, "1").lock(1, 1).waiting(3, 1, Resource::text),
                      Events("B").trying(0, 1, "2").lock(2, 1, 1, Resource::text).waiting(4, 1)});
  const WaitGraph graph = timeline.graph();
  EXPECT_THAT(graph.edges, ElementsAre(WaitEdge{"A", "B", Resource::text},
                                       WaitEdge{"B", "A", Resource::database}));
  EXPECT_THAT(graph.cycle, ElementsAre("A", "B"));
  ASSERT_TRUE(timeline.first_cycle().has_value());
  EXPECT_EQ(timeline.first_cycle()->at_ns, 4 * kMs);

  in_order(timeline, {Events("B").refused(9, 1, "database is locked"),
                      Events("A").lock(10, 1, 1, Resource::text).committed(11, 1)});
  EXPECT_THAT(timeline.graph().edges, IsEmpty());
  EXPECT_THAT(timeline.holder(), IsEmpty());
}

TEST(Timeline, AChainOfWaitsIsNoCycle) {
  EXPECT_THAT(find_cycle({{"A", "B", Resource::database}, {"B", "C", Resource::text}}), IsEmpty());
  EXPECT_THAT(find_cycle({{"D", "B", Resource::text},
                          {"A", "B", Resource::database},
                          {"B", "C", Resource::text},
                          {"C", "A", Resource::queue}}),
              ElementsAre("A", "B", "C"));
}

TEST(Timeline, OpenBarsReachToNow) {
  Timeline timeline(run_of(Mode::direct, {{"P1", {"a"}}, {"P2", {"b"}}}));
  in_order(timeline, {Events("P1").trying(0, 1, "a").lock(1, 1),
                      Events("P2").trying(2, 1, "b").waiting(3, 1)});
  EXPECT_EQ(timeline.take_done().size(), 2U);  // both `trying` bars
  EXPECT_THAT(timeline.take_done(), IsEmpty());
  const auto open = timeline.open(50 * kMs);
  ASSERT_EQ(open.size(), 2U);
  EXPECT_EQ(open[0].segment, bar(SegmentKind::holding, 1, 50, "a"));
  EXPECT_EQ(open[1].segment, bar(SegmentKind::waiting, 3, 50, "b", "P1"));
  EXPECT_THAT(timeline.waiting(), ElementsAre("P2"));
  EXPECT_EQ(timeline.row_held(), "a");
}

TEST(Timeline, EventsOfUnknownProcessesAndRowsAreIgnored) {
  Timeline timeline(run_of(Mode::direct, {{"P1", {"a"}}}));
  in_order(timeline, {Events("broker").started(0).trying(1, 1, "x"),
                      Events("P1").committed(2, 7).acknowledged(3, 7).refused(4, 9, "no")});
  EXPECT_THAT(timeline.rows(), IsEmpty());
  EXPECT_THAT(timeline.commits(), IsEmpty());
}

}  // namespace
}  // namespace turnstile::lab
