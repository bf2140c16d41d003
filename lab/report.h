// Outcomes as one self-contained HTML file: figures, sentences, and the lanes of the live page. The
// file makes no request.
#pragma once

#include <string>
#include <vector>

#include "lab/numbers.h"

namespace turnstile::lab {

// Outcomes of the same scenario must be adjacent.
std::string report_html(const std::vector<const Outcome*>& outcomes);

}  // namespace turnstile::lab
