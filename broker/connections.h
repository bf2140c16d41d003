// The sockets behind the broker's ROUTER, which ZeroMQ does not show: who of them reads nothing,
// and which to close when memory goes where nobody can see it.
//
// ZeroMQ bounds a connection's queues in messages, not in bytes, and the parts of a message whose
// last part never comes not at all. What a connection holds is by design sent again after a
// reconnect, so closing one costs its client time and nothing else.
//
// A process that includes this has two functions of the C library in place of the library's own,
// for ZeroMQ. accept4() answers "no descriptor is free" as if the whole system had none: of an ipc
// connection ZeroMQ expects only that, and aborts at the other. recv() counts, and reports the end
// of the stream to a connection through which more came than a message may have, and than may wait,
// while no message of it was heard(): what ZeroMQ would hold of it otherwise has no bound.
//
// Belongs to one thread; recv() is ZeroMQ's.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>

namespace turnstile::broker {

class Connections {
 public:
  using Route = std::string;  // as in core.h

  // To call once the socket listens: its name is how its connections are told from other files.
  void listening(const std::string& endpoint);

  // The first message of a route came through this descriptor.
  void add(const Route& route, int fd);

  // A message came of it, so that it may send as much again. False: add() it.
  bool heard(const Route& route);
  // This one sends as much as it likes: it answers what it is handed.
  void exempt(const std::optional<Route>& route);

  // Before an answer of that size. False: of the last kUnreadBytes it has read nothing.
  bool takes(const Route& route, std::size_t bytes);
  // A message of this connection could not be read, or was not its to send. False: it was one too
  // many.
  bool may_err(const Route& route);

  enum class Asking { now, later, too_often };
  // Something that the target is to be asked for this connection. Too often: it was told so, and
  // goes on.
  Asking may_ask(const Route& route, std::chrono::steady_clock::time_point now);

  void cut(const Route& route);
  // Closes every connection for which `wanted` is true; nullptr stands for one that never said
  // anything. How many.
  std::size_t cut_where(const std::function<bool(const Route*)>& wanted) const;

 private:
  struct Connection {
    int fd = -1;
    std::size_t unread = 0;  // bytes sent since it was seen to read
    std::size_t next_look = 0;
    int queued = 0;  // bytes in the system's buffer at the last look
    std::size_t errors = 0;
    int questions_left = 0;  // at `asked`
    std::chrono::steady_clock::time_point asked{};
    std::size_t put_off = 0;  // questions since one was asked
  };

  std::unordered_map<Route, Connection> connections_;
  std::unordered_map<int, Route> routes_;  // the latest route of a descriptor
  std::optional<sockaddr_storage> name_;   // of the listening socket
  std::optional<Route> exempt_;
};

// As many descriptors as this process may have: each connection needs one.
void allow_all_descriptors();
// While there is none, nobody can connect.
bool has_free_descriptor();

// What this process has in its heap, and what of it is in memory, cheap enough for ten times a
// second. 0: cannot be told (under a sanitizer).
std::size_t heap_bytes();
std::size_t resident_bytes();
// Gives what was freed back to the system.
void release_free_memory();

}  // namespace turnstile::broker
