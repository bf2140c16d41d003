// The link over an ipc:// endpoint, without ZeroMQ's thread: a DEALER that speaks ZMTP (zmtp.h)
// over a Unix stream socket in the thread that uses it. One row and its answer cost two wake-ups
// less, which is most of their cost when there are many processes.
//
// Connects and reconnects by itself when its thread sends or receives, and announces each new
// connection with an empty message, as ZmqDealer does.
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

#include "base/result.h"
#include "link/busy_wait.h"
#include "link/link.h"
#include "link/zmtp.h"

namespace turnstile {

class IpcDealer final : public Link {
 public:
  // `ipc://PATH`. Returns immediately, whether or not a broker is there. Errors: bad_input (not an
  // ipc:// endpoint, or a socket path that is too long), unreachable (no descriptor is free, or
  // another user may listen there: endpoint.h).
  static Result<std::unique_ptr<IpcDealer>> connect(const std::string& endpoint,
                                                    Spin spin = Spin::briefly);

  // Waits up to kLinger until everything is sent.
  ~IpcDealer() override;

  // Keeps what the socket does not take now and sends it with a later call. The broker's credit
  // bounds that.
  bool send(const Message& message) override;
  std::optional<Message> receive(std::chrono::milliseconds wait) override;
  std::optional<Message> receive_more() override;
  void prefetch() override;
  void reconnect() override;
  [[nodiscard]] const std::optional<LinkTrouble>& trouble() const override { return trouble_; }

  // Received messages that could not be decoded.
  [[nodiscard]] std::uint64_t dropped() const { return dropped_; }

 private:
  using TimePoint = std::chrono::steady_clock::time_point;

  IpcDealer(const sockaddr_un& address, Spin spin);

  void advance();
  void open(TimePoint now);
  void close();
  [[nodiscard]] bool awaits_small_answer() const;

  sockaddr_un address_;
  std::minstd_rand jitter_{std::random_device{}()};

  std::optional<ZmtpConnection> connection_;
  std::optional<LinkTrouble> trouble_;
  TimePoint handshake_until_{};  // while the connection is not ready
  TimePoint open_at_{};          // the next try, while there is no connection
  std::chrono::milliseconds pause_;
  std::deque<std::string> fetched_;  // messages
  std::size_t fetched_bytes_ = 0;
  std::uint64_t dropped_ = 0;
  BusyWait busy_wait_;
  int sent_ = 0;  // messages since the last one received
  std::size_t sent_bytes_ = 0;
  std::size_t last_received_bytes_ = 0;
};

}  // namespace turnstile
