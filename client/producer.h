// Sends rows so that each arrives once and in order, and reports the outcome of each.
//
//   auto link = connect_to_broker(endpoint);
//   Producer producer(**link, {.id = random_producer_id()});
//   producer.start();
//   producer.into("pets", {"name", "breed"});
//   producer.append(std::array<std::string_view, 2>{"Ace", "Dog"});
//   producer.finish();
//
// With a spool (Spool::open, ProducerOptions::spool) rows outlive this process and need no broker.
// A row is taken when a sync_spool() after its append() has returned. This process sends it, or the
// next process that starts with the same name and spool.
//
// Group commit without a timer: a row is sent immediately when no row is in flight. Rows that come
// while others are in flight gather into one batch.
//
// Every function may wait, and serves the link while it waits. A program that has nothing to append
// calls pump() now and then, which reads answers and sends heartbeats. Belongs to one thread. Does
// not own the link, which must outlive it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "client/outbox.h"
#include "client/session.h"
#include "client/wait_monitor.h"
#include "client/waits.h"
#include "events/event_sink.h"
#include "link/link.h"
#include "proto/ids.h"
#include "proto/messages.h"
#include "proto/rows.h"

namespace turnstile {

// CLOCK_MONOTONIC_COARSE: a steady_clock that advances every 1 to 10 ms.
std::chrono::steady_clock::time_point coarse_now();

struct ProducerOptions {
  ProducerId id;
  bool named = false;  // the id outlives the process, and so does the numbering of its rows
  bool sure = false;   // see SessionOptions::sure
  std::string source;  // what a named producer reads (limits::kSourceBytes); else empty
  // The source of a batch that ends with the row appended last, if its base or mark differs from
  // that of `source` (proto/source.h).
  std::function<std::string()> source_now;
  Spool* spool = nullptr;  // of `id`; must outlive the producer. Drops rows at level `ack`
  Ack ack = Ack::applied;
  std::uint32_t batch_rows = 1000;  // 1 to limits::kBatchRows
  std::size_t max_unacked_bytes = std::size_t{4} * 1024 * 1024;
  std::chrono::milliseconds task_duration{0};  // see BatchHeader::task_duration
  // Give up when the broker is silent, or no row is acknowledged, for this long; 0: never.
  std::chrono::milliseconds timeout{0};
  IfNoBroker if_no_broker = IfNoBroker::wait_if_permitted;  // with a spool: wait
  std::string peer = "the broker";                          // its name in messages

  // Called often. Every wait returns once it says true.
  std::function<bool()> interrupted = [] { return false; };
  std::function<std::chrono::steady_clock::time_point()> clock = std::chrono::steady_clock::now;
  // Read for each row whose successor may take a while (Next::unknown). May lag `clock` by some
  // milliseconds, and should be cheaper.
  std::function<std::chrono::steady_clock::time_point()> coarse_clock = coarse_now;
  std::function<void(Notice, const std::string& text)> on_notice;
  std::function<void(const DeadRow&)> on_dead;  // once for each row, in order of sequence
  // Called for each acknowledgement, for example to write a Ledger. An error ends this producer.
  std::function<Result<void>(const Acknowledged&)> on_acknowledged;
  std::shared_ptr<EventSink> events;  // null: no events
  std::uint64_t seed = 0;             // of the pauses' jitter
};

struct Started {
  // Rows of this name up to here are stored, applied, or in the spool: continue after it.
  Sequence through;
  std::string source;  // that those rows came from; empty if unknown
  bool consumer_attached = false;
  // No row of this name exists after `through`, wherever it may be. Otherwise there may be some.
  bool is_all = true;
};

// Counts rows, not definitions, of this process only.
struct Summary {
  std::uint64_t appended = 0;
  std::uint64_t sent = 0;
  std::uint64_t stored = 0;          // or applied
  std::uint64_t applied = 0;         // committed in the target; dead letters are not
  std::uint64_t unacknowledged = 0;  // at the level of ProducerOptions::ack
  std::uint64_t spooled = 0;         // of these, rows in the spool, also of earlier processes
  std::uint64_t dead_count = 0;
  std::vector<DeadRow> dead;  // the first limits::kDeadListed
  // Total time with at least one row unacknowledged, and the longest wait of one row.
  std::chrono::milliseconds waited_total{0};
  std::chrono::milliseconds waited_longest{0};
};

class Producer {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  Producer(Link& link, ProducerOptions options);
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;
  ~Producer() = default;

  // Must come first. Says hello and waits for the welcome, which numbers the rows. With a spool,
  // which numbers the rows itself, it does not wait. Errors: unreachable (the timeout passed),
  // refused (also: interrupted), fenced, those of Spool.
  Result<Started> start();
  // The same again after a pause, before the first row: the broker may know more by then.
  Result<Started> start_again();

  // Asks whether the target has a place for rows of these columns. `unknown`: no answer in time.
  Result<TableAnswer> check_table(std::string table, std::vector<std::string> columns);

  // Makes the table in the target if it is missing, with these types (INTEGER, REAL, TEXT, BLOB,
  // NUMERIC). Sent like a row, and takes a sequence number.
  Result<Sequence> define(std::string table, std::vector<std::string> columns,
                          const std::vector<std::string>& types);

  // The table and columns of the rows appended from now on. For kinds other than insert,
  // PROTOCOL.md gives the form of a row.
  void into(std::string table, std::vector<std::string> columns,
            BatchKind kind = BatchKind::insert);

  enum class Next { unknown, immediately };  // when the next row, pump() or flush() comes

  // Takes a row, and returns its number. Waits while more than max_unacked_bytes are held, while
  // the producer is too far ahead of the consumer (Resend::bytes_ahead()), or while the spool is
  // full. Errors: bad_input (a row above the limits of the wire, which was not taken), and those of
  // start().
  Result<Sequence> append(std::span<const ValueRef> row, Next next = Next::unknown);
  // Sends every value as text.
  Result<Sequence> append(std::span<const std::string_view> row, Next next = Next::unknown);

  // Sends the gathered rows as soon as possible.
  void flush();

  // With a spool: returns when all rows so far are synced in it; waits while it is full. pump(),
  // settle() and finish() call it first. Errors: full (for longer than the timeout, or until
  // interrupted: the rows are held in memory and not taken yet), those of Spool::store and of
  // start().
  Result<void> sync_spool();

  // Serves the link for this time, or until interrupted.
  Result<void> pump(std::chrono::milliseconds wait);

  // Waits until all rows so far are acknowledged. False: the deadline passed, or interrupted.
  Result<bool> settle(std::optional<TimePoint> deadline = std::nullopt);

  // settle(), then tells the broker that this producer is done.
  Result<bool> finish(std::optional<TimePoint> deadline = std::nullopt);

  [[nodiscard]] Summary summary() const;

 private:
  template <typename Value>
  Result<Sequence> append_row(std::span<const Value> row, Next next);
  Result<void> check_row(std::size_t values, std::size_t bytes) const;
  void cut();
  void add_batch(Batch batch, TimePoint since);
  bool cut_if_idle();
  bool exchange(std::chrono::milliseconds wait);
  bool feed();
  Result<void> wait_for_spool(const Error& full);
  Result<Started> wait_for_welcome();
  void fail_with(Error error);
  void fail_unless(Result<void> result);
  void serve(std::chrono::milliseconds wait);
  void wait_for_room();
  Result<void> check() const;
  [[nodiscard]] WaitingRows waiting_rows() const;
  [[nodiscard]] Error no_progress_error() const;
  [[nodiscard]] Sequence last() const;
  [[nodiscard]] std::uint64_t rows_between(Sequence after, Sequence through) const;
  [[nodiscard]] std::uint64_t rows_through(Sequence through) const;
  void keep(const Resend::NewDead& dead);

  ProducerOptions options_;
  Session session_;
  std::unique_ptr<Outbox> outbox_;
  WaitMonitor wait_monitor_;
  std::optional<Error> failure_;  // of the outbox

  std::string table_;
  std::vector<std::string> columns_;
  BatchKind kind_ = BatchKind::insert;
  RowsEncoder gathered_;  // rows of the next batch
  std::string row_name_;  // of its first row, for events
  TimePoint gathered_since_;
  TimePoint served_;  // by the coarse clock

  std::uint64_t appended_ = 0;
  std::vector<Sequence> definitions_;  // ascending
  std::uint64_t requests_ = 0;
  std::uint64_t dead_count_ = 0;
  std::vector<DeadRow> dead_;
  Waits waits_;
  std::optional<TimePoint> spool_full_since_;
};

}  // namespace turnstile
