// The window and the journal: what must be stored, what is only in the journal, and what a reopened
// journal holds.
#include <algorithm>
#include <cassert>
#include <iterator>
#include <utility>

#include "broker/window.h"

namespace turnstile::broker {

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
  while (!suspects_.waiting().empty() && suspects_.waiting().front().offset) {
    Held held = suspects_.pop();
    clear_suspect(producers_[held.producer], std::move(held));
  }
  std::sort(moved.begin(), moved.end());
  moved.erase(std::unique(moved.begin(), moved.end()), moved.end());

  // A consumer that keeps up gets them from memory. Otherwise the journal has them, and others use
  // the memory.
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
  for (std::size_t i = 0; i < in_flight_; ++i) {
    void_delivery(front_[i]);
  }
  drop_stored(front_);
  drop_stored(behind_);
  // Batches in the journal come first, unstored ones after them. Earlier tickets are void.
  for (auto* queue : {&behind_, &suspects_.waiting()}) {
    front_.insert(front_.end(), std::make_move_iterator(queue->begin()),
                  std::make_move_iterator(queue->end()));
  }
  behind_ = std::move(front_);
  front_.clear();
  suspects_.clear();
  for (Held& held : behind_) {
    held.is_suspect = false;
  }
  nothing_in_flight();
  cold_ = cold;
  stopped_.clear();

  for (auto& [id, producer] : producers_) {
    producer.held_batches = 0;
    producer.behind = 0;
    producer.waiting_suspect = 0;
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
  if (attached_ && has_credit() && in_flight_ == front_.size() && !cold_.empty()) {
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

}  // namespace turnstile::broker
