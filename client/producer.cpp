#include "client/producer.h"

#include <algorithm>
#include <cassert>
#include <ctime>
#include <utility>

#include <fmt/format.h>

#include "base/counted.h"
#include "proto/limits.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kBatchBytes = std::size_t{64} * 1024;
constexpr milliseconds kServeEvery{1};            // while rows come fast; or one coarse tick
constexpr std::uint32_t kRowsBetweenClocks = 16;  // if the next row comes immediately
constexpr milliseconds kWait{100};
constexpr milliseconds kStartAgain{200};

// Upper bound of the size of a value or row in the rows frame, without the bytes of its text.
constexpr std::size_t kValueBytes = 9;

std::size_t bytes_of(const std::string_view& value) {
  return kValueBytes + value.size();
}

std::size_t bytes_of(const ValueRef& value) {
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    return kValueBytes + text->size();
  }
  const auto* blob = std::get_if<Blob>(&value);
  return kValueBytes + (blob != nullptr ? blob->bytes.size() : 0);
}

template <typename Value>
std::size_t bytes_of_row(std::span<const Value> row) {
  std::size_t bytes = kValueBytes;
  for (const auto& value : row) {
    bytes += bytes_of(value);
  }
  return bytes;
}

SessionOptions session_options(const ProducerOptions& options) {
  SessionOptions session;
  session.producer = options.id;
  session.named = options.named;
  session.sure = options.sure;
  session.source = options.source;
  session.peer = options.peer;
  session.timeout = options.timeout;
  session.if_no_broker = options.if_no_broker;
  if (options.spool != nullptr) {
    set_for_spool(session, *options.spool);
  }
  session.clock = options.clock;
  session.on_notice = options.on_notice;
  session.on_acknowledged = options.on_acknowledged;
  if (options.events != nullptr) {
    session.on_acknowledged = [id = options.id, events = options.events,
                               on_acknowledged = options.on_acknowledged](const Acknowledged& a) {
      events->acknowledged(id, a.first, a.last, a.level == Ack::stored ? "stored" : "applied");
      return on_acknowledged ? on_acknowledged(a) : Result<void>();
    };
  }
  session.seed = options.seed;
  return session;
}

}  // namespace

std::chrono::steady_clock::time_point coarse_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return std::chrono::steady_clock::time_point(std::chrono::seconds(now.tv_sec) +
                                               std::chrono::nanoseconds(now.tv_nsec));
}

Producer::Producer(Link& link, ProducerOptions options)
    : options_(std::move(options)),
      session_(link,
               [this] {
                 SessionOptions session = session_options(options_);
                 session.on_dead = [this](const Resend::NewDead& dead) { keep(dead); };
                 return session;
               }()),
      outbox_(Outbox::make(options_.spool, session_.resend(),
                           {options_.ack, options_.max_unacked_bytes, options_.clock})),
      wait_monitor_(session_,
                    {options_.timeout, options_.task_duration, options_.ack, options_.clock}) {
  assert(options_.spool == nullptr || options_.spool->producer() == options_.id);
  if (auto definitions = outbox_->definitions()) {
    definitions_ = std::move(*definitions);
  } else {
    fail_with(std::move(definitions.error()));
  }
}

void Producer::fail_with(Error error) {
  if (!failure_) {
    failure_ = std::move(error);
  }
}

void Producer::fail_unless(Result<void> result) {
  if (!result) {
    fail_with(std::move(result.error()));
  }
}

Result<void> Producer::check() const {
  if (failure_) {
    return tl::make_unexpected(*failure_);
  }
  if (const auto& failure = session_.failure()) {
    Error error = *failure;
    const std::uint64_t rows = summary().unacknowledged;
    if (error.code == Errc::unreachable && rows > 0) {
      error.what += fmt::format("; {} {} not acknowledged", counted(rows, "row"), is_or_are(rows));
    }
    return tl::make_unexpected(std::move(error));
  }
  return {};
}

Result<Started> Producer::start() {
  if (!outbox_->is_durable()) {
    return wait_for_welcome();
  }
  serve(milliseconds(0));
  if (auto checked = check(); !checked) {
    return tl::make_unexpected(checked.error());
  }
  auto source = outbox_->start(options_.source);
  if (!source) {
    return tl::make_unexpected(std::move(source.error()));
  }
  return Started{outbox_->last(), std::move(*source), false};
}

Result<Started> Producer::start_again() {
  if (auto pumped = pump(kStartAgain); !pumped) {
    return tl::make_unexpected(pumped.error());
  }
  if (!outbox_->is_durable()) {
    session_.begin_again();
  }
  return start();
}

Result<Started> Producer::wait_for_welcome() {
  while (!session_.welcome()) {
    if (options_.interrupted()) {
      return fail(Errc::refused, "interrupted before " + options_.peer + " answered");
    }
    serve(kWait);
    if (auto checked = check(); !checked) {
      return tl::make_unexpected(checked.error());
    }
  }
  const Welcome& welcome = *session_.welcome();
  const Sequence through = session_.resend().begun_after();
  const bool is_all = welcome.last ? *welcome.last == through : welcome.through_is_sure;
  return Started{through, welcome.source, welcome.consumer_attached, is_all};
}

Result<TableAnswer> Producer::check_table(std::string table, std::vector<std::string> columns) {
  session_.ask({++requests_, std::move(table), std::move(columns)});
  const TimePoint begun = options_.clock();
  const TimePoint deadline = begun + outbox_->table_answer_timeout();
  while (!session_.answer()) {
    serve(kWait);
    if (auto checked = check(); !checked) {
      return tl::make_unexpected(checked.error());
    }
    if (options_.interrupted() || options_.clock() >= deadline) {
      return TableAnswer{requests_, TableState::unknown, "no answer in time"};
    }
  }
  if (session_.answer()->state == TableState::unknown) {
    wait_monitor_.waited_for_table(std::chrono::round<milliseconds>(options_.clock() - begun));
  }
  return *session_.answer();
}

Result<Sequence> Producer::define(std::string table, std::vector<std::string> columns,
                                  const std::vector<std::string>& types) {
  if (auto checked = check(); !checked) {
    return tl::make_unexpected(checked.error());
  }
  cut();
  RowsEncoder row;
  row.add(std::vector<std::string_view>(types.begin(), types.end()));
  Batch batch;
  batch.header.producer = options_.id;
  batch.header.first = next(outbox_->last());
  batch.header.rows = 1;
  batch.header.kind = BatchKind::define;
  batch.header.table = std::move(table);
  batch.header.columns = std::move(columns);
  batch.rows_frame = row.take();
  const Sequence sequence = batch.header.first;
  definitions_.push_back(sequence);
  add_batch(std::move(batch), options_.clock());
  serve(milliseconds(0));
  return sequence;
}

void Producer::into(std::string table, std::vector<std::string> columns, BatchKind kind) {
  cut();
  kind_ = kind;
  table_ = std::move(table);
  columns_ = std::move(columns);
}

Result<Sequence> Producer::append(std::span<const ValueRef> row, Next next) {
  return append_row(row, next);
}

Result<Sequence> Producer::append(std::span<const std::string_view> row, Next next) {
  return append_row(row, next);
}

Result<void> Producer::check_row(std::size_t values, std::size_t bytes) const {
  if (values > limits::kColumns) {
    return fail(Errc::bad_input, "a row of " + counted(values, "value") +
                                     " is above the limit of " + std::to_string(limits::kColumns));
  }
  if (bytes + kValueBytes > limits::kRowsBytes) {
    return fail(Errc::bad_input, "a row of " + counted(bytes, "byte") + " is above the limit of " +
                                     std::to_string(limits::kRowsBytes));
  }
  return check();
}

template <typename Value>
Result<Sequence> Producer::append_row(std::span<const Value> row, Next next) {
  assert(!table_.empty());
  const std::size_t bytes = bytes_of_row(row);
  if (auto checked = check_row(row.size(), bytes); !checked) {
    return tl::make_unexpected(checked.error());
  }
  if (gathered_.rows() > 0 && gathered_.bytes() + bytes > kBatchBytes) {
    cut();
  }
  if (gathered_.rows() == 0) {
    gathered_since_ = options_.clock();
    if (options_.events != nullptr) {
      row_name_ = row_name(row);
    }
  }
  gathered_.add(row);
  ++appended_;
  const Sequence sequence = last();
  const std::size_t values = (gathered_.rows() + std::size_t{1}) * row.size();
  const bool asks_clock = next == Next::unknown || gathered_.rows() % kRowsBetweenClocks == 1;
  if (gathered_.rows() >= options_.batch_rows || values > limits::kBatchValues) {
    cut();
    serve(milliseconds(0));
  } else if (outbox_->is_idle() ||
             (asks_clock && options_.coarse_clock() - served_ >= kServeEvery)) {
    serve(milliseconds(0));
  }
  const bool is_cut = gathered_.rows() == 0;
  if (outbox_->is_store_due(is_cut ? std::nullopt : std::optional(gathered_since_))) {
    if (auto synced = sync_spool(); !synced) {
      return tl::make_unexpected(synced.error());
    }
  }
  if (gathered_.rows() <= 1) {
    wait_for_room();  // cut() added a batch
  }
  return sequence;
}

// Promise 6: memory is bounded, and append() waits at the bound.
void Producer::wait_for_room() {
  if (!outbox_->is_full()) {
    return;
  }
  wait_monitor_.begin(options_.clock());
  while (outbox_->is_full() && !session_.failure() && !options_.interrupted()) {
    serve(kWait);
    if (wait_monitor_.waits_too_long(waiting_rows(), options_.clock()) && !session_.failure()) {
      fail_with(no_progress_error());
      return;
    }
  }
}

void Producer::cut() {
  if (gathered_.rows() == 0) {
    return;
  }
  Batch batch;
  batch.header.producer = options_.id;
  batch.header.first = next(outbox_->last());
  batch.header.rows = gathered_.rows();
  batch.header.kind = kind_;
  batch.header.table = table_;
  batch.header.columns = columns_;
  batch.header.task_duration = options_.task_duration;
  batch.rows_frame = gathered_.take();
  if (options_.events != nullptr) {
    options_.events->about(EventKind::trying, batch.header, row_name_);
  }
  add_batch(std::move(batch), gathered_since_);
}

void Producer::add_batch(Batch batch, TimePoint since) {
  waits_.began(batch.header.last(), since);
  outbox_->add(std::move(batch), since,
               options_.source_now ? options_.source_now() : options_.source);
}

void Producer::serve(milliseconds wait) {
  cut_if_idle();
  exchange(wait);
  served_ = options_.coarse_clock();
  const TimePoint now = options_.clock();
  waits_.acknowledged(outbox_->acknowledged(), now);
  wait_monitor_.note_progress(last(), now);
  if (!failure_) {
    fail_unless(outbox_->drop_acknowledged());
  }
}

// Sends whatever may be sent now, including what an answer made room for.
bool Producer::exchange(milliseconds wait) {
  feed();
  session_.serve(wait);
  const bool has_more = cut_if_idle() || feed();
  if (has_more) {
    session_.serve(milliseconds(0));
  }
  return has_more;
}

bool Producer::feed() {
  if (!session_.welcome() || failure_ || session_.failure()) {
    return false;
  }
  auto fed = outbox_->feed();
  if (!fed) {
    fail_with(std::move(fed.error()));
  }
  return fed && *fed;
}

Result<void> Producer::sync_spool() {
  if (!outbox_->is_durable()) {
    return {};
  }
  cut();
  while (true) {
    if (auto checked = check(); !checked) {
      return checked;
    }
    auto stored = outbox_->store();
    if (stored) {
      if (spool_full_since_) {
        spool_full_since_.reset();
        session_.notice(Notice::busy_over, "there is room in the spool again");
      }
      return {};
    }
    if (stored.error().code != Errc::full) {
      fail_with(std::move(stored.error()));
      continue;
    }
    if (auto waited = wait_for_spool(stored.error()); !waited) {
      return waited;
    }
  }
}

// Promise 6: at the bound append() waits, and a notice says why.
Result<void> Producer::wait_for_spool(const Error& full) {
  const TimePoint now = options_.clock();
  if (!spool_full_since_) {
    spool_full_since_ = now;
    wait_monitor_.begin(now);
    session_.notice(Notice::busy, full.what + ", waiting until it has room");
  }
  const bool is_too_long =
      options_.timeout > milliseconds(0) && now - *spool_full_since_ >= options_.timeout;
  if (is_too_long || options_.interrupted()) {
    return tl::make_unexpected(full);
  }
  exchange(kWait);
  waits_.acknowledged(outbox_->acknowledged(), options_.clock());
  wait_monitor_.note_progress(last(), options_.clock());
  // For its notices. How long the spool was full decides when to give up.
  (void)wait_monitor_.waits_too_long(waiting_rows(), options_.clock());
  fail_unless(outbox_->make_room());
  return {};
}

// Rows that gathered while others were in flight are sent once those are acknowledged.
bool Producer::cut_if_idle() {
  if (gathered_.rows() == 0 || !outbox_->is_idle()) {
    return false;
  }
  cut();
  return true;
}

void Producer::flush() {
  cut();
  (void)sync_spool();  // the next call returns its error
  serve(milliseconds(0));
}

Result<void> Producer::pump(milliseconds wait) {
  const TimePoint end = options_.clock() + wait;
  if (auto synced = sync_spool(); !synced) {
    return synced;
  }
  serve(milliseconds(0));
  for (TimePoint now = options_.clock(); now < end && !options_.interrupted();
       now = options_.clock()) {
    serve(std::min(kWait, std::chrono::ceil<milliseconds>(end - now)));
    if (session_.failure() || failure_) {
      break;
    }
  }
  return check();
}

Result<bool> Producer::settle(std::optional<TimePoint> deadline) {
  if (auto synced = sync_spool(); !synced) {
    return tl::make_unexpected(synced.error());
  }
  cut();
  wait_monitor_.begin(options_.clock());
  while (outbox_->acknowledged() < last()) {
    if (auto checked = check(); !checked) {
      return tl::make_unexpected(checked.error());
    }
    if (options_.interrupted() || (deadline && options_.clock() >= *deadline)) {
      serve(milliseconds(0));  // take what has arrived by now
      break;
    }
    serve(kWait);
    const TimePoint now = options_.clock();
    const bool is_silent = outbox_->is_durable() && options_.timeout > milliseconds(0) &&
                           session_.silent_for(now) >= options_.timeout;
    if (outbox_->acknowledged() < last() && !session_.failure() &&
        (wait_monitor_.waits_too_long(waiting_rows(), now) || is_silent)) {
      fail_with(no_progress_error());
    }
  }
  if (auto checked = check(); !checked) {
    return tl::make_unexpected(checked.error());
  }
  return outbox_->acknowledged() >= last();
}

WaitingRows Producer::waiting_rows() const {
  const Resend& resend = session_.resend();
  const Sequence stored = std::max(resend.stored_through(), resend.begun_after());
  const Sequence applied = std::max(resend.applied_through(), resend.begun_after());
  return {last(), rows_between(applied, stored), rows_between(stored, last()), table_};
}

Error Producer::no_progress_error() const {
  Error error = wait_monitor_.no_progress_error(waiting_rows());
  outbox_->explain(error, summary().spooled);
  return error;
}

Result<bool> Producer::finish(std::optional<TimePoint> deadline) {
  auto settled = settle(deadline);
  if (settled && *settled) {
    (void)outbox_->make_room();  // a row that stays is dropped when it is sent again
    session_.bye();
  }
  return settled;
}

Sequence Producer::last() const {
  return plus(outbox_->last(), gathered_.rows());
}

std::uint64_t Producer::rows_between(Sequence after, Sequence through) const {
  if (through <= after) {
    return 0;
  }
  const auto definitions = std::count_if(definitions_.begin(), definitions_.end(),
                                         [&](Sequence s) { return after < s && s <= through; });
  return through.value - after.value - static_cast<std::uint64_t>(definitions);
}

std::uint64_t Producer::rows_through(Sequence through) const {
  return rows_between(session_.resend().begun_after(), through);
}

void Producer::keep(const Resend::NewDead& dead) {
  dead_count_ += dead.count;
  for (const auto& row : dead.listed) {
    if (dead_.size() < limits::kDeadListed) {
      dead_.push_back(row);
    }
    if (options_.events != nullptr) {
      options_.events->refused(options_.id, row.sequence, row.reason);
    }
    if (options_.on_dead) {
      options_.on_dead(row);
    }
  }
}

Summary Producer::summary() const {
  const Resend& resend = session_.resend();
  const TimePoint now = options_.clock();
  Summary s;
  s.appended = appended_;
  s.sent = rows_through(resend.sent_through());
  s.stored = rows_through(resend.stored_through());
  const std::uint64_t applied = rows_through(resend.applied_through());
  s.applied = applied - std::min(applied, dead_count_);
  s.unacknowledged = rows_between(outbox_->unacknowledged_after(), last());
  s.spooled = rows_between(outbox_->acknowledged(), outbox_->spooled_through());
  s.dead_count = dead_count_;
  s.dead = dead_;
  s.waited_total = std::chrono::round<milliseconds>(waits_.total(now));
  s.waited_longest = std::chrono::round<milliseconds>(waits_.longest(now));
  return s;
}

}  // namespace turnstile
