#include "consumer/consumer.h"

#include <algorithm>
#include <utility>

#include <spdlog/spdlog.h>

#include "proto/utf8.h"

namespace turnstile::consumer {
namespace {

using namespace std::chrono_literals;

constexpr auto kHeartbeat = 500ms;
constexpr auto kBrokerSilence = 6s;
constexpr auto kHelloPatience = 1s;
constexpr auto kFirstPause = 100ms;
constexpr auto kLongestPause = 2s;
// Of one message of results: the rest goes into the next.
constexpr std::size_t kResultsPerMessage = 1000;
constexpr std::size_t kDeadPerMessage = 1000;

}  // namespace

Consumer::Consumer(Link& link, ConsumerOptions options, std::function<bool()> stop_requested)
    : link_(link), options_(std::move(options)), stop_requested_(std::move(stop_requested)) {
  options_.target.while_waiting = [this] {
    keep_in_touch();
    return !stop_requested_();
  };
}

Result<void> Consumer::run() {
  Result<void> outcome;
  last_sent_ = last_heard_ = Clock::now();
  // The hello is said when the broker asks for it, which it does of every new connection.
  while (!stop_requested_()) {
    if (lost_touch_) {
      // A broker that was away may have this connection's lease still; it is asked for anew.
      lost_touch_ = false;
      forget_lease();
      link_.reconnect();
    }
    if (has_lease_ && !target_) {
      if (auto opened = open_target(); !opened) {
        if (auto waited = back_off(opened.error()); !waited) {
          return waited;
        }
        continue;
      }
    }
    receive_for(pending_.empty() ? kHeartbeat : 0ms, outcome);
    if (!outcome) {
      return outcome;
    }
    if (auto applied = apply_group(); !applied) {
      if (auto waited = back_off(applied.error()); !waited) {
        return waited;
      }
    }
  }
  link_.send(Bye{});
  if (target_) {
    target_->rollback();
    return target_->housekeeping();
  }
  return {};
}

// ---- the broker

void Consumer::say_hello() {
  Hello hello;
  hello.role = Role::consumer;
  hello.producer = {printable(options_.target.path.string(), limits::kReasonBytes - 3)};
  if (link_.send(hello)) {
    last_sent_ = said_hello_ = Clock::now();
  }
}

void Consumer::keep_in_touch() {
  const auto now = Clock::now();
  if (now - last_heard_ > kBrokerSilence) {
    last_heard_ = now;
    lost_touch_ = true;  // run() acts on it: here a transaction may be open
  } else if (now - last_sent_ >= kHeartbeat && link_.send(Heartbeat{})) {
    last_sent_ = now;
  }
}

// Takes what is there, up to one group, waiting for the first message only.
void Consumer::receive_for(std::chrono::milliseconds wait, Result<void>& outcome) {
  keep_in_touch();
  const auto full = [this] {
    return pending_bytes_ >= options_.group_bytes || pending_.size() >= limits::kResultsListed;
  };
  auto message = link_.receive(wait);
  while (message) {
    last_heard_ = Clock::now();
    outcome = handle(std::move(*message));
    if (!outcome || full()) {
      return;
    }
    message = link_.receive(0ms);
  }
}

Result<void> Consumer::handle(Message&& message) {
  if (auto* delivery = std::get_if<Delivery>(&message)) {
    pending_bytes_ += delivery->rows_frame.size();
    pending_.push_back({delivery->ticket, decode_batch_header(delivery->header_frame.view()),
                        std::move(delivery->rows_frame)});
  } else if (const auto* lease = std::get_if<LeaseState>(&message)) {
    return on_lease(*lease);
  } else if (const auto* refusal = std::get_if<Refusal>(&message)) {
    if (refusal->code == RefusalCode::hello_first) {
      // A broker that does not know us: what the one before handed over comes again.
      // It asks once for each message of an unknown connection: one hello answers them all.
      if (has_lease_ || Clock::now() - said_hello_ > kHelloPatience) {
        forget_lease();
        say_hello();
      }
    } else {
      spdlog::warn("the broker refused: {}", printable(refusal->text, limits::kReasonBytes));
    }
  } else if (std::holds_alternative<AskProgress>(message) ||
             std::holds_alternative<CheckTable>(message)) {
    questions_.push_back(std::move(message));
  }
  return {};
}

Result<void> Consumer::on_lease(const LeaseState& state) {
  if (state.granted) {
    forget_lease();
    has_lease_ = true;
    lease_ = state.lease;
    return {};
  }
  if (has_lease_ && state.lease > lease_) {
    return fail(Errc::fenced,
                "another consumer has taken over: this one was silent for longer than its lease; "
                "nothing more was applied",
                "Start it again: it stands by.");
  }
  if (!has_lease_) {
    spdlog::info("another consumer has the lease; this one stands by");
  }
  return {};
}

// Closes the target too: while another may write it, this process has no connection to it
// (promise 9).
void Consumer::forget_lease() {
  has_lease_ = false;
  target_.reset();
  pending_.clear();
  pending_bytes_ = 0;
  questions_.clear();
}

// A question that the target cannot answer now is kept, since the broker counts on an answer.
Result<void> Consumer::answer_questions() {
  while (!questions_.empty()) {
    if (const auto* ask = std::get_if<AskProgress>(&questions_.front())) {
      auto progress = target_->progress(ask->producer, ask->since);
      if (!progress) {
        return tl::make_unexpected(progress.error());
      }
      link_.send(ProgressAnswer{ask->request, std::move(*progress)});
    } else if (const auto* check = std::get_if<CheckTable>(&questions_.front())) {
      auto answer = target_->check_table(check->table, check->columns);
      if (!answer) {
        return tl::make_unexpected(answer.error());
      }
      answer->request = check->request;
      link_.send(std::move(*answer));
    }
    questions_.pop_front();
  }
  return {};
}

void Consumer::report(std::vector<BatchResult>&& results) {
  Results message;
  message.lease = lease_;
  message.stats = {rows_applied_, target_->dead_letters(),
                   printable(options_.target.path.string(), limits::kReasonBytes - 3)};
  std::size_t dead = 0;
  const auto flush = [&] {
    // A report that is lost with the connection costs a second delivery, nothing else.
    link_.send(message);
    message.results.clear();
    dead = 0;
  };
  for (BatchResult& result : results) {
    dead += result.dead.size();
    message.results.push_back(std::move(result));
    if (message.results.size() >= kResultsPerMessage || dead >= kDeadPerMessage) {
      flush();
    }
  }
  if (!message.results.empty() || results.empty()) {
    flush();
  }
  last_sent_ = Clock::now();
}

// ---- the target

// Opens the target and becomes its one writer (promise 4).
Result<void> Consumer::open_target() {
  auto opened = store::Target::open(options_.target);
  if (!opened) {
    return tl::make_unexpected(opened.error());
  }
  auto generation = (*opened)->take_over();
  if (!generation) {
    return tl::make_unexpected(generation.error());
  }
  target_ = std::move(*opened);
  for (const auto& note : target_->take_notes()) {
    spdlog::warn("{}", note);
  }
  spdlog::info("this consumer writes {} now (generation {})", options_.target.path.string(),
               generation->value);
  works_again();
  report({});
  return {};
}

// How many of the pending batches go into the next transaction. A batch whose task holds the
// database is alone in its own.
std::size_t Consumer::group_size() const {
  std::size_t batches = 0;
  std::uint64_t rows = 0;
  for (const Pending& pending : pending_) {
    const bool holds = pending.header && pending.header->task_duration > 0ms;
    if (batches > 0 && (holds || rows >= options_.group_rows)) {
      break;
    }
    ++batches;
    rows += pending.header ? pending.header->rows : 0;
    if (holds) {
      break;
    }
  }
  return batches;
}

Result<void> Consumer::apply_group() {
  if (!target_) {
    return {};
  }
  if (auto answered = answer_questions(); !answered) {
    return answered;
  }
  if (target_->text_log_is_behind()) {
    if (auto caught_up = target_->catch_up_text_log(); !caught_up) {
      return caught_up;
    }
    works_again();
  }
  if (pending_.empty()) {
    return target_->housekeeping();
  }
  const std::size_t batches = group_size();
  auto results = apply_in_one_transaction(batches);
  if (!results) {
    return tl::make_unexpected(results.error());
  }
  for (std::size_t i = 0; i < batches; ++i) {
    pending_bytes_ -= pending_.front().rows_frame.size();
    pending_.pop_front();
  }
  works_again();
  // Promise 1: the commit came back synced; only now does anybody hear of it.
  report(std::move(*results));
  return {};
}

Result<std::vector<BatchResult>> Consumer::apply_in_one_transaction(std::size_t batches) {
  if (auto begun = target_->begin(); !begun) {
    return tl::make_unexpected(begun.error());
  }
  std::vector<BatchResult> results;
  std::uint64_t rows = 0;
  for (std::size_t i = 0; i < batches; ++i) {
    const Pending& pending = pending_[i];
    if (!pending.header) {
      // The broker checked this header before it took the batch, so it was damaged since. It stays
      // in the journal and its producer stops: nothing of it can be told apart here.
      spdlog::error("a batch from the broker cannot be read: {}", pending.header.error().what);
      results.push_back({pending.ticket, Outcome::hole, {}, 0, {}});
      continue;
    }
    auto applied = target_->apply(*pending.header, pending.rows_frame.view());
    if (!applied) {
      target_->rollback();
      return tl::make_unexpected(applied.error());
    }
    rows += applied->rows_applied;
    results.push_back({pending.ticket, applied->outcome, applied->through, applied->dead_count,
                       std::move(applied->dead)});
  }
  if (auto committed = target_->commit(); !committed) {
    return tl::make_unexpected(committed.error());
  }
  rows_applied_ += rows;
  return results;
}

Result<void> Consumer::back_off(const Error& error) {
  if (error.code == Errc::fenced || error.code == Errc::bad_input) {
    return tl::make_unexpected(error);
  }
  if (stop_requested_()) {
    return {};
  }
  if (problem_ != error.what) {
    spdlog::error("{}; the rows wait in the queue, trying again. {}", error.what, error.hint);
    problem_ = error.what;
  }
  if (error.code == Errc::io || error.code == Errc::corrupt) {
    // Promise 8: nothing is acknowledged from this file until it was opened and read anew.
    target_.reset();
  }
  pause_ = pause_ == 0ms ? std::chrono::milliseconds(kFirstPause)
                         : std::min<std::chrono::milliseconds>(pause_ * 2, kLongestPause);
  const auto until = Clock::now() + pause_;
  Result<void> outcome;
  while (Clock::now() < until && !stop_requested_() && outcome) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
    keep_in_touch();
    if (auto message = link_.receive(std::clamp(left, 0ms, 100ms))) {
      last_heard_ = Clock::now();
      outcome = handle(std::move(*message));
    }
  }
  return outcome;
}

void Consumer::works_again() {
  if (!problem_.empty()) {
    spdlog::info("works again after: {}", problem_);
    problem_.clear();
  }
  pause_ = 0ms;
}

}  // namespace turnstile::consumer
