// The socket on which a broker listens: at a path, or at a TCP port.
#pragma once

#include <optional>
#include <string>

#include "base/descriptor.h"
#include "base/file_identity.h"
#include "base/result.h"

namespace turnstile {

class ListenSocket {
 public:
  ListenSocket() = default;
  ListenSocket(const ListenSocket&) = delete;
  ListenSocket& operator=(const ListenSocket&) = delete;
  // Removes the socket's path if it still leads to this socket.
  ~ListenSocket();

  // ipc://PATH or tcp://HOST:PORT. HOST may be *; PORT may be 0 or * for any free port. Replaces a
  // socket on which nobody listens any more. Errors: unreachable, bad_input.
  Result<void> listen(const std::string& endpoint);
  // Makes a new socket at the same path. The old socket closes, and clients that wait there connect
  // again. Errors: unreachable, and the old socket stays.
  Result<void> listen_again();

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] bool is_tcp() const { return is_tcp_; }
  // With the actual port.
  [[nodiscard]] const std::string& endpoint() const { return endpoint_; }
  // Where the socket's path leads. No new client reaches a socket that is not at its path.
  enum class Path {
    ours,  // or the socket has no path
    gone,
    taken,  // another file has that name
  };
  [[nodiscard]] Path path() const;

 private:
  Result<void> listen_at_path(const std::string& path);
  Result<void> listen_at_port(const std::string& address);

  Descriptor fd_;
  bool is_tcp_ = false;
  std::string endpoint_;
  std::string path_;                     // removed at the end ...
  std::optional<FileIdentity> at_path_;  // ... if it still leads to this file
};

}  // namespace turnstile
