// Outcomes as text for a terminal: for each scenario a table, lanes if there are few processes, and
// a sentence per mode. Pure. Without colours, the only control character is the line end.
#pragma once

#include <string>
#include <vector>

#include "lab/numbers.h"

namespace turnstile::lab {

struct TextStyle {
  bool colours = false;
  std::size_t columns = 100;  // of the terminal, at least 60
};

// All modes of one scenario.
std::string text_of(const std::vector<Outcome>& outcomes, const TextStyle& style);

// What `lab list` prints.
std::string list_text(const TextStyle& style);

}  // namespace turnstile::lab
