// What the broker's core does while its journal fails.
#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/broker/core_fixture.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;

class CoreJournalTest : public CoreTest {
 protected:
  // The journal fails just when the next consumer attaches, for which stopped producers are
  // retried.
  void expect_stopped_producers_are_tried_again(test::FaultVfs::Operation operation, int code,
                                                int times) {
    join_producer("p", "a");
    say("p", batch_of("a", 5, 10));
    join_producer("q", "b");
    say("q", batch_of("b", 1, 1));
    const Lease lease = join_consumer("c");
    const auto deliveries = take<Delivery>("c");
    ASSERT_EQ(deliveries.size(), 2U);
    core_->receive(id("c"),
                   Results{lease,
                           {{deliveries[0].ticket, Outcome::hole, {4}, 0, {}},
                            applied_result(deliveries[1].ticket, 1)},
                           {}},
                   now_);
    core_->receive(id("c"), Bye{}, now_);
    vfs_.fail(operation, test::FaultVfs::File::wal, 1, code, times);
    say("c2", consumer_hello());
    EXPECT_FALSE(report()["journal"]["problem"].get<std::string>().empty());
    vfs_.fail_no_more();
    turn(500ms);
    turn();
    const auto again = take<Delivery>("c2");
    EXPECT_TRUE(std::any_of(again.begin(), again.end(), [](const Delivery& delivery) {
      return decode_batch_header(delivery.header_frame.view())->producer == ProducerId{"a"};
    }));
    EXPECT_TRUE(report()["producers_stopped"].empty());
  }
};

// ---- the journal in trouble

TEST_F(CoreJournalTest, AfterAFailedSyncNothingIsAcknowledgedUntilTheJournalWasReadBack) {
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

TEST_F(CoreJournalTest, ANamedProducerIsWelcomedAfterItsEpochFailedToSync) {
  vfs_.fail(test::FaultVfs::Operation::sync, test::FaultVfs::File::wal, 1, SQLITE_IOERR_FSYNC);
  say("p", producer_hello("mine", 0, 0, true));
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::busy);
  turn(500ms);
  say("p", producer_hello("mine", 0, 0, true));
  EXPECT_GT(one<Welcome>("p").epoch, Epoch{1});
}

// What a failed sync has written anyway waits for its consumer.
TEST_F(CoreJournalTest, AJournalThatCouldNotBeReopenedIsRetriedWhenNothingMustBeStored) {
  join_producer("q", "b");
  say("q", batch_of("b", 1, 1));
  vfs_.fail(test::FaultVfs::Operation::sync, test::FaultVfs::File::any, 1, SQLITE_IOERR_FSYNC,
            1000);
  say("p", producer_hello("mine", 0, 0, true));
  turn(500ms);
  EXPECT_FALSE(report()["journal"]["problem"].get<std::string>().empty());
  vfs_.fail_no_more();
  turn(499ms);
  EXPECT_FALSE(journal_->contents());
  turn(1ms);
  EXPECT_TRUE(journal_->contents());
  EXPECT_EQ(report()["journal"]["problem"], "");
}

TEST_F(CoreJournalTest, CutThroughWorksWhileTheDiskIsFull) {
  const Lease lease = join_consumer("c");
  join_producer("p", "a");
  vfs_.fail(test::FaultVfs::Operation::write, test::FaultVfs::File::any, 1, SQLITE_FULL, 1'000'000);
  say("p", batch_of("a", 1, 10));
  turn(200ms);
  EXPECT_TRUE(none<Stored>("p"));
  answer("c", lease, {applied_result(one<Delivery>("c").ticket, 10)});
  EXPECT_EQ(one<Applied>("p").through, Sequence{10});
}

TEST_F(CoreJournalTest, StoppedProducersAreRetriedAfterAFailedSync) {
  expect_stopped_producers_are_tried_again(test::FaultVfs::Operation::sync, SQLITE_IOERR_FSYNC, 1);
}

TEST_F(CoreJournalTest, StoppedProducersAreRetriedWhenTheDiskIsNoLongerFull) {
  expect_stopped_producers_are_tried_again(test::FaultVfs::Operation::write, SQLITE_FULL,
                                           1'000'000);
}

TEST_F(CoreJournalTest, ADamagedBatchStopsOnlyItsProducer) {
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  say("p", batch_of("a", 11, 20));
  join_producer("q", "b");
  say("q", batch_of("b", 1, 10));
  {
    auto db = sqlite::Connection::open(directory_ / "journal.db", sqlite::Access::read_write);
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

TEST_F(CoreJournalTest, NoDeadlineMakesTheLoopSpin) {
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
  core_->unreachable(id("c2"));
  must_rest();
  say("q", CheckTable{});
  say("p", producer_hello("a", 1));
  turn(5s);
  must_rest();
}

// ---- the journal's file is moved, deleted or replaced

TEST_F(CoreJournalTest, ADeletedJournalAcknowledgesNothingAndLosesNothing) {
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  EXPECT_EQ(one<Stored>("p").through, Sequence{10});
  for (const char* name : {"journal.db", "journal.db-wal", "journal.db-shm"}) {
    std::filesystem::remove(directory_ / name);
  }
  say("p", batch_of("a", 11, 12));
  EXPECT_TRUE(none<Stored>("p"));
  EXPECT_NE(report()["journal"]["problem"].get<std::string>().find("was moved, deleted"),
            std::string::npos);
  turn(500ms);
  EXPECT_EQ(one<Stored>("p").through, Sequence{12});
  EXPECT_EQ(report()["journal"]["problem"], "");
  join_consumer("c");
  turn();
  std::uint64_t through = 0;
  for (const auto& delivery : take<Delivery>("c")) {
    const auto header = decode_batch_header(delivery.header_frame.view());
    EXPECT_LE(header->first.value, through + 1);  // no hole
    through = std::max(through, header->last().value);
  }
  EXPECT_EQ(through, 12U);
}

TEST_F(CoreJournalTest, AResentBatchIsNotAcknowledgedFromADeletedJournal) {
  join_producer("p", "a");
  say("p", batch_of("a", 1, 10));
  EXPECT_EQ(one<Stored>("p").through, Sequence{10});
  std::filesystem::rename(directory_ / "journal.db", directory_ / "away.db");
  std::filesystem::create_directory(directory_ / "journal.db");  // nothing can be opened there
  say("p", batch_of("a", 1, 10));
  EXPECT_TRUE(none<Stored>("p"));
  std::filesystem::remove(directory_ / "journal.db");
  turn(500ms);
  turn();
  say("p", batch_of("a", 1, 10));
  EXPECT_EQ(one<Stored>("p").through, Sequence{10});
}

// Another journal is in its place: batches in memory are stored again, the other rows are named.
TEST_F(CoreJournalTest, TheStatusNamesRowsLostWithAReplacedJournal) {
  WindowOptions window;
  window.memory_bytes = 4000;
  start(window);
  join_producer("p", "a");
  std::uint64_t row = 1;
  for (; row <= 20; ++row) {
    say("p", batch_of("a", row, row, 500));
  }
  ASSERT_GT(report()["journal"]["batches"], report()["window"]["batches"]);
  const auto in_memory = report()["window"]["batches"].get<std::uint64_t>();
  ASSERT_TRUE(Journal::open({directory_ / "other.db", 1 << 30, {}}));
  std::filesystem::remove(directory_ / "journal.db-wal");
  std::filesystem::rename(directory_ / "other.db", directory_ / "journal.db");
  turn(500ms);
  turn(500ms);
  const auto journal = report()["journal"];
  EXPECT_EQ(journal["batches"], in_memory);
  const std::string gone = in_memory == 0 ? "rows 1 to 20" : "producer a: rows ";
  EXPECT_NE(journal["loss"].get<std::string>().find(gone), std::string::npos) << journal;
  EXPECT_EQ(journal["problem"], journal["loss"]);
}

}  // namespace
}  // namespace turnstile::broker
