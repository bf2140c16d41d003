#include "link/ipc_dealer.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "base/descriptor.h"
#include "link/endpoint.h"
#include "link/frames.h"
#include "link/timing.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// prefetch() keeps up to this: about what one transaction of the consumer takes.
constexpr std::size_t kMaxFetchedBytes = std::size_t{4} * 1024 * 1024;
// The answer to a single row takes about 150 to 350 us (bench, line 8).
constexpr std::chrono::microseconds kAnswerSoon{400};
constexpr std::size_t kSmall = std::size_t{4} * 1024;

// False: a signal came.
bool wait_for(pollfd& item, steady_clock::time_point until) {
  const auto rest = std::chrono::ceil<milliseconds>(until - steady_clock::now());
  return ::poll(&item, 1, static_cast<int>(std::max(rest, milliseconds(0)).count())) >= 0 ||
         errno != EINTR;
}

std::optional<LinkTrouble> trouble_of(int error, const std::string& path) {
  const char* const start =
      "see that `turnstile broker` or `turnstile serve` runs and listens there";
  switch (error) {
    case EACCES:
    case EPERM:
      return LinkTrouble{LinkTrouble::Kind::no_permission, "no permission for the socket " + path,
                         "run this as the broker's user, or give this user the right to read and "
                         "write the socket and to enter its directory"};
    case ENOENT:
    case ENOTDIR:
      return LinkTrouble{LinkTrouble::Kind::no_socket, "there is no socket " + path, start};
    case ECONNREFUSED: {
      struct stat info {};
      if (::stat(path.c_str(), &info) == 0 && !S_ISSOCK(info.st_mode)) {
        return LinkTrouble{LinkTrouble::Kind::no_socket, path + " is not a socket", start};
      }
      return LinkTrouble{LinkTrouble::Kind::nobody_listens,
                         "no broker listens on the socket " + path, start};
    }
    default:
      return std::nullopt;  // such as a broker with a full accept queue
  }
}

}  // namespace

Result<std::unique_ptr<IpcDealer>> IpcDealer::connect(const std::string& endpoint, Spin spin) {
  if (auto checked = check_socket_path(endpoint); !checked) {
    return tl::make_unexpected(checked.error());
  }
  const std::string path = endpoint.starts_with(kIpc) ? endpoint.substr(kIpc.size()) : "";
  if (path.empty()) {
    return fail(Errc::bad_input, "'" + endpoint + "' is not an ipc:// endpoint", kEndpointHint);
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  auto dealer = std::unique_ptr<IpcDealer>(new IpcDealer(address, spin));
  if (const auto& trouble = dealer->trouble_;
      trouble && (trouble->kind == LinkTrouble::Kind::not_trusted ||
                  trouble->kind == LinkTrouble::Kind::no_descriptor)) {
    return fail(Errc::unreachable, trouble->what, trouble->hint);
  }
  return dealer;
}

IpcDealer::IpcDealer(const sockaddr_un& address, Spin spin)
    : address_(address),
      pause_(kReconnect),
      busy_wait_(spin == Spin::briefly ? kAnswerSoon : steady_clock::duration::zero()) {
  open(steady_clock::now());
}

IpcDealer::~IpcDealer() {
  const auto until = steady_clock::now() + kLinger;
  while (connection_ && connection_->is_ready() && connection_->bytes_to_send() > 0 &&
         steady_clock::now() < until) {
    connection_->flush();
    pollfd item{connection_->fd(), POLLOUT, 0};
    (void)wait_for(item, until);
  }
}

void IpcDealer::open(TimePoint now) {
  // Doubled each time, with a random part so that clients do not reconnect in step.
  open_at_ = now + pause_ + milliseconds(jitter_() % static_cast<unsigned>(pause_.count()));
  pause_ = std::min(2 * pause_, kReconnectMax);
  if (auto safe = check_default_directory(address_.sun_path); !safe) {
    trouble_ = {LinkTrouble::Kind::not_trusted, safe.error().what, safe.error().hint};
    return;
  }
  Descriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) {
    trouble_ = {LinkTrouble::Kind::no_descriptor,
                std::string("cannot make a socket: ") + std::strerror(errno),
                "raise the limit of open files (ulimit -n) or close some"};
    return;
  }
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address_), sizeof(address_)) != 0) {
    trouble_ = trouble_of(errno, address_.sun_path);
    return;
  }
  if (auto trusted = check_broker_user(address_.sun_path, fd.get()); !trusted) {
    trouble_ = {LinkTrouble::Kind::not_trusted, trusted.error().what, trusted.error().hint};
    return;
  }
  trouble_.reset();
  connection_.emplace(std::move(fd), ZmtpConnection::End::dealer);
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
  while (connection_ && read != ZmtpConnection::Read::nothing &&
         fetched_bytes_ < kMaxFetchedBytes) {
    fetch_whole();
    read = connection_->read();
  }
}

std::optional<Message> IpcDealer::receive_more() {
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
    sent_ = 0;
    sent_bytes_ = 0;
    last_received_bytes_ = body.size();
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
  const Frames frames = encode(message);
  ++sent_;
  sent_bytes_ += packed_bytes(frames);
  connection_->put(frames);
  connection_->flush();
  return connection_->is_ready();
}

// A client that sends or gets much has other work, and so does the broker: no spinning then.
bool IpcDealer::awaits_small_answer() const {
  return sent_ == 1 && sent_bytes_ <= kSmall && last_received_bytes_ <= kSmall;
}

std::optional<Message> IpcDealer::receive(milliseconds wait) {
  const TimePoint start = steady_clock::now();
  const TimePoint deadline = start + wait;
  const bool is_soon = awaits_small_answer() && wait > milliseconds(0);
  bool has_spun = false;
  const auto ended = [&] {
    if (is_soon) {
      busy_wait_.ended(steady_clock::now() - start);
    }
  };
  while (true) {
    if (auto message = receive_more()) {
      ended();
      return message;
    }
    advance();
    const bool is_over = steady_clock::now() >= deadline;
    if (!is_over) {
      const bool waits_to_send = connection_ && connection_->bytes_to_send() > 0;
      pollfd item{connection_ ? connection_->fd() : -1,
                  static_cast<short>(waits_to_send ? POLLIN | POLLOUT : POLLIN), 0};
      const auto until = connection_ ? deadline : std::min(deadline, open_at_);
      int ready = 0;
      const bool came = is_soon && !std::exchange(has_spun, true) && busy_wait_.wait([&] {
        ready = ::poll(&item, 1, 0);
        return ready != 0;
      });
      if (came ? ready < 0 && errno == EINTR : !wait_for(item, until)) {
        return std::nullopt;
      }
    }
    const auto read = connection_ ? connection_->read() : ZmtpConnection::Read::nothing;
    if (connection_ && connection_->is_closed()) {
      close();
    }
    if (is_over && read == ZmtpConnection::Read::nothing) {
      ended();
      return std::nullopt;
    }
  }
}

}  // namespace turnstile
