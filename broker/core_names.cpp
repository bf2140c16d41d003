// Names that outlive their processes: which epoch a process gets, and how long a name is kept.
//
// The target is the truth about epochs: it refuses rows of an older one. The journal's table only
// helps while no consumer can be asked. So the broker may forget a name that nobody uses and that
// has no waiting rows: a new process gets a greater epoch from the clock, and the target refuses an
// old process that comes back.
#include <algorithm>

#include "broker/core.h"
#include "store/idle_time.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds kForgetNamesEvery = 60s;
constexpr std::chrono::milliseconds kForgetWhenCrowded = 100ms;
// Names above the bound are removed when there are this many of them.
constexpr std::size_t kNamesPerCall = 1000;
// How far a claimed epoch that this broker does not know may be ahead of its clock.
constexpr std::uint64_t kClockSlackMs = std::uint64_t{24} * 60 * 60 * 1000;

}  // namespace

// Nothing: it was refused.
std::optional<Core::Grant> Core::grant_epoch(ConnectionId connection, const Hello& hello,
                                             const std::optional<Progress>& progress,
                                             TimePoint now) {
  if (!hello.named) {
    return Grant{Epoch{1}, false};
  }
  auto journaled = journal_.epoch(hello.producer);
  if (!journaled) {
    // Without the newest epoch this could be an older one, and the target would refuse its rows,
    // even stored ones.
    refuse(connection, RefusalCode::busy, {},
           "the journal cannot be read: " + journaled.error().what);
    if (!journal_retry_ || *journal_retry_ <= now) {
      journal_failed(journaled.error(), now);
    }
    return std::nullopt;
  }
  for (const Greeting& greeting : greetings_) {
    if (greeting.producer == hello.producer) {
      journaled = std::max(*journaled, greeting.epoch);
    }
  }
  const Epoch newest = std::max(*journaled, progress ? progress->epoch : Epoch{});
  if (hello.epoch.value > 0 && hello.epoch < newest) {
    refuse(connection, RefusalCode::fenced, {},
           "a newer process with the name " + hello.producer.text + " has started");
    return std::nullopt;
  }
  const std::uint64_t clock = options_.wall_clock_ms();
  if (hello.epoch > newest && hello.epoch.value > clock + kClockSlackMs) {
    // Such an epoch would leave none for the name's next process.
    ++messages_rejected_;
    refuse(connection, RefusalCode::malformed, {}, "an epoch that no broker gave");
    return std::nullopt;
  }
  // The clock keeps epochs growing even if both journal and target were lost.
  const Epoch granted =
      hello.epoch.value > 0 ? hello.epoch : Epoch{std::max(newest.value + 1, clock)};
  return Grant{granted, granted != *journaled};
}

void Core::welcome(ConnectionId connection, const std::optional<Progress>& progress,
                   TimePoint now) {
  const Session& session = sessions_.at(connection);
  const Hello& hello = session.hello;
  if (const auto refused = false_claim(hello, progress)) {
    ++messages_rejected_;
    refuse(connection, *refused);
    drop_session(connection, "because of a false claim");
    return;
  }
  const auto grant = grant_epoch(connection, hello, progress, now);
  if (!grant) {
    drop_session(connection, "because it was refused");
  } else if (grant->is_new) {
    greetings_.push_back({connection, hello.producer, progress, grant->epoch, session.user});
  } else {
    greet(connection, grant->epoch, progress, now);
  }
}

bool Core::may_store_epochs(TimePoint now) const {
  return epoch_syncs_ < kEpochSyncs || now - epochs_since_ >= kEpochsWhile;
}

// One transaction for all waiting welcomes.
void Core::store_epochs(TimePoint now) {
  if (greetings_.empty() || !may_store_epochs(now)) {
    return;
  }
  if (now - epochs_since_ >= kEpochsWhile) {
    epochs_since_ = now;
    epoch_syncs_ = 0;
  }
  ++epoch_syncs_;
  const auto greetings = std::exchange(greetings_, {});
  std::vector<DurableStore::Name> names;
  names.reserve(greetings.size());
  for (const Greeting& greeting : greetings) {
    names.push_back({greeting.producer, greeting.epoch, greeting.owner});
  }
  const auto stored = journal_.set_epochs(names);
  for (const Greeting& greeting : greetings) {
    // The connection may have started over as another producer.
    const auto session = sessions_.find(greeting.connection);
    if (session == sessions_.end() || session->second.role != Role::producer ||
        session->second.hello.producer != greeting.producer) {
      continue;
    }
    if (stored) {
      greet(greeting.connection, greeting.epoch, greeting.progress, now);
    } else {
      refuse(greeting.connection, RefusalCode::busy, {},
             "the journal cannot be written: " + stored.error().what);
      drop_session(greeting.connection, "because it was refused");
    }
  }
  for (const Greeting& greeting : greetings) {
    forget_if_away(greeting.producer);
  }
  if (!stored) {
    journal_failed(stored.error(), now);
  }
  ask_unasked(now);
}

void Core::greet(ConnectionId connection, Epoch epoch, const std::optional<Progress>& progress,
                 TimePoint now) {
  look_at_journal(now);  // the welcome says what is stored
  const Hello hello = sessions_.at(connection).hello;
  if (const auto older = connection_of(hello.producer); older && older != connection) {
    connections_[hello.producer] = connection;
    if (sessions_.at(*older).epoch < epoch) {
      refuse(*older, RefusalCode::fenced, {},
             "a newer process with the name " + hello.producer.text + " has started");
    }
    drop_session(*older, "because it was replaced");  // last: the window keeps its state
  }
  Session& session = sessions_.at(connection);
  session.epoch = epoch;
  session.welcomed = true;
  session.heard = now;
  connections_[hello.producer] = connection;
  if (progress) {
    window_.note_applied(hello.producer, progress->through);
    window_.note_complete(hello.producer);
  }

  Welcome welcome;
  welcome.broker = options_.broker_id;
  welcome.epoch = epoch;
  // The producer does not send again what an earlier broker acknowledged. That claim counts for
  // this session only.
  welcome.through = std::max(window_.applied_through(hello.producer), hello.known);
  if (!must_reopen_journal_) {
    welcome.through = std::max(welcome.through, window_.stored_through(hello.producer));
  }
  window_.session_begins(hello.producer, hello.known);
  if (hello.stored) {
    const Sequence through = std::max(*hello.stored, welcome.through);
    // A process without an earlier welcome begins here.
    const bool has_begun = hello.epoch.value > 0 && hello.sent;
    window_.begins_after(hello.producer, through, has_begun ? *hello.sent : through);
  }
  welcome.through_is_sure = progress.has_value();
  // The source of the newest row: the last held one, or the last applied one.
  welcome.source = window_.source_after(hello.producer, progress ? progress->through : Sequence{});
  if (welcome.source.empty() && progress) {
    welcome.source = progress->source;
  }
  welcome.last = window_.last_row(hello.producer);
  welcome.credit_bytes = fair_credit();
  welcome.consumer_attached = window_.has_consumer();
  send(connection, std::move(welcome));
  applied_.erase(hello.producer);  // gathered for its earlier session
  if (progress && progress->through > hello.known) {
    send_applied(connection, session,
                 Applied{progress->through, progress->dead_count, progress->dead});
  }
  ask_for_outcomes_owed(connection);  // for rows applied since the target's answer
}

// Promise 6. Keeps the names that are connected or have waiting rows.
void Core::forget_names(TimePoint now) {
  const std::uint64_t names = journal_.names();
  const bool too_many = names > options_.max_names + kNamesPerCall;
  if (forgot_names_ && now - *forgot_names_ < (too_many ? kForgetWhenCrowded : kForgetNamesEvery)) {
    return;
  }
  forgot_names_ = now;
  const auto keep_ms =
      static_cast<std::uint64_t>(std::chrono::milliseconds(options_.keep_names).count());
  const std::uint64_t clock = options_.wall_clock_ms();
  const auto step = store::idle_step(options_.keep_names);
  if (auto followed = journal_.follow_clock(names_looked_ms_, clock, step); !followed) {
    journal_failed(followed.error(), now);
    return;
  }
  names_looked_ms_ = clock;
  const std::uint64_t before = clock - std::min(clock, keep_ms);
  std::uint64_t above = names - std::min<std::uint64_t>(names, options_.max_names);
  const auto oldest = journal_.oldest_names(above + window_.producers() + kNamesPerCall);
  if (!oldest) {
    journal_failed(oldest.error(), now);
    return;
  }
  std::vector<ProducerId> forgotten;
  for (const auto& [name, touched_ms] : *oldest) {
    if (connections_.contains(name) || window_.knows(name)) {
      continue;
    }
    if (touched_ms >= before && above == 0) {
      break;
    }
    above -= std::min<std::uint64_t>(above, 1);
    forgotten.push_back(name);
  }
  if (forgotten.empty()) {
    return;
  }
  if (auto done = journal_.forget_names(forgotten); !done) {
    journal_failed(done.error(), now);
  }
}

}  // namespace turnstile::broker
