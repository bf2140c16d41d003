#include "store/sqlite.h"

#include <unistd.h>

#include <chrono>
#include <limits>
#include <vector>

#include <gmock/gmock.h>

#include "tests/store/fixture.h"

namespace turnstile::test {
namespace {

using sqlite::Access;
using sqlite::Connection;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

class SqliteTest : public StoreTest {
 protected:
  Connection connection() {
    auto opened = Connection::open(db(), Access::create);
    EXPECT_TRUE(opened) << opened.error().what;
    return std::move(*opened);
  }
};

// Acts as a user without rights, also when the tests run as root.
class WithoutRights {
 public:
  WithoutRights() : user_(::geteuid()) {
    constexpr uid_t kNobody = 65534;
    if (user_ == 0) {
      acts_ = ::seteuid(kNobody) == 0;
    }
  }
  WithoutRights(const WithoutRights&) = delete;
  WithoutRights& operator=(const WithoutRights&) = delete;
  ~WithoutRights() { EXPECT_EQ(::seteuid(user_), 0); }
  [[nodiscard]] bool acts() const { return acts_; }

 private:
  uid_t user_;
  bool acts_ = true;
};

TEST_F(SqliteTest, MissingFolderIsNamed) {
  const auto opened = Connection::open(folder_ / "none" / "t.db", Access::create);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::unreachable);
  EXPECT_THAT(opened.error().what,
              HasSubstr("there is no directory " + (folder_ / "none").string()));
  EXPECT_THAT(opened.error().hint, HasSubstr("make the directory"));
}

TEST_F(SqliteTest, FolderInPlaceOfAFileIsNamed) {
  const auto opened = Connection::open(folder_ / "", Access::create);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::unreachable);
  EXPECT_THAT(opened.error().what, HasSubstr("is a directory"));
}

TEST_F(SqliteTest, MissingFileIsNamedWhenItIsNotToBeMade) {
  const auto opened = Connection::open(db(), Access::read_write);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::unreachable);
  EXPECT_THAT(opened.error().what, HasSubstr("there is no file"));
}

TEST_F(SqliteTest, FileThatMayNotBeWrittenIsNamed) {
  std::filesystem::permissions(folder_ / "", std::filesystem::perms::all);
  run("CREATE TABLE t(x)");
  std::filesystem::permissions(db(), std::filesystem::perms::owner_read |
                                         std::filesystem::perms::group_read |
                                         std::filesystem::perms::others_read);
  const WithoutRights nobody;
  ASSERT_TRUE(nobody.acts());
  const auto opened = Connection::open(db(), Access::read_write);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::unreachable);
  EXPECT_THAT(opened.error().what, HasSubstr("cannot be written"));
  EXPECT_TRUE(Connection::open(db(), Access::read_only));
}

TEST_F(SqliteTest, FolderThatMayNotBeWrittenIsNamed) {
  std::filesystem::permissions(
      folder_ / "", std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec |
                        std::filesystem::perms::group_read | std::filesystem::perms::group_exec |
                        std::filesystem::perms::others_read | std::filesystem::perms::others_exec);
  {
    const WithoutRights nobody;
    ASSERT_TRUE(nobody.acts());
    const auto opened = Connection::open(db(), Access::create);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Errc::unreachable);
    EXPECT_THAT(opened.error().what, HasSubstr("no permission"));
  }
  std::filesystem::permissions(folder_ / "", std::filesystem::perms::owner_all);
}

TEST_F(SqliteTest, DamagedFileIsNamed) {
  run("CREATE TABLE t(x); INSERT INTO t VALUES (1)");
  std::string bytes = read_text(db());
  std::fill(bytes.begin() + 100, bytes.end(), '\x7F');
  write_text(db(), bytes);
  auto damaged = connection();
  const auto read = damaged.query_integer("SELECT count(*) FROM t");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Errc::corrupt);
  EXPECT_THAT(read.error().what, HasSubstr("is damaged"));
}

TEST_F(SqliteTest, EveryKindOfValueComesBackAsItWas) {
  auto db = connection();
  auto bind = db.prepare("SELECT ?, typeof(?1)");
  ASSERT_TRUE(bind);
  const auto round_trip = [&](const ValueRef& value) {
    bind->reset();
    bind->bind(1, value);
    EXPECT_EQ(bind->step(), SQLITE_ROW);
    return bind->value(0);
  };
  EXPECT_TRUE(std::holds_alternative<Null>(round_trip(Null{})));
  for (const auto integer : {std::numeric_limits<std::int64_t>::min(), std::int64_t{0},
                             std::numeric_limits<std::int64_t>::max()}) {
    EXPECT_EQ(std::get<std::int64_t>(round_trip(integer)), integer);
  }
  EXPECT_EQ(std::get<double>(round_trip(0.1)), 0.1);
  EXPECT_EQ(std::get<std::string_view>(round_trip("text")), "text");
  EXPECT_EQ(std::get<Blob>(round_trip(Blob{"\x01\xFF"})).bytes, "\x01\xFF");
  // Views of nothing are empty values, not NULL.
  EXPECT_EQ(std::get<std::string_view>(round_trip(std::string_view())), "");
  EXPECT_EQ(std::get<Blob>(round_trip(Blob{})).bytes, "");
}

TEST_F(SqliteTest, LockIsAwaitedWithTheTimeWaitedUntilTheCallerGivesUp) {
  auto holder = connection();
  ASSERT_TRUE(holder.execute("BEGIN IMMEDIATE"));
  auto waiter = connection();
  std::vector<milliseconds> waited;
  waiter.on_busy([&](milliseconds so_far) {
    waited.push_back(so_far);
    return waited.size() < 5;
  });
  const auto begun = waiter.execute("BEGIN IMMEDIATE");
  ASSERT_FALSE(begun);
  EXPECT_EQ(begun.error().code, Errc::locked);
  ASSERT_EQ(waited.size(), 5U);
  EXPECT_TRUE(std::is_sorted(waited.begin(), waited.end()));
  EXPECT_LT(waited.front(), milliseconds{5'000});
  // The next lock is counted from its own beginning, and is given when the holder ends.
  bool first = true;
  waiter.on_busy([&](milliseconds) {
    if (std::exchange(first, false)) {
      EXPECT_TRUE(holder.execute("COMMIT"));
    }
    return true;
  });
  EXPECT_TRUE(waiter.execute("BEGIN IMMEDIATE"));
}

TEST_F(SqliteTest, BusyHandlerOutlivesAMove) {
  auto holder = connection();
  ASSERT_TRUE(holder.execute("BEGIN IMMEDIATE"));
  int asked = 0;
  auto first = connection();
  first.on_busy([&](milliseconds) { return ++asked < 2; });
  Connection moved = std::move(first);
  EXPECT_FALSE(moved.execute("BEGIN IMMEDIATE"));
  EXPECT_EQ(asked, 2);
}

TEST_F(SqliteTest, QuotedNameIsThatName) {
  auto db = connection();
  const std::string name = "a \"b\"; DROP TABLE c --";
  ASSERT_TRUE(db.execute("CREATE TABLE " + sqlite::quoted(name) + "(x)"));
  EXPECT_EQ(*db.query_text("SELECT name FROM sqlite_schema"), name);
}

TEST_F(SqliteTest, AFailureIsAboutARowATableOrTheFile) {
  using sqlite::About;
  for (const int code :
       {SQLITE_CONSTRAINT_UNIQUE, SQLITE_CONSTRAINT_TRIGGER, SQLITE_CONSTRAINT_FOREIGNKEY,
        SQLITE_MISMATCH, SQLITE_TOOBIG, SQLITE_ERROR, SQLITE_LOCKED, SQLITE_LOCKED_VTAB}) {
    EXPECT_EQ(sqlite::about(code), About::row) << code;
  }
  for (const int code : {SQLITE_CORRUPT_VTAB, SQLITE_CORRUPT_INDEX, SQLITE_CORRUPT_SEQUENCE,
                         SQLITE_ERROR_MISSING_COLLSEQ}) {
    EXPECT_EQ(sqlite::about(code), About::table) << code;
  }
  for (const int code :
       {SQLITE_FULL, SQLITE_BUSY, SQLITE_BUSY_SNAPSHOT, SQLITE_IOERR_FSYNC, SQLITE_CORRUPT,
        SQLITE_NOMEM, SQLITE_READONLY, SQLITE_NOTADB, SQLITE_CANTOPEN}) {
    EXPECT_EQ(sqlite::about(code), About::file) << code;
  }
}

TEST_F(SqliteTest, EachFailureOfTheFileIsOfItsKindAndNamesTheFile) {
  auto connection = sqlite::Connection::open(db(), sqlite::Access::create);
  ASSERT_TRUE(connection);
  for (const auto& [code, kind] : {std::pair{SQLITE_BUSY, Errc::locked},
                                   {SQLITE_LOCKED, Errc::locked},
                                   {SQLITE_PROTOCOL, Errc::locked},
                                   {SQLITE_FULL, Errc::full},
                                   {SQLITE_NOMEM, Errc::full},
                                   {SQLITE_PERM, Errc::unreachable},
                                   {SQLITE_AUTH, Errc::unreachable},
                                   {SQLITE_READONLY_DBMOVED, Errc::unreachable},
                                   {SQLITE_IOERR_WRITE, Errc::io},
                                   {SQLITE_IOERR_FSYNC, Errc::io},
                                   {SQLITE_CORRUPT, Errc::corrupt}}) {
    const Error error = connection->error(code, "trying");
    EXPECT_EQ(error.code, kind) << code;
    EXPECT_THAT(error.what, ::testing::StartsWith("trying: ")) << code;
    EXPECT_THAT(error.what, ::testing::HasSubstr(db().string())) << code;
    EXPECT_FALSE(error.hint.empty()) << code;
  }
  EXPECT_THAT(connection->error(SQLITE_READONLY_DBMOVED, "trying").what,
              ::testing::HasSubstr("moved or deleted"));
}

TEST_F(SqliteTest, AQueryThatFailsSaysWhatItWasFor) {
  auto connection = sqlite::Connection::open(db(), sqlite::Access::create);
  ASSERT_TRUE(connection);
  EXPECT_THAT(connection->query_integer("SELECT no_such_column").error().what,
              ::testing::HasSubstr("SELECT no_such_column"));
  EXPECT_THAT(connection->query_text("SELECT no_such_column", "asking").error().what,
              ::testing::StartsWith("asking: "));
  EXPECT_THAT(connection->query_integer("SELECT abs(-9223372036854775808)").error().what,
              ::testing::HasSubstr("overflow"));
  EXPECT_THAT(connection->query_text("SELECT abs(-9223372036854775808)", "asking").error().what,
              ::testing::HasSubstr("overflow"));
  EXPECT_EQ(connection->query_text("SELECT 1 WHERE false").value(), "");
}

}  // namespace
}  // namespace turnstile::test
