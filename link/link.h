// How a producer, a consumer or a tool exchanges messages: with a broker over ZMTP, or in direct
// mode with the producer's own writer.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "proto/messages.h"

namespace turnstile {

// Why there is no connection, if the system says it.
struct LinkTrouble {
  enum class Kind {
    no_permission,
    no_socket,       // nothing is at the socket's path, or no socket
    nobody_listens,  // the socket is there, and the broker that made it has ended
    not_trusted,     // another user may listen there (promise 10, endpoint.h)
    no_descriptor,   // the limit of open files is reached
  } kind = Kind::no_socket;
  std::string what;
  std::string hint;
};

// While a thread waits for an answer that is likely to come soon (link/busy_wait.h).
enum class Spin { briefly, never };

class Link {
 public:
  Link() = default;
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  virtual ~Link() = default;

  // False: nothing was sent, because there is no connection or its queue is full. True promises
  // nothing either: only an answer does.
  virtual bool send(const Message& message) = 0;

  // Waits up to `wait` for the next message. Nothing: none came, or a signal did. Drops and counts
  // messages that cannot be decoded.
  virtual std::optional<Message> receive(std::chrono::milliseconds wait) = 0;

  // A message that came together with the last one, if any. Never waits, and need not read again.
  virtual std::optional<Message> receive_more() { return receive(std::chrono::milliseconds(0)); }

  // Reads what has come, up to a bound, for the next receive(). For a thread that is busy for long,
  // so that the other end can go on sending.
  virtual void prefetch() {}

  // Replaces the connection, which seems dead. Messages in flight may be lost.
  virtual void reconnect() {}

  // Of the last try to connect. Nothing: it succeeded, or the reason is unknown.
  [[nodiscard]] virtual const std::optional<LinkTrouble>& trouble() const {
    static const std::optional<LinkTrouble> none;
    return none;
  }
};

}  // namespace turnstile
