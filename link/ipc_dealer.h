// The link over an ipc:// endpoint, without ZeroMQ's thread: a DEALER that speaks ZMTP (zmtp.h)
// over a Unix stream socket in the thread that uses it. For one row and its answer that is two
// wake-ups of another thread less, and most of what such a row costs many processes.
//
// Connects and connects again by itself, whenever its thread sends or receives, and then says so as
// ZmqDealer does, with an empty message.
//
// Belongs to one thread.
#pragma once

#include <sys/un.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "link/busy_wait.h"
#include "link/link.h"
#include "link/zmtp.h"
#include "base/result.h"

namespace turnstile {

class IpcDealer final : public Link {
 public:
  // `ipc://PATH`. Returns at once, whether or not a broker is there. Errors: bad_input (no ipc://
  // endpoint, or a socket path that is too long), unreachable (no descriptor is free, or another
  // user may listen there: endpoint.h).
  static Result<std::unique_ptr<IpcDealer>> connect(const std::string& endpoint);

  // For what is on its way it waits a moment.
  ~IpcDealer() override;

  // What the socket does not take at once is kept and goes on with the next call: the broker's
  // credit bounds how much that can be.
  bool send(const Message& message) override;
  std::optional<Message> receive(std::chrono::milliseconds wait) override;
  std::optional<Message> receive_more() override;
  void prefetch() override;
  void reconnect() override;
  [[nodiscard]] const std::optional<LinkTrouble>& trouble() const override { return trouble_; }

  // Messages that came in and could not be decoded.
  [[nodiscard]] std::uint64_t dropped() const { return dropped_; }

 private:
  using TimePoint = std::chrono::steady_clock::time_point;

  explicit IpcDealer(const sockaddr_un& address);

  void advance();
  void open(TimePoint now);
  void close();
  [[nodiscard]] bool awaits_small_answer() const;

  sockaddr_un address_;
  std::minstd_rand jitter_{std::random_device{}()};

  std::optional<ZmtpConnection> connection_;
  std::optional<LinkTrouble> trouble_;
  TimePoint handshake_until_{};  // of a connection that is not ready
  TimePoint open_at_{};          // without a connection: not before
  std::chrono::milliseconds pause_;
  std::deque<std::string> fetched_;  // messages
  std::size_t fetched_bytes_ = 0;
  std::uint64_t dropped_ = 0;
  BusyWait busy_wait_;
  int sent_ = 0;  // messages since one came
  std::size_t sent_bytes_ = 0;
  std::size_t last_came_bytes_ = 0;
};

}  // namespace turnstile
