// The lanes of a scenario's runs as one SVG picture, all on one time scale.
#pragma once

#include <string>
#include <vector>

#include "lab/numbers.h"

namespace turnstile::lab {

// `outcomes`: runs of one scenario, at least one. The same recordings give the same bytes.
std::string picture_svg(const std::vector<Outcome>& outcomes);

}  // namespace turnstile::lab
