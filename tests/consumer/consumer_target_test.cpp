// The consumer and its target: groups, results, and what it does when the target fails.

#include "tests/consumer/fixture.h"

namespace turnstile::consumer {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class ConsumerTargetTest : public ConsumerTest {};

TEST_F(ConsumerTargetTest, WhatIsThereGoesIntoOneTransaction) {
  get_lease();
  ASSERT_TRUE(turn({batch(1, 1), batch(2, 2), batch(3, 3)}));
  EXPECT_THAT(done(), ElementsAre("begin", "apply p 1 rows1", "apply p 2 rows2", "apply p 3 rows3",
                                  "commit"));
  const auto results = sent<Results>();
  ASSERT_THAT(results, SizeIs(1));
  ASSERT_THAT(results[0].results, SizeIs(3));
  EXPECT_EQ(results[0].results[2].through, Sequence{3});
  EXPECT_EQ(results[0].results[2].outcome, Outcome::applied);
  EXPECT_EQ(results[0].stats.rows_applied, 3U);
}

TEST_F(ConsumerTargetTest, WhatBecameOfABatchAtTheCommitIsWhatIsTold) {
  get_lease();
  store::BatchOutcome dead;
  dead.through = {2};
  dead.dead_count = 1;
  dead.dead = {{{2}, "at the commit"}};
  store::BatchOutcome good;
  good.through = {1};
  file_.final_outcomes = {good, dead};
  ASSERT_TRUE(turn({batch(1, 1), Delivery{{2}, Bytes("no header"), Bytes("rows")}, batch(3, 2)}));
  const auto results = sent<Results>();
  ASSERT_THAT(results, SizeIs(1));
  ASSERT_THAT(results[0].results, SizeIs(3));
  EXPECT_EQ(results[0].results[0].dead_count, 0U);
  EXPECT_EQ(results[0].results[1].outcome, Outcome::hole);
  EXPECT_EQ(results[0].results[2].ticket, Ticket{3});
  ASSERT_THAT(results[0].results[2].dead, SizeIs(1));
  EXPECT_EQ(results[0].results[2].dead[0].reason, "at the commit");
}

TEST_F(ConsumerTargetTest, AGroupEndsAtItsRows) {
  options_.group_rows = 4;
  get_lease();
  ASSERT_TRUE(turn({batch(1, 1, 3), batch(2, 4, 3), batch(3, 7, 3)}));
  EXPECT_THAT(tickets(), ElementsAre(ElementsAre(1, 2)));
  ASSERT_TRUE(turn());
  EXPECT_THAT(tickets(), ElementsAre(ElementsAre(3)));
}

TEST_F(ConsumerTargetTest, AGroupEndsAtItsBytes) {
  options_.group_bytes = 9;  // two of "rowsN"
  get_lease();
  ASSERT_TRUE(turn({batch(1, 1), batch(2, 2), batch(3, 3)}));
  EXPECT_THAT(tickets(), ElementsAre(ElementsAre(1, 2)));
  ASSERT_TRUE(turn());
  EXPECT_THAT(tickets(), ElementsAre(ElementsAre(3)));
}

TEST_F(ConsumerTargetTest, ABatchThatHoldsTheDatabaseIsAloneInItsTransaction) {
  options_.target.allow_task_duration = true;
  get_lease();
  ASSERT_TRUE(turn({batch(1, 1), batch(2, 2, 1, 5ms), batch(3, 3)}));
  ASSERT_TRUE(turn());
  ASSERT_TRUE(turn());
  EXPECT_THAT(tickets(), ElementsAre(ElementsAre(1), ElementsAre(2), ElementsAre(3)));
}

TEST_F(ConsumerTargetTest, ABatchThatCannotBeReadStopsItsProducerAndNobodyElse) {
  get_lease();
  ASSERT_TRUE(turn({Delivery{{1}, Bytes("no header"), Bytes("rows")}, batch(2, 2)}));
  const auto results = sent<Results>();
  ASSERT_THAT(results, SizeIs(1));
  ASSERT_THAT(results[0].results, SizeIs(2));
  EXPECT_EQ(results[0].results[0].ticket, Ticket{1});
  EXPECT_EQ(results[0].results[0].outcome, Outcome::hole);
  EXPECT_EQ(results[0].results[1].outcome, Outcome::applied);
  EXPECT_THAT(done(), ElementsAre("begin", "apply p 2 rows2", "commit"));
}

TEST_F(ConsumerTargetTest, ItIsHeardWhileATransactionTakesLongerThanALease) {
  get_lease();
  int heard = 0;
  file_.on_apply = [&] {
    broker_.now += 600ms;
    heard += static_cast<int>(sent<Heartbeat>().size());
  };
  std::vector<Message> messages;
  for (std::uint64_t i = 1; i <= 10; ++i) {
    messages.emplace_back(batch(i, i));
  }
  ASSERT_TRUE(turn(std::move(messages)));
  EXPECT_EQ(heard, 9);
  EXPECT_THAT(tickets(), ElementsAre(SizeIs(10)));
}

// ---- failures that pass

TEST_F(ConsumerTargetTest, ALockedTargetIsTriedAgainWithLongerAndLongerPauses) {
  get_lease();
  file_.fails["begin"] = std::deque<Errc>(9, Errc::locked);
  ASSERT_TRUE(turn({batch(1, 1)}));
  std::vector<std::chrono::milliseconds> pauses;
  auto last = broker_.now;
  file_.done.clear();
  while (pauses.size() < 8) {
    ASSERT_TRUE(turn({Heartbeat{}}));
    ASSERT_TRUE(turn({}, 1ms));
    if (!done().empty()) {
      pauses.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(broker_.now - last));
      last = broker_.now;
    }
  }
  EXPECT_THAT(pauses, ElementsAre(100ms, 200ms, 400ms, 800ms, 1600ms, 2000ms, 2000ms, 2000ms));
  EXPECT_THAT(tickets(), IsEmpty());
  ASSERT_TRUE(idle(3s));
  EXPECT_THAT(tickets(), ElementsAre(ElementsAre(1)));
  EXPECT_EQ(file_.open, 1) << "it was not opened anew";
}

TEST_F(ConsumerTargetTest, BehindASuccessPausesAreShortAgain) {
  get_lease();
  file_.fails["commit"] = std::deque<Errc>(4, Errc::full);
  ASSERT_TRUE(turn({batch(1, 1)}));
  ASSERT_TRUE(idle(5s));
  EXPECT_THAT(tickets(), SizeIs(1));
  file_.fails["begin"] = {Errc::locked};
  ASSERT_TRUE(turn({batch(2, 2)}));
  ASSERT_TRUE(idle(110ms));
  EXPECT_THAT(tickets(), SizeIs(1));
}

TEST_F(ConsumerTargetTest, WhoWaitsForTheTargetIsHeardAndListens) {
  get_lease();
  file_.fails["begin"] = std::deque<Errc>(7, Errc::locked);
  ASSERT_TRUE(turn({batch(1, 1)}));
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(turn({Heartbeat{}}));
    ASSERT_TRUE(idle(1s));
  }
  EXPECT_GE(sent<Heartbeat>().size(), 6U);
  const auto served = turn({not_yours(2)});
  ASSERT_FALSE(served);
  EXPECT_EQ(served.error().code, Errc::fenced);
}

TEST_F(ConsumerTargetTest, AFailureWithinABatchRollsTheWholeGroupBack) {
  get_lease();
  file_.fails["apply"] = {Errc::full};
  ASSERT_TRUE(turn({batch(1, 1), batch(2, 2)}));
  EXPECT_THAT(done(), ElementsAre("begin", "apply fails", "rollback"));
  EXPECT_THAT(tickets(), IsEmpty());
  ASSERT_TRUE(idle(200ms));
  EXPECT_THAT(tickets(), ElementsAre(ElementsAre(1, 2)));
}

TEST_F(ConsumerTargetTest, BehindAFailedSyncTheTargetIsOpenedAnewBeforeAnythingIsAnswered) {
  for (const Errc code : {Errc::io, Errc::corrupt}) {
    SCOPED_TRACE(static_cast<int>(code));
    consumer_.reset();
    get_lease();
    file_.fails["commit"] = {code};
    ASSERT_TRUE(turn({batch(1, 1)}));
    EXPECT_THAT(done(), ElementsAre("begin", "apply p 1 rows1", "commit fails", "close"));
    EXPECT_THAT(tickets(), IsEmpty());
    ASSERT_TRUE(idle(200ms));
    EXPECT_THAT(tickets(), ElementsAre(IsEmpty(), ElementsAre(1)));
    const auto calls = done();
    ASSERT_GE(calls.size(), 5U);
    EXPECT_THAT(std::vector<std::string>(calls.begin(), calls.begin() + 5),
                ElementsAre("open", "take_over", "begin", "apply p 1 rows1", "commit"));
  }
}

TEST_F(ConsumerTargetTest, ATargetThatCannotBeOpenedIsTriedAgain) {
  file_.fails["open"] = {Errc::unreachable};
  file_.fails["take_over"] = {Errc::locked};
  ASSERT_TRUE(turn({granted(1), batch(1, 1)}));
  EXPECT_EQ(file_.open, 0);
  ASSERT_TRUE(idle(110ms));
  EXPECT_EQ(file_.open, 0);
  ASSERT_TRUE(idle(300ms));
  EXPECT_EQ(file_.open, 1);
  EXPECT_THAT(tickets(), ElementsAre(IsEmpty(), ElementsAre(1)));
}

TEST_F(ConsumerTargetTest, ATextLogThatIsBehindIsCaughtUpBeforeMoreIsApplied) {
  get_lease();
  file_.text_error = Error{Errc::full, "no space for the text log", ""};
  file_.fails["catch_up"] = {Errc::full};
  ASSERT_TRUE(turn({batch(1, 1)}));
  EXPECT_THAT(done(), ElementsAre("catch_up fails"));
  ASSERT_TRUE(idle(110ms));
  EXPECT_THAT(done(),
              ElementsAre("catch_up", "begin", "apply p 1 rows1", "commit", "housekeeping"));
}

TEST_F(ConsumerTargetTest, FailedHousekeepingIsTriedAgain) {
  get_lease();
  file_.fails["housekeeping"] = {Errc::full};
  ASSERT_TRUE(idle(300ms));
  EXPECT_THAT(done(), ElementsAre("housekeeping fails", "housekeeping"));
}

TEST_F(ConsumerTargetTest, NotesOfTheTextLogAreTaken) {
  file_.notes = {"the text log was written anew"};
  get_lease();
  EXPECT_THAT(file_.notes, IsEmpty());
}

// ---- failures that do not pass

TEST_F(ConsumerTargetTest, AFencedTransactionEndsIt) {
  get_lease();
  file_.fails["begin"] = {Errc::fenced};
  const auto served = turn({batch(1, 1)});
  ASSERT_FALSE(served);
  EXPECT_EQ(served.error().code, Errc::fenced);
  EXPECT_THAT(done(), ElementsAre("begin fails"));
  EXPECT_THAT(tickets(), IsEmpty());
}

TEST_F(ConsumerTargetTest, BadOptionsEndIt) {
  file_.fails["open"] = {Errc::bad_input};
  const auto served = turn({granted(1)});
  ASSERT_FALSE(served);
  EXPECT_EQ(served.error().code, Errc::bad_input);
}

TEST_F(ConsumerTargetTest, AStopEndsTheWaitForALock) {
  get_lease();
  file_.waits_in_begin = 1;
  is_stopped_ = true;
  ASSERT_TRUE(turn({batch(1, 1)}));
  EXPECT_THAT(done(), IsEmpty());
  EXPECT_THAT(tickets(), IsEmpty());
}

// Promise 6: those who wait get the reason.
TEST_F(ConsumerTargetTest, TheBrokerHearsWhyRowsWaitAndWhenTheyNoLongerDo) {
  get_lease();
  file_.fails["begin"] = {Errc::full, Errc::full};
  ASSERT_TRUE(turn({batch(1, 1)}));
  auto told = sent<Results>();
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].stats.problem, "begin failed");
  EXPECT_EQ(told[0].lease, Lease{1});
  EXPECT_THAT(told[0].results, IsEmpty());
  ASSERT_TRUE(idle(150ms));  // the same once more
  EXPECT_THAT(sent<Results>(), IsEmpty());
  ASSERT_TRUE(idle(1s));
  told = sent<Results>();
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].stats.problem, "");
  EXPECT_THAT(told[0].results, SizeIs(1));
}

TEST_F(ConsumerTargetTest, ATargetThatCannotBeOpenedIsToldToTheBroker) {
  file_.fails["open"] = {Errc::unreachable};
  ASSERT_TRUE(turn({granted(1)}));
  auto told = sent<Results>();
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].stats.problem, "open failed");
  ASSERT_TRUE(idle(500ms));
  told = sent<Results>();
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].stats.problem, "");
}

// Another broker, or the next lease, knows nothing of the reason.
TEST_F(ConsumerTargetTest, TheReasonIsToldAgainUnderTheNextLease) {
  file_.fails["open"] = {Errc::unreachable, Errc::unreachable};
  ASSERT_TRUE(turn({granted(1)}));
  ASSERT_THAT(sent<Results>(), SizeIs(1));
  ASSERT_TRUE(turn({granted(2)}));
  const auto told = sent<Results>();
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].lease, Lease{2});
  EXPECT_EQ(told[0].stats.problem, "open failed");
}

TEST_F(ConsumerTargetTest, AReasonThatTheLinkDidNotTakeIsToldLater) {
  get_lease();
  file_.fails["housekeeping"] = {Errc::full};
  broker_.is_connected = false;
  ASSERT_TRUE(turn());
  EXPECT_THAT(sent<Results>(), IsEmpty());
  broker_.is_connected = true;
  ASSERT_TRUE(turn());  // before the next try
  const auto told = sent<Results>();
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].stats.problem, "housekeeping failed");
}

TEST_F(ConsumerTargetTest, WhoHoldsTheTargetIsToldWhileItIsWaitedFor) {
  get_lease();
  file_.waits_in_begin = 2;
  file_.held_by = Error{Errc::locked, "it is locked by PID 4711 (python3 worker.py)", ""};
  ASSERT_TRUE(turn({batch(1, 1)}));
  const auto told = sent<Results>();
  ASSERT_THAT(told, SizeIs(2));  // during the wait once, and the results
  EXPECT_EQ(told[0].stats.problem, "it is locked by PID 4711 (python3 worker.py)");
  EXPECT_THAT(told[0].results, IsEmpty());
  EXPECT_EQ(told[1].stats.problem, "");
  EXPECT_THAT(told[1].results, SizeIs(1));
}

TEST_F(ConsumerTargetTest, AProblemOfAnIdleConsumerEndsWithoutARow) {
  get_lease();
  file_.fails["housekeeping"] = {Errc::locked};
  ASSERT_TRUE(turn());
  auto told = sent<Results>();
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].stats.problem, "housekeeping failed");
  ASSERT_TRUE(idle(500ms));
  told = sent<Results>();
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].stats.problem, "");
}

TEST_F(ConsumerTargetTest, TablesInTroubleAreToldWhenTheyChange) {
  get_lease();
  file_.troubles = {{"pets", "no such collation sequence: X"}};
  ASSERT_TRUE(turn());
  auto told = sent<Results>();
  ASSERT_THAT(told, SizeIs(1));
  ASSERT_THAT(told[0].stats.tables, SizeIs(1));
  EXPECT_EQ(told[0].stats.tables[0].table, "pets");
  EXPECT_EQ(told[0].stats.tables[0].reason, "no such collation sequence: X");
  EXPECT_EQ(told[0].stats.problem, "");
  ASSERT_TRUE(idle(300ms));
  EXPECT_THAT(sent<Results>(), IsEmpty());
  file_.troubles.clear();
  ASSERT_TRUE(turn());
  told = sent<Results>();
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_THAT(told[0].stats.tables, IsEmpty());
}

}  // namespace
}  // namespace turnstile::consumer
