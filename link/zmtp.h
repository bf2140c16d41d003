// One end of a ZMTP 3.0 connection (rfc.zeromq.org/spec/23, NULL mechanism) over a stream socket:
// what a DEALER and the broker's ROUTER have in common. Its peer may be ZeroMQ's library, or
// hostile.
//
// Never waits: it sends and receives what the socket takes and has. Belongs to one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "proto/messages.h"

namespace turnstile {

// Bytes of a stream, taken apart. Holds one frame at most, and what came behind it in one read.
class ZmtpReader {
 public:
  struct Frame {
    bool is_command = false;
    bool has_more = false;  // another part of the message follows
    std::string body;
  };

  // Of a large frame whose beginning is here: where its next bytes go, at once. Empty: there is
  // none. Valid until another function is called.
  struct Room {
    std::span<char> bytes;
    bool is_all = true;  // what comes behind these belongs to the next frame
  };
  Room room();
  // What came: so many bytes into the room, and then these.
  void take_in(std::size_t into_room, std::string_view behind);

  // A greeting's; nothing until all of them are there. Valid until the next call.
  std::optional<std::string_view> take(std::size_t bytes);
  // Nothing: it is not all there, or is_too_large().
  std::optional<Frame> next();
  // Of a large frame that is not all there.
  [[nodiscard]] std::size_t bytes_begun() const { return large_ ? body_end_ : 0; }
  [[nodiscard]] std::size_t bytes_missing() const { return large_ ? large_->bytes - body_end_ : 0; }
  // A frame is larger than any message may be: nothing behind it can be read.
  [[nodiscard]] bool is_too_large() const { return is_too_large_; }

 private:
  struct Head {
    unsigned char flags;
    std::size_t bytes;
  };
  std::optional<Head> take_head();

  std::string in_;  // from in_taken_ on to be taken
  std::size_t in_taken_ = 0;
  std::optional<Head> large_;  // of the frame of which body_ is a part
  std::string body_;
  std::size_t body_end_ = 0;
  bool is_too_large_ = false;
};

class ZmtpConnection {
 public:
  enum class End { dealer, router };

  // One message, as it came. ZeroMQ's parts are no part of the protocol: of a message that has
  // several only that is told.
  struct Incoming {
    bool has_parts = false;
    std::string body;
    bool is_too_large = false;  // nothing of it, and nothing that follows, is read
  };

  // Takes the connected socket over, and greets.
  ZmtpConnection(int fd, End end);
  ZmtpConnection(const ZmtpConnection&) = delete;
  ZmtpConnection& operator=(const ZmtpConnection&) = delete;
  ~ZmtpConnection();

  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] bool is_ready() const { return state_ == State::ready; }
  [[nodiscard]] bool is_closed() const { return state_ == State::closed; }

  // One message, kept until flush().
  void put(const Frames& frames);
  // Sends what the socket takes; the rest stays.
  void flush();
  [[nodiscard]] std::size_t bytes_to_send() const { return to_send_; }
  [[nodiscard]] std::uint64_t bytes_sent() const { return sent_; }
  // Asks for a sign of life.
  void ping();

  // Held of a message that is not all there, beyond a few KiB.
  [[nodiscard]] std::size_t bytes_begun() const { return reader_.bytes_begun(); }
  // Of such a message's present frame.
  [[nodiscard]] std::size_t bytes_missing() const { return reader_.bytes_missing(); }

  enum class Read { nothing, some, as_much_as_fits };
  // Once.
  Read read();
  // Of what has been read: nothing when no message is whole, or the connection is closed. The
  // router's end gives one that is too large too, once, so that it can be answered.
  std::optional<Incoming> next();
  // The router's end only: next() gave nothing because others have their turn after so many
  // commands (pings); there may be a message behind them.
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

  int fd_;
  End end_;
  State state_ = State::greeting;
  ZmtpReader reader_;
  bool is_paused_ = false;
  bool is_over_ = false;   // one came that is too large
  std::size_t parts_ = 0;  // of the message that is not whole yet
  std::size_t part_bytes_ = 0;

  std::deque<Bytes> out_;  // from front_sent_ on to be sent, then
  std::string tail_;       // small things, one behind another
  std::size_t front_sent_ = 0;
  std::size_t to_send_ = 0;
  std::uint64_t sent_ = 0;
};

}  // namespace turnstile
