// One run of the whole system in which one call of the disk, or some in succession, fail; then the
// cause is gone, and everything must come right by itself.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/power_disk.h"

namespace turnstile::test::power {

enum class Part { journal, target, text_log };

struct Fault {
  Part part = Part::journal;
  PowerDisk::Operation operation = PowerDisk::Operation::write;
  int error = 0;
  bool arrives_half = false;  // a write: some of it arrives all the same
  std::uint64_t nth = 1;      // the first call that fails
  std::uint64_t times = 1;    // it and those behind it

  [[nodiscard]] std::string name() const;
};

struct FaultReport {
  std::uint64_t calls = 0;   // of that part and operation
  std::uint64_t failed = 0;  // 0: the fault was not reached
  std::vector<std::string> problems;
};

// With `then_cut` the power fails when the cause is gone and the system has gone on for a while:
// what a failed sync did not write is lost.
FaultReport run_with_fault(std::uint64_t seed, const Fault& fault, bool then_cut);

// Without faults of the disk; `fail` begins whatever shall fail, and `stop` ends it.
std::vector<std::string> run_while(std::uint64_t seed, const std::function<void()>& fail,
                                   const std::function<void()>& stop);

}  // namespace turnstile::test::power
