// One end of a ZMTP 3.0 connection (rfc.zeromq.org/spec/23, NULL mechanism) over a stream socket:
// what a DEALER and the broker's ROUTER have in common. The peer may be ZeroMQ's library, or
// hostile.
//
// Never waits: sends what the socket takes and receives what it has. Belongs to one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/descriptor.h"
#include "proto/messages.h"

namespace turnstile {

// Splits a stream of bytes into frames. Holds at most one frame, and the bytes that followed it in
// the same read.
class ZmtpReader {
 public:
  struct Frame {
    bool is_command = false;
    bool has_more = false;  // another part of the message follows
    std::string body;
  };

  // Buffer for the rest of a partly received large frame; empty if there is no such frame. Valid
  // until the next call.
  struct Room {
    std::span<char> bytes;
    bool is_all = true;  // bytes after these belong to the next frame
  };
  Room room();
  // The read put `into_room` bytes into room(); `more` followed them.
  void take_in(std::size_t into_room, std::string_view more);

  // For the greeting, which is no frame. Nothing until all bytes are there. Valid until the next
  // call.
  std::optional<std::string_view> take(std::size_t bytes);
  // Nothing: the frame is not complete, or is_too_large().
  std::optional<Frame> next();
  // Of a partly received large frame.
  [[nodiscard]] std::size_t bytes_partial() const { return large_ ? body_end_ : 0; }
  [[nodiscard]] std::size_t bytes_missing() const { return large_ ? large_->bytes - body_end_ : 0; }
  // A frame is larger than any message may be, so nothing after it can be read.
  [[nodiscard]] bool is_too_large() const { return is_too_large_; }

 private:
  struct Head {
    unsigned char flags;
    std::size_t bytes;
  };
  std::optional<Head> take_head();

  std::string in_;  // unread from in_taken_ on
  std::size_t in_taken_ = 0;
  std::optional<Head> large_;  // of the frame that body_ begins
  std::string body_;
  std::size_t body_end_ = 0;
  bool is_too_large_ = false;
};

class ZmtpConnection {
 public:
  enum class End { dealer, router };

  // One received message. The protocol does not use ZeroMQ's multi-part messages, so such a message
  // has no body here.
  struct Incoming {
    bool has_parts = false;
    std::string body;
    bool is_too_large = false;  // neither this message nor a later one is read
  };

  // `fd`: a connected socket. Sends the greeting.
  ZmtpConnection(Descriptor fd, End end);
  ZmtpConnection(const ZmtpConnection&) = delete;
  ZmtpConnection& operator=(const ZmtpConnection&) = delete;

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] bool is_ready() const { return state_ == State::ready; }
  [[nodiscard]] bool is_closed() const { return state_ == State::closed; }

  // Keeps one message until flush().
  void put(const Frames& frames);
  // Sends what the socket takes; the rest stays.
  void flush();
  [[nodiscard]] std::size_t bytes_to_send() const { return to_send_; }
  [[nodiscard]] std::uint64_t bytes_sent() const { return sent_; }
  void ping();

  // Of a partly received message: what it holds here, unless that is only a few KiB ...
  [[nodiscard]] std::size_t bytes_partial() const { return reader_.bytes_partial(); }
  // ... and what its current frame lacks.
  [[nodiscard]] std::size_t bytes_missing() const { return reader_.bytes_missing(); }

  enum class Read { nothing, some, as_much_as_fits };
  // Reads once.
  Read read();
  // The next message that was read. Nothing: no message is complete, or the connection is closed.
  // A router also gets a message that is too large, once, so that it can answer it.
  std::optional<Incoming> next();
  // Router only: next() stopped after many commands (pings) to let other connections have their
  // turn. A message may follow them.
  [[nodiscard]] bool is_paused() const { return is_paused_; }

 private:
  // greeting --take_greeting--> handshake --take_command--> ready; all of them --close--> closed.
  enum class State { greeting, handshake, ready, closed };

  void close();
  std::optional<Incoming> too_large();
  bool take_greeting();
  void take_command(const std::string& body);
  void put_head(unsigned char flags, std::size_t bytes);
  void put_command(std::string_view body);
  void seal_tail();
  void drop_sent(std::size_t bytes);

  Descriptor fd_;
  End end_;
  State state_ = State::greeting;
  ZmtpReader reader_;
  bool is_paused_ = false;
  bool is_over_ = false;   // a message was too large
  std::size_t parts_ = 0;  // of the partly received message
  std::size_t part_bytes_ = 0;

  std::deque<Bytes> out_;  // unsent from front_sent_ on, then
  std::string tail_;       // small pieces, one after another
  std::size_t front_sent_ = 0;
  std::size_t to_send_ = 0;
  std::uint64_t sent_ = 0;
};

}  // namespace turnstile
