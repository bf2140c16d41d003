// What was not synced is lost, torn or out of order: nothing acknowledged is lost, nothing twice.
//
//   TURNSTILE_CUTS=10000 TURNSTILE_SEED=7 power_campaign    a long run
//   TURNSTILE_WORLD=12 TURNSTILE_SEED=7 power_campaign      one world of it again
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include "tests/campaigns/power_campaign.h"
#include "tests/support/sanitized.h"

namespace turnstile::test::power {
namespace {

constexpr int kShortRun = kSanitized ? 100 : 300;
constexpr int kLongRun = 5000;
constexpr int kCutsAWorld = 8;
constexpr int kPlantsAreFoundWithin = 200;

std::optional<std::uint64_t> from_environment(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? std::nullopt
                         : std::optional<std::uint64_t>(std::strtoull(text, nullptr, 10));
}

std::uint64_t campaign_seed() {
  static const std::uint64_t kSeed =
      from_environment("TURNSTILE_SEED").value_or(std::random_device{}());
  return kSeed;
}

std::string story(const WorldOptions& options, const WorldReport& report) {
  std::string out = "again with TURNSTILE_SEED=" + std::to_string(options.seed) +
                    " TURNSTILE_WORLD=" + std::to_string(options.number) + ", after " +
                    std::to_string(report.cuts) + " cuts:";
  for (const auto& problem : report.problems) {
    out += "\n  " + problem;
  }
  return out;
}

class PowerCampaign : public ::testing::Test {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    RecordProperty("seed", std::to_string(campaign_seed()));
  }
};

std::vector<std::string> all_points() {
  std::vector<std::string> points = creation_points();
  for (const auto& more : {recovery_points(), working_points()}) {
    points.insert(points.end(), more.begin(), more.end());
  }
  return points;
}

// Places for a cut that none has fallen on yet.
std::vector<std::string> missed(Coverage& coverage) {
  std::vector<std::string> points = all_points();
  points.erase(std::remove_if(points.begin(), points.end(),
                              [&](const auto& point) { return coverage.cut[point] > 0; }),
               points.end());
  return points;
}

void expect_every_sync_is_aimed_at(const Coverage& coverage) {
  const auto points = all_points();
  for (const auto& [point, times] : coverage.passed) {
    EXPECT_TRUE(std::find(points.begin(), points.end(), point) != points.end())
        << "a sync that nobody aims at: " << point;
  }
}

TEST_F(PowerCampaign, NothingAcknowledgedIsLostAndNothingComesTwice) {
  Coverage coverage;
  WorldOptions options{.seed = campaign_seed(), .cuts = kCutsAWorld};
  if (const auto world = from_environment("TURNSTILE_WORLD")) {
    options.number = *world;
    const auto report = run_world(options, coverage);
    EXPECT_TRUE(report.problems.empty()) << story(options, report);
    return;
  }
  const auto cuts = static_cast<int>(from_environment("TURNSTILE_CUTS").value_or(kShortRun));
  const auto began = std::chrono::steady_clock::now();
  // A short run may miss some of the rare ones; how many it takes for the others is chance as well.
  const std::size_t may_miss = cuts >= kLongRun ? 0 : all_points().size() / 3;
  int done = 0;
  for (; done < cuts || (missed(coverage).size() > may_miss && done < 3 * cuts); ++options.number) {
    const auto report = run_world(options, coverage);
    done += report.cuts;
    ASSERT_TRUE(report.problems.empty()) << story(options, report);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  std::cout << coverage.table() << done << " cuts in " << options.number << " worlds, seed "
            << options.seed << ", " << static_cast<int>(done / took.count()) << " a second\n";
  EXPECT_LE(missed(coverage).size(), may_miss) << "such as " << missed(coverage).front();
  expect_every_sync_is_aimed_at(coverage);
}

TEST_F(PowerCampaign, AWorldIsTheSameEachTime) {
  Coverage coverage;
  const WorldOptions options{.seed = campaign_seed(), .number = 3, .cuts = kCutsAWorld};
  const auto once = run_world(options, coverage);
  const auto again = run_world(options, coverage);
  EXPECT_EQ(once.trace, again.trace) << "seed " << options.seed;
  EXPECT_EQ(once.cuts, again.cuts);
  EXPECT_EQ(once.problems, again.problems);
}

struct Planted {
  const char* name;
  Plant plant;
};

class PowerPlants : public PowerCampaign, public ::testing::WithParamInterface<Planted> {};

// The campaign is worth something only if it finds what a broken product would do.
TEST_P(PowerPlants, AreFound) {
  Coverage coverage;
  WorldOptions options{.seed = campaign_seed(), .cuts = kCutsAWorld, .plant = GetParam().plant};
  int cuts = 0;
  std::string found;
  for (; cuts < kPlantsAreFoundWithin && found.empty(); ++options.number) {
    options.cuts = std::min(kCutsAWorld, kPlantsAreFoundWithin - cuts);
    const auto report = run_world(options, coverage);
    cuts += report.cuts;
    if (!report.problems.empty()) {
      found = report.problems.front();
    }
  }
  EXPECT_FALSE(found.empty()) << "seed " << options.seed;
  std::cout << GetParam().name << ", seed " << options.seed << ": found with cut " << cuts << ": "
            << found << '\n';
}

INSTANTIATE_TEST_SUITE_P(
    Planted, PowerPlants,
    ::testing::Values(Planted{"JournalDoesNotSync", Plant::journal_does_not_sync},
                      Planted{"TargetDoesNotSync", Plant::target_does_not_sync},
                      Planted{"TextLogDoesNotSync", Plant::text_log_does_not_sync},
                      Planted{"StoredBeforeCommit", Plant::stored_before_commit},
                      Planted{"AppliedBeforeCommit", Plant::applied_before_commit},
                      Planted{"RecordAfterCommit", Plant::record_after_commit}),
    [](const auto& planted) { return std::string(planted.param.name); });

}  // namespace
}  // namespace turnstile::test::power
