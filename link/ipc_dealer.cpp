#include "link/ipc_dealer.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "link/endpoint.h"
#include "link/frames.h"
#include "link/timing.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using namespace std::string_view_literals;

constexpr std::size_t kReadBytes = std::size_t{64} * 1024;

// A greeting: signature, version, mechanism, who is the server, filler.
constexpr std::size_t kGreetingBytes = 64;
constexpr auto kGreeting =
    "\xFF\0\0\0\0\0\0\0\1\x7F\3\0NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"sv;
static_assert(kGreeting.size() == kGreetingBytes);
constexpr std::size_t kVersionAt = 10;
constexpr std::size_t kMechanismAt = 12;
constexpr std::size_t kMechanismBytes = 20;

// The command that ends the handshake: no routing id, so that a new connection is a new session.
constexpr auto kReady = "\4\x29\5READY\13Socket-Type\0\0\0\6DEALER\10Identity\0\0\0\0"sv;
constexpr auto kPeerReady = "\5READY"sv;

constexpr unsigned char kLong = 2;  // flags of a frame
constexpr unsigned char kCommand = 4;
constexpr std::size_t kShortHead = 2;
constexpr std::size_t kLongHead = 9;
constexpr std::size_t kShortMost = 255;

void append_head(std::string& out, std::size_t bytes) {
  if (bytes <= kShortMost) {
    out += '\0';
    out += static_cast<char>(bytes);
    return;
  }
  out += static_cast<char>(kLong);
  for (int shift = 56; shift >= 0; shift -= 8) {
    out += static_cast<char>(bytes >> shift);
  }
}

std::uint64_t read_size(std::string_view head) {
  std::uint64_t size = 0;
  for (const char c : head) {
    size = size << 8U | static_cast<unsigned char>(c);
  }
  return size;
}

}  // namespace

Result<std::unique_ptr<IpcDealer>> IpcDealer::connect(const std::string& endpoint) {
  if (auto checked = check_socket_path(endpoint); !checked) {
    return tl::make_unexpected(checked.error());
  }
  const std::string path = endpoint.starts_with(kIpc) ? endpoint.substr(kIpc.size()) : "";
  if (path.empty()) {
    return fail(Errc::bad_input, "'" + endpoint + "' is no ipc:// endpoint", kEndpointHint);
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return std::unique_ptr<IpcDealer>(new IpcDealer(
      address, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size())));
}

IpcDealer::IpcDealer(const sockaddr_un& address, socklen_t address_size)
    : address_(address), address_size_(address_size), pause_(kReconnect) {
  open(steady_clock::now());
}

IpcDealer::~IpcDealer() {
  const auto until = steady_clock::now() + kLinger;
  while (state_ == State::ready && out_sent_ < out_.size() && steady_clock::now() < until) {
    write_out();
    (void)wait_for(POLLOUT, until);
  }
  close();
}

void IpcDealer::open(TimePoint now) {
  // Twice as long each time, and up to as long again, so that not all come at once.
  open_at_ = now + pause_ + milliseconds(jitter_() % static_cast<unsigned>(pause_.count()));
  pause_ = std::min(2 * pause_, kReconnectMax);
  fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) {
    return;
  }
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address_), address_size_) != 0) {
    close();
    return;
  }
  state_ = State::greeting;
  handshake_until_ = now + kHandshake;
  out_ = kGreeting;
  write_out();
}

void IpcDealer::close() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
  fd_ = -1;
  state_ = State::closed;
  out_.clear();
  out_sent_ = 0;
  in_.clear();
  in_taken_ = 0;
}

void IpcDealer::reconnect() {
  close();
  open(steady_clock::now());
}

void IpcDealer::write_out() {
  while (out_sent_ < out_.size()) {
    const ssize_t sent =
        ::send(fd_, out_.data() + out_sent_, out_.size() - out_sent_, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) {
      continue;
    }
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      // A stream may never be all sent: what has gone must not pile up.
      if (out_sent_ > out_.size() / 2) {
        out_.erase(0, out_sent_);
        out_sent_ = 0;
      }
      return;
    }
    if (sent < 0) {
      close();
      return;
    }
    out_sent_ += static_cast<std::size_t>(sent);
  }
  out_.clear();
  out_sent_ = 0;
}

// False: nothing is there, or the connection is gone.
bool IpcDealer::read_in() {
  if (fd_ < 0) {
    return false;
  }
  in_.erase(0, in_taken_);
  in_taken_ = 0;
  std::array<char, kReadBytes> bytes;
  ssize_t got = 0;
  do {
    got = ::recv(fd_, bytes.data(), bytes.size(), 0);
  } while (got < 0 && errno == EINTR);
  if (got > 0) {
    in_.append(bytes.data(), static_cast<std::size_t>(got));
    return true;
  }
  if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) {
    close();
  }
  return false;
}

bool IpcDealer::take_greeting() {
  const auto rest = std::string_view(in_).substr(in_taken_);
  if (rest.size() < kGreetingBytes) {
    return false;
  }
  const bool is_understood =
      rest[0] == kGreeting[0] && rest[kVersionAt] >= kGreeting[kVersionAt] &&
      rest.substr(kMechanismAt, kMechanismBytes) == kGreeting.substr(kMechanismAt, kMechanismBytes);
  if (!is_understood) {
    close();
    return false;
  }
  in_taken_ += kGreetingBytes;
  state_ = State::handshake;
  out_ += kReady;
  write_out();
  return true;
}

std::optional<IpcDealer::Frame> IpcDealer::take_frame() {
  const auto rest = std::string_view(in_).substr(in_taken_);
  if (rest.size() < kShortHead) {
    return std::nullopt;
  }
  const auto flags = static_cast<unsigned char>(rest[0]);
  const std::size_t head = (flags & kLong) != 0 ? kLongHead : kShortHead;
  if (rest.size() < head) {
    return std::nullopt;
  }
  const std::uint64_t size = read_size(rest.substr(1, head - 1));
  if (size > static_cast<std::uint64_t>(largest_message_bytes())) {
    close();
    return std::nullopt;
  }
  if (rest.size() - head < size) {
    return std::nullopt;
  }
  in_taken_ += head + size;
  return Frame{flags, rest.substr(head, size)};
}

void IpcDealer::take_command(std::string_view body) {
  if (state_ != State::handshake) {
    return;
  }
  if (!body.starts_with(kPeerReady)) {
    close();
    return;
  }
  state_ = State::ready;
  pause_ = kReconnect;
  append_head(out_, 0);
  write_out();
}

// Opens, greets, sends what waits.
void IpcDealer::advance() {
  const TimePoint now = steady_clock::now();
  if (state_ == State::closed && now >= open_at_) {
    open(now);
  }
  if ((state_ == State::greeting || state_ == State::handshake) && now >= handshake_until_) {
    close();
  }
  if (fd_ >= 0) {
    write_out();
  }
}

// Of what has been read.
std::optional<Message> IpcDealer::next_message() {
  if (state_ == State::greeting && !take_greeting()) {
    return std::nullopt;
  }
  while (state_ != State::closed) {
    const auto frame = take_frame();
    if (!frame) {
      return std::nullopt;
    }
    if ((frame->flags & kCommand) != 0) {
      take_command(frame->body);
      continue;
    }
    if (state_ != State::ready) {
      close();
      return std::nullopt;
    }
    auto message = unpacked(std::string(frame->body)).and_then(decode);
    if (message) {
      return std::move(*message);
    }
    ++dropped_;
  }
  return std::nullopt;
}

bool IpcDealer::send(const Message& message) {
  advance();
  if (state_ != State::ready) {
    return false;
  }
  const Frames frames = encode(message);
  append_head(out_, packed_bytes(frames));
  append_packed(frames, out_);
  write_out();
  return state_ == State::ready;
}

// False: a signal came.
bool IpcDealer::wait_for(short events, TimePoint until) const {
  const auto left = std::chrono::ceil<milliseconds>(until - steady_clock::now());
  pollfd item{fd_, events, 0};
  return ::poll(&item, fd_ < 0 ? 0 : 1,
                static_cast<int>(std::max(left, milliseconds(0)).count())) >= 0 ||
         errno != EINTR;
}

std::optional<Message> IpcDealer::receive(milliseconds wait) {
  const TimePoint deadline = steady_clock::now() + wait;
  while (true) {
    if (auto message = next_message()) {
      return message;
    }
    advance();
    if (read_in()) {
      continue;
    }
    if (steady_clock::now() >= deadline) {
      return std::nullopt;
    }
    const bool waits_to_send = out_sent_ < out_.size();
    if (!wait_for(static_cast<short>(waits_to_send ? POLLIN | POLLOUT : POLLIN),
                  state_ == State::closed ? std::min(deadline, open_at_) : deadline)) {
      return std::nullopt;
    }
  }
}

}  // namespace turnstile
