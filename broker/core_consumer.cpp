// The consumer's side of the broker's core: its answers, its lease, and what it is handed.
#include <algorithm>
#include <utility>

#include <spdlog/spdlog.h>

#include "base/counted.h"
#include "base/utf8.h"
#include "broker/core.h"

namespace turnstile::broker {
namespace {

constexpr std::size_t kLoadBytes = std::size_t{1} * 1024 * 1024;

}  // namespace

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
      gather(*route, *settled, result);
    }
  }
  forget_if_away(settled->producer);
}

// Promise 7: APPLIED is cumulative, so a result's outcomes can be told when they join those that
// the producer has. They do not when an earlier row's were told to nobody: that row was applied for
// an older process of this name, or before this one had sent it.
void Core::gather(const Route& route, const Window::Settled& settled, const BatchResult& result) {
  // Fenced, it was applied before, with outcomes that this result does not have.
  if (settled.first > next(outcomes_known(sessions_.at(route))) ||
      result.outcome != Outcome::applied) {
    ask_for_outcomes_owed(route);
    return;
  }
  Applied& applied = applied_[settled.producer];
  if (settled.last <= applied.through) {
    return;  // it came twice, such as behind a sync that failed and had written it all the same
  }
  // Of what is behind this batch the outcomes are not known here, whatever the target has of it.
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
  if (const Route* route = route_of(settled.producer); route != nullptr) {
    refuse(*route, code, settled.first, text);
    // It is final: what comes behind it costs nobody anything until there is another HELLO.
    drop_session(Route(*route), "its rows were refused");
  }
}

// Told to this session, or gathered to be told.
Sequence Core::outcomes_known(const Session& session) const {
  const auto gathered = applied_.find(session.hello.producer);
  return gathered == applied_.end() ? session.hello.known
                                    : std::max(session.hello.known, gathered->second.through);
}

// Of rows that this session sent and that are applied: when nobody here has their outcomes any
// more, the target is asked for them.
void Core::ask_for_outcomes_owed(const Route& route) {
  const Session& session = sessions_.at(route);
  if (!session.is_asked_about &&
      window_.applied_of_sent(session.hello.producer) > outcomes_known(session)) {
    unasked_.insert(route);
  }
}

// Not to a producer that the target is asked about: APPLIED is cumulative, so the outcomes of older
// rows, which only the answer has, must come first.
void Core::tell_applied() {
  for (auto at = applied_.begin(); at != applied_.end();) {
    const Route* route = route_of(at->first);
    Session* session = route == nullptr ? nullptr : &sessions_.at(*route);
    if (session != nullptr && session->is_asked_about) {
      ++at;
      continue;
    }
    if (session != nullptr) {
      tell_applied(*route, *session, std::move(at->second));
    }
    at = applied_.erase(at);
  }
}

void Core::tell_applied(const Route& route, Session& session, Applied&& applied) {
  const Sequence through = window_.acknowledge(session.hello.producer, applied.through);
  if (through < applied.through) {
    if (through <= session.hello.known) {
      return;
    }
    // Which rows those are that are not listed nobody knows here.
    std::erase_if(applied.dead, [&](const DeadRow& row) { return row.sequence > through; });
    applied.dead_count = static_cast<std::uint32_t>(applied.dead.size());
    applied.through = through;
  }
  session.hello.known = std::max(session.hello.known, through);
  send(route, std::move(applied));
}

void Core::tell_stored(const Route& route, const ProducerId& producer) {
  send(route, Stored{window_.acknowledge(producer, window_.stored_through(producer))});
  ask_for_outcomes_owed(route);  // what is stored does not come again to be answered
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
  if (!question || question->producer.text.empty() || question->kind == Question::Kind::told) {
    return;
  }
  // The connection may be another producer's since.
  const auto session = sessions_.find(question->route);
  if (session == sessions_.end() || session->second.role != Role::producer ||
      session->second.hello.producer != question->producer) {
    return;
  }
  if (question->kind == Question::Kind::dead) {
    send(question->route, Dead{question->request_of_client, std::move(m.progress.dead)});
    return;
  }
  session->second.is_asked_about = false;
  if (!session->second.welcomed) {
    welcome(question->route, m.progress, now);
  } else if (m.progress.through > session->second.hello.known) {
    window_.note_applied(session->second.hello.producer, m.progress.through);
    tell_applied(question->route, session->second,
                 Applied{m.progress.through, m.progress.dead_count, std::move(m.progress.dead)});
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
  const auto is_sure = [this](const Route& route) {
    const auto session = sessions_.find(route);
    return session != sessions_.end() && session->second.hello.sure;
  };
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
    } else if (question.kind == Question::Kind::dead) {
      refuse(question.route, RefusalCode::not_now, {}, "the consumer is busy");
      question.kind = Question::Kind::told;
    } else if (question.kind == Question::Kind::welcome && is_sure(question.route)) {
      refuse(question.route, RefusalCode::not_now, {},
             "the consumer does not say yet which rows the target has; the welcome comes when it "
             "has");
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
  consumer_stats_.problem.clear();
  consumer_stats_.tables.clear();
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
  retries_stopped_ = !window_.stopped_producers().empty();
  window_.consumer_attached(now);
  consumer_stats_.problem.clear();
  consumer_stats_.tables.clear();
  is_lease_new_ = true;
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

// From a holder that seems silent it is taken when all that came in this turn was read.
void Core::hand_over_free_lease(TimePoint now) {
  if (!lease_.holder()) {
    hand_over_lease(now);
  }
}

// Their rows wait in the journal; while it cannot be written or read they go on waiting.
void Core::retry_stopped_producers(TimePoint now) {
  if (!retries_stopped_ || (journal_retry_ && *journal_retry_ > now)) {
    return;
  }
  auto trimmed = journal_.trim();
  if (trimmed) {
    trimmed = read_journal_back();
  }
  if (!trimmed) {
    journal_failed(trimmed.error(), now);
  }
}

// Whoever is new gets its lease with the first that is read, and opens the target meanwhile.
void Core::load(TimePoint now) {
  const std::size_t bytes = std::min(kLoadBytes, options_.window.consumer_credit_bytes);
  bool goes_on = true;
  for (auto from = window_.wants_load(); from && goes_on; from = window_.wants_load()) {
    goes_on = !std::exchange(is_lease_new_, false);
    auto read = journal_.read(*from, window_.cold().last, bytes, now);
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

}  // namespace turnstile::broker
