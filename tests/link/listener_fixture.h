// Shared by the tests of the listener: clients that send exact bytes, and serving until a condition
// holds.
#pragma once

#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "link/listener.h"
#include "tests/broker/folder.h"

namespace turnstile::broker {

using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace std::string_view_literals;
using std::chrono::steady_clock;

inline constexpr std::size_t kPartialBytes = 10'000'000;
inline constexpr auto kServedWithin = 10s;

inline std::string greeting(char version = 3, std::string_view mechanism = "NULL") {
  std::string out = "\xFF\0\0\0\0\0\0\0\1\x7F"s + version + '\0';
  out += mechanism;
  out.resize(64, '\0');
  return out;
}
inline constexpr auto kReady = "\4\x1C\5READY\13Socket-Type\0\0\0\6DEALER"sv;

// A client that sends exactly the given bytes.
class Client {
 public:
  explicit Client(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    connect(reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  }
  explicit Client(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connect(reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { ::close(fd_); }

  void send(std::string_view bytes) const {
    EXPECT_EQ(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  // Waits for room. Gives the bytes sent.
  [[nodiscard]] ssize_t send_some(std::string_view bytes) const {
    return std::max<ssize_t>(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL), 0);
  }
  // Not yet read by the other end.
  [[nodiscard]] int unread_bytes() const {
    int bytes = 0;
    EXPECT_EQ(::ioctl(fd_, SIOCOUTQ, &bytes), 0);
    return bytes;
  }
  [[nodiscard]] std::string read_available() const {
    std::array<char, 4096> bytes{};
    const ssize_t got = ::recv(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    return {bytes.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
  }
  [[nodiscard]] bool is_disconnected() const {
    std::array<char, 4096> bytes{};
    ssize_t got = 0;
    while ((got = ::recv(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT)) > 0) {
    }
    return got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
  }

 private:
  void connect(const sockaddr* address, socklen_t size) const {
    EXPECT_EQ(::connect(fd_, address, size), 0) << std::strerror(errno);
  }

  int fd_;
};

class ListenerTest : public ::testing::Test {
 protected:
  ~ListenerTest() override { ::close(stop_); }

  void listen() { ASSERT_TRUE(listener_->listen("ipc://" + path_)); }
  std::uint16_t listen_at_port() {
    EXPECT_TRUE(listener_->listen("tcp://127.0.0.1:*"));
    const std::string& endpoint = listener_->endpoint();
    return static_cast<std::uint16_t>(std::stoi(endpoint.substr(endpoint.rfind(':') + 1)));
  }

  // Serves until `done`, and keeps the received messages.
  template <typename Done>
  bool until(const Done& done) {
    const auto deadline = steady_clock::now() + kServedWithin;
    while (!done()) {
      EXPECT_TRUE(listener_->wait(stop_, 5ms));
      while (auto received = listener_->receive()) {
        received_.push_back(std::move(*received));
      }
      if (steady_clock::now() > deadline) {
        return false;
      }
    }
    return true;
  }
  // Completes the handshake and sends one message.
  void shake_hands(const Client& client) {
    const std::size_t before = received_.size();
    client.send(greeting() + std::string(kReady) + "\0\1h"s);
    ASSERT_TRUE(until([&] { return received_.size() > before; }));
  }
  bool reads(const Client& client, std::string_view wanted) {
    std::string all;
    return until([&] { return (all += client.read_available()).find(wanted) != all.npos; });
  }

  TempDirectory directory_;
  std::string path_ = (directory_ / "s").string();
  int stop_ = ::eventfd(0, EFD_CLOEXEC);
  std::unique_ptr<Listener> listener_ = std::move(*Listener::make(kPartialBytes));
  std::vector<Listener::Received> received_;
};

}  // namespace turnstile::broker
