#include "broker/window.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/broker/batches.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using Verdict = Window::Verdict;

class WindowTest : public testing::Test {
 protected:
  Verdict offer(const std::string& producer, std::uint64_t first, std::uint64_t last,
                std::size_t bytes = 100) {
    return window_.offer(batch_of(producer, first, last, bytes), now_);
  }
  // What a broker does with its journal: stores all that waits, in order.
  std::vector<ProducerId> store() {
    std::vector<Offset> offsets;
    for (std::size_t i = window_.to_store(SIZE_MAX).size(); i > 0; --i) {
      offsets.push_back({next_offset_++});
    }
    return window_.mark_stored(offsets, now_);
  }
  std::vector<std::pair<std::string, std::uint64_t>> deliver_all() {
    std::vector<std::pair<std::string, std::uint64_t>> out;
    while (const Held* held = window_.deliver_next(now_)) {
      out.emplace_back(held->producer.text, held->first.value);
      last_ticket_ = held->ticket;
    }
    return out;
  }
  static Held stored_batch(const std::string& producer, std::uint64_t first, std::uint64_t last,
                           std::uint64_t offset) {
    const Batch batch = batch_of(producer, first, last);
    return {{producer},       {first},        {last}, batch.header_frame,
            batch.rows_frame, Offset{offset}, kStart, {}};
  }

  const ProducerId a_{"a"};
  const ProducerId b_{"b"};
  WindowOptions options_{std::size_t{64} * 1024, std::size_t{16} * 1024, 100ms};
  Window window_{options_};
  TimePoint now_ = kStart;
  std::uint64_t next_offset_ = 1;
  Ticket last_ticket_;
};

// The earlier process sent 1 to 5 as one batch; this one sends 1 to 10.
TEST_F(WindowTest, ARefusedAndPartlyAppliedBatchMustComeAgain) {
  window_.note_applied(a_, {5});
  EXPECT_EQ(offer("b", 1, 10, 64 * 1024), Verdict::taken);
  EXPECT_EQ(offer("a", 1, 10), Verdict::go_back);
  store();  // makes room
  EXPECT_EQ(offer("a", 11, 20), Verdict::skipped);
  EXPECT_EQ(window_.expected(a_), Sequence{6});
  EXPECT_EQ(offer("a", 1, 10), Verdict::taken);
  EXPECT_EQ(offer("a", 11, 20), Verdict::taken);
}

// The journal delivers again what was applied before a crash. The producer's next process has
// written meanwhile.
TEST_F(WindowTest, ADuplicateOfABatchCountsAsAppliedAfterANewerEpochHasWritten) {
  window_.journal_opened({{1}, {2}}, {{a_, {20}, 2}});
  window_.consumer_attached(now_);
  window_.loaded({stored_batch("a", 1, 10, 1), stored_batch("a", 11, 20, 2)}, {2});
  deliver_all();
  const auto covered = window_.settle({{1}, Outcome::fenced, {15}, 0, {}}, now_);
  ASSERT_TRUE(covered);
  EXPECT_TRUE(covered->applied);
  EXPECT_EQ(covered->remove, Offset{1});
  EXPECT_THAT(window_.stopped_producers(), testing::IsEmpty());
  const auto refused = window_.settle({{2}, Outcome::fenced, {15}, 0, {}}, now_);
  ASSERT_TRUE(refused);
  EXPECT_FALSE(refused->applied);
  EXPECT_THAT(window_.stopped_producers(), ElementsAre(a_));
}

TEST_F(WindowTest, ABatchInOrderIsTakenAndItsDuplicateIsHeld) {
  EXPECT_EQ(offer("a", 1, 10), Verdict::taken);
  EXPECT_EQ(offer("a", 1, 10), Verdict::held);
  EXPECT_EQ(offer("a", 3, 7), Verdict::held);
  EXPECT_EQ(offer("a", 11, 20), Verdict::taken);
  EXPECT_EQ(window_.batches_in_memory(), 2U);
  EXPECT_EQ(window_.rows_in_memory(), 20U);
}

TEST_F(WindowTest, ABatchWithOtherBoundariesIsTakenIfItHasNewRows) {
  EXPECT_EQ(offer("a", 1, 10), Verdict::taken);
  EXPECT_EQ(offer("a", 5, 15), Verdict::taken);
  EXPECT_EQ(window_.expected(a_), Sequence{16});
}

TEST_F(WindowTest, TheFirstBatchMayBeginAnywhereSinceTheTargetChecksIt) {
  EXPECT_EQ(offer("a", 500, 510), Verdict::taken);
}

TEST_F(WindowTest, ASkippedNumberBetweenTwoBatchesOfASessionIsAHole) {
  ASSERT_EQ(offer("a", 1, 10), Verdict::taken);
  EXPECT_EQ(offer("a", 20, 30), Verdict::hole);
  EXPECT_EQ(window_.expected(a_), Sequence{11});
  window_.session_begins(a_, {});
  EXPECT_EQ(offer("a", 11, 19), Verdict::taken);
  EXPECT_EQ(offer("a", 20, 30), Verdict::taken);
}

TEST_F(WindowTest, AFirstBatchThatBeginsTooHighGetsTheRightNumberAndARepetitionIsAHole) {
  window_.begins_after(a_, {10}, {10});
  EXPECT_EQ(offer("a", 20, 30), Verdict::go_back);
  EXPECT_EQ(window_.expected(a_), Sequence{11});
  EXPECT_EQ(offer("a", 31, 40), Verdict::go_back) << "it was in flight";
  EXPECT_EQ(offer("a", 11, 12), Verdict::taken);
  window_.begins_after(a_, {12}, {40});
  EXPECT_EQ(offer("a", 20, 30), Verdict::go_back);
  EXPECT_EQ(offer("a", 20, 30), Verdict::hole);
}

TEST_F(WindowTest, AProducerContinuesAfterAcknowledgedRowsThatItDidNotSendAgain) {
  window_.begins_after(a_, {5}, {20});
  EXPECT_EQ(offer("a", 6, 7), Verdict::taken);
  window_.note_applied(a_, {20});
  EXPECT_EQ(window_.acknowledge(a_, {20}), Sequence{20});
  EXPECT_EQ(offer("a", 21, 22), Verdict::taken);
}

TEST_F(WindowTest, AHoleAfterAppliedRowsIsFoundWhileNothingIsHeld) {
  window_.begins_after({"a"}, {0}, {0});
  EXPECT_EQ(offer("a", 2, 2), Verdict::go_back);
  EXPECT_EQ(window_.expected({"a"}), Sequence{1});
  EXPECT_EQ(offer("a", 1, 1), Verdict::taken);
  window_.consumer_attached(now_);
  const Held* held = window_.deliver_next(now_);
  ASSERT_NE(held, nullptr);
  ASSERT_TRUE(window_.settle(applied_result(held->ticket, 1), now_));
  EXPECT_EQ(offer("a", 3, 3), Verdict::hole);
  EXPECT_EQ(window_.expected({"a"}), Sequence{2});
  EXPECT_EQ(offer("a", 2, 3), Verdict::taken);
}

TEST_F(WindowTest, RowsAfterThoseSentAreNotAcknowledged) {
  window_.begins_after(a_, {9}, {2});
  window_.note_applied(a_, {9});
  EXPECT_EQ(window_.acknowledge(a_, {9}), Sequence{2});
  EXPECT_EQ(window_.applied_of_sent(a_), Sequence{2});
  EXPECT_EQ(offer("a", 3, 5), Verdict::taken) << "no hole, although it begins earlier than claimed";
  EXPECT_EQ(window_.acknowledge(a_, {9}), Sequence{5});
  EXPECT_EQ(window_.applied_of_sent(a_), Sequence{5});
}

TEST_F(WindowTest, RowsInTheTargetAreNoHole) {
  // An earlier broker delivered 11..30; this one only read 1..10 back from its journal.
  window_.journal_opened({{1}, {1}}, {{a_, {10}, 1}});
  window_.note_applied(a_, {30});
  EXPECT_EQ(offer("a", 31, 40), Verdict::taken);
}

TEST_F(WindowTest, AtTheBoundABatchGetsGoBackAndLaterOnesAreSkippedUntilItComes) {
  ASSERT_EQ(offer("a", 1, 1, 40'000), Verdict::taken);
  EXPECT_EQ(offer("a", 2, 2, 40'000), Verdict::go_back);
  EXPECT_EQ(window_.expected(a_), Sequence{2});
  EXPECT_EQ(offer("a", 3, 3, 10), Verdict::skipped);
  EXPECT_EQ(offer("b", 1, 1, 10), Verdict::taken);
  EXPECT_EQ(offer("a", 2, 2, 40'000), Verdict::go_back);
  window_.consumer_attached(now_);
  deliver_all();
  ASSERT_TRUE(window_.settle(applied_result({1}, 1), now_));
  EXPECT_EQ(offer("a", 3, 3, 10), Verdict::skipped);
  EXPECT_EQ(offer("a", 2, 2, 40'000), Verdict::taken);
  EXPECT_EQ(offer("a", 3, 3, 10), Verdict::taken);
}

TEST_F(WindowTest, AGoBackEndsWhenTheTargetHasTheRow) {
  ASSERT_EQ(offer("b", 1, 1, 60'000), Verdict::taken);
  ASSERT_EQ(offer("a", 5, 9, 40'000), Verdict::go_back);
  window_.note_applied(a_, {9});
  EXPECT_EQ(offer("a", 10, 12, 10), Verdict::taken);
}

TEST_F(WindowTest, ABatchLargerThanTheMemoryIsTakenAlone) {
  EXPECT_EQ(offer("a", 1, 1, 100'000), Verdict::taken);
  EXPECT_EQ(offer("b", 1, 1, 1), Verdict::go_back);
}

TEST_F(WindowTest, MemoryIncludesTheOverheadOfASmallBatch) {
  offer("a", 1, 1, 1);
  EXPECT_GT(window_.memory_bytes(), kHeldOverhead);
}

TEST_F(WindowTest, WithoutAConsumerBatchesAreStoredImmediately) {
  EXPECT_FALSE(window_.should_store(now_));
  offer("a", 1, 10);
  EXPECT_TRUE(window_.should_store(now_));
  EXPECT_THAT(store(), ElementsAre(a_));
  EXPECT_EQ(window_.stored_through(a_), Sequence{10});
  EXPECT_FALSE(window_.should_store(now_));
  EXPECT_EQ(window_.memory_bytes(), 0U);
  EXPECT_EQ(offer("a", 1, 10), Verdict::stored);
}

TEST_F(WindowTest, AConsumerThatAnswersKeepsBatchesOutOfTheJournal) {
  window_.consumer_attached(now_);
  for (std::uint64_t i = 1; i <= 20; ++i) {
    offer("a", i, i);
    deliver_all();
    now_ += 90ms;
    EXPECT_FALSE(window_.should_store(now_));
    const auto settled = window_.settle(applied_result(last_ticket_, i), now_);
    ASSERT_TRUE(settled);
    EXPECT_FALSE(settled->remove);
  }
  EXPECT_EQ(window_.memory_bytes(), 0U);
  EXPECT_EQ(window_.applied_through(a_), Sequence{20});
}

TEST_F(WindowTest, BatchesAreStoredAtTheDeadlineOfAStalledConsumer) {
  window_.consumer_attached(now_);
  offer("a", 1, 10);
  deliver_all();
  EXPECT_EQ(window_.store_deadline(), kStart + 100ms);
  EXPECT_FALSE(window_.should_store(kStart + 99ms));
  EXPECT_TRUE(window_.should_store(kStart + 100ms));
}

TEST_F(WindowTest, AnIdleConsumerIsNotStalled) {
  window_.consumer_attached(now_);
  now_ += 1h;
  offer("a", 1, 10);
  deliver_all();
  EXPECT_FALSE(window_.should_store(now_));
}

TEST_F(WindowTest, NearlyFullMemoryIsStored) {
  window_.consumer_attached(now_);
  offer("a", 1, 1, 47'000);
  deliver_all();
  EXPECT_FALSE(window_.should_store(now_));
  offer("a", 2, 2, 5'000);
  EXPECT_TRUE(window_.should_store(now_));
}

TEST_F(WindowTest, BatchesOnlyInTheJournalAreDeliveredBeforeLaterOnes) {
  offer("a", 1, 10);
  offer("b", 1, 10);
  store();
  offer("a", 11, 20);
  window_.consumer_attached(now_);
  EXPECT_TRUE(deliver_all().empty());
  ASSERT_EQ(window_.wants_load(), Offset{1});
  std::vector<Held> batches{stored_batch("a", 1, 10, 1), stored_batch("b", 1, 10, 2)};
  window_.loaded(std::move(batches), {2});
  EXPECT_FALSE(window_.wants_load());
  EXPECT_THAT(deliver_all(),
              ElementsAre(std::pair("a", 1U), std::pair("b", 1U), std::pair("a", 11U)));
}

TEST_F(WindowTest, ANewConsumerGetsUnansweredBatchesWithNewTickets) {
  window_.consumer_attached(now_);
  offer("a", 1, 10);
  offer("a", 11, 20);
  deliver_all();
  window_.consumer_gone();
  EXPECT_EQ(window_.deliver_next(now_), nullptr);
  EXPECT_FALSE(window_.settle(applied_result({1}, 10), now_));
  window_.consumer_attached(now_);
  EXPECT_THAT(deliver_all(), ElementsAre(std::pair("a", 1U), std::pair("a", 11U)));
  EXPECT_FALSE(window_.settle(applied_result({1}, 10), now_));
  EXPECT_TRUE(window_.settle(applied_result({3}, 10), now_));
}

TEST_F(WindowTest, ResultsMayComeInAnyOrderAndCountOnce) {
  window_.consumer_attached(now_);
  offer("a", 1, 10);
  offer("b", 1, 10);
  offer("a", 11, 20);
  deliver_all();
  EXPECT_TRUE(window_.settle(applied_result({2}, 10), now_));
  EXPECT_FALSE(window_.settle(applied_result({2}, 10), now_));
  EXPECT_TRUE(window_.settle(applied_result({3}, 20), now_));
  EXPECT_TRUE(window_.settle(applied_result({1}, 20), now_));
  EXPECT_FALSE(window_.settle(applied_result({99}, 20), now_));
  EXPECT_FALSE(window_.settle(applied_result({0}, 20), now_));
  EXPECT_EQ(window_.batches_in_memory(), 0U);
  EXPECT_EQ(window_.memory_bytes(), 0U);
}

TEST_F(WindowTest, CreditBoundsBatchesInFlightAndOneIsAlwaysAllowed) {
  offer("a", 1, 1, 20'000);
  offer("a", 2, 2, 20'000);
  window_.consumer_attached(now_);
  EXPECT_EQ(deliver_all().size(), 1U);
  window_.settle(applied_result({1}, 1), now_);
  EXPECT_EQ(deliver_all().size(), 1U);
}

TEST_F(WindowTest, AStoredBatchThatIsRefusedStaysInTheJournalAndStopsItsProducerOnly) {
  offer("a", 5, 10);
  offer("b", 1, 10);
  offer("a", 11, 20);
  store();
  window_.consumer_attached(now_);
  std::vector<Held> first{stored_batch("a", 5, 10, 1)};
  window_.loaded(std::move(first), {1});
  deliver_all();
  const auto settled = window_.settle({{1}, Outcome::hole, {0}, 0, {}}, now_);
  ASSERT_TRUE(settled);
  EXPECT_TRUE(settled->stopped);
  EXPECT_FALSE(settled->applied);
  EXPECT_FALSE(settled->remove);
  EXPECT_THAT(window_.stopped_producers(), ElementsAre(a_));
  std::vector<Held> rest{stored_batch("b", 1, 10, 2), stored_batch("a", 11, 20, 3)};
  window_.loaded(std::move(rest), {3});
  EXPECT_THAT(deliver_all(), ElementsAre(std::pair("b", 1U)));
  // The broker still knows its rows, so it does not take them twice.
  EXPECT_EQ(offer("a", 5, 20), Verdict::stored);
}

TEST_F(WindowTest, ARefusedUnstoredBatchDropsItsProducersLaterBatches) {
  window_.consumer_attached(now_);
  offer("a", 5, 10);
  offer("b", 1, 10);
  offer("a", 11, 20);
  deliver_all();
  offer("a", 21, 30);
  const auto settled = window_.settle({{1}, Outcome::hole, {0}, 0, {}}, now_);
  ASSERT_TRUE(settled);
  EXPECT_FALSE(settled->stopped);
  EXPECT_EQ(window_.batches_in_memory(), 1U);
  EXPECT_FALSE(window_.settle({{3}, Outcome::hole, {0}, 0, {}}, now_));
  EXPECT_TRUE(window_.settle(applied_result({2}, 10), now_));
  EXPECT_EQ(window_.memory_bytes(), 0U);
  EXPECT_FALSE(window_.should_store(now_ + 1h));
  // The refused rows may come again.
  EXPECT_EQ(offer("a", 1, 10), Verdict::taken);
}

TEST_F(WindowTest, AnAnswerThatCoversPartOfABatchIsNoSuccess) {
  window_.consumer_attached(now_);
  offer("a", 1, 10);
  deliver_all();
  const auto settled = window_.settle(applied_result({1}, 9), now_);
  ASSERT_TRUE(settled);
  EXPECT_FALSE(settled->applied);
}

TEST_F(WindowTest, AfterAReopenTheJournalsBatchesComeFirst) {
  window_.consumer_attached(now_);
  offer("a", 1, 10);
  deliver_all();
  now_ += 200ms;
  store();
  offer("a", 11, 20);
  window_.journal_opened({{1}, {1}}, {{a_, {10}, 1}});
  EXPECT_FALSE(window_.settle(applied_result({1}, 10), now_));
  EXPECT_EQ(window_.wants_load(), Offset{1});
  std::vector<Held> batches{stored_batch("a", 1, 10, 1)};
  window_.loaded(std::move(batches), {1});
  EXPECT_THAT(deliver_all(), ElementsAre(std::pair("a", 1U), std::pair("a", 11U)));
  EXPECT_TRUE(window_.settle(applied_result({2}, 10), now_));
  EXPECT_TRUE(window_.settle(applied_result({3}, 20), now_));
  EXPECT_EQ(window_.memory_bytes(), 0U);
}

TEST_F(WindowTest, RowsThatAReopenedJournalLacksAreNotStored) {
  offer("a", 1, 10);
  store();
  ASSERT_EQ(window_.stored_through(a_), Sequence{10});
  window_.journal_opened({}, {});
  EXPECT_EQ(window_.stored_through(a_), Sequence{0});
  EXPECT_EQ(offer("a", 1, 10), Verdict::taken);
}

TEST_F(WindowTest, AProducerWithoutHeldBatchesIsForgotten) {
  window_.note_applied(a_, {7});
  window_.forget(a_);
  EXPECT_EQ(window_.applied_through(a_), Sequence{0});
  offer("b", 1, 10);
  store();
  window_.forget(b_);
  EXPECT_EQ(window_.stored_through(b_), Sequence{10});
}

TEST_F(WindowTest, AnAppliedBatchThatIsSentAgainIsTakenForItsOutcome) {
  window_.note_applied(a_, {10});
  EXPECT_EQ(offer("a", 5, 10), Verdict::taken);
  EXPECT_EQ(offer("a", 11, 15), Verdict::taken);
  EXPECT_EQ(window_.expected(a_), Sequence{16});
}

TEST_F(WindowTest, AnAppliedBatchIsNoLongerHeld) {
  window_.consumer_attached(now_);
  offer("a", 1, 10);
  deliver_all();
  window_.settle(applied_result(last_ticket_, 10), now_);
  window_.forget(a_);
  EXPECT_EQ(window_.applied_through(a_), Sequence{0});
}

TEST_F(WindowTest, RowsRefusedAfterAStoppedBatchMayComeAgain) {
  offer("a", 5, 10);
  store();
  window_.consumer_attached(now_);
  std::vector<Held> stored{stored_batch("a", 5, 10, 1)};
  window_.loaded(std::move(stored), {1});
  offer("a", 11, 20);
  deliver_all();
  window_.settle({{1}, Outcome::hole, {0}, 0, {}}, now_);
  window_.settle({{2}, Outcome::hole, {0}, 0, {}}, now_);
  EXPECT_EQ(window_.batches_in_memory(), 0U);
  EXPECT_EQ(offer("a", 11, 20), Verdict::taken);
}

TEST_F(WindowTest, AHoleInTheReopenedJournalMovesGoBack) {
  offer("a", 1, 10);
  store();
  offer("b", 1, 1, 60'000);
  ASSERT_EQ(offer("a", 11, 20, 10'000), Verdict::go_back);
  ASSERT_EQ(window_.expected(a_), Sequence{11});
  window_.journal_opened({{1}, {1}}, {{a_, {5}, 1}});
  EXPECT_EQ(offer("a", 11, 20, 10), Verdict::go_back);
  EXPECT_EQ(window_.expected(a_), Sequence{6});
}

TEST_F(WindowTest, ToStoreIsBoundedAndNeverEmptyWhileABatchWaits) {
  offer("a", 1, 1, 1000);
  offer("a", 2, 2, 1000);
  EXPECT_EQ(window_.to_store(0).size(), 1U);
  EXPECT_EQ(window_.to_store(1'000'000).size(), 2U);
}

TEST_F(WindowTest, TheOldestBatchWaitsSinceItWasReceived) {
  EXPECT_FALSE(window_.oldest());
  offer("a", 1, 1);
  now_ += 5s;
  offer("a", 2, 2);
  EXPECT_EQ(window_.oldest(), kStart);
}

}  // namespace
}  // namespace turnstile::broker
