// Everybody is killed and paused at random moments under load; every row arrives once, in order.
// TURNSTILE_KILLS=2000 says how many are killed; unless set, few. TURNSTILE_SEED=N draws the same
// victims and moments again (the machine's own timing is not in it).
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/campaigns/kill_system.h"

namespace turnstile::campaign {
namespace {

constexpr int kKillsUnlessGiven = kSanitized ? 10 : 40;
constexpr int kKillsOnOneTarget = 20;

int kills_wanted() {
  const char* given = std::getenv("TURNSTILE_KILLS");
  return given != nullptr ? std::stoi(given) : kKillsUnlessGiven;
}

std::string table_of(const KillFigures& f) {
  std::string text = fmt::format("{:<14} {:>6} {:>6}\n", "", "killed", "paused");
  for (std::size_t i = 0; i < kRoles; ++i) {
    text += fmt::format("{:<14} {:>6} {:>6}\n", kRoleNames.at(i), f.kills.at(i), f.pauses.at(i));
  }
  text += fmt::format(
      "consumers paused beyond their lease {}, of which found a successor and stopped {}\n"
      "takeovers of the target {}, times without any consumer {}\n"
      "producers that found a newer process of their name and stopped {}\n"
      "streams sent to their end {}\n"
      "rows acknowledged {}, present {}, lost {}, twice {}\n",
      f.pauses_beyond_lease, f.consumers_fenced, f.takeovers, f.times_without_consumer,
      f.producers_fenced, f.streams, f.rows_acknowledged, f.rows_present, f.lost, f.twice);
  const double kills = std::max(f.all_kills(), 1);
  text += fmt::format("{} kills, {:.2f} s a kill under load, {:.2f} s with drain and checks\n",
                      f.all_kills(), static_cast<double>(f.under_kills.count()) / kills / 1000,
                      static_cast<double>(f.in_all.count()) / kills / 1000);
  return text;
}

TEST(KillCampaign, EverybodyKilledAndPausedUnderLoadEveryRowArrivesOnceInOrder) {
  const std::uint64_t seed = e2e::test_seed();
  std::mt19937_64 seeds(seed);
  const int wanted = kills_wanted();
  KillFigures all;
  for (int round = 1; all.all_kills() < wanted && !HasFailure(); ++round) {
    const auto begun = std::chrono::steady_clock::now();
    KillSystem system(seeds());
    system.run(std::min(kKillsOnOneTarget, wanted - all.all_kills()));
    if (!HasFailure()) {
      system.drain();
    }
    if (!HasFailure()) {
      system.verify();
    }
    KillFigures figures = system.figures();
    figures.in_all =
        std::chrono::round<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begun);
    all.add(figures);
    if (HasFailure()) {
      std::cout << "round " << round << "\n" << system.logs();
    }
  }
  std::cout << table_of(all);
  EXPECT_EQ(all.lost, 0U);
  EXPECT_EQ(all.twice, 0U);
  EXPECT_GE(all.all_kills(), wanted);
  EXPECT_GT(all.rows_present, 0U);
}

}  // namespace
}  // namespace turnstile::campaign
