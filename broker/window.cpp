#include "broker/window.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace turnstile::broker {
namespace {

// Moves out this producer's unstored batches, in their order.
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
  // Covered rows need not come again, later ones must: a batch may have been refused after only its
  // first rows were applied.
  if (producer.go_back && *producer.go_back <= covered(producer)) {
    producer.go_back = next(covered(producer));
  }
  const bool is_hole = producer.in_order && header.first > next_new(producer);
  if (!is_hole && producer.held_batches > 0 && header.last() <= producer.held_last) {
    note_taken(producer, header.last());
    return header.last() <= producer.stored_through ? Verdict::stored : Verdict::held;
  }
  if (producer.go_back && header.first > *producer.go_back) {
    return Verdict::skipped;
  }
  // Promise 1: STORED covers all rows before it. A hole that does not show here is found by the
  // target.
  const bool is_skip =
      !producer.go_back && producer.received && header.first > next(*producer.received);
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

  note_taken(producer, held.last);
  producer.held_last = held.last;
  producer.source = header.source;
  ++producer.held_batches;
  memory_bytes_ += held.memory();
  ++unstored_;
  if (producer.waiting_suspect > 0 || is_suspect(producer)) {
    put_to_suspects(producer, std::move(held));
  } else {
    put_behind(producer, std::move(held));
  }
  producer.record.add_batch();
  return Verdict::taken;
}

// A connection loses nothing between two messages, so the producer skipped a number that is missing
// between two batches of one session. A session's first batch may be the wrong one, such as after a
// second WELCOME: the producer gets the right number and a second try.
Window::Verdict Window::judge_hole(Producer& producer, Sequence first) {
  const bool is_final = !producer.go_back && (producer.received || producer.misfit >= first);
  producer.go_back.reset();
  if (!is_final) {
    producer.misfit = std::max(producer.misfit.value_or(Sequence{}), first);
  }
  return is_final ? Verdict::hole : Verdict::go_back;
}

bool Window::has_room(const Producer& producer, const Held& held) const {
  if (is_suspect(producer) && suspects_.bytes() > 0 &&
      (suspects_.bytes() + held.memory() > options_.memory_bytes / 2 ||
       (producer.record.is_refused() && producer.held_batches >= kSuspectBatches))) {
    return false;
  }
  return memory_bytes_ + held.memory() <= options_.memory_bytes || memory_bytes_ == 0;
}

// A single producer harms nobody, and without a consumer there are no results.
bool Window::is_suspect(const Producer& producer) const {
  return attached_ && producers_.size() > 1 && producer.record.is_suspect();
}

bool Window::is_suspect(const ProducerId& id) const {
  const auto found = producers_.find(id);
  return found != producers_.end() && is_suspect(found->second);
}

bool Window::has_rows_of(const ProducerId& id) const {
  const auto found = producers_.find(id);
  return found != producers_.end() &&
         (found->second.received || found->second.held_batches > 0 ||
          found->second.stored_through > Sequence{} || found->second.applied_through > Sequence{});
}

void Window::add_result(const ProducerId& id, Producer& producer, bool added_a_row) {
  const bool was_suspect = is_suspect(producer);
  producer.record.add_result(added_a_row);
  if (producer.waiting_suspect > 0 && !is_suspect(producer)) {
    move_all(suspects_.waiting(), id, [&](Held&& held) {
      suspects_.removed(held);
      clear_suspect(producer, std::move(held));
    });
  } else if (producer.waiting_suspect == 0 && !was_suspect && is_suspect(producer)) {
    move_all(behind_, id, [&](Held&& held) {
      --producer.behind;
      put_to_suspects(producer, std::move(held));
    });
  }
}

void Window::put_behind(Producer& producer, Held&& held) {
  ++producer.behind;
  behind_.push_back(std::move(held));
}

void Window::put_to_suspects(Producer& producer, Held&& held) {
  ++producer.waiting_suspect;
  suspects_.push(std::move(held));
}

void Window::clear_suspect(Producer& producer, Held&& held) {
  --producer.waiting_suspect;
  held.is_suspect = false;
  put_behind(producer, std::move(held));
}

// The first one, unless its producer has batches that go before it.
bool Window::may_deliver_suspect() const {
  if (suspects_.waiting().empty() ||
      producers_.at(suspects_.waiting().front().producer).behind > 0) {
    return false;
  }
  return producers_.size() == 1 || suspects_.has_credit();
}

void Window::note_taken(Producer& producer, Sequence last) {
  producer.received = std::max(producer.received.value_or(Sequence{}), last);
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
  producer.received.reset();
  producer.misfit.reset();
}

void Window::begins_after(const ProducerId& id, Sequence through, Sequence sent) {
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
  if (producer.received) {
    producer.received =
        std::max(*producer.received, through);  // the producer continues after these
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

// Promise 6: bounds what the consumer has not answered, whether or not its tickets are void.
bool Window::has_credit() const {
  return !has_unanswered() || (in_flight_bytes_ + void_bytes_ < options_.consumer_credit_bytes &&
                               in_flight_ + void_.size() < limits::kResultsListed);
}

void Window::void_delivery(const Held& held) {
  void_.emplace(held.ticket, held.memory());
  void_bytes_ += held.memory();
}

void Window::void_answered(Ticket through) {
  for (auto at = void_.begin(); at != void_.end() && at->first <= through; at = void_.erase(at)) {
    void_bytes_ -= at->second;
  }
}

void Window::consumer_attached(TimePoint now) {
  attached_ = true;
  last_result_ = now;
}

void Window::consumer_gone() {
  attached_ = false;
  nothing_in_flight();
  void_.clear();
  void_bytes_ = 0;
}

void Window::nothing_in_flight() {
  in_flight_ = 0;
  in_flight_bytes_ = 0;
  suspects_.nothing_in_flight();
}

const Held* Window::deliver_next(TimePoint now) {
  if (!attached_ || !has_credit()) {
    return nullptr;
  }
  if (in_flight_ == front_.size()) {
    if (!cold_.empty()) {
      return nullptr;
    }
    if (may_deliver_suspect()) {
      front_.push_back(suspects_.pop());
      --producers_[front_.back().producer].waiting_suspect;
    } else if (!behind_.empty()) {
      --producers_[behind_.front().producer].behind;
      front_.push_back(std::move(behind_.front()));
      behind_.pop_front();
    } else {
      return nullptr;
    }
  }
  if (!has_unanswered()) {
    last_result_ = now;  // an idle consumer is not stalled
  }
  Held& held = front_[in_flight_++];
  held.ticket = next_ticket_;
  ++next_ticket_.value;
  in_flight_bytes_ += held.memory();
  suspects_.delivered(held);
  return &held;
}

// The consumer no longer has it, or its answer will mean nothing.
void Window::take_back(const Held& held) {
  --in_flight_;
  in_flight_bytes_ -= held.memory();
  suspects_.returned(held);
}

void Window::release(Producer& producer) {
  assert(producer.held_batches > 0);
  --producer.held_batches;
}

std::optional<Window::Settled> Window::settle(const BatchResult& result, TimePoint now) {
  const auto in_flight_end = front_.begin() + static_cast<std::ptrdiff_t>(in_flight_);
  const auto found = std::lower_bound(front_.begin(), in_flight_end, result.ticket,
                                      [](const Held& h, Ticket t) { return h.ticket < t; });
  const bool is_known = found != in_flight_end && found->ticket == result.ticket;
  if (is_known || void_.contains(result.ticket)) {
    last_result_ = now;
    void_answered(result.ticket);
  }
  if (!is_known) {
    return std::nullopt;
  }

  // An answer that covers only part of the batch does not count as applied. A fenced answer may
  // cover all of it: the batch was applied while its epoch was the newest, and was sent again after
  // a newer epoch continued (promise 2: a duplicate changes nothing).
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
    // Promise 2: a stored batch is never dropped. It waits in the journal until a person finds out
    // why, and its producer's later batches wait as well.
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
    add_result(id, producer, result.dead_count < settled.rows);
  } else if (!stored) {
    drop_unstored(id, producer);
  }
  return settled;
}

// Storing them would break promise 1. Answers to those that the consumer has are void.
void Window::drop_unstored(const ProducerId& id, Producer& producer) {
  producer.held_last = producer.stored_through;
  producer.go_back.reset();
  const auto is_unstored = [&](const Held& held) { return held.producer == id && !held.offset; };
  std::size_t index = 0;
  const std::size_t in_flight = in_flight_;
  for (auto* queue : queues()) {
    for (const Held& held : *queue) {
      if (is_unstored(held)) {
        memory_bytes_ -= held.memory();
        --unstored_;
        release(producer);
        if (index < in_flight) {
          take_back(held);
          void_delivery(held);
        } else if (queue == &behind_) {
          --producer.behind;
        } else if (queue == &suspects_.waiting()) {
          --producer.waiting_suspect;
          suspects_.removed(held);
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
