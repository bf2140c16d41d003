// The window: which batches the broker holds, their order of delivery to the consumer, and which of
// them must be stored in the journal next.
//
// A pure state machine: it takes batches, results and the time, and touches no socket and no file.
//
//   offer()                    deliver_next()                      settle()
//  ─────────► behind_ ─────────────────────────────► front_ ─────────────────► gone
//                │  ▲                                   ▲
//   mark_stored()│  │ nothing is cold                   │ loaded()
//   and no room  ▼  │                                   │
//              cold_ (only in the journal) ─────────────┘
//
// Order of delivery: front_, then the cold batches, then behind_. The journal always holds a prefix
// of that order, so a crash that empties the memory leaves no hole before a stored batch.
//
// A suspect's batches (suspects.h) go to suspects_ instead of behind_, and from there a few at a
// time to front_. They move to behind_ when they are stored, or when a row of their producer is
// applied. The order within a producer stays.
//
// window.cpp has what producers and the consumer use, window_journal.cpp what the journal uses.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "broker/held.h"
#include "broker/suspects.h"
#include "proto/messages.h"

namespace turnstile::broker {

struct WindowOptions {
  // For batches from producers. Batches read back from the journal, up to the consumer's credit,
  // come on top.
  std::size_t memory_bytes = std::size_t{32} * 1024 * 1024;
  // In flight: delivered and not answered. Less than memory_bytes.
  std::size_t consumer_credit_bytes = std::size_t{8} * 1024 * 1024;
  // Store waiting batches when the consumer has batches in flight and answered none for this time.
  std::chrono::milliseconds stalled_after{100};
};

// The batches that only the journal holds: offsets from `next` through `last`.
struct Cold {
  Offset next{1};
  Offset last{0};
  [[nodiscard]] bool empty() const { return next > last; }
};

struct RowRange {
  ProducerId producer;
  Sequence first;
  Sequence last;
};

class Window {
 public:
  enum class Verdict {
    taken,    // an answer will come. Also for an applied batch: its producer does not know the dead
              // letters, and the target does
    held,     // a duplicate of a held batch: an answer will come
    stored,   // a duplicate of a stored batch: see stored_through()
    go_back,  // not taken: no room, or an earlier batch is missing; send expected() first
    skipped,  // not taken: it follows one that got go_back
    hole,     // not taken: its producer skipped numbers for good
  };

  explicit Window(WindowOptions options) : options_(options) {}

  // ---- producers
  Verdict offer(Batch&& batch, TimePoint now);
  // After go_back: the sequence that offer() takes next from this producer.
  [[nodiscard]] Sequence expected(const ProducerId& producer) const;
  [[nodiscard]] Sequence stored_through(const ProducerId& producer) const;
  [[nodiscard]] Sequence applied_through(const ProducerId& producer) const;
  void note_applied(const ProducerId& producer, Sequence through);
  // A producer's session begins. Its batches come in order, over one connection. It claims to know
  // the outcomes of its rows through `known`, which counts for this session only.
  void session_begins(const ProducerId& id, Sequence known);
  // ... and says where: with the row after `through`, except for acknowledged rows. Any other row
  // follows a hole, even if no held batch shows it. `sent`: the highest row that it sent before.
  void begins_after(const ProducerId& id, Sequence through, Sequence sent);
  // Call this before acknowledging rows as stored or applied; gives the sequence to acknowledge. If
  // the session said where it begins, that is at most the last row that it sent: it may not have
  // numbered later rows yet, and would neither learn their outcomes (promise 7) nor send them
  // again.
  Sequence acknowledge(const ProducerId& id, Sequence through);
  // How far the rows that acknowledge() allows are applied.
  [[nodiscard]] Sequence applied_of_sent(const ProducerId& id) const;
  // The target has reported its progress (note_applied()): no rows exist beyond that and those
  // held.
  void note_complete(const ProducerId& producer) { producers_[producer].is_complete = true; }
  // The last row that exists. Nothing: unknown.
  [[nodiscard]] std::optional<Sequence> last_row(const ProducerId& id) const;
  // The source of the last held batch if it ends after `through`, else empty.
  [[nodiscard]] std::string source_after(const ProducerId& id, Sequence through) const;
  // Those that are connected or have waiting rows.
  [[nodiscard]] std::size_t producers() const { return producers_.size(); }
  [[nodiscard]] bool knows(const ProducerId& producer) const {
    return producers_.contains(producer);
  }
  // Rows came in this session, or earlier ones are known.
  [[nodiscard]] bool has_rows_of(const ProducerId& id) const;
  [[nodiscard]] bool is_suspect(const ProducerId& id) const;
  // The producer's session ended: remember only what is held.
  void forget(const ProducerId& producer);

  // ---- journal
  [[nodiscard]] bool should_store(TimePoint now) const;
  // When should_store() may become true by time alone. Nothing: never.
  [[nodiscard]] std::optional<TimePoint> store_deadline() const;
  // The oldest unstored batches, up to `max_bytes` and at least one. The pointers are valid until
  // the next call that is not const.
  [[nodiscard]] std::vector<const Held*> to_store(std::size_t max_bytes) const;
  // Those are synced in the journal. Gives the producers whose stored_through() has moved.
  std::vector<ProducerId> mark_stored(const std::vector<Offset>& offsets, TimePoint now);
  // What the journal holds: call this at the start, after it was opened again, and to retry stopped
  // producers. Drops stored batches from memory.
  struct Kept {
    ProducerId producer;
    Sequence last;
    std::uint64_t batches;
    std::string source = {};  // of the last one
  };
  void journal_opened(Cold cold, const std::vector<Kept>& kept);
  // The journal's file is gone. Batches in memory must be stored again; gives their rows. Call
  // journal_opened() next.
  std::vector<RowRange> journal_vanished();
  [[nodiscard]] std::optional<Offset> wants_load() const;
  // The journal's batches from wants_load() through `through`.
  void loaded(std::vector<Held>&& batches, Offset through);
  // One of its batches in the journal cannot be read, so that batch and all later ones stay there.
  void stop(const ProducerId& producer) { stopped_.insert(producer); }

  // ---- consumer
  void consumer_attached(TimePoint now);
  void consumer_gone();
  [[nodiscard]] bool has_consumer() const { return attached_; }
  // The next batch to deliver, with its ticket. nullptr: none, or no credit.
  const Held* deliver_next(TimePoint now);

  // What follows from a result. Nothing follows from an unknown ticket.
  struct Settled {
    ProducerId producer;
    Sequence first;
    Sequence last;
    std::uint64_t rows = 0;
    std::size_t bytes = 0;
    bool applied = false;          // all rows; otherwise the batch was refused
    std::optional<Offset> remove;  // from the journal
    bool stopped = false;  // refused and stored: it stays in the journal, and its producer stops
  };
  // Drops a refused batch that is not stored, with its producer's other unstored batches: none of
  // their rows can be applied before the refused ones.
  std::optional<Settled> settle(const BatchResult& result, TimePoint now);

  // ---- figures
  [[nodiscard]] std::size_t memory_bytes() const { return memory_bytes_; }
  [[nodiscard]] std::size_t batches_in_memory() const {
    return front_.size() + behind_.size() + suspects_.waiting().size();
  }
  [[nodiscard]] std::uint64_t rows_in_memory() const;
  [[nodiscard]] std::optional<TimePoint> oldest() const;
  [[nodiscard]] const std::set<ProducerId>& stopped_producers() const { return stopped_; }
  [[nodiscard]] const Cold& cold() const { return cold_; }

 private:
  struct Producer {
    Sequence held_last;  // in memory or in the journal
    std::uint64_t held_batches = 0;
    std::uint64_t behind = 0;           // in behind_
    std::uint64_t waiting_suspect = 0;  // in suspects_
    TrackRecord record;
    Sequence stored_through;
    Sequence applied_through;
    std::optional<Sequence> go_back;  // this row must come before any later one
    // Of a session that said where it begins: no row through here is missing. Then the highest row
    // that it sent, as it said or as received, taken or not.
    std::optional<Sequence> in_order;
    Sequence sent;
    std::string source;        // of the batch that ends with held_last
    bool is_complete = false;  // see note_complete()
    // Of this session: how far it claims to know outcomes, the last row of a batch that fitted, and
    // the first row of a first batch that did not fit.
    Sequence known;
    std::optional<Sequence> received;
    std::optional<Sequence> misfit;
  };

  [[nodiscard]] bool is_stalled(TimePoint now) const;
  [[nodiscard]] bool has_unanswered() const { return in_flight_ > 0 || !void_.empty(); }
  [[nodiscard]] bool has_credit() const;
  void nothing_in_flight();
  void void_delivery(const Held& held);
  void void_answered(Ticket through);
  static void note_taken(Producer& producer, Sequence last);
  static Verdict judge_hole(Producer& producer, Sequence first);
  // No row through here is missing, and none need come again.
  [[nodiscard]] static Sequence covered(const Producer& producer);
  // The first sequence after those that is not held.
  [[nodiscard]] static Sequence next_new(const Producer& producer);
  // In the order of storing.
  [[nodiscard]] std::array<std::deque<Held>*, 3> queues() {
    return {&front_, &behind_, &suspects_.waiting()};
  }
  [[nodiscard]] std::array<const std::deque<Held>*, 3> queues() const {
    return {&front_, &behind_, &suspects_.waiting()};
  }
  [[nodiscard]] bool has_room(const Producer& producer, const Held& held) const;
  [[nodiscard]] bool is_suspect(const Producer& producer) const;
  [[nodiscard]] bool may_deliver_suspect() const;
  void add_result(const ProducerId& id, Producer& producer, bool added_a_row);
  void put_to_suspects(Producer& producer, Held&& held);
  void clear_suspect(Producer& producer, Held&& held);
  void put_behind(Producer& producer, Held&& held);
  void take_back(const Held& held);
  void release(Producer& producer);
  void drop_unstored(const ProducerId& id, Producer& producer);
  void drop_stored_to_journal();

  WindowOptions options_;
  std::deque<Held> front_;
  std::size_t in_flight_ = 0;  // the consumer has this many of front_
  std::size_t in_flight_bytes_ = 0;
  // Void tickets, with the memory of their batches: the consumer still has those batches, and
  // answers in the order of tickets.
  std::map<Ticket, std::size_t> void_;
  std::size_t void_bytes_ = 0;
  Cold cold_;
  std::deque<Held> behind_;
  SuspectQueue suspects_;
  std::size_t memory_bytes_ = 0;
  std::size_t unstored_ = 0;  // batches that are only in memory
  bool attached_ = false;
  TimePoint last_result_{};
  Ticket next_ticket_{1};
  std::unordered_map<ProducerId, Producer> producers_;
  std::set<ProducerId> stopped_;
};

}  // namespace turnstile::broker
