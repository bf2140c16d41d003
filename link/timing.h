// How patient both links are.
#pragma once

#include <chrono>

namespace turnstile {

// What is on its way when a link ends has so long to go.
inline constexpr std::chrono::milliseconds kLinger{200};
// Between two tries to connect: from the first to the second, doubled each time, with a random
// part.
inline constexpr std::chrono::milliseconds kReconnect{20};
inline constexpr std::chrono::milliseconds kReconnectMax{2000};
inline constexpr std::chrono::milliseconds kHandshake{5000};

}  // namespace turnstile
