// One world of the power campaign: a disk that begins empty and goes through some cuts, each at a
// place of the seed's choice, with the whole system at work before, between and behind them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/campaigns/power_coverage.h"
#include "tests/campaigns/power_system.h"

namespace turnstile::test::power {

struct WorldOptions {
  std::uint64_t seed = 1;  // of the campaign
  std::uint64_t number = 0;
  int cuts = 8;
  Plant plant = Plant::none;
};

struct WorldReport {
  int cuts = 0;
  std::vector<std::string> problems;  // empty: all promises held
  std::uint64_t trace = 0;            // of what was done to the disk: the same in each replay
};

WorldReport run_world(const WorldOptions& options, Coverage& coverage);

}  // namespace turnstile::test::power
