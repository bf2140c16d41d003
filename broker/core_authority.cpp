// Who may do what: users and their names, the target of the journal's rows, the claims of a HELLO.
#include <algorithm>
#include <string>

#include <spdlog/spdlog.h>

#include "base/utf8.h"
#include "broker/core.h"

namespace turnstile::broker {
namespace {

std::string text_of(User user) {
  return user ? "user " + std::to_string(*user) : std::string("another machine");
}

Refusal not_yours(std::string text) {
  return {RefusalCode::malformed, {}, std::move(text)};
}

Refusal busy(std::string text) {
  return {RefusalCode::busy, {}, std::move(text)};
}

}  // namespace

bool Core::is_trusted(User user) const {
  return !user || !options_.own_user || *user == kRoot || user == options_.own_user;
}

void Core::admit_consumer(ConnectionId connection, Hello&& m, User user, TimePoint now) {
  if (!is_trusted(user)) {
    ++messages_rejected_;
    refuse(connection, not_yours("only " + text_of(options_.own_user) +
                                 ", whose broker this is, and root may be its consumer; this is " +
                                 text_of(user)));
    return;
  }
  if (const auto refused = claim_target(m, now)) {
    refuse(connection, *refused);
    return;
  }
  sessions_[connection] = Session{m.role, std::move(m), user, {}, true, now};
  lease_.join(connection, now);
  grant_free_lease(now);
  if (lease_.holder() != connection) {
    send(connection, LeaseState{false, {}, lease_.duration()});
  }
}

// Waiting rows, and answers about them, belong to the target that the journal began with.
std::optional<Refusal> Core::claim_target(const Hello& m, TimePoint now) {
  const std::string& path = m.producer.text;
  const auto known = journal_.target();
  if (!known) {
    return busy("the journal cannot be read: " + known.error().what);
  }
  // An older consumer sends the path from its flags, which may be relative.
  const bool is_whole = path.starts_with('/');
  const bool is_same = *known == path || (!is_whole && known->ends_with("/" + path));
  if (is_same || (known->empty() && !is_whole)) {
    return std::nullopt;
  }
  if (!known->empty() && !m.new_target) {
    return not_yours("the rows of this broker are for the target " + *known + ", not for " + path);
  }
  if (!known->empty() && lease_.holder()) {
    return busy("a consumer of the target " + *known + " is attached; stop it first");
  }
  if (auto set = journal_.set_target(path); !set) {
    journal_failed(set.error(), now);
    return busy("the journal cannot be written: " + set.error().what);
  }
  if (!known->empty()) {
    spdlog::warn("from now on rows go to the target {}, no longer to {}",
                 printable(path, limits::kReasonBytes), printable(*known, limits::kReasonBytes));
  }
  return std::nullopt;
}

// A name belongs to the first user who used it; otherwise another user's process could fence that
// user's process. A random id is a secret of the process that chose it.
std::optional<Refusal> Core::claims_of_others(ConnectionId connection, const Hello& m, User user) {
  const auto holder = connection_of(m.producer);
  const bool is_of_another = holder && holder != connection;
  if (!m.named && m.epoch.value == 0 && is_of_another && window_.has_rows_of(m.producer)) {
    return not_yours("another process has this id and sends rows");
  }
  if (is_trusted(user)) {
    return std::nullopt;
  }
  if (is_of_another && sessions_.at(*holder).user != user) {
    return not_yours("this id is in use by another user");
  }
  if (!m.named) {
    return std::nullopt;
  }
  auto owner = journal_.owner(m.producer);
  if (!owner) {
    return busy("the journal cannot be read: " + owner.error().what);
  }
  for (const Greeting& greeting : greetings_) {
    if (!*owner && greeting.producer == m.producer) {
      *owner = greeting.owner;
    }
  }
  if (*owner && *owner != user) {
    return not_yours("the name " + m.producer.text + " belongs to " + text_of(*owner));
  }
  return std::nullopt;
}

// Nothing: the claim is true, or the broker cannot tell.
std::optional<Refusal> Core::false_claim(const Hello& hello,
                                         const std::optional<Progress>& progress) const {
  if (!progress) {
    return std::nullopt;
  }
  const Sequence applied = std::max(progress->through, window_.applied_through(hello.producer));
  if (hello.known > applied) {
    return not_yours("row " + std::to_string(hello.known.value) +
                     " is said to be applied, and the target has this producer's rows through " +
                     std::to_string(applied.value) + "; was the target replaced?");
  }
  const Sequence stored = std::max(applied, window_.stored_through(hello.producer));
  if (hello.stored && *hello.stored > stored) {
    return Refusal{RefusalCode::hole, next(stored),
                   "rows " + std::to_string(stored.value + 1) + " to " +
                       std::to_string(hello.stored->value) +
                       " were stored, and neither journal nor target has them; was one of the two "
                       "replaced or deleted?"};
  }
  return std::nullopt;
}

}  // namespace turnstile::broker
