// How long each of many rows took, and what one wants to know of that.
#pragma once

#include <span>
#include <vector>

namespace turnstile::bench {

class Latencies {
 public:
  explicit Latencies(std::span<const double> seconds);

  // Nearest rank: the smallest that at least this share (0 to 1) of all do not exceed. Seconds.
  [[nodiscard]] double quantile(double share) const;
  [[nodiscard]] double median() const { return quantile(0.5); }
  [[nodiscard]] double worst() const { return sorted_.back(); }

 private:
  std::vector<double> sorted_;
};

// Median, least and greatest of the rounds.
struct Spread {
  double median = 0;
  double min = 0;
  double max = 0;
};
Spread spread_of(std::vector<double> values);

}  // namespace turnstile::bench
