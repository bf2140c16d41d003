#include "tests/campaigns/simulation_wire.h"

#include <algorithm>

namespace turnstile::simulation {
namespace {

using namespace std::chrono_literals;

}  // namespace

Flying Flight::take() {
  Flying flying = std::move(items_[head_++]);
  if (head_ == items_.size()) {
    items_.clear();
    head_ = 0;
  }
  return flying;
}

void Flight::insert(Flying flying) {
  auto place = items_.end();
  const auto first = items_.begin() + static_cast<std::ptrdiff_t>(head_);
  while (place != first && (place - 1)->arrives > flying.arrives) {
    --place;
  }
  items_.insert(place, std::move(flying));
}

// ---- clients

bool Wire::send(std::size_t client, const Message& message, TimePoint now) {
  Client& c = clients_[client];
  notice(c, now);
  if (c.connection == nullptr || c.connection->up.size() >= rules_.queue_up) {
    return false;
  }
  if (c.connection->stands) {
    push(c.connection->up, Direction::up, Message(message), now);
  }
  return true;
}

std::optional<Message> Wire::receive(std::size_t client, TimePoint now) {
  Client& c = clients_[client];
  notice(c, now);
  if (!c.inbox.empty()) {
    return c.inbox.next() <= now ? std::optional(c.inbox.take().message) : std::nullopt;
  }
  if (c.connection == nullptr || c.connection->down.next() > now) {
    return std::nullopt;
  }
  return c.connection->down.take().message;
}

void Wire::open(std::size_t client, TimePoint now) {
  clients_[client].connect_at = now + dice_.between(50us, 20ms);
}

void Wire::close(std::size_t client, TimePoint now) {
  Client& c = clients_[client];
  if (c.connection != nullptr) {
    Connection& connection = *c.connection;
    if (connection.stands) {
      part(connection, now, now,
           now + (dice_.percent(80) ? dice_.between(0us, 5ms) : dice_.between(5ms, 12s)));
    }
    connection.client_knows = std::min(connection.client_knows, now);
    notice(c, now);
  }
  c.inbox = {};
  c.connect_at = kNever;
}

TimePoint Wire::next_for(std::size_t client) const {
  const Client& c = clients_[client];
  if (!c.inbox.empty()) {
    return c.inbox.next();
  }
  return c.connection != nullptr ? c.connection->down.next() : kNever;
}

// The client has learnt that its connection does not stand: it connects anew by itself.
void Wire::notice(Client& client, TimePoint now) {
  if (client.connection == nullptr || now < client.connection->client_knows) {
    return;
  }
  while (!client.connection->down.empty()) {
    client.inbox.insert(client.connection->down.take());
  }
  client.connection = nullptr;
  client.connect_at = now + dice_.between(1ms, dice_.percent(80) ? 50ms : 2s);
}

// ---- the broker

void Wire::broker_gone(TimePoint now) {
  broker_is_up_ = false;
  for (std::size_t i = first_; i < connections_.size(); ++i) {
    Connection& connection = connections_[i];
    if (connection.stands) {
      part(connection, now, now + dice_.between(0us, 20ms), now);
    }
    connection.up = {};
    connection.broker_knows = now;
  }
}

std::optional<std::pair<ConnectionId, Message>> Wire::take(TimePoint now) {
  // ROUTER takes from its connections in turn: any that has something may be next.
  std::size_t ready = 0;
  Connection* chosen = nullptr;
  for (std::size_t i = first_; i < connections_.size(); ++i) {
    if (connections_[i].up.next() <= now && dice_.below(++ready) == 0) {
      chosen = &connections_[i];
    }
  }
  if (chosen == nullptr) {
    return std::nullopt;
  }
  return std::pair(chosen->id, chosen->up.take().message);
}

bool Wire::send_to(ConnectionId id, Message&& message, TimePoint now) {
  for (std::size_t i = first_; i < connections_.size(); ++i) {
    Connection& connection = connections_[i];
    if (connection.id != id) {
      continue;
    }
    if (now >= connection.broker_knows || connection.down.size() >= rules_.queue_down) {
      return false;
    }
    if (connection.stands) {
      push(connection.down, Direction::down, std::move(message), now);
    }
    return true;
  }
  return false;
}

TimePoint Wire::next_for_broker() const {
  TimePoint next = kNever;
  for (std::size_t i = first_; i < connections_.size(); ++i) {
    next = std::min(next, connections_[i].up.next());
  }
  return next;
}

// ---- the world

void Wire::advance(TimePoint now) {
  for (std::size_t i = 0; i < kClients; ++i) {
    Client& c = clients_[i];
    notice(c, now);
    if (now < c.connect_at) {
      continue;
    }
    if (!broker_is_up_) {
      c.connect_at = now + dice_.between(20ms, 500ms);
      continue;
    }
    c.connect_at = kNever;
    Connection& connection = connections_.emplace_back();
    connection.id = {connections_.size()};
    connection.client = i;
    c.connection = &connection;
    connection.up.insert({now + dice_.between(rules_.shortest, rules_.longest), Heartbeat{}});
  }
  while (first_ < connections_.size() && connections_[first_].up.empty() &&
         now >= connections_[first_].broker_knows && now >= connections_[first_].client_knows) {
    ++first_;
  }
}

TimePoint Wire::next_connect() const {
  TimePoint next = kNever;
  for (const Client& c : clients_) {
    next = std::min(next, c.connect_at);
    if (c.connection != nullptr) {
      next = std::min(next, c.connection->client_knows);
    }
  }
  return next;
}

void Wire::cut(std::size_t client, TimePoint now) {
  Connection* connection = clients_[client].connection;
  if (connection == nullptr || !connection->stands) {
    return;
  }
  // Both see it at once, or one of them takes the connection for alive for long.
  const auto soon = [&] { return now + dice_.between(0us, 10ms); };
  const auto late = [&] { return now + dice_.between(10ms, 12s); };
  const bool at_once = dice_.percent(70);
  const auto client_knows = at_once || dice_.percent(50) ? soon() : late();
  part(*connection, now, client_knows, at_once ? soon() : late());
}

void Wire::part(Connection& connection, TimePoint now, TimePoint client_knows,
                TimePoint broker_knows) {
  connection.stands = false;
  connection.up.keep(dice_.below(connection.up.size() + 1));
  connection.down.keep(dice_.below(connection.down.size() + 1));
  while (!connection.down.empty() && connection.down.back().arrives > client_knows) {
    connection.down.keep(connection.down.size() - 1);
  }
  connection.client_knows = std::max(client_knows, now);
  connection.broker_knows = std::max(broker_knows, now);
}

std::optional<std::size_t> Wire::client_of(ConnectionId id) const {
  for (std::size_t i = first_; i < connections_.size(); ++i) {
    if (connections_[i].id == id) {
      return connections_[i].client;
    }
  }
  return std::nullopt;
}

TimePoint Wire::arrival(const Flight& flight, Direction direction, TimePoint now) {
  auto at = now + (dice_.per_mille(rules_.slow_per_mille)
                       ? dice_.between(rules_.longest, std::max(rules_.longest, rules_.slowest))
                       : dice_.between(rules_.shortest, rules_.longest));
  const bool overtakes = dice_.per_mille(rules_.overtake) && direction == Direction::down;
  if (!flight.empty() && !overtakes) {
    at = std::max(at, flight.back().arrives);
  }
  return at;
}

// A batch that is missing between two others of one session is its producer's fault, and final: of
// what a client sends the order stays, and no batch is lost.
void Wire::push(Flight& flight, Direction direction, Message&& message, TimePoint now) {
  if (dice_.per_mille(rules_.drop) && !std::holds_alternative<Batch>(message)) {
    return;
  }
  if (dice_.per_mille(rules_.twice)) {
    flight.insert({arrival(flight, direction, now), Message(message)});
  }
  flight.insert({arrival(flight, direction, now), std::move(message)});
}

// ---- a client's end

bool SimulatedLink::send(const Message& message) {
  if (loses(message)) {
    return true;
  }
  if (!wire_.send(client_, message, now_)) {
    return false;
  }
  on_send(message);
  return true;
}

std::optional<Message> SimulatedLink::receive(milliseconds wait) {
  auto message = wire_.receive(client_, now_);
  asked_wait_ = wait;
  if (message) {
    on_receive(*message);
  }
  return message;
}

void SimulatedLink::reconnect() {
  wire_.close(client_, now_);
  wire_.open(client_, now_);
}

}  // namespace turnstile::simulation
