#pragma once

#include <string>
#include <string_view>

namespace turnstile {

// Whether `text` is well-formed UTF-8 (Unicode 15, table 3-7: no surrogates, no overlong forms).
bool is_utf8(std::string_view text);

// Well-formed UTF-8 without NUL: what SQLite, C and people all take for the same text.
bool is_text(std::string_view text);

// Promise to terminals and logs: no text from outside gets there raw. Control characters, what
// turns the direction of text (Unicode's Bidi_Control), the line and paragraph separators U+2028
// and U+2029 and bytes that are not UTF-8 become \xNN, two hexadecimal digits for each of their
// bytes; line feed, carriage return and tab become \n, \r and \t. All else, a backslash too, stays
// as it is, so that text which went through this stays the same when it goes through it again.

// On one line; what is longer than `max_bytes` ends in "...".
std::string printable(std::string_view text, std::size_t max_bytes = std::string_view::npos);

// With its line feeds: for a report of several lines.
std::string printable_lines(std::string_view text);

// Writes printable(text) to `at`, where there is room for kPrintableBytes times its size. Where it
// ended.
inline constexpr std::size_t kPrintableBytes = 4;
char* put_printable(std::string_view text, char* at);

// `text` as the content of an XML element: &, < and > are escaped.
std::string xml_text(std::string_view text);

}  // namespace turnstile
