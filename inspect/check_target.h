// The target's bookkeeping and its rows, for `turnstile check`: the part of promises 2 and 7
// that the target alone can show.
#pragma once

#include <string>
#include <vector>

#include "inspect/check.h"
#include "inspect/check_sqlite.h"

namespace turnstile::check {

// Whether this is a target whose format is known. Errors: unreachable.
Result<void> recognise_target(const Database& target);

// Within a snapshot. What cannot be read to its end becomes a problem.
void check_target(const Database& target, Report& report);

}  // namespace turnstile::check
