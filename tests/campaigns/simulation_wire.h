// The connections between clients and broker, simulated.
//
// Within the rules of a real link a connection delivers in order, and loses only when it is cut:
// then what was on its way arrives up to some message and no further, and each side learns of it
// later. The broker may hear what an old connection carried behind what a newer one does. Rules
// that no real link has (drop, twice, overtake) take messages one by one, but for batches: what is
// missing between two of them would be a hole.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "link/connection_id.h"
#include "link/link.h"
#include "proto/messages.h"
#include "tests/campaigns/simulation_dice.h"

namespace turnstile::simulation {

struct WireRules {
  microseconds shortest{20};
  microseconds longest{2000};
  std::uint64_t slow_per_mille = 0;  // messages that take up to `slowest`
  microseconds slowest{0};
  std::size_t queue_up = 1000;  // messages of one connection
  std::size_t queue_down = 8192;
  // Per mille of messages.
  std::uint64_t drop = 0;
  std::uint64_t twice = 0;
  std::uint64_t overtake = 0;
};

struct Flying {
  TimePoint arrives;
  Message message;
};

// In order of arrival.
class Flight {
 public:
  [[nodiscard]] bool empty() const { return head_ == items_.size(); }
  [[nodiscard]] std::size_t size() const { return items_.size() - head_; }
  [[nodiscard]] const Flying& front() const { return items_[head_]; }
  [[nodiscard]] TimePoint next() const { return empty() ? kNever : front().arrives; }
  [[nodiscard]] const Flying& back() const { return items_.back(); }
  Flying take();
  void insert(Flying flying);
  // Only the first `count` arrive.
  void keep(std::size_t count) { items_.resize(std::min(items_.size(), head_ + count)); }

 private:
  std::vector<Flying> items_;
  std::size_t head_ = 0;
};

class Wire {
 public:
  static constexpr std::size_t kClients = 10;

  Wire(Dice& dice, const WireRules& rules) : dice_(dice), rules_(rules) {}

  // ---- clients, by their number
  bool send(std::size_t client, const Message& message, TimePoint now);
  std::optional<Message> receive(std::size_t client, TimePoint now);
  // Connects as soon as the broker is there.
  void open(std::size_t client, TimePoint now);
  // The client's end: what it sent may arrive, what was on its way to it does not.
  void close(std::size_t client, TimePoint now);
  [[nodiscard]] TimePoint next_for(std::size_t client) const;

  // ---- the broker
  void broker_started() { broker_is_up_ = true; }
  void broker_gone(TimePoint now);
  // The next message that arrived; one of a connection that has begun is a heartbeat.
  std::optional<std::pair<ConnectionId, Message>> take(TimePoint now);
  // False: nobody is there, or reads nothing.
  bool send_to(ConnectionId id, Message&& message, TimePoint now);
  [[nodiscard]] TimePoint next_for_broker() const;

  // ---- the world
  // Connects who waits to. Call as time passes.
  void advance(TimePoint now);
  [[nodiscard]] TimePoint next_connect() const;
  void cut(std::size_t client, TimePoint now);
  [[nodiscard]] std::optional<std::size_t> client_of(ConnectionId id) const;

 private:
  struct Connection {
    ConnectionId id;
    std::size_t client = 0;
    Flight up;
    Flight down;
    bool stands = true;
    TimePoint client_knows = kNever;  // that it does not stand
    TimePoint broker_knows = kNever;
  };
  struct Client {
    Connection* connection = nullptr;
    Flight inbox;  // of connections before
    TimePoint connect_at = kNever;
  };

  enum class Direction { up, down };

  TimePoint arrival(const Flight& flight, Direction direction, TimePoint now);
  void push(Flight& flight, Direction direction, Message&& message, TimePoint now);
  void part(Connection& connection, TimePoint now, TimePoint client_knows, TimePoint broker_knows);
  void notice(Client& client, TimePoint now);

  Dice& dice_;
  const WireRules& rules_;
  std::array<Client, kClients> clients_;
  std::deque<Connection> connections_;  // those before first_ are gone on both sides
  std::size_t first_ = 0;
  bool broker_is_up_ = false;
};

// A client's end. Does not wait: how long it was asked to is kept for the world.
class SimulatedLink final : public Link {
 public:
  SimulatedLink(Wire& wire, std::size_t client, const TimePoint& now)
      : wire_(wire), client_(client), now_(now) {}

  bool send(const Message& message) override;
  std::optional<Message> receive(milliseconds wait) override;
  void reconnect() override;

  // How long the last receive() would have waited.
  [[nodiscard]] milliseconds asked_wait() const { return asked_wait_; }

  // Called with what passes this end.
  std::function<void(const Message&)> on_send;
  std::function<void(const Message&)> on_receive;
  // True: it is taken, and goes nowhere (Planted::lost_resend).
  std::function<bool(const Message&)> loses = [](const Message&) { return false; };

 private:
  Wire& wire_;
  std::size_t client_;
  const TimePoint& now_;
  milliseconds asked_wait_{0};
};

}  // namespace turnstile::simulation
