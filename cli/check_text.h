// The text log, for `turnstile check`: promise 5, byte for byte. The form of a line is made here
// once more from its description (TARGET.md), not taken from the writer.
#pragma once

#include "cli/check.h"
#include "cli/check_sqlite.h"

namespace turnstile::check {

// Takes snapshots of its own, so none may be open. Compares again while there are differences, for
// options.patience; only the last comparison counts.
void check_text_log(Database& target, Report& report);

}  // namespace turnstile::check
