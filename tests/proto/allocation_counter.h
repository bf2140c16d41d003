// How much this process has asked of operator new, so that a test can say that hostile input gets
// little. Counts what was asked for in all, so it is never less than what is held at once.
#pragma once

#include <cstdint>

namespace turnstile::testing {

std::uint64_t allocated_bytes();

}  // namespace turnstile::testing
