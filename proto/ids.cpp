#include "proto/ids.h"

#include <algorithm>

#include "proto/limits.h"

namespace turnstile {

bool is_valid_producer_id(const std::string& text) {
  const auto allowed = [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !text.empty() && text.size() <= limits::kProducerBytes &&
         std::all_of(text.begin(), text.end(), allowed);
}

bool is_random_id(const std::string& text) {
  constexpr std::size_t kDigits = 32;
  return text.size() == kDigits &&
         text.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
}

}  // namespace turnstile
