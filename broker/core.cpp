#include "broker/core.h"

#include <algorithm>

#include <spdlog/spdlog.h>

#include "proto/utf8.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;

constexpr auto kQuestionPatience = 1s;
constexpr auto kSessionSilence = 15s;
constexpr auto kHousekeeping = 500ms;
constexpr auto kJournalRetry = 500ms;
// Between two lines about the same matter, whatever clients and disks do.
constexpr auto kLogInterval = 10s;
// What the consumer may have been asked and not answered; with what it may hold of batches it fits
// the socket's queue.
constexpr std::size_t kMostQuestions = 1024;
constexpr std::size_t kStoreGroupBytes = std::size_t{8} * 1024 * 1024;
constexpr std::size_t kLoadBytes = std::size_t{1} * 1024 * 1024;

}  // namespace

Core::Core(CoreOptions options, Journal& journal, TimePoint now)
    : options_(std::move(options)),
      journal_(journal),
      window_(options_.window),
      lease_(options_.lease),
      started_(now),
      next_housekeeping_(now + kHousekeeping) {}

Result<void> Core::start() {
  return read_journal_back();
}

Result<void> Core::read_journal_back() {
  auto contents = journal_.contents();
  if (!contents) {
    return tl::make_unexpected(contents.error());
  }
  window_.journal_opened(contents->range, contents->producers);
  return {};
}

// ---- sessions

void Core::receive(const Route& route, Message&& message, TimePoint now) {
  const auto session = sessions_.find(route);
  if (session != sessions_.end()) {
    session->second.heard = now;
    if (session->second.role == Role::consumer) {
      lease_.heard(route, now);
    }
  } else if (!std::holds_alternative<Hello>(message)) {
    refuse(route, RefusalCode::hello_first, {}, "say hello first");
    return;
  }
  std::visit([&](auto& m) { on(route, std::move(m), now); }, message);
}

void Core::reject(const Route& route, const Error& why, TimePoint now) {
  ++messages_rejected_;
  const auto session = sessions_.find(route);
  if (session != sessions_.end()) {
    session->second.heard = now;
  }
  refuse(route, RefusalCode::malformed, {}, why.what);
}

void Core::unreachable(const Route& route) {
  drop_session(route, "it cannot be reached");
}

template <typename Other>
void Core::on(const Route& route, Other&& /*m*/, TimePoint /*now*/) {
  ++messages_rejected_;
  refuse(route, RefusalCode::malformed, {}, "a message that only a broker sends");
}

void Core::on(const Route& route, Hello&& m, TimePoint now) {
  if (m.version != limits::kProtocolVersion) {
    refuse(route, RefusalCode::version, {},
           "this broker speaks version " + std::to_string(limits::kProtocolVersion) +
               " of the protocol, not " + std::to_string(m.version));
    return;
  }
  if (!sessions_.contains(route) && sessions_.size() >= options_.max_sessions) {
    refuse(route, RefusalCode::busy, {}, "the broker has as many connections as it may");
    return;
  }
  // Whatever this connection was before, it starts over.
  drop_session(route, "it started over");
  if (m.role == Role::consumer) {
    sessions_[route] = Session{m.role, std::move(m), {}, true, now};
    lease_.join(route, now);
    hand_over_lease(now);
    if (lease_.holder() != route) {
      send(route, LeaseState{false, {}, lease_.duration()});
    }
    return;
  }
  if (m.role == Role::tool) {
    sessions_[route] = Session{m.role, std::move(m), {}, true, now};
    Welcome welcome;
    welcome.broker = options_.broker_id;
    welcome.consumer_attached = window_.has_consumer();
    send(route, std::move(welcome));
    return;
  }

  const bool ask = window_.has_consumer() && (m.named || m.epoch.value > 0);
  sessions_[route] = Session{m.role, std::move(m), {}, false, now};
  if (ask) {
    ask_progress(route, now);
  } else {
    welcome(route, std::nullopt, now);
  }
}

void Core::ask_progress(const Route& route, TimePoint now) {
  const Session& session = sessions_.at(route);
  if (questions_.size() >= kMostQuestions) {
    unasked_.insert(route);
    if (!session.welcomed) {
      welcome(route, std::nullopt, now);
    }
    return;
  }
  const auto kind = session.welcomed ? Question::Kind::refresh : Question::Kind::welcome;
  const std::uint64_t request = next_question_++;
  questions_[request] = Question{kind, route, session.hello.producer, 0, now + kQuestionPatience};
  send(*lease_.holder(), AskProgress{request, session.hello.producer, session.hello.known});
}

void Core::ask_those_who_wait(TimePoint now) {
  while (window_.has_consumer() && !unasked_.empty() && questions_.size() < kMostQuestions) {
    ask_progress(unasked_.extract(unasked_.begin()).value(), now);
  }
}

// The epoch for this producer; nothing when it was refused.
std::optional<Epoch> Core::grant_epoch(const Route& route, const Hello& hello,
                                       const std::optional<Progress>& progress, TimePoint now) {
  if (!hello.named) {
    return Epoch{1};
  }
  auto journaled = journal_.epoch(hello.producer);
  const Epoch newest = std::max(journaled.value_or(Epoch{}), progress ? progress->epoch : Epoch{});
  if (hello.epoch.value > 0 && hello.epoch < newest) {
    refuse(route, RefusalCode::fenced, {},
           "a newer process with the name " + hello.producer.text + " has started");
    return std::nullopt;
  }
  // The clock's part keeps epochs growing even where both journal and target were lost.
  const Epoch granted = hello.epoch.value > 0
                            ? hello.epoch
                            : Epoch{std::max(newest.value + 1, options_.wall_clock_ms())};
  if (!journaled || granted != *journaled) {
    if (auto set = journal_.set_epoch(hello.producer, granted); !set) {
      refuse(route, RefusalCode::busy, {}, "the journal cannot be written: " + set.error().what);
      journal_failed(set.error(), now);
      return std::nullopt;
    }
  }
  return granted;
}

void Core::welcome(const Route& route, const std::optional<Progress>& progress, TimePoint now) {
  const Hello hello = sessions_.at(route).hello;
  const auto epoch = grant_epoch(route, hello, progress, now);
  if (!epoch) {
    drop_session(route, "it was refused");
    return;
  }
  if (const Route* older = route_of(hello.producer); older != nullptr && *older != route) {
    const Route old_route = *older;
    if (sessions_.at(old_route).epoch < *epoch) {
      refuse(old_route, RefusalCode::fenced, {},
             "a newer process with the name " + hello.producer.text + " has started");
    }
    drop_session(old_route, "it was replaced");
  }
  Session& session = sessions_.at(route);
  session.epoch = *epoch;
  session.welcomed = true;
  session.heard = now;
  routes_[hello.producer] = route;
  // What the producer was told by an earlier broker it does not send again.
  window_.note_applied(hello.producer, hello.known);
  if (progress && progress->known) {
    window_.note_applied(hello.producer, progress->through);
  }

  Welcome welcome;
  welcome.broker = options_.broker_id;
  welcome.epoch = *epoch;
  welcome.through =
      std::max(window_.stored_through(hello.producer), window_.applied_through(hello.producer));
  welcome.through_is_sure = progress.has_value();
  welcome.source = progress ? progress->source : std::string();
  welcome.credit_bytes = options_.credit_bytes;
  welcome.consumer_attached = window_.has_consumer();
  send(route, std::move(welcome));
  if (progress && progress->through > hello.known) {
    send(route, Applied{progress->through, progress->dead_count, progress->dead});
  }
}

void Core::on(const Route& route, Heartbeat&& /*m*/, TimePoint /*now*/) {
  send(route, Heartbeat{});
}

void Core::on(const Route& route, Bye&& /*m*/, TimePoint now) {
  drop_session(route, "it said goodbye");
  hand_over_lease(now);
}

Route* Core::route_of(const ProducerId& producer) {
  const auto found = routes_.find(producer);
  return found == routes_.end() ? nullptr : &found->second;
}

void Core::drop_session(const Route& route, const char* why) {
  const auto found = sessions_.find(route);
  if (found == sessions_.end()) {
    return;
  }
  const Session session = std::move(found->second);
  sessions_.erase(found);
  unasked_.erase(route);
  if (lease_.holder() == route) {
    lose_consumer(why);
  }
  lease_.leave(route);
  const Route* current = route_of(session.hello.producer);
  if (session.role == Role::producer && current != nullptr && *current == route) {
    routes_.erase(session.hello.producer);
    window_.forget(session.hello.producer);
  }
}

void Core::expire_sessions(TimePoint now) {
  std::vector<Route> silent;
  for (const auto& [route, session] : sessions_) {
    // The lease decides about its holder.
    if (now - session.heard > kSessionSilence && lease_.holder() != route) {
      silent.push_back(route);
    }
  }
  for (const auto& route : silent) {
    drop_session(route, "it was silent");
  }
}

// ---- producers

void Core::on(const Route& route, Batch&& m, TimePoint now) {
  const Session& session = sessions_.at(route);
  if (session.role != Role::producer || m.header.producer != session.hello.producer) {
    ++messages_rejected_;
    refuse(
        route, RefusalCode::malformed, m.header.first,
        "a batch of producer " + m.header.producer.text + " on a connection that is not its own");
    return;
  }
  if (!session.welcomed || m.header.epoch != session.epoch) {
    refuse(route, RefusalCode::hello_first, m.header.first, "wait for the welcome and its epoch");
    return;
  }
  const ProducerId producer = m.header.producer;
  switch (window_.offer(std::move(m), now)) {
    case Window::Verdict::taken:
    case Window::Verdict::held:
      break;
    case Window::Verdict::stored:
      send(route, Stored{window_.stored_through(producer)});
      break;
    case Window::Verdict::applied:
      send(route, Applied{window_.applied_through(producer), 0, {}});
      break;
    case Window::Verdict::go_back:
      refuse(route, RefusalCode::busy, window_.expected(producer),
             journal_problem_.empty() ? "the broker's memory is full" : journal_problem_);
      break;
    case Window::Verdict::skipped:
      break;
  }
}

void Core::on(const Route& route, CheckTable&& m, TimePoint now) {
  if (!window_.has_consumer()) {
    send(route, TableAnswer{m.request, TableState::unknown, "no consumer is attached"});
    return;
  }
  if (questions_.size() >= kMostQuestions) {
    send(route, TableAnswer{m.request, TableState::unknown, "the consumer is busy"});
    return;
  }
  const std::uint64_t request = next_question_++;
  questions_[request] =
      Question{Question::Kind::table, route, {}, m.request, now + kQuestionPatience};
  m.request = request;
  send(*lease_.holder(), std::move(m));
}

void Core::on(const Route& route, AskStatus&& m, TimePoint now) {
  send(route, Status{m.request, status_report(now)});
}

// ---- consumer

void Core::on(const Route& route, Results&& m, TimePoint now) {
  if (lease_.holder() != route) {
    send(route, LeaseState{false, lease_.lease(), lease_.duration()});
    return;
  }
  if (m.lease != lease_.lease()) {
    return;  // of its lease before, when it started over: what it answers is handed over again
  }
  consumer_stats_ = std::move(m.stats);
  for (const auto& result : m.results) {
    settle(result, now);
  }
}

void Core::settle(const BatchResult& result, TimePoint now) {
  const std::size_t stopped_before = window_.stopped_producers().size();
  const auto settled = window_.settle(result, now);
  if (!settled) {
    return;
  }
  const Route* route = route_of(settled->producer);
  if (!settled->applied) {
    refuse_batch(result, *settled, window_.stopped_producers().size() == stopped_before, now);
  } else {
    if (settled->remove) {
      journal_.remove(*settled);
    }
    rows_settled_ += settled->rows;
    if (route != nullptr) {
      Applied& applied = applied_[settled->producer];
      applied.through = std::max(applied.through, result.through);
      applied.dead_count += result.dead_count;
      const std::size_t room = limits::kDeadListed - applied.dead.size();
      applied.dead.insert(
          applied.dead.end(), result.dead.begin(),
          result.dead.begin() + static_cast<std::ptrdiff_t>(std::min(room, result.dead.size())));
    }
  }
  if (route == nullptr) {
    window_.forget(settled->producer);
  }
}

void Core::refuse_batch(const BatchResult& result, const Window::Settled& settled, bool was_stopped,
                        TimePoint now) {
  RefusalCode code = RefusalCode::hole;
  std::string text = "the target has applied this producer's rows up to " +
                     std::to_string(result.through.value) + ", rows before " +
                     std::to_string(settled.first.value) + " are missing";
  if (result.outcome == Outcome::fenced) {
    code = RefusalCode::fenced;
    text = "a newer process with the name " + settled.producer.text + " has written";
  } else if (result.outcome == Outcome::other_source) {
    code = RefusalCode::other_source;
    text = "the target knows the name " + settled.producer.text + " from another input";
  }
  if (settled.stopped && !was_stopped) {
    spdlog::error("producer {} is stopped: {}; its stored rows stay in the journal",
                  settled.producer.text, text);
  } else if (!settled.stopped) {
    ++refused_since_log_;
    if (now >= next_refused_log_) {
      spdlog::warn("{} batch(es) refused, the last of producer {}: {}", refused_since_log_,
                   settled.producer.text, text);
      refused_since_log_ = 0;
      next_refused_log_ = now + kLogInterval;
    }
  }
  if (const Route* route = route_of(settled.producer); route != nullptr) {
    refuse(*route, code, settled.first, text);
  }
}

void Core::tell_applied() {
  for (auto& [producer, applied] : applied_) {
    if (const Route* route = route_of(producer); route != nullptr) {
      Session& session = sessions_.at(*route);
      session.hello.known = std::max(session.hello.known, applied.through);
      send(*route, std::move(applied));
    }
  }
  applied_.clear();
}

std::optional<Core::Question> Core::take_question(std::uint64_t request) {
  const auto found = questions_.find(request);
  if (found == questions_.end()) {
    return std::nullopt;
  }
  Question question = std::move(found->second);
  questions_.erase(found);
  return question;
}

void Core::on(const Route& route, ProgressAnswer&& m, TimePoint now) {
  const auto question = lease_.holder() == route ? take_question(m.request) : std::nullopt;
  if (!question || question->producer.text.empty()) {
    return;
  }
  // The connection may be another producer's since.
  const auto session = sessions_.find(question->route);
  if (session == sessions_.end() || session->second.role != Role::producer ||
      session->second.hello.producer != question->producer) {
    return;
  }
  if (!session->second.welcomed) {
    welcome(question->route, m.progress, now);
  } else if (m.progress.through > session->second.hello.known) {
    session->second.hello.known = m.progress.through;
    window_.note_applied(session->second.hello.producer, m.progress.through);
    send(question->route, Applied{m.progress.through, m.progress.dead_count, m.progress.dead});
  }
}

void Core::on(const Route& route, TableAnswer&& m, TimePoint /*now*/) {
  const auto question = lease_.holder() == route ? take_question(m.request) : std::nullopt;
  if (question && question->kind == Question::Kind::table) {
    m.request = question->request_of_client;
    send(question->route, std::move(m));
  }
}

void Core::answer_late_questions(TimePoint now) {
  std::vector<Route> unwelcomed;
  for (auto& [request, question] : questions_) {
    if (question.until > now) {
      continue;
    }
    question.until = TimePoint::max();
    if (question.kind == Question::Kind::table) {
      send(question.route,
           TableAnswer{question.request_of_client, TableState::unknown, "the consumer is busy"});
      question.kind = Question::Kind::told;
    } else if (question.kind == Question::Kind::welcome) {
      // The answer is still welcome when it comes: it carries outcomes.
      question.kind = Question::Kind::refresh;
      unwelcomed.push_back(question.route);
    }
  }
  for (const Route& route : unwelcomed) {
    const auto session = sessions_.find(route);
    if (session != sessions_.end() && !session->second.welcomed) {
      welcome(route, std::nullopt, now);
    }
  }
}

void Core::lose_consumer(const char* why) {
  const Route route = *lease_.holder();
  spdlog::info("consumer gone: {}", why);
  lease_.leave(route);
  window_.consumer_gone();
  // Those who waited for its word are answered without it.
  for (auto& [request, question] : questions_) {
    question.until = TimePoint{};
  }
}

void Core::hand_over_lease(TimePoint now) {
  const auto before = lease_.holder();
  const auto granted = lease_.grant(now);
  if (!granted) {
    return;
  }
  if (before) {
    spdlog::warn("consumer was silent for more than {} ms: the lease goes to the next",
                 lease_.duration().count());
    window_.consumer_gone();
    send(*before, LeaseState{false, lease_.lease(), lease_.duration()});
  }
  spdlog::info("consumer attached: {}",
               printable(sessions_.at(*granted).hello.producer.text, limits::kReasonBytes));
  if (!window_.stopped_producers().empty()) {
    retry_stopped_producers();
  }
  window_.consumer_attached(now);
  send(*granted, LeaseState{true, lease_.lease(), lease_.duration()});
  // Its predecessor's questions are void. Outcomes may have been lost with it, or with the broker
  // before this one: all producers' are asked for.
  for (auto& [request, question] : questions_) {
    question.until = TimePoint{};
  }
  answer_late_questions(now);
  questions_.clear();
  for (const auto& [route, session] : sessions_) {
    if (session.role == Role::producer) {
      unasked_.insert(route);
    }
  }
  ask_those_who_wait(now);
}

void Core::retry_stopped_producers() {
  auto trimmed = journal_.trim();
  if (trimmed) {
    trimmed = read_journal_back();
  }
  if (!trimmed) {
    spdlog::error("{}", trimmed.error().what);
  }
}

void Core::load(TimePoint now) {
  while (const auto from = window_.wants_load()) {
    auto read = journal_.read(*from, window_.cold().last, kLoadBytes, now);
    if (!read) {
      journal_failed(read.error(), now);
      return;
    }
    window_.loaded(std::move(read->batches), read->through);
    if (read->damaged) {
      // Nobody else waits for it: its producer's rows behind it are a hole away from being applied.
      spdlog::error(
          "the journal {} holds a damaged batch at offset {}; it stays there and producer "
          "{} is stopped",
          journal_.path().string(), read->through.value, read->damaged->text);
      window_.stop(*read->damaged);
    }
    deliver(now);
  }
}

void Core::deliver(TimePoint now) {
  while (const Held* held = window_.deliver_next(now)) {
    send(*lease_.holder(), Delivery{held->ticket, held->header_frame, held->rows_frame});
  }
}

// ---- time and disk

void Core::advance(TimePoint now) {
  answer_late_questions(now);
  hand_over_lease(now);
  ask_those_who_wait(now);
  deliver(now);
  if (!journal_retry_ || *journal_retry_ <= now) {
    load(now);
  }
  tell_applied();
  if (now >= next_housekeeping_) {
    next_housekeeping_ = now + kHousekeeping;
    expire_sessions(now);
    if (lease_.holder()) {
      send(*lease_.holder(), Heartbeat{});  // whether it is still there shows when this is sent
    }
    if (rate_samples_.empty() || now - rate_samples_.back().first >= 1s) {
      rate_samples_.emplace_back(now, rows_settled_);
      if (rate_samples_.size() > 10) {
        rate_samples_.pop_front();
      }
    }
  }
}

void Core::store(TimePoint now) {
  if (journal_retry_ && *journal_retry_ > now) {
    return;
  }
  if (window_.should_store(now)) {
    auto offsets = journal_.store(window_.to_store(std::min(kStoreGroupBytes, journal_.room())));
    if (!offsets) {
      journal_failed(offsets.error(), now);
      if (offsets.error().code == Errc::full && journal_.has_removed()) {
        (void)journal_.trim();  // it may make the room that is missing
      }
      return;
    }
    for (const auto& producer : window_.mark_stored(*offsets, now)) {
      if (const Route* route = route_of(producer); route != nullptr) {
        send(*route, Stored{window_.stored_through(producer)});
      }
    }
  }
  if (journal_.wants_trim()) {
    if (auto trimmed = journal_.trim(); !trimmed) {
      journal_failed(trimmed.error(), now);
      return;
    }
  }
  journal_works_again();
}

void Core::journal_failed(const Error& error, TimePoint now) {
  if (journal_problem_logged_ != error.what && now >= next_journal_log_) {
    spdlog::error("{}; nothing is lost, producers wait. {}", error.what, error.hint);
    journal_problem_logged_ = error.what;
    next_journal_log_ = now + kLogInterval;
  }
  journal_problem_ = error.what;
  journal_retry_ = now + kJournalRetry;
  if (error.code == Errc::io || error.code == Errc::corrupt) {
    // Promise 8: what a failed sync left behind is known only after reading it back.
    auto again = journal_.reopen();
    if (again) {
      again = read_journal_back();
    }
    if (!again) {
      journal_problem_ = again.error().what;
    }
  }
}

void Core::journal_works_again() {
  journal_retry_.reset();
  journal_problem_.clear();
  if (!journal_problem_logged_.empty()) {
    spdlog::info("the journal works again; it holds {} batches", journal_.batches());
    journal_problem_logged_.clear();
  }
}

void Core::finish(TimePoint now) {
  journal_retry_.reset();
  window_.consumer_gone();
  while (window_.should_store(now) && !journal_retry_) {
    store(now);
  }
  if (journal_.has_removed()) {
    (void)journal_.trim();  // what stays is delivered again and changes nothing
  }
  tell_applied();
}

TimePoint Core::deadline(TimePoint now) const {
  TimePoint next = next_housekeeping_;
  if (journal_retry_) {
    next = std::min(next, *journal_retry_);
  } else if (window_.should_store(now)) {
    return now;
  } else if (const auto at = window_.store_deadline()) {
    next = std::min(next, *at);
  }
  if (const auto at = lease_.deadline()) {
    next = std::min(next, *at);
  }
  for (const auto& [request, question] : questions_) {
    next = std::min(next, question.until);
  }
  return next;
}

void Core::send(const Route& route, Message&& message) {
  outbox_.push_back({route, std::move(message)});
}

void Core::refuse(const Route& route, RefusalCode code, Sequence sequence,
                  const std::string& text) {
  send(route, Refusal{code, sequence, printable(text, limits::kReasonBytes - 3)});
}

}  // namespace turnstile::broker
