// Time limits of both links.
#pragma once

#include <chrono>

namespace turnstile {

// A link that ends gives its unsent messages this time.
inline constexpr std::chrono::milliseconds kLinger{200};
// Between two tries to connect: at first kReconnect, then doubled each time, with a random part.
inline constexpr std::chrono::milliseconds kReconnect{20};
inline constexpr std::chrono::milliseconds kReconnectMax{2000};
inline constexpr std::chrono::milliseconds kHandshake{5000};

}  // namespace turnstile
