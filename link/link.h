// What a producer, a consumer or a tool needs of whatever lies between: send a message, receive a
// message. ZeroMQ stands behind it here; in direct mode the producer's own writer does.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "proto/messages.h"

namespace turnstile {

// Why there is no connection, where the system tells it.
struct LinkTrouble {
  enum class Kind {
    no_permission,
    no_socket,       // nothing is at the socket's path, or something else
    nobody_listens,  // the socket is there, and the broker that made it has ended
    not_trusted,     // another user may listen there (promise 10, endpoint.h)
    no_descriptor,   // the limit of open files is reached
  } kind = Kind::no_socket;
  std::string what;
  std::string hint;
};

class Link {
 public:
  Link() = default;
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  virtual ~Link() = default;

  // False: it cannot be taken now (nobody is connected, or the way is full); nothing was sent.
  // True promises nothing either: only an answer does.
  virtual bool send(const Message& message) = 0;

  // Waits up to `wait` for the next message; nothing when none came. Messages that cannot be
  // decoded are dropped and counted. Returns early, with nothing, when a signal came.
  virtual std::optional<Message> receive(std::chrono::milliseconds wait) = 0;

  // A message that came together with the last one, if there is one: waits for nothing, and need
  // not ask anew.
  virtual std::optional<Message> receive_more() { return receive(std::chrono::milliseconds(0)); }

  // Takes in what has come, up to a bound, for the next receive(): for a thread that is long
  // between two, so that the other end can go on sending.
  virtual void prefetch() {}

  // Gives up the present connection, which seems dead, and begins a new one. What was on its way in
  // either direction may be lost.
  virtual void reconnect() {}

  // Of the last try to connect; nothing when it succeeded, or when nobody can tell.
  [[nodiscard]] virtual const std::optional<LinkTrouble>& trouble() const {
    static const std::optional<LinkTrouble> none;
    return none;
  }
};

}  // namespace turnstile
