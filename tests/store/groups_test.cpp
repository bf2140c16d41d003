// Many rows go in with one statement. The table, the dead letters and the text log must be as if
// each had gone in by itself.
#include <deque>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "store/target.h"
#include "tests/store/fixture.h"
#include "tests/support/seed.h"

namespace turnstile::test {
namespace {

struct Kind {
  const char* name;
  const char* sql;
  bool has_text = false;
};

const std::vector<Kind> kKinds{
    {"Plain", "CREATE TABLE t(a, b)", true},
    {"Strict", "CREATE TABLE t(a INT, b TEXT) STRICT", true},
    {"StrictWithKeys", "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT UNIQUE) STRICT"},
    {"RowidKey", "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)"},
    {"UniqueAndNotNull", "CREATE TABLE t(a UNIQUE, b NOT NULL)", true},
    {"TwoKeys", "CREATE TABLE t(a UNIQUE, b, UNIQUE(b, a))", true},
    {"Check", "CREATE TABLE t(a CHECK(a IS NOT 'x'), b)", true},
    {"CheckThatRaisesAnError", "CREATE TABLE t(a, b, CHECK(abs(a) IS NOT 5))", true},
    {"IndexThatRaisesAnError", "CREATE TABLE t(a UNIQUE, b); CREATE INDEX i ON t(abs(a))", true},
    {"Generated", "CREATE TABLE t(a, b NOT NULL, c AS (abs(a)) STORED)"},
    {"OnConflictIgnore", "CREATE TABLE t(a UNIQUE ON CONFLICT IGNORE, b NOT NULL)"},
    {"OnConflictReplace", "CREATE TABLE t(a UNIQUE ON CONFLICT REPLACE, b NOT NULL)"},
    {"OnConflictFail", "CREATE TABLE t(a UNIQUE ON CONFLICT FAIL, b NOT NULL)"},
    {"OnConflictRollback", "CREATE TABLE t(a UNIQUE, b NOT NULL ON CONFLICT ROLLBACK)"},
    {"Autoincrement", "CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT, b UNIQUE)"},
    {"WithoutRowid", "CREATE TABLE t(a PRIMARY KEY, b) WITHOUT ROWID"},
    {"Trigger",
     "CREATE TABLE t(a, b); CREATE TRIGGER g BEFORE INSERT ON t WHEN NEW.a = 'x' "
     "BEGIN SELECT RAISE(FAIL, 'no'); END"},
};

class GroupsTest : public StoreTest, public ::testing::WithParamInterface<Kind> {
 protected:
  static constexpr const char* kRows =
      "SELECT group_concat(quote(a) || quote(b), x'0a') FROM (SELECT * FROM t ORDER BY a, b)";

  // Mostly ever greater numbers; of the others some are refused by one kind of table or another.
  Row row(bool is_wild) {
    constexpr std::int64_t kNoAbsoluteValue = std::numeric_limits<std::int64_t>::min();
    const auto below = [&](std::uint64_t bound) { return random_() % bound; };
    ++counted_;
    Row row{counted_, std::string_view(names_.emplace_back("n" + std::to_string(counted_)))};
    if (below(is_wild ? 8 : 400) == 0) {
      const std::vector<ValueRef> odd{Null{}, std::string_view("x"), counted_ / 2,
                                      std::string_view("7"), kNoAbsoluteValue};
      row[below(2)] = odd[below(odd.size())];
    }
    if (below(is_wild ? 40 : 2000) == 0) {
      row.emplace_back(Null{});
    }
    return row;
  }

  // Each row by itself, as anybody would. Why rows were refused, by their number.
  static std::string insert_one_by_one(sqlite::Connection& connection,
                                       const std::vector<Row>& rows) {
    auto insert = connection.prepare("INSERT INTO t(a, b) VALUES(?, ?)");
    EXPECT_TRUE(insert);
    std::string refused;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      std::string reason = "3 values for 2 columns";
      if (rows[i].size() == 2) {
        insert->bind(1, rows[i][0]);
        insert->bind(2, rows[i][1]);
        reason = insert->step() == SQLITE_DONE ? "" : connection.message();
        insert->reset();
      }
      if (!reason.empty()) {
        refused += std::to_string(i + 1) + " " + reason + "\n";
      }
    }
    return refused;
  }

  std::mt19937_64 random_{test_seed()};
  std::int64_t counted_ = 0;
  std::deque<std::string> names_;
};

INSTANTIATE_TEST_SUITE_P(Of, GroupsTest, ::testing::ValuesIn(kKinds),
                         [](const auto& kind) { return std::string(kind.param.name); });

TEST_P(GroupsTest, RowsAndRefusalsAreAsIfEachRowHadGoneInByItself) {
  run(GetParam().sql);
  auto with = options();
  if (GetParam().has_text) {
    with.text_path = text();
    with.text_table = "t";
  }
  auto target = open(with);
  std::vector<Row> rows;
  for (int transaction = 0; transaction < 4; ++transaction) {
    ASSERT_TRUE(target->begin());
    for (int batch = 0; batch < 3; ++batch) {
      const std::size_t first = rows.size();
      const bool is_wild = random_() % 2 == 0;
      for (std::uint64_t left = 1 + random_() % (is_wild ? 400 : 2500); left > 0; --left) {
        rows.push_back(row(is_wild));
      }
      const std::vector<Row> sent(rows.begin() + static_cast<std::ptrdiff_t>(first), rows.end());
      const auto applied =
          target->apply(header_of("p", first + 1, sent.size(), "t", {"a", "b"}), frame_of(sent));
      ASSERT_TRUE(applied) << applied.error().what;
      EXPECT_EQ(applied->rows_applied + applied->dead_count, sent.size());
    }
    ASSERT_TRUE(target->commit());
  }

  auto plain = sqlite::Connection::open(":memory:", sqlite::Access::create);
  ASSERT_TRUE(plain && plain->execute(GetParam().sql));
  const std::string refused = insert_one_by_one(*plain, rows);
  EXPECT_EQ(word("SELECT coalesce(group_concat(sequence || ' ' || reason || x'0a', ''), '') FROM "
                 "(SELECT * FROM turnstile_dead_letters ORDER BY sequence)"),
            refused);
  EXPECT_NE(refused, "");
  EXPECT_TRUE(word(kRows) == plain->query_text(kRows)) << "other rows";
  EXPECT_EQ(word("PRAGMA integrity_check"), "ok");
  if (GetParam().has_text) {
    EXPECT_TRUE(read_text(text()) == lines_of("t")) << "other lines";
  }
}

TEST_F(StoreTest, AutoincrementCountsTheRowsBeforeARefusedOneThoughNoneFollows) {
  run("CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT)");
  auto target = open(options());
  write(*target, header_of("p", 1, 3, "t", {"id"}),
        {{std::int64_t{1}}, {std::int64_t{2}}, {std::int64_t{2}}});
  EXPECT_EQ(number("SELECT seq FROM sqlite_sequence WHERE name = 't'"), 2);
}

// Each would take back all batches before it.
TEST_F(StoreTest, OnlyTheFirstRowOfAWrongTypeHasItsTransactionBegunAnew) {
  run("CREATE TABLE t(id INTEGER PRIMARY KEY)");
  int applied = 0;  // batches
  auto with = options();
  with.now_ms = [&] { return ++applied; };
  auto target = open(with);
  ASSERT_TRUE(target->begin());
  applied = 0;
  for (std::int64_t first = 1; first < 60; first += 3) {
    ASSERT_TRUE(target->apply(header_of("p", static_cast<std::uint64_t>(first), 3, "t", {"id"}),
                              frame_of({{first}, {std::string_view("x")}, {first + 1}})));
  }
  ASSERT_TRUE(target->commit());
  EXPECT_EQ(number("SELECT count(*) FROM t"), 40);
  EXPECT_EQ(number("SELECT count(*) FROM turnstile_dead_letters"), 20);
  EXPECT_LE(applied, 20 + 1);
}

// A row of a wrong type that has its transaction begun anew, where what is known of its table is
// forgotten each time.
class BegunAnewTest : public StoreTest {
 protected:
  void SetUp() override {
    auto with = options();
    with.while_waiting = [this] { return ++asked_ < 100; };  // else for ever
    with.now_ms = [this] { return ++applied_; };
    run("CREATE TABLE t(id INTEGER PRIMARY KEY, abcdefghij TEXT)");
    target_ = open(with);
    ASSERT_TRUE(target_->begin());
    applied_ = 0;
  }
  void apply(const std::string& table, const std::string& column) {
    const auto id = static_cast<std::int64_t>(next_);
    const auto applied = target_->apply(
        header_of("p", next_, 2, table, {"id", column}),
        frame_of({{id, std::string_view("a")}, {std::string_view("x"), std::string_view("b")}}));
    ASSERT_TRUE(applied) << applied.error().what;
    EXPECT_EQ(applied->rows_applied, 1U);
    EXPECT_EQ(applied->dead_count, 1U);
    next_ += 2;
  }

  std::unique_ptr<store::Target> target_;
  int asked_ = 0;
  std::int64_t applied_ = 0;  // batches
  std::uint64_t next_ = 1;
};

TEST_F(BegunAnewTest, EndsThoughTheLabsTableIsMadeAnewAsWell) {
  apply("pets", "name");
  ASSERT_TRUE(target_->commit());
  EXPECT_EQ(number("SELECT count(*) FROM pets"), 1);
}

TEST_F(BegunAnewTest, EndsThoughATableIsDefinedAnewAsWell) {
  const std::vector<std::string> names{"v"};
  BatchHeader definition = header_of("other", 1, 1, "z", names);
  definition.kind = BatchKind::define;
  ASSERT_TRUE(target_->apply(definition, frame_of({{std::string_view("INTEGER")}})));
  apply("t", "abcdefghij");
  ASSERT_TRUE(target_->commit());
  EXPECT_EQ(number("SELECT count(*) FROM t"), 1);
  EXPECT_EQ(number("SELECT count(*) FROM z"), 0);
}

TEST_F(BegunAnewTest, MoreFormsThanAreRememberedCostOneTransactionMoreAndNotOneEach) {
  constexpr unsigned kForms = 300;
  for (unsigned form = 0; form < kForms; ++form) {
    std::string column = "abcdefghij";
    for (unsigned letter = 0; letter < column.size(); ++letter) {
      if ((form >> letter & 1U) != 0) {
        column[letter] = static_cast<char>(column[letter] - 'a' + 'A');
      }
    }
    apply("t", column);
  }
  ASSERT_TRUE(target_->commit());
  EXPECT_EQ(number("SELECT count(*) FROM t"), kForms);
  EXPECT_LE(applied_, kForms + 1);
}

TEST_F(StoreTest, ATableThatWentWithItsTransactionIsMadeAgainThoughAnotherProgramChangedTheSchema) {
  auto target = open(options());
  const auto header = header_of("p", 1, 1, "pets", pet_columns);
  const auto frame = frame_of({{std::string_view("Rex"), std::string_view("Boxer")}});
  ASSERT_TRUE(target->begin());
  ASSERT_TRUE(target->apply(header, frame));
  target->rollback();
  run("CREATE TABLE other(a)");  // of the schema's version that ours had
  EXPECT_EQ(write_frame(*target, header, frame.view()).dead_count, 0U);
  EXPECT_EQ(number("SELECT count(*) FROM pets"), 1);
}

// 256 names are remembered, and the log looks for its table by one more.
TEST_F(StoreTest, ATextLogThatHasOtherTablesForgottenLosesNoRowOfItsOwn) {
  run("CREATE TABLE t(v); CREATE TABLE abcdefgh(v)");
  auto with = options();
  with.text_path = text();
  with.text_table = "t";
  auto target = open(with);
  run("CREATE TABLE changed(v)");
  ASSERT_TRUE(target->begin());
  for (unsigned form = 0; form < 255; ++form) {
    std::string table = "abcdefgh";
    for (unsigned letter = 0; letter < table.size(); ++letter) {
      if ((form >> letter & 1U) != 0) {
        table[letter] = static_cast<char>(table[letter] - 'a' + 'A');
      }
    }
    ASSERT_TRUE(target->apply(header_of("p", form + 1, 1, table, {"v"}), frame_of({{Null{}}})));
  }
  ASSERT_TRUE(target->apply(header_of("p", 256, 2, "T", {"v"}),
                            frame_of({{std::int64_t{1}}, {std::int64_t{2}}})));
  ASSERT_TRUE(target->commit());
  EXPECT_EQ(read_text(text()), "[1]\n[2]\n");
  EXPECT_EQ(number("SELECT count(*) FROM abcdefgh"), 255);
}

class RowsTableTest : public StoreTest {};

TEST_F(RowsTableTest, ATableOfItsNameInTheDatabaseIsNotReadInsteadOfTheRows) {
  run("CREATE TABLE turnstile_rows_1(c0); INSERT INTO turnstile_rows_1 VALUES('not this');"
      "CREATE TABLE t(v)");
  auto target = open(options());
  write(*target, header_of("p", 1, 2, "t", {"v"}), {{std::int64_t{1}}, {std::int64_t{2}}});
  EXPECT_EQ(word("SELECT group_concat(v) FROM t"), "1,2");
}

TEST_F(RowsTableTest, ARowWhoseTriggerReadsItIsRefused) {
  run("CREATE TABLE t(v); CREATE TABLE u(v);"
      "CREATE TRIGGER g AFTER INSERT ON u BEGIN INSERT INTO t SELECT c0 FROM turnstile_rows_1; "
      "END");
  auto target = open(options());
  write(*target, header_of("p", 1, 2, "t", {"v"}), {{std::int64_t{1}}, {std::int64_t{2}}});
  const auto outcome = write(*target, header_of("p", 3, 1, "u", {"v"}), {{std::int64_t{3}}});
  ASSERT_EQ(outcome.dead_count, 1U);
  EXPECT_EQ(outcome.dead.at(0).reason, "unsafe use of virtual table \"turnstile_rows_1\"");
  EXPECT_EQ(number("SELECT count(*) FROM t"), 2);
}

}  // namespace
}  // namespace turnstile::test
