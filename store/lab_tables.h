// The tables that the lab's jobs write. A target gets one when it is first named, so that people
// who only write tables of their own never see them.
#pragma once

#include <array>
#include <string_view>

namespace turnstile::store {

struct LabTable {
  std::string_view name;
  std::string_view create;
};

inline constexpr std::array kLabTables{
    LabTable{"pets",
             "CREATE TABLE IF NOT EXISTS pets(id INTEGER PRIMARY KEY, name TEXT, breed TEXT)"},
    LabTable{"nutrients",
             "CREATE TABLE IF NOT EXISTS nutrients(id INTEGER, name TEXT, unit_name TEXT, "
             "nutrient_nbr TEXT, rank INTEGER, time TEXT)"},
};

// Nullptr when `table` is none of them.
inline const LabTable* find_lab_table(std::string_view table) {
  for (const auto& lab : kLabTables) {
    if (lab.name == table) {
      return &lab;
    }
  }
  return nullptr;
}

}  // namespace turnstile::store
