#include "producers/csv_infer.h"

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

template <typename Number>
bool parse_all(std::string_view text, Number& number) {
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc{} && stop == end;
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
      seen.fraction = true;
    } else {
      seen.text = true;
    }
  }
}

std::vector<ColumnType> TypeInference::types() const {
  std::vector<ColumnType> types;
  types.reserve(columns_.size());
  for (const Seen& seen : columns_) {
    if (seen.text || (seen.fraction && seen.wide_integer) || (!seen.fraction && !seen.integer)) {
      types.push_back(ColumnType::text);
    } else {
      types.push_back(seen.fraction ? ColumnType::real : ColumnType::integer);
    }
  }
  return types;
}

}  // namespace turnstile::csv
