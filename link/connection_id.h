#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace turnstile {

// A connection of the broker's. Never used again for another connection.
struct ConnectionId {
  std::uint64_t value = 0;
  bool operator==(const ConnectionId&) const = default;
};

}  // namespace turnstile

template <>
struct std::hash<turnstile::ConnectionId> {
  std::size_t operator()(turnstile::ConnectionId id) const noexcept {
    return std::hash<std::uint64_t>()(id.value);
  }
};
