#include "lab/rows.h"

#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "store/lab_tables.h"

namespace turnstile::lab {
namespace {

struct Nutrient {
  std::string_view name;
  std::string_view unit;
  int number;
  int rank;
};

// From USDA FoodData Central (public domain).
constexpr std::array kShortOnes{
    Nutrient{"Protein", "G", 203, 600},    Nutrient{"Ash", "G", 207, 1000},
    Nutrient{"Energy", "KCAL", 208, 300},  Nutrient{"Starch", "G", 209, 2200},
    Nutrient{"Water", "G", 255, 100},      Nutrient{"Caffeine", "MG", 262, 18300},
    Nutrient{"Iron, Fe", "MG", 303, 5400}, Nutrient{"Thiamin", "MG", 404, 6400},
    Nutrient{"Lactose", "G", 213, 1700},
};
constexpr std::array kLongOnes{
    Nutrient{"Carbohydrate, by difference", "G", 205, 1110},
    Nutrient{"Vitamin D (D2 + D3), International Units", "IU", 324, 8650},
    Nutrient{"Vitamin C, total ascorbic acid", "MG", 401, 6300},
    Nutrient{"Fatty acids, total polyunsaturated", "G", 646, 12900},
    Nutrient{"Fatty acids, total monounsaturated", "G", 645, 11400},
    Nutrient{"Fatty acids, total saturated", "G", 606, 9700},
    Nutrient{"Carotene, beta, total (all-E and all-Z)", "UG", 321, 7440},
};

std::string create_of(std::string_view table) {
  const auto* found = store::find_lab_table(table);
  return found == nullptr ? std::string() : std::string(found->create);
}

}  // namespace

TablePlan pets_table() {
  return {"pets", create_of("pets"), "name"};
}

TablePlan nutrients_table() {
  return {"nutrients", create_of("nutrients"), "id"};
}

TablePlan readings_table() {
  return {"readings",
          "CREATE TABLE IF NOT EXISTS readings(name TEXT, process TEXT, number INTEGER)", "name"};
}

CsvRows nutrient_rows(std::size_t rows, std::size_t first_id, bool short_first) {
  constexpr std::size_t kHours = 24;
  constexpr std::size_t kAlike = 16;
  CsvRows made{"id,name,unit_name,nutrient_nbr,rank,time\n", {}};
  for (std::size_t i = 0; i < rows; ++i) {
    // The first group is half as long, so that the streams take turns in the lead.
    const bool is_short = ((i + kAlike / 2) / kAlike % 2 == 0) == short_first;
    const Nutrient& nutrient = is_short ? kShortOnes.at((first_id + i) % kShortOnes.size())
                                        : kLongOnes.at((first_id + i) % kLongOnes.size());
    made.names.push_back(std::to_string(first_id + i));
    made.content += fmt::format("{},\"{}\",{},{},{},{}:45\n", made.names.back(), nutrient.name,
                                nutrient.unit, nutrient.number, nutrient.rank, i % kHours);
  }
  return made;
}

CsvRows reading_rows(const std::string& process, std::size_t rows) {
  CsvRows made{"name,process,number\n", {}};
  for (std::size_t i = 1; i <= rows; ++i) {
    made.names.push_back(fmt::format("{}-{}", process, i));
    made.content += fmt::format("{},{},{}\n", made.names.back(), process, i);
  }
  return made;
}

std::string nutrient_line(const std::vector<std::string>& row) {
  return fmt::format("[{}]", fmt::join(row, ", "));
}

}  // namespace turnstile::lab
