// The broker's behaviour, message by message: scripted producers and consumers, a real journal, and
// a clock that the test moves.
#include "broker/core.h"

#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/broker/batches.h"
#include "tests/broker/folder.h"
#include "tests/support/fault_vfs.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr std::uint64_t kWallClock = 1'700'000'000'000;

class CoreTest : public testing::Test {
 protected:
  CoreTest() { start(); }

  void start(WindowOptions window = {}, std::size_t limit = 1 << 30, std::size_t sessions = 100) {
    core_.reset();
    journal_.reset();
    auto journal = Journal::open({folder_ / "journal.db", limit, vfs_.name()});
    if (!journal) {
      throw std::runtime_error(journal.error().what);
    }
    journal_.emplace(std::move(*journal));
    CoreOptions options;
    options.window = window;
    options.max_sessions = sessions;
    options.broker_id = "b0";
    options.wall_clock_ms = [] { return kWallClock; };
    core_.emplace(std::move(options), *journal_, now_);
    ASSERT_TRUE(core_->start());
  }

  // One turn of the broker's loop.
  void turn(std::chrono::milliseconds later = 0ms) {
    now_ += later;
    core_->advance(now_);
    core_->store(now_);
    core_->advance(now_);
    for (auto& outgoing : core_->take_outbox()) {
      sent_.push_back(std::move(outgoing));
    }
  }
  void say(const Route& route, Message message) {
    core_->receive(route, std::move(message), now_);
    turn();
  }

  static Hello producer_hello(const std::string& id, std::uint64_t epoch = 0,
                              std::uint64_t known = 0, bool named = false) {
    Hello hello;
    hello.role = Role::producer;
    hello.producer = {id};
    hello.named = named;
    hello.epoch = {epoch};
    hello.known = {known};
    return hello;
  }
  static Hello consumer_hello() {
    Hello hello;
    hello.role = Role::consumer;
    hello.producer = {"/data/shared.db"};
    return hello;
  }

  // The messages of one kind that were sent to a route since the last look at that kind and route.
  template <typename T>
  std::vector<T> take(const Route& route) {
    std::vector<T> out;
    std::erase_if(sent_, [&](Outgoing& outgoing) {
      auto* message = std::get_if<T>(&outgoing.message);
      if (outgoing.route != route || message == nullptr) {
        return false;
      }
      out.push_back(std::move(*message));
      return true;
    });
    return out;
  }
  template <typename T>
  T one(const Route& route) {
    auto all = take<T>(route);
    EXPECT_EQ(all.size(), 1U);
    return all.empty() ? T{} : std::move(all.front());
  }
  template <typename T>
  bool none(const Route& route) {
    return take<T>(route).empty();
  }

  Welcome join_producer(const Route& route, const std::string& id) {
    say(route, producer_hello(id));
    return one<Welcome>(route);
  }
  Lease join_consumer(const Route& route) {
    say(route, consumer_hello());
    const auto state = one<LeaseState>(route);
    EXPECT_TRUE(state.granted);
    for (const auto& ask : take<AskProgress>(route)) {
      say(route, ProgressAnswer{ask.request, {}});
    }
    return state.lease;
  }
  void answer(const Route& route, Lease lease, std::vector<BatchResult> results) {
    say(route, Results{lease, std::move(results), {}});
  }
  nlohmann::json report() {
    const Bytes bytes = core_->status_report(now_);
    return nlohmann::json::from_msgpack(bytes.view().begin(), bytes.view().end());
  }
  std::string journal_files() {
    std::ostringstream out;
    for (const char* name : {"journal.db", "journal.db-wal"}) {
      out << std::ifstream(folder_ / name, std::ios::binary).rdbuf() << '|';
    }
    return out.str();
  }

  Folder folder_;
  test::FaultVfs vfs_;
  TimePoint now_ = kStart;
  std::optional<Journal> journal_;
  std::optional<Core> core_;
  std::vector<Outgoing> sent_;
};

// ---- sessions

TEST_F(CoreTest, WhoeverDidNotSayHelloIsToldTo) {
  say("x", Heartbeat{});
  EXPECT_EQ(one<Refusal>("x").code, RefusalCode::hello_first);
  say("x", batch_of("a", 1, 10));
  EXPECT_EQ(one<Refusal>("x").code, RefusalCode::hello_first);
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

TEST_F(CoreTest, HeartbeatsAreAnswered) {
  join_producer("p", "a");
  say("p", Heartbeat{});
  EXPECT_EQ(take<Heartbeat>("p").size(), 1U);
}

TEST_F(CoreTest, ASilentSessionEndsAndAGoodbyeEndsItAtOnce) {
  join_producer("p", "a");
  join_producer("q", "b");
  say("q", Bye{});
  EXPECT_EQ(report()["producers_connected"], 1);
  turn(16s);
  EXPECT_EQ(report()["producers_connected"], 0);
  say("p", Heartbeat{});
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::hello_first);
}

TEST_F(CoreTest, AtItsBoundOfSessionsABrokerSaysSoAndKnownOnesMayStartOver) {
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

TEST_F(CoreTest, ABatchOfAnotherEpochMustGreetAgain) {
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10, 100, 2));
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::hello_first);
}

TEST_F(CoreTest, MessagesThatOnlyABrokerSendsAreRefused) {
  join_producer("p", "a");
  say("p", Welcome{});
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::malformed);
  core_->reject("p", {Errc::corrupt, "broken", ""}, now_);
  turn();
  EXPECT_EQ(one<Refusal>("p").text, "broken");
  EXPECT_EQ(report()["messages_rejected"], 2);
}

TEST_F(CoreTest, AConnectionMayBecomeAnythingAndTheBrokerLives) {
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

TEST_F(CoreTest, WhatTheConsumerAppliesInTimeNeverTouchesTheJournal) {
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

TEST_F(CoreTest, ADeliveryCarriesTheFramesAsTheyCame) {
  join_consumer("c");
  join_producer("p", "a");
  const Batch batch = batch_of("a", 1, 3);
  say("p", batch);
  const auto delivery = one<Delivery>("c");
  EXPECT_EQ(delivery.header_frame.view(), batch.header_frame.view());
  EXPECT_EQ(delivery.rows_frame.view(), batch.rows_frame.view());
}

TEST_F(CoreTest, WithoutAConsumerRowsAreStoredAndDeliveredWhenOneComes) {
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

TEST_F(CoreTest, AStalledConsumerMakesItStoreAfterAHundredMilliseconds) {
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

TEST_F(CoreTest, WhatWasStoredSurvivesTheBrokerAndComesBeforeWhatIsNew) {
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

TEST_F(CoreTest, DeadRowsAreToldWithTheAnswerTheyCameWith) {
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

TEST_F(CoreTest, DeadRowsBeyondWhatOneMessageListsAreCounted) {
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

TEST_F(CoreTest, AResentBatchIsAnsweredWithWhatIsKnownOfIt) {
  const Lease lease = join_consumer("c");
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  answer("c", lease, {applied_result(one<Delivery>("c").ticket, 10)});
  take<Applied>("p");
  say("p", batch_of("a", 1, 10));
  EXPECT_EQ(one<Applied>("p").through, Sequence{10});
  say("c", Bye{});
  say("p", batch_of("a", 11, 20));
  EXPECT_EQ(one<Stored>("p").through, Sequence{20});
  say("p", batch_of("a", 11, 20));
  EXPECT_EQ(one<Stored>("p").through, Sequence{20});
  EXPECT_EQ(journal_->batches(), 1U);
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

TEST_F(CoreTest, EachHoleIsToldSoThatNobodyWaitsForEver) {
  join_consumer("c");
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  say("p", batch_of("a", 20, 30));
  const auto refusal = one<Refusal>("p");
  EXPECT_EQ(refusal.code, RefusalCode::busy);
  EXPECT_EQ(refusal.sequence, Sequence{11});
}

TEST_F(CoreTest, RowsThatAProducerKnowsToBeAppliedAreNoHoleForANewBroker) {
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

TEST_F(CoreTest, StoppingStoresWhatIsOnlyInMemory) {
  join_consumer("c");
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  core_->finish(now_);
  turn();
  EXPECT_EQ(one<Stored>("p").through, Sequence{10});
  start();
  EXPECT_EQ(journal_->batches(), 1U);
}

// ---- reconnecting and fencing

TEST_F(CoreTest, AReconnectedProducerLearnsFromTheTargetHowFarItCame) {
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

TEST_F(CoreTest, AConsumerThatDoesNotAnswerDoesNotHoldUpAWelcome) {
  join_consumer("c");
  say("p", producer_hello("a", 1, 0));
  const auto ask = one<AskProgress>("c");
  turn(999ms);
  EXPECT_TRUE(none<Welcome>("p"));
  turn(1ms);
  EXPECT_FALSE(one<Welcome>("p").through_is_sure);
  // Its late answer still brings the outcomes.
  say("c", ProgressAnswer{ask.request, {true, {1}, {17}, "", 0, {}}});
  EXPECT_EQ(one<Applied>("p").through, Sequence{17});
}

TEST_F(CoreTest, AConsumerThatLeavesDoesNotHoldUpAWelcomeOrATableAnswer) {
  join_consumer("c");
  join_producer("q", "b");
  say("p", producer_hello("a", 1, 0));
  say("q", CheckTable{5, "pets", {"name"}});
  core_->receive("c", Bye{}, now_);
  EXPECT_LE(core_->deadline(now_), now_);
  turn();
  EXPECT_FALSE(one<Welcome>("p").through_is_sure);
  const auto answer = one<TableAnswer>("q");
  EXPECT_EQ(answer.request, 5U);
  EXPECT_EQ(answer.state, TableState::unknown);
}

TEST_F(CoreTest, WhenAConsumerComesEveryProducersOutcomesAreAskedFor) {
  join_producer("p", "a");
  say("c", consumer_hello());
  const auto ask = one<AskProgress>("c");
  EXPECT_EQ(ask.producer, ProducerId{"a"});
  say("c", ProgressAnswer{ask.request, {true, {1}, {12}, "", 0, {}}});
  EXPECT_EQ(one<Applied>("p").through, Sequence{12});
}

TEST_F(CoreTest, AnAnswerAboutWhoWasOnAConnectionBeforeIsNotTheNewProducers) {
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

TEST_F(CoreTest, ANamedProducersEpochGrowsAndFencesTheOlderProcess) {
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

TEST_F(CoreTest, EpochsOutliveTheBroker) {
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

TEST_F(CoreTest, TheTargetsEpochCountsWhereTheJournalsWasLost) {
  join_consumer("c");
  say("p", producer_hello("mine", 0, 0, true));
  say("c", ProgressAnswer{one<AskProgress>("c").request,
                          {true, {kWallClock + 50}, {8}, "source", 0, {}}});
  const auto welcome = one<Welcome>("p");
  EXPECT_EQ(welcome.epoch, Epoch{kWallClock + 51});
  EXPECT_EQ(welcome.through, Sequence{8});
  EXPECT_EQ(welcome.source, "source");
}

TEST_F(CoreTest, ANewConnectionOfTheSameProcessFencesNobody) {
  say("p", producer_hello("mine", 0, 0, true));
  const auto welcome = one<Welcome>("p");
  say("q", producer_hello("mine", welcome.epoch.value, 0, true));
  EXPECT_EQ(one<Welcome>("q").epoch, welcome.epoch);
  EXPECT_TRUE(none<Refusal>("p"));
}

// ---- the consumer's lease

TEST_F(CoreTest, ASecondConsumerStandsByAndTakesOverWhatIsUnanswered) {
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
  EXPECT_EQ(one<Applied>("p").through, Sequence{10});
}

TEST_F(CoreTest, ASilentConsumerLosesItsLeaseOnlyWhenAnotherWaits) {
  const Lease lease = join_consumer("c1");
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  const auto delivery = one<Delivery>("c1");
  turn(1min);
  EXPECT_TRUE(none<LeaseState>("c1"));
  say("c2", consumer_hello());
  EXPECT_TRUE(one<LeaseState>("c2").granted);
  EXPECT_FALSE(one<LeaseState>("c1").granted);
  // What it answers now counts for nothing.
  answer("c1", lease, {applied_result(delivery.ticket, 10)});
  EXPECT_FALSE(one<LeaseState>("c1").granted);
  EXPECT_TRUE(none<Applied>("p"));
}

TEST_F(CoreTest, ResultsOfWhoHoldsNoLeaseAreIgnored) {
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

TEST_F(CoreTest, AConsumerThatStartsOverGetsEverythingAgain) {
  join_consumer("c");
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  take<Delivery>("c");
  join_consumer("c");
  EXPECT_EQ(take<Delivery>("c").size(), 1U);
}

TEST_F(CoreTest, AConsumerThatCannotBeReachedIsGone) {
  join_consumer("c");
  core_->unreachable("c");
  EXPECT_FALSE(core_->window().has_consumer());
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  EXPECT_EQ(one<Stored>("p").through, Sequence{10});
}

TEST_F(CoreTest, AHoleThatTheTargetSeesIsRefusedToTheProducer) {
  const Lease lease = join_consumer("c");
  join_producer("p", "a");
  say("p", batch_of("a", 5, 10));
  answer("c", lease, {{one<Delivery>("c").ticket, Outcome::hole, {2}, 0, {}}});
  const auto refusal = one<Refusal>("p");
  EXPECT_EQ(refusal.code, RefusalCode::hole);
  EXPECT_EQ(refusal.sequence, Sequence{5});
  EXPECT_EQ(report()["window"]["batches"], 0);
}

TEST_F(CoreTest, AStoredBatchThatIsRefusedStopsItsProducerUntilTheNextConsumer) {
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

TEST_F(CoreTest, TableQuestionsGoToTheConsumerAndComeBackUnderTheAskersNumber) {
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

TEST_F(CoreTest, ABusyConsumerIsAskedABoundedNumberOfQuestions) {
  join_consumer("c");
  join_producer("p", "a");
  for (int i = 0; i < 5000; ++i) {
    core_->receive("p", CheckTable{8, "pets", {"name"}}, now_);
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
  // Once it answers, the one for whom there was no room is asked for.
  for (const auto& question : asked) {
    core_->receive("c", TableAnswer{question.request, TableState::ready, ""}, now_);
  }
  turn();
  EXPECT_EQ(one<AskProgress>("c").producer, ProducerId{"b"});
}

// ---- the journal in trouble

TEST_F(CoreTest, AfterAFailedSyncNothingIsAcknowledgedUntilTheJournalWasReadBack) {
  join_producer("p", "a");
  vfs_.fail(test::FaultVfs::Operation::sync, test::FaultVfs::File::wal, 1, SQLITE_IOERR_FSYNC);
  say("p", batch_of("a", 1, 10));
  EXPECT_TRUE(none<Stored>("p"));
  EXPECT_FALSE(report()["journal"]["problem"].get<std::string>().empty());
  turn(499ms);
  EXPECT_TRUE(none<Stored>("p"));
  turn(1ms);
  EXPECT_EQ(one<Stored>("p").through, Sequence{10});
  EXPECT_EQ(report()["journal"]["problem"], "");
}

TEST_F(CoreTest, ANamedProducerGetsInAgainAfterItsEpochFailedToSync) {
  vfs_.fail(test::FaultVfs::Operation::sync, test::FaultVfs::File::wal, 1, SQLITE_IOERR_FSYNC);
  say("p", producer_hello("mine", 0, 0, true));
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::busy);
  turn(500ms);
  say("p", producer_hello("mine", 0, 0, true));
  EXPECT_GT(one<Welcome>("p").epoch, Epoch{1});
}

TEST_F(CoreTest, WhileTheDiskIsFullCutThroughGoesOn) {
  const Lease lease = join_consumer("c");
  join_producer("p", "a");
  vfs_.fail(test::FaultVfs::Operation::write, test::FaultVfs::File::any, 1, SQLITE_FULL, 1'000'000);
  say("p", batch_of("a", 1, 10));
  turn(200ms);
  EXPECT_TRUE(none<Stored>("p"));
  answer("c", lease, {applied_result(one<Delivery>("c").ticket, 10)});
  EXPECT_EQ(one<Applied>("p").through, Sequence{10});
}

TEST_F(CoreTest, ADamagedBatchStopsItsProducerAndNobodyElse) {
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  say("p", batch_of("a", 11, 20));
  join_producer("q", "b");
  say("q", batch_of("b", 1, 10));
  {
    auto db = sqlite::Connection::open(folder_ / "journal.db", sqlite::Access::read_write);
    ASSERT_TRUE(db->execute("UPDATE batches SET rows=x'00' WHERE offset=1"));
  }
  const Lease lease = join_consumer("c");
  const auto delivery = one<Delivery>("c");
  EXPECT_EQ(decode_batch_header(delivery.header_frame.view())->producer, ProducerId{"b"});
  answer("c", lease, {applied_result(delivery.ticket, 10)});
  EXPECT_EQ(report()["producers_stopped"], nlohmann::json::array({"a"}));
  EXPECT_EQ(journal_->batches(), 2U);
  say("q", batch_of("b", 11, 20));
  EXPECT_EQ(take<Delivery>("c").size(), 1U);
}

TEST_F(CoreTest, NoDeadlineLetsTheLoopSpin) {
  const auto must_rest = [&] {
    turn();
    turn();
    EXPECT_GT(core_->deadline(now_), now_);
  };
  must_rest();
  join_producer("p", "a");
  must_rest();
  vfs_.fail(test::FaultVfs::Operation::sync, test::FaultVfs::File::any, 1, SQLITE_IOERR_FSYNC,
            1'000'000);
  say("p", batch_of("a", 1, 10));
  must_rest();
  turn(600ms);
  must_rest();
  vfs_.fail_no_more();
  turn(600ms);
  must_rest();
  say("c1", consumer_hello());
  say("c2", consumer_hello());
  must_rest();
  turn(1min);
  must_rest();
  core_->unreachable("c2");
  must_rest();
  say("q", CheckTable{});
  say("p", producer_hello("a", 1));
  turn(5s);
  must_rest();
}

// ---- what nobody needs any more

TEST_F(CoreTest, NothingIsLeftOfProducersThatCameAndWent) {
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

TEST_F(CoreTest, TheStatusReportNamesWhatWaitsAndForWhom) {
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
  say("c", Results{lease, {applied_result(one<Delivery>("c").ticket, 10)}, {10, 3, "/t.db"}});
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
