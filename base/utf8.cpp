#include "base/utf8.h"

#include <algorithm>
#include <array>
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

// `sequence` is one well-formed character.
bool is_harmless(std::string_view sequence) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(sequence[i]); };
  switch (byte(0)) {
    case 0xC2:  // U+0080 to U+009F: terminals obey them as well
      return byte(1) > 0x9F;
    case 0xD8:  // U+061C
      return byte(1) != 0x9C;
    case 0xE2:  // U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069
      return !(byte(1) == 0x80 &&
               (byte(2) == 0x8E || byte(2) == 0x8F || (byte(2) >= 0xA8 && byte(2) <= 0xAE))) &&
             !(byte(1) == 0x81 && byte(2) >= 0xA6 && byte(2) <= 0xA9);
    default:
      return byte(0) >= ' ' && byte(0) != 0x7F;
  }
}

// How much of the beginning of `text` stays as it is.
std::size_t harmless_prefix(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t length = sequence_length(text.substr(at));
    if (length == 0 || !is_harmless(text.substr(at, length))) {
      break;
    }
    at += length;
  }
  return at;
}

char* put_escaped(char c, char* at) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  constexpr unsigned kHalf = 4;
  constexpr unsigned kLow = 0xF;
  const auto byte = static_cast<unsigned char>(c);
  *at++ = '\\';
  switch (c) {
    case '\n':
      *at++ = 'n';
      return at;
    case '\r':
      *at++ = 'r';
      return at;
    case '\t':
      *at++ = 't';
      return at;
    default:
      *at++ = 'x';
      *at++ = kDigits[byte >> kHalf];
      *at++ = kDigits[byte & kLow];
      return at;
  }
}

constexpr std::uint64_t kHighBits = 0x8080808080808080U;
constexpr std::uint64_t kOnes = 0x0101010101010101U;

std::uint64_t word_at(std::string_view text, std::size_t i) {
  std::uint64_t word = 0;
  std::memcpy(&word, text.data() + i, sizeof word);
  return word;
}

// Most text is ASCII: eight bytes a step; the last step may look at some bytes twice.
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

char* put_printable(std::string_view text, char* at) {
  while (!text.empty()) {
    const std::size_t harmless = harmless_prefix(text);
    at = std::copy_n(text.data(), harmless, at);
    text.remove_prefix(harmless);
    // All of a character that is not harmless; one byte where there is no character.
    const std::size_t length = text.empty() ? 0 : std::max(sequence_length(text), std::size_t{1});
    for (const char c : text.substr(0, length)) {
      at = put_escaped(c, at);
    }
    text.remove_prefix(length);
  }
  return at;
}

std::string printable(std::string_view text, std::size_t max_bytes) {
  std::string out;
  std::array<char, kPrintableBytes * kPrintableBytes> piece{};
  while (!text.empty()) {
    const std::size_t length = std::max(sequence_length(text), std::size_t{1});
    const char* end = put_printable(text.substr(0, length), piece.data());
    const auto bytes = static_cast<std::size_t>(end - piece.data());
    if (bytes > max_bytes - out.size()) {
      return out += "...";
    }
    out.append(piece.data(), bytes);
    text.remove_prefix(length);
  }
  return out;
}

std::string printable_lines(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t line = std::min(text.find('\n'), text.size());
    out += printable(text.substr(0, line));
    text.remove_prefix(line);
    if (!text.empty()) {
      out += '\n';
      text.remove_prefix(1);
    }
  }
  return out;
}

std::string xml_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace turnstile
