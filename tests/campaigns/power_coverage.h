// Where power cuts fell: every kind of sync of the whole cycle by name, and how often it was hit.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/campaigns/power_system.h"
#include "tests/support/power_disk.h"

namespace turnstile::test::power {

// A kind of sync, as "journal, running: log, commit"; empty when the call is none.
std::string sync_point(const PowerDisk::Call& call, const SimulatedSystem& system,
                       const Paths& paths, const PowerDisk& disk);

// "journal: write"
std::string change_point(const PowerDisk::Call& call, const Paths& paths);

// All kinds of syncs that the system has: those that make its files, those of another program that
// finds the target half made, and the others.
const std::vector<std::string>& creation_points();
const std::vector<std::string>& recovery_points();
const std::vector<std::string>& working_points();

struct Coverage {
  std::map<std::string, std::uint64_t> passed;
  std::map<std::string, std::uint64_t> cut;
  std::map<std::string, std::uint64_t> cut_elsewhere;  // in a write, a removal, ..., or at rest

  [[nodiscard]] std::string table() const;
};

}  // namespace turnstile::test::power
