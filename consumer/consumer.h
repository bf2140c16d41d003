// The consumer: fetches batches from the broker, applies each group in one transaction of the
// target, and only then answers.
//
//   standing by ──lease──► opening the target ──open_target──► writing ──► stopped
//        ▲                            ▲                          │ │ ▲
//        └── the broker started anew ─┼──────────────────────────┘ │ └─ locked, full: the group is
//            (forget_lease)           └── a failed sync: read back ┘    tried again (back_off)
//                                         (promise 8)
//
// One thread. The target's waits call back into the link, so that the broker hears of a consumer
// that waits for a lock.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "link/link.h"
#include "proto/messages.h"
#include "store/target.h"

namespace turnstile::consumer {

struct ConsumerOptions {
  store::TargetOptions target;
  // Bounds of one transaction.
  std::uint32_t group_rows = 20'000;
  std::size_t group_bytes = std::size_t{4} * 1024 * 1024;
};

class Consumer {
 public:
  // `stop_requested` is asked often and must be cheap.
  Consumer(Link& link, ConsumerOptions options, std::function<bool()> stop_requested);

  // Until a stop is requested. Errors: fenced (another consumer has taken over the target: nothing
  // more was applied), or what makes trying again pointless (bad options).
  Result<void> run();

 private:
  using Clock = std::chrono::steady_clock;

  void say_hello();
  void keep_in_touch();
  Result<void> handle(Message&& message);
  Result<void> on_lease(const LeaseState& state);
  void forget_lease();
  Result<void> answer_questions();
  void receive_for(std::chrono::milliseconds wait, Result<void>& outcome);

  Result<void> open_target();
  Result<void> apply_group();
  Result<std::vector<BatchResult>> apply_in_one_transaction(std::size_t batches);
  [[nodiscard]] std::size_t group_size() const;
  void report(std::vector<BatchResult>&& results);
  // Waits before the next try, longer each time; logs the first failure of its kind.
  Result<void> back_off(const Error& error);
  void works_again();

  Link& link_;
  ConsumerOptions options_;
  std::function<bool()> stop_requested_;

  bool has_lease_ = false;
  std::unique_ptr<store::Target> target_;  // open only while the lease is ours
  Lease lease_;
  struct Pending {
    Ticket ticket;
    Result<BatchHeader> header;
    Bytes rows_frame;
  };
  std::deque<Pending> pending_;
  std::size_t pending_bytes_ = 0;
  std::deque<Message> questions_;  // answered between transactions
  std::uint64_t rows_applied_ = 0;

  Clock::time_point last_sent_{};
  Clock::time_point last_heard_{};
  Clock::time_point said_hello_{};
  bool lost_touch_ = false;  // the broker was silent for too long
  std::string problem_;      // what is being waited out
  std::chrono::milliseconds pause_{0};
};

}  // namespace turnstile::consumer
