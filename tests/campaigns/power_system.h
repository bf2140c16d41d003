// Producers, broker and consumer on one disk of a test's, in one thread, with a simulated clock:
// the product's Session, Core, Journal, Consumer and Target, and between them links that lose
// nothing but what was on its way when a process ended. What the broker sent counts as told.
//
// The consumer's own loop drives everything: while it waits for a message, the others have a turn.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "broker/core.h"
#include "broker/journal.h"
#include "client/session.h"
#include "consumer/consumer.h"
#include "link/link.h"
#include "store/target.h"
#include "tests/campaigns/power_check.h"
#include "tests/support/memory_folder.h"
#include "tests/support/power_disk.h"
#include "tests/support/power_vfs.h"

namespace turnstile::test::power {

// What a broken product would do, to see that it is found.
enum class Plant {
  none,
  journal_does_not_sync,  // synchronous=OFF, as far as the disk can tell
  target_does_not_sync,
  text_log_does_not_sync,
  stored_before_commit,   // the broker answers what it has not written
  applied_before_commit,  // the consumer answers what it has not committed
  record_after_commit,    // the text log's length is recorded in a transaction of its own
};

enum class Stage { opening, running, closing, of_a_stranger };
enum class End { clean, killed };

class SimulatedSystem {
 public:
  SimulatedSystem(std::uint64_t seed, Plant plant);
  SimulatedSystem(const SimulatedSystem&) = delete;
  SimulatedSystem& operator=(const SimulatedSystem&) = delete;
  ~SimulatedSystem();

  [[nodiscard]] PowerDisk& disk() { return disk_; }
  [[nodiscard]] const Paths& paths() const { return paths_; }
  [[nodiscard]] const std::vector<std::string>& problems() const { return problems_; }
  [[nodiscard]] Stage broker_stage() const { return broker_stage_; }
  [[nodiscard]] Stage consumer_stage() const { return consumer_stage_; }
  [[nodiscard]] bool has_broker() const { return core_ != nullptr; }
  std::uint64_t pick(std::uint64_t from, std::uint64_t to);
  bool once_in(std::uint64_t times) { return pick(1, times) == 1; }

  // Errors while the disk works are problems; so they are everywhere below.
  void start_broker();
  void stop_broker(End end);
  // Producers send, the broker takes a turn of its loop.
  void turn();
  // For so many turns.
  void run_consumer(int turns, End end);
  // While no consumer runs: another program writes the target, or harms the text log.
  void disturb();
  void disturb_target();
  // Some of the named producers end without a word, and start again.
  void restart_producers();
  // The machine is on again after a cut: nobody runs but the producers, which are elsewhere.
  void after_cut();
  // Runs without events until every row that producers hold is applied; else a problem.
  void drain();

  // Looks at a copy of the disk.
  void check_disk();

  // While calls fail on purpose, broker and consumer may fail to start, and say so when they end.
  void expect_failures(bool expected) { failures_expected_ = expected; }

 private:
  class ProducerLink;
  class ConsumerLink;
  struct SimProducer {
    std::string id;
    bool named = false;
    ConnectionId connection;
    std::deque<Message> mail;
    std::unique_ptr<ProducerLink> link;
    std::unique_ptr<Session> session;
  };

  void begin_life(SimProducer& producer);
  void act(SimProducer& producer);
  bool to_broker(ConnectionId connection, const Message& message);
  void flush();
  void tell(SimProducer& producer, const Message& message);
  std::optional<Message> to_consumer();
  Result<void> run(consumer::Consumer& consumer);
  void end_consumer();
  [[nodiscard]] store::TargetOptions target_options();
  [[nodiscard]] store::OpenTextFile text_files();
  // False: it may not be done now.
  bool begin_disturbance();
  void plant_late_record();
  void record_late();
  // As another program would write the target.
  void as_stranger(const std::string& sql);
  void problem(std::string text) { problems_.push_back(std::move(text)); }
  [[nodiscard]] bool is_quiet() const;

  std::mt19937_64 random_;
  Plant plant_;
  MemoryFolder folder_;  // of the journal's lock, which is a real file
  Paths paths_;
  PowerDisk disk_;
  PowerVfs broker_vfs_;
  PowerVfs consumer_vfs_;
  PowerVfs stranger_vfs_;
  broker::TimePoint now_{std::chrono::hours(1)};

  broker::JournalOptions journal_options_;
  broker::CoreOptions core_options_;
  int checkpoint_pages_;
  std::unique_ptr<broker::Journal> journal_;
  std::unique_ptr<broker::Core> core_;
  Stage broker_stage_ = Stage::opening;
  std::deque<std::pair<ConnectionId, Message>> inbox_;

  std::vector<std::unique_ptr<SimProducer>> producers_;
  bool producing_ = true;

  std::uint64_t connections_ = 0;
  std::optional<ConnectionId> consumer_connection_;  // nullopt: none runs
  std::deque<Message> consumer_mail_;
  int turns_left_ = 0;
  End consumer_end_ = End::clean;
  bool consumer_ended_ = false;
  bool took_over_ = false;
  Lease lease_;  // for the plant
  Stage consumer_stage_ = Stage::opening;

  bool failures_expected_ = false;
  std::uint64_t strangers_rows_ = 0;
  bool is_strange_ = false;  // disturbed since a consumer took over
  Account account_;
  std::vector<std::string> problems_;
};

}  // namespace turnstile::test::power
