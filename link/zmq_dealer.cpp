#include "link/zmq_dealer.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <utility>

#include "link/endpoint.h"
#include "link/frames.h"
#include "link/timing.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Bounds memory in each direction. Senders meet the broker's credit first.
constexpr int kQueuedMessages = 1000;

constexpr milliseconds kHeartbeat{2000};
constexpr milliseconds kHeartbeatTimeout{10000};

int as_option(milliseconds duration) {
  return static_cast<int>(duration.count());
}

}  // namespace

Result<std::unique_ptr<ZmqDealer>> ZmqDealer::connect(std::string endpoint,
                                                      std::shared_ptr<zmq::context_t> context) {
  if (auto checked = check_socket_path(endpoint); !checked) {
    return tl::make_unexpected(checked.error());
  }
  try {
    if (!context) {
      context = std::make_shared<zmq::context_t>(1);
    }
    std::unique_ptr<ZmqDealer> link(new ZmqDealer(std::move(endpoint), std::move(context)));
    link->open();
    return link;
  } catch (const zmq::error_t& e) {
    const bool is_endpoint_wrong =
        e.num() == EINVAL || e.num() == EPROTONOSUPPORT || e.num() == ENODEV;
    return fail(is_endpoint_wrong ? Errc::bad_input : Errc::unreachable,
                std::string("cannot connect to the broker's endpoint: ") + e.what(),
                is_endpoint_wrong ? kEndpointHint : "");
  }
}

void ZmqDealer::open() {
  socket_ = zmq::socket_t(*context_, zmq::socket_type::dealer);
  socket_.set(zmq::sockopt::linger, as_option(kLinger));
  socket_.set(zmq::sockopt::sndhwm, kQueuedMessages);
  socket_.set(zmq::sockopt::rcvhwm, kQueuedMessages);
  // ZeroMQ queues nothing while there is no connection: the caller keeps what cannot be sent, and
  // knows what is still wanted later.
  socket_.set(zmq::sockopt::immediate, 1);
  socket_.set(zmq::sockopt::probe_router, 1);
  socket_.set(zmq::sockopt::reconnect_ivl, as_option(kReconnect));
  socket_.set(zmq::sockopt::reconnect_ivl_max, as_option(kReconnectMax));
  socket_.set(zmq::sockopt::handshake_ivl, as_option(kHandshake));
  socket_.set(zmq::sockopt::maxmsgsize, largest_message_bytes());
  if (endpoint_.starts_with(kTcp)) {
    socket_.set(zmq::sockopt::ipv6, endpoint_[kTcp.size()] == '[');
    socket_.set(zmq::sockopt::heartbeat_ivl, as_option(kHeartbeat));
    socket_.set(zmq::sockopt::heartbeat_timeout, as_option(kHeartbeatTimeout));
  }
  socket_.connect(endpoint_);
}

void ZmqDealer::reconnect() {
  socket_.close();
  try {
    open();
  } catch (const zmq::error_t&) {
    socket_.close();  // no descriptor is free: receive() tries again
  }
}

bool ZmqDealer::send(const Message& message) {
  zmq::message_t packed_message = packed(encode(message));
  try {
    return socket_.send(packed_message, zmq::send_flags::dontwait).has_value();
  } catch (const zmq::error_t&) {
    return false;
  }
}

// Nothing: no message is there. Error: a message that cannot be read.
std::optional<Result<Frames>> ZmqDealer::take_frames() {
  zmq::message_t message;
  if (!socket_.recv(message, zmq::recv_flags::dontwait)) {
    return std::nullopt;
  }
  return unpacked(std::move(message));
}

std::optional<Message> ZmqDealer::receive(milliseconds wait) {
  if (!socket_) {
    reconnect();
    if (!socket_) {
      ::poll(nullptr, 0, as_option(wait));
      return std::nullopt;
    }
  }
  const auto deadline = steady_clock::now() + wait;
  try {
    while (true) {
      if (auto frames = take_frames()) {
        if (auto message = frames->and_then(decode)) {
          return std::move(*message);
        }
        ++dropped_;
      }
      const auto rest = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
      if (rest <= milliseconds(0)) {
        return std::nullopt;
      }
      std::array<zmq::pollitem_t, 1> items{{{socket_.handle(), 0, ZMQ_POLLIN, 0}}};
      if (zmq::poll(items.data(), items.size(), rest) == 0) {
        return std::nullopt;
      }
    }
  } catch (const zmq::error_t&) {
    return std::nullopt;  // EINTR: a signal came
  }
}

}  // namespace turnstile
