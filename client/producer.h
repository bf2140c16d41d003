// Sends rows so that each arrives once and in order, and tells what became of them.
//
//   auto link = connect_to_broker(endpoint);
//   Producer producer(**link, {.id = random_producer_id()});
//   producer.start();
//   producer.into("pets", {"name", "breed"});
//   producer.append(std::array<std::string_view, 2>{"Ace", "Dog"});
//   producer.finish();
//
// With a spool (Spool::open, ProducerOptions::spool) rows outlive this process and need no broker:
// a row is taken when sync_spool() has returned behind its append(), and is sent by this process or
// by the next one that is started with the same name and spool.
//
// Group commit without a timer: a row goes at once when nothing is on its way, and rows that come
// while something is on its way gather into one batch.
//
// All functions may wait, and serve the link while they do. In between, somebody who has nothing to
// append calls pump(), so that answers are taken in and the broker hears of this producer.
// Belongs to one thread. Does not own the link, which must outlive it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "events/event_sink.h"
#include "link/link.h"
#include "client/session.h"
#include "client/spooling.h"
#include "client/waits.h"
#include "proto/ids.h"
#include "proto/messages.h"
#include "base/result.h"
#include "proto/rows.h"

namespace turnstile {

// CLOCK_MONOTONIC_COARSE: a steady_clock that goes on every 1 to 10 ms.
std::chrono::steady_clock::time_point coarse_now();

struct ProducerOptions {
  ProducerId id;
  bool named = false;  // the id outlives the process; its rows go on where they ended
  bool sure = false;   // see SessionOptions::sure
  std::string source;  // what a named producer reads (limits::kSourceBytes); empty otherwise
  // The source of a batch that ends with the row appended last, if it differs from `source` in base
  // or mark (proto/source.h).
  std::function<std::string()> source_now;
  Spool* spool = nullptr;  // of `id`; must outlive the producer. Rows leave it at level `ack`
  Ack ack = Ack::applied;
  std::uint32_t batch_rows = 1000;  // 1 to limits::kBatchRows
  std::size_t max_unacked_bytes = std::size_t{4} * 1024 * 1024;
  std::chrono::milliseconds task_duration{0};  // see BatchHeader::task_duration
  // Give up when the broker is silent, or no row is acknowledged, for so long; 0: never.
  std::chrono::milliseconds timeout{0};
  IfNoBroker if_no_broker = IfNoBroker::wait_if_permitted;  // with a spool: wait
  std::string peer = "the broker";                          // what it is called in messages

  // Asked often; when it says true, what waits returns.
  std::function<bool()> interrupted = [] { return false; };
  std::function<std::chrono::steady_clock::time_point()> clock = std::chrono::steady_clock::now;
  // Asked for each row behind which nothing is known to come at once. May be some milliseconds
  // behind `clock`, and should cost less.
  std::function<std::chrono::steady_clock::time_point()> coarse_clock = coarse_now;
  std::function<void(Notice, const std::string& text)> on_notice;
  std::function<void(const DeadRow&)> on_dead;  // once a row, in order of sequence
  // Each acknowledgement, such as for a Ledger. An error ends this producer.
  std::function<Result<void>(const Acknowledged&)> on_acknowledged;
  std::shared_ptr<EventSink> events;  // null: nobody watches
  std::uint64_t seed = 0;                  // of the jitter of pauses
};

struct Started {
  // Rows of this name are stored or applied, or in the spool, up to here: go on behind it.
  Sequence through;
  std::string source;  // that those rows came from; empty when not known
  bool consumer_attached = false;
  // `through` and `source` are those of the last row that there is, wherever it is. Otherwise there
  // may be more rows of this name.
  bool is_all = true;
};

// Counts of rows; a definition is none. Of this process only.
struct Summary {
  std::uint64_t appended = 0;
  std::uint64_t sent = 0;
  std::uint64_t stored = 0;          // or applied
  std::uint64_t applied = 0;         // committed in the target; dead letters are not
  std::uint64_t unacknowledged = 0;  // at the level of ProducerOptions::ack
  std::uint64_t spooled = 0;  // those of them that are in the spool, of earlier processes too
  std::uint64_t dead_count = 0;
  std::vector<DeadRow> dead;  // the first limits::kDeadListed
  // Time in which at least one row was not acknowledged, and the longest for one row.
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

  // Says hello and waits for the welcome, which numbers the rows. First of all. With a spool, which
  // numbers them, it does not wait.
  // Errors: unreachable (the timeout passed), refused (also: interrupted), fenced, those of Spool.
  Result<Started> start();
  // The same again after a pause, before the first row: what was not known may be known by then.
  Result<Started> start_again();

  // Asks whether rows for these columns would find their place. `unknown` when nobody could look.
  Result<TableAnswer> check_table(std::string table, std::vector<std::string> columns);

  // Has the table made in the target if it is missing, with these types (INTEGER, REAL, TEXT, BLOB,
  // NUMERIC). Travels like a row, and takes a sequence number.
  Result<Sequence> define(std::string table, std::vector<std::string> columns,
                          const std::vector<std::string>& types);

  // Where the rows go that are appended from now on. Of other kinds than insert the rows have the
  // form that PROTOCOL.md gives.
  void into(std::string table, std::vector<std::string> columns,
            BatchKind kind = BatchKind::insert);

  enum class Next { unknown, at_once };  // when the next row, pump() or flush() comes

  // Takes a row, and gives its number. Waits while more than max_unacked_bytes are held, or more
  // than the consumer keeps up with (Resend::bytes_ahead()), or the spool is full. Errors:
  // bad_input (a row above the limits of the wire; it was not taken), and those of start().
  Result<Sequence> append(std::span<const ValueRef> row, Next next = Next::unknown);
  // Every value as text.
  Result<Sequence> append(std::span<const std::string_view> row, Next next = Next::unknown);

  // Has what was gathered sent, as soon as it may be.
  void flush();

  // With a spool: returns when all rows so far are synced in it. Waits while it is full. pump(),
  // settle() and finish() do so first. Errors: full (for longer than the timeout, or interrupted:
  // the rows are held and not taken yet), those of Spool::store and of start().
  Result<void> sync_spool();

  // Serves the link for that time, or until interrupted.
  Result<void> pump(std::chrono::milliseconds wait);

  // Waits until all rows so far are acknowledged. False: the deadline passed, or interrupted.
  Result<bool> settle(std::optional<TimePoint> deadline = std::nullopt);

  // settle(), and then tells the broker that nothing more will come.
  Result<bool> finish(std::optional<TimePoint> deadline = std::nullopt);

  [[nodiscard]] Summary summary() const;

 private:
  template <typename Value>
  Result<Sequence> append_row(std::span<const Value> row, Next next);
  Result<void> check_row(std::size_t values, std::size_t bytes) const;
  void cut();
  void hand_on(Batch batch, TimePoint since);
  [[nodiscard]] std::string source_now() const;
  bool cut_if_idle();
  bool exchange(std::chrono::milliseconds wait);
  bool feed();
  [[nodiscard]] bool is_spool_due() const;
  void drop_from_spool();
  Result<void> wait_for_spool(const Error& full);
  Result<Started> wait_for_welcome();
  void fail_with(Error error);
  void serve(std::chrono::milliseconds wait);
  void wait_for_room();
  Result<void> check() const;
  void note_progress(TimePoint now);
  void begin_wait(TimePoint now);
  bool waits_too_long(TimePoint now);
  void tell_why(TimePoint now);
  [[nodiscard]] std::string present_reason() const;
  [[nodiscard]] std::string waiting_text() const;
  [[nodiscard]] Error no_progress_error() const;
  [[nodiscard]] Sequence last_cut() const;
  [[nodiscard]] Sequence last() const;
  [[nodiscard]] Sequence acknowledged() const;
  [[nodiscard]] std::uint64_t rows_between(Sequence behind, Sequence through) const;
  [[nodiscard]] std::uint64_t rows_through(Sequence through) const;
  void keep(const Resend::NewDead& dead);

  ProducerOptions options_;
  Session session_;
  std::optional<Spooling> spooling_;
  std::optional<Error> failure_;  // of the spool

  std::string table_;
  std::vector<std::string> columns_;
  BatchKind kind_ = BatchKind::insert;
  RowsEncoder gathered_;  // rows of the batch to come
  std::string row_name_;  // of its first one, for events
  TimePoint gathered_since_;
  TimePoint served_;  // by the coarse clock

  std::uint64_t appended_ = 0;
  std::vector<Sequence> definitions_;  // ascending
  std::uint64_t requests_ = 0;
  std::uint64_t dead_count_ = 0;
  std::vector<DeadRow> dead_;
  Waits waits_;
  // Of the wait at hand, and of what it waits for.
  std::chrono::milliseconds waited_for_table_{0};  // before it
  TimePoint waiting_from_{};                       // it began, or a row was acknowledged
  Sequence seen_stored_;
  Sequence seen_applied_;
  std::optional<std::uint64_t> seen_of_all_;  // rows that the consumer applied, of all producers
  std::optional<TimePoint> asked_why_;
  std::optional<TimePoint> told_why_;
  std::string told_reason_;
  std::optional<TimePoint> spool_full_since_;
};

}  // namespace turnstile
