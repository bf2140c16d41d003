#include "lab/picture.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lab/found.h"
#include "lab/recording.h"
#include "tests/lab/events.h"

namespace turnstile::lab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

// A recording of `turnstile lab run slow --events tests/lab/slow.ndjson`.
std::vector<Outcome> slow_outcomes() {
  std::vector<Outcome> outcomes;
  auto recordings = read_recordings(TURNSTILE_SOURCE_DIR "/tests/lab/slow.ndjson");
  if (recordings) {
    for (Recording& recording : *recordings) {
      outcomes.push_back(evaluate(std::move(recording)));
    }
  }
  return outcomes;
}

// To update: turnstile lab replay tests/lab/slow.ndjson --svg docs/lanes.svg
TEST(Picture, InTheDocsIsCurrent) {
  const auto outcomes = slow_outcomes();
  ASSERT_THAT(outcomes, SizeIs(2));
  const std::string svg = picture_svg(outcomes);
  EXPECT_TRUE(svg == read_file(TURNSTILE_SOURCE_DIR "/docs/lanes.svg"))
      << "update it: turnstile lab replay tests/lab/slow.ndjson --svg docs/lanes.svg";
  EXPECT_LT(svg.size(), 40'000U);
}

TEST(Picture, NamesLossesAndSumsUpEachMode) {
  const std::string svg = picture_svg(slow_outcomes());
  EXPECT_THAT(svg, AllOf(HasSubstr("Direct"), HasSubstr("Through the queue"),
                         HasSubstr("lost: database is locked</text>"),
                         HasSubstr("2 rows lost</tspan>, 4 of 6 committed"),
                         HasSubstr("6 of 6 committed; no process waited for the lock")));
}

TEST(Picture, RowNamesAreEscaped) {
  Recording recording;
  const std::string name = "<script>&</script>";
  recording.run = run_of(Mode::direct, {{"P1", {name}}});
  recording.events = Events("P1").trying(0, 1, name).refused(5000, 1, "<b>no</b>").all();
  std::vector<Outcome> outcomes;
  outcomes.push_back(evaluate(std::move(recording)));
  EXPECT_THAT(picture_svg(outcomes),
              AllOf(Not(HasSubstr("<script")), Not(HasSubstr("<b>")),
                    HasSubstr("&lt;script&gt;&amp;&lt;/script&gt; lost: &lt;b&gt;no")));
}

TEST(Picture, KilledProcessAndRunWithoutEventsAreDrawn) {
  Recording killed;
  killed.run = run_of(Mode::direct, {{"P1", {"Ace"}}});
  killed.events = Events("P1").trying(0, 1, "Ace").lock(1, 1).crashed(300, 9).all();
  Recording empty;
  empty.run = run_of(Mode::queued, {{"P1", {"Ace"}}});
  std::vector<Outcome> outcomes;
  outcomes.push_back(evaluate(std::move(killed)));
  outcomes.push_back(evaluate(std::move(empty)));
  EXPECT_THAT(picture_svg(outcomes),
              AllOf(HasSubstr("href=\"#crashed\""), HasSubstr("process killed</text>")));
}

}  // namespace
}  // namespace turnstile::lab
