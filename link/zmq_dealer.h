// The link over ZeroMQ: a DEALER connected to the broker's ROUTER.
//
// The socket connects and connects again by itself. Whenever it has, and its thread next sends or
// receives, it says so with an empty message (ZMQ_PROBE_ROUTER), to which a broker that does not
// know the connection answers "hello first": that is how whoever uses the link learns of it.
//
// Belongs to one thread (ZeroMQ's own thread works behind it).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <zmq.hpp>

#include "link/link.h"
#include "base/result.h"

namespace turnstile {

class ZmqDealer final : public Link {
 public:
  // Returns at once, whether or not a broker is there. `context` may be shared between sockets;
  // with none given the link has its own. Errors: bad_input (an endpoint that ZeroMQ cannot take, a
  // socket path that is too long), unreachable (no socket could be made).
  static Result<std::unique_ptr<ZmqDealer>> connect(
      std::string endpoint, std::shared_ptr<zmq::context_t> context = nullptr);

  bool send(const Message& message) override;
  std::optional<Message> receive(std::chrono::milliseconds wait) override;
  void reconnect() override;

  // Messages that came in and could not be decoded.
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
