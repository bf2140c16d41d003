// The figures for people, for programs, and as a picture.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "bench/claims.h"

namespace turnstile::bench {

// What a figure is worth only with.
struct Circumstances {
  std::string machine;   // one line
  std::string versions;  // one line
  std::string work;      // rows, rounds
};

// "1.82 M", "273", "0.94": three digits that count.
std::string short_number(double value);

// ">= 2.2", "<= 15 ms"
std::string target_text(const Claim& claim);

std::string as_table(const std::vector<Figure>& figures, const Circumstances& with);
nlohmann::json as_json(const std::vector<Figure>& figures);
// SVG: how many times as fast as what it is compared with, and how much of a limit is used.
std::string as_picture(const std::vector<Figure>& figures, const Circumstances& with);

}  // namespace turnstile::bench
