// A producer with a spool, on a link whose other end is the test.
#include <array>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/producer.h"
#include "tests/client/fake_broker.h"
#include "tests/support/folder.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

class SpoolingTest : public ::testing::Test {
 protected:
  // A start of the process: opens the spool and says hello.
  void start() {
    end();
    broker_.sent.clear();
    broker_.to_producer.clear();
    auto spool = Spool::open({folder_.path() / "rows.spool", limit_, {}}, {"name"});
    if (!spool) {
      throw std::runtime_error(spool.error().what);
    }
    spool_ = std::move(*spool);
    ProducerOptions options;
    options.id = {"name"};
    options.spool = spool_.get();
    options.ack = ack_;
    options.timeout = timeout_;
    options.clock = broker_.clock();
    options.coarse_clock = options.clock;
    options.interrupted = [this] { return is_interrupted_; };
    options.on_notice = [this](Notice what, const std::string& /*text*/) {
      notices_.push_back(what);
    };
    producer_.emplace(broker_, std::move(options));
    started_ = producer_->start();
    producer_->into("pets", {"name"});
  }
  // A killed process: unsynced rows are lost.
  void end() {
    producer_.reset();
    spool_.reset();
  }
  void take(int rows) {
    for (int i = 0; i < rows; ++i) {
      ASSERT_TRUE(producer_->append(std::array<std::string_view, 1>{"Ace"}));
    }
    const auto synced = producer_->sync_spool();
    ASSERT_TRUE(synced) << synced.error().what;
  }
  // "first-last" of each batch sent, duplicates included.
  [[nodiscard]] std::vector<std::string> sent() const {
    std::vector<std::string> out;
    for (const auto& batch : broker_.all<Batch>()) {
      out.push_back(std::to_string(batch.header.first.value) + "-" +
                    std::to_string(batch.header.last().value));
    }
    return out;
  }

  Folder folder_;
  FakeBroker broker_;
  std::uint64_t limit_ = SpoolOptions{}.limit_bytes;
  milliseconds timeout_{0};
  Ack ack_ = Ack::applied;
  bool is_interrupted_ = false;
  std::vector<Notice> notices_;
  Result<Started> started_;
  std::unique_ptr<Spool> spool_;
  std::optional<Producer> producer_;
};

using Sent = std::vector<std::string>;

TEST_F(SpoolingTest, RowsAreTakenWithoutABrokerAndTheNextStartSendsThem) {
  broker_.is_connected = false;
  start();
  ASSERT_TRUE(started_);
  take(2);
  take(1);
  EXPECT_EQ(producer_->summary().spooled, 3U);
  broker_.is_connected = true;
  start();
  EXPECT_EQ(started_->through, Sequence{3});
  take(1);
  EXPECT_TRUE(producer_->finish().value_or(false));
  EXPECT_EQ(sent(), (Sent{"1-2", "3-3", "4-4"}));
  EXPECT_EQ(broker_.all<Batch>().front().header.source, spool_->id());
  EXPECT_TRUE(broker_.all<Hello>().front().named);
  EXPECT_EQ(spool_->bytes(), 0U);
  EXPECT_EQ(producer_->summary().appended, 1U);
  EXPECT_EQ(producer_->summary().applied, 4U);
  EXPECT_EQ(producer_->summary().unacknowledged, 0U);
}

TEST_F(SpoolingTest, AnswersFromDuringAStallAreReadBeforeTheProducerGivesUp) {
  timeout_ = seconds(30);
  start();
  broker_.rows = FakeBroker::Rows::ignored;
  take(1);
  producer_->flush();
  ASSERT_EQ(sent(), (Sent{"1-1"}));
  broker_.now += seconds(40);
  broker_.to_producer.push_back(Applied{Sequence{1}, 0, {}});
  const auto finished = producer_->finish();
  ASSERT_TRUE(finished) << finished.error().what;
  EXPECT_TRUE(*finished);
}

TEST_F(SpoolingTest, NothingIsSentBeforeItIsSynced) {
  start();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(producer_->append(std::array<std::string_view, 1>{"Ace"}));
    EXPECT_EQ(broker_.all<Batch>().size(), 0U);
  }
  end();
  start();
  EXPECT_EQ(started_->through, Sequence{0}) << "they were not taken, and are lost";
  EXPECT_EQ(sent(), Sent{});
}

TEST_F(SpoolingTest, RowsThatComeFastAreSyncedInGroups) {
  start();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(producer_->append(std::array<std::string_view, 1>{"Ace"}));
    broker_.now += milliseconds(1);
  }
  EXPECT_GE(spool_->last().value, 60U);
  EXPECT_LT(spool_->last().value, 100U);
}

TEST_F(SpoolingTest, RowsThatTheBrokerHasAreNotSentAgain) {
  broker_.rows = FakeBroker::Rows::ignored;
  start();
  take(2);
  take(3);
  broker_.rows = FakeBroker::Rows::applied;
  broker_.welcome.through = {2};
  start();
  broker_.to_producer.push_back(Applied{{2}, 0, {}});
  EXPECT_TRUE(producer_->finish().value_or(false));
  EXPECT_EQ(sent(), (Sent{"3-5"}));
}

TEST_F(SpoolingTest, RowsStayUntilTheyAreApplied) {
  broker_.rows = FakeBroker::Rows::stored;
  start();
  take(2);
  ASSERT_TRUE(producer_->pump(milliseconds(500)));
  EXPECT_EQ(producer_->summary().stored, 2U);
  EXPECT_EQ(producer_->summary().spooled, 2U);
  broker_.welcome.through = {2};
  start();
  EXPECT_EQ(spool_->dropped(), Sequence{0});
  broker_.to_producer.push_back(Applied{{2}, 0, {}});
  EXPECT_TRUE(producer_->finish().value_or(false));
  EXPECT_EQ(spool_->dropped(), Sequence{2});
}

TEST_F(SpoolingTest, WithAckStoredRowsAreDroppedWhenTheyAreStored) {
  ack_ = Ack::stored;
  broker_.rows = FakeBroker::Rows::stored;
  start();
  take(2);
  EXPECT_TRUE(producer_->finish().value_or(false));
  EXPECT_EQ(spool_->dropped(), Sequence{2});
  EXPECT_EQ(spool_->applied(), Sequence{0});
}

TEST_F(SpoolingTest, ANewBrokerLearnsWhichRowsAreApplied) {
  start();
  take(2);
  ASSERT_TRUE(producer_->finish().value_or(false));
  broker_.welcome.through = {2};  // the answer of a broker that learnt it
  start();
  take(1);
  EXPECT_TRUE(producer_->finish().value_or(false));
  EXPECT_EQ(broker_.all<Hello>().front().known, Sequence{2});
  EXPECT_EQ(sent(), (Sent{"3-3"}));
}

TEST_F(SpoolingTest, AnOldCopyOfASpoolIsRefused) {
  broker_.welcome.through = {7};
  start();
  take(1);
  const auto settled = producer_->settle();
  ASSERT_FALSE(settled);
  EXPECT_EQ(settled.error().code, Errc::refused);
  EXPECT_THAT(settled.error().what, HasSubstr("known through 7"));
  EXPECT_THAT(settled.error().hint, HasSubstr("old copy"));
  EXPECT_EQ(sent(), Sent{});
}

TEST_F(SpoolingTest, AcknowledgedRowsUnknownToTheBrokerStopTheProducer) {
  ack_ = Ack::stored;
  broker_.rows = FakeBroker::Rows::stored;
  start();
  take(5);
  ASSERT_TRUE(producer_->finish().value_or(false));
  broker_.welcome.through = {3};
  start();
  take(1);
  const auto settled = producer_->settle();
  ASSERT_FALSE(settled);
  EXPECT_THAT(settled.error().what, HasSubstr("through 5 were acknowledged and deleted from"));
  EXPECT_EQ(sent(), Sent{});
}

TEST_F(SpoolingTest, ASilentBrokerIsWaitedForOnlyAtTheEnd) {
  timeout_ = seconds(1);
  broker_.is_connected = false;
  start();
  take(1);
  ASSERT_TRUE(producer_->pump(seconds(10)));
  take(1);
  const auto finished = producer_->finish();
  ASSERT_FALSE(finished);
  EXPECT_EQ(finished.error().code, Errc::unreachable);
  EXPECT_THAT(finished.error().what, HasSubstr("2 rows are kept in"));
  EXPECT_THAT(finished.error().what, HasSubstr("sent by the next start"));
}

TEST_F(SpoolingTest, AFullSpoolDelaysAppendUntilRowsAreDropped) {
  limit_ = 100;
  broker_.rows = FakeBroker::Rows::ignored;
  start();
  take(1);
  broker_.on_wait = [&] {
    broker_.rows = FakeBroker::Rows::applied;
    broker_.to_producer.push_back(Applied{{1}, 0, {}});
    broker_.on_wait = nullptr;
  };
  take(200);
  EXPECT_THAT(notices_, ::testing::ElementsAre(Notice::busy, Notice::busy_over));
  EXPECT_TRUE(producer_->finish().value_or(false));
  EXPECT_EQ(producer_->summary().applied, 201U);
}

TEST_F(SpoolingTest, ASpoolThatStaysFullFailsAfterTheTimeoutAndKeepsItsRows) {
  limit_ = 100;
  timeout_ = seconds(1);
  broker_.is_connected = false;
  start();
  take(1);
  ASSERT_TRUE(producer_->append(std::array<std::string_view, 1>{std::string_view("Buddy")}));
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(producer_->append(std::array<std::string_view, 1>{"Ace"}));
  }
  const auto synced = producer_->sync_spool();
  ASSERT_FALSE(synced);
  EXPECT_EQ(synced.error().code, Errc::full);
  EXPECT_EQ(producer_->summary().spooled, 1U);
  is_interrupted_ = true;
  EXPECT_FALSE(producer_->sync_spool()) << "an interrupt ends the wait as well";
}

TEST_F(SpoolingTest, DefinitionsOfAnEarlierProcessAreNotCountedAsRows) {
  broker_.is_connected = false;
  start();
  ASSERT_TRUE(producer_->define("pets", {"name"}, {"TEXT"}));
  producer_->into("pets", {"name"});
  take(2);
  EXPECT_EQ(producer_->summary().spooled, 2U);
  start();
  EXPECT_EQ(started_->through, Sequence{3});
  EXPECT_EQ(producer_->summary().spooled, 2U);
  EXPECT_EQ(producer_->summary().unacknowledged, 2U);
}

}  // namespace
}  // namespace turnstile
