// Chance, and nothing but chance, decides in a simulation: all of it comes from one seed.
#pragma once

#include <chrono>
#include <cstdint>

namespace turnstile::simulation {

using TimePoint = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;
using std::chrono::microseconds;
using std::chrono::milliseconds;

inline constexpr TimePoint kNever = TimePoint::max();

// Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (SplitMix64).
inline std::uint64_t mixed(std::uint64_t value) {
  value += 0x9E3779B97F4A7C15U;
  value = (value ^ (value >> 30U)) * 0xBF58476D1CE4E5B9U;
  value = (value ^ (value >> 27U)) * 0x94D049BB133111EBU;
  return value ^ (value >> 31U);
}

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(mixed(seed)) {}

  std::uint64_t roll() { return mixed(state_ += 0x9E3779B97F4A7C15U); }
  std::uint64_t below(std::uint64_t n) { return roll() % n; }
  std::uint64_t between(std::uint64_t from, std::uint64_t to) {
    return from + below(to - from + 1);
  }
  bool percent(std::uint64_t chance) { return below(100) < chance; }
  bool per_mille(std::uint64_t chance) { return chance > 0 && below(1000) < chance; }
  microseconds between(microseconds from, microseconds to) {
    return microseconds(
        between(static_cast<std::uint64_t>(from.count()), static_cast<std::uint64_t>(to.count())));
  }
  template <typename T, std::size_t N>
  const T& of(const T (&choices)[N]) {
    return choices[below(N)];
  }

 private:
  std::uint64_t state_;
};

}  // namespace turnstile::simulation
