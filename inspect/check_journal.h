// The journal, for `turnstile check`: each batch as it was stored, and no hole between what is
// applied and what is stored.
#pragma once

#include "inspect/check.h"
#include "inspect/check_sqlite.h"

namespace turnstile::check {

// Whether this is a journal whose format is known. Errors: unreachable.
Result<void> recognise_journal(const Database& journal);

// Within a snapshot that was taken before the target's; `report` has the producers' progress.
void check_journal(const Database& journal, Report& report);

}  // namespace turnstile::check
