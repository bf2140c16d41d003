// Sessions, the way of a batch, and what remains of disconnected clients.
#include "broker/core.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/broker/core_fixture.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

// ---- sessions

TEST_F(CoreTest, AClientWithoutHelloIsAskedForIt) {
  say("x", Heartbeat{});
  EXPECT_EQ(one<Refusal>("x").code, RefusalCode::hello_first);
  turn(100ms);
  say("x", batch_of("a", 1, 10));
  EXPECT_EQ(one<Refusal>("x").code, RefusalCode::hello_first);
  turn(100ms);
  say("x", AskStatus{});
  EXPECT_EQ(one<Refusal>("x").code, RefusalCode::hello_first);
}

TEST_F(CoreTest, AProducerIsWelcomedWithEpochAndCredit) {
  const Welcome welcome = join_producer("p", "a");
  EXPECT_EQ(welcome.broker, "b0");
  EXPECT_EQ(welcome.epoch, Epoch{1});
  EXPECT_EQ(welcome.through, Sequence{0});
  EXPECT_FALSE(welcome.through_is_sure);
  EXPECT_GT(welcome.credit_bytes, 0U);
  EXPECT_FALSE(welcome.consumer_attached);
}

TEST_F(CoreTest, AnotherProtocolVersionIsRefused) {
  Hello hello = producer_hello("a");
  hello.version = 99;
  say("p", hello);
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::version);
}

// Promise 1: STORED covers all rows before it.
TEST_F(CoreTest, ALostFirstBatchIsAskedForBeforeLaterOnesAreStored) {
  Hello hello = producer_hello("a", 1, 4);
  hello.stored = Sequence{10};
  say("p", hello);
  EXPECT_EQ(one<Welcome>("p").through, Sequence{4});
  say("p", batch_of("a", 12, 13));
  EXPECT_TRUE(none<Stored>("p"));
  const auto refusal = one<Refusal>("p");
  EXPECT_EQ(refusal.code, RefusalCode::busy);
  EXPECT_EQ(refusal.sequence, Sequence{11});
  EXPECT_EQ(refusal.text, "row 11 has not come");
  say("p", batch_of("a", 11, 11));
  say("p", batch_of("a", 12, 13));
  EXPECT_EQ(take<Stored>("p").back().through, Sequence{13});
}

// Promise 7: a process that was not welcomed with its rows gets the outcome of each.
TEST_F(CoreTest, OutcomesOfRowsThatAProducerHasNotSentAreNotSentToIt) {
  const Lease lease = join_consumer("c");
  Hello hello = producer_hello("mine", 0, 0, true);
  hello.stored = Sequence{0};
  say("p", hello);
  const auto ask = one<AskProgress>("c");
  turn(1s);
  const auto welcome = one<Welcome>("p");
  say("p", batch_of("mine", 1, 5, 10, welcome.epoch.value));
  say("c", ProgressAnswer{ask.request, {true, {1}, {17}, "", 2, {{{3}, "no"}, {{9}, "no"}}}});
  auto applied = one<Applied>("p");
  EXPECT_EQ(applied.through, Sequence{5});
  EXPECT_EQ(applied.dead_count, 1U);
  say("p", batch_of("mine", 6, 12, 10, welcome.epoch.value));
  const auto deliveries = take<Delivery>("c");
  ASSERT_EQ(deliveries.size(), 2U);
  answer("c", lease,
         {{deliveries[0].ticket, Outcome::applied, {17}, 1, {{{3}, "no"}}},
          {deliveries[1].ticket, Outcome::applied, {17}, 1, {{{9}, "no"}}}});
  applied = one<Applied>("p");
  EXPECT_EQ(applied.through, Sequence{12});
  EXPECT_EQ(applied.dead_count, 2U);
}

TEST_F(CoreTest, RowsThatAnEarlierBrokerStoredAreNoHole) {
  Hello hello = producer_hello("a", 1, 4);
  hello.stored = Sequence{10};
  say("p", hello);
  say("p", batch_of("a", 11, 13));
  EXPECT_EQ(one<Stored>("p").through, Sequence{13});
}

TEST_F(CoreTest, HeartbeatsAreAnswered) {
  join_producer("p", "a");
  say("p", Heartbeat{});
  EXPECT_EQ(take<Heartbeat>("p").size(), 1U);
}

TEST_F(CoreTest, ASilentSessionEndsAndByeEndsItImmediately) {
  join_producer("p", "a");
  join_producer("q", "b");
  say("q", Bye{});
  EXPECT_EQ(report()["producers_connected"], 1);
  turn(16s);
  EXPECT_EQ(report()["producers_connected"], 0);
  say("p", Heartbeat{});
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::hello_first);
}

TEST_F(CoreTest, AtTheLimitOfSessionsNewOnesAreRefusedAndKnownOnesMayStartOver) {
  start({}, 1 << 30, 2);
  join_producer("p", "a");
  join_producer("q", "b");
  say("r", producer_hello("c"));
  EXPECT_EQ(one<Refusal>("r").code, RefusalCode::busy);
  say("q", producer_hello("b", 1));
  EXPECT_TRUE(none<Refusal>("q"));
}

TEST_F(CoreTest, ABatchOfAnotherProducerIsRefused) {
  join_producer("p", "a");
  join_producer("q", "b");
  say("p", batch_of("b", 1, 10));
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::malformed);
  EXPECT_EQ(core_->window().batches_in_memory(), 0U);
  EXPECT_EQ(journal_->batches(), 0U);
}

TEST_F(CoreTest, ABatchOfAnotherEpochNeedsANewHello) {
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10, 100, 2));
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::hello_first);
}

TEST_F(CoreTest, MessagesThatOnlyABrokerSendsAreRefused) {
  join_producer("p", "a");
  say("p", Welcome{});
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::malformed);
  core_->reject(id("p"), {Errc::corrupt, "broken", ""}, now_);
  turn();
  EXPECT_EQ(one<Refusal>("p").text, "broken");
  EXPECT_EQ(report()["messages_rejected"], 2);
}

TEST_F(CoreTest, AConnectionMayChangeItsRoleAtAnyTime) {
  const std::vector<Message> hellos{producer_hello("a"), consumer_hello(), Hello{},
                                    producer_hello("b", 1), producer_hello("n", 0, 0, true)};
  for (const auto& before : hellos) {
    for (const auto& after : hellos) {
      say("x", before);
      join_producer("p", "z");
      say("x", after);
      say("p", batch_of("z", 1, 1));
      say("x", batch_of("a", 1, 1));
      say("p", AskStatus{1});
      say("x", Bye{});
      say("p", batch_of("z", 2, 2));
      say("p", AskStatus{1});
      EXPECT_EQ(take<Status>("p").size(), 2U);
      say("p", Bye{});
      EXPECT_FALSE(core_->window().has_consumer());
      EXPECT_EQ(report()["producers_connected"], 0);
    }
  }
}

// ---- cut-through and store-and-forward

TEST_F(CoreTest, BatchesAppliedInTimeNeverTouchTheJournal) {
  const Lease lease = join_consumer("c");
  join_producer("p", "a");
  const std::string before = journal_files();
  for (std::uint64_t i = 1; i <= 50; ++i) {
    say("p", batch_of("a", i, i));
    const auto delivery = one<Delivery>("c");
    turn(50ms);
    answer("c", lease, {applied_result(delivery.ticket, i)});
    EXPECT_EQ(one<Applied>("p").through, Sequence{i});
    EXPECT_TRUE(none<Stored>("p"));
    EXPECT_EQ(journal_->batches(), 0U);
  }
  EXPECT_EQ(journal_files(), before);
}

TEST_F(CoreTest, ADeliveryHasTheFramesAsReceived) {
  join_consumer("c");
  join_producer("p", "a");
  const Batch batch = batch_of("a", 1, 3);
  say("p", batch);
  const auto delivery = one<Delivery>("c");
  EXPECT_EQ(delivery.header_frame.view(), batch.header_frame.view());
  EXPECT_EQ(delivery.rows_frame.view(), batch.rows_frame.view());
}

TEST_F(CoreTest, WithoutAConsumerRowsAreStoredAndDeliveredLater) {
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  EXPECT_EQ(one<Stored>("p").through, Sequence{10});
  EXPECT_EQ(journal_->batches(), 1U);
  say("p", Bye{});
  const Lease lease = join_consumer("c");
  const auto delivery = one<Delivery>("c");
  answer("c", lease, {applied_result(delivery.ticket, 10)});
  EXPECT_EQ(journal_->batches(), 0U);
}

TEST_F(CoreTest, TheLeaseComesWithTheFirstPartOfABacklogAndTheRestFollows) {
  join_producer("p", "p");
  constexpr std::size_t kBatchBytes = 300'000;
  constexpr std::uint64_t kBatches = 20;
  for (std::uint64_t i = 1; i <= kBatches; ++i) {
    say("p", batch_of("p", i, i, kBatchBytes));
  }
  turn(1s);
  ASSERT_FALSE(none<Stored>("p"));
  core_->receive(id("c"), consumer_hello(), now_);
  const auto delivered = [this] {
    core_->advance(now_);
    std::size_t batches = 0;
    bool has_lease = false;
    for (const auto& outgoing : core_->take_outbox()) {
      has_lease = has_lease || std::holds_alternative<LeaseState>(outgoing.message);
      batches += std::holds_alternative<Delivery>(outgoing.message) ? 1 : 0;
    }
    return std::pair(has_lease, batches);
  };
  const auto [has_lease, first] = delivered();
  EXPECT_TRUE(has_lease);
  EXPECT_GT(first, 0U);
  EXPECT_LE(first, 4U);
  EXPECT_LE(core_->deadline(now_), now_);
  EXPECT_EQ(first + delivered().second, kBatches);
}

TEST_F(CoreTest, RowsAreStoredWhenTheConsumerStallsForAHundredMilliseconds) {
  const Lease lease = join_consumer("c");
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  const auto delivery = one<Delivery>("c");
  turn(99ms);
  EXPECT_TRUE(none<Stored>("p"));
  EXPECT_LE(core_->deadline(now_), now_ + 1ms);
  turn(1ms);
  EXPECT_EQ(one<Stored>("p").through, Sequence{10});
  answer("c", lease, {applied_result(delivery.ticket, 10)});
  EXPECT_EQ(one<Applied>("p").through, Sequence{10});
  EXPECT_EQ(journal_->batches(), 0U);
}

TEST_F(CoreTest, StoredRowsSurviveTheBrokerAndComeBeforeNewRows) {
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  say("p", batch_of("a", 11, 20));
  start();
  say("p", producer_hello("a", 1));
  EXPECT_EQ(one<Welcome>("p").through, Sequence{20});
  say("p", batch_of("a", 21, 30));
  const Lease lease = join_consumer("c");
  const auto deliveries = take<Delivery>("c");
  ASSERT_EQ(deliveries.size(), 3U);
  EXPECT_EQ(decode_batch_header(deliveries[0].header_frame.view())->first, Sequence{1});
  EXPECT_EQ(decode_batch_header(deliveries[2].header_frame.view())->first, Sequence{21});
  answer("c", lease,
         {applied_result(deliveries[0].ticket, 10), applied_result(deliveries[1].ticket, 20),
          applied_result(deliveries[2].ticket, 30)});
  EXPECT_EQ(take<Applied>("p").back().through, Sequence{30});
}

TEST_F(CoreTest, DeadRowsAreListedInTheAnswer) {
  const Lease lease = join_consumer("c");
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  say("p", batch_of("a", 11, 20));
  const auto deliveries = take<Delivery>("c");
  ASSERT_EQ(deliveries.size(), 2U);
  answer("c", lease,
         {{deliveries[0].ticket, Outcome::applied, {10}, 1, {{{3}, "too long"}}},
          {deliveries[1].ticket, Outcome::applied, {20}, 2, {{{11}, "x"}}}});
  const auto applied = one<Applied>("p");
  EXPECT_EQ(applied.through, Sequence{20});
  EXPECT_EQ(applied.dead_count, 3U);
  ASSERT_EQ(applied.dead.size(), 2U);
  EXPECT_EQ(applied.dead[0].sequence, Sequence{3});
  EXPECT_EQ(applied.dead[0].reason, "too long");
}

TEST_F(CoreTest, MoreDeadRowsThanOneMessageListsAreCounted) {
  const Lease lease = join_consumer("c");
  join_producer("p", "a");
  std::vector<BatchResult> results;
  for (std::uint64_t i = 1; i <= 3; ++i) {
    say("p", batch_of("a", i * 100 - 99, i * 100));
    std::vector<DeadRow> dead(80, DeadRow{{i * 100}, "no"});
    results.push_back({one<Delivery>("c").ticket, Outcome::applied, {i * 100}, 90, dead});
  }
  answer("c", lease, results);
  const auto applied = one<Applied>("p");
  EXPECT_EQ(applied.dead_count, 270U);
  EXPECT_EQ(applied.dead.size(), limits::kDeadListed);
}

// Only the target knows which of its rows became dead letters.
TEST_F(CoreTest, AnAppliedBatchThatIsSentAgainIsAnsweredByTheTarget) {
  const Lease lease = join_consumer("c");
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  answer("c", lease, {applied_result(one<Delivery>("c").ticket, 10)});
  take<Applied>("p");
  say("p", batch_of("a", 1, 10));
  EXPECT_TRUE(none<Applied>("p"));
  answer("c", lease, {{one<Delivery>("c").ticket, Outcome::applied, {10}, 1, {{{7}, "no"}}}});
  const auto applied = one<Applied>("p");
  EXPECT_EQ(applied.through, Sequence{10});
  EXPECT_EQ(applied.dead_count, 1U);
}

TEST_F(CoreTest, AStoredBatchThatIsSentAgainIsAnsweredAndNotStoredTwice) {
  join_producer("p", "a");
  for (int time = 0; time < 2; ++time) {
    say("p", batch_of("a", 1, 10));
    EXPECT_EQ(one<Stored>("p").through, Sequence{10});
  }
  EXPECT_EQ(journal_->batches(), 1U);
}

TEST_F(CoreTest, MessagesThatMakeNoProgressAreCounted) {
  join_consumer("c");
  join_producer("p", "a");
  const auto before = core_->wasted_messages();
  say("p", batch_of("a", 1, 1));
  EXPECT_EQ(core_->wasted_messages(), before) << "taken";
  say("p", batch_of("a", 1, 1));
  EXPECT_EQ(core_->wasted_messages(), before + 1) << "a duplicate";
  say("p", batch_of("a", 3, 3));
  EXPECT_EQ(core_->wasted_messages(), before + 2) << "after a hole";
  say("p", batch_of("b", 1, 1));
  EXPECT_EQ(core_->wasted_messages(), before + 3) << "another producer's";
}

TEST_F(CoreTest, FullMemorySendsAProducerBackOnceAndTakesItLater) {
  start({8'000, 4'000, 100ms}, 1000);
  vfs_.fail(test::FaultVfs::Operation::write, test::FaultVfs::File::wal, 1, SQLITE_FULL, 1'000'000);
  join_producer("p", "a");
  say("p", batch_of("a", 1, 1, 6'000));
  EXPECT_TRUE(none<Stored>("p"));
  say("p", batch_of("a", 2, 2, 6'000));
  const auto refusal = one<Refusal>("p");
  EXPECT_EQ(refusal.code, RefusalCode::busy);
  EXPECT_EQ(refusal.sequence, Sequence{2});
  EXPECT_THAT(refusal.text, HasSubstr("no space left"));
  say("p", batch_of("a", 3, 3, 10));
  EXPECT_TRUE(none<Refusal>("p"));
  vfs_.fail_no_more();
  turn(1s);
  EXPECT_EQ(one<Stored>("p").through, Sequence{1});
  say("p", batch_of("a", 3, 3, 10));
  EXPECT_TRUE(none<Refusal>("p"));
  say("p", batch_of("a", 2, 2, 100));
  say("p", batch_of("a", 3, 3, 10));
  EXPECT_EQ(core_->window().batches_in_memory(), 2U);  // the journal's own limit is reached
  EXPECT_THAT(report()["journal"]["problem"].get<std::string>(), HasSubstr("at its limit"));
}

TEST_F(CoreTest, ASkippedNumberIsAHoleAndFinal) {
  join_consumer("c");
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  say("p", batch_of("a", 20, 30));
  const auto refusal = one<Refusal>("p");
  EXPECT_EQ(refusal.code, RefusalCode::hole);
  EXPECT_EQ(refusal.sequence, Sequence{20});
  EXPECT_THAT(refusal.text, HasSubstr("row 11 has not come"));
  say("p", batch_of("a", 11, 19));
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::hello_first);
  EXPECT_EQ(take<Delivery>("c").size(), 1U) << "batches before the hole are applied";
}

TEST_F(CoreTest, SkippedRowsAreAHoleEvenIfTheTargetHasThem) {
  join_consumer("c");
  Hello hello = producer_hello("mine", 0, 0, true);
  hello.stored = Sequence{0};
  say("p", hello);
  const auto ask = one<AskProgress>("c");
  turn(1s);
  const auto welcome = one<Welcome>("p");
  say("p", batch_of("mine", 1, 5, 10, welcome.epoch.value));
  say("c", ProgressAnswer{ask.request, {true, {1}, {17}, "", 0, {}}});
  EXPECT_EQ(one<Applied>("p").through, Sequence{5});
  say("p", batch_of("mine", 10, 12, 10, welcome.epoch.value));
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::hole);
}

TEST_F(CoreTest, RowsThatAProducerKnowsAreAppliedAreNoHoleForANewBroker) {
  // The journal still has 1..10; 11..30 were applied without ever being stored.
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  EXPECT_EQ(one<Stored>("p").through, Sequence{10});
  start();
  say("p", producer_hello("a", 1, 30));
  EXPECT_EQ(one<Welcome>("p").through, Sequence{30});
  say("p", batch_of("a", 31, 40));
  EXPECT_TRUE(none<Refusal>("p"));
  EXPECT_EQ(one<Stored>("p").through, Sequence{40});
}

TEST_F(CoreTest, StoppingStoresBatchesThatAreOnlyInMemory) {
  join_consumer("c");
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  core_->finish(now_);
  turn();
  EXPECT_EQ(one<Stored>("p").through, Sequence{10});
  start();
  EXPECT_EQ(journal_->batches(), 1U);
}

// ---- forgetting

TEST_F(CoreTest, ProducersThatDisconnectedAreForgotten) {
  const Lease lease = join_consumer("c");
  for (int i = 0; i < 500; ++i) {
    const std::string id = "p" + std::to_string(i);
    join_producer("r" + id, id);
    say("r" + id, batch_of(id, 1, 10));
    say("r" + id, Bye{});
    const auto outcome = i % 2 == 0 ? Outcome::applied : Outcome::hole;
    answer("c", lease, {{one<Delivery>("c").ticket, outcome, {10}, 0, {}}});
    EXPECT_EQ(core_->window().expected({id}), Sequence{1});
  }
  EXPECT_EQ(core_->window().memory_bytes(), 0U);
}

TEST_F(CoreTest, TheStatusReportShowsWaitingRowsAndTheConsumer) {
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  turn(100ms);
  auto r = report();
  EXPECT_EQ(r["broker"], "b0");
  EXPECT_EQ(r["uptime_ms"], 100);
  EXPECT_EQ(r["producers_connected"], 1);
  EXPECT_EQ(r["producers"][0]["producer"], "a");
  EXPECT_EQ(r["producers"][0]["stored_through"], 10);
  EXPECT_EQ(r["producers"][0]["applied_through"], 0);
  EXPECT_EQ(r["journal"]["batches"], 1);
  EXPECT_EQ(r["journal"]["rows"], 10);
  EXPECT_EQ(r["consumer"]["attached"], false);
  EXPECT_GE(r["oldest_waiting_ms"], 0);
  const Lease lease = join_consumer("c");
  say("c",
      Results{lease, {applied_result(one<Delivery>("c").ticket, 10)}, {10, 3, "/t.db", "", {}}});
  r = report();
  EXPECT_EQ(r["consumer"]["attached"], true);
  EXPECT_EQ(r["consumer"]["target"], "/t.db");
  EXPECT_EQ(r["consumer"]["rows_applied"], 10);
  EXPECT_EQ(r["dead_letters"], 3);
  EXPECT_EQ(r["producers"][0]["applied_through"], 10);
  EXPECT_EQ(r["journal"]["batches"], 0);
  EXPECT_EQ(r["window"]["bytes"], 0);
  EXPECT_EQ(r["oldest_waiting_ms"], 0);
}

TEST_F(CoreTest, AnyToolMayAskForTheStatus) {
  say("t", Hello{});
  EXPECT_EQ(one<Welcome>("t").broker, "b0");
  say("t", AskStatus{42});
  EXPECT_EQ(one<Status>("t").request, 42U);
}

}  // namespace
}  // namespace turnstile::broker
