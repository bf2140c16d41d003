// The consumer and its broker: greeting, lease, answers, silence.
#include "tests/consumer/fixture.h"

namespace turnstile::consumer {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class ConsumerBrokerTest : public ConsumerTest {};

TEST_F(ConsumerBrokerTest, SaysHelloWhenTheBrokerAsksForIt) {
  ASSERT_TRUE(turn());
  EXPECT_THAT(sent<Hello>(), IsEmpty());
  ASSERT_TRUE(turn({hello_first()}));
  const auto hellos = sent<Hello>();
  ASSERT_THAT(hellos, SizeIs(1));
  EXPECT_EQ(hellos[0].role, Role::consumer);
  EXPECT_EQ(hellos[0].producer.text, "/data/shared.db");
}

TEST_F(ConsumerBrokerTest, OneHelloAnswersAllRefusalsOfOneSecond) {
  ASSERT_TRUE(turn({hello_first(), hello_first()}));
  ASSERT_TRUE(turn({hello_first()}));
  EXPECT_THAT(sent<Hello>(), SizeIs(1));
  ASSERT_TRUE(idle(1100ms));
  ASSERT_TRUE(turn({hello_first()}));
  EXPECT_THAT(sent<Hello>(), SizeIs(1));
}

TEST_F(ConsumerBrokerTest, AHelloThatTheLinkDidNotTakeIsSaidAtTheNextRefusal) {
  broker_.is_connected = false;
  ASSERT_TRUE(turn({hello_first()}));
  broker_.is_connected = true;
  ASSERT_TRUE(turn({hello_first()}));
  EXPECT_THAT(sent<Hello>(), SizeIs(1));
}

TEST_F(ConsumerBrokerTest, AnotherRefusalOrAnUnknownMessageChangesNothing) {
  get_lease();
  ASSERT_TRUE(turn({Refusal{RefusalCode::malformed, {}, "what?"}, Welcome{}, Heartbeat{}}));
  EXPECT_EQ(file_.open, 1);
  EXPECT_THAT(sent<Hello>(), IsEmpty());
}

TEST_F(ConsumerBrokerTest, AHelloThatIsRefusedForGoodEndsIt) {
  const auto done_with =
      turn({hello_first(),
            Refusal{RefusalCode::malformed, {}, "the rows of this broker are for the target /a"}});
  ASSERT_FALSE(done_with);
  EXPECT_EQ(done_with.error().code, Errc::refused);
  EXPECT_THAT(done_with.error().hint, testing::HasSubstr("--new-target"));
}

TEST_F(ConsumerBrokerTest, ItNamesItsTargetByItsWholePath) {
  options_.target.path = "some/../shared.db";
  options_.new_target = true;
  ASSERT_TRUE(turn({hello_first()}));
  const auto hellos = sent<Hello>();
  ASSERT_THAT(hellos, SizeIs(1));
  EXPECT_EQ(
      hellos[0].producer.text,
      (std::filesystem::weakly_canonical(std::filesystem::current_path()) / "shared.db").string());
  EXPECT_TRUE(hellos[0].new_target);
}

TEST_F(ConsumerBrokerTest, AskedForAListOnlyItListsWhatComesAfterThatRow) {
  get_lease();
  ASSERT_TRUE(turn({AskProgress{3, {"p"}, {7}, true}}));
  const auto answers = sent<ProgressAnswer>();
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(answers[0].request, 3U);
}

TEST_F(ConsumerBrokerTest, WhoStandsByOpensNothingAndIsHeardEveryHalfSecond) {
  ASSERT_TRUE(turn({hello_first(), not_yours(0)}));
  broker_.sent.clear();
  ASSERT_TRUE(idle(2100ms));
  EXPECT_THAT(sent<Heartbeat>(), SizeIs(4));
  EXPECT_THAT(done(), IsEmpty());
}

TEST_F(ConsumerBrokerTest, ALeaseOpensTheTargetAndTellsItsFigures) {
  ASSERT_TRUE(turn({granted(3)}));
  EXPECT_THAT(done(), ElementsAre("open", "take_over", "housekeeping"));
  const auto results = sent<Results>();
  ASSERT_THAT(results, SizeIs(1));
  EXPECT_EQ(results[0].lease, Lease{3});
  EXPECT_EQ(results[0].stats.dead_letters, 42U);
  EXPECT_EQ(results[0].stats.target, "/data/shared.db");
  EXPECT_THAT(results[0].results, IsEmpty());
}

TEST_F(ConsumerBrokerTest, ALostLeaseEndsItBeforeItAppliesAnythingMore) {
  get_lease(1);
  const auto served = turn({batch(1, 1), not_yours(2)});
  ASSERT_FALSE(served);
  EXPECT_EQ(served.error().code, Errc::fenced);
  EXPECT_THAT(done(), IsEmpty());
  EXPECT_THAT(tickets(), IsEmpty());
}

TEST_F(ConsumerBrokerTest, NewsOfAnOlderLeaseAreNone) {
  get_lease(2);
  ASSERT_TRUE(turn({not_yours(2), not_yours(1), batch(1, 1)}));
  EXPECT_THAT(tickets(), ElementsAre(ElementsAre(1)));
}

TEST_F(ConsumerBrokerTest, WhoseSecondHelloCostItTheLeaseStandsByAndTouchesNothing) {
  ASSERT_TRUE(turn({hello_first(), granted(1), not_yours(0), Heartbeat{}}));
  EXPECT_THAT(done(), IsEmpty()) << "the next one's generation stays the newest";
  get_lease(3);
  ASSERT_TRUE(turn({not_yours(0)}));
  EXPECT_EQ(file_.open, 0) << "promise 9";
}

TEST_F(ConsumerBrokerTest, ABrokerThatStartedAnewGetsAHelloAndHandsOverAgain) {
  get_lease(4);
  ASSERT_TRUE(turn({batch(1, 1), AskProgress{9, {"p"}, {}}, hello_first()}));
  EXPECT_THAT(sent<Hello>(), SizeIs(1));
  EXPECT_THAT(tickets(), IsEmpty());
  EXPECT_THAT(sent<ProgressAnswer>(), IsEmpty());
  EXPECT_EQ(file_.open, 0) << "promise 9: another may write the target now";
  ASSERT_TRUE(turn({granted(1), batch(1, 1)}));
  EXPECT_EQ(file_.open, 1);
  const auto results = sent<Results>();
  ASSERT_THAT(results, SizeIs(2));
  EXPECT_EQ(results[1].lease, Lease{1});
}

TEST_F(ConsumerBrokerTest, ASecondGrantVoidsWhatTheFirstHandedOver) {
  get_lease(1);
  ASSERT_TRUE(turn({batch(1, 1), granted(2), batch(2, 1)}));
  EXPECT_THAT(done(),
              ElementsAre("close", "open", "take_over", "begin", "apply p 1 rows1", "commit"));
  EXPECT_THAT(tickets(), ElementsAre(IsEmpty(), ElementsAre(2)));
}

TEST_F(ConsumerBrokerTest, WorkWithoutALeaseMeansThatTheLinkLostIt) {
  for (const Message& work : {Message(batch(1, 1)), Message(AskProgress{9, {"p"}, {}}),
                              Message(CheckTable{6, "pets", {"name"}})}) {
    broker_.reconnects = 0;
    ASSERT_TRUE(turn({hello_first(), not_yours(0), work}, 500ms));
    const auto before = broker_.now;
    ASSERT_TRUE(turn({}, 500ms));
    EXPECT_EQ(broker_.reconnects, 1);
    EXPECT_EQ(broker_.now, before + 500ms) << "it waits, as it has nothing to do";
    ASSERT_TRUE(idle(2s));
    EXPECT_EQ(broker_.reconnects, 1);
  }
  EXPECT_THAT(done(), IsEmpty());
  ASSERT_TRUE(turn({granted(1), batch(7, 1)}));
  EXPECT_THAT(tickets(), ElementsAre(IsEmpty(), ElementsAre(7)));
}

TEST_F(ConsumerBrokerTest, ASilentBrokerIsConnectedToAnew) {
  get_lease();
  ASSERT_TRUE(idle(5s));
  EXPECT_EQ(broker_.reconnects, 0);
  ASSERT_TRUE(idle(1500ms));
  EXPECT_EQ(broker_.reconnects, 1);
  EXPECT_EQ(file_.open, 0);
  ASSERT_TRUE(idle(5s));
  EXPECT_EQ(broker_.reconnects, 1);
}

TEST_F(ConsumerBrokerTest, ABrokerThatSpeaksIsNotSilent) {
  get_lease();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(idle(2s));
    ASSERT_TRUE(turn({Heartbeat{}}));
  }
  EXPECT_EQ(broker_.reconnects, 0);
}

TEST_F(ConsumerBrokerTest, SilenceWithinATransactionIsActedUponBehindIt) {
  get_lease();
  file_.waits_in_begin = 1;
  ASSERT_TRUE(turn({batch(1, 1)}));
  EXPECT_THAT(tickets(), SizeIs(1));
  broker_.now += 7s;
  broker_.to_producer.emplace_back(batch(2, 2));
  // The wait in the transaction notices; the transaction is still committed and answered.
  ASSERT_TRUE(turn());
  EXPECT_THAT(tickets(), ElementsAre(ElementsAre(2)));
  EXPECT_EQ(broker_.reconnects, 0);
  ASSERT_TRUE(turn());
  EXPECT_EQ(broker_.reconnects, 1);
}

TEST_F(ConsumerBrokerTest, TheBrokerHearsOfItDuringALongWaitForALock) {
  get_lease();
  file_.waits_in_begin = 3;
  broker_.now += 600ms;
  const auto before = broker_.now;
  options_.clock = [this, before] {
    // Each look at the clock finds it a little later, as within a long transaction.
    broker_.now += broker_.now > before + 10s ? 0ms : 100ms;
    return broker_.now;
  };
  consumer_.reset();
  broker_.sent.clear();
  get_lease(2);
  ASSERT_TRUE(turn({Heartbeat{}, batch(1, 1)}));
  EXPECT_THAT(sent<Heartbeat>(), testing::Not(IsEmpty()));
}

// ---- a link that takes nothing for now

TEST_F(ConsumerBrokerTest, ResultsThatTheLinkDoesNotTakeAreKeptAndSentBeforeLaterOnes) {
  get_lease();
  broker_.is_connected = false;
  ASSERT_TRUE(turn({batch(1, 1)}));
  ASSERT_TRUE(turn({batch(2, 2)}, 500ms));
  EXPECT_THAT(tickets(), IsEmpty());
  EXPECT_THAT(done(), ElementsAre("begin", "apply p 1 rows1", "commit"));
  broker_.is_connected = true;
  ASSERT_TRUE(turn());
  EXPECT_THAT(tickets(), ElementsAre(ElementsAre(1), ElementsAre(2)));
}

TEST_F(ConsumerBrokerTest, AFullLinkIsTriedAgainSoonAndNotWithoutAPause) {
  get_lease();
  broker_.is_connected = false;
  ASSERT_TRUE(turn({batch(1, 1)}));
  const auto before = broker_.now;
  ASSERT_TRUE(turn({}, 500ms));
  EXPECT_GT(broker_.now, before);
  EXPECT_LE(broker_.now, before + 50ms);
}

TEST_F(ConsumerBrokerTest, AnAnswerThatTheLinkDoesNotTakeIsGivenLaterAndBeforeResults) {
  get_lease();
  broker_.is_connected = false;
  ASSERT_TRUE(turn({AskProgress{5, {"p"}, {}}, batch(1, 1)}));
  EXPECT_THAT(done(), ElementsAre("progress"));
  broker_.is_connected = true;
  ASSERT_TRUE(turn());
  ASSERT_THAT(broker_.sent, SizeIs(2));
  EXPECT_TRUE(std::holds_alternative<ProgressAnswer>(broker_.sent[0]));
  EXPECT_TRUE(std::holds_alternative<Results>(broker_.sent[1]));
}

TEST_F(ConsumerBrokerTest, ResultsOfALostConnectionAreVoid) {
  get_lease();
  broker_.is_connected = false;
  ASSERT_TRUE(turn({batch(1, 1)}));
  broker_.is_connected = true;
  ASSERT_TRUE(turn({hello_first(), granted(1)}));
  EXPECT_THAT(tickets(), ElementsAre(IsEmpty()));
}

TEST_F(ConsumerBrokerTest, ManyResultsAreSplitIntoMessagesThatFit) {
  get_lease();
  for (std::uint64_t i = 1; i <= 1500; ++i) {
    broker_.to_producer.emplace_back(batch(i, i));
  }
  ASSERT_TRUE(turn());
  EXPECT_THAT(tickets(), ElementsAre(SizeIs(1000), SizeIs(500)));
}

TEST_F(ConsumerBrokerTest, ManyDeadLettersAreSplitIntoMessagesThatFit) {
  get_lease();
  file_.dead_per_batch = 100;
  for (std::uint64_t i = 1; i <= 25; ++i) {
    broker_.to_producer.emplace_back(batch(i, i));
  }
  ASSERT_TRUE(turn());
  EXPECT_THAT(tickets(), ElementsAre(SizeIs(10), SizeIs(10), SizeIs(5)));
}

// ---- questions

TEST_F(ConsumerBrokerTest, QuestionsAreAnsweredBeforeWhatCameWithThemIsApplied) {
  get_lease();
  file_.through["p"] = 6;
  ASSERT_TRUE(turn({batch(1, 7), AskProgress{5, {"p"}, {2}}, CheckTable{6, "pets", {"name"}}}));
  EXPECT_THAT(done(), ElementsAre("progress", "check_table", "begin", "apply p 7 rows7", "commit"));
  const auto progress = sent<ProgressAnswer>();
  ASSERT_THAT(progress, SizeIs(1));
  EXPECT_EQ(progress[0].request, 5U);
  EXPECT_EQ(progress[0].progress.through, Sequence{6});
  EXPECT_EQ(progress[0].progress.dead_count, 2U) << "since was handed on";
  const auto table = sent<TableAnswer>();
  ASSERT_THAT(table, SizeIs(1));
  EXPECT_EQ(table[0].request, 6U);
  EXPECT_EQ(table[0].detail, "pets.name");
}

TEST_F(ConsumerBrokerTest, AQuestionThatTheTargetCannotAnswerNowIsAnsweredLater) {
  get_lease();
  file_.fails["progress"] = {Errc::locked};
  file_.fails["check_table"] = {Errc::locked};
  ASSERT_TRUE(turn({AskProgress{5, {"p"}, {}}, CheckTable{6, "pets", {"name"}}}));
  ASSERT_TRUE(idle(1s));
  EXPECT_THAT(sent<ProgressAnswer>(), SizeIs(1));
  EXPECT_THAT(sent<TableAnswer>(), SizeIs(1));
}

// ---- the end

TEST_F(ConsumerBrokerTest, AStopGivesTheLeaseBackAndTidiesTheTarget) {
  get_lease();
  ASSERT_TRUE(turn({batch(1, 1)}));
  file_.done.clear();
  is_stopped_ = true;
  ASSERT_TRUE(consumer().run());
  EXPECT_THAT(sent<Bye>(), SizeIs(1));
  EXPECT_THAT(done(), ElementsAre("rollback", "housekeeping"));
}

TEST_F(ConsumerBrokerTest, AStopWhileStandingByNeedsNoTarget) {
  broker_.on_wait = [this] { is_stopped_ = true; };
  ASSERT_TRUE(consumer().run());
  EXPECT_THAT(sent<Bye>(), SizeIs(1));
  EXPECT_THAT(done(), IsEmpty());
}

TEST_F(ConsumerBrokerTest, RunEndsWithWhatEndsATurn) {
  broker_.to_producer = {granted(1), not_yours(2)};
  const auto ran = consumer().run();
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().code, Errc::fenced);
}

}  // namespace
}  // namespace turnstile::consumer
