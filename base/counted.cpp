#include "base/counted.h"

#include <cmath>

namespace turnstile {

std::string noun_for(std::uint64_t count, std::string_view noun, std::string_view plural) {
  if (count == 1) {
    return std::string(noun);
  }
  return plural.empty() ? std::string(noun) + "s" : std::string(plural);
}

std::string counted(std::uint64_t count, std::string_view noun, std::string_view plural) {
  return std::to_string(count) + " " + noun_for(count, noun, plural);
}

std::string_view is_or_are(std::uint64_t count) {
  return count == 1 ? "is" : "are";
}

std::string_view was_or_were(std::uint64_t count) {
  return count == 1 ? "was" : "were";
}

std::string rows_per_second_text(double rate) {
  const double rounded = std::isfinite(rate) && rate > 0 ? std::round(rate) : 0;
  return counted(static_cast<std::uint64_t>(rounded), "row") + "/s";
}

}  // namespace turnstile
