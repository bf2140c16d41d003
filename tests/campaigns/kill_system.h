// Producers, broker, consumer and a standby consumer as real processes on one target, killed and
// paused at moments that a seed draws, and started again, until so many were killed; then drained,
// and everything held against what was sent and acknowledged.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/e2e/harness.h"

namespace turnstile::campaign {

enum class Actor : std::uint8_t {
  broker,
  consumer,
  big_batches,
  small_batches,
  rows,
  spooled,
  pets
};
inline constexpr std::size_t kRoles = 7;
inline constexpr std::array<std::string_view, kRoles> kRoleNames{
    "broker", "consumer", "big batches", "small batches", "single rows", "spooled", "pets"};

struct KillFigures {
  std::array<int, kRoles> kills{};
  std::array<int, kRoles> pauses{};
  int pauses_beyond_lease = 0;  // of consumers
  int consumers_fenced = 0;     // that came back after their successor, and stopped
  int producers_fenced = 0;     // that came back after a newer process of their name
  int times_without_consumer = 0;
  std::int64_t takeovers = 0;  // of the target, by one consumer after another
  std::uint64_t streams = 0;   // that were sent to their end
  std::uint64_t rows_acknowledged = 0;
  std::uint64_t rows_present = 0;
  std::uint64_t lost = 0;
  std::uint64_t twice = 0;
  std::chrono::milliseconds under_kills{0};
  std::chrono::milliseconds in_all{0};

  void add(const KillFigures& other);
  [[nodiscard]] int all_kills() const;
};

// One round, in a folder and with a target of its own.
class KillSystem {
 public:
  explicit KillSystem(std::uint64_t seed);

  // Each of these ends early, with a failure of the test, when something is not as it must be.
  void run(int kills);
  void drain();
  void verify();

  [[nodiscard]] const KillFigures& figures() const { return figures_; }
  // The ends of all logs, for a failure.
  [[nodiscard]] std::string logs() const;

 private:
  using Clock = std::chrono::steady_clock;
  using TimePoint = Clock::time_point;

  // One process of a role, or the place where one will be.
  struct Place {
    Actor role = Actor::broker;
    std::optional<e2e::Process> process;
    std::optional<TimePoint> start_at;
    std::optional<TimePoint> resume_at;  // it is paused
    bool is_away = false;                // a consumer that is left out for some kills
    std::size_t stream = 0;              // of producers: index into streams_
    bool has_stream = false;             // not sent to its end
  };
  // What a producer sends from beginning to end, in however many processes; pets: in one.
  struct Stream {
    Actor role = Actor::rows;
    std::string name;
    std::string ledger;
    std::int64_t first_id = 0;
    std::int64_t rows = 0;
    bool is_finished = false;
    bool has_had_two = false;  // processes at once: one that was paused, and its successor
  };
  struct Replaced {
    e2e::Process process;
    TimePoint resume_at;
    bool is_resumed = false;
  };

  void start(Place& place);
  void start_producer(Place& place);
  void begin_stream(Place& place);
  void has_ended(Place& place);
  void strike();
  void kill(Place& place);
  void pause(Place& place);
  void leave_without_consumer();
  void step(TimePoint until);
  void wait_for_event(TimePoint until);
  void reap();
  void do_what_is_due();
  [[nodiscard]] std::vector<Place*> victims();
  [[nodiscard]] std::chrono::microseconds between(std::chrono::microseconds from,
                                                  std::chrono::microseconds to);
  bool chance(double probability);
  bool wait_until_all_ended(std::chrono::seconds patience);

  void verify_by_check();
  void verify_streams();
  void verify_pets();
  [[nodiscard]] std::int64_t acknowledged(const Stream& stream) const;

  e2e::System system_;
  std::mt19937_64 random_;
  std::vector<Place> places_;
  std::vector<Stream> streams_;
  std::vector<Replaced> replaced_;
  int without_consumer_for_ = 0;  // kills
  KillFigures figures_;
};

}  // namespace turnstile::campaign
