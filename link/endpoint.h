// Where a broker listens: ipc://PATH or tcp://HOST:PORT.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "link/link.h"

namespace turnstile {

inline constexpr std::string_view kIpc = "ipc://";
inline constexpr std::string_view kTcp = "tcp://";
inline constexpr const char* kEndpointHint = "write it as ipc://PATH or tcp://HOST:PORT";

// Errors: bad_input, a socket path that is too long for the kernel.
Result<void> check_socket_path(std::string_view endpoint);

// Promise 10: a socket in the user's own directory: $XDG_RUNTIME_DIR/turnstile/broker.sock, or
// /tmp/turnstile-UID/broker.sock if that variable is not set or its path is too long.
std::string default_broker_endpoint();

// Promise 10, before a broker binds the socket and before a client connects to it. The directory of
// the default endpoint must belong to this user with mode 0700, since others may make
// /tmp/turnstile-UID first. Others may write in another directory only if the sticky bit lets
// nobody but root and this user replace the socket. A missing directory is no error. Errors:
// unreachable.
Result<void> check_default_directory(const std::string& path);
Result<void> check_directory_for_listening(const std::string& path);
// After connecting `fd`: in the default directory, and where others may put a socket, the broker
// must run as this user or as root. Errors: unreachable.
Result<void> check_broker_user(const std::string& path, int fd);

// IpcDealer for ipc://, else ZmqDealer. Errors: those of their connect().
Result<std::unique_ptr<Link>> connect_to_broker(const std::string& endpoint,
                                                Spin spin = Spin::briefly);

}  // namespace turnstile
