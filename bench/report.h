// The figures as a table, as JSON, and as a picture.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "bench/claims.h"

namespace turnstile::bench {

// The conditions of the measurement.
struct Circumstances {
  std::string machine;   // one line
  std::string versions;  // one line
  std::string work;      // rows, rounds
};

// Three significant digits: "1.82 M", "273", "0.94".
std::string short_number(double value);

// ">= 2.2", "<= 15 ms"
std::string target_text(const Claim& claim);

std::string as_table(const std::vector<Figure>& figures, const Circumstances& with);
nlohmann::json as_json(const std::vector<Figure>& figures);
// SVG: how many times as fast as the other side, and the share of each limit that is used.
std::string as_picture(const std::vector<Figure>& figures, const Circumstances& with);

}  // namespace turnstile::bench
