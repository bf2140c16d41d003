// How the journal's integers and times are written.
#pragma once

#include <chrono>
#include <cstdint>

namespace turnstile::broker {

inline std::int64_t now_ms() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count();
}

inline std::int64_t signed_of(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}

inline std::uint64_t unsigned_of(std::int64_t value) {
  return static_cast<std::uint64_t>(value);
}

}  // namespace turnstile::broker
