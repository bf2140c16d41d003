#include "link/zmq_dealer.h"

#include <sys/un.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "link/frames.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::string_view kIpc = "ipc://";
constexpr std::string_view kTcp = "tcp://";
constexpr std::size_t kLongestSocketPath = sizeof(sockaddr_un::sun_path) - 1;

// Bounds of memory in messages, either way. Senders keep to the broker's credit before they meet
// it.
constexpr int kQueuedMessages = 1000;
constexpr std::size_t kMostFrames = 3;

constexpr milliseconds kLinger{200};
// libzmq doubles the time between tries from the first to the second, and adds a random part of up
// to the first each time.
constexpr milliseconds kReconnect{20};
constexpr milliseconds kReconnectMax{2000};
constexpr milliseconds kHandshake{5000};
constexpr milliseconds kHeartbeat{2000};
constexpr milliseconds kHeartbeatTimeout{10000};

int as_option(milliseconds duration) {
  return static_cast<int>(duration.count());
}

Result<void> check_path(const std::string& endpoint) {
  if (!endpoint.starts_with(kIpc) || endpoint.size() - kIpc.size() <= kLongestSocketPath) {
    return {};
  }
  return fail(Errc::bad_input,
              "the socket path '" + endpoint.substr(kIpc.size()) + "' has " +
                  std::to_string(endpoint.size() - kIpc.size()) +
                  " bytes; the kernel takes at most " + std::to_string(kLongestSocketPath),
              "use a shorter folder, or a path relative to the working folder");
}

}  // namespace

Result<std::unique_ptr<ZmqDealer>> ZmqDealer::connect(std::string endpoint,
                                                      std::shared_ptr<zmq::context_t> context) {
  if (auto checked = check_path(endpoint); !checked) {
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
                is_endpoint_wrong ? "write it as ipc://PATH or tcp://HOST:PORT" : "");
  }
}

void ZmqDealer::open() {
  socket_ = zmq::socket_t(*context_, zmq::socket_type::dealer);
  socket_.set(zmq::sockopt::linger, as_option(kLinger));
  socket_.set(zmq::sockopt::sndhwm, kQueuedMessages);
  socket_.set(zmq::sockopt::rcvhwm, kQueuedMessages);
  // Nothing is queued for a connection that does not stand: what cannot be sent now is kept by the
  // caller, who knows what is still wanted when it does.
  socket_.set(zmq::sockopt::immediate, 1);
  socket_.set(zmq::sockopt::probe_router, 1);
  socket_.set(zmq::sockopt::reconnect_ivl, as_option(kReconnect));
  socket_.set(zmq::sockopt::reconnect_ivl_max, as_option(kReconnectMax));
  socket_.set(zmq::sockopt::handshake_ivl, as_option(kHandshake));
  socket_.set(zmq::sockopt::maxmsgsize,
              static_cast<std::int64_t>(std::max(limits::kHeaderBytes, limits::kRowsBytes)));
  if (endpoint_.starts_with(kTcp)) {
    socket_.set(zmq::sockopt::heartbeat_ivl, as_option(kHeartbeat));
    socket_.set(zmq::sockopt::heartbeat_timeout, as_option(kHeartbeatTimeout));
  }
  socket_.connect(endpoint_);
}

void ZmqDealer::reconnect() {
  socket_.close();
  open();
}

bool ZmqDealer::send(const Message& message) {
  const Frames frames = encode(message);
  bool is_taken = true;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const auto more = i + 1 < frames.size() ? zmq::send_flags::sndmore : zmq::send_flags::none;
    try {
      zmq::message_t frame = message_of(frames[i]);
      is_taken = socket_.send(frame, zmq::send_flags::dontwait | more).has_value() && is_taken;
    } catch (const zmq::error_t&) {
      is_taken = false;
    }
    // The connection may end between two frames: libzmq then drops the rest of the message, for
    // which it has to be given the rest.
    if (!is_taken && i == 0) {
      return false;
    }
  }
  return is_taken;
}

std::optional<Frames> ZmqDealer::take_frames() {
  Frames frames;
  bool is_too_long = false;
  for (bool more = true; more;) {
    zmq::message_t message;
    if (!socket_.recv(message, zmq::recv_flags::dontwait)) {
      return std::nullopt;
    }
    more = message.more();
    if (frames.size() < kMostFrames) {
      frames.push_back(bytes_of(std::move(message)));
    } else {
      is_too_long = true;
    }
  }
  if (is_too_long) {
    frames.clear();
  }
  return frames;
}

std::optional<Message> ZmqDealer::receive(milliseconds wait) {
  const auto deadline = steady_clock::now() + wait;
  try {
    while (true) {
      if (auto frames = take_frames()) {
        if (auto message = decode(*frames)) {
          return std::move(*message);
        }
        ++dropped_;
      }
      const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
      if (left <= milliseconds(0)) {
        return std::nullopt;
      }
      std::array<zmq::pollitem_t, 1> items{{{socket_.handle(), 0, ZMQ_POLLIN, 0}}};
      if (zmq::poll(items.data(), items.size(), left) == 0) {
        return std::nullopt;
      }
    }
  } catch (const zmq::error_t&) {
    return std::nullopt;  // a signal came (EINTR)
  }
}

}  // namespace turnstile
