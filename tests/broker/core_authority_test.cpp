// Who may do what, and what a HELLO claims.
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/messages.h"
#include "tests/broker/core_fixture.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr uid_t kOwn = 1000;
constexpr uid_t kOther = 2000;
constexpr uid_t kThird = 3000;

class AuthorityTest : public CoreTest {
 protected:
  AuthorityTest() {
    own_user_ = kOwn;
    start();
  }

  static Hello named(const std::string& name, std::uint64_t epoch = 0) {
    return producer_hello(name, epoch, 0, true);
  }
  Hello consumer_of(const std::string& target, bool new_target = false) {
    Hello hello = consumer_hello();
    hello.producer = {target};
    hello.new_target = new_target;
    return hello;
  }
  RefusalCode refused(std::string_view connection) { return one<Refusal>(connection).code; }
  void answer_progress(std::string_view connection, const Progress& progress) {
    for (const auto& ask : take<AskProgress>(connection)) {
      say(connection, ProgressAnswer{ask.request, progress});
    }
  }
  static Progress through(std::uint64_t row, std::uint64_t epoch = 1) {
    Progress progress;
    progress.known = true;
    progress.epoch = {epoch};
    progress.through = {row};
    return progress;
  }
};

TEST_F(AuthorityTest, OnlyTheBrokersOwnUserAndRootMayConsume) {
  say("o", consumer_hello(), kOther);
  const auto refusal = one<Refusal>("o");
  EXPECT_EQ(refusal.code, RefusalCode::malformed);
  EXPECT_THAT(refusal.text, HasSubstr("user 2000"));
  EXPECT_TRUE(none<LeaseState>("o"));
  EXPECT_FALSE(core_->consumer());
  say("r", consumer_hello(), kRoot);
  EXPECT_TRUE(one<LeaseState>("r").granted);
  say("c", consumer_hello(), kOwn);
  EXPECT_FALSE(one<LeaseState>("c").granted);
  say("r", Bye{});
  EXPECT_TRUE(one<LeaseState>("c").granted);
}

TEST_F(AuthorityTest, RowsGoToAnotherTargetOnlyIfTheConsumerAsksForIt) {
  say("c", consumer_of("/data/a.db"));
  EXPECT_TRUE(one<LeaseState>("c").granted);
  say("d", consumer_of("/data/b.db"));
  EXPECT_THAT(one<Refusal>("d").text, HasSubstr("for the target /data/a.db, not for /data/b.db"));
  say("d", consumer_of("/data/b.db", true));
  EXPECT_EQ(refused("d"), RefusalCode::busy) << "a consumer of the old target is attached";
  start();  // the journal keeps it
  say("d", consumer_of("/data/b.db"));
  EXPECT_EQ(refused("d"), RefusalCode::malformed);
  say("d", consumer_of("/data/b.db", true));
  EXPECT_TRUE(one<LeaseState>("d").granted);
  say("d", Bye{});
  start();
  say("c", consumer_of("/data/a.db"));
  EXPECT_EQ(refused("c"), RefusalCode::malformed);
  say("c", consumer_of("/data/b.db"));
  EXPECT_TRUE(one<LeaseState>("c").granted);
}

TEST_F(AuthorityTest, AnOlderConsumersRelativePathMatchesTheEndOfTheTarget) {
  say("c", consumer_of("a.db"));
  EXPECT_TRUE(one<LeaseState>("c").granted) << "and the relative path is not stored";
  say("c", Bye{});
  say("c", consumer_of("/data/a.db"));
  EXPECT_TRUE(one<LeaseState>("c").granted);
  say("c", Bye{});
  say("c", consumer_of("a.db"));
  EXPECT_TRUE(one<LeaseState>("c").granted);
  say("c", Bye{});
  say("c", consumer_of("b.db"));
  EXPECT_EQ(refused("c"), RefusalCode::malformed);
}

TEST_F(AuthorityTest, NoConsumerIsAdmittedWhileTheJournalCannotKeepItsTarget) {
  vfs_.fail(test::FaultVfs::Operation::sync, test::FaultVfs::File::any, 1, SQLITE_IOERR_FSYNC, 1);
  say("c", consumer_of("/data/a.db"));
  EXPECT_EQ(refused("c"), RefusalCode::busy);
  vfs_.fail_no_more();
  turn(1s);
  say("c", consumer_of("/data/a.db"));
  EXPECT_TRUE(one<LeaseState>("c").granted);
}

TEST_F(AuthorityTest, ANameBelongsToTheUserWhoUsedItFirst) {
  say("a", named("cron"), kOther);
  EXPECT_EQ(one<Welcome>("a").epoch, Epoch{kWallClock});
  say("b", named("cron"), kThird);
  EXPECT_EQ(refused("b"), RefusalCode::malformed);
  say("a", batch_of("cron", 1, 1, 100, kWallClock));
  EXPECT_TRUE(none<Refusal>("a")) << "it was not fenced";
  say("a", Bye{});
  start();
  say("b", named("cron"), kThird);
  EXPECT_THAT(one<Refusal>("b").text, HasSubstr("belongs to user 2000"));
  say("r", named("cron"), kRoot);
  EXPECT_TRUE(one<Welcome>("r").epoch > Epoch{kWallClock})
      << "root may use the name, and its owner stays";
  say("r", Bye{});
  say("b", named("cron"), kThird);
  EXPECT_EQ(refused("b"), RefusalCode::malformed);
  say("a", named("cron"), kOther);
  EXPECT_EQ(take<Welcome>("a").size(), 1U);
}

TEST_F(AuthorityTest, OfTwoUsersWhoTakeANameInOneTurnTheSecondIsRefused) {
  core_->receive(id("a"), named("cron"), now_, kOther);
  core_->receive(id("b"), named("cron"), now_, kThird);
  turn();
  EXPECT_EQ(take<Welcome>("a").size(), 1U);
  EXPECT_EQ(refused("b"), RefusalCode::malformed);
}

TEST_F(AuthorityTest, ARandomIdThatSendsRowsCannotBeTakenWithoutItsEpochNorByAnotherUser) {
  const std::string id(32, 'a');
  say("a", producer_hello(id), kOther);
  EXPECT_EQ(take<Welcome>("a").size(), 1U);
  say("b", producer_hello(id), kOther);
  EXPECT_EQ(take<Welcome>("b").size(), 1U)
      << "it has no rows yet: its first welcome may have been lost";
  say("b", batch_of(id, 1, 1));
  say("c", producer_hello(id), kOther);
  EXPECT_EQ(refused("c"), RefusalCode::malformed);
  say("c", producer_hello(id, 1), kThird);
  EXPECT_EQ(refused("c"), RefusalCode::malformed);
  say("c", producer_hello(id, 1), kOther);
  EXPECT_EQ(take<Welcome>("c").size(), 1U) << "it reconnected";
}

TEST_F(AuthorityTest, AHellosClaimChangesNothingForOthers) {
  say("false", producer_hello("a", 1, 1'000'000));
  say("false", Bye{});
  say("true", producer_hello("a", 1, 0));
  EXPECT_EQ(one<Welcome>("true").through, Sequence{0});
  say("true", batch_of("a", 1, 1));
  EXPECT_EQ(one<Stored>("true").through, Sequence{1});
  EXPECT_TRUE(none<Applied>("true"));
}

TEST_F(AuthorityTest, AFalseClaimOfAppliedRowsIsMalformedAndMissingStoredRowsAreAHole) {
  join_consumer("c");
  say("p", producer_hello("a", 1, 7));
  answer_progress("c", through(6));
  EXPECT_EQ(refused("p"), RefusalCode::malformed);
  Hello hello = producer_hello("a", 1, 6);
  hello.stored = Sequence{9};
  hello.sent = Sequence{9};
  say("p", hello);
  answer_progress("c", through(6));
  const auto refusal = one<Refusal>("p");
  EXPECT_EQ(refusal.code, RefusalCode::hole);
  EXPECT_EQ(refusal.sequence, Sequence{7});
  hello.stored = Sequence{6};
  say("p", hello);
  answer_progress("c", through(6));
  EXPECT_EQ(one<Welcome>("p").through, Sequence{6});
}

TEST_F(AuthorityTest, AProducerThatMustBeSureIsWelcomedOnlyWithTheTargetsAnswer) {
  Hello hello = named("sensor");
  hello.sure = true;
  say("p", hello);
  EXPECT_EQ(refused("p"), RefusalCode::not_now);
  turn(2s);
  say("p", Heartbeat{});
  EXPECT_EQ(take<Heartbeat>("p").size(), 1U);
  EXPECT_TRUE(none<Welcome>("p"));
  say("c", consumer_hello());
  const auto first = take<AskProgress>("c");
  ASSERT_EQ(first.size(), 1U);
  turn(1100ms);
  EXPECT_EQ(refused("p"), RefusalCode::not_now) << "the consumer is busy";
  say("c", Bye{});
  say("d", consumer_hello());
  turn(1100ms);
  EXPECT_TRUE(none<Welcome>("p"));
  answer_progress("d", through(5, 3));
  const auto welcome = one<Welcome>("p");
  EXPECT_EQ(welcome.through, Sequence{5});
  EXPECT_TRUE(welcome.through_is_sure);
}

TEST_F(AuthorityTest, ABatchWhoseSourceDiffersFromTheHelloIsMalformed) {
  say("p", named("n"));
  one<Welcome>("p");
  Batch batch = batch_of("n", 1, 1, 100, kWallClock);
  batch.header.source = "yesterday.csv";
  batch.header_frame = encode_batch_header(batch.header);
  say("p", batch);
  EXPECT_EQ(refused("p"), RefusalCode::malformed);
}

TEST_F(AuthorityTest, AnotherUsersRetryAndDiscardReachOnlyItsOwnLetters) {
  const auto own_letters = [&](std::string_view connection, const std::string& id, User user) {
    say(connection, producer_hello(id), user);
    Batch batch = batch_of(id, 1, 1);
    batch.header.kind = BatchKind::discard;
    batch.header_frame = encode_batch_header(batch.header);
    say(connection, batch);
    const auto delivery = one<Delivery>("c");
    return decode_batch_header(delivery.header_frame.view())->own_letters;
  };
  join_consumer("c");
  EXPECT_TRUE(own_letters("a", "a", kOther));
  EXPECT_FALSE(own_letters("b", "b", kOwn));
  EXPECT_FALSE(own_letters("d", "d", kRoot));
  EXPECT_FALSE(own_letters("e", "e", {})) << "users cannot be told apart over TCP";
}

TEST_F(AuthorityTest, StatusShowsOtherUsersOnlyNumbersAndNeverASecretId) {
  const std::string id = "0123456789abcdef0123456789abcdef";
  join_consumer("c");
  say("p", producer_hello(id));
  say("n", named("cron"));
  answer_progress("c", {});
  const auto report_to = [&](User user) {
    say("t", Hello{}, user);
    say("t", AskStatus{1});
    const Bytes bytes = one<Status>("t").report;
    return nlohmann::json::from_msgpack(bytes.view().begin(), bytes.view().end());
  };
  const auto own = report_to(kOwn);
  std::vector<std::string> shown;
  for (const auto& producer : own["producers"]) {
    shown.push_back(producer["producer"]);
  }
  EXPECT_THAT(shown, testing::UnorderedElementsAre("cron", "01234567" + std::string(24, '0')));
  EXPECT_NE(own["journal"]["path"], "");
  const auto others = report_to(kOther);
  EXPECT_EQ(others["producers"].size(), 0U);
  EXPECT_EQ(others["producers_connected"], 2U);
  EXPECT_EQ(others["journal"]["path"], "");
  EXPECT_TRUE(others["consumer"]["attached"]);
  EXPECT_EQ(others.dump().find(id.substr(0, 8)), std::string::npos);
}

TEST_F(AuthorityTest, MoreDeadLettersThanListedCanBeAskedForWhileAConsumerIsAttached) {
  say("p", producer_hello("a"));
  one<Welcome>("p");
  say("p", AskDead{4, {100}});
  EXPECT_EQ(refused("p"), RefusalCode::not_now);
  join_consumer("c");
  say("p", AskDead{5, {100}});
  const auto ask = one<AskProgress>("c");
  EXPECT_EQ(ask.since, Sequence{100});
  EXPECT_TRUE(ask.list_only);
  Progress progress = through(300);
  progress.dead_count = 1;
  progress.dead = {{{101}, "CHECK"}};
  say("c", ProgressAnswer{ask.request, progress});
  const auto dead = one<Dead>("p");
  EXPECT_EQ(dead.request, 5U);
  ASSERT_EQ(dead.dead.size(), 1U);
  EXPECT_EQ(dead.dead[0].sequence, Sequence{101});
  say("p", AskDead{6, {101}});
  const auto late = one<AskProgress>("c");
  turn(1100ms);
  EXPECT_EQ(refused("p"), RefusalCode::not_now);
  say("c", ProgressAnswer{late.request, progress});
  EXPECT_TRUE(none<Dead>("p"));
}

TEST_F(AuthorityTest, AConnectionWithoutASessionGetsOneAnswerPerInterval) {
  const auto errors = core_->client_errors();
  for (int i = 0; i < 30'000; ++i) {
    core_->receive(id("p"), batch_of("a", 1, 1), now_);
  }
  turn();
  EXPECT_EQ(refused("p"), RefusalCode::hello_first);
  EXPECT_EQ(core_->client_errors() - errors, 1U);
  turn(100ms);
  say("p", batch_of("a", 1, 1));
  EXPECT_EQ(refused("p"), RefusalCode::hello_first);
  say("p", producer_hello("a"));
  one<Welcome>("p");
  say("p", Bye{});
  say("p", Heartbeat{});
  EXPECT_EQ(refused("p"), RefusalCode::hello_first) << "it had a session meanwhile";
}

TEST_F(AuthorityTest, HeartbeatsThatAnswerHeartbeatsEnd) {
  join_producer("p", "a");
  say("p", Heartbeat{});
  EXPECT_EQ(take<Heartbeat>("p").size(), 1U);
  say("p", Heartbeat{});
  EXPECT_TRUE(none<Heartbeat>("p"));
  turn(100ms);
  say("p", Heartbeat{});
  EXPECT_EQ(take<Heartbeat>("p").size(), 1U);
}

}  // namespace
}  // namespace turnstile::broker
