// Explains a run in plain sentences: while it happens, and at its end. Pure.
#pragma once

#include <string>

#include "lab/numbers.h"
#include "lab/timeline.h"

namespace turnstile::lab {

// One sentence about this moment of the run; `now_ns` since it began.
std::string explain_now(const Timeline& timeline, std::int64_t now_ns);

// One sentence that says how the run ended, and why.
std::string explain_end(const Outcome& outcome);

// "P1", "P1 and P2", "P1, P2 and 3 more"
std::string list_names(const std::vector<std::string>& names, std::size_t at_most = 3);

// 950 ms, 3.1 s
std::string in_words(double ms);

}  // namespace turnstile::lab
