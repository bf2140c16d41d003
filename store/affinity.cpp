#include "store/affinity.h"

#include <algorithm>
#include <string>

namespace turnstile::store {
namespace {

constexpr std::size_t kSafeDigits = 18;  // always fits in 64 bits

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Whether SQLite could take `text` for a number: it skips spaces, then wants a sign, digit or
// point.
bool may_be_number(std::string_view text) {
  constexpr std::string_view kStarts = " \t\n\v\f\r+-.0123456789";
  return !text.empty() && kStarts.find(text.front()) != std::string_view::npos;
}

}  // namespace

Affinity affinity_of(std::string_view declared_type, bool strict) {
  std::string type(declared_type);
  std::transform(type.begin(), type.end(), type.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  const auto holds = [&](std::string_view word) { return type.find(word) != std::string::npos; };
  if (type.empty() || (strict && type == "ANY")) {
    return Affinity::blob;
  }
  if (holds("INT")) {
    return Affinity::integer;
  }
  if (holds("CHAR") || holds("CLOB") || holds("TEXT")) {
    return Affinity::text;
  }
  if (holds("BLOB")) {
    return Affinity::blob;
  }
  if (holds("REAL") || holds("FLOA") || holds("DOUB")) {
    return Affinity::real;
  }
  return Affinity::numeric;
}

std::optional<std::int64_t> canonical_integer(std::string_view text) {
  const bool negative = !text.empty() && text.front() == '-';
  const std::string_view digits = text.substr(negative ? 1 : 0);
  if (digits.empty() || digits.size() > kSafeDigits) {
    return std::nullopt;
  }
  if (digits.front() == '0' && (negative || digits.size() > 1)) {
    return std::nullopt;
  }
  std::int64_t value = 0;
  for (const char c : digits) {
    if (!is_digit(c)) {
      return std::nullopt;
    }
    value = value * 10 + (c - '0');
  }
  return negative ? -value : value;
}

ValueRef bound_for(Affinity affinity, const ValueRef& value) {
  if (affinity == Affinity::integer || affinity == Affinity::numeric) {
    if (const auto* text = std::get_if<std::string_view>(&value)) {
      if (const auto integer = canonical_integer(*text)) {
        return *integer;
      }
    }
  }
  return value;
}

bool prints_as_sent(Affinity affinity, const ValueRef& value) {
  if (std::holds_alternative<Null>(value) || std::holds_alternative<Blob>(value)) {
    return true;
  }
  if (std::holds_alternative<double>(value)) {
    return false;
  }
  if (std::holds_alternative<std::int64_t>(value)) {
    return affinity != Affinity::real;
  }
  const auto text = std::get<std::string_view>(value);
  switch (affinity) {
    case Affinity::text:
    case Affinity::blob:
      return true;
    case Affinity::integer:
    case Affinity::numeric:
      return !may_be_number(text) || canonical_integer(text).has_value();
    case Affinity::real:
      return !may_be_number(text);
  }
  return false;
}

}  // namespace turnstile::store
