// The disk fails at every n-th call: nothing acknowledged is lost, nothing crashes, and when the
// cause is gone everything goes on by itself.
//
//   TURNSTILE_SEED=7 TURNSTILE_ROUNDS=20 fault_campaign    more systems of other shapes, all calls
//                                                          in all ways
#include <cerrno>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include "tests/campaigns/fault_memory.h"
#include "tests/campaigns/fault_run.h"
#include "tests/support/sanitized.h"

namespace turnstile::test::power {
namespace {

using Operation = PowerDisk::Operation;

constexpr std::uint64_t kLasting = 12;  // calls
constexpr std::uint64_t kMostProblems = 5;
constexpr std::uint64_t kAllocationsTried = 300;

std::uint64_t number_from(const char* name, std::uint64_t unless_given) {
  const char* text = std::getenv(name);
  return text == nullptr ? unless_given : std::strtoull(text, nullptr, 10);
}

std::uint64_t fault_seed() {
  static const std::uint64_t kSeed = number_from("TURNSTILE_SEED", std::random_device{}());
  return kSeed;
}

struct Kind {
  const char* name;
  Operation operation;
  int error;
  bool arrives_half = false;
  bool then_cut = false;
  // Three ways in which a write fails. In a short run each write fails in one of them, and which
  // one is the seed's choice.
  std::uint64_t third = 0;
};

constexpr Kind kKinds[] = {
    {"NoSpace", Operation::write, ENOSPC, false, false, 1},
    {"ShortWrite", Operation::write, ENOSPC, true, false, 2},
    {"WriteError", Operation::write, EIO, true, false, 3},
    {"ReadError", Operation::read, EIO},
    {"CutError", Operation::truncate, EIO},
    {"SyncError", Operation::sync, EIO, false, true},
    {"NoSpaceToSync", Operation::sync, ENOSPC, false, true},
    {"FolderSyncError", Operation::sync_folder, EIO, false, true},
    {"NoDescriptor", Operation::open, EMFILE},
    {"NoDescriptorForMemory", Operation::map_memory, EMFILE},
    {"NoSpaceForMemory", Operation::map_memory, ENOSPC},
    {"RemoveError", Operation::remove, EIO},
};

class FaultCampaign : public ::testing::Test {
 protected:
  void SetUp() override { spdlog::set_level(spdlog::level::off); }
};

class DiskFaults : public FaultCampaign, public ::testing::WithParamInterface<Kind> {};

// n = 1, 2, 3, ... until nothing fails any more.
TEST_P(DiskFaults, AtEveryCallNothingIsLostAndAllArrivesAfterwards) {
  const Kind& kind = GetParam();
  const std::uint64_t rounds = number_from("TURNSTILE_ROUNDS", 1);
  const bool is_short =
      (kind.third > 0 || kSanitized) && std::getenv("TURNSTILE_ROUNDS") == nullptr;
  const std::uint64_t step = !is_short ? 1 : kSanitized ? 18 : 3;
  std::uint64_t runs = 0;
  std::uint64_t problems = 0;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const std::uint64_t seed = fault_seed() + round;
    for (const Part part : {Part::journal, Part::target, Part::text_log}) {
      for (const std::uint64_t times : {std::uint64_t{1}, kLasting}) {
        const std::uint64_t first = is_short ? 1 + (seed + kind.third) % step : 1;
        Fault fault{part, kind.operation, kind.error, kind.arrives_half, first, times};
        for (bool reached = true; reached && problems < kMostProblems;
             fault.nth += step * (times == 1 ? 1 : 5)) {
          const auto report = run_with_fault(seed, fault, kind.then_cut);
          reached = report.failed > 0;
          ++runs;
          for (const auto& problem : report.problems) {
            ADD_FAILURE() << "seed " << seed << ", " << fault.name() << ": " << problem;
          }
          problems += report.problems.empty() ? 0 : 1;
        }
      }
    }
  }
  std::cout << kind.name << ": " << runs << " runs, seed " << fault_seed() << '\n';
}

INSTANTIATE_TEST_SUITE_P(Each, DiskFaults, ::testing::ValuesIn(kKinds),
                         [](const auto& kind) { return std::string(kind.param.name); });

TEST_F(FaultCampaign, WithoutMemoryForSqliteNothingIsLostAndAllArrivesAfterwards) {
  const std::uint64_t seed = fault_seed();
  MemoryFault& memory = MemoryFault::of_sqlite();
  const std::uint64_t before = memory.allocations();
  ASSERT_TRUE(run_while(
                  seed, [] {}, [] {})
                  .empty());
  const std::uint64_t all = memory.allocations() - before;
  std::mt19937_64 random(seed);
  const std::uint64_t tries =
      number_from("TURNSTILE_ROUNDS", 1) * kAllocationsTried / (kSanitized ? 4 : 1);
  for (std::uint64_t i = 0; i < tries && !HasFailure(); ++i) {
    const std::uint64_t nth = std::uniform_int_distribution<std::uint64_t>(1, all)(random);
    const std::uint64_t times = i % 2 == 0 ? 1 : 20;
    const auto problems = run_while(
        seed, [&] { memory.fail(nth, times); }, [&] { memory.fail_no_more(); });
    for (const auto& problem : problems) {
      ADD_FAILURE() << "seed " << seed << ", allocation " << nth << " (" << times
                    << " times): " << problem;
    }
  }
  std::cout << tries << " of " << all << " allocations failed, seed " << seed << '\n';
}

}  // namespace
}  // namespace turnstile::test::power

int main(int argc, char** argv) {
  // Before SQLite is used for the first time.
  turnstile::test::power::MemoryFault::of_sqlite();
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
