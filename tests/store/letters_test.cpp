// Dead letters that are sent again or thrown away.
#include <cstdint>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "proto/messages.h"
#include "store/row_bytes.h"
#include "store/target.h"
#include "tests/store/fixture.h"

namespace turnstile::test {
namespace {

using namespace std::string_view_literals;

class LettersTest : public StoreTest {
 protected:
  void SetUp() override {
    auto with_text = options();
    with_text.text_path = text();
    with_text.text_table = "u";
    target_ = open(std::move(with_text));
    run("CREATE TABLE u(name TEXT UNIQUE, amount INTEGER CHECK (amount >= 0))");
  }

  store::BatchOutcome send(BatchKind kind, const std::string& producer,
                           const std::vector<Row>& rows, const std::string& table = "u",
                           std::vector<std::string> columns = {"name", "amount"}) {
    const auto through = target_->progress({producer}, {0})->through;
    auto header = header_of(producer, through.value + 1, rows.size(), table, std::move(columns));
    header.kind = kind;
    last_ = header;
    last_frame_ = frame_of(rows);
    return write(*target_, header, rows);
  }
  store::BatchOutcome insert(const std::vector<Row>& rows) {
    return send(BatchKind::insert, "p", rows);
  }
  store::BatchOutcome retry(const std::vector<Row>& rows) {
    return send(BatchKind::retry, "tool", rows);
  }
  store::BatchOutcome discard(const std::vector<Row>& rows) {
    return send(BatchKind::discard, "tool", rows, "turnstile_dead_letters", {"id"});
  }
  store::BatchOutcome again() { return write_frame(*target_, last_, last_frame_.view()); }

  [[nodiscard]] std::int64_t letters() const {
    return number("SELECT count(*) FROM turnstile_dead_letters");
  }
  // What each producer counts is its progress.
  void expect_books_agree() const {
    EXPECT_EQ(number("SELECT count(*) FROM turnstile_producers "
                     "WHERE through <> rows_applied + rows_dead + changes"),
              0);
    EXPECT_EQ(number("SELECT count(*) FROM turnstile_producers AS p WHERE rows_dead - letters_gone "
                     "<> (SELECT coalesce(sum(rows), 0) FROM turnstile_dead_letters AS d "
                     "    WHERE d.producer = p.producer AND live)"),
              0);
    EXPECT_EQ(number("SELECT sum(rows_applied) FROM turnstile_producers"),
              number("SELECT count(*) FROM u"));
    EXPECT_EQ(target_->dead_letters(), static_cast<std::uint64_t>(letters()));
  }

  std::unique_ptr<store::Target> target_;
  BatchHeader last_;
  Bytes last_frame_;
};

TEST_F(LettersTest, WhoMayTouchItsOwnLettersOnlyFindsNoOthers) {
  insert({{"b"sv, std::int64_t{-1}}, {"c"sv, std::int64_t{-1}}});
  send(BatchKind::insert, "tool", {{"d"sv, std::int64_t{-1}}});
  const auto own_only = [&](BatchKind kind, const std::vector<Row>& rows, const std::string& table,
                            std::vector<std::string> columns) {
    const auto through = target_->progress({"tool"}, {0})->through;
    auto header = header_of("tool", through.value + 1, rows.size(), table, std::move(columns));
    header.kind = kind;
    header.own_letters = true;
    return write(*target_, header, rows);
  };
  auto outcome = own_only(BatchKind::discard, {{std::int64_t{1}}, {std::int64_t{3}}},
                          "turnstile_dead_letters", {"id"});
  EXPECT_EQ(outcome.dead_count, 1U);
  EXPECT_EQ(outcome.dead.at(0).reason, "there is no such dead letter");
  outcome = own_only(BatchKind::retry, {{std::int64_t{2}, "c"sv, std::int64_t{2}}}, "u",
                     {"name", "amount"});
  EXPECT_EQ(outcome.dead_count, 1U);
  EXPECT_EQ(number("SELECT count(*) FROM u"), 0);
  EXPECT_EQ(number("SELECT count(*) FROM turnstile_dead_letters WHERE producer = 'p'"), 2);
}

TEST_F(LettersTest, AllLettersCanBeListedOneHundredAfterAnother) {
  std::vector<Row> rows(250, Row{"b"sv, std::int64_t{-1}});
  insert(rows);
  std::vector<std::uint64_t> listed;
  Sequence since;
  for (auto more = target_->list_dead({"p"}, since); !more->dead.empty();
       more = target_->list_dead({"p"}, since)) {
    EXPECT_LE(more->dead_count, limits::kDeadListed) << "nothing is counted beyond the list";
    for (const auto& row : more->dead) {
      listed.push_back(row.sequence.value);
    }
    since = more->dead.back().sequence;
  }
  ASSERT_EQ(listed.size(), 250U);
  for (std::size_t i = 0; i < listed.size(); ++i) {
    EXPECT_EQ(listed[i], i + 1);
  }
}

TEST_F(LettersTest, CorrectedRowGoesInAndItsLetterAway) {
  insert({{"a"sv, std::int64_t{1}}, {"b"sv, std::int64_t{-1}}});
  const auto outcome = retry({{std::int64_t{1}, "b"sv, std::int64_t{2}}});
  EXPECT_EQ(outcome.rows_applied, 1U);
  EXPECT_EQ(outcome.dead_count, 0U);
  EXPECT_EQ(letters(), 0);
  EXPECT_EQ(number("SELECT amount FROM u WHERE name = 'b'"), 2);
  EXPECT_EQ(read_text(text()), "[a, 1]\n[b, 2]\n");
  expect_books_agree();
}

TEST_F(LettersTest, RetryThatComesAgainChangesNothing) {
  insert({{"b"sv, std::int64_t{-1}}});
  retry({{std::int64_t{1}, "b"sv, std::int64_t{2}}});
  EXPECT_EQ(again().outcome, Outcome::applied);
  EXPECT_EQ(number("SELECT count(*) FROM u"), 1);
  expect_books_agree();
}

TEST_F(LettersTest, SecondRetryOfOneLetterIsRefused) {
  insert({{"b"sv, std::int64_t{-1}}});
  retry({{std::int64_t{1}, "b"sv, std::int64_t{2}}});
  const auto second = retry({{std::int64_t{1}, "c"sv, std::int64_t{2}}});
  ASSERT_EQ(second.dead_count, 1U);
  EXPECT_EQ(second.dead[0].reason, "there is no such dead letter");
  EXPECT_EQ(number("SELECT count(*) FROM u"), 1);
  EXPECT_EQ(number("SELECT kind FROM turnstile_dead_letters"), 4);
  expect_books_agree();
}

TEST_F(LettersTest, RowRefusedAgainIsANewLetterWithoutTheOldId) {
  insert({{"b"sv, std::int64_t{-1}}});
  const auto outcome = retry({{std::int64_t{1}, "b"sv, std::int64_t{-5}}});
  ASSERT_EQ(outcome.dead_count, 1U);
  EXPECT_EQ(outcome.dead[0].sequence, Sequence{1});
  EXPECT_EQ(word("SELECT id || producer || kind || hex(row) FROM turnstile_dead_letters"),
            "2tool192A162FB");
  EXPECT_EQ(again().dead_count, 1U);
  EXPECT_EQ(letters(), 1);
  expect_books_agree();
}

TEST_F(LettersTest, RetryForATableThatIsMissingStaysALetter) {
  insert({{"b"sv, std::int64_t{-1}}});
  const auto outcome =
      send(BatchKind::retry, "tool", {{std::int64_t{1}, "b"sv, std::int64_t{5}}}, "nowhere");
  ASSERT_EQ(outcome.dead_count, 1U);
  EXPECT_EQ(outcome.dead[0].reason, "no such table: nowhere");
  EXPECT_EQ(letters(), 1);
  expect_books_agree();
}

TEST_F(LettersTest, RetryWithTheWrongNumberOfValuesStaysALetter) {
  insert({{"b"sv, std::int64_t{-1}}});
  EXPECT_EQ(retry({{std::int64_t{1}, "b"sv}}).dead_count, 1U);
  EXPECT_EQ(letters(), 1);
  EXPECT_EQ(word("SELECT hex(row) FROM turnstile_dead_letters"), "91A162");
  expect_books_agree();
}

TEST_F(LettersTest, RetriesAmongTheirNeighboursKeepTheTextLogRight) {
  insert({{"a"sv, std::int64_t{-1}}, {"b"sv, std::int64_t{-1}}});
  ASSERT_TRUE(target_->begin());
  const auto apply = [&](const std::string& producer, std::uint64_t first, BatchKind kind,
                         const std::vector<Row>& rows) {
    auto header = header_of(producer, first, rows.size(), "u", {"name", "amount"});
    header.kind = kind;
    ASSERT_TRUE(target_->apply(header, frame_of(rows)));
  };
  apply("p", 3, BatchKind::insert, {{"c"sv, std::int64_t{3}}});
  apply("tool", 1, BatchKind::retry, {{std::int64_t{1}, "a"sv, std::int64_t{1}}});
  apply("p", 4, BatchKind::insert, {{"d"sv, std::int64_t{4}}});
  apply("tool", 2, BatchKind::retry, {{std::int64_t{2}, "b"sv, std::int64_t{2}}});
  ASSERT_TRUE(target_->commit());
  EXPECT_EQ(read_text(text()), "[c, 3]\n[a, 1]\n[d, 4]\n[b, 2]\n");
  expect_books_agree();
}

TEST_F(LettersTest, RetryThatIsRolledBackLeavesTheLetter) {
  insert({{"b"sv, std::int64_t{-1}}});
  ASSERT_TRUE(target_->begin());
  auto header = header_of("tool", 1, 1, "u", {"name", "amount"});
  header.kind = BatchKind::retry;
  ASSERT_TRUE(target_->apply(header, frame_of({{std::int64_t{1}, "b"sv, std::int64_t{2}}})));
  target_->rollback();
  EXPECT_EQ(letters(), 1);
  EXPECT_EQ(number("SELECT count(*) FROM u"), 0);
}

TEST_F(LettersTest, DiscardTakesLettersAwayOnce) {
  insert({{"a"sv, std::int64_t{-1}}, {"b"sv, std::int64_t{-1}}, {"c"sv, std::int64_t{-1}}});
  EXPECT_EQ(discard({{std::int64_t{1}}, {std::int64_t{3}}}).dead_count, 0U);
  EXPECT_EQ(number("SELECT id FROM turnstile_dead_letters"), 2);
  again();
  EXPECT_EQ(letters(), 1);
  expect_books_agree();
}

TEST_F(LettersTest, DiscardOfWhatIsNotThereIsRefusedAndItsNeighboursHappen) {
  insert({{"a"sv, std::int64_t{-1}}});
  const auto outcome = discard({{std::int64_t{99}}, {"x"sv}, {std::int64_t{1}}});
  EXPECT_EQ(outcome.dead_count, 2U);
  EXPECT_EQ(number("SELECT count(*) FROM turnstile_dead_letters WHERE producer = 'p'"), 0);
  expect_books_agree();
}

TEST_F(LettersTest, LettersThatAreNotOfARowCanOnlyBeDiscarded) {
  write_frame(*target_, header_of("p", 1, 3, "u", {"name", "amount"}), "\x93garbage");
  const auto retried = retry({{std::int64_t{1}, "b"sv, std::int64_t{2}}});
  ASSERT_EQ(retried.dead_count, 1U);
  EXPECT_EQ(retried.dead[0].reason, "this dead letter is not of a row");
  EXPECT_EQ(discard({{std::int64_t{1}}, {std::int64_t{2}}}).dead_count, 0U);
  EXPECT_EQ(letters(), 0);
  EXPECT_EQ(target_->dead_letters(), 0U);
}

TEST_F(LettersTest, ALettersIdIsNeverGivenTwice) {
  insert({{"a"sv, std::int64_t{-1}}});
  discard({{std::int64_t{1}}});
  insert({{"a"sv, std::int64_t{-1}}});
  EXPECT_EQ(number("SELECT id FROM turnstile_dead_letters"), 2);
}

TEST(RowBytesTest, RowWithoutItsFirstValueHasTheHeaderOfWhatIsLeft) {
  for (const std::size_t values : {1U, 2U, 15U, 16U, 17U, 70'000U}) {
    const Row row(values, ValueRef(std::int64_t{7}));
    const Row rest(values - 1, ValueRef(std::int64_t{7}));
    const Bytes frame = frame_of({row});
    const Bytes wanted = frame_of({rest});
    EXPECT_EQ(store::without_first(store::RowBytes(frame.view()).row(0)),
              store::RowBytes(wanted.view()).row(0))
        << values;
  }
}

TEST_F(LettersTest, ColumnsOfAnyNameAreKeptAsJsonThatReadsBack) {
  const std::vector<std::string> columns{"a\"b", "c\\d", "tab\there", "\xC3\xA9"};
  insert({});
  send(BatchKind::insert, "q", {{1L, 2L, 3L, 4L}}, "nowhere", columns);
  for (std::size_t i = 0; i < columns.size(); ++i) {
    EXPECT_EQ(word("SELECT json_extract(columns, '$[" + std::to_string(i) +
                   "]') FROM turnstile_dead_letters"),
              columns[i]);
  }
}

TEST_F(LettersTest, ALetterOfAForgottenProducerIsDiscardedAndCountsForNobody) {
  insert({{"b"sv, -1L}});
  pass(*target_, std::chrono::hours(24 * 29));
  discard({{77L}});  // somebody is still here
  pass(*target_, std::chrono::hours(24 * 2));
  EXPECT_EQ(number("SELECT live FROM turnstile_dead_letters WHERE producer = 'p'"), 0);
  const auto outcome = discard({{1L}});
  EXPECT_EQ(outcome.dead_count, 0U);
  EXPECT_EQ(number("SELECT count(*) FROM turnstile_dead_letters WHERE producer = 'p'"), 0);
}

TEST_F(LettersTest, ARetryOfARowThatRollsAllBackIsALetterAgainAndTheOthersGoIn) {
  run("CREATE TABLE strict_one(v NOT NULL ON CONFLICT ROLLBACK)");
  send(BatchKind::insert, "p", {{Null{}}, {Null{}}}, "strict_one", {"v"});
  ASSERT_EQ(letters(), 2);
  const auto outcome =
      send(BatchKind::retry, "tool", {{1L, 5L}, {2L, Null{}}}, "strict_one", {"v"});
  EXPECT_EQ(outcome.rows_applied, 1U);
  EXPECT_EQ(outcome.dead_count, 1U);
  EXPECT_EQ(number("SELECT v FROM strict_one"), 5);
  EXPECT_EQ(letters(), 1);
  EXPECT_EQ(word("SELECT producer FROM turnstile_dead_letters"), "tool");
}

}  // namespace
}  // namespace turnstile::test
