// Watches a simulation from outside: what passes the wire, and what is on the disks, held against
// the promises. It asks the program nothing, and believes it nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "link/connection_id.h"
#include "proto/messages.h"
#include "tests/campaigns/simulation_disks.h"

namespace turnstile::simulation {

// Producers whose name begins so keep to no rule; nothing is promised to them.
inline constexpr std::string_view kRogue = "rogue";

// The row of that number; whoever sends for this producer sends the same.
std::uint64_t content_of(const std::string& producer, std::uint64_t number);

inline std::string text_of(ConnectionId id) {
  return "c" + std::to_string(id.value);
}

struct Bounds {
  std::size_t window_bytes = 0;
  std::size_t consumer_credit_bytes = 0;
  Duration lease{0};
};

class Audit {
 public:
  Audit(Host& host, const JournalDisk& journal, const TargetDisk& target, Bounds bounds)
      : host_(host), journal_(journal), target_(target), bounds_(bounds) {}

  // ---- the target: promises 2, 3 and 4
  void committed(std::uint64_t generation, const std::vector<CommittedRow>& rows);

  // ---- the broker's end: promises 1, 4 and 6
  void broker_started();
  void broker_takes(ConnectionId connection, const Message& message);
  void broker_sends(ConnectionId connection, const Message& message);
  void broker_cannot_reach(ConnectionId connection) { lose_holder(connection); }
  void broker_rests(std::size_t window_bytes);

  // ---- a consumer's end: promise 1
  struct Consumer {
    struct Delivered {
      std::string producer;
      std::uint64_t last = 0;
    };
    std::unordered_map<std::uint64_t, Delivered> delivered;  // by ticket
  };
  void consumer_takes(Consumer& consumer, const Message& message);
  void consumer_sends(const Consumer& consumer, const Message& message);

  // ---- a producer's end: what it is told, also of its dead letters
  struct Producer {
    std::string name;
    std::uint64_t applied = 0;  // told
    std::set<std::uint64_t> dead;
  };
  void producer_takes(Producer& producer, const Message& message);
  void producer_is_told_dead(Producer& producer, const std::vector<DeadRow>& dead,
                             std::uint64_t count);
  // It is told that all is applied from behind `begun` through `last`.
  void producer_done(const Producer& producer, std::uint64_t begun, std::uint64_t last,
                     bool outcomes_too);

  // ---- the end
  // Whether all that was acknowledged is in the target by now.
  [[nodiscard]] bool is_settled() const;
  // Nothing that was acknowledged is missing.
  void end();

  [[nodiscard]] std::uint64_t applied_through(const std::string& producer) const;
  [[nodiscard]] std::uint64_t rows_committed() const { return rows_committed_; }

 private:
  struct Ledger {
    std::uint64_t rows = 0;  // in the target, by what was committed
    std::uint64_t epoch = 0;
    std::uint64_t told = 0;  // stored, or applied
  };

  [[nodiscard]] bool is_durable(const std::string& producer, std::uint64_t through) const;
  void check_told(ConnectionId connection, std::uint64_t through, bool applied);
  void check_lease(ConnectionId connection, const LeaseState& state);
  void check_delivery(ConnectionId connection, const Delivery& delivery);
  void check_holder(ConnectionId connection);
  void take_results(ConnectionId connection, const Results& results);
  void lose_holder(ConnectionId connection);

  Host& host_;
  const JournalDisk& journal_;
  const TargetDisk& target_;
  const Bounds bounds_;

  std::map<std::string, Ledger> ledgers_;
  std::uint64_t newest_generation_ = 0;
  std::uint64_t rows_committed_ = 0;

  // Of this start of the broker.
  std::unordered_map<ConnectionId, std::string> producer_of_;
  std::unordered_map<ConnectionId, TimePoint> heard_;
  std::optional<ConnectionId> holder_;
  bool is_holder_sure_ = true;
  // Of this turn, by connection: how often it said HELLO or BYE, and whether BYE.
  struct Greetings {
    int count = 0;
    bool has_left = false;
  };
  std::unordered_map<ConnectionId, Greetings> greetings_;
  std::uint64_t lease_ = 0;
  std::map<std::uint64_t, std::size_t> handed_over_;  // bytes in the consumer's hands, by ticket
  std::size_t handed_bytes_ = 0;
};

}  // namespace turnstile::simulation
