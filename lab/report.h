// Outcomes as one HTML file that opens from disk anywhere: figures, sentences, and the same lanes
// that the live page draws. No request leaves it.
#pragma once

#include <string>
#include <vector>

#include "lab/numbers.h"

namespace turnstile::lab {

// Outcomes of one scenario follow each other.
std::string report_html(const std::vector<const Outcome*>& outcomes);

}  // namespace turnstile::lab
