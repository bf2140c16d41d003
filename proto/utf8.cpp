#include "proto/utf8.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace turnstile {
namespace {

// The length of the well-formed sequence at `text`, or 0.
std::size_t sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto follows = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const unsigned lead = byte(0);
  if (lead < 0x80) {
    return 1;
  }
  if (lead >= 0xC2 && lead <= 0xDF) {
    return follows(1) ? 2 : 0;
  }
  if (lead >= 0xE0 && lead <= 0xEF) {
    const unsigned low = lead == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = lead == 0xED ? 0x9F : 0xBF;
    return follows(1, low, high) && follows(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const unsigned low = lead == 0xF0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xF4 ? 0x8F : 0xBF;
    return follows(1, low, high) && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

// `sequence` is one well-formed character. Terminals obey U+0080 to U+009F as well.
bool is_control(std::string_view sequence) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(sequence[i]); };
  return sequence.size() == 1 ? byte(0) < 0x20 || byte(0) == 0x7F
                              : byte(0) == 0xC2 && byte(1) <= 0x9F;
}

constexpr std::uint64_t kHighBits = 0x8080808080808080U;
constexpr std::uint64_t kOnes = 0x0101010101010101U;

std::uint64_t word_at(std::string_view text, std::size_t i) {
  std::uint64_t word = 0;
  std::memcpy(&word, text.data() + i, sizeof word);
  return word;
}

// Most text is that: eight bytes at once, the last eight perhaps once more.
bool is_ascii_without_nul(std::string_view text) {
  constexpr std::size_t kWord = sizeof(std::uint64_t);
  if (text.size() < kWord) {
    return std::all_of(text.begin(), text.end(),
                       [](char c) { return static_cast<signed char>(c) > 0; });
  }
  // Subtracting one from each byte borrows into the high bit of the first that is 0.
  const auto odd = [](std::uint64_t word) { return (word | (word - kOnes)) & kHighBits; };
  std::uint64_t found = odd(word_at(text, text.size() - kWord));
  for (std::size_t i = 0; i + kWord <= text.size(); i += kWord) {
    found |= odd(word_at(text, i));
  }
  return found == 0;
}

}  // namespace

bool is_text(std::string_view text) {
  return is_ascii_without_nul(text) || (is_utf8(text) && text.find('\0') == std::string_view::npos);
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    if (text.size() >= sizeof(std::uint64_t) && (word_at(text, 0) & kHighBits) == 0) {
      text.remove_prefix(sizeof(std::uint64_t));
      continue;
    }
    const std::size_t length = sequence_length(text);
    if (length == 0) {
      return false;
    }
    text.remove_prefix(length);
  }
  return true;
}

std::string printable(std::string_view text, std::size_t max_bytes) {
  std::string out;
  while (!text.empty()) {
    const std::size_t length = sequence_length(text);
    const bool plain = length > 0 && !is_control(text.substr(0, length));
    const std::string_view piece = plain ? text.substr(0, length) : std::string_view("?");
    if (out.size() + piece.size() > max_bytes) {
      out += "...";
      break;
    }
    out += piece;
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

}  // namespace turnstile
