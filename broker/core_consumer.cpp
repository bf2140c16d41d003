// The consumer's side of the broker's core: its answers, its lease, and deliveries.
#include <algorithm>
#include <utility>

#include <spdlog/spdlog.h>

#include "base/counted.h"
#include "base/utf8.h"
#include "broker/core.h"

namespace turnstile::broker {
void Core::on(ConnectionId connection, Results&& m, TimePoint now) {
  if (lease_.holder() != connection) {
    send(connection, LeaseState{false, lease_.lease(), lease_.duration()});
    return;
  }
  if (m.lease != lease_.lease()) {
    return;  // from its lease before it started over; those batches are delivered again
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
  const auto connection = connection_of(settled->producer);
  if (!settled->applied) {
    refuse_batch(result, *settled, window_.stopped_producers().size() == stopped_before, now);
  } else {
    if (settled->remove) {
      journal_.remove(*settled);
    }
    rows_settled_ += settled->rows;
    if (connection) {
      gather(*connection, *settled, result);
    }
  }
  forget_if_away(settled->producer);
}

// Promise 7: APPLIED is cumulative, so a result's outcomes may be sent only if the producer knows
// all earlier ones. It does not if an earlier row was applied for an older process of this name, or
// before this process had sent it.
void Core::gather(ConnectionId connection, const Window::Settled& settled,
                  const BatchResult& result) {
  // A fenced batch was applied earlier, and this result lacks its outcomes.
  if (settled.first > next(outcomes_known(sessions_.at(connection))) ||
      result.outcome != Outcome::applied) {
    ask_for_outcomes_owed(connection);
    return;
  }
  Applied& applied = applied_[settled.producer];
  if (settled.last <= applied.through) {
    return;  // a duplicate, such as after a failed sync that had written it
  }
  // The outcomes of rows after this batch are unknown here, even if the target has applied them.
  applied.through = settled.last;
  applied.dead_count += result.dead_count;
  const std::size_t room = limits::kDeadListed - applied.dead.size();
  applied.dead.insert(
      applied.dead.end(), result.dead.begin(),
      result.dead.begin() + static_cast<std::ptrdiff_t>(std::min(room, result.dead.size())));
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
  } else if (result.outcome == Outcome::letters_full) {
    code = RefusalCode::letters_full;
    text =
        "the target keeps no more dead letters of this producer (--dead-letter-limit); its rows "
        "up to " +
        std::to_string(result.through.value) +
        " are applied. See `turnstile dead-letters list`, then retry or discard them, and "
        "start the consumer again";
  }
  if (settled.stopped && !was_stopped) {
    spdlog::error("producer {} is stopped: {}; its stored rows stay in the journal",
                  settled.producer.text, text);
  } else if (!settled.stopped) {
    ++refused_since_log_;
    if (now >= next_refused_log_) {
      spdlog::warn("{} refused, the last of producer {}: {}",
                   counted(refused_since_log_, "batch", "batches"), settled.producer.text, text);
      refused_since_log_ = 0;
      next_refused_log_ = now + kLogInterval;
    }
  }
  if (const auto connection = connection_of(settled.producer)) {
    refuse(*connection, code, settled.first, text);
    // The refusal is final: later batches cost nothing until the next HELLO.
    drop_session(*connection, "because its rows were refused");
  }
}

// Sent to this session, or gathered for it.
Sequence Core::outcomes_known(const Session& session) const {
  const auto gathered = applied_.find(session.hello.producer);
  return gathered == applied_.end() ? session.hello.known
                                    : std::max(session.hello.known, gathered->second.through);
}

// Asks the target for the outcomes of applied rows of this session that are unknown here.
void Core::ask_for_outcomes_owed(ConnectionId connection) {
  const Session& session = sessions_.at(connection);
  if (!session.is_asked_about &&
      window_.applied_of_sent(session.hello.producer) > outcomes_known(session)) {
    unasked_.insert(connection);
  }
}

// Not to a producer with an open question to the target: APPLIED is cumulative, and only the answer
// has the outcomes of older rows.
void Core::send_applied() {
  for (auto at = applied_.begin(); at != applied_.end();) {
    const auto connection = connection_of(at->first);
    Session* session = connection ? &sessions_.at(*connection) : nullptr;
    if (session != nullptr && session->is_asked_about) {
      ++at;
      continue;
    }
    if (session != nullptr) {
      send_applied(*connection, *session, std::move(at->second));
    }
    at = applied_.erase(at);
  }
}

void Core::send_applied(ConnectionId connection, Session& session, Applied&& applied) {
  const Sequence through = window_.acknowledge(session.hello.producer, applied.through);
  if (through < applied.through) {
    if (through <= session.hello.known) {
      return;
    }
    // Unlisted dead rows cannot be identified here.
    std::erase_if(applied.dead, [&](const DeadRow& row) { return row.sequence > through; });
    applied.dead_count = static_cast<std::uint32_t>(applied.dead.size());
    applied.through = through;
  }
  session.hello.known = std::max(session.hello.known, through);
  send(connection, std::move(applied));
}

void Core::send_stored(ConnectionId connection, const ProducerId& producer) {
  send(connection, Stored{window_.acknowledge(producer, window_.stored_through(producer))});
  ask_for_outcomes_owed(connection);  // stored batches bring no further results
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

void Core::on(ConnectionId connection, ProgressAnswer&& m, TimePoint now) {
  const auto question = lease_.holder() == connection ? take_question(m.request) : std::nullopt;
  if (!question || question->producer.text.empty() || question->kind == Question::Kind::answered) {
    return;
  }
  // The connection may belong to another producer by now.
  const auto session = sessions_.find(question->connection);
  if (session == sessions_.end() || session->second.role != Role::producer ||
      session->second.hello.producer != question->producer) {
    return;
  }
  if (question->kind == Question::Kind::dead) {
    send(question->connection, Dead{question->request_of_client, std::move(m.progress.dead)});
    return;
  }
  session->second.is_asked_about = false;
  if (!session->second.welcomed) {
    welcome(question->connection, m.progress, now);
  } else if (m.progress.through > session->second.hello.known) {
    window_.note_applied(session->second.hello.producer, m.progress.through);
    send_applied(question->connection, session->second,
                 Applied{m.progress.through, m.progress.dead_count, std::move(m.progress.dead)});
  }
}

void Core::on(ConnectionId connection, TableAnswer&& m, TimePoint /*now*/) {
  const auto question = lease_.holder() == connection ? take_question(m.request) : std::nullopt;
  if (question && question->kind == Question::Kind::table) {
    m.request = question->request_of_client;
    send(question->connection, std::move(m));
  }
}

void Core::end_overdue_questions(TimePoint now) {
  const auto is_sure = [this](ConnectionId connection) {
    const auto session = sessions_.find(connection);
    return session != sessions_.end() && session->second.hello.sure;
  };
  std::vector<ConnectionId> to_welcome;
  for (auto& [request, question] : questions_) {
    if (question.until > now) {
      continue;
    }
    question.until = TimePoint::max();
    if (question.kind == Question::Kind::table) {
      send(question.connection,
           TableAnswer{question.request_of_client, TableState::unknown, "the consumer is busy"});
      question.kind = Question::Kind::answered;
    } else if (question.kind == Question::Kind::dead) {
      refuse(question.connection, RefusalCode::not_now, {}, "the consumer is busy");
      question.kind = Question::Kind::answered;
    } else if (question.kind == Question::Kind::welcome && is_sure(question.connection)) {
      refuse(question.connection, RefusalCode::not_now, {},
             "the consumer has not said yet which rows the target has; the welcome comes when it "
             "has");
    } else if (question.kind == Question::Kind::welcome) {
      // A late answer is still useful: it has outcomes.
      question.kind = Question::Kind::refresh;
      to_welcome.push_back(question.connection);
    }
  }
  for (ConnectionId connection : to_welcome) {
    const auto session = sessions_.find(connection);
    if (session != sessions_.end() && !session->second.welcomed) {
      welcome(connection, std::nullopt, now);
    }
  }
}

void Core::lose_consumer(const char* why) {
  const ConnectionId connection = *lease_.holder();
  spdlog::info("consumer disconnected {}", why);
  lease_.leave(connection);
  window_.consumer_gone();
  consumer_stats_.problem.clear();
  consumer_stats_.tables.clear();
  // Their questions are answered without the consumer.
  for (auto& [request, question] : questions_) {
    question.until = TimePoint{};
  }
}

void Core::grant_lease(TimePoint now) {
  const auto before = lease_.holder();
  const auto granted = lease_.grant(now);
  if (!granted) {
    return;
  }
  if (before) {
    spdlog::warn("consumer was silent for more than {} ms: a standby takes over",
                 lease_.duration().count());
    window_.consumer_gone();
    send(*before, LeaseState{false, lease_.lease(), lease_.duration()});
  }
  spdlog::info("consumer attached: {}",
               printable(sessions_.at(*granted).hello.producer.text, limits::kReasonBytes));
  retries_stopped_ = !window_.stopped_producers().empty();
  window_.consumer_attached(now);
  consumer_stats_.problem.clear();
  consumer_stats_.tables.clear();
  is_lease_new_ = true;
  send(*granted, LeaseState{true, lease_.lease(), lease_.duration()});
  // The predecessor's questions are void. It, or an earlier broker, may have lost outcomes: ask for
  // those of all producers.
  for (auto& [request, question] : questions_) {
    question.until = TimePoint{};
  }
  end_overdue_questions(now);
  questions_.clear();
  for (const auto& [connection, session] : sessions_) {
    if (session.role == Role::producer) {
      unasked_.insert(connection);
    }
  }
  ask_unasked(now);
}

// grant_lease() takes the lease from a silent holder only after this turn's messages were read.
void Core::grant_free_lease(TimePoint now) {
  if (!lease_.holder()) {
    grant_lease(now);
  }
}

void Core::deliver(TimePoint now) {
  while (const Held* held = window_.deliver_next(now)) {
    send(*lease_.holder(), Delivery{held->ticket, held->header_frame, held->rows_frame});
  }
}

}  // namespace turnstile::broker
