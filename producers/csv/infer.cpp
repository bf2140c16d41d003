#include "producers/csv/infer.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <system_error>

namespace turnstile::csv {
namespace {

constexpr std::int64_t kWidestExactInteger = std::int64_t{1} << 53;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool has_bare_exponent(std::string_view number) {
  const std::size_t e = number.find_first_of("eE");
  return e != std::string_view::npos && number.find('.') == std::string_view::npos &&
         is_digit(number[e + 1]);
}

// What SQLite skips around a number.
std::string_view without_spaces(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\n\v\f\r";
  const std::size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) {
    return {};
  }
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

template <typename Number>
bool parse_all(std::string_view text, Number& number) {
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc{} && stop == end;
}

// A well-formed number that is outside the range of a double.
bool beyond_range(std::string_view text) {
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc::result_out_of_range && stop == end;
}

}  // namespace

std::string_view sql_name(ColumnType type) {
  switch (type) {
    case ColumnType::integer:
      return "INTEGER";
    case ColumnType::real:
      return "REAL";
    case ColumnType::text:
      break;
  }
  return "TEXT";
}

void TypeInference::add(std::span<const std::string_view> fields) {
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (!columns_[i].text && !fields[i].empty()) {
      add(columns_[i], fields[i]);
    }
  }
}

void TypeInference::add(Seen& seen, std::string_view value) {
  const std::string_view digits = value.front() == '-' ? value.substr(1) : value;
  const bool leading_zero = digits.size() > 1 && digits[0] == '0' && is_digit(digits[1]);
  if (leading_zero || value == "-0") {
    seen.text = true;
  } else if (std::all_of(digits.begin(), digits.end(), is_digit)) {
    std::int64_t number = 0;
    if (parse_all(value, number)) {
      seen.integer = true;
      seen.wide_integer |= number > kWidestExactInteger || number < -kWidestExactInteger;
    } else {
      seen.text = true;
    }
  } else {
    double number = 0;
    if (parse_all(value, number) && std::isfinite(number)) {
      (has_bare_exponent(value) ? seen.bare_exponent : seen.fraction) = true;
    } else {
      seen.text = true;
    }
  }
}

std::vector<ColumnType> TypeInference::types() const {
  std::vector<ColumnType> types;
  types.reserve(columns_.size());
  for (const Seen& seen : columns_) {
    const bool is_id = seen.bare_exponent && !seen.fraction;
    if (seen.text || is_id || (seen.fraction && seen.wide_integer) ||
        (!seen.fraction && !seen.integer)) {
      types.push_back(ColumnType::text);
    } else {
      types.push_back(seen.fraction ? ColumnType::real : ColumnType::integer);
    }
  }
  return types;
}

bool changes_form(ColumnType type, std::string_view text) {
  constexpr std::size_t kExactDigits = 15;
  if (type == ColumnType::text || text.empty()) {
    return false;
  }
  // Nearly every number is one of these.
  const bool is_short = text.size() <= kExactDigits;
  if (is_short && text.front() >= '1' && text.front() <= '9' &&
      std::all_of(text.begin(), text.end(), is_digit)) {
    return false;
  }
  const std::string_view number = without_spaces(text);
  const std::string_view unsigned_number =
      number.starts_with('+') || number.starts_with('-') ? number.substr(1) : number;
  double value = 0;
  // SQLite reads digits around a point, and an exponent; not inf, nan or 0x10.
  const bool is_number =
      !unsigned_number.empty() &&
      unsigned_number.find_first_not_of("0123456789.eE+-") == std::string_view::npos &&
      (is_digit(unsigned_number[0]) || unsigned_number[0] == '.') &&
      (parse_all(unsigned_number, value) || beyond_range(unsigned_number));
  if (!is_number) {
    return false;  // stays text
  }
  const bool has_leading_zero =
      unsigned_number.size() > 1 && unsigned_number[0] == '0' && is_digit(unsigned_number[1]);
  if (number.size() != text.size() || number.front() == '+' || has_leading_zero ||
      unsigned_number.find_first_of("eE") != std::string_view::npos) {
    return true;
  }
  std::string_view digits = unsigned_number;
  const std::size_t point = digits.find('.');
  if (point == std::string_view::npos) {
    std::int64_t integer = 0;
    const bool fits = parse_all(number, integer);
    return number == "-0" || !fits ||
           (type == ColumnType::real &&
            (integer > kWidestExactInteger || integer < -kWidestExactInteger));
  }
  digits = digits.substr(0, digits.find_last_not_of('0') + 1);
  if (type == ColumnType::integer && digits.back() == '.') {
    return true;
  }
  return digits.size() - 1 - (digits[0] == '0' ? 1 : 0) > kExactDigits + 2;
}

}  // namespace turnstile::csv
