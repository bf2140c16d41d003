#include "client/resend.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <string>
#include <utility>

namespace turnstile {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{100};
constexpr milliseconds kLongestPause{2000};
constexpr std::size_t kLeastAhead = std::size_t{512} * 1024;

// Memory of a batch with its header, so that the bound holds for batches of one row too. The same
// before and after the header is encoded.
std::size_t memory_of(const Batch& batch) {
  std::size_t names = batch.header.table.size();
  for (const auto& column : batch.header.columns) {
    names += sizeof(std::string) + column.size();
  }
  return sizeof(Batch) + batch.rows_frame.size() + 2 * names;
}

}  // namespace

void Resend::add(Batch batch) {
  assert(is_started_ && batch.header.first == next_sequence() && batch.header.rows > 0);
  last_ = batch.header.last();
  held_bytes_ += memory_of(batch);
  held_.push_back(std::move(batch));
}

void Resend::disconnected() {
  is_connected_ = false;
  paused_until_.reset();  // no pause outlives the connection
  go_back_to(0);
}

void Resend::welcomed(const Welcome& welcome) {
  if (!is_started_) {
    is_started_ = true;
    last_ = begun_after_ = sent_through_ = welcome.through;
  }
  is_connected_ = true;
  epoch_ = welcome.epoch;
  credit_bytes_ = welcome.credit_bytes;
  paused_until_.reset();
  go_back_to(0);
  stored(welcome.through);
}

void Resend::go_back_to(std::size_t index) {
  for (std::size_t i = index; i < sent_; ++i) {
    unanswered_bytes_ -= held_[i].rows_frame.size();
  }
  sent_ = std::min(sent_, index);
}

const Batch* Resend::next_to_send(TimePoint now) {
  if (paused_until_ && *paused_until_ <= now) {
    paused_until_.reset();
  }
  if (!is_connected_ || paused_until_ || sent_ == held_.size()) {
    return nullptr;
  }
  Batch& batch = held_[sent_];
  if (sent_ > 0 && unanswered_bytes_ + batch.rows_frame.size() > credit_bytes_) {
    return nullptr;
  }
  if (batch.header_frame.empty() || batch.header.epoch != epoch_) {
    batch.header.epoch = epoch_;
    batch.header_frame = encode_batch_header(batch.header);
  }
  return &batch;
}

void Resend::sent() {
  const Batch& batch = held_[sent_++];
  unanswered_bytes_ += batch.rows_frame.size();
  sent_through_ = std::max(sent_through_, batch.header.last());
}

void Resend::stored(Sequence through) {
  through = std::min(through, sent_through_);
  if (through <= stored_through_) {
    return;
  }
  stored_through_ = through;
  std::size_t answered = 0;
  while (!held_.empty() && held_.front().header.last() <= through) {
    const std::size_t bytes = memory_of(held_.front());
    held_bytes_ -= bytes;
    answered += bytes;
    if (sent_ > 0) {
      unanswered_bytes_ -= held_.front().rows_frame.size();
      --sent_;
    }
    held_.pop_front();
  }
  largest_answer_ = std::max(answered, largest_answer_ / 8 * 7);
  if (busy_since_ && *busy_since_ <= through) {
    busy_since_.reset();
    pause_ = milliseconds(0);
  }
}

std::size_t Resend::bytes_ahead() const {
  return is_connected_ ? kLeastAhead + 2 * largest_answer_
                       : std::numeric_limits<std::size_t>::max();
}

Resend::NewDead Resend::applied(const Applied& applied) {
  const Sequence through = std::min(applied.through, sent_through_);
  NewDead dead;
  if (through <= applied_through_) {
    return dead;
  }
  // An answer after a reconnect may repeat dead letters from before it.
  Sequence reported = applied_through_;
  for (const auto& row : applied.dead) {
    if (row.sequence > reported && row.sequence <= through) {
      dead.listed.push_back(row);
      reported = row.sequence;
    }
  }
  // Unlisted dead rows may be ones that are sent later; they cannot be identified here.
  const std::uint64_t unlisted =
      through < applied.through
          ? 0
          : applied.dead_count - std::min<std::uint64_t>(applied.dead_count, applied.dead.size());
  dead.count = std::min<std::uint64_t>(dead.listed.size() + unlisted,
                                       through.value - applied_through_.value);
  applied_through_ = through;
  stored(through);
  return dead;
}

void Resend::busy(Sequence sequence, TimePoint now) {
  const auto at = std::find_if(held_.begin(), held_.end(),
                               [&](const Batch& b) { return b.header.last() >= sequence; });
  const auto index = static_cast<std::size_t>(at - held_.begin());
  if (index >= sent_) {
    return;  // about a batch that was given up since
  }
  go_back_to(index);
  busy_since_ = busy_since_.value_or(sequence);
  pause_ = pause_ == milliseconds(0) ? kFirstPause : std::min(2 * pause_, kLongestPause);
  std::uniform_int_distribution<milliseconds::rep> jitter(0, pause_.count() / 2);
  paused_until_ = now + pause_ / 2 + milliseconds(jitter(random_));
}

}  // namespace turnstile
