#include "producers/direct_link.h"

#include <array>
#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/producer.h"
#include "store/sqlite.h"
#include "tests/support/folder.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

class DirectLinkTest : public ::testing::Test {
 protected:
  store::DirectOptions options() {
    store::DirectOptions options;
    options.path = db_;
    options.busy_timeout = milliseconds(1);
    return options;
  }

  static ProducerOptions producer_options() {
    ProducerOptions options;
    options.id = {"p"};
    return options;
  }

  std::int64_t count(const std::string& table) {
    auto db = sqlite::Connection::open(db_, sqlite::Access::read_only);
    return db ? db->query_integer("SELECT count(*) FROM " + table, "counting").value_or(-1) : -1;
  }

  const Folder folder_;
  const std::filesystem::path db_ = folder_.path() / "shared.db";
};

Summary insert_ace_and_buddy(Link& link, ProducerOptions options) {
  Producer producer(link, std::move(options));
  EXPECT_TRUE(producer.start());
  producer.into("pets", {"name", "breed"});
  EXPECT_TRUE(producer.append(std::array<std::string_view, 2>{"Ace", "Dog"}));
  EXPECT_TRUE(producer.append(std::array<std::string_view, 2>{"Buddy", "Dog"}));
  EXPECT_TRUE(producer.finish());
  return producer.summary();
}

TEST_F(DirectLinkTest, RowsAreInTheDatabaseAndAcknowledgedAsApplied) {
  DirectLink link(options());
  const Summary summary = insert_ace_and_buddy(link, producer_options());
  EXPECT_EQ(summary.applied, 2U);
  EXPECT_EQ(summary.dead_count, 0U);
  EXPECT_EQ(count("pets"), 2);
}

TEST_F(DirectLinkTest, RowsForALockedDatabaseAreLostWithSqlitesWords) {
  {
    DirectLink link(options());
    insert_ace_and_buddy(link, producer_options());
  }
  auto other = sqlite::Connection::open(db_, sqlite::Access::read_write);
  ASSERT_TRUE(other);
  ASSERT_TRUE(other->execute("BEGIN EXCLUSIVE"));
  DirectLink link(options());
  EXPECT_TRUE(link.try_open("pets", {"name", "breed"})) << "it may be free later";
  const Summary summary = insert_ace_and_buddy(link, producer_options());
  EXPECT_EQ(summary.applied, 0U);
  EXPECT_EQ(summary.dead_count, 2U);
  ASSERT_EQ(summary.dead.size(), 2U);
  EXPECT_EQ(summary.dead[0].reason, "database is locked");
  ASSERT_TRUE(other->execute("ROLLBACK"));
  EXPECT_EQ(count("pets"), 2);
}

TEST_F(DirectLinkTest, DefinitionMakesTheTable) {
  DirectLink link(options());
  Producer producer(link, producer_options());
  ASSERT_TRUE(producer.start());
  ASSERT_TRUE(producer.define("foods", {"id", "name"}, {"INTEGER", "TEXT"}));
  producer.into("foods", {"id", "name"});
  ASSERT_TRUE(producer.append(std::array<std::string_view, 2>{"1", "Bread"}));
  ASSERT_TRUE(producer.finish());
  EXPECT_EQ(count("foods"), 1);
}

TEST_F(DirectLinkTest, MissingTableIsKnownBeforeARowIsSent) {
  DirectLink link(options());
  Producer producer(link, producer_options());
  ASSERT_TRUE(producer.start());
  const auto answer = producer.check_table("nowhere", {"a"});
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->state, TableState::missing_table);
}

TEST_F(DirectLinkTest, DatabaseThatCannotBeOpenedIsAnError) {
  auto with = options();
  with.path = folder_.path() / "no" / "such" / "folder" / "shared.db";
  DirectLink link(with);
  const auto opened = link.try_open("pets", {"name", "breed"});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::unreachable);
}

TEST_F(DirectLinkTest, MissingTextLogIsReportedAndTheRowsStay) {
  auto with = options();
  with.text_path = folder_.path() / "no" / "folder" / "out9.txt";
  with.text_table = "pets";
  std::vector<std::string> reported;
  DirectLink link(with, [&](const Error& error) { reported.push_back(error.what); });
  const Summary summary = insert_ace_and_buddy(link, producer_options());
  EXPECT_EQ(summary.applied, 2U);
  ASSERT_FALSE(reported.empty());
  EXPECT_THAT(reported[0], HasSubstr("out9.txt"));
}

TEST_F(DirectLinkTest, OtherMessagesGetNoAnswer) {
  DirectLink link(options());
  EXPECT_TRUE(link.send(Bye{}));
  EXPECT_FALSE(link.receive(milliseconds(0)));
}

}  // namespace
}  // namespace turnstile
