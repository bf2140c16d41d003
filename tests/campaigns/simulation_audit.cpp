#include "tests/campaigns/simulation_audit.h"

#include <algorithm>

namespace turnstile::simulation {
namespace {

// What a batch takes in memory beside its bytes, as WindowOptions documents it.
constexpr std::size_t kBesideBytes = 512;
// A batch of a simulation is larger than the one and smaller than the other.
constexpr std::size_t kSmallestBatch = 40;
constexpr std::size_t kLargestBatch = 512;

bool is_rogue(const std::string& producer) {
  return producer.starts_with(kRogue);
}

std::string row(const std::string& producer, std::uint64_t number) {
  return "row " + std::to_string(number) + " of " + producer;
}

}  // namespace

std::uint64_t content_of(const std::string& producer, std::uint64_t number) {
  std::uint64_t hash = number;
  for (const char c : producer) {
    hash = mixed(hash ^ static_cast<unsigned char>(c));
  }
  return hash >> 24U;
}

// ---- the target

void Audit::committed(std::uint64_t generation, const std::vector<CommittedRow>& rows) {
  if (generation < newest_generation_) {
    host_.violated("promise 4: generation " + std::to_string(generation) +
                   " writes behind generation " + std::to_string(newest_generation_));
  }
  newest_generation_ = generation;
  for (const auto& r : rows) {
    if (is_rogue(r.producer)) {
      continue;
    }
    Ledger& ledger = ledgers_[r.producer];
    if (r.number <= ledger.rows) {
      host_.violated("promise 2: " + row(r.producer, r.number) + " is applied a second time");
    }
    if (r.number != ledger.rows + 1) {
      host_.violated("promise 3: " + row(r.producer, r.number) + " is applied behind row " +
                     std::to_string(ledger.rows));
    }
    if (r.content != content_of(r.producer, r.number)) {
      host_.violated("promise 2: " + row(r.producer, r.number) + " is not what was sent");
    }
    if (r.epoch < ledger.epoch) {
      host_.violated("a fenced process wrote " + row(r.producer, r.number));
    }
    ledger.epoch = r.epoch;
    ledger.rows = r.number;
    ++rows_committed_;
  }
}

std::uint64_t Audit::applied_through(const std::string& producer) const {
  const auto found = target_.producers.find(producer);
  return found == target_.producers.end() ? 0 : found->second.through;
}

// ---- the broker's end

void Audit::broker_started() {
  producer_of_.clear();
  heard_.clear();
  holder_.reset();
  greetings_.clear();
  lease_ = 0;
  handed_over_.clear();
  handed_bytes_ = 0;
}

void Audit::broker_takes(ConnectionId connection, const Message& message) {
  heard_[connection] = host_.now();
  if (const auto* hello = std::get_if<Hello>(&message)) {
    ++greetings_[connection].count;
    lose_holder(connection);
    if (hello->role == Role::producer) {
      producer_of_[connection] = hello->producer.text;
    } else {
      producer_of_.erase(connection);
    }
  } else if (std::holds_alternative<Bye>(message)) {
    ++greetings_[connection].count;
    greetings_[connection].has_left = true;
    lose_holder(connection);
  } else if (const auto* results = std::get_if<Results>(&message)) {
    take_results(connection, *results);
  }
}

void Audit::take_results(ConnectionId connection, const Results& results) {
  if (holder_ != connection || results.lease.value != lease_) {
    return;
  }
  for (const auto& result : results.results) {
    // A consumer answers in the order of tickets: it has nothing older any more.
    for (auto at = handed_over_.begin();
         at != handed_over_.end() && at->first <= result.ticket.value;
         at = handed_over_.erase(at)) {
      handed_bytes_ -= at->second;
    }
  }
}

void Audit::lose_holder(ConnectionId connection) {
  if (holder_ == connection) {
    holder_.reset();
    handed_over_.clear();
    handed_bytes_ = 0;
  }
}

void Audit::broker_sends(ConnectionId connection, const Message& message) {
  if (const auto* welcome = std::get_if<Welcome>(&message)) {
    check_told(connection, welcome->through.value, false);
  } else if (const auto* stored = std::get_if<Stored>(&message)) {
    check_told(connection, stored->through.value, false);
  } else if (const auto* applied = std::get_if<Applied>(&message)) {
    check_told(connection, applied->through.value, true);
  } else if (const auto* state = std::get_if<LeaseState>(&message)) {
    check_lease(connection, *state);
  } else if (const auto* delivery = std::get_if<Delivery>(&message)) {
    check_delivery(connection, *delivery);
  } else if (std::holds_alternative<AskProgress>(message) ||
             std::holds_alternative<CheckTable>(message)) {
    check_holder(connection);
  }
}

void Audit::check_told(ConnectionId connection, std::uint64_t through, bool applied) {
  const auto found = producer_of_.find(connection);
  if (found == producer_of_.end() || is_rogue(found->second)) {
    return;
  }
  const std::string& producer = found->second;
  if (applied ? through > applied_through(producer) : !is_durable(producer, through)) {
    host_.violated("promise 1: " + producer + " is told that row " + std::to_string(through) +
                   " is " + (applied ? "applied" : "stored") + ", and it is not");
  }
}

bool Audit::is_durable(const std::string& producer, std::uint64_t through) const {
  std::uint64_t covered = applied_through(producer);
  bool moved = true;
  while (covered < through && moved) {
    moved = false;
    for (const auto& [offset, batch] : journal_.batches) {
      if (batch.producer == producer && batch.first <= covered + 1 && batch.last > covered) {
        covered = batch.last;
        moved = true;
      }
    }
  }
  return covered >= through;
}

void Audit::check_lease(ConnectionId connection, const LeaseState& state) {
  if (!state.granted) {
    return;
  }
  if (state.lease.value <= lease_) {
    host_.violated("promise 4: lease " + std::to_string(state.lease.value) +
                   " is given a second time");
  }
  const bool holds = holder_ && *holder_ != connection && is_holder_sure_;
  if (holds && host_.now() - heard_[*holder_] <= bounds_.lease) {
    host_.violated("promise 4: the lease is given to " + text_of(connection) + " while " +
                   text_of(*holder_) + " has it");
  }
  holder_ = connection;
  // One that got it and left or started over in the same turn has given it back by now: what it
  // said is read before anything of the turn is sent. Who stood by since an earlier turn needs no
  // HELLO for that, only its BYE, such as behind the BYE of who had the lease.
  is_holder_sure_ = greetings_[connection].count < 2 && !greetings_[connection].has_left;
  lease_ = state.lease.value;
  handed_over_.clear();
  handed_bytes_ = 0;
}

void Audit::check_holder(ConnectionId connection) {
  if (holder_ && *holder_ != connection) {
    host_.violated("promise 4: " + text_of(connection) + " is asked to write while " +
                   text_of(*holder_) + " has the lease");
  }
}

void Audit::check_delivery(ConnectionId connection, const Delivery& delivery) {
  check_holder(connection);
  if (handed_bytes_ >= bounds_.consumer_credit_bytes) {
    host_.violated("promise 6: a batch is handed over beyond the consumer's credit");
  }
  const std::size_t bytes =
      delivery.header_frame.size() + delivery.rows_frame.size() + kBesideBytes;
  handed_over_[delivery.ticket.value] = bytes;
  handed_bytes_ += bytes;
}

void Audit::broker_rests(std::size_t window_bytes) {
  greetings_.clear();
  // What producers sent, and what was read back for the consumer, by the size of its frames.
  const std::size_t credit = bounds_.consumer_credit_bytes;
  const std::size_t read_back =
      credit + (credit / kSmallestBatch + 1) * (kSmallestBatch + kBesideBytes) + kLargestBatch;
  if (window_bytes > bounds_.window_bytes + read_back) {
    host_.violated("promise 6: the window holds " + std::to_string(window_bytes) + " bytes");
  }
}

// ---- a consumer's end

void Audit::consumer_takes(Consumer& consumer, const Message& message) {
  if (const auto* delivery = std::get_if<Delivery>(&message)) {
    if (const auto header = decode_batch_header(delivery->header_frame.view())) {
      consumer.delivered[delivery->ticket.value] = {header->producer.text, header->last().value};
    }
  } else if (const auto* state = std::get_if<LeaseState>(&message); state && state->granted) {
    consumer.delivered.clear();
  }
}

void Audit::consumer_sends(const Consumer& consumer, const Message& message) {
  const auto* results = std::get_if<Results>(&message);
  if (results == nullptr) {
    return;
  }
  for (const auto& result : results->results) {
    const auto found = consumer.delivered.find(result.ticket.value);
    if (found == consumer.delivered.end()) {
      host_.violated("a consumer answers what it was not handed");
    }
    const auto& [producer, last] = found->second;
    if (result.outcome == Outcome::applied && applied_through(producer) < last) {
      host_.violated("promise 1: a consumer says that " + row(producer, last) +
                     " is applied, and it is not");
    }
  }
}

// ---- a producer's end

void Audit::producer_takes(Producer& producer, const Message& message) {
  std::uint64_t through = 0;
  if (const auto* applied = std::get_if<Applied>(&message)) {
    through = applied->through.value;
    producer.applied = std::max(producer.applied, through);
  } else if (const auto* stored = std::get_if<Stored>(&message)) {
    through = stored->through.value;
  } else if (const auto* welcome = std::get_if<Welcome>(&message)) {
    through = welcome->through.value;
  }
  Ledger& ledger = ledgers_[producer.name];
  ledger.told = std::max(ledger.told, through);
}

void Audit::producer_is_told_dead(Producer& producer, const std::vector<DeadRow>& dead,
                                  std::uint64_t count) {
  if (count != dead.size()) {
    host_.violated(producer.name + " is told of " + std::to_string(count) +
                   " dead letters, and which of " + std::to_string(dead.size()));
  }
  for (const auto& letter : dead) {
    const std::uint64_t number = letter.sequence.value;
    if (!is_refused(content_of(producer.name, number)) || number > applied_through(producer.name)) {
      host_.violated(row(producer.name, number) + " is called a dead letter, and is none");
    }
    if (!producer.dead.insert(number).second) {
      host_.violated(row(producer.name, number) + " is told twice to be a dead letter");
    }
  }
}

void Audit::producer_done(const Producer& producer, std::uint64_t begun, std::uint64_t last,
                          bool outcomes_too) {
  if (applied_through(producer.name) < last) {
    host_.violated("promise 1: " + producer.name + " is done, and row " + std::to_string(last) +
                   " is not applied");
  }
  for (std::uint64_t number = begun + 1; outcomes_too && number <= last; ++number) {
    if (is_refused(content_of(producer.name, number)) && !producer.dead.contains(number)) {
      host_.violated("promise 7: " + row(producer.name, number) +
                     " is a dead letter, and its producer was not told");
    }
  }
}

// ---- the end

bool Audit::is_settled() const {
  return std::all_of(ledgers_.begin(), ledgers_.end(), [](const auto& entry) {
    return is_rogue(entry.first) || entry.second.rows >= entry.second.told;
  });
}

void Audit::end() {
  for (const auto& [producer, ledger] : ledgers_) {
    if (is_rogue(producer)) {
      continue;
    }
    if (ledger.rows < ledger.told || ledger.rows != applied_through(producer)) {
      host_.violated("promise 2: " + producer + " was told of " + std::to_string(ledger.told) +
                     " rows, " + std::to_string(ledger.rows) + " are applied");
    }
  }
}

}  // namespace turnstile::simulation
