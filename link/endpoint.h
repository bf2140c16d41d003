// Where a broker listens: ipc://PATH or tcp://HOST:PORT.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "link/link.h"
#include "proto/result.h"

namespace turnstile {

inline constexpr std::string_view kIpc = "ipc://";
inline constexpr std::string_view kTcp = "tcp://";
inline constexpr const char* kEndpointHint = "write it as ipc://PATH or tcp://HOST:PORT";

// Errors: bad_input, a socket path that is too long for the kernel.
Result<void> check_socket_path(std::string_view endpoint);

// IpcDealer for ipc://, else ZmqDealer. Errors: those of their connect().
Result<std::unique_ptr<Link>> connect_to_broker(const std::string& endpoint);

}  // namespace turnstile
