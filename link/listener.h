// The broker's end of all connections: a ROUTER that speaks ZMTP (link/zmtp.h) in the thread that
// uses it. ZeroMQ's own would do so in another, which for one row and its answer costs two
// wake-ups in each direction, and it bounds what it holds of a connection in messages, not in
// bytes.
//
// What a connection holds is by design sent again after a reconnect, so closing one costs its
// client time and nothing else.
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
#include <vector>

#include "base/file_identity.h"
#include "base/result.h"
#include "base/user.h"
#include "link/allowance.h"
#include "link/zmtp.h"
#include "proto/messages.h"

namespace turnstile {

class Listener {
 public:
  using Route = std::string;  // as in core.h
  using TimePoint = std::chrono::steady_clock::time_point;

  // Of messages that are not all there they hold `begun_bytes` together at most: beyond it the one
  // that was begun first is given up, and its connection closed. Errors: unreachable, when the
  // system gives no descriptor.
  static Result<std::unique_ptr<Listener>> make(std::size_t begun_bytes);
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  // Removes the socket's path, if it is still this one's.
  ~Listener();

  // ipc://PATH or tcp://HOST:PORT; HOST may be *, PORT 0 or * for any that is free. A socket that
  // nobody listens at any more is replaced. Errors: unreachable, bad_input.
  Result<void> listen(const std::string& endpoint);
  // Where it listens, with the port that it got.
  [[nodiscard]] const std::string& endpoint() const { return endpoint_; }
  // Of a socket at a path. What became of the path: a socket that nobody finds there is deaf.
  enum class Path {
    ours,
    gone,
    taken,  // somebody made another file of that name
  };
  [[nodiscard]] Path path() const;
  // Listens there again; those who are connected stay. Errors: unreachable.
  Result<void> listen_again();
  // wait() ends when this is readable too. Errors: io.
  Result<void> watch_also(int fd);

  // Waits until a message may be there, `stop_fd` is readable (true), or the time is over. The
  // descriptor is the same each time. Errors: io.
  Result<bool> wait(int stop_fd, std::chrono::milliseconds most);

  struct Received {
    Route route;
    ZmtpConnection::Incoming message;
  };
  // The next message that is there, one of each connection in turn. Nothing: none is, or wait() has
  // its turn after much that was none.
  std::optional<Received> receive();

  // Kept until flush(). False: nobody is there, or, if `is_bounded`, it has read nothing of the
  // last kUnreadBytes and was cut.
  bool send(const Route& route, const Frames& frames, bool is_bounded);
  void flush();
  // Before the end: waits for what is to be sent yet.
  void linger(std::chrono::milliseconds most);

  // Null: nobody is there.
  Allowance* allowance(const Route& route);
  // Who it was when it connected.
  [[nodiscard]] User user(const Route& route);
  // It said HELLO: without that a connection is closed after a while.
  void greeted(const Route& route);
  void cut(const Route& route);
  // Reads nothing more of it, and closes it when its answer had time to arrive: ZeroMQ drops what
  // came over a connection that ended before it was asked for.
  void cut_soon(const Route& route, TimePoint now);
  // Closes every connection for which `wanted` is true; nullptr stands for one that never said
  // anything. How many.
  std::size_t cut_where(const std::function<bool(const Route*)>& wanted);

  // To call several times a second: ends handshakes that take too long, closes connections that
  // never said HELLO, asks the silent for a sign
  // of life over TCP, accepts again after the descriptors ran out.
  void tick(TimePoint now);
  // The latest who came could not be accepted.
  [[nodiscard]] bool lacks_descriptors() const { return lacks_descriptors_; }

 private:
  using Id = std::uint64_t;
  // What an event is about: the stop, somebody else's matter, the door, or a peer.
  static constexpr Id kStop = 0;
  static constexpr Id kElse = 1;
  static constexpr Id kDoor = 2;
  static constexpr Id kFirstPeer = 16;

  struct Peer {
    Peer(int fd, TimePoint now, std::size_t& begun_of_all)
        : connection(fd, ZmtpConnection::End::router), all_begun(begun_of_all), heard(now) {}
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;
    ~Peer() { all_begun -= begun; }

    ZmtpConnection connection;
    Allowance allowance;
    std::size_t& all_begun;
    std::size_t begun = 0;          // of that, its own
    std::uint64_t begun_order = 0;  // the first has the least; valid while it has begun one
    bool has_spoken = false;
    bool has_greeted = false;
    bool is_over = false;  // nothing more of it is read
    User user;
    bool is_queued = false;    // among ready_
    bool is_readable = false;  // as was last heard
    bool is_resting = false;   // among resting_: not watched for what comes
    bool waits_to_write = false;
    TimePoint heard;                 // over TCP: the last byte
    std::optional<TimePoint> asked;  // over TCP: for a sign of life, for which it has a while
    std::size_t unread = 0;          // bytes put since it was seen to read
    std::uint64_t sent_before = 0;
  };

  Listener(int epoll, std::size_t begun_bytes);
  bool watch(int fd, Id id, std::uint32_t events, int how) const;
  Result<void> open_door(int fd);
  Result<void> listen_at_path(const std::string& path);
  Result<void> bind_at_path(const std::string& path);
  Result<void> listen_at_port(const std::string& address);
  [[nodiscard]] bool has_descriptor() const;
  void close_door();
  void accept_all(TimePoint now);
  void on_event(Id id, std::uint32_t events, TimePoint now);
  void enqueue(Id id, Peer& peer);
  // Errors: std::bad_alloc.
  static std::optional<ZmtpConnection::Incoming> next_of(Peer& peer);
  bool watch_again(Id id, const Peer& peer) const;
  void rest(Id id, Peer& peer, std::size_t bytes_read);
  void wake_those_that_rest();
  void count_begun(Peer& peer);
  void give_up_the_eldest();
  void flush(Id id, Peer& peer);
  Peer* peer_of(const Route& route);
  static Route route_of(Id id);
  static std::optional<Id> id_of(const Route& route);

  int epoll_;
  int stop_fd_ = -1;
  int door_ = -1;
  bool is_tcp_ = false;
  std::string endpoint_;
  std::string path_;                     // of the socket that is to be removed ...
  std::optional<FileIdentity> at_path_;  // ... if it is this one
  std::size_t most_begun_;
  std::size_t begun_ = 0;  // of all peers, and outlives them
  std::uint64_t next_begun_ = 1;
  std::unordered_map<Id, Peer> peers_;
  Id next_id_ = kFirstPeer;
  std::deque<Id> ready_;  // may have a message
  std::vector<Id> to_flush_;
  std::vector<Id> resting_;  // with much of a message missing, until waking_
  TimePoint waking_{};
  std::deque<std::pair<TimePoint, Id>> handshakes_;  // until when they are over, the eldest first
  std::deque<std::pair<TimePoint, Id>> greetings_;   // the same, of the HELLOs
  std::deque<std::pair<TimePoint, Id>> closings_;    // when they are closed
  TimePoint next_signs_of_life_{};
  bool lacks_descriptors_ = false;
};

}  // namespace turnstile
