// A client that speaks ZeroMQ's own wire by hand, over ipc: what its library never sends can be
// sent.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace turnstile::test {

class RawPeer {
 public:
  explicit RawPeer(const std::string& endpoint,
                   std::chrono::milliseconds patience = std::chrono::milliseconds(200))
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = endpoint.substr(std::string_view("ipc://").size());
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    const auto us = std::chrono::microseconds(patience).count();
    const timeval most{us / 1'000'000, us % 1'000'000};
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
    ok_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
          shake_hands();
  }
  RawPeer(const RawPeer&) = delete;
  RawPeer& operator=(const RawPeer&) = delete;
  ~RawPeer() { ::close(fd_); }

  [[nodiscard]] bool ok() const { return ok_; }
  bool send_frame(std::string_view body, bool more) {
    std::string head(9, '\0');
    head[0] = static_cast<char>(0x02 | (more ? 0x01 : 0x00));  // long
    for (std::size_t i = 0; i < 8; ++i) {
      head[1 + i] = static_cast<char>(std::uint64_t{body.size()} >> (56 - 8 * i));
    }
    return send(head) && send(body);
  }
  bool send(std::string_view bytes) {
    while (ok_ && !bytes.empty()) {
      const ssize_t put = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (put <= 0) {
        ok_ = false;  // closed by the broker, or it reads no more
      } else {
        bytes.remove_prefix(static_cast<std::size_t>(put));
      }
    }
    return ok_;
  }

  // Until there is an answer, of which it takes what has come.
  bool wait_for_answer() {
    std::array<char, 4096> some{};
    ok_ = ok_ && ::recv(fd_, some.data(), some.size(), 0) > 0;
    return ok_;
  }

 private:
  bool read_all(std::size_t bytes) {
    std::string rest(bytes, '\0');
    return ::recv(fd_, rest.data(), bytes, MSG_WAITALL) == static_cast<ssize_t>(bytes);
  }
  bool shake_hands() {
    ok_ = true;
    std::string greeting(64, '\0');
    greeting[0] = '\xFF';
    greeting[9] = '\x7F';
    greeting[10] = 3;
    std::memcpy(&greeting[12], "NULL", 4);
    const std::string ready = std::string("\x04\x26\x05READY\x0BSocket-Type", 20) +
                              std::string(
                                  "\0\0\0\x06"
                                  "DEALER",
                                  10) +
                              std::string("\x08Identity\0\0\0\0", 13);
    std::string command = ready;
    command[1] = static_cast<char>(command.size() - 2);
    return send(greeting) && read_all(64) && send(command);
  }

  int fd_;
  bool ok_ = false;
};

}  // namespace turnstile::test
