#include "link/ipc_dealer.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "link/endpoint.h"
#include "link/frames.h"
#include "link/timing.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Messages taken in before they are asked for: about what one transaction of the consumer takes.
constexpr std::size_t kFetchedMost = std::size_t{4} * 1024 * 1024;

}  // namespace

Result<std::unique_ptr<IpcDealer>> IpcDealer::connect(const std::string& endpoint) {
  if (auto checked = check_socket_path(endpoint); !checked) {
    return tl::make_unexpected(checked.error());
  }
  const std::string path = endpoint.starts_with(kIpc) ? endpoint.substr(kIpc.size()) : "";
  if (path.empty()) {
    return fail(Errc::bad_input, "'" + endpoint + "' is no ipc:// endpoint", kEndpointHint);
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return std::unique_ptr<IpcDealer>(new IpcDealer(address));
}

IpcDealer::IpcDealer(const sockaddr_un& address) : address_(address), pause_(kReconnect) {
  open(steady_clock::now());
}

IpcDealer::~IpcDealer() {
  const auto until = steady_clock::now() + kLinger;
  while (connection_ && connection_->is_ready() && connection_->bytes_to_send() > 0 &&
         steady_clock::now() < until) {
    connection_->flush();
    (void)wait_for(POLLOUT, until);
  }
}

void IpcDealer::open(TimePoint now) {
  // Twice as long each time, and up to as long again, so that not all come at once.
  open_at_ = now + pause_ + milliseconds(jitter_() % static_cast<unsigned>(pause_.count()));
  pause_ = std::min(2 * pause_, kReconnectMax);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return;
  }
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address_), sizeof(address_)) != 0) {
    ::close(fd);
    return;
  }
  connection_.emplace(fd, ZmtpConnection::End::dealer);
  handshake_until_ = now + kHandshake;
}

void IpcDealer::close() {
  connection_.reset();
  fetched_.clear();
  fetched_bytes_ = 0;
}

void IpcDealer::reconnect() {
  close();
  open(steady_clock::now());
}

// Opens, greets, sends what waits.
void IpcDealer::advance() {
  const TimePoint now = steady_clock::now();
  if (connection_ && !connection_->is_ready() && now >= handshake_until_) {
    close();
  }
  if (!connection_ && now >= open_at_) {
    open(now);
  }
  if (connection_) {
    connection_->flush();
  }
}

void IpcDealer::prefetch() {
  const auto fetch_whole = [this] {
    while (auto incoming = connection_->next()) {
      fetched_bytes_ += incoming->body.size();
      fetched_.push_back(std::move(incoming->body));
    }
  };
  auto read = ZmtpConnection::Read::some;
  while (connection_ && read != ZmtpConnection::Read::nothing && fetched_bytes_ < kFetchedMost) {
    fetch_whole();
    read = connection_->read();
  }
}

// Of what has been read.
std::optional<Message> IpcDealer::next_message() {
  while (connection_) {
    std::string body;
    if (!fetched_.empty()) {
      body = std::move(fetched_.front());
      fetched_.pop_front();
      fetched_bytes_ -= body.size();
    } else if (auto incoming = connection_->next()) {
      body = std::move(incoming->body);
    } else {
      if (connection_->is_closed()) {
        close();
      }
      return std::nullopt;
    }
    pause_ = kReconnect;
    if (auto message = unpacked(std::move(body)).and_then(decode)) {
      return std::move(*message);
    }
    ++dropped_;
  }
  return std::nullopt;
}

bool IpcDealer::send(const Message& message) {
  advance();
  if (!connection_ || !connection_->is_ready()) {
    return false;
  }
  connection_->put(encode(message));
  connection_->flush();
  return connection_->is_ready();
}

// False: a signal came.
bool IpcDealer::wait_for(short events, TimePoint until) const {
  const auto left = std::chrono::ceil<milliseconds>(until - steady_clock::now());
  pollfd item{connection_ ? connection_->fd() : -1, events, 0};
  return ::poll(&item, 1, static_cast<int>(std::max(left, milliseconds(0)).count())) >= 0 ||
         errno != EINTR;
}

std::optional<Message> IpcDealer::receive(milliseconds wait) {
  const TimePoint deadline = steady_clock::now() + wait;
  while (true) {
    if (auto message = next_message()) {
      return message;
    }
    advance();
    const bool is_over = steady_clock::now() >= deadline;
    if (!is_over) {
      const bool waits_to_send = connection_ && connection_->bytes_to_send() > 0;
      if (!wait_for(static_cast<short>(waits_to_send ? POLLIN | POLLOUT : POLLIN),
                    connection_ ? deadline : std::min(deadline, open_at_))) {
        return std::nullopt;
      }
    }
    const auto read = connection_ ? connection_->read() : ZmtpConnection::Read::nothing;
    if (connection_ && connection_->is_closed()) {
      close();
    }
    if (is_over && read == ZmtpConnection::Read::nothing) {
      return std::nullopt;
    }
  }
}

}  // namespace turnstile
