// Who is at the other end of a connection.
#pragma once

#include <sys/types.h>

#include <optional>

namespace turnstile {

// The user that the system names for a Unix socket; nothing: over TCP, or within this process.
// Nobody can be kept out there, so an unknown user may do what the broker's own may.
using User = std::optional<uid_t>;

inline constexpr uid_t kRoot = 0;

}  // namespace turnstile
