#include "broker/window.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace turnstile::broker {
namespace {

// What is not stored of this producer's, in its order.
template <typename Put>
void move_all(std::deque<Held>& from, const ProducerId& id, const Put& put) {
  const auto stays = [&](const Held& held) { return held.producer != id || held.offset; };
  const auto its = std::stable_partition(from.begin(), from.end(), stays);
  std::for_each(its, from.end(), [&](Held& held) { put(std::move(held)); });
  from.erase(its, from.end());
}

}  // namespace

Window::Verdict Window::offer(Batch&& batch, TimePoint now) {
  const BatchHeader& header = batch.header;
  Producer& producer = producers_[header.producer];

  producer.sent = std::max(producer.sent, header.last());
  // A place to go back to that is covered need not come again; what is behind that must: a batch of
  // which only the beginning was applied may have been refused.
  if (producer.go_back && *producer.go_back <= covered(producer)) {
    producer.go_back = next(covered(producer));
  }
  const bool is_hole = producer.in_order && header.first > next_new(producer);
  if (!is_hole && producer.held_batches > 0 && header.last() <= producer.held_last) {
    took(producer, header.last());
    return header.last() <= producer.stored_through ? Verdict::stored : Verdict::held;
  }
  if (producer.go_back && header.first > *producer.go_back) {
    return Verdict::skipped;
  }
  // Promise 1: STORED speaks for all rows before it. Where nothing shows a hole here the target,
  // which knows, judges.
  const bool is_skip = !producer.go_back && producer.came && header.first > next(*producer.came);
  if (is_skip || is_hole || (producer.held_batches > 0 && header.first > next_new(producer))) {
    return judge_hole(producer, header.first);
  }
  Held held{header.producer,
            header.first,
            header.last(),
            std::move(batch.header_frame),
            std::move(batch.rows_frame),
            std::nullopt,
            now,
            Ticket{}};
  if (!has_room(producer, held)) {
    producer.go_back = header.first;
    return Verdict::go_back;
  }

  took(producer, held.last);
  producer.held_last = held.last;
  producer.source = header.source;
  ++producer.held_batches;
  memory_bytes_ += held.memory();
  ++unstored_;
  if (producer.aside > 0 || is_doubted(producer)) {
    put_aside(producer, std::move(held));
  } else {
    put_behind(producer, std::move(held));
  }
  producer.untried += producer.is_proven ? 0 : 1;
  return Verdict::taken;
}

// A connection loses nothing between two messages, so a number that is missing between two batches
// of one session was left out. A session's first batch may be the wrong one, such as after a second
// WELCOME: it gets the right number, and has a second try.
Window::Verdict Window::judge_hole(Producer& producer, Sequence first) {
  const bool is_final = !producer.go_back && (producer.came || producer.misfit >= first);
  producer.go_back.reset();
  if (!is_final) {
    producer.misfit = std::max(producer.misfit.value_or(Sequence{}), first);
  }
  return is_final ? Verdict::hole : Verdict::go_back;
}

bool Window::has_room(const Producer& producer, const Held& held) const {
  if (is_doubted(producer) && aside_bytes_ > 0 &&
      (aside_bytes_ + held.memory() > options_.memory_bytes / 2 ||
       (producer.vain >= kDoubtedAfter && producer.held_batches >= kDoubtedBatches))) {
    return false;
  }
  return memory_bytes_ + held.memory() <= options_.memory_bytes || memory_bytes_ == 0;
}

// Alone it harms nobody, and without a consumer nobody can judge.
bool Window::is_doubted(const Producer& producer) const {
  return attached_ && producers_.size() > 1 &&
         (producer.vain >= kDoubtedAfter ||
          (!producer.is_proven && producer.untried >= kDoubtedAfter));
}

bool Window::is_doubted(const ProducerId& id) const {
  const auto found = producers_.find(id);
  return found != producers_.end() && is_doubted(found->second);
}

bool Window::has_rows_of(const ProducerId& id) const {
  const auto found = producers_.find(id);
  return found != producers_.end() &&
         (found->second.came || found->second.held_batches > 0 ||
          found->second.stored_through > Sequence{} || found->second.applied_through > Sequence{});
}

void Window::judge(const ProducerId& id, Producer& producer, bool brought_a_row) {
  const bool was_doubted = is_doubted(producer);
  if (brought_a_row) {
    producer.is_proven = true;
    producer.vain /= 2;
  } else {
    producer.vain = std::min(producer.vain + 1, 2 * kDoubtedAfter);
  }
  if (producer.aside > 0 && !is_doubted(producer)) {
    move_all(aside_, id, [&](Held&& held) { take_from_aside(producer, std::move(held)); });
  } else if (producer.aside == 0 && !was_doubted && is_doubted(producer)) {
    move_all(behind_, id, [&](Held&& held) {
      --producer.behind;
      put_aside(producer, std::move(held));
    });
  }
}

void Window::put_behind(Producer& producer, Held&& held) {
  ++producer.behind;
  behind_.push_back(std::move(held));
}

void Window::put_aside(Producer& producer, Held&& held) {
  ++producer.aside;
  aside_bytes_ += held.memory();
  held.was_aside = true;
  aside_.push_back(std::move(held));
}

void Window::take_from_aside(Producer& producer, Held&& held) {
  --producer.aside;
  aside_bytes_ -= held.memory();
  held.was_aside = false;
  put_behind(producer, std::move(held));
}

void Window::hand_first_aside() {
  Held& held = aside_.front();
  --producers_[held.producer].aside;
  aside_bytes_ -= held.memory();
  front_.push_back(std::move(held));
  aside_.pop_front();
}

// The first of them, if nothing of its producer is to go before it.
bool Window::may_hand_aside() const {
  if (aside_.empty()) {
    return false;
  }
  const Held& held = aside_.front();
  if (producers_.at(held.producer).behind > 0) {
    return false;
  }
  return handed_aside_ == 0 || producers_.size() == 1 ||
         (handed_aside_ < kDoubtedHanded &&
          handed_aside_bytes_ + held.memory() <= kDoubtedHandedBytes);
}

void Window::took(Producer& producer, Sequence last) {
  producer.came = std::max(producer.came.value_or(Sequence{}), last);
  producer.misfit.reset();
  if (producer.in_order) {
    producer.in_order = std::max(*producer.in_order, last);
  }
  if (producer.go_back && last >= *producer.go_back) {
    producer.go_back.reset();
  }
}

Sequence Window::covered(const Producer& producer) {
  return producer.in_order.value_or(
      std::max({producer.stored_through, producer.applied_through, producer.known}));
}

Sequence Window::next_new(const Producer& producer) {
  const bool is_held = producer.held_batches > 0 && !producer.in_order;
  return next(std::max(covered(producer), is_held ? producer.held_last : Sequence{}));
}

Sequence Window::expected(const ProducerId& producer) const {
  const auto found = producers_.find(producer);
  if (found == producers_.end()) {
    return Sequence{1};
  }
  return found->second.go_back.value_or(next_new(found->second));
}

Sequence Window::stored_through(const ProducerId& producer) const {
  const auto found = producers_.find(producer);
  return found == producers_.end() ? Sequence{} : found->second.stored_through;
}

Sequence Window::applied_through(const ProducerId& producer) const {
  const auto found = producers_.find(producer);
  return found == producers_.end() ? Sequence{} : found->second.applied_through;
}

void Window::note_applied(const ProducerId& producer, Sequence through) {
  auto& applied = producers_[producer].applied_through;
  applied = std::max(applied, through);
}

void Window::session_begins(const ProducerId& id, Sequence known) {
  Producer& producer = producers_[id];
  producer.known = known;
  producer.in_order.reset();
  producer.go_back.reset();
  producer.came.reset();
  producer.misfit.reset();
}

void Window::begins_behind(const ProducerId& id, Sequence through, Sequence sent) {
  session_begins(id, {});
  Producer& producer = producers_[id];
  producer.in_order = through;
  producer.sent = sent;
}

Sequence Window::acknowledge(const ProducerId& id, Sequence through) {
  const auto found = producers_.find(id);
  if (found == producers_.end()) {
    return through;
  }
  Producer& producer = found->second;
  if (producer.in_order) {
    through = std::min(through, producer.sent);
    producer.in_order = std::max(*producer.in_order, through);
  }
  if (producer.came) {
    producer.came = std::max(*producer.came, through);  // it goes on after these
  }
  return through;
}

Sequence Window::applied_of_sent(const ProducerId& id) const {
  const auto found = producers_.find(id);
  if (found == producers_.end()) {
    return {};
  }
  const Producer& producer = found->second;
  return producer.in_order ? std::min(producer.applied_through, producer.sent)
                           : producer.applied_through;
}

std::optional<Sequence> Window::last_row(const ProducerId& id) const {
  const auto found = producers_.find(id);
  if (found == producers_.end() || !found->second.is_complete) {
    return std::nullopt;
  }
  const Producer& producer = found->second;
  return std::max({producer.applied_through, producer.stored_through,
                   producer.held_batches > 0 ? producer.held_last : Sequence{}});
}

std::string Window::source_after(const ProducerId& id, Sequence through) const {
  const auto found = producers_.find(id);
  const bool is_after = found != producers_.end() && found->second.held_batches > 0 &&
                        found->second.held_last > through;
  return is_after ? found->second.source : std::string();
}

void Window::forget(const ProducerId& producer) {
  const auto found = producers_.find(producer);
  if (found != producers_.end() && found->second.held_batches == 0) {
    producers_.erase(found);
  }
}

bool Window::is_stalled(TimePoint now) const {
  return has_unanswered() && now - last_result_ >= options_.stalled_after;
}

// Promise 6: what the consumer has and did not answer is bounded, whatever became of its tickets.
bool Window::has_credit() const {
  return !has_unanswered() || (handed_bytes_ + void_bytes_ < options_.consumer_credit_bytes &&
                               handed_ + void_.size() < limits::kResultsListed);
}

void Window::void_hand_over(const Held& held) {
  void_.emplace(held.ticket, held.memory());
  void_bytes_ += held.memory();
}

void Window::void_answered(Ticket through) {
  for (auto at = void_.begin(); at != void_.end() && at->first <= through; at = void_.erase(at)) {
    void_bytes_ -= at->second;
  }
}

bool Window::should_store(TimePoint now) const {
  if (unstored_ == 0) {
    return false;
  }
  return !attached_ || !cold_.empty() || is_stalled(now) ||
         memory_bytes_ > options_.memory_bytes / 4 * 3;
}

std::optional<TimePoint> Window::store_deadline() const {
  if (unstored_ == 0 || !attached_ || !has_unanswered()) {
    return std::nullopt;
  }
  return last_result_ + options_.stalled_after;
}

std::vector<const Held*> Window::to_store(std::size_t max_bytes) const {
  std::vector<const Held*> out;
  std::size_t bytes = 0;
  for (const auto* queue : queues()) {
    for (const Held& held : *queue) {
      if (held.offset) {
        continue;
      }
      bytes += held.bytes();
      if (!out.empty() && bytes > max_bytes) {
        return out;
      }
      out.push_back(&held);
    }
  }
  return out;
}

std::vector<ProducerId> Window::mark_stored(const std::vector<Offset>& offsets, TimePoint now) {
  std::vector<ProducerId> moved;
  auto offset = offsets.begin();
  for (auto* queue : queues()) {
    for (Held& held : *queue) {
      if (held.offset) {
        continue;
      }
      if (offset == offsets.end()) {
        break;
      }
      held.offset = *offset++;
      --unstored_;
      auto& producer = producers_[held.producer];
      producer.stored_through = std::max(producer.stored_through, held.last);
      if (moved.empty() || moved.back() != held.producer) {
        moved.push_back(held.producer);
      }
    }
  }
  assert(offset == offsets.end());
  while (!aside_.empty() && aside_.front().offset) {
    Held held = std::move(aside_.front());
    aside_.pop_front();
    take_from_aside(producers_[held.producer], std::move(held));
  }
  std::sort(moved.begin(), moved.end());
  moved.erase(std::unique(moved.begin(), moved.end()), moved.end());

  // A consumer that keeps up gets them from memory; otherwise the journal has them, and the memory
  // is free for others.
  if (!attached_ || !cold_.empty() || is_stalled(now) ||
      memory_bytes_ > options_.memory_bytes / 2) {
    drop_stored_to_journal();
  }
  return moved;
}

void Window::drop_stored_to_journal() {
  while (!behind_.empty() && behind_.front().offset) {
    const Offset offset = *behind_.front().offset;
    if (cold_.empty()) {
      cold_.next = offset;
    }
    cold_.last = offset;
    memory_bytes_ -= behind_.front().memory();
    --producers_[behind_.front().producer].behind;
    behind_.pop_front();
  }
}

std::vector<RowRange> Window::journal_vanished() {
  std::vector<RowRange> again;
  for (auto* queue : queues()) {
    for (Held& held : *queue) {
      if (held.offset) {
        held.offset.reset();
        ++unstored_;
        again.push_back({held.producer, held.first, held.last});
      }
    }
  }
  return again;
}

void Window::journal_opened(Cold cold, const std::vector<Kept>& kept) {
  const auto drop_stored = [this](std::deque<Held>& queue) {
    std::deque<Held> unstored;
    for (Held& held : queue) {
      if (held.offset) {
        memory_bytes_ -= held.memory();
      } else {
        unstored.push_back(std::move(held));
      }
    }
    queue = std::move(unstored);
  };
  for (std::size_t i = 0; i < handed_; ++i) {
    void_hand_over(front_[i]);
  }
  drop_stored(front_);
  drop_stored(behind_);
  // What is unstored waits behind what the journal has; tickets of a hand-over before this are
  // void.
  for (auto* queue : {&behind_, &aside_}) {
    front_.insert(front_.end(), std::make_move_iterator(queue->begin()),
                  std::make_move_iterator(queue->end()));
  }
  behind_ = std::move(front_);
  front_.clear();
  aside_.clear();
  aside_bytes_ = 0;
  for (Held& held : behind_) {
    held.was_aside = false;
  }
  nothing_is_handed();
  cold_ = cold;
  stopped_.clear();

  for (auto& [id, producer] : producers_) {
    producer.held_batches = 0;
    producer.behind = 0;
    producer.aside = 0;
    producer.stored_through = {};
  }
  for (const Kept& k : kept) {
    Producer& producer = producers_[k.producer];
    producer.held_batches = k.batches;
    producer.stored_through = k.last;
    producer.held_last = k.last;
    producer.source = k.source;
  }
  for (const Held& held : behind_) {
    Producer& producer = producers_[held.producer];
    producer.held_last =
        producer.held_batches++ > 0 ? std::max(producer.held_last, held.last) : held.last;
    ++producer.behind;
  }
}

std::optional<Offset> Window::wants_load() const {
  if (attached_ && has_credit() && handed_ == front_.size() && !cold_.empty()) {
    return cold_.next;
  }
  return std::nullopt;
}

void Window::loaded(std::vector<Held>&& batches, Offset through) {
  for (Held& held : batches) {
    if (stopped_.contains(held.producer)) {
      continue;
    }
    memory_bytes_ += held.memory();
    front_.push_back(std::move(held));
  }
  cold_.next = {through.value + 1};
}

void Window::consumer_attached(TimePoint now) {
  attached_ = true;
  last_result_ = now;
}

void Window::consumer_gone() {
  attached_ = false;
  nothing_is_handed();
  void_.clear();
  void_bytes_ = 0;
}

void Window::nothing_is_handed() {
  handed_ = 0;
  handed_bytes_ = 0;
  handed_aside_ = 0;
  handed_aside_bytes_ = 0;
}

const Held* Window::deliver_next(TimePoint now) {
  if (!attached_ || !has_credit()) {
    return nullptr;
  }
  if (handed_ == front_.size()) {
    if (!cold_.empty()) {
      return nullptr;
    }
    if (may_hand_aside()) {
      hand_first_aside();
    } else if (!behind_.empty()) {
      --producers_[behind_.front().producer].behind;
      front_.push_back(std::move(behind_.front()));
      behind_.pop_front();
    } else {
      return nullptr;
    }
  }
  if (!has_unanswered()) {
    last_result_ = now;  // an idle consumer is not a stalled one
  }
  Held& held = front_[handed_++];
  held.ticket = next_ticket_;
  ++next_ticket_.value;
  handed_bytes_ += held.memory();
  if (held.was_aside) {
    ++handed_aside_;
    handed_aside_bytes_ += held.memory();
  }
  return &held;
}

// The consumer has it no more, or what it answers means nothing.
void Window::take_back(const Held& held) {
  --handed_;
  handed_bytes_ -= held.memory();
  if (held.was_aside) {
    --handed_aside_;
    handed_aside_bytes_ -= held.memory();
  }
}

void Window::release(Producer& producer) {
  assert(producer.held_batches > 0);
  --producer.held_batches;
}

std::optional<Window::Settled> Window::settle(const BatchResult& result, TimePoint now) {
  const auto handed_end = front_.begin() + static_cast<std::ptrdiff_t>(handed_);
  const auto found = std::lower_bound(front_.begin(), handed_end, result.ticket,
                                      [](const Held& h, Ticket t) { return h.ticket < t; });
  const bool is_known = found != handed_end && found->ticket == result.ticket;
  if (is_known || void_.contains(result.ticket)) {
    last_result_ = now;
    void_answered(result.ticket);
  }
  if (!is_known) {
    return std::nullopt;
  }

  // An answer that claims less than the batch holds is none to build upon. Fenced, it may hold all
  // the same: a batch that was taken while its epoch was the newest, and comes again after a newer
  // one has gone on behind it (promise 2: coming again changes nothing).
  const bool applied = (result.outcome == Outcome::applied || result.outcome == Outcome::fenced) &&
                       result.through >= found->last;
  const ProducerId id = found->producer;
  Settled settled{id,
                  found->first,
                  found->last,
                  found->last.value - found->first.value + 1,
                  found->bytes(),
                  applied,
                  found->offset,
                  false};
  Producer& producer = producers_[id];
  const bool stored = found->offset.has_value();
  if (applied) {
    producer.applied_through = std::max(producer.applied_through, result.through);
    release(producer);
  } else if (stored) {
    // Promise 2: what was stored is never dropped, so it waits in the journal for somebody who can
    // tell why; the rest of its producer waits behind it.
    settled.remove.reset();
    settled.stopped = true;
    stopped_.insert(id);
  } else {
    release(producer);
  }
  if (!stored) {
    --unstored_;
  }
  memory_bytes_ -= found->memory();
  take_back(*found);
  front_.erase(found);
  if (applied) {
    judge(id, producer, result.dead_count < settled.rows);
  } else if (!stored) {
    drop_unstored(id, producer);
  }
  return settled;
}

// Storing them would promise what cannot be kept (promise 1). The answers to those that the
// consumer has are void: their tickets are gone.
void Window::drop_unstored(const ProducerId& id, Producer& producer) {
  producer.held_last = producer.stored_through;
  producer.go_back.reset();
  const auto is_unstored = [&](const Held& held) { return held.producer == id && !held.offset; };
  std::size_t index = 0;
  const std::size_t handed = handed_;
  for (auto* queue : queues()) {
    for (const Held& held : *queue) {
      if (is_unstored(held)) {
        memory_bytes_ -= held.memory();
        --unstored_;
        release(producer);
        if (index < handed) {
          take_back(held);
          void_hand_over(held);
        } else if (queue == &behind_) {
          --producer.behind;
        } else if (queue == &aside_) {
          --producer.aside;
          aside_bytes_ -= held.memory();
        }
      }
      ++index;
    }
    queue->erase(std::remove_if(queue->begin(), queue->end(), is_unstored), queue->end());
  }
}

std::uint64_t Window::rows_in_memory() const {
  std::uint64_t rows = 0;
  for (const auto* queue : queues()) {
    for (const Held& held : *queue) {
      rows += held.last.value - held.first.value + 1;
    }
  }
  return rows;
}

std::optional<TimePoint> Window::oldest() const {
  std::optional<TimePoint> oldest;
  for (const auto* queue : queues()) {
    if (!queue->empty() && (!oldest || queue->front().since < *oldest)) {
      oldest = queue->front().since;
    }
  }
  return oldest;
}

}  // namespace turnstile::broker
