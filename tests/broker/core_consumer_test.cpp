// What the broker's core does with a consumer, or without one: progress, fencing, lease.
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/broker/core_fixture.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;

class CoreConsumerTest : public CoreTest {};

// ---- reconnecting and fencing

TEST_F(CoreConsumerTest, AReconnectedProducerGetsItsProgressFromTheTarget) {
  join_consumer("c");
  say("p", producer_hello("a", 1, 4));
  const auto ask = one<AskProgress>("c");
  EXPECT_EQ(ask.producer, ProducerId{"a"});
  EXPECT_EQ(ask.since, Sequence{4});
  EXPECT_TRUE(none<Welcome>("p"));
  say("c", ProgressAnswer{ask.request, {true, {1}, {17}, "", 1, {{{9}, "bad"}}}});
  const auto welcome = one<Welcome>("p");
  EXPECT_EQ(welcome.through, Sequence{17});
  EXPECT_TRUE(welcome.through_is_sure);
  const auto applied = one<Applied>("p");
  EXPECT_EQ(applied.through, Sequence{17});
  EXPECT_EQ(applied.dead_count, 1U);
}

TEST_F(CoreConsumerTest, ASilentConsumerDelaysAWelcomeOnlyBriefly) {
  join_consumer("c");
  say("p", producer_hello("a", 1, 0));
  const auto ask = one<AskProgress>("c");
  turn(999ms);
  EXPECT_TRUE(none<Welcome>("p"));
  turn(1ms);
  EXPECT_FALSE(one<Welcome>("p").through_is_sure);
  // Its late answer still has the outcomes.
  say("c", ProgressAnswer{ask.request, {true, {1}, {17}, "", 0, {}}});
  EXPECT_EQ(one<Applied>("p").through, Sequence{17});
}

// Promise 7: the late answer is about rows that this process has not sent yet.
TEST_F(CoreConsumerTest, RowsSentAgainAfterALateAnswerGetTheirOutcomesFromTheTarget) {
  const Lease lease = join_consumer("c");
  say("p", producer_hello("mine", 0, 0, true));
  const auto ask = one<AskProgress>("c");
  turn(1s);
  const auto welcome = one<Welcome>("p");
  say("c", ProgressAnswer{ask.request, {true, {1}, {17}, "", 1, {{{9}, "bad"}}}});
  EXPECT_EQ(one<Applied>("p").through, Sequence{17});
  say("p", batch_of("mine", 1, 10, 10, welcome.epoch.value));
  answer("c", lease, {{one<Delivery>("c").ticket, Outcome::applied, {17}, 1, {{{9}, "bad"}}}});
  const auto applied = one<Applied>("p");
  EXPECT_EQ(applied.through, Sequence{10});
  EXPECT_EQ(applied.dead_count, 1U);
}

// Two processes of one name. The older one's rows are applied when the newer one is welcomed.
class TwoProcessesTest : public CoreTest {
 protected:
  static Hello hello_of(std::uint64_t epoch = 0) {
    Hello hello = producer_hello("mine", epoch, 0, true);
    hello.stored = Sequence{0};
    return hello;
  }
  // The consumer also sends `meanwhile` in the turn that ends with the welcome.
  Epoch join(std::string_view connection, std::optional<Results> meanwhile = {}) {
    say(connection, hello_of());
    core_->receive(id("c"), ProgressAnswer{one<AskProgress>("c").request, {}}, now_);
    if (meanwhile) {
      core_->receive(id("c"), std::move(*meanwhile), now_);
    }
    turn();
    return one<Welcome>(connection).epoch;
  }
  // Row 2 is a dead letter.
  static BatchResult result_of(const Delivery& delivery, std::uint64_t through,
                               Outcome outcome = Outcome::applied) {
    const bool has_it = decode_batch_header(delivery.header_frame.view())->first <= Sequence{2};
    return {delivery.ticket,
            outcome,
            {through},
            has_it ? 1U : 0U,
            has_it ? std::vector<DeadRow>{{{2}, "no"}} : std::vector<DeadRow>{}};
  }
  void answer_question(std::uint64_t through) {
    const auto ask = one<AskProgress>("c");
    EXPECT_EQ(ask.since, Sequence{0});
    say("c", ProgressAnswer{ask.request, {true, {1}, {through}, "", 1, {{{2}, "no"}}}});
  }
  void expect_applied(std::string_view connection, std::uint64_t through) {
    const auto applied = one<Applied>(connection);
    EXPECT_EQ(applied.through, Sequence{through});
    EXPECT_EQ(applied.dead_count, 1U);
    EXPECT_EQ(applied.dead.size(), 1U);
  }
};

TEST_F(TwoProcessesTest, TheNewerGetsOutcomesOfRowsAppliedBeforeItSentThem) {
  const Lease lease = join_consumer("c");
  const Epoch old_epoch = join("old");
  say("old", batch_of("mine", 1, 4, 10, old_epoch.value));
  say("old", batch_of("mine", 5, 9, 10, old_epoch.value));
  const auto deliveries = take<Delivery>("c");
  ASSERT_EQ(deliveries.size(), 2U);
  const Epoch epoch = join("new");
  answer("c", lease, {result_of(deliveries[0], 4)});
  EXPECT_TRUE(none<Applied>("new")) << "it has no rows yet";
  say("new", batch_of("mine", 1, 3, 10, epoch.value));
  answer_question(4);
  expect_applied("new", 3);
  answer("c", lease, {result_of(deliveries[1], 9)});
  EXPECT_TRUE(none<Applied>("new"));
}

TEST_F(TwoProcessesTest, AResultIsNotSentBeforeEarlierUnsentOutcomes) {
  const Lease lease = join_consumer("c");
  const Epoch old_epoch = join("old");
  say("old", batch_of("mine", 1, 4, 10, old_epoch.value));
  say("old", batch_of("mine", 5, 9, 10, old_epoch.value));
  const auto deliveries = take<Delivery>("c");
  ASSERT_EQ(deliveries.size(), 2U);
  const Epoch epoch = join("new");
  answer("c", lease, {result_of(deliveries[0], 4)});
  core_->receive(id("new"), batch_of("mine", 1, 8, 10, epoch.value), now_);
  answer("c", lease, {result_of(deliveries[1], 9)});
  EXPECT_TRUE(none<Applied>("new"));
  answer_question(9);
  expect_applied("new", 8);
}

TEST_F(TwoProcessesTest, TheNewerGetsOutcomesOfRowsAppliedBetweenTheTargetsAnswerAndItsWelcome) {
  const Lease lease = join_consumer("c");
  const Epoch old_epoch = join("old");
  say("old", batch_of("mine", 1, 4, 10, old_epoch.value));
  say("old", batch_of("mine", 5, 9, 10, old_epoch.value));
  const auto deliveries = take<Delivery>("c");
  ASSERT_EQ(deliveries.size(), 2U);
  join("new", Results{lease, {result_of(deliveries[0], 4)}, {}});
  answer_question(4);
  expect_applied("new", 4);
}

TEST_F(TwoProcessesTest, TheNewerGetsOutcomesOfAppliedRowsThatAreAcknowledgedAsStored) {
  const Lease lease = join_consumer("c");
  const Epoch old_epoch = join("old");
  say("old", batch_of("mine", 1, 4, 10, old_epoch.value));
  say("old", batch_of("mine", 5, 9, 10, old_epoch.value));
  const auto deliveries = take<Delivery>("c");
  ASSERT_EQ(deliveries.size(), 2U);
  const Epoch epoch = join("new");
  turn(100ms);
  answer("c", lease, {result_of(deliveries[0], 4)});
  take<Stored>("new");
  say("new", batch_of("mine", 1, 4, 10, epoch.value));
  EXPECT_EQ(one<Stored>("new").through, Sequence{4});
  answer_question(4);
  expect_applied("new", 4);
}

TEST_F(TwoProcessesTest, AReconnectedProducerGetsOutcomesOnlyOfRowsThatItSent) {
  const Lease lease = join_consumer("c");
  const Epoch epoch = join("p");
  Hello again = hello_of(epoch.value);
  again.sent = Sequence{1};
  say("p2", again);
  const auto ask = one<AskProgress>("c");
  say("c", ProgressAnswer{ask.request, {true, {1}, {9}, "", 1, {{{2}, "no"}}}});
  EXPECT_EQ(one<Welcome>("p2").through, Sequence{9});
  auto applied = one<Applied>("p2");
  EXPECT_EQ(applied.through, Sequence{1});
  EXPECT_EQ(applied.dead_count, 0U);
  say("p2", batch_of("mine", 2, 4, 10, epoch.value));
  answer("c", lease, {result_of(one<Delivery>("c"), 9)});
  expect_applied("p2", 4);
}

TEST_F(TwoProcessesTest, AFencedBatchThatWasAppliedHasOutcomes) {
  const Lease lease = join_consumer("c");
  const Epoch epoch = join("p");
  say("p", batch_of("mine", 1, 4, 10, epoch.value));
  auto result = result_of(one<Delivery>("c"), 4, Outcome::fenced);
  result.dead.clear();
  result.dead_count = 0;
  answer("c", lease, {result});
  EXPECT_TRUE(none<Applied>("p"));
  answer_question(4);
  expect_applied("p", 4);
}

TEST_F(CoreConsumerTest, ADisconnectedConsumerDelaysNoWelcomeAndNoTableAnswer) {
  join_consumer("c");
  join_producer("q", "b");
  say("p", producer_hello("a", 1, 0));
  say("q", CheckTable{5, "pets", {"name"}});
  core_->receive(id("c"), Bye{}, now_);
  EXPECT_LE(core_->deadline(now_), now_);
  turn();
  EXPECT_FALSE(one<Welcome>("p").through_is_sure);
  const auto answer = one<TableAnswer>("q");
  EXPECT_EQ(answer.request, 5U);
  EXPECT_EQ(answer.state, TableState::unknown);
}

TEST_F(CoreConsumerTest, ANewConsumerIsAskedForEachProducersOutcomes) {
  join_producer("p", "a");
  say("c", consumer_hello());
  const auto ask = one<AskProgress>("c");
  EXPECT_EQ(ask.producer, ProducerId{"a"});
  say("c", ProgressAnswer{ask.request, {true, {1}, {12}, "", 0, {}}});
  EXPECT_EQ(one<Applied>("p").through, Sequence{12});
}

TEST_F(CoreConsumerTest, AnAnswerAboutAConnectionsEarlierProducerDoesNotGoToTheNewOne) {
  join_consumer("c");
  say("p", producer_hello("a", 1));
  const auto about_a = one<AskProgress>("c");
  say("p", producer_hello("b", 1));
  const auto about_b = one<AskProgress>("c");
  say("c", ProgressAnswer{about_a.request, {true, {1}, {1000}, "", 0, {}}});
  EXPECT_TRUE(none<Welcome>("p"));
  say("c", ProgressAnswer{about_b.request, {true, {1}, {3}, "", 0, {}}});
  EXPECT_EQ(one<Welcome>("p").through, Sequence{3});
  EXPECT_EQ(core_->window().applied_through({"b"}), Sequence{3});
}

TEST_F(CoreConsumerTest, ANamedProducersEpochGrowsAndFencesTheOlderProcess) {
  say("p", producer_hello("mine", 0, 0, true));
  const auto older = one<Welcome>("p");
  EXPECT_EQ(older.epoch, Epoch{kWallClock});
  say("q", producer_hello("mine", 0, 0, true));
  const auto newer = one<Welcome>("q");
  EXPECT_GT(newer.epoch, older.epoch);
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::fenced);
  say("p", batch_of("mine", 1, 1, 10, older.epoch.value));
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::hello_first);
  say("p", producer_hello("mine", older.epoch.value, 0, true));
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::fenced);
  EXPECT_EQ(report()["producers_connected"], 1);
}

TEST_F(CoreConsumerTest, AProcessThatWaitsForItsWelcomeDoesNotFenceANewerProcess) {
  join_consumer("c");
  say("p", producer_hello("mine", 0, 0, true));
  one<AskProgress>("c");
  // The consumer disconnects without an answer, and the next process comes at the same moment.
  core_->unreachable(id("c"));
  say("q", producer_hello("mine", 0, 0, true));
  const auto newer = one<Welcome>("q");
  turn(2s);
  EXPECT_TRUE(none<Refusal>("q"));
  EXPECT_TRUE(none<Welcome>("p"));
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::fenced);
  say("q", batch_of("mine", 1, 1, 10, newer.epoch.value));
  EXPECT_EQ(one<Stored>("q").through, Sequence{1});
}

// The consumer applies its predecessor's rows directly after its answer about them.
TEST_F(CoreConsumerTest, AProducerThatWaitsForItsEpochGetsOutcomesOfRowsAppliedMeanwhile) {
  for (const bool predecessor_disconnected : {true, false}) {
    SCOPED_TRACE(predecessor_disconnected);
    start();
    sent_.clear();
    const Lease lease = join_consumer("c");
    say("p", producer_hello("mine", 0, 0, true));
    say("c", ProgressAnswer{one<AskProgress>("c").request, {}});
    say("p", batch_of("mine", 1, 2, 10, one<Welcome>("p").epoch.value));
    const auto delivery = one<Delivery>("c");
    if (predecessor_disconnected) {
      say("p", Bye{});
    }
    Hello hello = producer_hello("mine", 0, 0, true);
    hello.stored = Sequence{0};
    say("q", hello);
    core_->receive(id("c"), ProgressAnswer{one<AskProgress>("c").request, {}}, now_);
    core_->receive(id("c"), Results{lease, {{delivery.ticket, Outcome::applied, {2}, 0, {}}}, {}},
                   now_);
    turn();
    EXPECT_EQ(one<Welcome>("q").through, Sequence{2});
    say("c", ProgressAnswer{one<AskProgress>("c").request, {true, {1}, {2}, "", 0, {}}});
    EXPECT_EQ(one<Applied>("q").through, Sequence{2});
    say("q", Bye{});
    EXPECT_FALSE(core_->window().knows({"mine"})) << "no process of that name is connected";
  }
}

TEST_F(CoreConsumerTest, EpochsOutliveTheBroker) {
  say("p", producer_hello("mine", 0, 0, true));
  const auto first = one<Welcome>("p");
  say("q", producer_hello("mine", 0, 0, true));
  const auto second = one<Welcome>("q");
  take<Refusal>("p");
  start();
  say("p", producer_hello("mine", first.epoch.value, 0, true));
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::fenced);
  say("q", producer_hello("mine", second.epoch.value, 0, true));
  EXPECT_EQ(one<Welcome>("q").epoch, second.epoch);
}

TEST_F(CoreConsumerTest, TheTargetsEpochCountsIfTheJournalsWasLost) {
  join_consumer("c");
  say("p", producer_hello("mine", 0, 0, true));
  say("c", ProgressAnswer{one<AskProgress>("c").request,
                          {true, {kWallClock + 50}, {8}, "source", 0, {}}});
  const auto welcome = one<Welcome>("p");
  EXPECT_EQ(welcome.epoch, Epoch{kWallClock + 51});
  EXPECT_EQ(welcome.through, Sequence{8});
  EXPECT_EQ(welcome.source, "source");
}

// A batch of a source, from a welcomed session.
Batch sourced(std::uint64_t first, std::uint64_t last, Epoch epoch, const std::string& source) {
  Batch batch = batch_of("mine", first, last, 100, epoch.value);
  batch.header.source = source;
  batch.header_frame = encode_batch_header(batch.header);
  return batch;
}

Hello with_source(Hello hello) {
  hello.source = "one";
  return hello;
}

TEST_F(CoreConsumerTest, TheWelcomeHasTheSourceOfStoredRowsWithoutAConsumer) {
  say("p", with_source(producer_hello("mine", 0, 0, true)));
  const auto first = one<Welcome>("p");
  EXPECT_EQ(first.last, std::nullopt);  // the target may know this name from another journal
  say("p", sourced(1, 3, first.epoch, "one+0@1:1"));
  EXPECT_EQ(one<Stored>("p").through, Sequence{3});
  say("q", with_source(producer_hello("mine", 0, 0, true)));
  auto again = one<Welcome>("q");
  EXPECT_EQ(again.through, Sequence{3});
  EXPECT_EQ(again.source, "one+0@1:1");
  EXPECT_EQ(again.last, std::nullopt);
  start();  // from here on the target may know more rows
  say("q", with_source(producer_hello("mine", 0, 0, true)));
  again = one<Welcome>("q");
  EXPECT_EQ(again.through, Sequence{3});
  EXPECT_EQ(again.source, "one+0@1:1");
  EXPECT_EQ(again.last, std::nullopt);
}

TEST_F(CoreConsumerTest, TheWelcomeCoversRowsInFlight) {
  join_consumer("c");
  say("p", with_source(producer_hello("mine", 0, 0, true)));
  say("c", ProgressAnswer{one<AskProgress>("c").request, {true, {1}, {2}, "one+0@1:1", 0, {}}});
  const auto first = one<Welcome>("p");
  EXPECT_EQ(first.last, Sequence{2});
  say("p", sourced(3, 5, first.epoch, "one+0@2:2"));
  say("q", with_source(producer_hello("mine", 0, 0, true)));
  say("c", ProgressAnswer{one<AskProgress>("c").request, {true, {1}, {2}, "one+0@1:1", 0, {}}});
  const auto again = one<Welcome>("q");
  EXPECT_EQ(again.through, Sequence{2});
  EXPECT_EQ(again.last, Sequence{5});
  EXPECT_EQ(again.source, "one+0@2:2");
}

TEST_F(CoreConsumerTest, ANewConnectionOfTheSameProcessFencesNobody) {
  say("p", producer_hello("mine", 0, 0, true));
  const auto welcome = one<Welcome>("p");
  say("q", producer_hello("mine", welcome.epoch.value, 0, true));
  EXPECT_EQ(one<Welcome>("q").epoch, welcome.epoch);
  EXPECT_TRUE(none<Refusal>("p"));
}

// ---- the consumer's lease

TEST_F(CoreConsumerTest, ASecondConsumerStandsByAndTakesOverWhatIsUnanswered) {
  const Lease first = join_consumer("c1");
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  const auto delivery = one<Delivery>("c1");
  say("c2", consumer_hello());
  EXPECT_FALSE(one<LeaseState>("c2").granted);
  say("c1", Bye{});
  const auto state = one<LeaseState>("c2");
  EXPECT_TRUE(state.granted);
  EXPECT_GT(state.lease, first);
  const auto again = one<Delivery>("c2");
  EXPECT_NE(again.ticket, delivery.ticket);
  answer("c2", state.lease, {applied_result(again.ticket, 10)});
  // The first consumer may have applied rows before these: their outcomes come first.
  EXPECT_TRUE(none<Applied>("p"));
  say("c2", ProgressAnswer{one<AskProgress>("c2").request, {}});
  EXPECT_EQ(one<Applied>("p").through, Sequence{10});
}

TEST_F(CoreConsumerTest, ASilentConsumerLosesItsLeaseOnlyWhenAnotherWaits) {
  const Lease lease = join_consumer("c1");
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  const auto delivery = one<Delivery>("c1");
  for (auto silence = 0ms; silence < 1min; silence += 500ms) {
    turn(500ms);
  }
  EXPECT_TRUE(none<LeaseState>("c1"));
  say("c2", consumer_hello());
  EXPECT_TRUE(take<LeaseState>("c2").back().granted);
  EXPECT_FALSE(one<LeaseState>("c1").granted);
  // Its answers no longer count.
  answer("c1", lease, {applied_result(delivery.ticket, 10)});
  EXPECT_FALSE(one<LeaseState>("c1").granted);
  EXPECT_TRUE(none<Applied>("p"));
}

TEST_F(CoreConsumerTest, AConsumerThatSentDuringABrokerStallKeepsItsLease) {
  join_consumer("c1");
  say("c2", consumer_hello());
  take<LeaseState>("c2");
  // After a slow sync the messages of both are read, in any order.
  now_ += 20s;
  core_->receive(id("c2"), Heartbeat{}, now_);
  core_->receive(id("c3"), consumer_hello(), now_);
  core_->receive(id("c1"), Heartbeat{}, now_);
  turn();
  EXPECT_TRUE(none<LeaseState>("c1"));
  EXPECT_EQ(core_->consumer(), id("c1"));
}

TEST_F(CoreConsumerTest, AConsumerWhoseMessagesAreStillQueuedKeepsItsLease) {
  join_consumer("c1");
  say("c2", consumer_hello());
  now_ += 20s;
  for (int i = 0; i < 5; ++i) {
    core_->receive(id("c2"), Heartbeat{}, now_);
    turn(100ms);
  }
  EXPECT_EQ(core_->consumer(), id("c1"));
  for (int i = 0; i < 10; ++i) {
    turn(500ms);
  }
  EXPECT_EQ(core_->consumer(), id("c2")) << "it was really silent";
}

TEST_F(CoreConsumerTest, ResultsWithoutTheLeaseAreIgnored) {
  const Lease lease = join_consumer("c1");
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  const auto delivery = one<Delivery>("c1");
  say("p", Results{lease, {applied_result(delivery.ticket, 10)}, {}});
  say("c1", Results{{lease.value + 1}, {applied_result(delivery.ticket, 10)}, {}});
  EXPECT_TRUE(none<Applied>("p"));
  say("p", ProgressAnswer{1, {true, {1}, {99}, "", 0, {}}});
  EXPECT_EQ(core_->window().applied_through({"a"}), Sequence{0});
}

// A link may deliver late what was sent to an earlier broker. Both brokers count tickets from 1.
TEST_F(CoreConsumerTest, ResultsUnderALeaseOfAnEarlierStartAreIgnored) {
  const Lease before = join_consumer("c");
  start();
  EXPECT_NE(join_consumer("c"), before);
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  const auto delivery = one<Delivery>("c");
  say("c", Results{before, {applied_result(delivery.ticket, 10)}, {}});
  EXPECT_TRUE(none<Applied>("p"));
  EXPECT_EQ(core_->window().applied_through({"a"}), Sequence{0});
}

TEST_F(CoreConsumerTest, AConsumerThatStartsOverGetsAllBatchesAgain) {
  join_consumer("c");
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  take<Delivery>("c");
  join_consumer("c");
  EXPECT_EQ(take<Delivery>("c").size(), 1U);
}

TEST_F(CoreConsumerTest, ResultsUnderAConsumersPreviousLeaseDoNotCostItsLease) {
  const Lease first = join_consumer("c");
  const Lease second = join_consumer("c");
  EXPECT_GT(second, first);
  say("c", Results{first, {}, {}});
  EXPECT_TRUE(none<LeaseState>("c")) << "a consumer that gets this stops";
}

TEST_F(CoreConsumerTest, AnUnreachableConsumerCountsAsDisconnected) {
  join_consumer("c");
  core_->unreachable(id("c"));
  EXPECT_FALSE(core_->window().has_consumer());
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  EXPECT_EQ(one<Stored>("p").through, Sequence{10});
}

TEST_F(CoreConsumerTest, AHoleThatTheTargetSeesIsRefusedToTheProducer) {
  const Lease lease = join_consumer("c");
  join_producer("p", "a");
  say("p", batch_of("a", 5, 10));
  answer("c", lease, {{one<Delivery>("c").ticket, Outcome::hole, {2}, 0, {}}});
  const auto refusal = one<Refusal>("p");
  EXPECT_EQ(refusal.code, RefusalCode::hole);
  EXPECT_EQ(refusal.sequence, Sequence{5});
  EXPECT_EQ(report()["window"]["batches"], 0);
}

TEST_F(CoreConsumerTest, AStoredBatchThatIsRefusedStopsItsProducerUntilTheNextConsumer) {
  join_producer("p", "a");
  say("p", batch_of("a", 5, 10));
  join_producer("q", "b");
  say("q", batch_of("b", 1, 1));
  const Lease lease = join_consumer("c");
  auto deliveries = take<Delivery>("c");
  ASSERT_EQ(deliveries.size(), 2U);
  answer(
      "c", lease,
      {{deliveries[0].ticket, Outcome::hole, {4}, 0, {}}, applied_result(deliveries[1].ticket, 1)});
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::hole);
  EXPECT_EQ(report()["producers_stopped"], nlohmann::json::array({"a"}));
  EXPECT_EQ(journal_->batches(), 1U);
  say("c", Bye{});
  const Lease next = join_consumer("c2");
  EXPECT_TRUE(report()["producers_stopped"].empty());
  deliveries = take<Delivery>("c2");
  ASSERT_EQ(deliveries.size(), 1U);
  answer("c2", next, {applied_result(deliveries[0].ticket, 10)});
  EXPECT_EQ(journal_->batches(), 0U);
}

TEST_F(CoreConsumerTest, TableAnswersComeBackUnderTheClientsRequestNumber) {
  join_producer("p", "a");
  say("p", CheckTable{7, "pets", {"name"}});
  EXPECT_EQ(one<TableAnswer>("p").state, TableState::unknown);
  join_consumer("c");
  say("p", CheckTable{8, "pets", {"name"}});
  const auto asked = one<CheckTable>("c");
  EXPECT_EQ(asked.table, "pets");
  say("c", TableAnswer{asked.request, TableState::missing_table, "no pets"});
  const auto answer = one<TableAnswer>("p");
  EXPECT_EQ(answer.request, 8U);
  EXPECT_EQ(answer.state, TableState::missing_table);
  say("p", CheckTable{9, "pets", {"name"}});
  turn(1s);
  EXPECT_EQ(one<TableAnswer>("p").state, TableState::unknown);
}

TEST_F(CoreConsumerTest, ABusyConsumerIsAskedABoundedNumberOfQuestions) {
  join_consumer("c");
  join_producer("p", "a");
  for (int i = 0; i < 5000; ++i) {
    core_->receive(id("p"), CheckTable{8, "pets", {"name"}}, now_);
    if (i % 1000 == 0) {
      turn(2s);
    }
  }
  say("q", producer_hello("b", 1));
  EXPECT_FALSE(one<Welcome>("q").through_is_sure);
  const auto asked = take<CheckTable>("c");
  EXPECT_LT(asked.size(), 2000U);
  EXPECT_EQ(
      take<TableAnswer>("p").size(), 5000U - asked.size() + [&] {
        turn(2s);
        return asked.size() - take<TableAnswer>("p").size();
      }());
  // Once the consumer answers, the broker asks the question that did not fit.
  for (const auto& question : asked) {
    core_->receive(id("c"), TableAnswer{question.request, TableState::ready, ""}, now_);
  }
  turn();
  EXPECT_EQ(one<AskProgress>("c").producer, ProducerId{"b"});
}

// Promise 6: those who wait get the reason.
TEST_F(CoreConsumerTest, TheStatusShowsTheConsumersProblemUntilItWorksOrDisconnects) {
  const Lease lease = join_consumer("c");
  Results results{lease, {}, {}};
  results.stats.problem = "another program holds shared.db";
  results.stats.tables = {{"pets", "no such module: m"}};
  say("c", results);
  auto consumer = report()["consumer"];
  EXPECT_EQ(consumer["problem"], "another program holds shared.db");
  ASSERT_EQ(consumer["tables"].size(), 1U);
  EXPECT_EQ(consumer["tables"][0]["table"], "pets");
  EXPECT_EQ(consumer["tables"][0]["reason"], "no such module: m");
  say("c", Results{lease, {}, {}});
  consumer = report()["consumer"];
  EXPECT_EQ(consumer["problem"], "");
  EXPECT_TRUE(consumer["tables"].empty());
  say("c", results);
  say("c", Bye{});
  EXPECT_EQ(report()["consumer"]["problem"], "");
}

// Many producers may ask while they wait: listing all of them for each would cost the broker time.
TEST_F(CoreConsumerTest, AProducersStatusReportListsNoProducers) {
  join_producer("p", "a");
  say("p", AskStatus{7});
  const auto status = one<Status>("p");
  EXPECT_EQ(status.request, 7U);
  const auto report = nlohmann::json::from_msgpack(status.report.view());
  EXPECT_TRUE(report["producers"].empty());
  EXPECT_EQ(report["producers_connected"], 1);
  EXPECT_EQ(report["consumer"]["attached"], false);
}

}  // namespace
}  // namespace turnstile::broker
