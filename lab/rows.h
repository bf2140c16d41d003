// The rows that scenarios write, and their tables. Pure; the same rows every time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace turnstile::lab {

struct TablePlan {
  std::string name;
  std::string create;       // SQL
  std::string name_column;  // holds the row's name
};

TablePlan pets_table();
TablePlan nutrients_table();
TablePlan readings_table();

// A CSV file, and the names of its rows.
struct CsvRows {
  std::string content;
  std::vector<std::string> names;
};

// Rows with ids from `first_id`: alternately some short rows and some long ones. Two streams
// write one file, and one starts with short rows: they keep overtaking each other, and where they
// do, the line of one ends inside a line of the other.
CsvRows nutrient_rows(std::size_t rows, std::size_t first_id, bool short_first = true);
// P1-1, P1-2, ...
CsvRows reading_rows(const std::string& process, std::size_t rows);

// A nutrient as a line of the text log: `[1003, Protein, G, 203, 600, 10:45]`.
std::string nutrient_line(const std::vector<std::string>& row);

}  // namespace turnstile::lab
