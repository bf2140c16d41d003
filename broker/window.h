// The window: which batches the broker holds, in which order they go to the consumer, and which of
// them must be stored in the journal before anything else is promised.
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
// Order of delivery: front_, then what is cold, then behind_. What is in the journal is always a
// prefix of that order, so a crash that empties the memory leaves no hole behind a stored batch.
//
// A producer whose rows the target refuses, batch after batch, costs the consumer more than others
// and brings nothing. What it sends goes aside_, from where a few batches at a time go to front_
// while others are there: they wait behind those few only. It moves behind_ when it is stored, or
// when a row of its producer was applied. Within a producer the order stays.
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

#include "proto/messages.h"

namespace turnstile::broker {

using TimePoint = std::chrono::steady_clock::time_point;

struct WindowOptions {
  // Of what producers have sent; what is read back from the journal for the consumer, up to its
  // credit, comes on top.
  std::size_t memory_bytes = std::size_t{32} * 1024 * 1024;
  // Handed to the consumer and not answered. Less than memory_bytes.
  std::size_t consumer_credit_bytes = std::size_t{8} * 1024 * 1024;
  // The consumer answered nothing for so long although it has something: store what waits.
  std::chrono::milliseconds stalled_after{100};
};

// Who is doubted: of whose last batches about so many brought the target no row, and who has sent
// so many without a word about any yet. A batch that brings one halves the count.
inline constexpr std::uint32_t kDoubtedAfter = 16;
// Of all who are doubted together the consumer has so many batches, or one.
inline constexpr std::size_t kDoubtedHanded = 8;
inline constexpr std::size_t kDoubtedHandedBytes = std::size_t{64} * 1024;
// One whose rows are refused may have so many in the broker's hands.
inline constexpr std::uint64_t kDoubtedBatches = 1024;

// Of a Held beside its bytes: itself, its producer's id, the owners of its two frames.
inline constexpr std::size_t kHeldOverhead = 512;

// A batch in the broker's hands.
struct Held {
  ProducerId producer;
  Sequence first;
  Sequence last;
  Bytes header_frame;
  Bytes rows_frame;
  std::optional<Offset> offset;  // where the journal has it
  TimePoint since;               // when the broker got it, or read it back from the journal
  Ticket ticket;                 // of its last hand-over; 0 before the first
  bool was_aside = false;        // it is one of the few

  [[nodiscard]] std::size_t bytes() const { return header_frame.size() + rows_frame.size(); }
  // What it takes in memory. A batch of one small row is mostly what surrounds it.
  [[nodiscard]] std::size_t memory() const { return bytes() + kHeldOverhead; }
};

// What the journal holds that is not in memory: offsets from `next` up to and with `last`.
struct Cold {
  Offset next{1};
  Offset last{0};
  [[nodiscard]] bool empty() const { return next > last; }
};

// Rows of one producer, by their sequences.
struct RowRange {
  ProducerId producer;
  Sequence first;
  Sequence last;
};

class Window {
 public:
  enum class Verdict {
    taken,    // held; an answer will come. Also if it was applied: who asks again was not told of
              // its dead letters, and the target knows them
    held,     // already held: an answer will come
    stored,   // already in the journal: see stored_through()
    go_back,  // not taken: at a bound, or a batch before it is missing; send expected() first
    skipped,  // not taken: it follows one that was told to go back
    hole,     // not taken: its producer left numbers out, and never sends them
  };

  explicit Window(WindowOptions options) : options_(options) {}

  // ---- producers
  Verdict offer(Batch&& batch, TimePoint now);
  // The sequence that offer() takes next from this producer, after go_back.
  [[nodiscard]] Sequence expected(const ProducerId& producer) const;
  [[nodiscard]] Sequence stored_through(const ProducerId& producer) const;
  [[nodiscard]] Sequence applied_through(const ProducerId& producer) const;
  void note_applied(const ProducerId& producer, Sequence through);
  // A producer's session begins. What it sends comes in order, since one connection carries it. It
  // says that it knows the outcomes of its rows through `known`, which counts for itself only.
  void session_begins(const ProducerId& id, Sequence known);
  // ... and says where: with the row behind `through`, but for what it was acknowledged. Another
  // row than the next is behind a hole, also when nothing is held that would show it. `sent`: the
  // highest row that it has sent before this.
  void begins_behind(const ProducerId& id, Sequence through, Sequence sent);
  // The producer is told that its rows through here are stored or applied; gives through where. Of
  // a session that says where it begins not beyond what it has sent: it may not have numbered those
  // rows yet, and would not hear what became of them (promise 7) nor send them again.
  Sequence acknowledge(const ProducerId& id, Sequence through);
  // What is applied of the rows that acknowledge() would let a producer be told of.
  [[nodiscard]] Sequence applied_of_sent(const ProducerId& id) const;
  // The target said how far it is (note_applied()): with what is held, that is all there is of its
  // rows.
  void note_complete(const ProducerId& producer) { producers_[producer].is_complete = true; }
  // The last row that there is; nothing: not known.
  [[nodiscard]] std::optional<Sequence> last_row(const ProducerId& id) const;
  // The source of the last batch that is held, if it ends after `through`; else empty.
  [[nodiscard]] std::string source_after(const ProducerId& id, Sequence through) const;
  // Connected, or with rows that wait.
  [[nodiscard]] std::size_t producers() const { return producers_.size(); }
  [[nodiscard]] bool knows(const ProducerId& producer) const {
    return producers_.contains(producer);
  }
  // Some came in the present session, or earlier ones are remembered.
  [[nodiscard]] bool has_rows_of(const ProducerId& id) const;
  // What it sends is put aside.
  [[nodiscard]] bool is_doubted(const ProducerId& id) const;
  // The producer's session ended: nothing but what is held of it is remembered.
  void forget(const ProducerId& producer);

  // ---- journal
  [[nodiscard]] bool should_store(TimePoint now) const;
  // When should_store() could become true without another call; nothing: never.
  [[nodiscard]] std::optional<TimePoint> store_deadline() const;
  // The oldest batches that the journal lacks, up to `max_bytes` (at least one). Pointers are valid
  // until the next call that is not const.
  [[nodiscard]] std::vector<const Held*> to_store(std::size_t max_bytes) const;
  // They are in the journal, synced. Gives the producers whose stored_through() has moved.
  std::vector<ProducerId> mark_stored(const std::vector<Offset>& offsets, TimePoint now);
  // What the journal holds after start, after it was opened anew, or when stopped producers are to
  // be tried again. Batches in memory that are in the journal are dropped from memory.
  struct Kept {
    ProducerId producer;
    Sequence last;
    std::uint64_t batches;
    std::string source = {};  // of the last of them
  };
  void journal_opened(Cold cold, const std::vector<Kept>& kept);
  // The journal's file is gone, with all that was stored in it. What is in memory is to be stored
  // again; gives which rows those are. journal_opened() comes next.
  std::vector<RowRange> journal_vanished();
  [[nodiscard]] std::optional<Offset> wants_load() const;
  // What the journal has from wants_load() on, up to `through`.
  void loaded(std::vector<Held>&& batches, Offset through);
  // A batch of this producer in the journal cannot be read: what is behind it stays there too.
  void stop(const ProducerId& producer) { stopped_.insert(producer); }

  // ---- consumer
  void consumer_attached(TimePoint now);
  void consumer_gone();
  [[nodiscard]] bool has_consumer() const { return attached_; }
  // The next batch to hand over, with its ticket; nullptr: none, or no credit.
  const Held* deliver_next(TimePoint now);

  // What a result leads to. A result with an unknown ticket leads to nothing.
  struct Settled {
    ProducerId producer;
    Sequence first;
    Sequence last;
    std::uint64_t rows = 0;
    std::size_t bytes = 0;
    bool applied = false;          // every row of it; otherwise it was refused
    std::optional<Offset> remove;  // from the journal
    bool stopped = false;  // refused while stored: it stays in the journal, its producer stops
  };
  // A batch refused while only in memory is dropped, with what else is held of its producer in
  // memory only: no row of that can be applied before the refused ones.
  std::optional<Settled> settle(const BatchResult& result, TimePoint now);

  // ---- figures
  [[nodiscard]] std::size_t memory_bytes() const { return memory_bytes_; }
  [[nodiscard]] std::size_t batches_in_memory() const {
    return front_.size() + behind_.size() + aside_.size();
  }
  [[nodiscard]] std::uint64_t rows_in_memory() const;
  [[nodiscard]] std::optional<TimePoint> oldest() const;
  [[nodiscard]] const std::set<ProducerId>& stopped_producers() const { return stopped_; }
  [[nodiscard]] const Cold& cold() const { return cold_; }

 private:
  struct Producer {
    Sequence held_last;  // of what is in memory or in the journal
    std::uint64_t held_batches = 0;
    std::uint64_t behind = 0;   // of these: in behind_
    std::uint64_t aside = 0;    // ... in aside_
    std::uint32_t vain = 0;     // batches for nothing, as kDoubtedAfter says
    std::uint32_t untried = 0;  // taken before the first that brought a row
    bool is_proven = false;     // there was one
    Sequence stored_through;
    Sequence applied_through;
    std::optional<Sequence> go_back;  // nothing behind it is taken until it comes
    // Of a session that says where it begins: no row through here is missing, and the highest that
    // it sent, as it said or as came, taken or not.
    std::optional<Sequence> in_order;
    Sequence sent;
    std::string source;        // of the batch that ends with held_last
    bool is_complete = false;  // see note_complete()
    // Of the present session: what it says it knows, the last row of a batch that came and fitted,
    // and the first row of one that came as its first and did not.
    Sequence known;
    std::optional<Sequence> came;
    std::optional<Sequence> misfit;
  };

  [[nodiscard]] bool is_stalled(TimePoint now) const;
  [[nodiscard]] bool has_unanswered() const { return handed_ > 0 || !void_.empty(); }
  [[nodiscard]] bool has_credit() const;
  void nothing_is_handed();
  void void_hand_over(const Held& held);
  void void_answered(Ticket through);
  static void took(Producer& producer, Sequence last);
  static Verdict judge_hole(Producer& producer, Sequence first);
  // Through here nothing is missing, nor need come again.
  [[nodiscard]] static Sequence covered(const Producer& producer);
  // The first sequence behind that which is not held.
  [[nodiscard]] static Sequence next_new(const Producer& producer);
  // The order in which the journal takes them.
  [[nodiscard]] std::array<std::deque<Held>*, 3> queues() { return {&front_, &behind_, &aside_}; }
  [[nodiscard]] std::array<const std::deque<Held>*, 3> queues() const {
    return {&front_, &behind_, &aside_};
  }
  [[nodiscard]] bool has_room(const Producer& producer, const Held& held) const;
  [[nodiscard]] bool is_doubted(const Producer& producer) const;
  [[nodiscard]] bool may_hand_aside() const;
  void judge(const ProducerId& id, Producer& producer, bool brought_a_row);
  void put_aside(Producer& producer, Held&& held);
  void take_from_aside(Producer& producer, Held&& held);
  void put_behind(Producer& producer, Held&& held);
  void hand_first_aside();
  void take_back(const Held& held);
  void release(Producer& producer);
  void drop_unstored(const ProducerId& id, Producer& producer);
  void drop_stored_to_journal();

  WindowOptions options_;
  std::deque<Held> front_;
  std::size_t handed_ = 0;  // how many of front_ the consumer has
  std::size_t handed_bytes_ = 0;
  // Tickets that mean nothing any more, with the memory of their batches: the consumer has them all
  // the same, and answers in the order of tickets.
  std::map<Ticket, std::size_t> void_;
  std::size_t void_bytes_ = 0;
  Cold cold_;
  std::deque<Held> behind_;
  std::deque<Held> aside_;  // not stored
  std::size_t aside_bytes_ = 0;
  std::size_t handed_aside_ = 0;  // of what the consumer has: was_aside
  std::size_t handed_aside_bytes_ = 0;
  std::size_t memory_bytes_ = 0;
  std::size_t unstored_ = 0;  // batches in memory that the journal lacks
  bool attached_ = false;
  TimePoint last_result_{};
  Ticket next_ticket_{1};
  std::unordered_map<ProducerId, Producer> producers_;
  std::set<ProducerId> stopped_;
};

}  // namespace turnstile::broker
