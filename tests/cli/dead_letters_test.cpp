#include "cli/dead_letters.h"

#include <deque>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "link/link.h"
#include "tests/inspect/check_fixture.h"

namespace turnstile {
namespace {

using dead_letters::Change;
using dead_letters::Letter;
using dead_letters::Setting;
using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;

// What lies between, as short as can be: each batch goes through its encoded form into the target.
class TargetLink final : public Link {
 public:
  explicit TargetLink(std::function<store::BatchOutcome(const Batch&)> apply)
      : apply_(std::move(apply)) {}

  bool send(const Message& message) override {
    const auto decoded = decode(encode(message));
    EXPECT_TRUE(decoded) << decoded.error().what;
    if (std::holds_alternative<Hello>(*decoded)) {
      Welcome welcome;
      welcome.epoch = {1};
      welcome.credit_bytes = 1'000'000;
      welcome.consumer_attached = true;
      answers_.emplace_back(welcome);
    } else if (const auto* batch = std::get_if<Batch>(&*decoded)) {
      const auto outcome = apply_(*batch);
      answers_.emplace_back(Applied{outcome.through, outcome.dead_count, outcome.dead});
    }
    return true;
  }
  std::optional<Message> receive(milliseconds /*wait*/) override {
    if (answers_.empty()) {
      return std::nullopt;
    }
    Message message = std::move(answers_.front());
    answers_.pop_front();
    return message;
  }

 private:
  std::function<store::BatchOutcome(const Batch&)> apply_;
  std::deque<Message> answers_;
};

class SilentLink final : public Link {
 public:
  bool send(const Message& /*message*/) override { return false; }
  std::optional<Message> receive(milliseconds /*wait*/) override { return std::nullopt; }
};

class DeadLettersTest : public CheckTest {
 protected:
  // Dead letters 1 and 2: negative amounts.
  void make_letters() {
    open_target();
    apply(batch_of("P1", 1,
                   {{std::string_view("Ace"), std::int64_t{-1}},
                    {std::string_view("Buddy"), std::int64_t{5}},
                    {Blob{std::string_view("\x00\xff", 2)}, std::int64_t{-7}}}));
  }

  check::Database database() {
    auto opened = dead_letters::open_target(options_.target);
    EXPECT_TRUE(opened) << opened.error().what;
    return std::move(*opened);
  }
  Letter letter(std::int64_t id) {
    auto found = dead_letters::find(database(), id);
    EXPECT_TRUE(found && found->has_value());
    return found && *found ? **found : Letter{};
  }
  std::vector<dead_letters::Outcome> send(const std::vector<Change>& changes) {
    TargetLink link([this](const Batch& batch) { return apply(batch); });
    auto outcomes = dead_letters::send(link, changes, {.timeout = milliseconds(10'000)});
    EXPECT_TRUE(outcomes) << outcomes.error().what;
    return outcomes.value_or(std::vector<dead_letters::Outcome>{});
  }
  static Setting setting(std::string_view text) {
    auto parsed = dead_letters::parse_setting(text);
    EXPECT_TRUE(parsed) << text;
    return parsed.value_or(Setting{});
  }
  std::int64_t count(const std::string& sql) {
    auto value = database().integer(sql);
    EXPECT_TRUE(value) << value.error().what;
    return value ? value->value_or(-1) : -1;
  }
};

TEST_F(DeadLettersTest, ListNamesEachWithItsReason) {
  make_letters();
  const auto letters = dead_letters::list(database(), "");
  ASSERT_TRUE(letters);
  ASSERT_EQ(letters->size(), 2);
  EXPECT_THAT(dead_letters::list_text(*letters),
              AllOf(HasSubstr("1  "), HasSubstr("nutrients  P1 1  CHECK constraint failed"),
                    HasSubstr("nutrients  P1 3  CHECK"), HasSubstr("2 dead letters\n")));
  const auto json = nlohmann::json::parse(dead_letters::list_json(*letters));
  EXPECT_EQ(json["dead_letters"][1]["sequence"], 3);
  EXPECT_EQ(json["dead_letters"][1]["table"], "nutrients");
}

TEST_F(DeadLettersTest, ListOfOneTableLeavesOutTheOthers) {
  make_letters();
  EXPECT_EQ(dead_letters::list(database(), "NUTRIENTS")->size(), 2);
  EXPECT_EQ(dead_letters::list(database(), "pets")->size(), 0);
}

TEST_F(DeadLettersTest, ShowDecodesEveryValue) {
  make_letters();
  EXPECT_THAT(dead_letters::show_text(letter(1)),
              AllOf(HasSubstr("producer     P1, epoch 1"), HasSubstr("name = 'Ace'"),
                    HasSubstr("amount = -1")));
  EXPECT_THAT(dead_letters::show_text(letter(2)), HasSubstr("name = x'00ff'"));
  const auto json = nlohmann::json::parse(dead_letters::show_json(letter(2)));
  EXPECT_EQ(json["columns"][1], "amount");
  EXPECT_EQ(json["values"][0]["blob"], "00ff");
  EXPECT_EQ(json["values"][1], -7);
}

TEST_F(DeadLettersTest, ShowOfAFrameThatCannotBeDecodedSaysSo) {
  open_target();
  Batch batch = batch_of("P1", 1, plain_rows(3));
  batch.rows_frame = Bytes(std::string("\x93garbage"));
  apply(batch);
  EXPECT_THAT(dead_letters::show_text(letter(1)),
              AllOf(HasSubstr("kind         frame"), HasSubstr("sequence     1 to 3"),
                    HasSubstr("holds 3 rows that cannot be decoded")));
  EXPECT_EQ(nlohmann::json::parse(dead_letters::show_json(letter(1)))["values"], nullptr);
}

TEST_F(DeadLettersTest, TextFromOutsideCannotSteerTheTerminal) {
  open_target();
  apply(batch_of("P1", 1, {{std::string_view("\x1b[31mred\n"), std::int64_t{-1}}}));
  EXPECT_THAT(dead_letters::show_text(letter(1)), Not(HasSubstr("\x1b")));
}

TEST_F(DeadLettersTest, CorrectedRowIsAppliedOnceAndTheCheckerAgrees) {
  make_letters();
  const Letter first = letter(1);
  const std::vector<Setting> settings{setting("amount=12")};
  const auto row = dead_letters::corrected(first, settings);
  ASSERT_TRUE(row);
  const auto outcomes = send({{first, *row}});
  ASSERT_EQ(outcomes.size(), 1);
  EXPECT_EQ(outcomes[0].refused, "");
  EXPECT_EQ(count("SELECT amount FROM nutrients WHERE name = 'Ace'"), 12);
  EXPECT_EQ(count("SELECT count(*) FROM turnstile_dead_letters"), 1);

  const auto again = send({{first, *row}});
  EXPECT_EQ(again[0].refused, "there is no such dead letter");
  EXPECT_EQ(count("SELECT count(*) FROM nutrients WHERE name = 'Ace'"), 1);
  target_.reset();
  options_.exclusive = true;
  const auto report = check();
  EXPECT_THAT(problems(report), ::testing::IsEmpty());
}

TEST_F(DeadLettersTest, UnchangedRowThatIsRefusedAgainSaysWhy) {
  make_letters();
  const Letter first = letter(1);
  const auto outcomes = send({{first, *dead_letters::corrected(first, {})}});
  EXPECT_THAT(outcomes[0].refused, HasSubstr("CHECK constraint failed"));
  EXPECT_EQ(count("SELECT max(id) FROM turnstile_dead_letters"), 3);
  EXPECT_EQ(count("SELECT count(*) FROM turnstile_dead_letters"), 2);
}

TEST_F(DeadLettersTest, DiscardTakesTheLetterAway) {
  make_letters();
  const auto outcomes = send({{letter(1), std::nullopt}, {letter(2), std::nullopt}});
  EXPECT_EQ(outcomes.size(), 2);
  EXPECT_EQ(count("SELECT count(*) FROM turnstile_dead_letters"), 0);
  EXPECT_EQ(count("SELECT count(*) FROM nutrients"), 1);
}

TEST_F(DeadLettersTest, EachOfManyRefusedRowsIsToldApart) {
  open_target();
  apply(batch_of("P1", 1, std::vector<Row>(250, Row{std::string_view("x"), std::int64_t{-1}})));
  std::vector<Letter> letters;
  for (std::int64_t id = 1; id <= 250; ++id) {
    letters.push_back(letter(id));
  }
  const std::vector<Setting> settings{setting("amount=1")};
  std::vector<Change> changes;
  for (const Letter& one : letters) {
    const bool correct = one.id % 50 == 0;
    changes.push_back(
        {one, *dead_letters::corrected(one, correct ? settings : std::vector<Setting>{})});
  }
  for (const auto& outcome : send(changes)) {
    EXPECT_EQ(outcome.refused.empty(), outcome.id % 50 == 0) << outcome.id;
  }
}

TEST_F(DeadLettersTest, NobodyThereIsUnreachable) {
  make_letters();
  SilentLink link;
  const auto outcomes =
      dead_letters::send(link, {{letter(1), std::nullopt}}, {.timeout = milliseconds(20)});
  ASSERT_FALSE(outcomes);
  EXPECT_EQ(outcomes.error().code, Errc::unreachable);
}

TEST_F(DeadLettersTest, SettingsHaveTheFormThatShowPrints) {
  EXPECT_TRUE(std::holds_alternative<Null>(setting("a=NULL").value));
  EXPECT_EQ(std::get<std::int64_t>(setting("a=-12").value), -12);
  EXPECT_EQ(std::get<double>(setting("a=1.5").value), 1.5);
  EXPECT_EQ(std::get<std::string>(setting("a=x=y").value), "x=y");
  EXPECT_EQ(std::get<std::string>(setting("a='12'").value), "12");
  EXPECT_EQ(std::get<std::string>(setting("a='NULL'").value), "NULL");
  EXPECT_EQ(std::get<std::string>(setting("a=").value), "");
  EXPECT_EQ(std::get<std::string>(setting("a=nan").value), "nan");
  const Setting blob = setting("a=x'00fF'");
  EXPECT_TRUE(blob.is_blob);
  EXPECT_EQ(std::get<std::string>(blob.value), std::string("\x00\xff", 2));
}

TEST_F(DeadLettersTest, SettingsThatAreNoneAreNamed) {
  for (const char* text : {"", "a", "=1", "a=x'0'", "a=x'zz'"}) {
    const auto parsed = dead_letters::parse_setting(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, Errc::bad_input);
  }
}

TEST_F(DeadLettersTest, CorrectingAColumnThatTheRowHasNotIsAnError) {
  make_letters();
  const std::vector<Setting> settings{setting("colour=red")};
  const auto row = dead_letters::corrected(letter(1), settings);
  ASSERT_FALSE(row);
  EXPECT_THAT(row.error().what, HasSubstr("no column colour"));
}

TEST_F(DeadLettersTest, AMissingValueCanBeGiven) {
  open_target();
  apply(batch_of("P1", 1, {{std::string_view("Ace")}}));
  const Letter short_row = letter(1);
  const std::vector<Setting> settings{setting("amount=3")};
  const auto outcomes = send({{short_row, *dead_letters::corrected(short_row, settings)}});
  EXPECT_EQ(outcomes[0].refused, "");
  EXPECT_EQ(count("SELECT amount FROM nutrients WHERE name = 'Ace'"), 3);
}

TEST_F(DeadLettersTest, WhatIsNoRowCannotBeSentAgain) {
  open_target();
  Batch batch = batch_of("P1", 1, plain_rows(3));
  batch.rows_frame = Bytes(std::string("\x93garbage"));
  apply(batch);
  const auto row = dead_letters::corrected(letter(1), {});
  ASSERT_FALSE(row);
  EXPECT_EQ(row.error().code, Errc::bad_input);
}

}  // namespace
}  // namespace turnstile
