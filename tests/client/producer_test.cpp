#include "client/producer.h"

#include <array>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/client/fake_broker.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

class ProducerTest : public ::testing::Test {
 protected:
  ProducerOptions options() {
    ProducerOptions options;
    options.id = {"p"};
    options.clock = broker_.clock();
    options.coarse_clock = options.clock;
    options.on_notice = [this](Notice what, const std::string& text) {
      notices_.push_back(what);
      texts_.push_back(text);
    };
    options.on_dead = [this](const DeadRow& row) { dead_.push_back(row.sequence.value); };
    options.interrupted = [this] { return is_interrupted_; };
    return options;
  }

  static void append(Producer& producer, int rows) {
    for (int i = 0; i < rows; ++i) {
      ASSERT_TRUE(producer.append(std::array<std::string_view, 2>{"Ace", "Dog"}));
    }
  }

  static void start(Producer& producer) {
    ASSERT_TRUE(producer.start());
    producer.into("pets", {"name", "breed"});
  }

  std::vector<std::uint32_t> batch_sizes() {
    std::vector<std::uint32_t> sizes;
    for (const auto& batch : broker_.all<Batch>()) {
      sizes.push_back(batch.header.rows);
    }
    return sizes;
  }

  FakeBroker broker_;
  std::vector<Notice> notices_;
  std::vector<std::string> texts_;  // of the notices
  std::vector<std::uint64_t> dead_;
  bool is_interrupted_ = false;
};

using Sizes = std::vector<std::uint32_t>;
using Notices = std::vector<Notice>;

TEST_F(ProducerTest, NamedProducerContinuesAfterItsLastRow) {
  broker_.welcome.through = {41};
  broker_.welcome.source = "s";
  auto with = options();
  with.named = true;
  with.source = "s";
  Producer producer(broker_, with);
  const auto started = producer.start();
  ASSERT_TRUE(started);
  EXPECT_EQ(started->through, Sequence{41});
  EXPECT_EQ(started->source, "s");
  producer.into("pets", {"name", "breed"});
  const auto sequence = producer.append(std::array<std::string_view, 2>{"Ace", "Dog"});
  ASSERT_TRUE(sequence);
  EXPECT_EQ(*sequence, Sequence{42});
  const auto hello = broker_.all<Hello>();
  ASSERT_EQ(hello.size(), 1U);
  EXPECT_TRUE(hello[0].named);
  EXPECT_EQ(hello[0].epoch, Epoch{0});
}

TEST_F(ProducerTest, TheSummaryCountsEveryRow) {
  Producer producer(broker_, options());
  start(producer);
  append(producer, 2500);
  const auto finished = producer.finish();
  ASSERT_TRUE(finished);
  EXPECT_TRUE(*finished);
  const Summary summary = producer.summary();
  EXPECT_EQ(summary.appended, 2500U);
  EXPECT_EQ(summary.sent, 2500U);
  EXPECT_EQ(summary.stored, 2500U);
  EXPECT_EQ(summary.applied, 2500U);
  EXPECT_EQ(summary.unacknowledged, 0U);
  EXPECT_EQ(broker_.all<Bye>().size(), 1U);
}

TEST_F(ProducerTest, BatchCarriesTableColumnsAndTaskDuration) {
  auto with = options();
  with.task_duration = seconds(3);
  Producer producer(broker_, with);
  start(producer);
  append(producer, 1);
  const auto batches = broker_.all<Batch>();
  ASSERT_EQ(batches.size(), 1U);
  const auto header = decode_batch_header(batches[0].header_frame.view());
  ASSERT_TRUE(header);
  EXPECT_EQ(header->producer.text, "p");
  EXPECT_EQ(header->table, "pets");
  EXPECT_EQ(header->columns, (std::vector<std::string>{"name", "breed"}));
  EXPECT_EQ(header->task_duration, seconds(3));
  EXPECT_EQ(header->epoch, Epoch{1});
}

TEST_F(ProducerTest, FirstRowIsSentImmediatelyAndLaterRowsGatherWhileItIsInFlight) {
  broker_.rows = FakeBroker::Rows::ignored;
  Producer producer(broker_, options());
  start(producer);
  append(producer, 4);
  EXPECT_EQ(batch_sizes(), (Sizes{1}));
  broker_.to_producer.push_back(Stored{Sequence{1}});
  ASSERT_TRUE(producer.pump(milliseconds(0)));
  EXPECT_EQ(batch_sizes(), (Sizes{1, 3}));
}

// Short rows fill a batch by count, long rows by bytes.
TEST_F(ProducerTest, AnswersAreReadInTimeEvenBetweenRowsThatComeFast) {
  broker_.rows = FakeBroker::Rows::ignored;
  Producer producer(broker_, options());
  start(producer);
  for (const std::size_t length : {3U, 10'000U}) {
    append(producer, 1);
    producer.flush();
    const std::uint64_t before = producer.summary().stored;
    broker_.to_producer.push_back(Stored{broker_.all<Batch>().back().header.last()});
    const std::string text(length, 'x');
    for (int rows = 0; producer.summary().stored == before; ++rows) {
      ASSERT_LT(rows, 20);
      broker_.now += milliseconds(2);
      ASSERT_TRUE(
          producer.append(std::array<std::string_view, 1>{text}, Producer::Next::immediately));
    }
  }
}

TEST_F(ProducerTest, FullBatchIsSentWithoutWaitingForAnAnswer) {
  broker_.rows = FakeBroker::Rows::ignored;
  auto with = options();
  with.batch_rows = 10;
  Producer producer(broker_, with);
  start(producer);
  append(producer, 25);
  EXPECT_EQ(batch_sizes(), (Sizes{1, 10, 10}));
}

TEST_F(ProducerTest, BatchOfLongRowsIsCutByItsBytes) {
  broker_.rows = FakeBroker::Rows::ignored;
  Producer producer(broker_, options());
  start(producer);
  append(producer, 1);
  const std::string text(20'000, 'x');
  for (int i = 0; i < 7; ++i) {
    ASSERT_TRUE(producer.append(std::array<std::string_view, 2>{text, "Dog"}));
  }
  producer.flush();
  EXPECT_EQ(batch_sizes(), (Sizes{1, 3, 3, 1}));
}

TEST_F(ProducerTest, RowAboveTheLimitIsRefusedAndTheNextRowIsTaken) {
  Producer producer(broker_, options());
  start(producer);
  const std::string text(limits::kRowsBytes, 'x');
  const auto refused = producer.append(std::array<std::string_view, 2>{text, "Dog"});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::bad_input);
  append(producer, 1);
  ASSERT_TRUE(producer.finish());
  EXPECT_EQ(producer.summary().applied, 1U);
}

TEST_F(ProducerTest, FlushSendsTheGatheredRows) {
  broker_.rows = FakeBroker::Rows::ignored;
  Producer producer(broker_, options());
  start(producer);
  append(producer, 3);
  producer.flush();
  EXPECT_EQ(batch_sizes(), (Sizes{1, 2}));
}

TEST_F(ProducerTest, OtherTableBeginsAnotherBatch) {
  broker_.rows = FakeBroker::Rows::ignored;
  Producer producer(broker_, options());
  start(producer);
  append(producer, 3);
  producer.into("others", {"a", "b"});
  append(producer, 1);
  producer.flush();
  const auto batches = broker_.all<Batch>();
  ASSERT_EQ(batches.size(), 3U);
  EXPECT_EQ(batches[1].header.table, "pets");
  EXPECT_EQ(batches[2].header.table, "others");
}

TEST_F(ProducerTest, AppendWaitsWhileTooMuchIsHeld) {
  broker_.rows = FakeBroker::Rows::ignored;
  auto with = options();
  with.max_unacked_bytes = 100'000;
  with.batch_rows = 10;
  Producer producer(broker_, with);
  start(producer);
  int waits = 0;
  broker_.on_wait = [&] {
    ++waits;
    broker_.to_producer.push_back(Stored{broker_.all<Batch>().back().header.last()});
  };
  const std::string text(20'000, 'x');
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(producer.append(std::array<std::string_view, 2>{text, "Dog"}));
  }
  EXPECT_GT(waits, 0);
}

TEST_F(ProducerTest, AppendRunsAheadByAtMostTwiceWhatOneAnswerCovers) {
  broker_.rows = FakeBroker::Rows::ignored;
  auto with = options();
  with.max_unacked_bytes = std::size_t{64} * 1024 * 1024;
  Producer producer(broker_, with);
  start(producer);
  std::vector<int> rows_at_wait{0};
  int rows = 0;
  broker_.on_wait = [&] {
    rows_at_wait.push_back(rows);
    broker_.to_producer.push_back(Stored{broker_.all<Batch>().back().header.last()});
  };
  const std::string text(16'384, 'x');
  for (; rows_at_wait.size() < 3; ++rows) {
    ASSERT_LT(rows, 1000);
    ASSERT_TRUE(producer.append(std::array<std::string_view, 2>{text, "Dog"}));
  }
  EXPECT_NEAR(rows_at_wait[1], 32, 8) << "half a MiB";
  EXPECT_NEAR(rows_at_wait[2] - rows_at_wait[1], 96, 18) << "that, and twice as much";
}

TEST_F(ProducerTest, InterruptEndsTheWaitForRoom) {
  broker_.rows = FakeBroker::Rows::ignored;
  auto with = options();
  with.max_unacked_bytes = 10;
  Producer producer(broker_, with);
  start(producer);
  broker_.on_wait = [&] { is_interrupted_ = true; };
  append(producer, 1);
  EXPECT_TRUE(is_interrupted_);
}

TEST_F(ProducerTest, FinishWaitsForTheRequestedLevel) {
  broker_.rows = FakeBroker::Rows::stored;
  auto with = options();
  with.ack = Ack::stored;
  Producer producer(broker_, with);
  start(producer);
  append(producer, 3);
  const auto finished = producer.finish();
  ASSERT_TRUE(finished);
  EXPECT_TRUE(*finished);
  EXPECT_EQ(producer.summary().stored, 3U);
  EXPECT_EQ(producer.summary().applied, 0U);
}

TEST_F(ProducerTest, WaitingForAConsumerIsReported) {
  broker_.rows = FakeBroker::Rows::stored;
  Producer producer(broker_, options());
  start(producer);
  append(producer, 3);
  broker_.on_wait = [&] {
    if (!notices_.empty()) {
      broker_.to_producer.push_back(Applied{Sequence{3}, 0, {}});
    }
  };
  ASSERT_TRUE(producer.finish());
  EXPECT_EQ(notices_, (Notices{Notice::waiting}));
}

TEST_F(ProducerTest, FinishGivesUpAtItsDeadline) {
  broker_.rows = FakeBroker::Rows::stored;
  Producer producer(broker_, options());
  start(producer);
  append(producer, 3);
  const auto finished = producer.finish(broker_.now + seconds(2));
  ASSERT_TRUE(finished);
  EXPECT_FALSE(*finished);
  EXPECT_EQ(producer.summary().unacknowledged, 3U);
}

TEST_F(ProducerTest, InterruptEndsFinish) {
  broker_.rows = FakeBroker::Rows::ignored;
  Producer producer(broker_, options());
  start(producer);
  append(producer, 1);
  broker_.on_wait = [&] { is_interrupted_ = true; };
  const auto finished = producer.finish();
  ASSERT_TRUE(finished);
  EXPECT_FALSE(*finished);
}

TEST_F(ProducerTest, DeadRowsAreReportedImmediatelyAndNotCountedAsApplied) {
  broker_.rows = FakeBroker::Rows::ignored;
  Producer producer(broker_, options());
  start(producer);
  append(producer, 3);
  producer.flush();
  broker_.to_producer.push_back(Applied{Sequence{2}, 1, {{{2}, "no such table: pets"}}});
  broker_.to_producer.push_back(Applied{Sequence{3}, 1, {{{3}, "no such table: pets"}}});
  ASSERT_TRUE(producer.finish());
  EXPECT_EQ(dead_, (std::vector<std::uint64_t>{2, 3}));
  const Summary summary = producer.summary();
  EXPECT_EQ(summary.dead_count, 2U);
  EXPECT_EQ(summary.applied, 1U);
  ASSERT_EQ(summary.dead.size(), 2U);
  EXPECT_EQ(summary.dead[0].reason, "no such table: pets");
}

TEST_F(ProducerTest, DefinitionTakesANumberAndIsNotCountedAsARow) {
  Producer producer(broker_, options());
  ASSERT_TRUE(producer.start());
  const auto sequence = producer.define("t", {"a", "b"}, {"INTEGER", "TEXT"});
  ASSERT_TRUE(sequence);
  EXPECT_EQ(*sequence, Sequence{1});
  producer.into("t", {"a", "b"});
  append(producer, 2);
  ASSERT_TRUE(producer.finish());
  const auto batches = broker_.all<Batch>();
  ASSERT_GE(batches.size(), 2U);
  EXPECT_EQ(batches[0].header.kind, BatchKind::define);
  EXPECT_EQ(batches[1].header.first, Sequence{2});
  DecodedRows rows;
  ASSERT_TRUE(decode_rows(batches[0].rows_frame.view(), 1, rows));
  EXPECT_EQ(std::get<std::string_view>(rows.row(0)[1]), "TEXT");
  EXPECT_EQ(producer.summary().appended, 2U);
  EXPECT_EQ(producer.summary().applied, 2U);
}

TEST_F(ProducerTest, CheckTableReturnsTheAnswer) {
  broker_.table_state = TableState::missing_table;
  Producer producer(broker_, options());
  ASSERT_TRUE(producer.start());
  const auto answer = producer.check_table("pets", {"name"});
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->state, TableState::missing_table);
}

TEST_F(ProducerTest, TableIsUnknownWithoutAnAnswer) {
  Producer producer(broker_, options());
  ASSERT_TRUE(producer.start());
  broker_.answers = false;
  broker_.on_wait = [&] { broker_.to_producer.push_back(Heartbeat{}); };
  const auto answer = producer.check_table("pets", {"name"});
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->state, TableState::unknown);
}

TEST_F(ProducerTest, BrokerThatDoesNotKnowTheConnectionGetsHelloAndTheRowsAgain) {
  broker_.rows = FakeBroker::Rows::ignored;
  Producer producer(broker_, options());
  start(producer);
  append(producer, 1);
  broker_.rows = FakeBroker::Rows::applied;
  broker_.to_producer.push_back(Refusal{RefusalCode::hello_first, {}, ""});
  broker_.to_producer.push_back(Refusal{RefusalCode::hello_first, {}, ""});
  const auto finished = producer.finish();
  ASSERT_TRUE(finished);
  const auto hellos = broker_.all<Hello>();
  ASSERT_EQ(hellos.size(), 2U);
  EXPECT_EQ(hellos[1].epoch, Epoch{1});
  EXPECT_EQ(batch_sizes(), (Sizes{1, 1}));
  EXPECT_EQ(notices_, (Notices{Notice::connected}));
}

TEST_F(ProducerTest, HelloCarriesTheKnownOutcomes) {
  Producer producer(broker_, options());
  start(producer);
  append(producer, 1);
  ASSERT_TRUE(producer.pump(milliseconds(0)));
  broker_.to_producer.push_back(Refusal{RefusalCode::hello_first, {}, ""});
  ASSERT_TRUE(producer.pump(milliseconds(0)));
  ASSERT_EQ(broker_.all<Hello>().size(), 2U);
  EXPECT_EQ(broker_.all<Hello>()[1].known, Sequence{1});
}

TEST_F(ProducerTest, LostHelloIsSentAgain) {
  broker_.answers = false;
  broker_.on_wait = [&] {
    if (broker_.all<Hello>().size() == 2) {
      broker_.to_producer.push_back(broker_.welcome);
    }
  };
  Producer producer(broker_, options());
  EXPECT_TRUE(producer.start());
}

// A third HELLO is needed: the broker now expects other rows, and would not report earlier dead
// letters.
TEST_F(ProducerTest, DuplicateHelloWithTwoAnswersIsFollowedByAnotherHello) {
  broker_.answers = false;
  broker_.on_wait = [&] {
    if (broker_.all<Hello>().size() == 2) {
      broker_.to_producer.push_back(broker_.welcome);
      broker_.welcome.epoch = {2};
      broker_.welcome.through = {17};
      broker_.to_producer.push_back(broker_.welcome);
      broker_.answers = true;
    }
  };
  Producer producer(broker_, options());
  start(producer);
  append(producer, 1);
  ASSERT_TRUE(producer.finish());
  const auto hellos = broker_.all<Hello>();
  ASSERT_EQ(hellos.size(), 3U);
  EXPECT_FALSE(hellos[1].sent);
  EXPECT_EQ(hellos[2].epoch, Epoch{2});
  EXPECT_EQ(hellos[2].sent, Sequence{0});
  EXPECT_EQ(broker_.all<Batch>().front().header.first, Sequence{1});
}

TEST_F(ProducerTest, SureProducerSaysHelloOnceAndSendsHeartbeatsWhileItWaits) {
  broker_.answers = false;
  broker_.welcome.through = {5};
  broker_.welcome.through_is_sure = true;
  auto with = options();
  with.named = with.sure = true;
  Producer producer(broker_, with);
  broker_.on_wait = [&] {
    if (broker_.now.time_since_epoch() > seconds(20)) {
      broker_.to_producer.push_back(broker_.welcome);
      broker_.on_wait = {};
    } else if (broker_.all<Heartbeat>().empty()) {
      broker_.to_producer.push_back(Refusal{RefusalCode::not_now, {}, "no consumer"});
    } else {
      broker_.to_producer.push_back(Heartbeat{});
    }
  };
  const auto started = producer.start();
  ASSERT_TRUE(started);
  EXPECT_EQ(started->through, Sequence{5});
  const auto hellos = broker_.all<Hello>();
  ASSERT_EQ(hellos.size(), 1U);
  EXPECT_TRUE(hellos[0].sure);
  EXPECT_GE(broker_.all<Heartbeat>().size(), 5U);
  EXPECT_EQ(broker_.reconnects, 0);
  EXPECT_EQ(notices_, (Notices{Notice::busy, Notice::busy_over}));
}

TEST_F(ProducerTest, SureProducerRefusesAnOlderBrokerThatIsNotSure) {
  auto with = options();
  with.named = with.sure = true;
  broker_.welcome.through_is_sure = false;
  Producer producer(broker_, with);
  const auto started = producer.start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Errc::refused);
}

TEST_F(ProducerTest, SilentBrokerIsReportedOnceAfterTwoSeconds) {
  broker_.is_connected = false;
  Producer producer(broker_, options());
  broker_.on_wait = [&] {
    if (broker_.now.time_since_epoch() < seconds(2)) {
      EXPECT_TRUE(notices_.empty());
    }
    broker_.is_connected = broker_.now.time_since_epoch() > seconds(10);
  };
  ASSERT_TRUE(producer.start());
  EXPECT_EQ(notices_, (Notices{Notice::unreachable, Notice::connected}));
  EXPECT_EQ(broker_.reconnects, 0) << "a link that never connected retries by itself";
}

TEST_F(ProducerTest, TimeoutSaysHowManyRowsWereNotAcknowledged) {
  auto with = options();
  with.timeout = seconds(30);
  Producer producer(broker_, with);
  start(producer);
  broker_.is_connected = false;
  append(producer, 12);
  const auto began = broker_.now;
  const auto finished = producer.finish();
  ASSERT_FALSE(finished);
  EXPECT_EQ(finished.error().code, Errc::unreachable);
  EXPECT_THAT(finished.error().what, HasSubstr("for 30 s; 12 rows are not acknowledged"));
  EXPECT_GE(broker_.now - began, seconds(30));
  EXPECT_LT(broker_.now - began, seconds(31));
}

TEST_F(ProducerTest, NoTimeoutWaitsForAnHour) {
  broker_.is_connected = false;
  broker_.on_wait = [&] { broker_.is_connected = broker_.now.time_since_epoch() > seconds(3600); };
  Producer producer(broker_, options());
  EXPECT_TRUE(producer.start());
}

TEST_F(ProducerTest, BrokerThatFallsSilentGetsANewConnection) {
  Producer producer(broker_, options());
  start(producer);
  broker_.answers = false;
  append(producer, 1);
  broker_.on_reconnect = [&] { broker_.answers = true; };
  const auto finished = producer.finish();
  ASSERT_TRUE(finished);
  EXPECT_TRUE(*finished);
  EXPECT_EQ(broker_.reconnects, 1);
  EXPECT_EQ(broker_.all<Hello>().size(), 2U);
  EXPECT_EQ(batch_sizes(), (Sizes{1, 1}));
}

TEST_F(ProducerTest, AnswersFromDuringAStallAreReadBeforeTheProducerGivesUp) {
  auto with = options();
  with.timeout = seconds(30);
  Producer producer(broker_, with);
  start(producer);
  broker_.rows = FakeBroker::Rows::ignored;
  append(producer, 1);
  broker_.now += seconds(40);
  broker_.to_producer.push_back(Applied{Sequence{1}, 0, {}});
  const auto finished = producer.finish();
  ASSERT_TRUE(finished) << finished.error().what;
  EXPECT_TRUE(*finished);
  EXPECT_EQ(broker_.reconnects, 0);
}

TEST_F(ProducerTest, SlowSendIsNotMistakenForASilentBroker) {
  auto with = options();
  with.timeout = seconds(30);
  Producer producer(broker_, with);
  start(producer);
  broker_.writing_takes = seconds(40);
  append(producer, 3);
  const auto finished = producer.finish();
  ASSERT_TRUE(finished) << finished.error().what;
  EXPECT_TRUE(*finished);
  EXPECT_TRUE(notices_.empty());
  EXPECT_EQ(broker_.all<Hello>().size(), 1U);
}

TEST_F(ProducerTest, RefusalAtTheDeadlineIsReported) {
  Producer producer(broker_, options());
  start(producer);
  broker_.rows = FakeBroker::Rows::ignored;
  append(producer, 1);
  broker_.to_producer.push_back(Refusal{RefusalCode::fenced, {1}, ""});
  const auto settled = producer.settle(broker_.now);
  ASSERT_FALSE(settled);
  EXPECT_EQ(settled.error().code, Errc::fenced);
}

TEST_F(ProducerTest, InterruptedProducerStillReadsTheAnswersThatHaveArrived) {
  Producer producer(broker_, options());
  start(producer);
  broker_.rows = FakeBroker::Rows::ignored;
  append(producer, 2);
  is_interrupted_ = true;
  broker_.to_producer.push_back(Applied{Sequence{1}, 0, {}});
  auto settled = producer.settle();
  ASSERT_TRUE(settled);
  EXPECT_FALSE(*settled) << "the second is in flight";
  EXPECT_EQ(producer.summary().unacknowledged, 1U);
  broker_.to_producer.push_back(Applied{Sequence{2}, 0, {}});
  settled = producer.settle();
  ASSERT_TRUE(settled);
  EXPECT_TRUE(*settled);
}

TEST_F(ProducerTest, IdleProducerSendsHeartbeats) {
  Producer producer(broker_, options());
  start(producer);
  ASSERT_TRUE(producer.pump(seconds(11)));
  EXPECT_EQ(broker_.all<Heartbeat>().size(), 5U);
  EXPECT_EQ(broker_.reconnects, 0);
  EXPECT_TRUE(notices_.empty());
}

TEST_F(ProducerTest, BusyBrokerGetsTheRowsAgainAndIsReportedOnce) {
  broker_.rows = FakeBroker::Rows::ignored;
  Producer producer(broker_, options());
  start(producer);
  append(producer, 1);
  int refusals = 0;
  broker_.to_producer.push_back(Refusal{RefusalCode::busy, {1}, "the journal is full"});
  broker_.on_wait = [&] {
    if (batch_sizes().size() < static_cast<std::size_t>(refusals) + 2) {
      return;
    }
    if (++refusals < 3) {
      broker_.to_producer.push_back(Refusal{RefusalCode::busy, {1}, "the journal is full"});
    } else {
      broker_.to_producer.push_back(Applied{Sequence{1}, 0, {}});
    }
  };
  ASSERT_TRUE(producer.finish());
  EXPECT_EQ(batch_sizes().size(), 4U);
  EXPECT_EQ(notices_, (Notices{Notice::busy, Notice::busy_over}));
}

TEST_F(ProducerTest, OlderProcessOfANameStopsWhenANewerOneStarts) {
  broker_.rows = FakeBroker::Rows::ignored;
  Producer producer(broker_, options());
  start(producer);
  append(producer, 1);
  broker_.to_producer.push_back(Refusal{RefusalCode::fenced, {}, ""});
  const auto finished = producer.finish();
  ASSERT_FALSE(finished);
  EXPECT_EQ(finished.error().code, Errc::fenced);
  EXPECT_THAT(finished.error().what,
              HasSubstr("a newer process with the name 'p' has started; this one stops"));
  EXPECT_FALSE(producer.append(std::array<std::string_view, 2>{"Ace", "Dog"}));
}

TEST_F(ProducerTest, FinalRefusalEndsWithItsText) {
  for (const auto code : {RefusalCode::hole, RefusalCode::other_source, RefusalCode::version,
                          RefusalCode::malformed}) {
    FakeBroker broker;
    broker.rows = FakeBroker::Rows::ignored;
    auto with = options();
    with.clock = broker.clock();
    with.coarse_clock = with.clock;
    Producer producer(broker, with);
    start(producer);
    append(producer, 1);
    broker.to_producer.push_back(Refusal{code, {}, "this and that"});
    const auto finished = producer.finish();
    ASSERT_FALSE(finished);
    EXPECT_EQ(finished.error().code, Errc::refused);
    EXPECT_THAT(finished.error().what, HasSubstr("this and that"));
  }
}

TEST_F(ProducerTest, OtherVersionOfTheProtocolIsRefused) {
  broker_.welcome.version = 99;
  Producer producer(broker_, options());
  const auto started = producer.start();
  ASSERT_FALSE(started);
  EXPECT_THAT(started.error().what, HasSubstr("version 99"));
}

TEST_F(ProducerTest, WaitingTimesAreMeasured) {
  broker_.rows = FakeBroker::Rows::ignored;
  Producer producer(broker_, options());
  start(producer);
  append(producer, 1);
  const auto began = broker_.now;
  broker_.on_wait = [&] {
    if (broker_.now - began >= seconds(3)) {
      broker_.to_producer.push_back(Applied{Sequence{1}, 0, {}});
    }
  };
  ASSERT_TRUE(producer.finish());
  EXPECT_EQ(producer.summary().waited_total, seconds(3));
  EXPECT_EQ(producer.summary().waited_longest, seconds(3));
}

// ---- why rows wait, and for how long

std::string report_of(const nlohmann::json& consumer, std::int64_t oldest_ms = 0) {
  const nlohmann::json report{{"consumer", consumer},
                              {"journal", {{"problem", ""}, {"rows", 3}}},
                              {"oldest_waiting_ms", oldest_ms}};
  const auto bytes = nlohmann::json::to_msgpack(report);
  return {bytes.begin(), bytes.end()};
}

nlohmann::json consumer_of(const std::string& problem, std::uint64_t rows_applied = 0) {
  return {{"attached", true},
          {"problem", problem},
          {"rows_applied", rows_applied},
          {"tables", nlohmann::json::array()}};
}

TEST_F(ProducerTest, AStoredRowIsReportedWithTheConsumersReason) {
  broker_.rows = FakeBroker::Rows::stored;
  const std::vector<std::pair<std::string, std::string>> cases{
      {report_of({{"attached", false}}), "1 row is stored; no consumer is running"},
      {report_of(consumer_of("disk full"), 12'345),
       "1 row is stored; the consumer cannot apply rows: disk full; the oldest row of the queue "
       "has "
       "waited 12 s"},
      {report_of(consumer_of("")), "1 row is stored; the consumer is busy"},
      {"no report", "1 row is stored and not applied"},
  };
  for (const auto& [report, text] : cases) {
    broker_.report = report;
    texts_.clear();
    Producer producer(broker_, options());
    start(producer);
    append(producer, 1);
    const auto finished = producer.finish(broker_.now + seconds(3));
    ASSERT_TRUE(finished);
    EXPECT_EQ(texts_, std::vector<std::string>{text});
  }
}

TEST_F(ProducerTest, AChangedReasonIsReportedAgain) {
  broker_.rows = FakeBroker::Rows::stored;
  broker_.report = report_of(consumer_of("disk full"));
  Producer producer(broker_, options());
  start(producer);
  append(producer, 2);
  const auto begun = broker_.now;
  broker_.on_wait = [&] {
    if (broker_.now - begun > seconds(10)) {
      broker_.report = report_of(consumer_of("locked"));
    }
  };
  ASSERT_TRUE(producer.finish(begun + seconds(20)));
  EXPECT_EQ(texts_, (std::vector<std::string>{
                        "2 rows are stored; the consumer cannot apply rows: disk full",
                        "2 rows are stored; the consumer cannot apply rows: locked"}));
}

TEST_F(ProducerTest, NoStatusIsRequestedWhileRowsAreAcknowledged) {
  Producer producer(broker_, options());
  start(producer);
  for (int i = 0; i < 100; ++i) {
    append(producer, 1);
    ASSERT_TRUE(producer.pump(milliseconds(100)));
  }
  ASSERT_TRUE(producer.finish());
  EXPECT_TRUE(broker_.all<AskStatus>().empty());
}

TEST_F(ProducerTest, TheTimeoutEndsAWaitForTheConsumer) {
  broker_.rows = FakeBroker::Rows::stored;
  broker_.report = report_of(consumer_of("disk full"));
  auto with = options();
  with.timeout = seconds(4);
  Producer producer(broker_, with);
  start(producer);
  append(producer, 3);
  const auto begun = broker_.now;
  const auto finished = producer.finish();
  ASSERT_FALSE(finished);
  EXPECT_EQ(finished.error().code, Errc::unreachable);
  EXPECT_EQ(finished.error().what,
            "no row was applied for 4 s: 3 rows are stored; the consumer cannot apply rows: disk "
            "full");
  EXPECT_GE(broker_.now - begun, seconds(4));
  EXPECT_LT(broker_.now - begun, seconds(5));
  EXPECT_EQ(producer.summary().stored, 3U);
  EXPECT_EQ(producer.summary().unacknowledged, 3U);
}

TEST_F(ProducerTest, TheTimeoutEndsAWaitForRoomAsWell) {
  broker_.rows = FakeBroker::Rows::ignored;
  auto with = options();
  with.timeout = seconds(4);
  with.max_unacked_bytes = 1000;
  with.batch_rows = 1;
  Producer producer(broker_, with);
  start(producer);
  // The broker answers all the time: it is not silent.
  broker_.on_wait = [&] { broker_.to_producer.push_back(Heartbeat{}); };
  const std::string text(600, 'x');
  std::optional<Error> failed;
  for (int i = 0; i < 20 && !failed; ++i) {
    const auto appended = producer.append(std::array<std::string_view, 2>{text, "Dog"});
    if (!appended) {
      failed = appended.error();
    }
  }
  ASSERT_TRUE(failed);
  EXPECT_EQ(failed->code, Errc::unreachable);
  EXPECT_THAT(failed->what, HasSubstr("no row was applied for 4 s: "));
  EXPECT_THAT(failed->what, HasSubstr("not stored yet"));
}

TEST_F(ProducerTest, AConsumerThatAppliesOtherProducersRowsCountsAsProgress) {
  broker_.rows = FakeBroker::Rows::stored;
  auto with = options();
  with.timeout = seconds(4);
  Producer producer(broker_, with);
  start(producer);
  append(producer, 1);
  const auto begun = broker_.now;
  std::uint64_t applied = 0;
  broker_.on_wait = [&] {
    broker_.report = report_of(consumer_of("", ++applied));
    if (broker_.now - begun > seconds(60)) {
      broker_.to_producer.push_back(Applied{Sequence{1}, 0, {}});
    }
  };
  const auto finished = producer.finish();
  ASSERT_TRUE(finished) << finished.error().what;
  EXPECT_TRUE(*finished);
}

TEST_F(ProducerTest, ALongTaskDoesNotEndTheWait) {
  broker_.rows = FakeBroker::Rows::stored;
  auto with = options();
  with.timeout = seconds(4);
  with.task_duration = seconds(10);
  Producer producer(broker_, with);
  start(producer);
  append(producer, 1);
  const auto begun = broker_.now;
  broker_.on_wait = [&] {
    if (broker_.now - begun > seconds(11)) {
      broker_.to_producer.push_back(Applied{Sequence{1}, 0, {}});
    }
  };
  EXPECT_TRUE(producer.finish());
}

// ---- a broker that is not there

LinkTrouble trouble(LinkTrouble::Kind kind) {
  return {kind, "there is trouble with broker.sock", "a hint"};
}

TEST_F(ProducerTest, ASocketWithoutPermissionFailsImmediately) {
  broker_.is_connected = false;
  broker_.why_not = trouble(LinkTrouble::Kind::no_permission);
  Producer producer(broker_, options());
  const auto begun = broker_.now;
  const auto started = producer.start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Errc::unreachable);
  EXPECT_EQ(started.error().what, "there is trouble with broker.sock");
  EXPECT_LE(broker_.now - begun, milliseconds(100));
}

TEST_F(ProducerTest, AMissingSocketIsReportedImmediatelyAndRetriedUntilTheTimeout) {
  broker_.is_connected = false;
  broker_.why_not = trouble(LinkTrouble::Kind::no_socket);
  auto with = options();
  with.timeout = seconds(4);
  Producer producer(broker_, with);
  const auto begun = broker_.now;
  broker_.on_wait = [&] {
    if (broker_.now - begun >= milliseconds(200)) {
      EXPECT_EQ(texts_,
                std::vector<std::string>{"there is trouble with broker.sock, trying again"});
    }
  };
  const auto started = producer.start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().what, "there is trouble with broker.sock for 4 s");
  EXPECT_GE(broker_.now - begun, seconds(4));
}

TEST_F(ProducerTest, AProgramThatNeedsTheBrokerNowFailsWithoutASocket) {
  broker_.is_connected = false;
  broker_.why_not = trouble(LinkTrouble::Kind::nobody_listens);
  auto with = options();
  with.if_no_broker = IfNoBroker::fail;
  Producer producer(broker_, with);
  EXPECT_FALSE(producer.start());
  EXPECT_LE(broker_.now.time_since_epoch(), milliseconds(100));
}

// While a broker restarts, its socket may be in any state for a moment.
TEST_F(ProducerTest, LaterTroubleWithTheSocketIsRetried) {
  auto with = options();
  Producer producer(broker_, with);
  start(producer);
  broker_.is_connected = false;
  broker_.why_not = trouble(LinkTrouble::Kind::no_permission);
  append(producer, 1);
  const auto begun = broker_.now;
  broker_.on_wait = [&] {
    if (broker_.now - begun > seconds(1)) {
      broker_.is_connected = true;
      broker_.why_not.reset();
    }
  };
  const auto finished = producer.finish();
  ASSERT_TRUE(finished) << finished.error().what;
  EXPECT_TRUE(notices_.empty());
}

}  // namespace
}  // namespace turnstile
