// Counts with their nouns, for people: "1 row", "2 rows".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace turnstile {

// The noun alone, for a count that is written in another way. `plural` empty: the noun and an s.
std::string noun_for(std::uint64_t count, std::string_view noun, std::string_view plural = {});

std::string counted(std::uint64_t count, std::string_view noun, std::string_view plural = {});

// The verb that goes with a count: "is" or "are", "was" or "were".
std::string_view is_or_are(std::uint64_t count);
std::string_view was_or_were(std::uint64_t count);

// "1 row/s", "250 rows/s".
std::string rows_per_second_text(double rate);

}  // namespace turnstile
