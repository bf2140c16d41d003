#include "broker/core.h"

#include <algorithm>
#include <map>
#include <type_traits>
#include <utility>

#include <spdlog/spdlog.h>

#include "base/counted.h"
#include "proto/source.h"
#include "base/utf8.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;

constexpr auto kQuestionPatience = 1s;
constexpr auto kSessionSilence = 15s;
constexpr auto kHousekeeping = 500ms;
constexpr auto kJournalRetry = 500ms;
// A status report is made anew when it is older, and told to one session so often in a while.
constexpr auto kReportFresh = 20ms;
constexpr auto kReportsWhile = 100ms;
constexpr int kReportsOfSession = 4;
// A connection that the broker does not know gets one answer in a while, and so does a heartbeat:
// many messages may have been on their way, and a client that answers heartbeats is harmless.
constexpr auto kHelloFirstEvery = 100ms;
constexpr auto kHeartbeatEvery = 100ms;
// What the consumer may have been asked and not answered; with what it may hold of batches it fits
// the socket's queue.
constexpr std::size_t kMostQuestions = 1024;
constexpr std::size_t kStoreGroupBytes = std::size_t{8} * 1024 * 1024;

using Ranges = std::map<std::uint64_t, std::uint64_t>;  // first to last, apart

void take_out(Ranges& ranges, std::uint64_t first, std::uint64_t last) {
  auto at = ranges.upper_bound(first);
  if (at == ranges.begin()) {
    return;
  }
  const auto [from, to] = *--at;
  if (to < first) {
    return;
  }
  ranges.erase(at);
  if (from < first) {
    ranges.emplace(from, first - 1);
  }
  if (last < to) {
    ranges.emplace(last + 1, to);
  }
}

// ": producer P1: rows 1 to 10, 12; producer P2: row 7"
std::string listed(const std::map<ProducerId, Ranges>& rows) {
  constexpr std::size_t kListed = 10;
  std::string out;
  std::size_t producers = 0;
  for (const auto& [producer, ranges] : rows) {
    if (++producers > kListed) {
      return out + "; and " + std::to_string(rows.size() - kListed) + " more producers";
    }
    out += (out.empty() ? ": producer " : "; producer ") + producer.text;
    std::size_t listed = 0;
    for (const auto& [first, last] : ranges) {
      if (++listed > kListed) {
        out += ", ...";
        break;
      }
      out += (listed == 1 ? ": rows " : ", ") + std::to_string(first);
      out += first == last ? "" : " to " + std::to_string(last);
    }
  }
  return out;
}

}  // namespace

Core::Core(CoreOptions options, DurableStore& journal, TimePoint now)
    : options_(std::move(options)),
      journal_(journal),
      window_(options_.window),
      lease_(options_.lease, options_.leases_behind),
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
  retries_stopped_ = false;
  return {};
}

// ---- sessions

void Core::receive(const Route& route, Message&& message, TimePoint now, User user) {
  const auto session = sessions_.find(route);
  if (session != sessions_.end()) {
    session->second.heard = now;
    if (session->second.role == Role::consumer) {
      lease_.heard(route, now);
    }
  } else if (!std::holds_alternative<Hello>(message)) {
    say_hello_first(route, {}, "say hello first", now);
    return;
  }
  std::visit(
      [&](auto& m) {
        if constexpr (std::is_same_v<std::decay_t<decltype(m)>, Hello>) {
          on(route, std::move(m), user, now);
        } else {
          on(route, std::move(m), now);
        }
      },
      message);
}

void Core::say_hello_first(const Route& route, Sequence sequence, const std::string& text,
                           TimePoint now) {
  const auto [told, is_new] = told_hello_first_.try_emplace(route, now);
  if (!is_new && now - told->second < kHelloFirstEvery) {
    ++fruitless_;
    return;
  }
  told->second = now;
  refuse(route, RefusalCode::hello_first, sequence, text);
}

void Core::reject(const Route& route, const Error& why, TimePoint now) {
  ++messages_rejected_;
  const auto session = sessions_.find(route);
  if (session != sessions_.end()) {
    session->second.heard = now;
  }
  refuse(route, RefusalCode::malformed, {}, why.what);
}

std::optional<TimePoint> Core::heard(const Route& route) const {
  const auto session = sessions_.find(route);
  return session == sessions_.end() ? std::nullopt : std::optional(session->second.heard);
}

void Core::put_off(const Route& route, const Message& message, TimePoint now) {
  if (const auto session = sessions_.find(route); session != sessions_.end()) {
    session->second.heard = now;
  }
  const auto* check = std::get_if<CheckTable>(&message);
  if (std::holds_alternative<AskDead>(message)) {
    refuse(route, RefusalCode::not_now, {}, "asked too often");
  } else if (check == nullptr) {
    refuse(route, RefusalCode::busy, {}, "too many names of one connection in a short time");
  } else {
    ++fruitless_;
    send(route, TableAnswer{check->request, TableState::unknown, "asked too often"});
  }
}

void Core::unreachable(const Route& route) {
  drop_session(route, "it cannot be reached");
}

template <typename Other>
void Core::on(const Route& route, Other&& /*m*/, TimePoint /*now*/) {
  ++messages_rejected_;
  refuse(route, RefusalCode::malformed, {}, "a message that only a broker sends");
}

void Core::on(const Route& route, Hello&& m, User user, TimePoint now) {
  told_hello_first_.erase(route);
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
  if (m.role == Role::producer && !window_.knows(m.producer) &&
      window_.producers() >= options_.max_producers) {
    refuse(route, RefusalCode::busy, {}, "rows of as many producers wait as may");
    return;
  }
  const auto claim =
      m.role == Role::producer ? claims_of_others(route, m, user) : std::optional<Refusal>();
  // Whatever this connection was before, it starts over.
  drop_session(route, "it started over");
  if (claim) {
    refuse(route, *claim);
    return;
  }
  if (m.role == Role::consumer) {
    admit_consumer(route, std::move(m), user, now);
    return;
  }
  if (m.role == Role::tool) {
    sessions_[route] = Session{m.role, std::move(m), user, {}, true, now};
    Welcome welcome;
    welcome.broker = options_.broker_id;
    welcome.consumer_attached = window_.has_consumer();
    send(route, std::move(welcome));
    return;
  }

  const bool may_have_rows = m.named || m.epoch.value > 0;
  if (m.named && m.epoch.value == 0) {
    supersede_greetings(route, m.producer);
  }
  const bool is_sure = m.sure && may_have_rows;
  sessions_[route] = Session{m.role, std::move(m), user, {}, false, now};
  if (window_.has_consumer() && may_have_rows) {
    ask_progress(route, now);
  } else if (is_sure) {
    refuse(route, RefusalCode::not_now, {},
           "no consumer is attached that could say which rows the target has; the welcome comes "
           "when it has said so");
  } else {
    welcome(route, std::nullopt, now);
  }
}

// A process that begins now is newer than one whose welcome still waits for the target's word; were
// that one welcomed later, it would fence the newer.
void Core::supersede_greetings(const Route& route, const ProducerId& producer) {
  for (const auto& [request, question] : questions_) {
    if (question.kind == Question::Kind::welcome && question.producer == producer &&
        question.route != route && sessions_.contains(question.route)) {
      refuse(question.route, RefusalCode::fenced, {},
             "a newer process with the name " + producer.text + " has started");
      drop_session(question.route, "a newer process has its name");
    }
  }
}

void Core::ask_progress(const Route& route, TimePoint now) {
  Session& session = sessions_.at(route);
  session.is_asked_about = true;
  if (questions_.size() >= kMostQuestions) {
    unasked_.insert(route);
    if (!session.welcomed && !session.hello.sure) {
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

// All credit together is about what memory may hold, however many there are: a few get much, so
// that groups are large and syncs few; many get less, since there are many.
std::uint64_t Core::fair_credit() const {
  constexpr std::uint64_t kLeast = std::uint64_t{256} * 1024;
  const std::uint64_t share = options_.window.memory_bytes / (sessions_.size() + 1);
  return std::min(options_.credit_bytes, std::max(share, kLeast));
}

void Core::on(const Route& route, Heartbeat&& /*m*/, TimePoint now) {
  Session& session = sessions_.at(route);
  if (now - session.heartbeat >= kHeartbeatEvery) {
    session.heartbeat = now;
    send(route, Heartbeat{});
  } else {
    ++fruitless_;
  }
}

void Core::on(const Route& route, Bye&& /*m*/, TimePoint now) {
  drop_session(route, "it said goodbye");
  hand_over_free_lease(now);
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
    forget_if_away(session.hello.producer);
  }
}

// One whose welcome waits for the journal is not away: what is applied meanwhile the target's word,
// which it waits with, does not have.
void Core::forget_if_away(const ProducerId& producer) {
  const bool is_greeted =
      std::any_of(greetings_.begin(), greetings_.end(),
                  [&](const Greeting& greeting) { return greeting.producer == producer; });
  if (route_of(producer) == nullptr && !is_greeted) {
    window_.forget(producer);
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
    say_hello_first(route, m.header.first, "wait for the welcome and its epoch", now);
    return;
  }
  if (parse_source(m.header.source).stem != parse_source(session.hello.source).stem) {
    ++messages_rejected_;
    refuse(route, RefusalCode::malformed, m.header.first,
           "a batch of another source than this connection's HELLO");
    return;
  }
  const bool is_about_letters =
      m.header.kind == BatchKind::retry || m.header.kind == BatchKind::discard;
  if (is_about_letters && !m.header.own_letters && !is_trusted(session.user)) {
    m.header.own_letters = true;
    m.header_frame = encode_batch_header(m.header);
  }
  const ProducerId producer = m.header.producer;
  const Sequence first = m.header.first;
  switch (window_.offer(std::move(m), now)) {
    case Window::Verdict::taken:
      break;
    case Window::Verdict::held:
      ++fruitless_;
      ask_for_outcomes_owed(route);  // what of it is applied by now is not answered again
      break;
    case Window::Verdict::stored:
      ++fruitless_;
      look_at_journal(now);
      if (!must_reopen_journal_) {
        tell_stored(route, producer);
      }
      break;
    case Window::Verdict::go_back: {
      const Sequence expected = window_.expected(producer);
      std::string why = journal_problem_.empty() ? "the broker's memory is full" : journal_problem_;
      if (window_.is_doubted(producer)) {
        why = "as much waits of producers as may whose rows the target refuses, or did not see yet";
      }
      if (first > expected) {
        why = "row " + std::to_string(expected.value) + " has not come";
      }
      refuse(route, RefusalCode::busy, expected, why);
      break;
    }
    case Window::Verdict::skipped:
      ++fruitless_;
      break;
    case Window::Verdict::hole:
      refuse(route, RefusalCode::hole, first,
             "row " + std::to_string(window_.expected(producer).value) +
                 " has not come, and this connection goes on with row " +
                 std::to_string(first.value));
      drop_session(Route(route), "it left rows out");
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

// What a report costs to make and to keep for one who does not read it is bounded.
void Core::on(const Route& route, AskStatus&& m, TimePoint now) {
  Session& session = sessions_.at(route);
  if (now - session.reports_since >= kReportsWhile) {
    session.reports_since = now;
    session.reports = 0;
  }
  if (++session.reports > kReportsOfSession) {
    refuse(route, RefusalCode::not_now, {}, "too many status reports in a short time");
    return;
  }
  const Reader reader = !is_trusted(session.user)        ? Reader::other
                        : session.role == Role::producer ? Reader::producer
                                                         : Reader::owner;
  Report& report = reports_.at(static_cast<std::size_t>(reader));
  if (!report.made || now - *report.made >= kReportFresh) {
    report.bytes = status_report(now, reader);
    report.made = now;
  }
  send(route, Status{m.request, report.bytes});
}

// Those beyond the first that an APPLIED lists.
void Core::on(const Route& route, AskDead&& m, TimePoint now) {
  const Session& session = sessions_.at(route);
  if (session.role != Role::producer || !session.welcomed) {
    ++messages_rejected_;
    refuse(route, RefusalCode::malformed, {}, "only a producer that was welcomed has dead letters");
    return;
  }
  if (!window_.has_consumer() || questions_.size() >= kMostQuestions) {
    refuse(route, RefusalCode::not_now, {},
           window_.has_consumer() ? "the consumer is busy" : "no consumer is attached");
    return;
  }
  const std::uint64_t request = next_question_++;
  questions_[request] = Question{Question::Kind::dead, route, session.hello.producer, m.request,
                                 now + kQuestionPatience};
  send(*lease_.holder(), AskProgress{request, session.hello.producer, m.since, true});
}

// ---- time and disk

void Core::advance(TimePoint now) {
  answer_late_questions(now);
  lease_.listened(now);
  hand_over_lease(now);
  retry_stopped_producers(now);
  ask_those_who_wait(now);
  deliver(now);
  if (!journal_retry_ || *journal_retry_ <= now) {
    load(now);
  }
  tell_applied();
  if (now >= next_housekeeping_) {
    next_housekeeping_ = now + kHousekeeping;
    look_at_journal(now);
    expire_sessions(now);
    std::erase_if(told_hello_first_,
                  [&](const auto& told) { return now - told.second >= kHelloFirstEvery; });
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
  store_epochs(now);
  if (journal_retry_ && *journal_retry_ > now) {
    return;
  }
  if (must_reopen_journal_) {
    // Also when nothing is to be stored: what it holds may have to be delivered.
    reopen_journal();
    if (must_reopen_journal_) {
      journal_retry_ = now + kJournalRetry;
      return;
    }
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
        tell_stored(*route, producer);
      }
    }
  }
  if (journal_.wants_trim()) {
    if (auto trimmed = journal_.trim(); !trimmed) {
      journal_failed(trimmed.error(), now);
      return;
    }
  }
  forget_names(now);
  journal_works_again();
}

void Core::journal_failed(const Error& error, TimePoint now) {
  if (journal_problem_logged_ != error.what && now >= next_journal_log_) {
    spdlog::error("{}; producers wait. {}", error.what, error.hint);
    journal_problem_logged_ = error.what;
    next_journal_log_ = now + kLogInterval;
  }
  journal_problem_ = error.what;
  journal_retry_ = now + kJournalRetry;
  if (error.code == Errc::io || error.code == Errc::corrupt) {
    reopen_journal();
  }
}

// Promise 8: what a failed sync left behind is known only after reading it back.
void Core::reopen_journal() {
  auto again = journal_.reopen();
  if (again) {
    if (const auto vanished = journal_.take_vanished()) {
      tell_vanished(*vanished);
    }
    again = read_journal_back();
  }
  must_reopen_journal_ = !again;
  if (!again) {
    journal_problem_ = again.error().what;
  }
}

// Promise 1, where it cannot be kept: whose rows are gone, and which.
void Core::tell_vanished(const DurableStore::Vanished& vanished) {
  std::map<ProducerId, std::map<std::uint64_t, std::uint64_t>> gone;
  for (const RowRange& rows : vanished.held) {
    gone[rows.producer].emplace(rows.first.value, rows.last.value);
  }
  const std::string path = journal_.path().string();
  if (vanished.is_kept) {
    spdlog::warn(
        "{} was moved or deleted while batches waited in it; they were read from the open "
        "file and stored in a new one, nothing is lost{}",
        path, listed(gone));
    return;
  }
  for (const RowRange& rows : window_.journal_vanished()) {
    take_out(gone[rows.producer], rows.first.value, rows.last.value);
  }
  std::erase_if(gone, [](const auto& producer) { return producer.second.empty(); });
  if (gone.empty() && vanished.held.empty() && vanished.problem.empty()) {
    return;
  }
  journal_loss_ = printable(path + " was moved, deleted or replaced while it was open (" +
                                vanished.problem + "): " +
                                (gone.empty() ? "no stored row is known to be lost"
                                              : "stored rows are lost" + listed(gone)),
                            limits::kReasonBytes);
  spdlog::error("{}", journal_loss_);
}

// In a resend of what is stored already, or in a welcome, no commit finds out.
void Core::look_at_journal(TimePoint now) {
  if (must_reopen_journal_) {
    return;  // store() tries it
  }
  if (auto there = journal_.look(); !there) {
    journal_failed(there.error(), now);
  }
}

void Core::journal_works_again() {
  journal_retry_.reset();
  journal_problem_.clear();
  if (!journal_problem_logged_.empty()) {
    spdlog::info("the journal works again; it holds {}",
                 counted(journal_.batches(), "batch", "batches"));
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
  if (!greetings_.empty()) {
    next = may_store_epochs(now) ? now : std::min(next, epochs_since_ + kEpochsWhile);
  }
  if (journal_retry_) {
    next = std::min(next, *journal_retry_);
  } else if (window_.should_store(now) || window_.wants_load()) {
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
  ++fruitless_;
  if (code == RefusalCode::malformed || code == RefusalCode::hello_first) {
    ++client_errors_;
  }
  send(route, Refusal{code, sequence, printable(text, limits::kReasonBytes - 3)});
}

void Core::refuse(const Route& route, const Refusal& refusal) {
  refuse(route, refusal.code, refusal.sequence, refusal.text);
}

}  // namespace turnstile::broker
