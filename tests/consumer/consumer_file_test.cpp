// The consumer on a real file: what it commits is there, and a successor stops it.

#include "tests/consumer/fixture.h"
#include "tests/store/fixture.h"

namespace turnstile::consumer {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

class ConsumerFileTest : public ConsumerTest {
 protected:
  ConsumerFileTest() {
    options_.open_target = open_target_file;
    options_.target.path = folder_ / "t.db";
    options_.target.busy_timeout = 20ms;
    auto made = sqlite::Connection::open(options_.target.path, sqlite::Access::create);
    EXPECT_TRUE(made && made->execute("CREATE TABLE pets(name TEXT NOT NULL)"));
  }
  static Delivery row(std::uint64_t ticket, std::uint64_t sequence, const ValueRef& name) {
    return {{ticket},
            encode_batch_header(test::header_of("p", sequence, 1, "pets", {"name"})),
            test::frame_of({{name}})};
  }
  [[nodiscard]] std::int64_t number(const std::string& sql) const {
    auto connection = sqlite::Connection::open(options_.target.path, sqlite::Access::read_write);
    auto value = connection->query_integer(sql);
    EXPECT_TRUE(value) << value.error().what;
    return value.value_or(-1);
  }

  test::TempFolder folder_;
};

TEST_F(ConsumerFileTest, WhatIsAnsweredIsInTheFileAndComesTwiceWithoutEffect) {
  get_lease();
  ASSERT_TRUE(turn({row(1, 1, "Ace"), row(2, 2, Null{}), row(3, 1, "Ace")}));
  const auto results = sent<Results>();
  ASSERT_THAT(results, SizeIs(1));
  ASSERT_THAT(results[0].results, SizeIs(3));
  EXPECT_EQ(results[0].results[0].dead_count, 0U);
  EXPECT_EQ(results[0].results[1].dead_count, 1U);
  EXPECT_EQ(results[0].results[2].through, Sequence{2});
  EXPECT_EQ(results[0].stats.rows_applied, 1U);
  EXPECT_EQ(number("SELECT count(*) FROM pets"), 1);
}

TEST_F(ConsumerFileTest, ALockedFileIsWaitedForAndNothingIsLost) {
  get_lease();
  auto other = sqlite::Connection::open(options_.target.path, sqlite::Access::read_write);
  ASSERT_TRUE(other && other->execute("BEGIN IMMEDIATE"));
  ASSERT_TRUE(turn({row(1, 1, "Ace")}));
  EXPECT_THAT(tickets(), IsEmpty());
  ASSERT_TRUE(other->execute("COMMIT"));
  ASSERT_TRUE(idle(200ms));
  EXPECT_THAT(tickets(), SizeIs(1));
  EXPECT_EQ(number("SELECT count(*) FROM pets"), 1);
}

TEST_F(ConsumerFileTest, ASuccessorsTakeOverStopsItBeforeItWritesOneRow) {
  get_lease();
  ASSERT_TRUE(turn({row(1, 1, "Ace")}));
  // It was stopped for longer than its lease; the successor has written since.
  auto successor = store::Target::open(options_.target);
  ASSERT_TRUE(successor && (*successor)->take_over());
  tickets();
  const auto served = turn({row(2, 2, "Bea")});
  ASSERT_FALSE(served);
  EXPECT_EQ(served.error().code, Errc::fenced);
  EXPECT_THAT(tickets(), IsEmpty());
  EXPECT_EQ(number("SELECT count(*) FROM pets"), 1);
}

}  // namespace
}  // namespace turnstile::consumer
