#include "store/rows_ahead.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <exception>
#include <fstream>
#include <new>
#include <string>

#include "base/block_signals.h"

namespace turnstile::store {
namespace {

// Of a control group with a quota the thread would take what the target's own thread needs. Nothing
// is known of groups of another kind than the unified one.
bool has_quota_for_two() {
  std::ifstream groups("/proc/self/cgroup");
  std::string path;
  while (std::getline(groups, path) && !path.starts_with("0::")) {
  }
  for (path.erase(0, std::min<std::size_t>(path.size(), 3)); path.starts_with('/');
       path.erase(path.rfind('/'))) {
    std::ifstream limits("/sys/fs/cgroup" + path + "/cpu.max");
    double quota = 0;
    double period = 0;
    if (limits >> quota >> period && quota < 2 * period) {  // "max" is no number
      return false;
    }
  }
  return true;
}

bool may_use_two() {
  cpu_set_t processors;
  CPU_ZERO(&processors);
  return ::sched_getaffinity(0, sizeof processors, &processors) != 0 || CPU_COUNT(&processors) > 1;
}

}  // namespace

RowsAhead::~RowsAhead() {
  if (thread_.joinable()) {
    must_end_ = true;
    ++put_;
    put_.notify_one();
    thread_.join();
  }
}

void RowsAhead::start() {
  is_started_ = true;
  try {
    if (when_ == When::processor_to_spare && !(may_use_two() && has_quota_for_two())) {
      return;
    }
    const BlockSignals held_back;
    thread_ = std::thread([this] { decode_what_is_put(); });
  } catch (const std::exception&) {
    // No thread, no memory: rows are decoded when they are applied.
  }
}

void RowsAhead::put(const Bytes& rows_frame, std::uint32_t rows,
                    const std::vector<Affinity>& affinities, std::uint64_t version) {
  if (!is_started_) {
    start();
  }
  const std::uint32_t number = put_;
  Slot& to = slot(number);
  const State state = to.state.load(std::memory_order_acquire);
  const bool has_room = number - first_ < kPutMost && state != State::decoding;
  if (!thread_.joinable() || !has_room) {
    return;
  }
  to.rows_frame = rows_frame;
  to.row_count = rows;
  to.affinities = affinities;
  to.version = version;
  to.state.store(State::waiting, std::memory_order_release);
  ++put_;
  put_.notify_one();
}

// False: the thread has begun with it. While it is at it, it needs the frame.
bool RowsAhead::give_up(Slot& slot) {
  State state = State::waiting;
  const bool is_ours = slot.state.compare_exchange_strong(state, State::free);
  if (is_ours || state != State::decoding) {
    slot.rows_frame = {};
  }
  return is_ours;
}

const DecodedRows* RowsAhead::take(const Bytes& rows_frame, std::uint64_t version) {
  const std::uint32_t end = put_;
  std::uint32_t number = first_;
  while (number != end && slot(number).rows_frame.view().data() != rows_frame.view().data()) {
    ++number;
  }
  if (number == end) {
    return nullptr;
  }
  for (; first_ != number; ++first_) {
    give_up(slot(first_));
  }
  ++first_;
  Slot& found = slot(number);
  const bool was_begun = !give_up(found);
  if (!was_begun || found.state != State::ready || found.version != version) {
    return nullptr;
  }
  ++given_;
  return &found.rows;
}

void RowsAhead::settle() const {
  for (std::uint32_t seen = seen_to_; seen != put_; seen = seen_to_) {
    seen_to_.wait(seen);
  }
}

void RowsAhead::decode_what_is_put() {
  if (when_ == When::processor_to_spare) {
    // Where this fails it runs as any other thread does.
    constexpr sched_param kNoPriority{};
    static_cast<void>(::sched_setscheduler(0, SCHED_IDLE, &kNoPriority));
  }
  static_cast<void>(::pthread_setname_np(::pthread_self(), "rows ahead"));
  for (std::uint32_t number = 0;; ++number) {
    put_.wait(number);
    if (must_end_) {
      return;
    }
    Slot& next = slot(number);
    State state = State::waiting;
    if (next.state.compare_exchange_strong(state, State::decoding)) {
      next.state.store(decode(next), std::memory_order_release);
    }
    seen_to_ = number + 1;
    seen_to_.notify_all();
  }
}

RowsAhead::State RowsAhead::decode(Slot& slot) {
  try {
    if (!decode_rows(slot.rows_frame.view(), slot.row_count, slot.rows)) {
      return State::unreadable;
    }
  } catch (const std::bad_alloc&) {
    return State::unreadable;
  }
  for (std::size_t i = 0; i < slot.rows.rows(); ++i) {
    const std::span<ValueRef> row = slot.rows.row(i);
    const std::size_t values = std::min(row.size(), slot.affinities.size());
    for (std::size_t at = 0; at < values; ++at) {
      row[at] = bound_for(slot.affinities[at], row[at]);
    }
  }
  return State::ready;
}

}  // namespace turnstile::store
