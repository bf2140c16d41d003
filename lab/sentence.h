// What is seen, in plain words: while it happens, and at the end. Pure.
#pragma once

#include <string>

#include "lab/numbers.h"
#include "lab/timeline.h"

namespace turnstile::lab {

// One sentence on this moment of a run; `now_ns` since it began.
std::string explain_now(const Timeline& timeline, std::int64_t now_ns);

// One sentence on why it ended as it did.
std::string explain_end(const Outcome& outcome);

// "P1", "P1 and P2", "P1, P2 and 3 more"
std::string list_names(const std::vector<std::string>& names, std::size_t at_most = 3);

// 950 ms, 3.1 s
std::string in_words(double ms);

}  // namespace turnstile::lab
