#include "link/listener.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <limits>
#include <new>
#include <span>
#include <string_view>
#include <utility>

#include "link/endpoint.h"
#include "link/frames.h"
#include "link/timing.h"

namespace turnstile {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kUnreadBytes = std::size_t{1024} * 1024;
// Whoever reads, but less than it asks for, is no better.
constexpr std::size_t kWaitingBytes = 8 * kUnreadBytes;
constexpr std::size_t kMessageOverhead = 128;
constexpr std::size_t kEventsAtOnce = 256;
constexpr int kAcceptedAtOnce = 64;
// Looks at a connection that bring no message and yet have more, such as a piece of a large one.
constexpr int kFruitlessAtOnce = 1;
// Messages of which more than this is missing are read at 300 MiB/s together, at most, and the
// processor is left to whole ones. A loop that is never idle also loses its place with the system's
// scheduler. A look counts for some bytes, whatever it brings.
constexpr std::size_t kMuch = std::size_t{256} * 1024;
constexpr std::int64_t kBytesPerMicrosecond = 315;
constexpr std::size_t kLookBytes = std::size_t{4} * 1024;
// A journal and, in `serve`, a target with its text log: files, write-ahead logs, shared memory.
constexpr rlim_t kDescriptorsKept = 16;
constexpr auto kPingAfter = 2s;
constexpr auto kSilentAtMost = 10s;
constexpr auto kHelloWithin = 30s;
constexpr auto kAnswerArrivesWithin = 1s;

Error cannot_listen(const std::string& endpoint, const std::string& why) {
  return {Errc::unreachable, "cannot listen on " + endpoint + ": " + why,
          "Is another program listening there? Give --broker another endpoint."};
}

int stream_socket(int family) {
  return ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

// A socket that a broker left, which whoever calls this has locked. What else is there is
// somebody's, unless it is empty.
bool remove_left_socket(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT;
  }
  const bool is_ours = S_ISSOCK(info.st_mode) || (S_ISREG(info.st_mode) && info.st_size == 0);
  return is_ours && ::unlink(path.c_str()) == 0;
}

struct HostPort {
  std::string host;
  std::string port;
  bool is_ipv6;
};

std::optional<HostPort> split(std::string_view address) {
  const auto colon = address.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == address.size()) {
    return std::nullopt;
  }
  HostPort out{std::string(address.substr(0, colon)), std::string(address.substr(colon + 1)),
               address.front() == '['};
  if (out.is_ipv6 && out.host.back() == ']') {
    out.host = out.host.substr(1, out.host.size() - 2);
  }
  if (out.port == "*") {
    out.port = "0";
  }
  return out;
}

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
  // Before Linux 5.11, and where a sandbox does not know the call.
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(most);
  return ::epoll_wait(epoll, events.data(), size, static_cast<int>(ms.count()));
}

// As numbers.
std::string tcp_endpoint_of(int fd) {
  constexpr std::size_t kPortBytes = 16;
  sockaddr_storage name{};
  socklen_t size = sizeof(name);
  std::array<char, NI_MAXHOST> host{};
  std::array<char, kPortBytes> port{};
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0 ||
      ::getnameinfo(reinterpret_cast<const sockaddr*>(&name), size, host.data(), host.size(),
                    port.data(), port.size(), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return {};
  }
  const std::string text = host.data();
  return std::string(kTcp) + (name.ss_family == AF_INET6 ? "[" + text + "]" : text) + ":" +
         port.data();
}

}  // namespace

Result<std::unique_ptr<Listener>> Listener::make(std::size_t begun_bytes) {
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) {
    return fail(Errc::unreachable, std::string("cannot wait for clients: ") + std::strerror(errno));
  }
  return std::unique_ptr<Listener>(new Listener(epoll, begun_bytes));
}

Listener::Listener(int epoll, std::size_t begun_bytes) : epoll_(epoll), most_begun_(begun_bytes) {}

Listener::~Listener() {
  peers_.clear();
  if (door_ >= 0) {
    ::close(door_);
  }
  if (!path_.empty() && path() == Path::ours) {
    ::unlink(path_.c_str());
  }
  ::close(epoll_);
}

// ---- the door

bool Listener::watch(int fd, Id id, std::uint32_t events, int how) const {
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  return ::epoll_ctl(epoll_, how, fd, &event) == 0;
}

// Takes the bound socket over, whatever comes of it.
Result<void> Listener::open_door(int fd) {
  door_ = fd;
  if (::listen(door_, SOMAXCONN) != 0 || !watch(door_, kDoor, EPOLLIN, EPOLL_CTL_ADD)) {
    return fail(Errc::unreachable, std::string("cannot listen: ") + std::strerror(errno));
  }
  return {};
}

Result<void> Listener::listen(const std::string& endpoint) {
  endpoint_ = endpoint;
  if (endpoint.starts_with(kIpc)) {
    return listen_at_path(endpoint.substr(kIpc.size()));
  }
  if (endpoint.starts_with(kTcp)) {
    return listen_at_port(endpoint.substr(kTcp.size()));
  }
  return fail(Errc::bad_input, "cannot listen on '" + endpoint + "'", kEndpointHint);
}

Result<void> Listener::listen_at_path(const std::string& path) {
  if (!remove_left_socket(path)) {
    return tl::make_unexpected(cannot_listen(endpoint_, "there is a file of that name"));
  }
  return bind_at_path(path);
}

Listener::Path Listener::path() const {
  if (path_.empty()) {
    return Path::ours;
  }
  const auto there = identity_of_name(path_);
  if (!there) {
    return Path::gone;
  }
  return there == at_path_ ? Path::ours : Path::taken;
}

Result<void> Listener::listen_again() {
  const int before = std::exchange(door_, -1);
  auto listening = bind_at_path(std::string(path_));
  if (!listening) {
    if (door_ >= 0) {
      ::close(door_);
    }
    door_ = before;
    return listening;
  }
  ::close(before);  // clients that wait there connect again
  return {};
}

Result<void> Listener::bind_at_path(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return tl::make_unexpected(cannot_listen(endpoint_, std::strerror(ENAMETOOLONG)));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());
  const int fd = stream_socket(AF_UNIX);
  const mode_t mask = ::umask(0077);  // promise 10
  const bool is_bound =
      fd >= 0 && ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  const int problem = errno;
  ::umask(mask);
  if (!is_bound) {
    if (fd >= 0) {
      ::close(fd);
    }
    return tl::make_unexpected(cannot_listen(endpoint_, std::strerror(problem)));
  }
  path_ = path;
  at_path_ = identity_of_name(path);
  return open_door(fd);
}

Result<void> Listener::listen_at_port(const std::string& address) {
  const auto parts = split(address);
  if (!parts) {
    return fail(Errc::bad_input, "cannot listen on '" + endpoint_ + "'", kEndpointHint);
  }
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_family = parts->is_ipv6 ? AF_INET6 : AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(parts->host == "*" ? nullptr : parts->host.c_str(),
                                 parts->port.c_str(), &hints, &found);
  if (code != 0) {
    return tl::make_unexpected(cannot_listen(endpoint_, ::gai_strerror(code)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, ::freeaddrinfo);
  const int fd = stream_socket(found->ai_family);
  const int yes = 1;
  if (fd < 0 || ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0 ||
      ::bind(fd, found->ai_addr, found->ai_addrlen) != 0) {
    const int problem = errno;
    if (fd >= 0) {
      ::close(fd);
    }
    return tl::make_unexpected(cannot_listen(endpoint_, std::strerror(problem)));
  }
  endpoint_ = tcp_endpoint_of(fd);
  is_tcp_ = true;
  return open_door(fd);
}

// For one more, beside those that the journal may need to be opened anew.
bool Listener::has_descriptor() const {
  rlimit limit{};
  const int next = ::fcntl(epoll_, F_DUPFD_CLOEXEC, 0);
  if (next < 0 || ::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return false;
  }
  ::close(next);
  const rlim_t kept = std::min(kDescriptorsKept, limit.rlim_cur / 4);
  return static_cast<rlim_t>(next) < limit.rlim_cur - kept;
}

// Whoever is not let in waits: the door would call without end, and is asked again with the next
// tick().
void Listener::close_door() {
  lacks_descriptors_ = true;
  ::epoll_ctl(epoll_, EPOLL_CTL_DEL, door_, nullptr);
}

void Listener::accept_all(TimePoint now) {
  for (int i = 0; i < kAcceptedAtOnce; ++i) {
    if (!has_descriptor()) {
      close_door();
      return;
    }
    const int fd = ::accept4(door_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        close_door();
      }
      if (errno == EINTR || errno == ECONNABORTED) {
        continue;
      }
      return;
    }
    if (is_tcp_) {
      const int yes = 1;
      // Without it answers wait for each other, no more.
      static_cast<void>(::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)));
    }
    const Id id = next_id_++;
    if (!watch(fd, id, EPOLLIN, EPOLL_CTL_ADD)) {
      ::close(fd);
      return;
    }
    try {
      const auto peer = peers_.try_emplace(id, fd, now, begun_).first;
      peer->second.user = is_tcp_ ? User() : user_of(fd);
      handshakes_.emplace_back(now + kHandshake, id);
      greetings_.emplace_back(now + kHelloWithin, id);
    } catch (const std::bad_alloc&) {
      if (peers_.erase(id) == 0) {
        ::close(fd);
      }
      return;
    }
  }
}

// ---- messages

Result<void> Listener::watch_also(int fd) {
  if (!watch(fd, kElse, EPOLLIN, EPOLL_CTL_ADD)) {
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
  std::chrono::nanoseconds left = ready_.empty() ? most : 0ms;
  if (!resting_.empty()) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= waking_) {
      wake_those_that_rest();
    } else {
      left = std::min<std::chrono::nanoseconds>(waking_ - now, left);
    }
  }
  std::array<epoll_event, kEventsAtOnce> events;
  const int count = wait_for_events(epoll_, events, left);
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

void Listener::on_event(Id id, std::uint32_t events, TimePoint now) {
  if (id == kDoor) {
    accept_all(now);
    return;
  }
  const auto found = peers_.find(id);
  if (found == peers_.end()) {
    return;
  }
  Peer& peer = found->second;
  if (peer.is_over && (events & (EPOLLHUP | EPOLLERR)) != 0) {
    peers_.erase(found);
    return;
  }
  if ((events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) {
    peer.is_readable = true;
    peer.heard = now;
    enqueue(id, peer);
  }
  if ((events & EPOLLOUT) != 0) {
    flush(id, peer);  // last: it may be the end of the peer
  }
}

void Listener::enqueue(Id id, Peer& peer) {
  if (!peer.is_queued) {
    peer.is_queued = true;
    ready_.push_back(id);
  }
}

std::optional<ZmtpConnection::Incoming> Listener::next_of(Peer& peer) {
  auto message = peer.connection.next();
  if (!message && peer.is_readable && !peer.connection.is_paused()) {
    // Once for each event, unless more is surely there: the next wait tells of the rest.
    peer.is_readable = peer.connection.read() == ZmtpConnection::Read::as_much_as_fits;
    message = peer.connection.next();
  }
  return message;
}

std::optional<Listener::Received> Listener::receive() {
  for (int fruitless = 0; fruitless < kFruitlessAtOnce && !ready_.empty();) {
    const Id id = ready_.front();
    ready_.pop_front();
    const auto found = peers_.find(id);
    if (found == peers_.end()) {
      continue;
    }
    Peer& peer = found->second;
    peer.is_queued = false;
    if (peer.is_over) {
      continue;
    }
    std::optional<ZmtpConnection::Incoming> message;
    try {
      message = next_of(peer);
    } catch (const std::bad_alloc&) {
      peers_.erase(found);  // it sends again; the others' messages find room
      continue;
    }
    const bool goes_on = peer.is_readable || peer.connection.is_paused();
    fruitless += !message && goes_on ? 1 : 0;
    peer.has_spoken = peer.has_spoken || message;
    const std::size_t begun_before = peer.begun;
    count_begun(peer);
    if (!message && peer.connection.bytes_missing() > kMuch && !peer.connection.is_closed()) {
      rest(id, peer, peer.begun - std::min(peer.begun, begun_before));
    } else if (message || goes_on) {
      enqueue(id, peer);
    } else {
      flush(id, peer);  // a handshake's, or an answer to a ping
    }
    give_up_the_eldest();
    if (message) {
      return Received{route_of(id), std::move(*message)};
    }
  }
  return std::nullopt;
}

bool Listener::watch_again(Id id, const Peer& peer) const {
  std::uint32_t events = 0;
  if (!peer.is_resting && !peer.is_over) {
    events |= EPOLLIN;
  }
  if (peer.waits_to_write) {
    events |= EPOLLOUT;
  }
  return watch(peer.connection.fd(), id, events, EPOLL_CTL_MOD);
}

// Of one that has hung up the system tells all the same, and what its socket holds is read at once.
void Listener::rest(Id id, Peer& peer, std::size_t bytes_read) {
  const auto cost = static_cast<std::int64_t>(kLookBytes + bytes_read) / kBytesPerMicrosecond;
  waking_ = std::max(waking_, std::chrono::steady_clock::now()) + std::chrono::microseconds(cost);
  if (!peer.is_resting) {
    peer.is_resting = true;
    watch_again(id, peer);
    resting_.push_back(id);
  }
}

void Listener::wake_those_that_rest() {
  for (const Id id : std::exchange(resting_, {})) {
    const auto found = peers_.find(id);
    if (found == peers_.end()) {
      continue;
    }
    found->second.is_resting = false;
    if (!watch_again(id, found->second)) {
      peers_.erase(found);
    }
  }
}

void Listener::count_begun(Peer& peer) {
  const std::size_t now = peer.connection.bytes_begun();
  if (peer.begun == 0 && now > 0) {
    peer.begun_order = next_begun_++;
  }
  begun_ = begun_ - peer.begun + now;
  peer.begun = now;
}

void Listener::give_up_the_eldest() {
  while (begun_ > most_begun_) {
    const auto eldest = std::min_element(peers_.begin(), peers_.end(), [](auto& a, auto& b) {
      const auto order = [](const Peer& peer) {
        return peer.begun > 0 ? peer.begun_order : std::numeric_limits<std::uint64_t>::max();
      };
      return order(a.second) < order(b.second);
    });
    peers_.erase(eldest);
  }
}

bool Listener::send(const Route& route, const Frames& frames, bool is_bounded) {
  Peer* const peer = peer_of(route);
  if (peer == nullptr || peer->connection.is_closed()) {
    return false;
  }
  if (peer->sent_before != peer->connection.bytes_sent()) {
    peer->sent_before = peer->connection.bytes_sent();
    peer->unread = 0;
  }
  if (is_bounded &&
      (peer->unread > kUnreadBytes || peer->connection.bytes_to_send() > kWaitingBytes)) {
    cut(route);
    return false;
  }
  if (peer->connection.bytes_to_send() == 0) {
    to_flush_.push_back(*id_of(route));
  }
  const std::size_t before = peer->connection.bytes_to_send();
  peer->connection.put(frames);
  peer->unread += peer->connection.bytes_to_send() - before + kMessageOverhead;
  return true;
}

void Listener::flush() {
  for (const Id id : std::exchange(to_flush_, {})) {
    if (const auto found = peers_.find(id); found != peers_.end()) {
      flush(id, found->second);
    }
  }
}

void Listener::flush(Id id, Peer& peer) {
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
  const auto waits = [this] {
    return std::any_of(peers_.begin(), peers_.end(),
                       [](const auto& each) { return each.second.waits_to_write; });
  };
  while (waits() && std::chrono::steady_clock::now() < until) {
    std::array<epoll_event, kEventsAtOnce> events;
    const int count = ::epoll_wait(epoll_, events.data(), events.size(), 10);
    for (int i = 0; i < count; ++i) {
      const auto& event = events[static_cast<std::size_t>(i)];
      const Id id = event.data.u64;  // the event is packed: no reference to it
      const auto found = peers_.find(id);
      if (found != peers_.end() && (event.events & EPOLLOUT) != 0) {
        flush(id, found->second);
      }
    }
  }
}

// ---- each

Listener::Route Listener::route_of(Id id) {
  Route route(sizeof(id), '\0');
  std::memcpy(route.data(), &id, sizeof(id));
  return route;
}

std::optional<Listener::Id> Listener::id_of(const Route& route) {
  Id id = 0;
  if (route.size() != sizeof(id)) {
    return std::nullopt;
  }
  std::memcpy(&id, route.data(), sizeof(id));
  return id;
}

Listener::Peer* Listener::peer_of(const Route& route) {
  const auto id = id_of(route);
  const auto found = id ? peers_.find(*id) : peers_.end();
  return found == peers_.end() ? nullptr : &found->second;
}

Allowance* Listener::allowance(const Route& route) {
  Peer* const peer = peer_of(route);
  return peer == nullptr ? nullptr : &peer->allowance;
}

User Listener::user(const Route& route) {
  const Peer* const peer = peer_of(route);
  return peer == nullptr ? User() : peer->user;
}

void Listener::greeted(const Route& route) {
  if (Peer* const peer = peer_of(route); peer != nullptr) {
    peer->has_greeted = true;
  }
}

void Listener::cut(const Route& route) {
  if (const auto id = id_of(route)) {
    peers_.erase(*id);
  }
}

void Listener::cut_soon(const Route& route, TimePoint now) {
  Peer* const peer = peer_of(route);
  if (peer == nullptr || peer->is_over) {
    return;
  }
  const Id id = *id_of(route);
  peer->is_over = true;
  closings_.emplace_back(now + kAnswerArrivesWithin, id);
  if (!watch_again(id, *peer)) {
    peers_.erase(id);
  }
}

std::size_t Listener::cut_where(const std::function<bool(const Route*)>& wanted) {
  return std::erase_if(peers_, [&](const auto& each) {
    const Route route = route_of(each.first);
    return wanted(each.second.has_spoken ? &route : nullptr);
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
    lacks_descriptors_ = !watch(door_, kDoor, EPOLLIN, EPOLL_CTL_ADD) && errno != EEXIST;
    accept_all(now);
  }
  if (now < next_signs_of_life_) {
    return;
  }
  next_signs_of_life_ = now + kPingAfter;
  // Nobody is left who was not asked: the silence may have been this process's own.
  std::erase_if(peers_, [&](const auto& each) {
    const Peer& peer = each.second;
    return peer.asked && peer.heard < *peer.asked && now - *peer.asked > kSilentAtMost - kPingAfter;
  });
  for (auto& [id, peer] : peers_) {
    const bool is_asked = peer.asked && peer.heard < *peer.asked;
    if (is_tcp_ && peer.connection.is_ready() && now - peer.heard >= kPingAfter && !is_asked) {
      peer.asked = now;
      peer.connection.ping();
      to_flush_.push_back(id);
    }
  }
  flush();
}

}  // namespace turnstile
