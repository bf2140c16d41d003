#pragma once

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>

namespace turnstile::test {

// Printed, and taken from TURNSTILE_SEED to run a failure again.
inline std::uint64_t test_seed() {
  const char* given = std::getenv("TURNSTILE_SEED");
  const std::uint64_t seed = given != nullptr ? std::stoull(given) : std::random_device{}();
  std::cout << "seed " << seed << " (TURNSTILE_SEED=" << seed << " runs it again)\n";
  return seed;
}

}  // namespace turnstile::test
