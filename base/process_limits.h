// What this process may have, and has.
#pragma once

#include <cstddef>

#include "base/result.h"

namespace turnstile {

// As many descriptors as this process may have: each connection needs one. Errors: unreachable,
// when they are not enough for the journal, a target and a few connections.
Result<void> allow_all_descriptors();

// What this process has in its heap, and what of it is in memory, cheap enough for ten times a
// second. 0: cannot be told (under a sanitizer).
std::size_t heap_bytes();
std::size_t resident_bytes();
// Gives what was freed back to the system.
void release_free_memory();

}  // namespace turnstile
