#include "client/resend.h"

#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace turnstile {
namespace {

using std::chrono::milliseconds;

constexpr Resend::TimePoint kBegin{};
constexpr std::uint64_t kPlenty = 1'000'000;

Welcome welcome_of(std::uint64_t through, std::uint64_t credit = kPlenty, std::uint64_t epoch = 1) {
  Welcome welcome;
  welcome.epoch = {epoch};
  welcome.through = {through};
  welcome.credit_bytes = credit;
  return welcome;
}

void add(Resend& resend, std::uint32_t rows, std::size_t bytes = 100) {
  Batch batch;
  batch.header.producer = {"p"};
  batch.header.first = resend.next_sequence();
  batch.header.rows = rows;
  batch.header.table = "t";
  batch.header.columns = {"a"};
  batch.rows_frame = Bytes(std::string(bytes, 'r'));
  resend.add(std::move(batch));
}

// Sends all that may be sent; returns the first sequences.
std::vector<std::uint64_t> send_all(Resend& resend, Resend::TimePoint now = kBegin) {
  std::vector<std::uint64_t> firsts;
  while (const Batch* batch = resend.next_to_send(now)) {
    firsts.push_back(batch->header.first.value);
    resend.sent();
  }
  return firsts;
}

using Firsts = std::vector<std::uint64_t>;

TEST(ResendTest, FirstWelcomeNumbersTheRows) {
  Resend resend(1);
  resend.welcomed(welcome_of(41));
  EXPECT_EQ(resend.next_sequence(), Sequence{42});
  EXPECT_EQ(resend.begun_after(), Sequence{41});
  add(resend, 10);
  EXPECT_EQ(resend.next_sequence(), Sequence{52});
}

TEST(ResendTest, BatchesAreSentInOrderAndOnce) {
  Resend resend(1);
  resend.welcomed(welcome_of(0));
  add(resend, 10);
  add(resend, 1);
  add(resend, 5);
  EXPECT_EQ(send_all(resend), (Firsts{1, 11, 12}));
  EXPECT_EQ(send_all(resend), Firsts{});
  EXPECT_EQ(resend.sent_through(), Sequence{16});
}

TEST(ResendTest, BytesAheadFollowTheLargestAnswerAndAreUnboundedWithoutABroker) {
  constexpr std::size_t kKiB = 1024;
  constexpr std::size_t kAnything = std::numeric_limits<std::size_t>::max();
  Resend resend(1);
  EXPECT_EQ(resend.bytes_ahead(), kAnything);
  resend.welcomed(welcome_of(0, kPlenty * 1000));
  EXPECT_EQ(resend.bytes_ahead(), 512 * kKiB);
  for (int i = 0; i < 100; ++i) {
    add(resend, 1, 64 * kKiB);
  }
  send_all(resend);
  const std::size_t before = resend.held_bytes();
  resend.stored({16});
  const std::size_t answered = before - resend.held_bytes();
  EXPECT_GE(answered, 1024 * kKiB);
  EXPECT_EQ(resend.bytes_ahead(), 512 * kKiB + 2 * answered);
  resend.stored({17});
  EXPECT_LT(resend.bytes_ahead(), 512 * kKiB + 2 * answered);
  EXPECT_GT(resend.bytes_ahead(), 512 * kKiB + answered) << "one small answer says little";
  for (std::uint64_t through = 18; through <= 60; ++through) {
    resend.stored({through});
  }
  EXPECT_LT(resend.bytes_ahead(), 700 * kKiB);
  resend.disconnected();
  EXPECT_EQ(resend.bytes_ahead(), kAnything);
}

TEST(ResendTest, NothingIsSentBeforeAWelcomeOrAfterADisconnect) {
  Resend resend(1);
  EXPECT_EQ(resend.next_to_send(kBegin), nullptr);
  resend.welcomed(welcome_of(0));
  add(resend, 1);
  resend.disconnected();
  EXPECT_EQ(resend.next_to_send(kBegin), nullptr);
}

TEST(ResendTest, BatchIsHeldUntilItsLastRowIsStored) {
  Resend resend(1);
  resend.welcomed(welcome_of(0));
  add(resend, 10);
  send_all(resend);
  resend.stored({9});
  EXPECT_TRUE(resend.has_held());
  EXPECT_GT(resend.held_bytes(), 100U);
  resend.stored({10});
  EXPECT_FALSE(resend.has_held());
  EXPECT_EQ(resend.held_bytes(), 0U);
}

TEST(ResendTest, AppliedImpliesStored) {
  Resend resend(1);
  resend.welcomed(welcome_of(0));
  add(resend, 10);
  send_all(resend);
  resend.applied({{10}, 0, {}});
  EXPECT_EQ(resend.stored_through(), Sequence{10});
  EXPECT_FALSE(resend.has_held());
}

// Another process of the name sent them. Their outcome is reported when this process sends them.
TEST(ResendTest, AcknowledgementsOfUnsentRowsAreIgnored) {
  Resend resend(1);
  resend.welcomed(welcome_of(0));
  add(resend, 2);
  send_all(resend);
  add(resend, 3);
  resend.welcomed(welcome_of(9));
  EXPECT_EQ(resend.stored_through(), Sequence{2});
  resend.stored({9});
  const auto early = resend.applied({{9}, 1, {{{4}, "no"}}});
  EXPECT_EQ(early.count, 0U);
  EXPECT_EQ(resend.applied_through(), Sequence{2});
  EXPECT_EQ(send_all(resend), (Firsts{3}));
  EXPECT_EQ(resend.applied({{5}, 1, {{{4}, "no"}}}).count, 1U);
  EXPECT_FALSE(resend.has_held());
}

TEST(ResendTest, CreditBoundsTheUnansweredBytes) {
  Resend resend(1);
  resend.welcomed(welcome_of(0, 250));
  for (int i = 0; i < 4; ++i) {
    add(resend, 1, 100);
  }
  EXPECT_EQ(send_all(resend), (Firsts{1, 2}));
  resend.stored({1});
  EXPECT_EQ(send_all(resend), (Firsts{3}));
  resend.stored({3});
  EXPECT_EQ(send_all(resend), (Firsts{4}));
}

TEST(ResendTest, BatchAboveTheWholeCreditIsSentAlone) {
  Resend resend(1);
  resend.welcomed(welcome_of(0, 50));
  add(resend, 1, 100);
  add(resend, 1, 100);
  EXPECT_EQ(send_all(resend), (Firsts{1}));
  resend.stored({1});
  EXPECT_EQ(send_all(resend), (Firsts{2}));
}

TEST(ResendTest, ReconnectResendsWhatTheWelcomeDoesNotCover) {
  Resend resend(1);
  resend.welcomed(welcome_of(0));
  for (int i = 0; i < 3; ++i) {
    add(resend, 10);
  }
  send_all(resend);
  resend.disconnected();
  resend.welcomed(welcome_of(10));
  EXPECT_EQ(resend.stored_through(), Sequence{10});
  EXPECT_EQ(send_all(resend), (Firsts{11, 21}));
}

TEST(ResendTest, AcknowledgedRowsAreNotResentToABrokerThatForgotThem) {
  Resend resend(1);
  resend.welcomed(welcome_of(0));
  add(resend, 10);
  add(resend, 10);
  send_all(resend);
  resend.stored({10});
  resend.disconnected();
  resend.welcomed(welcome_of(0));
  EXPECT_EQ(resend.stored_through(), Sequence{10});
  EXPECT_EQ(send_all(resend), (Firsts{11}));
}

TEST(ResendTest, WelcomeInMidBatchResendsTheWholeBatch) {
  Resend resend(1);
  resend.welcomed(welcome_of(0));
  add(resend, 10);
  send_all(resend);
  resend.disconnected();
  resend.welcomed(welcome_of(5));
  EXPECT_EQ(send_all(resend), (Firsts{1}));
}

TEST(ResendTest, ResentBatchesCarryTheNewEpoch) {
  Resend resend(1);
  resend.welcomed(welcome_of(0, kPlenty, 3));
  add(resend, 1);
  ASSERT_NE(resend.next_to_send(kBegin), nullptr);
  EXPECT_EQ(decode_batch_header(resend.next_to_send(kBegin)->header_frame.view())->epoch, Epoch{3});
  resend.disconnected();
  resend.welcomed(welcome_of(0, kPlenty, 4));
  ASSERT_NE(resend.next_to_send(kBegin), nullptr);
  EXPECT_EQ(decode_batch_header(resend.next_to_send(kBegin)->header_frame.view())->epoch, Epoch{4});
}

TEST(ResendTest, AnswersBeyondTheAddedRowsDoNotCountForLaterRows) {
  Resend resend(1);
  resend.welcomed(welcome_of(0));
  add(resend, 10);
  send_all(resend);
  resend.applied({{1000}, 0, {}});
  EXPECT_EQ(resend.applied_through(), Sequence{10});
  add(resend, 10);
  EXPECT_TRUE(resend.has_held());
  EXPECT_EQ(send_all(resend), (Firsts{11}));
}

TEST(ResendTest, BusyGoesBackToTheDroppedBatchAfterAPause) {
  Resend resend(1);
  resend.welcomed(welcome_of(0));
  for (int i = 0; i < 3; ++i) {
    add(resend, 10);
  }
  send_all(resend);
  resend.busy({11}, kBegin);
  EXPECT_TRUE(resend.is_busy());
  EXPECT_EQ(resend.next_to_send(kBegin), nullptr);
  ASSERT_TRUE(resend.paused_until());
  EXPECT_EQ(send_all(resend, kBegin + milliseconds(100)), (Firsts{11, 21}));
}

TEST(ResendTest, BusyIsOverWhenTheDroppedBatchIsAcknowledged) {
  Resend resend(1);
  resend.welcomed(welcome_of(0));
  add(resend, 10);
  add(resend, 10);
  send_all(resend);
  resend.busy({11}, kBegin);
  resend.stored({10});
  EXPECT_TRUE(resend.is_busy());
  send_all(resend, kBegin + milliseconds(100));
  resend.stored({20});
  EXPECT_FALSE(resend.is_busy());
}

TEST(ResendTest, RefusalOfABatchThatIsResentAnywayChangesNothing) {
  Resend resend(1);
  resend.welcomed(welcome_of(0));
  add(resend, 10);
  add(resend, 10);
  send_all(resend);
  resend.busy({1}, kBegin);
  const auto paused = resend.paused_until();
  resend.busy({11}, kBegin + milliseconds(1));
  EXPECT_EQ(resend.paused_until(), paused);
}

TEST(ResendTest, RefusalOfAnAcknowledgedRowChangesNothing) {
  Resend resend(1);
  resend.welcomed(welcome_of(0));
  add(resend, 10);
  send_all(resend);
  resend.stored({10});
  resend.busy({1}, kBegin);
  EXPECT_FALSE(resend.is_busy());
  EXPECT_FALSE(resend.paused_until());
}

TEST(ResendTest, PausesDoubleUpToTwoSecondsAndThenStartAgain) {
  Resend resend(7);
  resend.welcomed(welcome_of(0));
  add(resend, 1);
  auto now = kBegin;
  for (const int longest : {100, 200, 400, 800, 1600, 2000, 2000}) {
    send_all(resend, now);
    resend.busy({1}, now);
    ASSERT_TRUE(resend.paused_until());
    EXPECT_LE(*resend.paused_until() - now, milliseconds(longest));
    EXPECT_GE(*resend.paused_until() - now, milliseconds(longest / 2));
    now = *resend.paused_until();
  }
  send_all(resend, now);
  resend.stored({1});
  add(resend, 1);
  send_all(resend, now);
  resend.busy({2}, now);
  EXPECT_LE(*resend.paused_until() - now, milliseconds(100));
}

TEST(ResendTest, PausesOfDifferentProducersDiffer) {
  std::vector<Resend::TimePoint> ends;
  for (const std::uint64_t seed : {1U, 2U, 3U, 4U}) {
    Resend resend(seed);
    resend.welcomed(welcome_of(0));
    add(resend, 1);
    for (int i = 0; i < 6; ++i) {
      send_all(resend, kBegin + milliseconds(10'000 * i));
      resend.busy({1}, kBegin + milliseconds(10'000 * i));
    }
    ends.push_back(*resend.paused_until());
  }
  EXPECT_NE(ends[0], ends[1]);
  EXPECT_NE(ends[2], ends[3]);
}

TEST(ResendTest, DuplicateReportsOfDeadRowsCountOnce) {
  Resend resend(1);
  resend.welcomed(welcome_of(0));
  add(resend, 10);
  send_all(resend);
  const Applied answer{{6}, 2, {{{3}, "no"}, {{5}, "no"}}};
  EXPECT_EQ(resend.applied(answer).count, 2U);
  EXPECT_EQ(resend.applied(answer).count, 0U);
  const auto more = resend.applied({{10}, 3, {{{3}, "no"}, {{5}, "no"}, {{9}, "no"}}});
  ASSERT_EQ(more.listed.size(), 1U);
  EXPECT_EQ(more.count, 1U);
  EXPECT_EQ(more.listed[0].sequence, Sequence{9});
}

TEST(ResendTest, UnlistedDeadRowsAreCounted) {
  Resend resend(1);
  resend.welcomed(welcome_of(0));
  add(resend, 1000);
  send_all(resend);
  const auto dead = resend.applied({{1000}, 700, {{{1}, "no"}, {{2}, "no"}}});
  EXPECT_EQ(dead.count, 700U);
  EXPECT_EQ(dead.listed.size(), 2U);
}

TEST(ResendTest, AbsurdCountOfDeadRowsIsCappedAtTheRowsSent) {
  Resend resend(1);
  resend.welcomed(welcome_of(0));
  add(resend, 10);
  send_all(resend);
  EXPECT_EQ(resend.applied({{10}, 4'000'000'000U, {}}).count, 10U);
}

}  // namespace
}  // namespace turnstile
