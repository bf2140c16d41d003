// What the producers of the campaigns send: rows that follow from who sends them and from their
// sequence alone, so that anybody can tell at any time what must be where.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proto/messages.h"

namespace turnstile::test::power {

// The table of the text log, and one that is none of it. Sequences 1 and 2 define them.
inline constexpr std::string_view kLogged = "events";
inline constexpr std::string_view kOther = "others";
inline constexpr std::uint64_t kDefinitions = 2;

bool is_definition(std::uint64_t sequence);
std::string_view table_of(std::uint64_t sequence);
// Has too few values, so that it becomes a dead letter.
bool is_bad(std::string_view producer, std::uint64_t sequence);
std::string filler_of(std::string_view producer, std::uint64_t sequence);

// From `first` on as many as fit together, up to `most`. Its epoch and header frame are not set.
Batch batch_from(const std::string& producer, std::uint64_t first, std::uint32_t most);

}  // namespace turnstile::test::power
