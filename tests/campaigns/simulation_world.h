// A broker, its consumers and producers, each the product's own code, in one thread and on one
// simulated clock. Chance decides what happens to them, and one seed decides chance. After each
// step an Audit looks at the wire and at the disks.
//
// A process runs until it waits. Where it waits within a call (a sync, a lock), the others run
// inside that call.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "broker/core.h"
#include "tests/campaigns/simulation_audit.h"
#include "tests/campaigns/simulation_dice.h"
#include "tests/campaigns/simulation_disks.h"
#include "tests/campaigns/simulation_wire.h"

namespace turnstile::simulation {

// Bugs that the simulation must find.
enum class Planted {
  nothing,
  broker_answers_early,     // STORED as soon as a batch came
  journal_syncs_late,       // a transaction is on disk only with the next one
  target_syncs_late,        // the same of the target
  target_forgets_progress,  // now and then
  known_rows_again,         // of a batch whose later rows are new
  partly_known_skipped,     // a batch whose first rows are known is taken for wholly known
  two_leases,               // who stands by gets a lease too
  no_fence,                 // the target's generation stops nobody
  lost_resend,              // the first batch behind a reconnect is taken for sent
};

struct Plan {
  std::uint64_t seed = 0;
  // The wire also drops, doubles and reorders single messages, which no real link does.
  bool is_harsh = false;
  Planted planted = Planted::nothing;
  bool traced = false;
};

struct Verdict {
  std::string violation;  // empty: all promises held
  std::vector<std::string> trace;
  std::uint64_t steps = 0;
  std::uint64_t rows = 0;
  std::uint64_t troubles = 0;
};

Verdict simulate(const Plan& plan);

class World;

class Process {
 public:
  Process(World& world, std::string name, std::size_t client)
      : world_(world), name_(std::move(name)), client_(client) {}
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  virtual ~Process() = default;

  virtual void start() = 0;
  virtual void turn() = 0;
  // Loses what is in memory.
  virtual void die() = 0;
  // Ends as it should, and starts again later.
  virtual void stop() { die(); }
  // When it has to run, for itself or for a message.
  [[nodiscard]] virtual TimePoint due() const = 0;

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::size_t client() const { return client_; }

  bool is_awaited = false;  // the run is not over before it
  bool is_over = false;     // it did what it was there for, and is not started again
  bool is_up = false;
  bool is_inside = false;              // a call of its own waits
  bool is_doomed = false;              // dies as soon as that call goes on
  TimePoint start_at = kNever;         // while it is not up
  TimePoint stopped_until{};           // as by SIGSTOP
  std::uint64_t dies_after_sends = 0;  // 0: does not

 protected:
  World& world_;
  std::string name_;
  std::size_t client_;
};

// What chance has chosen for the whole of a run.
struct Setting {
  WireRules wire;
  broker::WindowOptions window;
  std::uint64_t credit_bytes = 0;
  std::size_t journal_limit = 0;
  std::size_t max_sessions = 0;
  milliseconds lease{0};
  milliseconds busy_timeout{0};
  std::uint64_t slow_syncs_percent = 0;
  milliseconds load{0};
};

class World final : public Host {
 public:
  explicit World(const Plan& plan);
  ~World() override;

  void run();

  [[nodiscard]] TimePoint now() const override { return now_; }
  [[nodiscard]] const TimePoint& clock() const { return now_; }
  void pass(Duration duration) override;
  Duration sync_time() override;
  [[noreturn]] void violated(const std::string& what) override;

  template <typename Text>
  void trace(const Process& who, const Text& text) {
    if (plan.traced) {
      add_trace(who.name(), text());
    }
  }
  [[nodiscard]] std::vector<std::string> take_trace() const {
    return {trace_.begin(), trace_.end()};
  }
  [[nodiscard]] std::uint64_t steps() const { return steps_; }
  [[nodiscard]] std::uint64_t troubles() const { return troubles_; }
  [[nodiscard]] bool is_healed() const { return is_healed_; }
  // A process that ended by itself.
  void ended(Process& process, TimePoint again);

  const Plan plan;
  Dice dice;
  Setting setting;
  JournalDisk journal;
  TargetDisk target;
  Wire wire;
  Audit audit;
  // The clock on the wall, which people set.
  std::int64_t wall_clock_ms = 1'700'000'000'000;

 private:
  void draw_processes();
  void run_until(TimePoint end);
  [[nodiscard]] Process* next_process(TimePoint& at);
  void run_turn(Process& process);
  void kill(Process& process);
  void trouble();
  void trouble_for_process(Process& process);
  void trouble_for_disks();
  void heal();
  [[nodiscard]] bool is_drained() const;
  void check_journal_is_empty();
  void add_trace(const std::string& who, const std::string& text);

  TimePoint now_{std::chrono::hours(1)};
  std::vector<std::unique_ptr<Process>> processes_;
  Process* broker_ = nullptr;
  Process* current_ = nullptr;
  int depth_ = 0;
  std::deque<TimePoint> troubles_at_;
  std::deque<std::string> trace_;
  std::uint64_t steps_ = 0;
  std::uint64_t troubles_ = 0;
  bool is_healed_ = false;
  std::size_t next_client_ = 0;
};

}  // namespace turnstile::simulation
