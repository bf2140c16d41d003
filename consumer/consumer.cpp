#include "consumer/consumer.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include <spdlog/spdlog.h>

#include "base/utf8.h"

namespace turnstile::consumer {
namespace {

using namespace std::chrono_literals;

constexpr auto kHeartbeat = 500ms;
constexpr auto kBrokerSilence = 6s;
constexpr auto kHelloPatience = 1s;
constexpr auto kFirstPause = 100ms;
constexpr auto kLongestPause = 2s;
constexpr auto kFullLinkPause = 10ms;
// Bytes of rows between two reads of the link: a part of what a socket holds.
constexpr std::size_t kPrefetchEvery = std::size_t{16} * 1024;
// Of one message of results: the rest goes into the next.
constexpr std::size_t kResultsPerMessage = 1000;
constexpr std::size_t kDeadPerMessage = 1000;

// The same for every way to write it, and whether or not the file is there: a link may be there
// before the file that it names.
std::string whole_path(const std::filesystem::path& path) {
  std::error_code code;
  const auto absolute = std::filesystem::absolute(path, code);
  const auto directory = std::filesystem::weakly_canonical(absolute.parent_path(), code);
  return code || directory.empty() ? path.string() : (directory / absolute.filename()).string();
}

}  // namespace

Result<std::unique_ptr<store::WritableTarget>> open_target_file(store::TargetOptions options) {
  return store::Target::open(std::move(options))
      .map([](auto target) -> std::unique_ptr<store::WritableTarget> { return target; });
}

Consumer::Consumer(Link& link, ConsumerOptions options, std::function<bool()> stop_requested)
    : link_(link),
      options_(std::move(options)),
      stop_requested_(std::move(stop_requested)),
      last_sent_(options_.clock()),
      last_heard_(last_sent_) {
  options_.target.while_waiting = [this] {
    keep_in_touch();
    return !stop_requested_();
  };
  options_.target.on_locked = [this](const Error& error) {
    lock_problem_ = error.what;
    tell_trouble();
  };
}

Result<void> Consumer::run() {
  while (!stop_requested_()) {
    if (auto served = serve(kHeartbeat); !served) {
      return served;
    }
  }
  return finish();
}

// The hello is said when the broker asks for it, which it does of every new connection.
Result<void> Consumer::serve(std::chrono::milliseconds wait) {
  if (lost_touch_) {
    // A broker that was away may still hold this connection's lease; ask for it again.
    lost_touch_ = false;
    forget_lease();
    link_.reconnect();
  }
  if (auto taken = take_in(wait_at_most(wait)); !taken) {
    return taken;
  }
  tell_link_trouble();
  if (paused_until_ && options_.clock() < *paused_until_) {
    tell_trouble();
    return {};
  }
  paused_until_.reset();
  Result<void> done;
  if (has_lease_ && !target_) {
    done = open_target();
  }
  if (done) {
    done = apply_group();
  }
  if (!done) {
    done = back_off(done.error());
  }
  tell_trouble();
  return done;
}

std::chrono::milliseconds Consumer::patience() const {
  return lost_touch_ ? 0ms : wait_at_most(kHeartbeat);
}

std::chrono::milliseconds Consumer::wait_at_most(std::chrono::milliseconds wait) const {
  if (paused_until_) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(*paused_until_ - options_.clock());
    return std::clamp<std::chrono::milliseconds>(left, 0ms, wait);
  }
  if (link_is_full_) {
    return std::min<std::chrono::milliseconds>(wait, kFullLinkPause);
  }
  return pending_.empty() ? wait : 0ms;
}

Result<void> Consumer::finish() {
  link_.send(Bye{});
  if (target_) {
    target_->rollback();
    return target_->end();
  }
  return {};
}

// ---- the broker

void Consumer::say_hello() {
  Hello hello;
  hello.role = Role::consumer;
  hello.producer = {printable(whole_path(options_.target.path), limits::kReasonBytes - 3)};
  hello.new_target = options_.new_target;
  if (link_.send(hello)) {
    last_sent_ = options_.clock();
    said_hello_ = last_sent_;
  }
}

void Consumer::keep_in_touch() {
  const auto now = options_.clock();
  if (now - last_heard_ > kBrokerSilence) {
    last_heard_ = now;
    lost_touch_ = true;  // run() acts on it: here a transaction may be open
  } else if (now - last_sent_ >= kHeartbeat && link_.send(Heartbeat{})) {
    last_sent_ = now;
  }
}

// Once for each reason.
void Consumer::tell_link_trouble() {
  const auto& trouble = link_.trouble();
  if (!trouble) {
    link_trouble_.clear();
  } else if (trouble->what != link_trouble_) {
    link_trouble_ = trouble->what;
    spdlog::warn("{}, trying again; {}", trouble->what, trouble->hint);
  }
}

// Takes what is there, up to one group, waiting for the first message only.
Result<void> Consumer::take_in(std::chrono::milliseconds wait) {
  keep_in_touch();
  const auto full = [this] {
    return pending_bytes_ >= options_.group_bytes || pending_.size() >= limits::kResultsListed;
  };
  auto message = link_.receive(wait);
  while (message) {
    last_heard_ = options_.clock();
    if (auto handled = handle(std::move(*message)); !handled || full()) {
      return handled;
    }
    message = link_.receive(0ms);
  }
  return {};
}

Result<void> Consumer::handle(Message&& message) {
  auto* const delivery = std::get_if<Delivery>(&message);
  const bool is_work = delivery != nullptr || std::holds_alternative<AskProgress>(message) ||
                       std::holds_alternative<CheckTable>(message);
  if (is_work && !has_lease_) {
    // The broker counts on an answer, and the lease that these belong to never came: this link
    // loses messages, which it does only when it breaks.
    lost_touch_ = true;
    return {};
  }
  if (delivery != nullptr) {
    pending_bytes_ += delivery->rows_frame.size();
    pending_.push_back({delivery->ticket, decode_batch_header(delivery->header_frame.view()),
                        std::move(delivery->rows_frame)});
  } else if (const auto* lease = std::get_if<LeaseState>(&message)) {
    return on_lease(*lease);
  } else if (const auto* refusal = std::get_if<Refusal>(&message)) {
    if (refusal->code == RefusalCode::hello_first) {
      // A broker that does not know us: what the one before handed over comes again.
      // It asks once for each message of an unknown connection: one hello answers them all.
      if (has_lease_ || !said_hello_ || options_.clock() - *said_hello_ > kHelloPatience) {
        forget_lease();
        say_hello();
      }
    } else {
      return on_refusal(*refusal);
    }
  } else if (is_work) {
    questions_.push_back(std::move(message));
  }
  return {};
}

// Of one that has no lease it can only be the hello that is refused.
Result<void> Consumer::on_refusal(const Refusal& refusal) {
  const std::string text = printable(refusal.text, limits::kReasonBytes);
  const bool is_final =
      refusal.code == RefusalCode::malformed || refusal.code == RefusalCode::version;
  if (is_final && !has_lease_) {
    return fail(
        Errc::refused, "the broker refused this consumer: " + text,
        text.find("for the target") == std::string::npos
            ? ""
            : "Name that target with --db; if rows are to go to this one from now on, start "
              "once with --new-target.");
  }
  if (text != refused_) {
    spdlog::warn("the broker refused: {}", text);
    refused_ = text;
  }
  return {};
}

Result<void> Consumer::on_lease(const LeaseState& state) {
  refused_.clear();
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
  if (state.lease == Lease{}) {
    forget_lease();  // the answer to a hello: the broker has started over
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
  unreported_.clear();
  questions_.clear();
  told_problem_.clear();
  told_tables_.clear();
}

// A question that cannot be answered now is kept, since the broker counts on an answer.
Result<void> Consumer::answer_questions() {
  while (!questions_.empty()) {
    std::optional<Message> answer;
    if (const auto* ask = std::get_if<AskProgress>(&questions_.front())) {
      auto progress = ask->list_only ? target_->list_dead(ask->producer, ask->since)
                                     : target_->progress(ask->producer, ask->since);
      if (!progress) {
        return tl::make_unexpected(progress.error());
      }
      answer = ProgressAnswer{ask->request, std::move(*progress)};
    } else if (const auto* check = std::get_if<CheckTable>(&questions_.front())) {
      auto state = target_->check_table(check->table, check->columns);
      if (!state) {
        return tl::make_unexpected(state.error());
      }
      state->request = check->request;
      answer = std::move(*state);
    }
    if (!link_.send(*answer)) {
      link_is_full_ = true;
      return {};
    }
    questions_.pop_front();
  }
  return {};
}

// What the link does not take is kept: the broker hands a batch over once on a connection. With the
// connection it is void, and its batches come again.
void Consumer::report() {
  while (!unreported_.empty()) {
    std::size_t dead = 0;
    auto end = unreported_.begin();
    Results message = figures();
    while (end != unreported_.end() && message.results.size() < kResultsPerMessage &&
           (dead += end->dead.size()) <= kDeadPerMessage) {
      message.results.push_back(*end++);
    }
    if (!send_figures(message)) {
      link_is_full_ = true;
      return;
    }
    unreported_.erase(unreported_.begin(), end);
  }
}

Results Consumer::figures() {
  constexpr std::size_t kTextBytes = limits::kReasonBytes - 3;
  if (target_) {
    dead_letters_ = target_->dead_letters();
  }
  Results message;
  message.lease = lease_;
  message.stats.rows_applied = rows_applied_;
  message.stats.dead_letters = dead_letters_;
  message.stats.target = printable(options_.target.path.string(), kTextBytes);
  message.stats.problem = printable(present_problem(), kTextBytes);
  if (target_) {
    message.stats.tables = target_->table_troubles();
    message.stats.tables.resize(std::min(message.stats.tables.size(), limits::kTablesListed));
    for (TableTrouble& trouble : message.stats.tables) {
      trouble.table = printable(trouble.table, limits::kNameBytes - 3);
      trouble.reason = printable(trouble.reason, kTextBytes);
    }
  }
  return message;
}

bool Consumer::send_figures(const Results& figures) {
  if (!link_.send(figures)) {
    return false;
  }
  last_sent_ = options_.clock();
  told_problem_ = figures.stats.problem;
  told_tables_ = figures.stats.tables;
  return true;
}

const std::string& Consumer::present_problem() const {
  return lock_problem_.empty() ? problem_ : lock_problem_;
}

// Promise 6: those who wait get the reason. RESULTS carry it too, so that this sends nothing while
// rows are applied.
void Consumer::tell_trouble() {
  if (!has_lease_) {
    return;
  }
  const bool had_tables = !told_tables_.empty();
  const bool has_tables = target_ && !target_->table_troubles().empty();
  if (!had_tables && !has_tables && told_problem_.empty() && present_problem().empty()) {
    return;
  }
  const auto is_same = [](const TableTrouble& a, const TableTrouble& b) {
    return a.table == b.table && a.reason == b.reason;
  };
  const Results now = figures();
  if (now.stats.problem != told_problem_ ||
      !std::equal(now.stats.tables.begin(), now.stats.tables.end(), told_tables_.begin(),
                  told_tables_.end(), is_same)) {
    send_figures(now);
  }
}

// ---- the target

// Opens the target and becomes its one writer (promise 4).
Result<void> Consumer::open_target() {
  auto opened = options_.open_target(options_.target);
  if (!opened) {
    return tl::make_unexpected(opened.error());
  }
  auto generation = (*opened)->take_over();
  if (!generation) {
    return tl::make_unexpected(generation.error());
  }
  target_ = std::move(*opened);
  options_.target.text_is_ours = true;
  tell_notes();
  spdlog::info("this consumer writes {} now (generation {})", options_.target.path.string(),
               generation->value);
  if (options_.events != nullptr) {
    options_.events->about(EventKind::ready);
  }
  works_again();
  send_figures(figures());
  return {};
}

// How many of the pending batches go into the next transaction. A batch whose task holds the
// database is alone in its own.
std::size_t Consumer::group_size() const {
  std::size_t batches = 0;
  std::uint64_t rows = 0;
  for (const Pending& pending : pending_) {
    const bool holds = options_.target.allow_task_duration && pending.header &&
                       pending.header->task_duration > 0ms;
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
  link_is_full_ = false;
  if (!target_) {
    return {};
  }
  // In the order in which they came, or a producer would not hear of all its dead letters.
  report();
  if (link_is_full_) {
    return {};
  }
  if (auto answered = answer_questions(); !answered || link_is_full_) {
    return answered;
  }
  reopen_if_asked();
  if (target_->text_log_is_behind()) {
    if (auto caught_up = target_->catch_up_text_log(); !caught_up) {
      return caught_up;
    }
    works_again();
  }
  if (pending_.empty()) {
    return target_->housekeeping().map([this] { works_again(); });
  }
  const std::size_t batches = group_size();
  auto results = apply_in_one_transaction(batches);
  if (!results) {
    return tl::make_unexpected(results.error());
  }
  settle(batches, std::move(*results));
  return {};
}

void Consumer::reopen_if_asked() {
  if (const int asked = options_.reopens_asked(); asked != reopens_seen_) {
    reopens_seen_ = asked;
    target_->reopen_text_log();
  }
}

void Consumer::settle(std::size_t batches, std::vector<BatchResult>&& results) {
  for (std::size_t i = 0; i < batches; ++i) {
    pending_bytes_ -= pending_.front().rows_frame.size();
    pending_.pop_front();
  }
  works_again();
  // Promise 1: the commit came back synced; only now does anybody hear of it.
  unreported_ = std::move(results);
  report();
  tell_notes();
}

void Consumer::tell_notes() {
  for (const auto& note : target_->take_notes()) {
    spdlog::warn("{}", note);
  }
}

Result<std::vector<BatchResult>> Consumer::apply_in_one_transaction(std::size_t batches) {
  tell_of_group(EventKind::trying, batches);
  if (auto begun = target_->begin(); !begun) {
    return tl::make_unexpected(begun.error());
  }
  tell_of_group(EventKind::lock, batches);
  std::vector<BatchResult> results;
  std::uint64_t rows = 0;
  std::size_t applied_bytes = 0;  // since the link was asked
  for (std::size_t i = 0; i < batches; ++i) {
    const Pending& pending = pending_[i];
    if (!pending.header) {
      // The broker checked this header before it took the batch, so it was damaged since. The batch
      // stays in the journal and its producer stops: its rows cannot be identified here.
      spdlog::error("a batch from the broker cannot be read: {}", pending.header.error().what);
      results.push_back({pending.ticket, Outcome::hole, {}, 0, {}});
      continue;
    }
    if (options_.events != nullptr && pending.header->task_duration > 0ms) {
      options_.events->about(EventKind::holding, *pending.header);
    }
    auto applied = target_->apply(*pending.header, pending.rows_frame);
    if (!applied) {
      target_->rollback();
      return tl::make_unexpected(applied.error());
    }
    rows += applied->rows_applied;
    keep_in_touch();  // rows of a table with many triggers may take longer than the lease
    applied_bytes += pending.rows_frame.size();
    if (applied_bytes >= kPrefetchEvery && i + 1 < batches) {
      link_.prefetch();  // the broker goes on handing over
      applied_bytes = 0;
    }
    results.push_back({pending.ticket, applied->outcome, applied->through, applied->dead_count,
                       std::move(applied->dead)});
  }
  if (auto committed = target_->commit(); !committed) {
    return tl::make_unexpected(committed.error());
  }
  // A row's reason to be refused may show at the commit only.
  auto final_outcome = results.begin();
  for (auto& outcome : target_->take_outcomes()) {
    while (!pending_[static_cast<std::size_t>(final_outcome - results.begin())].header) {
      ++final_outcome;
    }
    *final_outcome = {final_outcome->ticket, outcome.outcome, outcome.through, outcome.dead_count,
                      std::move(outcome.dead)};
    ++final_outcome;
  }
  tell_of_each(EventKind::committed, batches);
  rows_applied_ += rows;
  return results;
}

// One event, named by the first batch.
void Consumer::tell_of_group(EventKind kind, std::size_t batches) const {
  if (options_.events == nullptr || !pending_.front().header) {
    return;
  }
  BatchHeader group = *pending_.front().header;
  group.rows = 0;
  for (std::size_t i = 0; i < batches; ++i) {
    group.rows += pending_[i].header ? pending_[i].header->rows : 0;
  }
  options_.events->about(kind, group);
}

void Consumer::tell_of_each(EventKind kind, std::size_t batches) const {
  for (std::size_t i = 0; options_.events != nullptr && i < batches; ++i) {
    if (pending_[i].header) {
      options_.events->about(kind, *pending_[i].header);
    }
  }
}

Result<void> Consumer::back_off(const Error& error) {
  if (error.code == Errc::fenced || error.code == Errc::bad_input) {
    return tl::make_unexpected(error);
  }
  if (stop_requested_()) {
    return {};
  }
  lock_problem_.clear();
  if (problem_ != error.what) {
    spdlog::error("{}; the rows wait in the queue, trying again. {}", error.what, error.hint);
    problem_ = error.what;
  }
  if (error.code == Errc::io || error.code == Errc::corrupt) {
    // Promise 8: nothing is acknowledged from this file until it was opened and read again.
    target_.reset();
  }
  pause_ = pause_ == 0ms ? std::chrono::milliseconds(kFirstPause)
                         : std::min<std::chrono::milliseconds>(pause_ * 2, kLongestPause);
  paused_until_ = options_.clock() + pause_;
  return {};
}

void Consumer::works_again() {
  if (!problem_.empty()) {
    spdlog::info("works again after: {}", problem_);
    problem_.clear();
  }
  lock_problem_.clear();
  pause_ = 0ms;
}

}  // namespace turnstile::consumer
