// Guesses the column types of a table from all values of a CSV.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace turnstile::csv {

enum class ColumnType { integer, real, text };

// Its name in SQL: INTEGER, REAL, TEXT.
std::string_view sql_name(ColumnType type);

// INTEGER: every value is a 64-bit integer. REAL: every value is a finite number. Otherwise TEXT,
// also where a number would lose part of the text: leading zeros (007), a plus sign, -0, an integer
// beyond 64 bits, or beyond 2^53 in a column that also holds fractions. A bare exponent (12E4)
// counts as an id unless a value of the column has a decimal point or a signed exponent. Empty
// fields are ignored; a column of empty fields is TEXT.
class TypeInference {
 public:
  explicit TypeInference(std::size_t columns) : columns_(columns) {}

  // `fields` is a good row: one field for each column.
  void add(std::span<const std::string_view> fields);

  std::vector<ColumnType> types() const;

 private:
  struct Seen {
    bool integer = false;
    bool fraction = false;
    bool bare_exponent = false;  // as in an id: digits, e, digits
    bool wide_integer = false;   // a double would round it
    bool text = false;
  };
  static void add(Seen& seen, std::string_view value);

  std::vector<Seen> columns_;
};

// Whether a column of this type would store `text` as a number with another spelling: leading
// zeros, a plus sign, spaces around it, an exponent, digits beyond the precision; in an INTEGER
// column also a decimal point before zeros (1.0). Trailing zeros of a fraction (1.50) do not count,
// nor does the point that a REAL column adds to an integer.
bool changes_form(ColumnType type, std::string_view text);

}  // namespace turnstile::csv
