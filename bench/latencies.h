// The time that each of many rows took, and quantiles of it.
#pragma once

#include <span>
#include <vector>

namespace turnstile::bench {

class Latencies {
 public:
  explicit Latencies(std::span<const double> seconds);

  // Nearest rank: the smallest value that at least this share (0 to 1) of values do not exceed.
  // Seconds.
  [[nodiscard]] double quantile(double share) const;
  [[nodiscard]] double median() const { return quantile(0.5); }
  [[nodiscard]] double worst() const { return sorted_.back(); }

 private:
  std::vector<double> sorted_;
};

// Median, least and greatest value of the rounds.
struct Spread {
  double median = 0;
  double min = 0;
  double max = 0;
};
Spread spread_of(std::vector<double> values);

}  // namespace turnstile::bench
