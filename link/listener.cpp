#include "link/listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <new>

#include "link/timing.h"

namespace turnstile {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kUnreadBytes = std::size_t{1024} * 1024;
// A slow reader counts as one that reads nothing.
constexpr std::size_t kWaitingBytes = 8 * kUnreadBytes;
constexpr std::size_t kMessageOverhead = 128;
constexpr std::size_t kMaxEvents = 256;
constexpr int kMaxAccepted = 64;
// Reads of one receive() that complete no message although more bytes are there, such as a piece of
// a large message.
constexpr int kMaxEmptyReads = 1;
// Messages that lack more than this are throttled to 300 MiB/s together, which leaves processor
// time for complete messages: the system's scheduler also disfavours a loop that is never idle.
// Each read counts as at least kReadCost bytes.
constexpr std::size_t kThrottledBytes = std::size_t{256} * 1024;
constexpr std::int64_t kBytesPerMicrosecond = 315;
constexpr std::size_t kReadCost = std::size_t{4} * 1024;
// For the journal and, in `serve`, a target with its text log: files, write-ahead logs, shared
// memory.
constexpr rlim_t kReservedDescriptors = 16;
constexpr auto kPingAfter = 2s;
constexpr auto kMaxSilence = 10s;
constexpr auto kHelloWithin = 30s;
constexpr auto kAnswerArrivesWithin = 1s;

User user_of(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return std::nullopt;
  }
  return peer.uid;
}

int wait_for_events(int epoll, std::span<epoll_event> events, std::chrono::nanoseconds most) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(most);
  const timespec time{seconds.count(), (most - seconds).count()};
  const auto size = static_cast<int>(events.size());
  const int count = ::epoll_pwait2(epoll, events.data(), size, &time, nullptr);
  if (count >= 0 || (errno != ENOSYS && errno != EPERM)) {
    return count;
  }
  // Before Linux 5.11, or in a sandbox that does not know the call.
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(most);
  return ::epoll_wait(epoll, events.data(), size, static_cast<int>(ms.count()));
}

}  // namespace

Result<std::unique_ptr<Listener>> Listener::make(std::size_t partial_bytes) {
  Descriptor epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) {
    return fail(Errc::unreachable, std::string("cannot wait for clients: ") + std::strerror(errno));
  }
  return std::unique_ptr<Listener>(new Listener(std::move(epoll), partial_bytes));
}

Listener::Listener(Descriptor epoll, std::size_t partial_bytes)
    : epoll_(std::move(epoll)), max_partial_(partial_bytes) {}

// ---- accepting

bool Listener::watch(int fd, std::uint64_t event_id, std::uint32_t events, int how) const {
  epoll_event event{};
  event.events = events;
  event.data.u64 = event_id;
  return ::epoll_ctl(epoll_.get(), how, fd, &event) == 0;
}

Result<void> Listener::watch_listen_socket() {
  if (!watch(socket_.fd(), kListenFd, EPOLLIN, EPOLL_CTL_ADD)) {
    lacks_descriptors_ = true;  // tick() tries again
    return fail(Errc::unreachable, std::string("cannot listen: ") + std::strerror(errno));
  }
  return {};
}

Result<void> Listener::listen(const std::string& endpoint) {
  return socket_.listen(endpoint).and_then([this] { return watch_listen_socket(); });
}

Result<void> Listener::listen_again() {
  return socket_.listen_again().and_then([this] { return watch_listen_socket(); });
}

// True if one more descriptor leaves the journal its reserve.
bool Listener::has_descriptor() const {
  rlimit limit{};
  const Descriptor next(::fcntl(epoll_.get(), F_DUPFD_CLOEXEC, 0));
  if (!next || ::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return false;
  }
  const rlim_t reserved = std::min(kReservedDescriptors, limit.rlim_cur / 4);
  return static_cast<rlim_t>(next.get()) < limit.rlim_cur - reserved;
}

// Clients wait in the socket's queue until tick() watches it again. Until then it would wake every
// wait().
void Listener::stop_accepting() {
  lacks_descriptors_ = true;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket_.fd(), nullptr);
}

void Listener::accept_all(TimePoint now) {
  for (int i = 0; i < kMaxAccepted; ++i) {
    if (!has_descriptor()) {
      stop_accepting();
      return;
    }
    Descriptor fd(::accept4(socket_.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        stop_accepting();
      }
      if (errno == EINTR || errno == ECONNABORTED) {
        continue;
      }
      return;
    }
    if (socket_.is_tcp()) {
      const int yes = 1;
      // If it fails, answers wait for each other, and that is all.
      static_cast<void>(::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)));
    }
    const ConnectionId id{next_id_++};
    if (!watch(fd.get(), id.value, EPOLLIN, EPOLL_CTL_ADD)) {
      return;
    }
    const User user = socket_.is_tcp() ? User() : user_of(fd.get());
    try {
      peers_.try_emplace(id, std::move(fd), now, partial_).first->second.user = user;
      handshakes_.emplace_back(now + kHandshake, id);
      greetings_.emplace_back(now + kHelloWithin, id);
    } catch (const std::bad_alloc&) {
      peers_.erase(id);
      return;
    }
  }
}

// ---- messages

Result<void> Listener::watch_extra_fd(int fd) {
  if (!watch(fd, kExtraFd, EPOLLIN, EPOLL_CTL_ADD)) {
    return fail(Errc::io, std::string("cannot wait for the consumer: ") + std::strerror(errno));
  }
  return {};
}

Result<bool> Listener::wait(int stop_fd, std::chrono::milliseconds most) {
  if (stop_fd_ != stop_fd) {
    if (!watch(stop_fd, kStop, EPOLLIN, EPOLL_CTL_ADD)) {
      return fail(Errc::io, std::string("cannot wait for the stop: ") + std::strerror(errno));
    }
    stop_fd_ = stop_fd;
  }
  std::chrono::nanoseconds wait_time = ready_.empty() ? most : 0ms;
  if (!throttled_.empty()) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= throttled_until_) {
      end_throttling();
    } else {
      wait_time = std::min<std::chrono::nanoseconds>(throttled_until_ - now, wait_time);
    }
  }
  std::array<epoll_event, kMaxEvents> events;
  const int count = wait_for_events(epoll_.get(), events, wait_time);
  if (count < 0 && errno != EINTR) {
    return fail(Errc::io, std::string("waiting for messages failed: ") + std::strerror(errno));
  }
  const auto now = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) {
    const auto& event = events[static_cast<std::size_t>(i)];
    if (event.data.u64 == kStop) {
      return true;
    }
    on_event(event.data.u64, event.events, now);
  }
  return false;
}

void Listener::on_event(std::uint64_t event_id, std::uint32_t events, TimePoint now) {
  if (event_id == kListenFd) {
    accept_all(now);
    return;
  }
  const ConnectionId id{event_id};
  const auto found = peers_.find(id);
  if (found == peers_.end()) {
    return;
  }
  Peer& peer = found->second;
  if (peer.is_closing && (events & (EPOLLHUP | EPOLLERR)) != 0) {
    peers_.erase(found);
    return;
  }
  if ((events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) {
    peer.is_readable = true;
    peer.heard = now;
    enqueue(id, peer);
  }
  if ((events & EPOLLOUT) != 0) {
    flush(id, peer);  // last: it may erase the peer
  }
}

void Listener::enqueue(ConnectionId id, Peer& peer) {
  if (!peer.is_queued) {
    peer.is_queued = true;
    ready_.push_back(id);
  }
}

std::optional<ZmtpConnection::Incoming> Listener::next_of(Peer& peer) {
  auto message = peer.connection.next();
  if (!message && peer.is_readable && !peer.connection.is_paused()) {
    // One read for each event, unless more bytes are surely there: the next wait reports the rest.
    peer.is_readable = peer.connection.read() == ZmtpConnection::Read::as_much_as_fits;
    message = peer.connection.next();
  }
  return message;
}

std::optional<Listener::Received> Listener::receive() {
  for (int empty_reads = 0; empty_reads < kMaxEmptyReads && !ready_.empty();) {
    const ConnectionId id = ready_.front();
    ready_.pop_front();
    const auto found = peers_.find(id);
    if (found == peers_.end()) {
      continue;
    }
    Peer& peer = found->second;
    peer.is_queued = false;
    if (peer.is_closing) {
      continue;
    }
    std::optional<ZmtpConnection::Incoming> message;
    try {
      message = next_of(peer);
    } catch (const std::bad_alloc&) {
      peers_.erase(found);  // the client sends again, and the others' messages find room
      continue;
    }
    const bool has_more = peer.is_readable || peer.connection.is_paused();
    empty_reads += !message && has_more ? 1 : 0;
    peer.has_spoken = peer.has_spoken || message;
    const std::size_t partial_before = peer.partial;
    count_partial(peer);
    if (!message && peer.connection.bytes_missing() > kThrottledBytes &&
        !peer.connection.is_closed()) {
      throttle(id, peer, peer.partial - std::min(peer.partial, partial_before));
    } else if (message || has_more) {
      enqueue(id, peer);
    } else {
      flush(id, peer);  // of a handshake, or the answer to a ping
    }
    drop_oldest_partial();
    if (message) {
      return Received{id, std::move(*message)};
    }
  }
  return std::nullopt;
}

bool Listener::watch_again(ConnectionId id, const Peer& peer) const {
  std::uint32_t events = 0;
  if (!peer.is_throttled && !peer.is_closing) {
    events |= EPOLLIN;
  }
  if (peer.waits_to_write) {
    events |= EPOLLOUT;
  }
  return watch(peer.connection.fd(), id.value, events, EPOLL_CTL_MOD);
}

// The system still reports a hang-up, and then the rest of the socket's bytes is read immediately.
void Listener::throttle(ConnectionId id, Peer& peer, std::size_t bytes_read) {
  const auto cost = static_cast<std::int64_t>(kReadCost + bytes_read) / kBytesPerMicrosecond;
  throttled_until_ = std::max(throttled_until_, std::chrono::steady_clock::now()) +
                     std::chrono::microseconds(cost);
  if (!peer.is_throttled) {
    peer.is_throttled = true;
    watch_again(id, peer);
    throttled_.push_back(id);
  }
}

void Listener::end_throttling() {
  for (const ConnectionId id : std::exchange(throttled_, {})) {
    const auto found = peers_.find(id);
    if (found == peers_.end()) {
      continue;
    }
    found->second.is_throttled = false;
    if (!watch_again(id, found->second)) {
      peers_.erase(found);
    }
  }
}

void Listener::count_partial(Peer& peer) {
  const std::size_t now = peer.connection.bytes_partial();
  if (peer.partial == 0 && now > 0) {
    peer.partial_order = next_partial_++;
  }
  partial_ = partial_ - peer.partial + now;
  peer.partial = now;
}

void Listener::drop_oldest_partial() {
  while (partial_ > max_partial_) {
    const auto oldest = std::min_element(peers_.begin(), peers_.end(), [](auto& a, auto& b) {
      const auto order = [](const Peer& peer) {
        return peer.partial > 0 ? peer.partial_order : std::numeric_limits<std::uint64_t>::max();
      };
      return order(a.second) < order(b.second);
    });
    peers_.erase(oldest);
  }
}

bool Listener::send(ConnectionId id, const Frames& frames, bool is_bounded) {
  Peer* const peer = find(id);
  if (peer == nullptr || peer->connection.is_closed()) {
    return false;
  }
  if (peer->sent_before != peer->connection.bytes_sent()) {
    peer->sent_before = peer->connection.bytes_sent();
    peer->unread = 0;
  }
  if (is_bounded &&
      (peer->unread > kUnreadBytes || peer->connection.bytes_to_send() > kWaitingBytes)) {
    disconnect(id);
    return false;
  }
  if (peer->connection.bytes_to_send() == 0) {
    to_flush_.push_back(id);
  }
  const std::size_t before = peer->connection.bytes_to_send();
  peer->connection.put(frames);
  peer->unread += peer->connection.bytes_to_send() - before + kMessageOverhead;
  return true;
}

void Listener::flush() {
  for (const ConnectionId id : std::exchange(to_flush_, {})) {
    if (const auto found = peers_.find(id); found != peers_.end()) {
      flush(id, found->second);
    }
  }
}

void Listener::flush(ConnectionId id, Peer& peer) {
  peer.connection.flush();
  if (peer.connection.is_closed()) {
    peers_.erase(id);
    return;
  }
  const bool waits = peer.connection.bytes_to_send() > 0;
  if (waits != peer.waits_to_write) {
    peer.waits_to_write = waits;
    peer.waits_to_write = watch_again(id, peer) ? waits : !waits;
  }
}

void Listener::linger(std::chrono::milliseconds most) {
  const auto until = std::chrono::steady_clock::now() + most;
  const auto is_waiting = [this] {
    return std::any_of(peers_.begin(), peers_.end(),
                       [](const auto& each) { return each.second.waits_to_write; });
  };
  while (is_waiting() && std::chrono::steady_clock::now() < until) {
    std::array<epoll_event, kMaxEvents> events;
    const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), 10);
    for (int i = 0; i < count; ++i) {
      const auto& event = events[static_cast<std::size_t>(i)];
      const ConnectionId id{event.data.u64};
      const auto found = peers_.find(id);
      if (found != peers_.end() && (event.events & EPOLLOUT) != 0) {
        flush(id, found->second);
      }
    }
  }
}

// ---- one connection

Listener::Peer* Listener::find(ConnectionId id) {
  const auto found = peers_.find(id);
  return found == peers_.end() ? nullptr : &found->second;
}

Allowance* Listener::allowance(ConnectionId id) {
  Peer* const peer = find(id);
  return peer == nullptr ? nullptr : &peer->allowance;
}

User Listener::user(ConnectionId id) {
  const Peer* const peer = find(id);
  return peer == nullptr ? User() : peer->user;
}

void Listener::note_hello(ConnectionId id) {
  if (Peer* const peer = find(id); peer != nullptr) {
    peer->has_greeted = true;
  }
}

void Listener::disconnect(ConnectionId id) {
  peers_.erase(id);
}

void Listener::disconnect_soon(ConnectionId id, TimePoint now) {
  Peer* const peer = find(id);
  if (peer == nullptr || peer->is_closing) {
    return;
  }
  peer->is_closing = true;
  closings_.emplace_back(now + kAnswerArrivesWithin, id);
  if (!watch_again(id, *peer)) {
    peers_.erase(id);
  }
}

std::size_t Listener::disconnect_where(
    const std::function<bool(std::optional<ConnectionId>)>& wanted) {
  return std::erase_if(peers_, [&](const auto& each) {
    return wanted(each.second.has_spoken ? std::optional(each.first) : std::nullopt);
  });
}

void Listener::tick(TimePoint now) {
  while (!handshakes_.empty() && handshakes_.front().first <= now) {
    const auto found = peers_.find(handshakes_.front().second);
    if (found != peers_.end() && !found->second.connection.is_ready()) {
      peers_.erase(found);
    }
    handshakes_.pop_front();
  }
  for (; !closings_.empty() && closings_.front().first <= now; closings_.pop_front()) {
    peers_.erase(closings_.front().second);
  }
  for (; !greetings_.empty() && greetings_.front().first <= now; greetings_.pop_front()) {
    const auto found = peers_.find(greetings_.front().second);
    if (found != peers_.end() && !found->second.has_greeted) {
      peers_.erase(found);
    }
  }
  if (std::exchange(lacks_descriptors_, false)) {
    lacks_descriptors_ = !watch(socket_.fd(), kListenFd, EPOLLIN, EPOLL_CTL_ADD) && errno != EEXIST;
    accept_all(now);
  }
  if (now < next_pings_) {
    return;
  }
  next_pings_ = now + kPingAfter;
  // Ping before dropping: this process may be the one that stalled.
  std::erase_if(peers_, [&](const auto& each) {
    const Peer& peer = each.second;
    return peer.pinged && peer.heard < *peer.pinged &&
           now - *peer.pinged > kMaxSilence - kPingAfter;
  });
  for (auto& [id, peer] : peers_) {
    const bool is_pinged = peer.pinged && peer.heard < *peer.pinged;
    if (socket_.is_tcp() && peer.connection.is_ready() && now - peer.heard >= kPingAfter &&
        !is_pinged) {
      peer.pinged = now;
      peer.connection.ping();
      to_flush_.push_back(id);
    }
  }
  flush();
}

}  // namespace turnstile
