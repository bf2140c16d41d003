#include "link/zmtp.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "link/frames.h"

namespace turnstile {
namespace {

using namespace std::string_view_literals;

// A greeting: signature, version, mechanism, as-server flag, filler.
constexpr std::size_t kGreetingBytes = 64;
constexpr auto kGreeting =
    "\xFF\0\0\0\0\0\0\0\1\x7F\3\0NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"sv;
static_assert(kGreeting.size() == kGreetingBytes);
constexpr std::size_t kVersionAt = 10;
constexpr std::size_t kMechanismAt = 12;
constexpr std::size_t kMechanismBytes = 20;

// The command that ends the handshake: no routing id, so that a new connection is a new session.
constexpr auto kReadyDealer = "\5READY\13Socket-Type\0\0\0\6DEALER\10Identity\0\0\0\0"sv;
constexpr auto kReadyRouter = "\5READY\13Socket-Type\0\0\0\6ROUTER\10Identity\0\0\0\0"sv;
constexpr auto kReady = "\5READY"sv;
constexpr auto kPing = "\4PING"sv;
constexpr auto kPong = "\4PONG"sv;
constexpr std::size_t kPingTtlBytes = 2;
constexpr std::size_t kMaxPingContext = 16;
// A peer that reads so little gets no more pongs.
constexpr std::size_t kMaxPongBytes = std::size_t{64} * 1024;

constexpr unsigned char kMore = 1;  // flags of a frame
constexpr unsigned char kLong = 2;
constexpr unsigned char kCommand = 4;
constexpr std::size_t kShortHead = 2;
constexpr std::size_t kLongHead = 9;
constexpr std::size_t kMaxShortFrame = 255;

constexpr std::size_t kReadBytes = std::size_t{64} * 1024;
// A larger frame is read into its own buffer, which grows as bytes arrive.
constexpr std::size_t kSmallFrame = std::size_t{8} * 1024;
constexpr std::size_t kFrameStep = std::size_t{64} * 1024;
// A piece of an outgoing message up to this size is appended to tail_; a larger one is not copied.
constexpr std::size_t kSmallPiece = std::size_t{4} * 1024;
constexpr std::size_t kMaxPieces = 64;
constexpr int kMaxCommands = 16;
// Parts of one message, which are only skipped. Above this the message has no end.
constexpr std::size_t kPartBytes = std::size_t{16} * 1024 * 1024;

std::uint64_t read_size(std::string_view head) {
  std::uint64_t size = 0;
  for (const char c : head) {
    size = size << 8U | static_cast<unsigned char>(c);
  }
  return size;
}

bool must_wait() {
  return errno == EAGAIN || errno == EWOULDBLOCK;
}

}  // namespace

// ---- ZmtpReader

ZmtpReader::Room ZmtpReader::room() {
  if (!large_) {
    return {};
  }
  const std::size_t missing = large_->bytes - body_end_;
  const std::size_t step = std::min(missing, kFrameStep);
  body_.resize(body_end_ + step);
  return {std::span(body_).subspan(body_end_), step == missing};
}

void ZmtpReader::take_in(std::size_t into_room, std::string_view more) {
  body_end_ += into_room;
  if (in_taken_ == in_.size() && in_.capacity() > kSmallFrame) {
    in_ = std::string();  // most of many connections are silent
  } else {
    in_.erase(0, in_taken_);
  }
  in_taken_ = 0;
  in_ += more;
}

std::optional<std::string_view> ZmtpReader::take(std::size_t bytes) {
  if (in_.size() - in_taken_ < bytes) {
    return std::nullopt;
  }
  const auto taken = std::string_view(in_).substr(in_taken_, bytes);
  in_taken_ += bytes;
  return taken;
}

std::optional<ZmtpReader::Head> ZmtpReader::take_head() {
  const auto rest = std::string_view(in_).substr(in_taken_);
  if (rest.size() < kShortHead) {
    return std::nullopt;
  }
  const auto flags = static_cast<unsigned char>(rest[0]);
  const std::size_t head = (flags & kLong) != 0 ? kLongHead : kShortHead;
  if (rest.size() < head) {
    return std::nullopt;
  }
  const std::uint64_t bytes = read_size(rest.substr(1, head - 1));
  if (bytes > static_cast<std::uint64_t>(largest_message_bytes())) {
    is_too_large_ = true;
    return std::nullopt;
  }
  const bool is_whole = rest.size() - head >= bytes;
  if (!is_whole && bytes <= kSmallFrame) {
    return std::nullopt;
  }
  in_taken_ += head;
  return Head{flags, bytes};
}

std::optional<ZmtpReader::Frame> ZmtpReader::next() {
  if (is_too_large_) {
    return std::nullopt;
  }
  std::optional<Head> head = large_;
  if (!head) {
    head = take_head();
    if (!head) {
      return std::nullopt;
    }
    const std::size_t there = std::min(head->bytes, in_.size() - in_taken_);
    // No more than came: announcing a size costs the sender nothing. The string grows by doubling.
    body_.reserve(std::min(head->bytes, std::max(there, kFrameStep)));
    body_.assign(in_, in_taken_, there);
    body_end_ = there;
    in_taken_ += there;
  }
  if (body_end_ < head->bytes) {
    large_ = head;
    return std::nullopt;
  }
  large_.reset();
  return Frame{(head->flags & kCommand) != 0, (head->flags & kMore) != 0,
               std::exchange(body_, std::string())};
}

// ---- ZmtpConnection

ZmtpConnection::ZmtpConnection(Descriptor fd, End end) : fd_(std::move(fd)), end_(end) {
  tail_ = kGreeting;
  to_send_ = tail_.size();
  flush();
}

void ZmtpConnection::close() {
  fd_.reset();
  state_ = State::closed;
  out_.clear();
  tail_.clear();
  front_sent_ = 0;
  to_send_ = 0;
}

void ZmtpConnection::put_head(unsigned char flags, std::size_t bytes) {
  const std::size_t before = tail_.size();
  if (bytes <= kMaxShortFrame) {
    tail_ += static_cast<char>(flags);
    tail_ += static_cast<char>(bytes);
  } else {
    tail_ += static_cast<char>(flags | kLong);
    for (int shift = 56; shift >= 0; shift -= 8) {
      tail_ += static_cast<char>(bytes >> shift);
    }
  }
  to_send_ += tail_.size() - before;
}

void ZmtpConnection::put_command(std::string_view body) {
  put_head(kCommand, body.size());
  tail_ += body;
  to_send_ += body.size();
}

void ZmtpConnection::put(const Frames& frames) {
  if (state_ == State::closed) {
    return;
  }
  put_head(0, packed_bytes(frames));
  to_send_ += packed_bytes(frames);
  for (const Bytes& frame : frames) {
    append_wrap(frame.size(), tail_);
    if (frame.size() <= kSmallPiece) {
      tail_ += frame.view();
    } else {
      seal_tail();
      out_.push_back(frame);
    }
  }
}

void ZmtpConnection::ping() {
  put_command(std::string(kPing).append(kPingTtlBytes, '\0'));
}

void ZmtpConnection::seal_tail() {
  if (!tail_.empty()) {
    out_.emplace_back(std::exchange(tail_, std::string()));
  }
}

void ZmtpConnection::flush() {
  while (to_send_ > 0) {
    std::array<iovec, kMaxPieces> pieces{};
    std::size_t count = 0;
    const auto add = [&](std::string_view piece) {
      // sendmsg() only reads.
      pieces[count++] = {const_cast<char*>(piece.data()), piece.size()};
    };
    for (std::size_t i = 0; i < out_.size() && count < pieces.size() - 1; ++i) {
      add(out_[i].view().substr(i == 0 ? front_sent_ : 0));
    }
    if (count == out_.size() && !tail_.empty()) {
      add(tail_);
    }
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = count;
    const ssize_t sent = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      drop_sent(static_cast<std::size_t>(sent));
    } else if (must_wait()) {
      return;
    } else if (errno != EINTR) {
      close();
    }
  }
}

void ZmtpConnection::drop_sent(std::size_t bytes) {
  sent_ += bytes;
  to_send_ -= bytes;
  while (!out_.empty() && bytes >= out_.front().size() - front_sent_) {
    bytes -= out_.front().size() - front_sent_;
    front_sent_ = 0;
    out_.pop_front();
  }
  if (!out_.empty()) {
    front_sent_ += bytes;
  } else if (bytes == tail_.size()) {
    tail_.clear();
  } else if (bytes > 0) {
    seal_tail();
    front_sent_ = bytes;
  }
}

ZmtpConnection::Read ZmtpConnection::read() {
  if (!fd_) {
    return Read::nothing;
  }
  const auto room = reader_.room();
  std::array<char, kReadBytes> more;
  std::array<iovec, 2> places{iovec{room.bytes.data(), room.bytes.size()},
                              iovec{more.data(), room.is_all ? more.size() : 0}};
  msghdr message{};
  message.msg_iov = places.data();
  message.msg_iovlen = places.size();
  ssize_t got = 0;
  do {
    got = ::recvmsg(fd_.get(), &message, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got > 0) {
    const auto bytes = static_cast<std::size_t>(got);
    const std::size_t into_room = std::min(bytes, room.bytes.size());
    reader_.take_in(into_room, {more.data(), bytes - into_room});
    return bytes == places[0].iov_len + places[1].iov_len ? Read::as_much_as_fits : Read::some;
  }
  if (got == 0 || !must_wait()) {
    close();
  }
  return Read::nothing;
}

bool ZmtpConnection::take_greeting() {
  const auto greeting = reader_.take(kGreetingBytes);
  if (!greeting) {
    return false;
  }
  const bool is_understood = (*greeting)[0] == kGreeting[0] &&
                             (*greeting)[kVersionAt] >= kGreeting[kVersionAt] &&
                             greeting->substr(kMechanismAt, kMechanismBytes) ==
                                 kGreeting.substr(kMechanismAt, kMechanismBytes);
  if (!is_understood) {
    close();
    return false;
  }
  state_ = State::handshake;
  put_command(end_ == End::dealer ? kReadyDealer : kReadyRouter);
  flush();
  return true;
}

void ZmtpConnection::take_command(const std::string& body) {
  if (state_ == State::handshake) {
    if (!body.starts_with(kReady)) {
      close();
      return;
    }
    state_ = State::ready;
    if (end_ == End::dealer) {
      put({});  // announces the connection, as ZMQ_PROBE_ROUTER does
      flush();
    }
  } else if (body.starts_with(kPing) && body.size() >= kPing.size() + kPingTtlBytes &&
             to_send_ < kMaxPongBytes) {
    put_command(std::string(kPong).append(body, kPing.size() + kPingTtlBytes, kMaxPingContext));
    flush();
  }
}

std::optional<ZmtpConnection::Incoming> ZmtpConnection::too_large() {
  if (end_ == End::dealer || state_ != State::ready) {
    close();
    return std::nullopt;
  }
  return std::exchange(is_over_, true) ? std::nullopt : std::optional(Incoming{false, {}, true});
}

std::optional<ZmtpConnection::Incoming> ZmtpConnection::next() {
  if (state_ == State::greeting && !take_greeting()) {
    return std::nullopt;
  }
  is_paused_ = false;
  for (int commands = 0; state_ != State::closed;) {
    auto frame = is_over_ ? std::nullopt : reader_.next();
    if (!frame) {
      return reader_.is_too_large() ? too_large() : std::nullopt;
    }
    if (frame->is_command) {
      take_command(frame->body);
      if (end_ == End::router && ++commands == kMaxCommands) {
        is_paused_ = true;
        return std::nullopt;
      }
      continue;
    }
    part_bytes_ += frame->body.size() + kShortHead;
    if (state_ != State::ready) {
      close();
      return std::nullopt;
    }
    if (frame->has_more &&
        part_bytes_ > static_cast<std::size_t>(largest_message_bytes()) + kPartBytes) {
      return too_large();
    }
    ++parts_;
    if (frame->has_more) {
      continue;
    }
    part_bytes_ = 0;
    if (std::exchange(parts_, 0) > 1) {
      return Incoming{true, {}, false};
    }
    return Incoming{false, std::move(frame->body), false};
  }
  return std::nullopt;
}

}  // namespace turnstile
