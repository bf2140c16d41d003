// The link over ZeroMQ: a DEALER connected to the broker's ROUTER.
//
// The socket connects and reconnects by itself, and announces each new connection with an empty
// message (ZMQ_PROBE_ROUTER). A broker that does not know the connection answers "hello first",
// which tells the link's user of the new connection.
//
// Belongs to one thread (and starts ZeroMQ's own thread).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <zmq.hpp>

#include "base/result.h"
#include "link/link.h"

namespace turnstile {

class ZmqDealer final : public Link {
 public:
  // Returns immediately, whether or not a broker is there. Sockets may share `context`; without one
  // the link has its own. Errors: bad_input (an endpoint that ZeroMQ refuses, a socket path that is
  // too long), unreachable (no socket could be made).
  static Result<std::unique_ptr<ZmqDealer>> connect(
      std::string endpoint, std::shared_ptr<zmq::context_t> context = nullptr);

  bool send(const Message& message) override;
  std::optional<Message> receive(std::chrono::milliseconds wait) override;
  void reconnect() override;

  // Received messages that could not be decoded.
  [[nodiscard]] std::uint64_t dropped() const { return dropped_; }

 private:
  ZmqDealer(std::string endpoint, std::shared_ptr<zmq::context_t> context)
      : endpoint_(std::move(endpoint)), context_(std::move(context)) {}

  void open();
  std::optional<Result<Frames>> take_frames();

  std::string endpoint_;
  std::shared_ptr<zmq::context_t> context_;  // outlives the socket: declared before it
  zmq::socket_t socket_;
  std::uint64_t dropped_ = 0;
};

}  // namespace turnstile
