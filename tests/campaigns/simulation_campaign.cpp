// Window, resend, lease, journal and consumer, simulated: each seed is one run with its own
// processes, links, disks and misfortunes.
//   TURNSTILE_SEED=N     this seed only; or the first, with TURNSTILE_SEEDS
//   TURNSTILE_SEEDS=N    so many seeds, of each kind of wire
//   TURNSTILE_TRACE=1    what happened last in a run that failed
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include "tests/campaigns/simulation_world.h"
#include "tests/support/sanitized.h"

namespace turnstile::simulation {
namespace {

// Quick enough for every build; a run that looks for what is rare is asked for a million.
constexpr std::uint64_t kShortRun = kSanitized ? 1'000 : 30'000;

std::optional<std::uint64_t> number_from(const char* variable) {
  const char* const text = std::getenv(variable);
  return text != nullptr ? std::optional(std::strtoull(text, nullptr, 10)) : std::nullopt;
}

struct Range {
  std::uint64_t first = 0;
  std::uint64_t seeds = 0;
};

Range chosen_range() {
  const auto first = number_from("TURNSTILE_SEED");
  const auto seeds = number_from("TURNSTILE_SEEDS");
  return {first.value_or(std::random_device{}()), seeds.value_or(first ? 1 : kShortRun)};
}

struct Sum {
  std::uint64_t seeds = 0;
  std::uint64_t steps = 0;
  std::uint64_t rows = 0;
  std::uint64_t troubles = 0;
  std::optional<std::uint64_t> failed;  // the least seed that did, of those that ran
  std::string violation;
};

// On all cores; ends early at the first seed that fails.
Sum simulate_all(const Range& range, const Plan& kind) {
  spdlog::set_level(spdlog::level::off);
  std::atomic<std::uint64_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  Sum sum;
  const auto work = [&] {
    while (!stop) {
      const std::uint64_t index = next++;
      if (index >= range.seeds) {
        return;
      }
      Plan plan = kind;
      plan.seed = range.first + index;
      const auto verdict = simulate(plan);
      const std::lock_guard lock(mutex);
      ++sum.seeds;
      sum.steps += verdict.steps;
      sum.rows += verdict.rows;
      sum.troubles += verdict.troubles;
      if (!verdict.violation.empty()) {
        stop = true;
        if (!sum.failed || plan.seed < *sum.failed) {
          sum.failed = plan.seed;
          sum.violation = verdict.violation;
        }
      }
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < std::max(1U, std::thread::hardware_concurrency()); ++i) {
    threads.emplace_back(work);
  }
  for (auto& thread : threads) {
    thread.join();
  }
  return sum;
}

void print_trace(Plan plan, std::uint64_t seed) {
  if (std::getenv("TURNSTILE_TRACE") == nullptr) {
    return;
  }
  plan.seed = seed;
  plan.traced = true;
  for (const auto& line : simulate(plan).trace) {
    std::cerr << line << '\n';
  }
}

void expect_all_hold(const Plan& kind) {
  const auto begun = std::chrono::steady_clock::now();
  const Sum sum = simulate_all(chosen_range(), kind);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  if (sum.failed) {
    print_trace(kind, *sum.failed);
    FAIL() << sum.violation << "\nseed " << *sum.failed << ": TURNSTILE_SEED=" << *sum.failed
           << " TURNSTILE_TRACE=1 replays it";
  }
  EXPECT_GT(sum.rows, 0U);
  std::cout << sum.seeds << " seeds, " << sum.steps << " steps, " << sum.rows << " rows, "
            << sum.troubles << " troubles, "
            << static_cast<std::uint64_t>(static_cast<double>(sum.seeds) / took.count())
            << " seeds/s\n";
}

TEST(SimulationCampaign, EachRowArrivesOnceAndInOrderOverLinksThatBreak) {
  expect_all_hold({});
}

TEST(SimulationCampaign, EachRowArrivesOnceAndInOrderOverALinkThatDropsDoublesAndReorders) {
  Plan harsh;
  harsh.is_harsh = true;
  expect_all_hold(harsh);
}

TEST(SimulationCampaign, ASeedReplaysStepByStep) {
  spdlog::set_level(spdlog::level::off);
  Plan plan;
  plan.traced = true;
  for (plan.seed = 1; plan.seed < 20; ++plan.seed) {
    EXPECT_EQ(simulate(plan).trace, simulate(plan).trace) << "seed " << plan.seed;
  }
}

// ---- a simulation that finds nothing proves nothing: it must find these

struct PlantedBug {
  const char* name;
  Planted planted;
  std::uint64_t within_seeds;  // at least 30 times as many as it takes on average
  const char* violation;       // how the report begins
};

class SimulationFinds : public testing::TestWithParam<PlantedBug> {};

TEST_P(SimulationFinds, ThePlantedBug) {
  Plan kind;
  kind.planted = GetParam().planted;
  const Range range{number_from("TURNSTILE_SEED").value_or(std::random_device{}()),
                    GetParam().within_seeds};
  const Sum sum = simulate_all(range, kind);
  ASSERT_TRUE(sum.failed) << "not found from seed " << range.first << " on";
  EXPECT_EQ(sum.violation.rfind(GetParam().violation, 0), 0U)
      << sum.violation << " at seed " << *sum.failed;
  std::cout << "seed " << range.first << " + " << *sum.failed - range.first << ": " << sum.violation
            << '\n';
}

INSTANTIATE_TEST_SUITE_P(
    Bugs, SimulationFinds,
    testing::Values(
        PlantedBug{"BrokerAnswersEarly", Planted::broker_answers_early, 20, "promise 1"},
        PlantedBug{"JournalSyncsLate", Planted::journal_syncs_late, 50, ""},
        PlantedBug{"TargetSyncsLate", Planted::target_syncs_late, 50, ""},
        PlantedBug{"TargetForgetsProgress", Planted::target_forgets_progress, 50, ""},
        PlantedBug{"KnownRowsAgain", Planted::known_rows_again, 20'000, "promise 2"},
        PlantedBug{"PartlyKnownSkipped", Planted::partly_known_skipped, 20'000, "promise 1"},
        PlantedBug{"TwoLeases", Planted::two_leases, 50, "promise 4"},
        PlantedBug{"NoFence", Planted::no_fence, 60'000, "promise 4"},
        PlantedBug{"LostResend", Planted::lost_resend, 5000, ""}),
    [](const auto& tested) { return std::string(tested.param.name); });

}  // namespace
}  // namespace turnstile::simulation
