// Names that outlive their processes: epochs in one transaction, and a bound on the kept names.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/broker/core_fixture.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;

class NamesTest : public CoreTest {
 protected:
  // A broker with a clock that the test moves.
  void start_with(std::size_t max_names, std::size_t max_producers = 1000) {
    core_.reset();
    CoreOptions options;
    options.broker_id = "b0";
    options.max_names = max_names;
    options.max_producers = max_producers;
    options.max_sessions = 100'000;
    options.wall_clock_ms = [this] { return clock_ms_; };
    core_.emplace(std::move(options), *journal_, now_);
    ASSERT_TRUE(core_->start());
  }
  Hello named(const std::string& name, std::uint64_t epoch = 0) {
    return producer_hello(name, epoch, 0, true);
  }
  std::uint64_t epoch_of(const std::string& name) {
    return journal_->epoch({name}).value_or(Epoch{}).value;
  }

  std::uint64_t clock_ms_ = kWallClock;
};

TEST_F(NamesTest, AllNamesOfATurnGetTheirEpochsInOneTransaction) {
  start_with(1000);
  const int before = vfs_.syncs();
  for (int i = 0; i < 200; ++i) {
    core_->receive(id("r" + std::to_string(i)), named("n" + std::to_string(i)), now_);
  }
  turn();
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(one<Welcome>("r" + std::to_string(i)).epoch, Epoch{kWallClock});
  }
  EXPECT_LE(vfs_.syncs() - before, 3) << "one transaction";
}

TEST_F(NamesTest, ManyNamesInATenthOfASecondShareSyncs) {
  start_with(1000);
  const int before = vfs_.syncs();
  for (int i = 0; i < 200; ++i) {
    say("r" + std::to_string(i), named("n" + std::to_string(i)));
    EXPECT_EQ(take<Welcome>("r" + std::to_string(i)).size(), i < 16 ? 1U : 0U) << i;
  }
  EXPECT_EQ(core_->deadline(now_), now_ + 100ms);
  turn(99ms);
  EXPECT_TRUE(none<Welcome>("r16"));
  turn(1ms);
  for (int i = 16; i < 200; ++i) {
    EXPECT_EQ(one<Welcome>("r" + std::to_string(i)).epoch, Epoch{kWallClock});
  }
  EXPECT_LE(vfs_.syncs() - before, 3 * 17);
}

TEST_F(NamesTest, AClientThatAsksTooOftenIsRefusedAndKeepsItsSession) {
  join_consumer("c");
  join_producer("p", "a");
  core_->put_off(id("p"), named("another"), now_);
  core_->put_off(id("p"), CheckTable{7, "t", {}}, now_);
  core_->put_off(id("stranger"), named("n"), now_);
  turn();
  EXPECT_EQ(one<Refusal>("p").code, RefusalCode::busy);
  EXPECT_EQ(one<Refusal>("stranger").code, RefusalCode::busy);
  const auto answer = one<TableAnswer>("p");
  EXPECT_EQ(answer.request, 7U);
  EXPECT_EQ(answer.state, TableState::unknown);
  EXPECT_TRUE(none<AskProgress>("c") && none<CheckTable>("c"));
  say("p", batch_of("a", 1, 1));
  EXPECT_EQ(take<Delivery>("c").size(), 1U);
}

TEST_F(NamesTest, TwoProcessesOfOneNameInOneTurnGetTwoEpochsAndTheFirstIsFenced) {
  core_->receive(id("old"), named("n"), now_);
  core_->receive(id("new"), named("n"), now_);
  turn();
  EXPECT_LT(one<Welcome>("old").epoch, one<Welcome>("new").epoch);
  EXPECT_EQ(one<Refusal>("old").code, RefusalCode::fenced);
  EXPECT_TRUE(none<Refusal>("new"));
  EXPECT_EQ(epoch_of("n"), kWallClock + 1);
}

TEST_F(NamesTest, AConnectionThatChangesItsNameBeforeItsEpochIsStoredGetsTheNewNamesWelcome) {
  core_->receive(id("r"), named("a"), now_);
  core_->receive(id("r"), named("b"), now_);
  turn();
  EXPECT_EQ(take<Welcome>("r").size(), 1U);
  say("r", batch_of("b", 1, 1, 100, kWallClock));
  EXPECT_TRUE(none<Refusal>("r"));
}

TEST_F(NamesTest, NoWelcomeComesBeforeItsEpochIsInTheJournal) {
  vfs_.fail(test::FaultVfs::Operation::sync, test::FaultVfs::File::any, 1, SQLITE_IOERR_FSYNC, 1);
  say("r", named("n"));
  EXPECT_TRUE(none<Welcome>("r"));
  EXPECT_EQ(one<Refusal>("r").code, RefusalCode::busy);
  turn(1s);
  say("r", named("n"));
  EXPECT_EQ(one<Welcome>("r").epoch, Epoch{kWallClock});
}

// The target would refuse an older epoch than the name had, and its stored rows.
TEST_F(NamesTest, NoEpochIsGivenWhileTheJournalCannotBeRead) {
  const auto journal = test::FaultVfs::File::any;
  join_producer("q", "b");
  say("q", batch_of("b", 1, 1));
  say("old", named("n"));
  say("new", named("n"));
  EXPECT_EQ(one<Welcome>("new").epoch, Epoch{kWallClock + 1});
  vfs_.fail(test::FaultVfs::Operation::sync, journal, 1, SQLITE_IOERR_FSYNC, 1000);
  say("r", named("m"));
  vfs_.fail_no_more();
  now_ += 500ms;
  ASSERT_FALSE(journal_->epoch({"n"}));
  // In the same turn the broker reads the consumer's batches, for which it reopens the journal.
  core_->receive(id("newest"), named("n"), now_);
  say("c", consumer_hello());
  EXPECT_TRUE(none<Welcome>("newest"));
  EXPECT_EQ(one<Refusal>("newest").code, RefusalCode::busy);
  EXPECT_EQ(epoch_of("n"), kWallClock + 1);
  turn(500ms);
  EXPECT_EQ(one<Delivery>("c").ticket, Ticket{1});
  say("newest", named("n"));
  say("c", ProgressAnswer{take<AskProgress>("c").back().request, {}});
  EXPECT_GT(one<Welcome>("newest").epoch, Epoch{kWallClock + 1});
}

TEST_F(NamesTest, AnImpossibleEpochIsRefused) {
  say("r", named("n", limits::kEpoch));
  EXPECT_EQ(one<Refusal>("r").code, RefusalCode::malformed);
  say("r", named("n"));
  EXPECT_EQ(one<Welcome>("r").epoch, Epoch{kWallClock});
}

TEST_F(NamesTest, NamesAboveTheBoundAreForgottenOldestFirstAndNamesInUseAreKept) {
  start_with(100);
  say("in use", named("in-use"));
  say("gone", named("has-rows"));
  say("gone", batch_of("has-rows", 1, 1, 100, kWallClock));
  say("gone", Bye{});
  for (int i = 0; i < 3'000; ++i) {
    core_->receive(id("r"), named("n" + std::to_string(i)), now_);
    if (i % 50 == 0) {
      turn(200ms);
      say("in use", Heartbeat{});
    }
  }
  turn(200ms);
  EXPECT_LE(journal_->names(), 100U + 1'100U);
  EXPECT_EQ(epoch_of("in-use"), kWallClock);
  EXPECT_EQ(epoch_of("has-rows"), kWallClock);
  EXPECT_EQ(epoch_of("n0"), 0U);
  EXPECT_EQ(epoch_of("n2999"), kWallClock);
}

std::uint64_t system_clock_ms() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count());
}

TEST_F(NamesTest, ALongUnusedNameIsForgottenAndItsNextProcessGetsAGreaterEpoch) {
  start_with(100);
  say("r", named("n"));
  const Epoch first = one<Welcome>("r").epoch;
  say("r", Bye{});
  clock_ms_ = system_clock_ms();  // the clock of the journal's times
  turn(61s);
  clock_ms_ += std::uint64_t{365} * 24 * 3'600'000;  // a jump counts as one hour
  turn(61s);
  clock_ms_ -= std::uint64_t{2} * 365 * 24 * 3'600'000;
  turn(61s);
  EXPECT_NE(epoch_of("n"), 0U);
  for (int hours = 0; hours < 24 * 31; ++hours) {
    clock_ms_ += 3'600'000;
    turn(61s);
  }
  EXPECT_EQ(epoch_of("n"), 0U);
  EXPECT_EQ(journal_->names(), 0U);
  say("r", named("n"));
  EXPECT_GT(one<Welcome>("r").epoch, first);
}

TEST_F(NamesTest, ProducersAboveTheBoundAreRefusedUntilRowsOfOthersAreApplied) {
  start_with(100, 10);
  for (int i = 0; i < 10; ++i) {
    const std::string id = "p" + std::to_string(i);
    join_producer(id, id);
    say(id, batch_of(id, 1, 1));
    say(id, Bye{});
  }
  say("r", producer_hello("p10"));
  EXPECT_EQ(one<Refusal>("r").code, RefusalCode::busy);
  join_producer("r", "p3");  // its rows wait, so it may come back
}

TEST_F(NamesTest, StatusReportsToOneSessionAreBounded) {
  say("t", Hello{});
  for (int i = 0; i < 100; ++i) {
    core_->receive(id("t"), AskStatus{static_cast<std::uint64_t>(i)}, now_);
  }
  turn();
  EXPECT_EQ(take<Status>("t").size(), 4U);
  const auto refusals = take<Refusal>("t");
  ASSERT_EQ(refusals.size(), 96U);
  EXPECT_EQ(refusals.front().code, RefusalCode::not_now);
  turn(100ms);
  say("t", AskStatus{7});
  EXPECT_EQ(one<Status>("t").request, 7U);
}

class JournalNames : public CoreTest {};

TEST_F(JournalNames, AreListedOldestFirstAndForgotten) {
  ASSERT_TRUE(journal_->set_epochs({{{"a"}, {1}, {}}, {{"b"}, {2}, {}}, {{"a"}, {3}, {}}}));
  EXPECT_EQ(journal_->epoch({"a"}), Epoch{3});
  const auto names = journal_->oldest_names(10);
  ASSERT_TRUE(names);
  ASSERT_EQ(names->size(), 2U);
  EXPECT_LE(names->at(0).second, names->at(1).second);
  ASSERT_TRUE(journal_->forget_names({{"a"}, {"unknown"}}));
  EXPECT_EQ(journal_->names(), 1U);
  EXPECT_EQ(journal_->epoch({"a"}), Epoch{});
  EXPECT_EQ(journal_->epoch({"b"}), Epoch{2});
}

}  // namespace
}  // namespace turnstile::broker
