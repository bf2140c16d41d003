// What this process may have, and has.
#pragma once

#include <cstddef>

#include "base/result.h"

namespace turnstile {

// As many descriptors as this process may have: each connection needs one. Errors: unreachable,
// when they are not enough for the journal, a target and a few connections.
Result<void> allow_all_descriptors();

// Bytes of this process's heap, and bytes resident in memory; cheap enough to ask ten times a
// second. 0: unknown (under a sanitizer).
std::size_t heap_bytes();
std::size_t resident_bytes();
// Gives what was freed back to the system.
void release_free_memory();

}  // namespace turnstile
