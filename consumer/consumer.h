// The consumer: fetches batches from the broker, applies each group in one transaction of the
// target, and only then answers.
//
//   standing by ──lease──► opening the target ──open_target──► writing ──► stopped
//        ▲                            ▲                          │ │ ▲
//        └── the broker restarted ────┼──────────────────────────┘ │ └─ locked, full: the group is
//            (forget_lease)           └── a failed sync: read back ┘    tried again (back_off)
//                                         (promise 8)
//
// Link, clock and target come in, and nothing but they waits. One thread at a time. The target's
// waits call back into the link, so that the broker hears of a consumer that waits for a lock.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "events/event_sink.h"
#include "link/link.h"
#include "proto/messages.h"
#include "store/target.h"
#include "store/writable_target.h"

namespace turnstile::consumer {

using OpenTarget =
    std::function<Result<std::unique_ptr<store::WritableTarget>>(store::TargetOptions)>;

// The file that the options name.
Result<std::unique_ptr<store::WritableTarget>> open_target_file(store::TargetOptions options);

struct ConsumerOptions {
  store::TargetOptions target;
  // The broker's rows go to this target from now on, whichever they were for.
  bool new_target = false;
  // Bounds of one transaction.
  std::uint32_t group_rows = 100'000;
  std::size_t group_bytes = std::size_t{4} * 1024 * 1024;
  OpenTarget open_target = open_target_file;
  // How often somebody asked that the text log be opened again.
  std::function<int()> reopens_asked = [] { return 0; };
  std::shared_ptr<EventSink> events;  // null: nobody watches
  std::function<std::chrono::steady_clock::time_point()> clock = std::chrono::steady_clock::now;
};

class Consumer {
 public:
  // `stop_requested` is asked often and must be cheap.
  Consumer(Link& link, ConsumerOptions options, std::function<bool()> stop_requested);

  // Until a stop is requested. Errors: fenced (another consumer has taken over the target: nothing
  // more was applied), or what makes trying again pointless (bad options).
  Result<void> run();

  // One turn of run(): waits up to `wait` for the first message, and less when something else is to
  // be done. Errors as those of run().
  Result<void> serve(std::chrono::milliseconds wait);
  // How long the next turn may wait for a message.
  [[nodiscard]] std::chrono::milliseconds patience() const;

  // After the last turn: gives the lease back.
  Result<void> finish();

 private:
  using TimePoint = std::chrono::steady_clock::time_point;

  void say_hello();
  void keep_in_touch();
  void tell_link_trouble();
  Result<void> handle(Message&& message);
  Result<void> on_lease(const LeaseState& state);
  Result<void> on_refusal(const Refusal& refusal);
  void forget_lease();
  Result<void> answer_questions();
  [[nodiscard]] std::chrono::milliseconds wait_at_most(std::chrono::milliseconds wait) const;
  Result<void> take_in(std::chrono::milliseconds wait);

  Result<void> open_target();
  void reopen_if_asked();
  void tell_notes();
  Result<void> apply_group();
  Result<std::vector<BatchResult>> apply_in_one_transaction(std::size_t batches);
  void settle(std::size_t batches, std::vector<BatchResult>&& results);
  [[nodiscard]] std::size_t group_size() const;
  void tell_of_group(EventKind kind, std::size_t batches) const;
  void tell_of_each(EventKind kind, std::size_t batches) const;
  void report();
  Results figures();
  bool send_figures(const Results& figures);
  [[nodiscard]] const std::string& present_problem() const;
  void tell_trouble();
  // Pauses before the next try, longer each time; logs the first failure of its kind.
  Result<void> back_off(const Error& error);
  void works_again();

  Link& link_;
  ConsumerOptions options_;
  std::function<bool()> stop_requested_;

  bool has_lease_ = false;
  std::unique_ptr<store::WritableTarget> target_;  // open only while the lease is ours
  Lease lease_;
  struct Pending {
    Ticket ticket;
    Result<BatchHeader> header;
    Bytes rows_frame;
  };
  std::deque<Pending> pending_;
  std::size_t pending_bytes_ = 0;
  std::vector<BatchResult> unreported_;  // committed
  std::deque<Message> questions_;        // answered between transactions
  bool link_is_full_ = false;            // it did not take the last of these
  std::uint64_t rows_applied_ = 0;
  std::uint64_t dead_letters_ = 0;  // in the target, when it was last open

  TimePoint last_sent_;
  TimePoint last_heard_;
  std::optional<TimePoint> said_hello_;
  int reopens_seen_ = 0;
  bool lost_touch_ = false;   // the broker was silent for too long
  std::string link_trouble_;  // that the log has
  std::string problem_;       // what is being waited out
  std::string refused_;       // what the broker said last, which was logged
  std::string lock_problem_;  // who holds the target, while a transaction waits for it
  std::string told_problem_;  // the last that the broker of this lease got
  std::vector<TableTrouble> told_tables_;
  std::chrono::milliseconds pause_{0};
  std::optional<TimePoint> paused_until_;
};

}  // namespace turnstile::consumer
