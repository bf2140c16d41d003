// The link over an ipc:// endpoint, without ZeroMQ's thread: a DEALER that speaks ZMTP 3.0
// (rfc.zeromq.org/spec/23, NULL mechanism) over a Unix stream socket in the thread that uses it.
// For one row and its answer that is two wake-ups of another thread less, and most of what such a
// row costs many processes.
//
// Connects and connects again by itself, whenever its thread sends or receives, and then says so as
// ZmqDealer does, with an empty message.
//
// Belongs to one thread.
#pragma once

#include <sys/un.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>

#include "link/link.h"
#include "proto/result.h"

namespace turnstile {

class IpcDealer final : public Link {
 public:
  // Returns at once, whether or not a broker is there. Errors: bad_input (no ipc:// endpoint, or a
  // socket path that is too long).
  static Result<std::unique_ptr<IpcDealer>> connect(const std::string& endpoint);

  // For what is on its way it waits a moment.
  ~IpcDealer() override;

  // What the socket does not take at once is kept and goes on with the next call: the broker's
  // credit bounds how much that can be.
  bool send(const Message& message) override;
  std::optional<Message> receive(std::chrono::milliseconds wait) override;
  void reconnect() override;

  // Messages that came in and could not be decoded.
  [[nodiscard]] std::uint64_t dropped() const { return dropped_; }

 private:
  using TimePoint = std::chrono::steady_clock::time_point;

  // greeting --take_greeting--> handshake --take_command--> ready; all of them --close--> closed
  // --open--> greeting.
  enum class State { closed, greeting, handshake, ready };

  struct Frame {
    unsigned char flags;
    std::string_view body;
  };

  IpcDealer(const sockaddr_un& address, socklen_t address_size);

  void advance();
  void open(TimePoint now);
  void close();
  void write_out();
  bool read_in();
  bool take_greeting();
  std::optional<Frame> take_frame();
  void take_command(std::string_view body);
  std::optional<Message> next_message();
  [[nodiscard]] bool wait_for(short events, TimePoint until) const;

  sockaddr_un address_;
  socklen_t address_size_;
  std::minstd_rand jitter_{std::random_device{}()};

  State state_ = State::closed;
  int fd_ = -1;
  TimePoint handshake_until_{};  // of greeting and handshake
  TimePoint open_at_{};          // of closed: not before
  std::chrono::milliseconds pause_;
  std::string out_;  // from out_sent_ on to be sent
  std::size_t out_sent_ = 0;
  std::string in_;  // from in_taken_ on to be taken
  std::size_t in_taken_ = 0;
  std::uint64_t dropped_ = 0;
};

}  // namespace turnstile
