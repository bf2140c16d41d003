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
constexpr milliseconds kServeEvery{1};      // while rows come fast; or one tick of the coarse clock
constexpr std::uint32_t kRowsUnasked = 16;  // with the next at once, the clock is not looked at
constexpr milliseconds kWait{100};
constexpr milliseconds kStartAgain{200};
constexpr milliseconds kTableAnswer{5000};
constexpr milliseconds kSpoolTableAnswer{300};  // rows wait to be taken, broker or not
constexpr milliseconds kAskWhyAfter{1000};
constexpr milliseconds kAskWhyEvery{2000};
constexpr milliseconds kWhyTold{2000};
constexpr milliseconds kWhyToldAgain{30'000};

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
  session.sure = options.sure;
  session.source = options.source;
  session.peer = options.peer;
  session.timeout = options.timeout;
  session.if_no_broker = options.if_no_broker;
  if (options.spool != nullptr) {
    session.named = true;
    session.known = options.spool->applied();
    session.source = options.spool->id();
    // Rows can be taken without a broker; only where there is nothing else to do it is waited for.
    session.timeout = milliseconds(0);
    session.if_no_broker = IfNoBroker::wait;
  }
  session.clock = options.clock;
  session.on_notice = options.on_notice;
  session.on_acknowledged = options.on_acknowledged;
  if (options.events != nullptr) {
    session.on_acknowledged = [id = options.id, events = options.events,
                               heard = options.on_acknowledged](const Acknowledged& a) {
      events->acknowledged(id, a.first, a.last, a.level == Ack::stored ? "stored" : "applied");
      return heard ? heard(a) : Result<void>();
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
    : options_(std::move(options)), session_(link, [this] {
        SessionOptions session = session_options(options_);
        session.on_dead = [this](const Resend::NewDead& dead) { keep(dead); };
        return session;
      }()) {
  if (options_.spool != nullptr) {
    assert(options_.spool->producer() == options_.id);
    spooling_.emplace(*options_.spool);
    if (auto definitions = options_.spool->definitions()) {
      definitions_ = std::move(*definitions);
    } else {
      fail_with(definitions.error());
    }
  }
}

void Producer::fail_with(Error error) {
  if (!failure_) {
    failure_ = std::move(error);
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
  if (spooling_) {
    serve(milliseconds(0));
    if (auto checked = check(); !checked) {
      return tl::make_unexpected(checked.error());
    }
    Spool& spool = spooling_->spool();
    if (spool.input().empty() && !options_.source.empty()) {
      if (auto set = spool.set_input(options_.source); !set) {
        return tl::make_unexpected(set.error());
      }
    }
    return Started{spool.last(), spool.input(), false};
  }
  return wait_for_welcome();
}

Result<Started> Producer::start_again() {
  if (auto pumped = pump(kStartAgain); !pumped) {
    return tl::make_unexpected(pumped.error());
  }
  if (!spooling_) {
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
  const Sequence through = session_.resend().begun_behind();
  const bool is_all = welcome.last ? *welcome.last == through : welcome.through_is_sure;
  return Started{through, welcome.source, welcome.consumer_attached, is_all};
}

Result<TableAnswer> Producer::check_table(std::string table, std::vector<std::string> columns) {
  session_.ask({++requests_, std::move(table), std::move(columns)});
  const TimePoint begun = options_.clock();
  const TimePoint deadline = begun + (spooling_ ? kSpoolTableAnswer : kTableAnswer);
  while (!session_.answer()) {
    serve(kWait);
    if (auto checked = check(); !checked) {
      return tl::make_unexpected(checked.error());
    }
    if (options_.interrupted() || options_.clock() >= deadline) {
      return TableAnswer{requests_, TableState::unknown, "nobody answered in time"};
    }
  }
  if (session_.answer()->state == TableState::unknown) {
    waited_for_table_ = std::chrono::round<milliseconds>(options_.clock() - begun);
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
  batch.header.first = next(last_cut());
  batch.header.rows = 1;
  batch.header.kind = BatchKind::define;
  batch.header.table = std::move(table);
  batch.header.columns = std::move(columns);
  batch.rows_frame = row.take();
  const Sequence sequence = batch.header.first;
  definitions_.push_back(sequence);
  hand_on(std::move(batch), options_.clock());
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
  const bool asks_clock = next == Next::unknown || gathered_.rows() % kRowsUnasked == 1;
  if (gathered_.rows() >= options_.batch_rows || values > limits::kBatchValues) {
    cut();
    serve(milliseconds(0));
  } else if ((!spooling_ && !session_.resend().has_held()) ||
             (asks_clock && options_.coarse_clock() - served_ >= kServeEvery)) {
    serve(milliseconds(0));
  }
  if (is_spool_due()) {
    if (auto synced = sync_spool(); !synced) {
      return tl::make_unexpected(synced.error());
    }
  }
  if (gathered_.rows() <= 1) {
    wait_for_room();  // a batch was added to what is held
  }
  return sequence;
}

bool Producer::is_spool_due() const {
  if (!spooling_) {
    return false;
  }
  const TimePoint now = options_.clock();
  return spooling_->is_due(now) ||
         (gathered_.rows() > 0 && now - gathered_since_ >= Spooling::kGroupTime);
}

// Promise 6: what is held is bounded; whoever appends waits.
void Producer::wait_for_room() {
  const auto is_full = [this, &resend = session_.resend()] {
    return resend.held_bytes() > std::min(options_.max_unacked_bytes, resend.bytes_ahead());
  };
  if (spooling_ || !is_full()) {
    return;
  }
  begin_wait(options_.clock());
  while (is_full() && !session_.failure() && !options_.interrupted()) {
    serve(kWait);
    if (waits_too_long(options_.clock()) && !session_.failure()) {
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
  batch.header.first = next(last_cut());
  batch.header.rows = gathered_.rows();
  batch.header.kind = kind_;
  batch.header.table = table_;
  batch.header.columns = columns_;
  batch.header.task_duration = options_.task_duration;
  batch.rows_frame = gathered_.take();
  if (options_.events != nullptr) {
    options_.events->about(EventKind::trying, batch.header, row_name_);
  }
  hand_on(std::move(batch), gathered_since_);
}

void Producer::hand_on(Batch batch, TimePoint since) {
  waits_.began(batch.header.last(), since);
  if (spooling_) {
    batch.header.source = spooling_->spool().id();
    spooling_->add(std::move(batch), since, source_now());
  } else {
    batch.header.source = source_now();
    session_.resend().add(std::move(batch));
  }
}

std::string Producer::source_now() const {
  return options_.source_now ? options_.source_now() : options_.source;
}

void Producer::serve(milliseconds wait) {
  cut_if_idle();
  exchange(wait);
  served_ = options_.coarse_clock();
  const TimePoint now = options_.clock();
  waits_.acknowledged(acknowledged(), now);
  note_progress(now);
  drop_from_spool();
}

// Whatever may be sent now goes, also what an answer made room for.
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
  if (!spooling_ || !session_.welcome() || failure_ || session_.failure()) {
    return false;
  }
  auto fed = spooling_->feed(session_.resend(), session_.resend().begun_behind(),
                             options_.max_unacked_bytes);
  if (!fed) {
    fail_with(std::move(fed.error()));
  }
  return fed && *fed;
}

void Producer::drop_from_spool() {
  if (!spooling_ || failure_) {
    return;
  }
  // A full disk may have room for it later; until then the rows stay, and fall out when resent.
  if (auto dropped = spooling_->spool().drop(acknowledged(), session_.resend().applied_through());
      !dropped && dropped.error().code != Errc::full) {
    fail_with(std::move(dropped.error()));
  }
}

Result<void> Producer::sync_spool() {
  if (!spooling_) {
    return {};
  }
  cut();
  while (true) {
    if (auto checked = check(); !checked) {
      return checked;
    }
    auto stored = spooling_->store();
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

// Promise 6: at the bound whoever appends waits, and hears of it.
Result<void> Producer::wait_for_spool(const Error& full) {
  const TimePoint now = options_.clock();
  if (!spool_full_since_) {
    spool_full_since_ = now;
    begin_wait(now);
    session_.notice(Notice::busy, full.what + ", waiting until rows have left it");
  }
  const bool is_too_long =
      options_.timeout > milliseconds(0) && now - *spool_full_since_ >= options_.timeout;
  if (is_too_long || options_.interrupted()) {
    return tl::make_unexpected(full);
  }
  exchange(kWait);
  waits_.acknowledged(acknowledged(), options_.clock());
  note_progress(options_.clock());
  (void)waits_too_long(options_.clock());  // says why; how long the spool was full counts
  auto trimmed = spooling_->spool().drop(acknowledged(), session_.resend().applied_through());
  if (trimmed) {
    trimmed = spooling_->spool().trim();
  }
  if (!trimmed && trimmed.error().code != Errc::full) {
    fail_with(std::move(trimmed.error()));
  }
  return {};
}

// Rows that gathered while others were on their way go as soon as these are answered.
bool Producer::cut_if_idle() {
  if (spooling_ || gathered_.rows() == 0 || session_.resend().has_held()) {
    return false;
  }
  cut();
  return true;
}

void Producer::flush() {
  cut();
  (void)sync_spool();  // what it says is kept for whoever asks next
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
  begin_wait(options_.clock());
  while (acknowledged() < last()) {
    if (auto checked = check(); !checked) {
      return tl::make_unexpected(checked.error());
    }
    if (options_.interrupted() || (deadline && options_.clock() >= *deadline)) {
      serve(milliseconds(0));  // a last look at what has come
      break;
    }
    serve(kWait);
    const TimePoint now = options_.clock();
    const bool is_silent = spooling_ && options_.timeout > milliseconds(0) &&
                           session_.silent_for(now) >= options_.timeout;
    if (acknowledged() < last() && !session_.failure() && (waits_too_long(now) || is_silent)) {
      fail_with(no_progress_error());
    }
  }
  if (auto checked = check(); !checked) {
    return tl::make_unexpected(checked.error());
  }
  return acknowledged() >= last();
}

// ---- waiting

void Producer::begin_wait(TimePoint now) {
  // A consumer that could not answer a question kept this run waiting already.
  waiting_from_ = now - std::min(std::exchange(waited_for_table_, {}), options_.timeout / 2);
  seen_of_all_.reset();
  asked_why_.reset();
  told_why_.reset();
  told_reason_.clear();
}

void Producer::note_progress(TimePoint now) {
  const Resend& resend = session_.resend();
  // That all rows are stored now brings those that wait to be applied no further.
  const bool has_stored =
      resend.stored_through() != std::exchange(seen_stored_, resend.stored_through());
  const bool has_applied =
      resend.applied_through() != std::exchange(seen_applied_, resend.applied_through());
  if (has_applied || (has_stored && seen_stored_ < last())) {
    waiting_from_ = now;
  }
}

// Promise 6: nothing waits for ever without saying so. Asks why, says it, and is true when the
// timeout has passed without any progress: no row of this producer was acknowledged, nor did the
// consumer apply rows of others.
bool Producer::waits_too_long(TimePoint now) {
  const bool has_timeout = options_.timeout > milliseconds(0);
  const auto soon = [&](milliseconds usual) {
    return has_timeout ? std::min(usual, options_.timeout / 4) : usual;
  };
  if (now - waiting_from_ >= soon(kAskWhyAfter) &&
      (!asked_why_ || now - *asked_why_ >= soon(kAskWhyEvery))) {
    asked_why_ = now;
    session_.ask_queue_state();
  }
  if (const auto& state = session_.queue_state()) {
    if (seen_of_all_ && state->rows_applied > *seen_of_all_) {
      waiting_from_ = now;
    }
    seen_of_all_ = state->rows_applied;
  }
  tell_why(now);
  // The consumer keeps a transaction open for a task's duration before it answers.
  return has_timeout && now - waiting_from_ >= options_.timeout + options_.task_duration;
}

void Producer::tell_why(TimePoint now) {
  // Of a silent broker the session tells.
  if (now - waiting_from_ < kWhyTold || session_.silent_for(now) >= kWhyTold) {
    return;
  }
  const std::string reason = present_reason();
  if (told_why_ && now - *told_why_ < kWhyToldAgain && reason == told_reason_) {
    return;
  }
  told_why_ = now;
  told_reason_ = reason;
  const auto& state = session_.queue_state();
  const bool is_stored = session_.resend().stored_through() >= last();
  session_.notice(
      state && is_only_busy(*state, is_stored, table_) ? Notice::delayed : Notice::waiting,
      waiting_text());
}

// Empty: not known.
std::string Producer::present_reason() const {
  const auto longest = options_.timeout > milliseconds(0) ? options_.timeout : kWhyTold;
  if (session_.silent_for(options_.clock()) >= std::min(longest, kWhyTold)) {
    return session_.silence().what;
  }
  const auto& state = session_.queue_state();
  const bool is_stored = session_.resend().stored_through() >= last();
  return state ? reason_of(*state, is_stored, table_) : std::string();
}

std::string Producer::waiting_text() const {
  const Resend& resend = session_.resend();
  const Sequence stored = std::max(resend.stored_through(), resend.begun_behind());
  const Sequence applied = std::max(resend.applied_through(), resend.begun_behind());
  const std::uint64_t rows_stored = rows_between(applied, stored);
  const std::uint64_t rows_not_stored = rows_between(stored, last());
  std::string text;
  if (rows_stored > 0) {
    text = fmt::format("{} {} stored", counted(rows_stored, "row"), is_or_are(rows_stored));
  }
  if (rows_not_stored > 0) {
    text += fmt::format("{}{} {} not stored yet", text.empty() ? "" : ", ",
                        counted(rows_not_stored, "row"), is_or_are(rows_not_stored));
  }
  if (text.empty()) {
    text = "the definition of the table waits";
  }
  const std::string reason = present_reason();
  text += reason.empty() ? " and not applied" : "; " + reason;
  if (const auto& state = session_.queue_state(); state && state->oldest >= kWhyTold) {
    text += fmt::format("; the oldest row of the queue has waited {} s",
                        std::chrono::duration_cast<std::chrono::seconds>(state->oldest).count());
  }
  return text;
}

Error Producer::no_progress_error() const {
  std::string text = fmt::format(
      "no row was {} for {:g} s: {}", options_.ack == Ack::stored ? "stored" : "applied",
      std::chrono::duration<double>(options_.timeout).count(), waiting_text());
  if (!spooling_) {
    return {Errc::unreachable, std::move(text),
            "what is stored is applied later: do not send it again; --timeout waits longer"};
  }
  if (const std::uint64_t rows = summary().spooled; rows > 0) {
    text += fmt::format("; {} {} kept in {} and sent by the next start", counted(rows, "row"),
                        is_or_are(rows), spooling_->spool().path().string());
  }
  return {Errc::unreachable, std::move(text), "do not hand the same rows over again"};
}

Result<bool> Producer::finish(std::optional<TimePoint> deadline) {
  auto settled = settle(deadline);
  if (settled && *settled) {
    if (spooling_) {
      (void)spooling_->spool().trim();  // what stays falls out when it is sent again
    }
    session_.bye();
  }
  return settled;
}

Sequence Producer::last_cut() const {
  return spooling_ ? spooling_->last() : session_.resend().last();
}

Sequence Producer::last() const {
  return plus(last_cut(), gathered_.rows());
}

Sequence Producer::acknowledged() const {
  const Resend& resend = session_.resend();
  Sequence through =
      options_.ack == Ack::stored ? resend.stored_through() : resend.applied_through();
  if (spooling_) {
    const Spool& spool = spooling_->spool();
    through = std::max(through, options_.ack == Ack::stored ? spool.dropped() : spool.applied());
  }
  return through;
}

std::uint64_t Producer::rows_between(Sequence behind, Sequence through) const {
  if (through <= behind) {
    return 0;
  }
  const auto definitions = std::count_if(definitions_.begin(), definitions_.end(),
                                         [&](Sequence s) { return behind < s && s <= through; });
  return through.value - behind.value - static_cast<std::uint64_t>(definitions);
}

std::uint64_t Producer::rows_through(Sequence through) const {
  return rows_between(session_.resend().begun_behind(), through);
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
  s.unacknowledged = rows_between(
      spooling_ ? acknowledged() : std::max(acknowledged(), resend.begun_behind()), last());
  if (spooling_) {
    s.spooled = rows_between(acknowledged(), spooling_->spool().last());
  }
  s.dead_count = dead_count_;
  s.dead = dead_;
  s.waited_total = std::chrono::round<milliseconds>(waits_.total(now));
  s.waited_longest = std::chrono::round<milliseconds>(waits_.longest(now));
  return s;
}

}  // namespace turnstile
