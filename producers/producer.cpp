#include "producers/producer.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "proto/limits.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kBatchBytes = std::size_t{64} * 1024;
constexpr milliseconds kServeEvery{1};  // while rows come fast
constexpr milliseconds kWait{100};
constexpr milliseconds kTableAnswer{5000};
constexpr milliseconds kOnlyStoredTold{2000};
constexpr milliseconds kOnlyStoredToldAgain{30'000};

// An upper bound of a value's or a row's size in the rows frame, besides the bytes of a text.
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
  session.source = options.source;
  session.peer = options.peer;
  session.timeout = options.timeout;
  session.clock = options.clock;
  session.on_notice = options.on_notice;
  session.seed = options.seed;
  return session;
}

}  // namespace

Producer::Producer(Link& link, ProducerOptions options)
    : options_(std::move(options)), session_(link, [this] {
        SessionOptions session = session_options(options_);
        session.on_dead = [this](const Resend::NewDead& dead) { keep(dead); };
        return session;
      }()) {}

Result<void> Producer::check() const {
  if (const auto& failure = session_.failure()) {
    Error error = *failure;
    const std::uint64_t rows = summary().unacknowledged;
    if (error.code == Errc::unreachable && rows > 0) {
      error.what +=
          "; " + std::to_string(rows) + (rows == 1 ? " row is" : " rows are") + " not acknowledged";
    }
    return tl::make_unexpected(std::move(error));
  }
  return {};
}

Result<Started> Producer::start() {
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
  return Started{session_.resend().begun_behind(), welcome.source, welcome.consumer_attached};
}

Result<TableAnswer> Producer::check_table(std::string table, std::vector<std::string> columns) {
  session_.ask({++requests_, std::move(table), std::move(columns)});
  const TimePoint deadline = options_.clock() + kTableAnswer;
  while (!session_.answer()) {
    serve(kWait);
    if (auto checked = check(); !checked) {
      return tl::make_unexpected(checked.error());
    }
    if (options_.interrupted() || options_.clock() >= deadline) {
      return TableAnswer{requests_, TableState::unknown, "nobody answered in time"};
    }
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
  batch.header.first = session_.resend().next_sequence();
  batch.header.rows = 1;
  batch.header.kind = BatchKind::define;
  batch.header.table = std::move(table);
  batch.header.columns = std::move(columns);
  batch.header.source = options_.source;
  batch.rows_frame = row.take();
  const Sequence sequence = batch.header.first;
  definitions_.push_back(sequence);
  session_.resend().add(std::move(batch));
  waits_.began(sequence, options_.clock());
  serve(milliseconds(0));
  return sequence;
}

void Producer::into(std::string table, std::vector<std::string> columns, BatchKind kind) {
  cut();
  kind_ = kind;
  table_ = std::move(table);
  columns_ = std::move(columns);
}

Result<Sequence> Producer::append(std::span<const ValueRef> row) {
  return append_row(row);
}

Result<Sequence> Producer::append(std::span<const std::string_view> row) {
  return append_row(row);
}

Result<void> Producer::check_row(std::size_t values, std::size_t bytes) const {
  if (values > limits::kColumns) {
    return fail(Errc::bad_input, "a row of " + std::to_string(values) +
                                     " values is above the limit of " +
                                     std::to_string(limits::kColumns));
  }
  if (bytes + kValueBytes > limits::kRowsBytes) {
    return fail(Errc::bad_input, "a row of " + std::to_string(bytes) +
                                     " bytes is above the limit of " +
                                     std::to_string(limits::kRowsBytes));
  }
  return check();
}

template <typename Value>
Result<Sequence> Producer::append_row(std::span<const Value> row) {
  assert(!table_.empty());
  const std::size_t bytes = bytes_of_row(row);
  if (auto checked = check_row(row.size(), bytes); !checked) {
    return tl::make_unexpected(checked.error());
  }
  if (gathered_.rows() > 0 && gathered_.bytes() + bytes > kBatchBytes) {
    cut();
  }
  const TimePoint now = options_.clock();
  if (gathered_.rows() == 0) {
    gathered_since_ = now;
  }
  gathered_.add(row);
  const Sequence sequence = last();
  const std::size_t values = (gathered_.rows() + std::size_t{1}) * row.size();
  if (gathered_.rows() >= options_.batch_rows || values > limits::kBatchValues) {
    cut();
    serve(milliseconds(0));
  } else if (!session_.resend().has_held() || now - served_ >= kServeEvery) {
    serve(milliseconds(0));
  }
  wait_for_room();
  return sequence;
}

// Promise 6: what is held is bounded; whoever appends waits.
void Producer::wait_for_room() {
  while (session_.resend().held_bytes() > options_.max_unacked_bytes && !session_.failure() &&
         !options_.interrupted()) {
    serve(kWait);
  }
}

void Producer::cut() {
  if (gathered_.rows() == 0) {
    return;
  }
  Batch batch;
  batch.header.producer = options_.id;
  batch.header.first = session_.resend().next_sequence();
  batch.header.rows = gathered_.rows();
  batch.header.kind = kind_;
  batch.header.table = table_;
  batch.header.columns = columns_;
  batch.header.task_duration = options_.task_duration;
  batch.header.source = options_.source;
  batch.rows_frame = gathered_.take();
  waits_.began(batch.header.last(), gathered_since_);
  session_.resend().add(std::move(batch));
}

void Producer::serve(milliseconds wait) {
  cut_if_idle();
  session_.serve(wait);
  if (cut_if_idle()) {
    session_.serve(milliseconds(0));
  }
  served_ = options_.clock();
  waits_.acknowledged(acknowledged(), served_);
}

// Rows that gathered while others were on their way go as soon as these are answered.
bool Producer::cut_if_idle() {
  if (gathered_.rows() == 0 || session_.resend().has_held()) {
    return false;
  }
  cut();
  return true;
}

void Producer::flush() {
  cut();
  serve(milliseconds(0));
}

Result<void> Producer::pump(milliseconds wait) {
  const TimePoint end = options_.clock() + wait;
  serve(milliseconds(0));
  for (TimePoint now = options_.clock(); now < end && !options_.interrupted();
       now = options_.clock()) {
    serve(std::min(kWait, std::chrono::ceil<milliseconds>(end - now)));
    if (session_.failure()) {
      break;
    }
  }
  return check();
}

Result<bool> Producer::settle(std::optional<TimePoint> deadline) {
  flush();
  const TimePoint begun = options_.clock();
  told_only_stored_.reset();
  while (acknowledged() < last()) {
    if (auto checked = check(); !checked) {
      return tl::make_unexpected(checked.error());
    }
    if (options_.interrupted() || (deadline && options_.clock() >= *deadline)) {
      return false;
    }
    serve(kWait);
    tell_if_only_stored(begun);
  }
  if (auto checked = check(); !checked) {
    return tl::make_unexpected(checked.error());
  }
  return true;
}

// Promise 6: nothing waits for ever without saying so.
void Producer::tell_if_only_stored(TimePoint since) {
  const Resend& resend = session_.resend();
  const TimePoint now = options_.clock();
  const TimePoint due =
      told_only_stored_ ? *told_only_stored_ + kOnlyStoredToldAgain : since + kOnlyStoredTold;
  if (now < due || resend.stored_through() < last() || acknowledged() == last()) {
    return;
  }
  told_only_stored_ = now;
  const std::uint64_t rows = resend.stored_through().value - resend.applied_through().value;
  session_.notice(Notice::stored_only,
                  std::to_string(rows) + " rows are stored and wait for a consumer to apply them");
}

Result<bool> Producer::finish(std::optional<TimePoint> deadline) {
  auto settled = settle(deadline);
  if (settled && *settled) {
    session_.bye();
  }
  return settled;
}

Sequence Producer::last() const {
  return plus(session_.resend().last(), gathered_.rows());
}

Sequence Producer::acknowledged() const {
  const Resend& resend = session_.resend();
  return options_.ack == Ack::stored ? resend.stored_through() : resend.applied_through();
}

std::uint64_t Producer::rows_through(Sequence through) const {
  const Sequence begun = session_.resend().begun_behind();
  if (through <= begun) {
    return 0;
  }
  const auto definitions = std::count_if(definitions_.begin(), definitions_.end(),
                                         [&](Sequence s) { return s <= through; });
  return through.value - begun.value - static_cast<std::uint64_t>(definitions);
}

void Producer::keep(const Resend::NewDead& dead) {
  dead_count_ += dead.count;
  for (const auto& row : dead.listed) {
    if (dead_.size() < limits::kDeadListed) {
      dead_.push_back(row);
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
  s.appended = rows_through(last());
  s.sent = rows_through(resend.sent_through());
  s.stored = rows_through(resend.stored_through());
  const std::uint64_t applied = rows_through(resend.applied_through());
  s.applied = applied - std::min(applied, dead_count_);
  s.unacknowledged = s.appended - rows_through(acknowledged());
  s.dead_count = dead_count_;
  s.dead = dead_;
  s.waited_total = std::chrono::round<milliseconds>(waits_.total(now));
  s.waited_longest = std::chrono::round<milliseconds>(waits_.longest(now));
  return s;
}

}  // namespace turnstile
