#include "broker/core.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include <spdlog/spdlog.h>

#include "base/counted.h"
#include "base/utf8.h"
#include "proto/source.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;

constexpr auto kQuestionPatience = 1s;
constexpr auto kSessionSilence = 15s;
constexpr auto kHousekeeping = 500ms;
// A status report is made again when it is older, and a session gets a limited number per interval.
constexpr auto kReportFresh = 20ms;
constexpr auto kReportsWhile = 100ms;
constexpr int kReportsOfSession = 4;
// An unknown connection gets one answer per interval, and so does a heartbeat: many messages may be
// in flight, and a client that answers heartbeats does no harm.
constexpr auto kHelloFirstEvery = 100ms;
constexpr auto kHeartbeatEvery = 100ms;
// Unanswered questions to the consumer. Together with its batches they fit the socket's queue.
constexpr std::size_t kMostQuestions = 1024;

}  // namespace

Core::Core(CoreOptions options, DurableStore& journal, TimePoint now)
    : options_(std::move(options)),
      journal_(journal),
      window_(options_.window),
      lease_(options_.lease, options_.leases_after),
      started_(now),
      next_housekeeping_(now + kHousekeeping) {}

Result<void> Core::start() {
  return read_journal_back();
}

// ---- sessions

void Core::receive(ConnectionId connection, Message&& message, TimePoint now, User user) {
  const auto session = sessions_.find(connection);
  if (session != sessions_.end()) {
    session->second.heard = now;
    if (session->second.role == Role::consumer) {
      lease_.heard(connection, now);
    }
  } else if (!std::holds_alternative<Hello>(message)) {
    say_hello_first(connection, {}, "say hello first", now);
    return;
  }
  std::visit(
      [&](auto& m) {
        if constexpr (std::is_same_v<std::decay_t<decltype(m)>, Hello>) {
          on(connection, std::move(m), user, now);
        } else {
          on(connection, std::move(m), now);
        }
      },
      message);
}

void Core::say_hello_first(ConnectionId connection, Sequence sequence, const std::string& text,
                           TimePoint now) {
  const auto [sent, is_new] = hello_first_sent_.try_emplace(connection, now);
  if (!is_new && now - sent->second < kHelloFirstEvery) {
    ++wasted_messages_;
    return;
  }
  sent->second = now;
  refuse(connection, RefusalCode::hello_first, sequence, text);
}

void Core::reject(ConnectionId connection, const Error& why, TimePoint now) {
  ++messages_rejected_;
  const auto session = sessions_.find(connection);
  if (session != sessions_.end()) {
    session->second.heard = now;
  }
  refuse(connection, RefusalCode::malformed, {}, why.what);
}

std::optional<TimePoint> Core::heard(ConnectionId connection) const {
  const auto session = sessions_.find(connection);
  return session == sessions_.end() ? std::nullopt : std::optional(session->second.heard);
}

void Core::put_off(ConnectionId connection, const Message& message, TimePoint now) {
  if (const auto session = sessions_.find(connection); session != sessions_.end()) {
    session->second.heard = now;
  }
  const auto* check = std::get_if<CheckTable>(&message);
  if (std::holds_alternative<AskDead>(message)) {
    refuse(connection, RefusalCode::not_now, {}, "asked too often");
  } else if (check == nullptr) {
    refuse(connection, RefusalCode::busy, {}, "too many names of one connection in a short time");
  } else {
    ++wasted_messages_;
    send(connection, TableAnswer{check->request, TableState::unknown, "asked too often"});
  }
}

void Core::unreachable(ConnectionId connection) {
  drop_session(connection, "because it cannot be reached");
}

template <typename Other>
void Core::on(ConnectionId connection, Other&& /*m*/, TimePoint /*now*/) {
  ++messages_rejected_;
  refuse(connection, RefusalCode::malformed, {}, "a message that only a broker sends");
}

void Core::on(ConnectionId connection, Hello&& m, User user, TimePoint now) {
  hello_first_sent_.erase(connection);
  if (m.version != limits::kProtocolVersion) {
    refuse(connection, RefusalCode::version, {},
           "this broker speaks version " + std::to_string(limits::kProtocolVersion) +
               " of the protocol, not " + std::to_string(m.version));
    return;
  }
  if (!sessions_.contains(connection) && sessions_.size() >= options_.max_sessions) {
    refuse(connection, RefusalCode::busy, {}, "the broker has too many connections");
    return;
  }
  if (m.role == Role::producer && !window_.knows(m.producer) &&
      window_.producers() >= options_.max_producers) {
    refuse(connection, RefusalCode::busy, {}, "too many producers have waiting rows");
    return;
  }
  const auto claim =
      m.role == Role::producer ? claims_of_others(connection, m, user) : std::optional<Refusal>();
  // The connection starts over.
  drop_session(connection, "because it started over");
  if (claim) {
    refuse(connection, *claim);
    return;
  }
  if (m.role == Role::consumer) {
    admit_consumer(connection, std::move(m), user, now);
    return;
  }
  if (m.role == Role::tool) {
    sessions_[connection] = Session{m.role, std::move(m), user, {}, true, now};
    Welcome welcome;
    welcome.broker = options_.broker_id;
    welcome.consumer_attached = window_.has_consumer();
    send(connection, std::move(welcome));
    return;
  }

  const bool may_have_rows = m.named || m.epoch.value > 0;
  if (m.named && m.epoch.value == 0) {
    supersede_greetings(connection, m.producer);
  }
  const bool is_sure = m.sure && may_have_rows;
  sessions_[connection] = Session{m.role, std::move(m), user, {}, false, now};
  if (window_.has_consumer() && may_have_rows) {
    ask_progress(connection, now);
  } else if (is_sure) {
    refuse(connection, RefusalCode::not_now, {},
           "no consumer is attached, so it is unknown which rows the target has; the welcome comes "
           "when a consumer has said it");
  } else {
    welcome(connection, std::nullopt, now);
  }
}

// This process is newer than one whose welcome still waits for the target. If that one were
// welcomed later, it would fence the newer process.
void Core::supersede_greetings(ConnectionId connection, const ProducerId& producer) {
  for (const auto& [request, question] : questions_) {
    if (question.kind == Question::Kind::welcome && question.producer == producer &&
        question.connection != connection && sessions_.contains(question.connection)) {
      refuse(question.connection, RefusalCode::fenced, {},
             "a newer process with the name " + producer.text + " has started");
      drop_session(question.connection, "because a newer process has its name");
    }
  }
}

void Core::ask_progress(ConnectionId connection, TimePoint now) {
  Session& session = sessions_.at(connection);
  session.is_asked_about = true;
  if (questions_.size() >= kMostQuestions) {
    unasked_.insert(connection);
    if (!session.welcomed && !session.hello.sure) {
      welcome(connection, std::nullopt, now);
    }
    return;
  }
  const auto kind = session.welcomed ? Question::Kind::refresh : Question::Kind::welcome;
  const std::uint64_t request = next_question_++;
  questions_[request] =
      Question{kind, connection, session.hello.producer, 0, now + kQuestionPatience};
  send(*lease_.holder(), AskProgress{request, session.hello.producer, session.hello.known});
}

void Core::ask_unasked(TimePoint now) {
  while (window_.has_consumer() && !unasked_.empty() && questions_.size() < kMostQuestions) {
    ask_progress(unasked_.extract(unasked_.begin()).value(), now);
  }
}

// The credit of all sessions together is about the window's memory: a few sessions get much, for
// large groups and few syncs; many sessions get less each.
std::uint64_t Core::fair_credit() const {
  constexpr std::uint64_t kLeast = std::uint64_t{256} * 1024;
  const std::uint64_t share = options_.window.memory_bytes / (sessions_.size() + 1);
  return std::min(options_.credit_bytes, std::max(share, kLeast));
}

void Core::on(ConnectionId connection, Heartbeat&& /*m*/, TimePoint now) {
  Session& session = sessions_.at(connection);
  if (now - session.heartbeat >= kHeartbeatEvery) {
    session.heartbeat = now;
    send(connection, Heartbeat{});
  } else {
    ++wasted_messages_;
  }
}

void Core::on(ConnectionId connection, Bye&& /*m*/, TimePoint now) {
  drop_session(connection, "cleanly");
  grant_free_lease(now);
}

std::optional<ConnectionId> Core::connection_of(const ProducerId& producer) const {
  const auto found = connections_.find(producer);
  return found == connections_.end() ? std::nullopt : std::optional(found->second);
}

void Core::drop_session(ConnectionId connection, const char* why) {
  const auto found = sessions_.find(connection);
  if (found == sessions_.end()) {
    return;
  }
  const Session session = std::move(found->second);
  sessions_.erase(found);
  unasked_.erase(connection);
  if (lease_.holder() == connection) {
    lose_consumer(why);
  }
  lease_.leave(connection);
  if (session.role == Role::producer && connection_of(session.hello.producer) == connection) {
    connections_.erase(session.hello.producer);
    forget_if_away(session.hello.producer);
  }
}

// A producer whose welcome waits for the journal stays known: rows may be applied after the
// target's answer to it.
void Core::forget_if_away(const ProducerId& producer) {
  const bool is_greeted =
      std::any_of(greetings_.begin(), greetings_.end(),
                  [&](const Greeting& greeting) { return greeting.producer == producer; });
  if (!connection_of(producer) && !is_greeted) {
    window_.forget(producer);
  }
}

void Core::expire_sessions(TimePoint now) {
  std::vector<ConnectionId> silent;
  for (const auto& [connection, session] : sessions_) {
    // The lease decides about its holder.
    if (now - session.heard > kSessionSilence && lease_.holder() != connection) {
      silent.push_back(connection);
    }
  }
  for (const ConnectionId connection : silent) {
    drop_session(connection, "because it was silent");
  }
}

// ---- producers

void Core::on(ConnectionId connection, Batch&& m, TimePoint now) {
  const Session& session = sessions_.at(connection);
  if (session.role != Role::producer || m.header.producer != session.hello.producer) {
    ++messages_rejected_;
    refuse(
        connection, RefusalCode::malformed, m.header.first,
        "a batch of producer " + m.header.producer.text + " on a connection that is not its own");
    return;
  }
  if (!session.welcomed || m.header.epoch != session.epoch) {
    say_hello_first(connection, m.header.first, "wait for the welcome and its epoch", now);
    return;
  }
  if (parse_source(m.header.source).stem != parse_source(session.hello.source).stem) {
    ++messages_rejected_;
    refuse(connection, RefusalCode::malformed, m.header.first,
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
      ++wasted_messages_;
      ask_for_outcomes_owed(connection);  // rows applied by now bring no further results
      break;
    case Window::Verdict::stored:
      ++wasted_messages_;
      look_at_journal(now);
      if (!must_reopen_journal_) {
        send_stored(connection, producer);
      }
      break;
    case Window::Verdict::go_back: {
      const Sequence expected = window_.expected(producer);
      std::string why = journal_problem_.empty() ? "the broker's memory is full" : journal_problem_;
      if (window_.is_suspect(producer)) {
        why = "too much waits from producers whose rows the target refuses or has not seen yet";
      }
      if (first > expected) {
        why = "row " + std::to_string(expected.value) + " has not come";
      }
      refuse(connection, RefusalCode::busy, expected, why);
      break;
    }
    case Window::Verdict::skipped:
      ++wasted_messages_;
      break;
    case Window::Verdict::hole:
      refuse(connection, RefusalCode::hole, first,
             "row " + std::to_string(window_.expected(producer).value) +
                 " has not come, and this connection continues with row " +
                 std::to_string(first.value));
      drop_session(connection, "because it skipped rows");
      break;
  }
}

void Core::on(ConnectionId connection, CheckTable&& m, TimePoint now) {
  if (!window_.has_consumer()) {
    send(connection, TableAnswer{m.request, TableState::unknown, "no consumer is attached"});
    return;
  }
  if (questions_.size() >= kMostQuestions) {
    send(connection, TableAnswer{m.request, TableState::unknown, "the consumer is busy"});
    return;
  }
  const std::uint64_t request = next_question_++;
  questions_[request] =
      Question{Question::Kind::table, connection, {}, m.request, now + kQuestionPatience};
  m.request = request;
  send(*lease_.holder(), std::move(m));
}

// Bounds the cost of making reports, and of keeping them for a client that does not read them.
void Core::on(ConnectionId connection, AskStatus&& m, TimePoint now) {
  Session& session = sessions_.at(connection);
  if (now - session.reports_since >= kReportsWhile) {
    session.reports_since = now;
    session.reports = 0;
  }
  if (++session.reports > kReportsOfSession) {
    refuse(connection, RefusalCode::not_now, {}, "too many status reports in a short time");
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
  send(connection, Status{m.request, report.bytes});
}

// The dead letters beyond those that an APPLIED lists.
void Core::on(ConnectionId connection, AskDead&& m, TimePoint now) {
  const Session& session = sessions_.at(connection);
  if (session.role != Role::producer || !session.welcomed) {
    ++messages_rejected_;
    refuse(connection, RefusalCode::malformed, {},
           "only a producer that was welcomed has dead letters");
    return;
  }
  if (!window_.has_consumer() || questions_.size() >= kMostQuestions) {
    refuse(connection, RefusalCode::not_now, {},
           window_.has_consumer() ? "the consumer is busy" : "no consumer is attached");
    return;
  }
  const std::uint64_t request = next_question_++;
  questions_[request] = Question{Question::Kind::dead, connection, session.hello.producer,
                                 m.request, now + kQuestionPatience};
  send(*lease_.holder(), AskProgress{request, session.hello.producer, m.since, true});
}

// ---- time and disk

void Core::advance(TimePoint now) {
  end_overdue_questions(now);
  lease_.note_turn(now);
  grant_lease(now);
  retry_stopped_producers(now);
  ask_unasked(now);
  deliver(now);
  if (!journal_retry_ || *journal_retry_ <= now) {
    load(now);
  }
  send_applied();
  if (now >= next_housekeeping_) {
    next_housekeeping_ = now + kHousekeeping;
    look_at_journal(now);
    expire_sessions(now);
    std::erase_if(hello_first_sent_,
                  [&](const auto& sent) { return now - sent.second >= kHelloFirstEvery; });
    if (lease_.holder()) {
      send(*lease_.holder(), Heartbeat{});  // a failed send shows that it is gone
    }
    if (rate_samples_.empty() || now - rate_samples_.back().first >= 1s) {
      rate_samples_.emplace_back(now, rows_settled_);
      if (rate_samples_.size() > 10) {
        rate_samples_.pop_front();
      }
    }
  }
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

void Core::send(ConnectionId connection, Message&& message) {
  outbox_.push_back({connection, std::move(message)});
}

void Core::refuse(ConnectionId connection, RefusalCode code, Sequence sequence,
                  const std::string& text) {
  ++wasted_messages_;
  if (code == RefusalCode::malformed || code == RefusalCode::hello_first) {
    ++client_errors_;
  }
  send(connection, Refusal{code, sequence, printable(text, limits::kReasonBytes - 3)});
}

void Core::refuse(ConnectionId connection, const Refusal& refusal) {
  refuse(connection, refusal.code, refusal.sequence, refusal.text);
}

}  // namespace turnstile::broker
