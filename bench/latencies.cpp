#include "bench/latencies.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "bench/process.h"

namespace turnstile::bench {

Latencies::Latencies(std::span<const double> seconds) : sorted_(seconds.begin(), seconds.end()) {
  if (sorted_.empty()) {
    throw Failure("no row was measured");
  }
  std::sort(sorted_.begin(), sorted_.end());
}

double Latencies::quantile(double share) const {
  const auto rank =
      static_cast<std::size_t>(std::ceil(share * static_cast<double>(sorted_.size())));
  return sorted_[std::clamp<std::size_t>(rank, 1, sorted_.size()) - 1];
}

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
  return {median, values.front(), values.back()};
}

}  // namespace turnstile::bench
