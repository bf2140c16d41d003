// Outcomes as text for a terminal: a table for each scenario, lanes for the small ones, a sentence
// for each mode. Pure. Without colours there is no control character but the line end.
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
