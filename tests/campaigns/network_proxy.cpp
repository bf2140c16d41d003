#include "tests/campaigns/network_proxy.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <utility>

namespace turnstile::campaign {
namespace {

constexpr std::size_t kQueuedBytes = std::size_t{128} * 1024;
constexpr std::size_t kReadBytes = std::size_t{32} * 1024;
constexpr std::chrono::milliseconds kIdle{1000};

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

const sockaddr* generic(const sockaddr_in& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

int listen_somewhere(std::uint16_t& port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const sockaddr_in any = loopback(0);
  sockaddr_in bound{};
  socklen_t size = sizeof(bound);
  if (fd < 0 || ::bind(fd, generic(any), sizeof(any)) != 0 || ::listen(fd, 128) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    throw std::runtime_error("cannot listen on 127.0.0.1");
  }
  port = ntohs(bound.sin_port);
  return fd;
}

void send_at_once(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

}  // namespace

const char* name_of(End end) {
  constexpr std::array kNames{"none",         "fin",          "reset",     "swallow_up",
                              "swallow_down", "swallow_both", "black_hole"};
  return kNames.at(static_cast<std::size_t>(end));
}

Proxy::Socket::Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

Proxy::Socket& Proxy::Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void Proxy::Socket::close() {
  if (fd_ >= 0) {
    ::close(std::exchange(fd_, -1));
  }
}

Proxy::Proxy(std::uint16_t target_port, std::function<Fate()> draw)
    : target_port_(target_port),
      draw_(std::move(draw)),
      listener_(listen_somewhere(port_)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this] { run(); }) {}

Proxy::~Proxy() {
  stop_ = true;
  wake();
  thread_.join();
}

std::string Proxy::endpoint() const {
  return "tcp://127.0.0.1:" + std::to_string(port_);
}

void Proxy::wake() const {
  const std::uint64_t one = 1;
  static_cast<void>(::write(wake_.fd(), &one, sizeof(one)) == ssize_t{sizeof(one)});
}

void Proxy::strike(End end) {
  std::unique_lock lock(mutex_);
  strike_ = end;
  wake();
  changed_.wait(lock, [this] { return !strike_; });
}

bool Proxy::wait_for_accepted(std::uint64_t count, std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, patience, [&] { return accepted_ >= count; });
}

void Proxy::accept_one() {
  Socket client(::accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!client.open()) {
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    ++accepted_;
  }
  changed_.notify_all();
  Connection& c = connections_.emplace_back();
  c.fate = draw_();
  c.client = std::move(client);
  send_at_once(c.client.fd());
  if (c.fate.end == End::black_hole) {
    end(c, End::black_hole);
    return;
  }
  Socket server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in target = loopback(target_port_);
  if (::connect(server.fd(), generic(target), sizeof(target)) != 0) {
    connections_.pop_back();  // as the server itself would have refused
    return;
  }
  send_at_once(server.fd());
  c.server = std::move(server);
}

void Proxy::end(Connection& c, End how) {
  c.ended = true;
  ++ended_.at(index(how));
  const auto swallow = [](Direction& way) {
    way.swallow = true;
    way.chunks.clear();
    way.queued = 0;
  };
  switch (how) {
    case End::none:
      break;
    case End::reset:
      for (const Socket* socket : {&c.client, &c.server}) {
        const linger now{1, 0};
        ::setsockopt(socket->fd(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
      }
      [[fallthrough]];
    case End::fin:
      if (how == End::fin) {
        ::shutdown(c.client.fd(), SHUT_WR);
        ::shutdown(c.server.fd(), SHUT_WR);
      }
      c.client.close();
      c.server.close();
      break;
    case End::swallow_up:
      swallow(c.up);
      break;
    case End::swallow_down:
      swallow(c.down);
      break;
    case End::swallow_both:
    case End::black_hole:
      swallow(c.up);
      swallow(c.down);
      break;
  }
}

void Proxy::read(Connection& c, const Socket& from, Direction& way) {
  std::string bytes(kReadBytes, '\0');
  const ssize_t got = ::recv(from.fd(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
    return;
  }
  if (got <= 0) {
    way.at_end = true;
    return;
  }
  if (way.swallow) {
    return;
  }
  bytes.resize(static_cast<std::size_t>(got));
  way.queued += bytes.size();
  c.bytes += bytes.size();
  way.chunks.push_back({std::move(bytes), Clock::now() + c.fate.delay});
  if (!c.ended && c.fate.end != End::none && c.bytes >= c.fate.end_after_bytes) {
    end(c, c.fate.end);
  }
}

void Proxy::write(Connection& c, const Socket& to, Direction& way, Clock::time_point now) {
  while (!way.chunks.empty() && way.chunks.front().due <= now && way.next_write <= now) {
    std::string& bytes = way.chunks.front().bytes;
    std::size_t size = bytes.size();
    if (c.fate.bytes_a_second > 0) {
      size = std::min(size, std::max<std::size_t>(c.fate.bytes_a_second / 100, 1));
    }
    if (c.fate.piece > 0) {
      size = std::min(size, c.fate.piece);
    }
    const ssize_t put = ::send(to.fd(), bytes.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put < 0 && (errno == EAGAIN || errno == EINTR)) {
      return;
    }
    if (put <= 0) {
      way.chunks.clear();
      way.queued = 0;
      way.at_end = way.told_end = true;  // the receiver is gone
      return;
    }
    way.queued -= static_cast<std::size_t>(put);
    bytes.erase(0, static_cast<std::size_t>(put));
    if (bytes.empty()) {
      way.chunks.pop_front();
    }
    if (c.fate.bytes_a_second > 0) {
      way.next_write = now + std::chrono::nanoseconds(1'000'000'000 * put /
                                                      static_cast<ssize_t>(c.fate.bytes_a_second));
    }
    if (c.fate.piece > 0) {
      return;  // the receiver gets its turn before the next piece
    }
  }
  if (way.chunks.empty() && way.at_end && !way.told_end && !way.swallow) {
    ::shutdown(to.fd(), SHUT_WR);
    way.told_end = true;
  }
}

// A half that is swallowed keeps the other side from learning of an end.
bool Proxy::finished(const Connection& c) {
  if (c.up.swallow || c.down.swallow) {
    const bool server_done =
        !c.server.open() || (c.down.at_end && (c.down.swallow || c.down.told_end));
    return (!c.client.open() || c.up.at_end) && server_done;
  }
  return !c.client.open() || !c.server.open() || (c.up.told_end && c.down.told_end);
}

// What to wait for on a socket, which sends `in` and receives `out`; `wake` becomes the time of
// the next write, if that is what is waited for.
short Proxy::events_of(const Direction& in, const Direction& out, Clock::time_point now,
                       Clock::time_point& wake) {
  int events = !in.at_end && in.queued < kQueuedBytes ? POLLIN : 0;
  if (!out.chunks.empty()) {
    const auto due = std::max(out.chunks.front().due, out.next_write);
    if (due <= now) {
      events |= POLLOUT;
    } else {
      wake = std::min(wake, due);
    }
  }
  return static_cast<short>(events);
}

void Proxy::wait(std::vector<pollfd>& polls) {
  const auto now = Clock::now();
  auto wake = now + kIdle;
  polls = {{wake_.fd(), POLLIN, 0}, {listener_.fd(), POLLIN, 0}};
  const auto add = [&](const Socket& socket, short events) {
    polls.push_back({events != 0 ? socket.fd() : -1, events, 0});
  };
  for (const Connection& c : connections_) {
    add(c.client, events_of(c.up, c.down, now, wake));
    add(c.server, events_of(c.down, c.up, now, wake));
  }
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(wake - now);
  ::poll(polls.data(), polls.size(), static_cast<int>(left.count()));
}

void Proxy::serve(Connection& c, bool client_readable, bool server_readable) {
  if (c.client.open() && client_readable) {
    read(c, c.client, c.up);
  }
  if (c.server.open() && server_readable) {
    read(c, c.server, c.down);
  }
  const auto now = Clock::now();
  if (c.server.open()) {
    write(c, c.server, c.up, now);
  }
  if (c.client.open()) {
    write(c, c.client, c.down, now);
  }
}

void Proxy::strike_all() {
  const std::lock_guard lock(mutex_);
  if (!strike_) {
    return;
  }
  for (Connection& c : connections_) {
    if (!c.ended) {
      end(c, *strike_);
    }
  }
  strike_.reset();
  changed_.notify_all();
}

void Proxy::run() {
  std::vector<pollfd> polls;
  while (!stop_) {
    wait(polls);
    std::uint64_t woken = 0;
    static_cast<void>(::read(wake_.fd(), &woken, sizeof(woken)) == ssize_t{sizeof(woken)});
    std::size_t at = 2;
    for (Connection& c : connections_) {
      const bool client = polls[at++].revents != 0;
      const bool server = polls[at++].revents != 0;
      serve(c, client, server);
    }
    strike_all();
    connections_.remove_if(finished);
    if (polls[1].revents != 0) {
      accept_one();
    }
  }
}

}  // namespace turnstile::campaign
