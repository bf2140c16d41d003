// Clients that greet as they should and then lie, flood, or never read.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "link/zmq_dealer.h"

namespace turnstile::campaign {

enum class Attack {
  wrong_counts,         // batches whose header and rows frame disagree, under ever new ids
  sequence_jumps,       // holes, repeats, overlaps, the greatest sequence there is
  others_batches,       // batches under ids and epochs that are not its own
  false_consumer,       // results, progress, tables and leases from one who is no consumer
  many_names,           // one named producer after another
  many_ids,             // one random producer id after another, each with a row
  many_connections,     // connected, greeted and gone, under identities of its own choice
  never_reads,          // asks for status reports and heartbeats, and reads nothing
  never_reads_answers,  // the same with what is refused
  endless_message,      // parts of one message that never ends
  huge_frames,          // frames above the limit, and garbage up to it
  garbage,              // bursts of messages that cannot be read
  pings,                // asks ZMTP itself for answers, without end, and reads none
  half_frames,          // many connections, each with most of the largest message, and no end
};
inline constexpr std::size_t kAttacks = 14;

const char* name_of(Attack attack);

// Does so until `most` messages went out or it is stopped, in a thread of its own.
class Attacker {
 public:
  Attacker(Attack attack, std::string endpoint, std::uint64_t seed, std::uint64_t most);
  Attacker(const Attacker&) = delete;
  Attacker& operator=(const Attacker&) = delete;
  ~Attacker();

  [[nodiscard]] std::uint64_t sent() const { return sent_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  // Until it has sent all; false: too late.
  bool wait(std::chrono::milliseconds patience);

 private:
  struct State;
  std::atomic<std::uint64_t> sent_{0};
  std::atomic<std::uint64_t> bytes_{0};
  std::atomic<bool> stop_{false};
  std::shared_ptr<State> state_;
  std::thread thread_;
};

// A producer as it should be, one batch at a time.
class HonestProducer {
 public:
  HonestProducer(const std::string& endpoint, std::uint64_t seed);

  // Sends a batch of so many nutrients and waits until they are applied. How long that took;
  // nothing: not within the patience.
  std::optional<std::chrono::microseconds> send(std::uint32_t rows,
                                                std::chrono::milliseconds patience);
  [[nodiscard]] std::uint64_t rows() const { return last_; }

 private:
  bool greet(std::chrono::steady_clock::time_point until);

  std::unique_ptr<ZmqDealer> link_;
  std::string id_;
  Epoch epoch_;
  bool welcomed_ = false;
  std::uint64_t last_ = 0;
  std::uint64_t first_id_;
};

}  // namespace turnstile::campaign
