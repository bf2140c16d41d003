// The window with producers whose rows the target refuses, and others beside them.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/window.h"
#include "tests/broker/batches.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using Verdict = Window::Verdict;
using Handed = std::pair<std::string, std::uint64_t>;

class WindowSuspectsTest : public testing::Test {
 protected:
  WindowSuspectsTest() { window_.consumer_attached(now_); }

  Verdict offer(const std::string& producer, std::uint64_t row, std::size_t bytes = 100) {
    return window_.offer(batch_of(producer, row, row, bytes), now_);
  }
  void offer(const std::string& producer, std::uint64_t from, std::uint64_t to, Verdict expected) {
    for (; from <= to; ++from) {
      ASSERT_EQ(offer(producer, from), expected) << "row " << from;
    }
  }
  std::vector<Handed> hand_over() {
    std::vector<Handed> out;
    while (const Held* held = window_.deliver_next(now_)) {
      out.emplace_back(held->producer.text, held->first.value);
      handed_.emplace_back(held->ticket, held->first.value);
    }
    return out;
  }
  // The consumer answers all its batches.
  void answer(bool is_dead) {
    for (const auto& [ticket, row] : std::exchange(handed_, {})) {
      ASSERT_TRUE(window_.settle({ticket, Outcome::applied, {row}, is_dead ? 1U : 0U, {}}, now_));
    }
  }
  // One row is applied. The window then has another producer beside the suspect.
  void apply_one_of(const std::string& producer) {
    ASSERT_EQ(offer(producer, 1), Verdict::taken);
    hand_over();
    answer(false);
  }
  void become_suspect(const std::string& producer) {
    offer(producer, 1, kSuspectAfter, Verdict::taken);
    hand_over();
    answer(true);
    ASSERT_TRUE(window_.is_suspect(ProducerId{producer}));
  }
  std::vector<Handed> stored_in_order() {
    std::vector<Handed> out;
    std::vector<Offset> offsets;
    for (const Held* held : window_.to_store(SIZE_MAX)) {
      out.emplace_back(held->producer.text, held->first.value);
      offsets.push_back({next_offset_++});
    }
    window_.mark_stored(offsets, now_);
    return out;
  }

  TimePoint now_ = kStart;
  Window window_{WindowOptions{std::size_t{4} * 1024 * 1024, std::size_t{2} * 1024 * 1024, 100ms}};
  std::vector<std::pair<Ticket, std::uint64_t>> handed_;
  std::uint64_t next_offset_ = 1;
};

TEST_F(WindowSuspectsTest, OthersWaitForOnlyAFewBatchesOfASuspect) {
  apply_one_of("honest");
  become_suspect("suspect");
  offer("suspect", 17, 500, Verdict::taken);
  EXPECT_THAT(hand_over(), SizeIs(kSuspectsInFlight));
  offer("honest", 2, 4, Verdict::taken);
  EXPECT_THAT(hand_over(),
              ElementsAre(Handed("honest", 2), Handed("honest", 3), Handed("honest", 4)));
  answer(true);
  EXPECT_THAT(hand_over(), SizeIs(kSuspectsInFlight)) << "it continues, a few at a time";
}

TEST_F(WindowSuspectsTest, LargeBatchesOfASuspectGoOneAtATime) {
  apply_one_of("honest");
  become_suspect("suspect");
  for (std::uint64_t row = 17; row < 20; ++row) {
    EXPECT_EQ(offer("suspect", row, kSuspectsInFlightBytes), Verdict::taken);
  }
  EXPECT_THAT(hand_over(), ElementsAre(Handed("suspect", 17)));
  answer(true);
  EXPECT_THAT(hand_over(), ElementsAre(Handed("suspect", 18)));
}

TEST_F(WindowSuspectsTest, ANewProducerIsSuspectUntilItsFirstRowIsApplied) {
  apply_one_of("honest");
  offer("new", 1, 300, Verdict::taken);
  EXPECT_THAT(hand_over(), SizeIs(kSuspectAfter + kSuspectsInFlight));
  answer(false);
  const auto rest = hand_over();
  EXPECT_THAT(rest, SizeIs(300 - kSuspectAfter - kSuspectsInFlight));
  EXPECT_EQ(rest.front(), Handed("new", kSuspectAfter + kSuspectsInFlight + 1));
  EXPECT_TRUE(std::is_sorted(rest.begin(), rest.end()));
}

TEST_F(WindowSuspectsTest, WaitingBatchesOfAStoppedProducerKeepTheirOrder) {
  apply_one_of("honest");
  offer("new", 1, 20, Verdict::taken);
  window_.stop({"new"});
  const auto handed = hand_over();
  EXPECT_THAT(handed, SizeIs(20));
  EXPECT_TRUE(std::is_sorted(handed.begin(), handed.end()));
}

TEST_F(WindowSuspectsTest, ManyRefusedRowsAmongAppliedOnesMakeNoSuspect) {
  apply_one_of("honest");
  apply_one_of("some");
  for (std::uint64_t row = 2; row < 300; ++row) {
    offer("some", row, row, Verdict::taken);
    hand_over();
    answer(row % 8 != 0);
    EXPECT_FALSE(window_.is_suspect({"some"})) << row;
  }
}

TEST_F(WindowSuspectsTest, AnOccasionalRowDoesNotClearASuspectAndTwoInARowDo) {
  apply_one_of("honest");
  become_suspect("suspect");
  std::uint64_t row = 17;
  const auto next = [&](bool is_dead) {
    offer("suspect", row, row, Verdict::taken);
    ++row;
    hand_over();
    answer(is_dead);
  };
  for (int i = 0; i < 200; ++i) {
    next(i % 50 != 49);
    ASSERT_TRUE(window_.is_suspect({"suspect"})) << i;
  }
  next(false);
  next(false);
  EXPECT_FALSE(window_.is_suspect({"suspect"}));
}

TEST_F(WindowSuspectsTest, ASingleProducerIsNeverSuspect) {
  offer("suspect", 1, 16, Verdict::taken);
  hand_over();
  answer(true);
  offer("suspect", 17, 500, Verdict::taken);
  EXPECT_THAT(hand_over(), SizeIs(484));
}

TEST_F(WindowSuspectsTest, HeldBatchesOfASuspectAreBoundedAndItMayGoBack) {
  apply_one_of("honest");
  become_suspect("suspect");
  offer("suspect", 17, 16 + kSuspectBatches, Verdict::taken);
  EXPECT_EQ(offer("suspect", 17 + kSuspectBatches), Verdict::go_back);
  EXPECT_EQ(offer("suspect", 18 + kSuspectBatches), Verdict::skipped);
  offer("honest", 2, 200, Verdict::taken);
  hand_over();
  answer(true);
  EXPECT_EQ(offer("suspect", 17 + kSuspectBatches), Verdict::taken);
}

TEST_F(WindowSuspectsTest, WithoutAConsumerAllIsStoredInEachProducersOrder) {
  apply_one_of("honest");
  become_suspect("suspect");
  offer("suspect", 17, 40, Verdict::taken);
  offer("honest", 2, 2, Verdict::taken);
  hand_over();
  window_.consumer_gone();
  offer("suspect", 41, 41, Verdict::taken);
  auto stored = stored_in_order();
  EXPECT_THAT(stored, SizeIs(26));
  std::erase(stored, Handed("honest", 2));
  EXPECT_TRUE(std::is_sorted(stored.begin(), stored.end()));
  EXPECT_EQ(window_.stored_through({"suspect"}), Sequence{41});
  EXPECT_THAT(window_.to_store(SIZE_MAX), IsEmpty());
}

TEST_F(WindowSuspectsTest, ARefusedBatchDropsItsProducersWaitingBatches) {
  apply_one_of("honest");
  become_suspect("suspect");
  offer("suspect", 17, 100, Verdict::taken);
  EXPECT_THAT(hand_over(), SizeIs(kSuspectsInFlight));
  const auto settled = window_.settle({handed_.front().first, Outcome::hole, {16}, 0, {}}, now_);
  ASSERT_TRUE(settled && !settled->applied);
  EXPECT_EQ(window_.batches_in_memory(), 0U);
  EXPECT_EQ(window_.memory_bytes(), 0U);
  offer("suspect", 17, 20, Verdict::taken);
  EXPECT_THAT(hand_over(), SizeIs(4));
}

TEST_F(WindowSuspectsTest, AfterAReopenWaitingBatchesFollowTheJournals) {
  apply_one_of("honest");
  become_suspect("suspect");
  offer("suspect", 17, 40, Verdict::taken);
  EXPECT_THAT(hand_over(), SizeIs(kSuspectsInFlight));
  window_.journal_opened({{1}, {0}}, {});
  std::vector<Handed> again = hand_over();
  ASSERT_THAT(again, SizeIs(24));
  EXPECT_EQ(again.front(), Handed("suspect", 17));
  EXPECT_TRUE(std::is_sorted(again.begin(), again.end()));
}

}  // namespace
}  // namespace turnstile::broker
