// The broker's end of all connections: a ROUTER that speaks ZMTP (link/zmtp.h) in the thread that
// uses it. ZeroMQ's own ROUTER works in another thread, which costs two wake-ups in each direction
// for one row and its answer, and it bounds a connection's memory in messages, not in bytes.
//
// Clients send again after a reconnect whatever a connection held, so closing a connection costs
// its client time and nothing else.
//
// Belongs to one thread.
#pragma once

#include <sys/epoll.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/descriptor.h"
#include "base/result.h"
#include "base/user.h"
#include "link/allowance.h"
#include "link/connection_id.h"
#include "link/listen_socket.h"
#include "link/zmtp.h"
#include "proto/messages.h"

namespace turnstile {

class Listener {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // Partly received messages take at most `partial_bytes` together. Above that the listener closes
  // the connection with the oldest one. Errors: unreachable, when no descriptor is free.
  static Result<std::unique_ptr<Listener>> make(std::size_t partial_bytes);
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // These four are ListenSocket's. listen_again() keeps all connections.
  Result<void> listen(const std::string& endpoint);
  Result<void> listen_again();
  [[nodiscard]] const std::string& endpoint() const { return socket_.endpoint(); }
  [[nodiscard]] ListenSocket::Path path() const { return socket_.path(); }
  // wait() also ends when `fd` is readable. Errors: io.
  Result<void> watch_extra_fd(int fd);

  // Waits until a message may be there, `stop_fd` is readable (true), or `most` is over. `stop_fd`
  // must be the same each time. Errors: io.
  Result<bool> wait(int stop_fd, std::chrono::milliseconds most);

  struct Received {
    ConnectionId from;
    ZmtpConnection::Incoming message;
  };
  // The next message, from each connection in turn. Nothing: no message is there, or wait() comes
  // first because the last reads completed no message.
  std::optional<Received> receive();

  // Keeps the message until flush(). False: the connection is closed, or `is_bounded` and the
  // client has read nothing of the last kUnreadBytes, so the connection was closed now.
  bool send(ConnectionId id, const Frames& frames, bool is_bounded);
  void flush();
  // At the end: waits until everything is sent.
  void linger(std::chrono::milliseconds most);

  // Null: not connected.
  Allowance* allowance(ConnectionId id);
  // The client's user when it connected.
  [[nodiscard]] User user(ConnectionId id);
  // The client said HELLO. A connection without HELLO closes after a while.
  void note_hello(ConnectionId id);
  void disconnect(ConnectionId id);
  // Reads nothing more, and closes the connection once its answer had time to arrive: ZeroMQ drops
  // received messages that its user has not read when the connection ends.
  void disconnect_soon(ConnectionId id, TimePoint now);
  // Closes each connection for which `wanted` is true, and gives their number. nullopt stands for a
  // connection that never sent a message.
  std::size_t disconnect_where(const std::function<bool(std::optional<ConnectionId>)>& wanted);

  // Call this several times a second. Closes connections whose handshake or HELLO is late, pings
  // silent TCP connections, and accepts again after the process ran out of descriptors.
  void tick(TimePoint now);
  // The latest client could not be accepted.
  [[nodiscard]] bool lacks_descriptors() const { return lacks_descriptors_; }

 private:
  // What an epoll event is about: one of these, or a connection.
  static constexpr std::uint64_t kStop = 0;
  static constexpr std::uint64_t kExtraFd = 1;
  static constexpr std::uint64_t kListenFd = 2;
  static constexpr std::uint64_t kFirstPeer = 16;

  struct Peer {
    Peer(Descriptor fd, TimePoint now, std::size_t& partial_of_all)
        : connection(std::move(fd), ZmtpConnection::End::router),
          all_partial(partial_of_all),
          heard(now) {}
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;
    ~Peer() { all_partial -= partial; }

    ZmtpConnection connection;
    Allowance allowance;
    std::size_t& all_partial;
    std::size_t partial = 0;          // this peer's share of it
    std::uint64_t partial_order = 0;  // lowest for the oldest; valid while `partial` is not 0
    bool has_spoken = false;
    bool has_greeted = false;
    bool is_closing = false;  // nothing more is read
    User user;
    bool is_queued = false;     // in ready_
    bool is_readable = false;   // by the latest event
    bool is_throttled = false;  // in throttled_: epoll does not watch it for reading
    bool waits_to_write = false;
    TimePoint heard;                  // TCP: the last byte
    std::optional<TimePoint> pinged;  // TCP
    std::size_t unread = 0;           // bytes put since the client was seen to read
    std::uint64_t sent_before = 0;
  };

  Listener(Descriptor epoll, std::size_t partial_bytes);
  bool watch(int fd, std::uint64_t event_id, std::uint32_t events, int how) const;
  Result<void> watch_listen_socket();
  [[nodiscard]] bool has_descriptor() const;
  void stop_accepting();
  void accept_all(TimePoint now);
  void on_event(std::uint64_t event_id, std::uint32_t events, TimePoint now);
  void enqueue(ConnectionId id, Peer& peer);
  // Errors: std::bad_alloc.
  static std::optional<ZmtpConnection::Incoming> next_of(Peer& peer);
  bool watch_again(ConnectionId id, const Peer& peer) const;
  void throttle(ConnectionId id, Peer& peer, std::size_t bytes_read);
  void end_throttling();
  void count_partial(Peer& peer);
  void drop_oldest_partial();
  void flush(ConnectionId id, Peer& peer);
  Peer* find(ConnectionId id);

  Descriptor epoll_;
  int stop_fd_ = -1;
  ListenSocket socket_;
  std::size_t max_partial_;
  std::size_t partial_ = 0;  // of all peers, which it outlives
  std::uint64_t next_partial_ = 1;
  std::unordered_map<ConnectionId, Peer> peers_;
  std::uint64_t next_id_ = kFirstPeer;
  std::deque<ConnectionId> ready_;  // may have a message
  std::vector<ConnectionId> to_flush_;
  std::vector<ConnectionId> throttled_;  // until throttled_until_
  TimePoint throttled_until_{};
  using Deadlines = std::deque<std::pair<TimePoint, ConnectionId>>;  // the earliest first
  Deadlines handshakes_;
  Deadlines greetings_;
  Deadlines closings_;
  TimePoint next_pings_{};
  bool lacks_descriptors_ = false;
};

}  // namespace turnstile
