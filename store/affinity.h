// Column affinity by SQLite's rules (https://sqlite.org/datatype3.html, section 3), and what
// follows from it for a value before SQLite has seen it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "proto/rows.h"

namespace turnstile::store {

enum class Affinity { integer, text, blob, real, numeric };

// `strict`: of a STRICT table, where ANY converts nothing.
Affinity affinity_of(std::string_view declared_type, bool strict);

// The integer that `text` spells when it is in canonical decimal form (no plus, no leading zeros,
// no
// "-0", at most 18 digits). A column of integer or numeric affinity stores exactly that integer.
std::optional<std::int64_t> canonical_integer(std::string_view text);

// `value` as it is bound for such a column: SQLite stores the same, with less work.
ValueRef bound_for(Affinity affinity, const ValueRef& value);

// Whether such a column prints `value` as the value itself prints, whatever SQLite converts.
bool prints_as_sent(Affinity affinity, const ValueRef& value);

}  // namespace turnstile::store
