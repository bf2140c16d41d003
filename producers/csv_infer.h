// Guesses the column types of a table from all values of a CSV.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace turnstile::csv {

enum class ColumnType { integer, real, text };

// As SQL writes it: INTEGER, REAL, TEXT.
std::string_view sql_name(ColumnType type);

// INTEGER: every value is a 64-bit integer. REAL: every value is a finite number. Else TEXT, and
// also where a number would not keep what the text says: leading zeros (007), a plus sign, -0, an
// integer beyond 64 bits, or beyond 2^53 in a column that holds fractions too. Empty fields say
// nothing; a column of nothing else is TEXT.
class TypeInference {
 public:
  explicit TypeInference(std::size_t columns) : columns_(columns) {}

  // `fields` is a good row: one field a column.
  void add(std::span<const std::string_view> fields);

  std::vector<ColumnType> types() const;

 private:
  struct Seen {
    bool integer = false;
    bool fraction = false;
    bool wide_integer = false;  // a double would round it
    bool text = false;
  };
  static void add(Seen& seen, std::string_view value);

  std::vector<Seen> columns_;
};

}  // namespace turnstile::csv
