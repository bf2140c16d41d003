// The rows that scenarios write, and the tables that take them. Pure; the same rows every time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace turnstile::lab {

struct TablePlan {
  std::string name;
  std::string create;       // SQL
  std::string name_column;  // whose value is the row's name
};

TablePlan pets_table();
TablePlan nutrients_table();
TablePlan readings_table();

// A CSV file, and the names of its rows.
struct CsvRows {
  std::string content;
  std::vector<std::string> names;
};

// Ids from `first_id` on. A few short rows, then some long ones, and so on; or the other way round.
// Two streams that write the same file side by side, one of each, so pass each other again and
// again: where they do, one's line ends within the other's.
CsvRows nutrient_rows(std::size_t rows, std::size_t first_id, bool short_first = true);
// P1-1, P1-2, ...
CsvRows reading_rows(const std::string& process, std::size_t rows);

// A nutrient as the text log has it: `[1003, Protein, G, 203, 600, 10:45]`.
std::string nutrient_line(const std::vector<std::string>& row);

}  // namespace turnstile::lab
