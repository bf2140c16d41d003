// The broker: all connections, one loop, one journal.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "broker/core.h"
#include "broker/journal.h"
#include "link/inside_link.h"
#include "link/listener.h"

namespace turnstile::broker {

struct BrokerOptions {
  std::string endpoint;  // ipc://PATH or tcp://HOST:PORT
  JournalOptions journal;
  CoreOptions core;
};

class Broker {
 public:
  // Opens the journal and listens. Errors: locked (another broker uses the journal or the socket),
  // unreachable (cannot listen there), and those of Journal::open.
  static Result<std::unique_ptr<Broker>> start(BrokerOptions options);

  // A consumer in this process, with its own thread.
  struct Inside {
    InsideLink* link;
    std::function<bool()> must_end;  // wakes the consumer so that it ends
  };

  // Serves until `stop_fd` is readable, then stores what is in memory. Errors: those of the socket.
  Result<void> run(int stop_fd, std::optional<Inside> inside = std::nullopt);

  [[nodiscard]] const std::string& endpoint() const { return options_.endpoint; }
  [[nodiscard]] const Journal& journal() const { return *journal_; }

 private:
  explicit Broker(BrokerOptions options) : options_(std::move(options)) {}
  Result<void> listen();
  void receive_messages(TimePoint now);
  void receive_from_inside(TimePoint now);
  [[nodiscard]] ConnectionId inside_connection() const;
  void send_outbox();
  bool give_inside(Outgoing&& outgoing);
  void wake_inside();
  void take_in(ConnectionId connection, Result<Message>&& message, TimePoint now);
  void refuse_too_large(ConnectionId connection, TimePoint now);
  void log_rejected(const Error& why, TimePoint now);
  void guard(TimePoint now);
  void guard_memory(TimePoint now);
  void guard_path(TimePoint now);
  Result<void> listen_again();

  BrokerOptions options_;
  std::vector<FileLock> socket_lock_;  // one for an ipc endpoint, else none
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<Core> core_;
  std::unique_ptr<Listener> listener_;
  std::optional<Inside> inside_;
  std::uint64_t inside_reconnects_ = 0;
  bool has_given_inside_ = false;  // since its consumer last woke
  TimePoint next_guard_{};
  int checks_above_limit_ = 0;  // in a row
  TimePoint next_guard_log_{};
  TimePoint next_descriptor_log_{};
  TimePoint next_look_at_path_{};
  std::string path_problem_;  // the last one in the log
  std::uint64_t rejected_since_log_ = 0;
  TimePoint next_rejected_log_{};
};

}  // namespace turnstile::broker
