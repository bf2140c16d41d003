// Rows of batches that will be applied soon, decoded and converted beside the transaction at hand,
// by a thread that runs only where a processor has nothing else to do. It takes more processor time
// than it saves, so it is for when the consumer is behind. Nobody waits for it, but for the batch
// that it is at when the target is closed: what is not ready, take() does not give.
//
//        put()              the thread               take()
//  free ───────► waiting ──► decoding ──► ready ───────────────► in use until the next take()
//                   │           ├───────► unreadable
//                   └───────────┴── take() gives nothing ──► free, once the thread has left it
//
// But for that thread it belongs to the target's.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "proto/rows.h"
#include "store/affinity.h"

namespace turnstile::store {

class RowsAhead {
 public:
  // Batches that are kept, the one in use among them. Each takes what limits::kBatchValues values
  // do at most, 6 MiB, and usually a thirtieth of that, until the target is closed.
  static constexpr std::uint32_t kBatches = 8;
  static constexpr std::uint32_t kPutMost = kBatches - 1;  // and not taken

  // always: without a processor to spare too, and as fast as any other thread. For tests.
  enum class When { processor_to_spare, always };
  explicit RowsAhead(When when = When::processor_to_spare) : when_(when) {}
  RowsAhead(const RowsAhead&) = delete;
  RowsAhead& operator=(const RowsAhead&) = delete;
  ~RowsAhead();

  // `version`: of the schema that says the affinities. Without room it does nothing.
  void put(const Bytes& rows_frame, std::uint32_t rows, const std::vector<Affinity>& affinities,
           std::uint64_t version);
  // The rows of this frame as bound_for() has them, valid until the next call and while the caller
  // has the frame. nullptr: not ready, not put, of another version, or not to be decoded. What was
  // put before it is dropped.
  const DecodedRows* take(const Bytes& rows_frame, std::uint64_t version);

  // From the first put() on, where there is a processor to spare.
  [[nodiscard]] bool has_thread() const { return thread_.joinable(); }
  // How often take() gave rows.
  [[nodiscard]] std::uint64_t given() const { return given_; }
  // Returns when the thread has seen to all that was put. For tests: nobody else may wait for it.
  void settle() const;

 private:
  enum class State { free, waiting, decoding, ready, unreadable };
  struct Slot {
    Bytes rows_frame;
    std::uint32_t row_count = 0;
    std::vector<Affinity> affinities;
    std::uint64_t version = 0;
    DecodedRows rows;
    std::atomic<State> state = State::free;
  };

  // By the number of a batch, in the order of put().
  Slot& slot(std::uint32_t number) { return slots_[number % kBatches]; }
  void start();
  static bool give_up(Slot& slot);
  void decode_what_is_put();
  static State decode(Slot& slot);

  static_assert(std::has_single_bit(kBatches), "numbers of batches wrap");
  const When when_;
  std::array<Slot, kBatches> slots_;
  std::uint32_t first_ = 0;  // the oldest that was put and not taken
  // A lock could be held by the thread when it gets no processor.
  std::atomic<std::uint32_t> put_ = 0;  // how many ever were
  std::atomic<std::uint32_t> seen_to_ = 0;
  std::atomic<bool> must_end_ = false;
  std::uint64_t given_ = 0;
  bool is_started_ = false;
  std::thread thread_;
};

}  // namespace turnstile::store
