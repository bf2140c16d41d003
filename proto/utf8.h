#pragma once

#include <string>
#include <string_view>

namespace turnstile {

// Whether `text` is well-formed UTF-8 (Unicode 15, table 3-7: no surrogates, no overlong forms).
bool is_utf8(std::string_view text);

// Well-formed UTF-8 without NUL: what SQLite, C and people all take for the same text.
bool is_text(std::string_view text);

// `text` fit for a log or a message: bytes that are not UTF-8 and control characters become '?',
// and what is longer than `max_bytes` ends in "...".
std::string printable(std::string_view text, std::size_t max_bytes);

}  // namespace turnstile
