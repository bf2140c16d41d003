#include "tests/campaigns/kill_system.h"

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <utility>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace turnstile::campaign {
namespace {

using namespace std::chrono_literals;
using std::chrono::microseconds;

constexpr auto kLease = kSanitized ? 3000ms : 500ms;
constexpr std::int64_t kIdsOfAStream = 1'000'000;
constexpr std::int64_t kPets = 60;
constexpr auto kEverybodyEnds = 120s;

std::size_t index_of(Actor role) {
  return static_cast<std::size_t>(role);
}

std::string_view name_of(Actor role) {
  return kRoleNames.at(index_of(role));
}

bool is_producer(Actor role) {
  return role != Actor::broker && role != Actor::consumer;
}

std::int64_t rows_of(Actor role) {
  switch (role) {
    case Actor::big_batches:
      return 8000;
    case Actor::small_batches:
    case Actor::spooled:
      return 2000;
    case Actor::rows:
      return 300;
    default:
      return kPets;
  }
}

std::string pets_csv(const std::string& stream) {
  std::string text = "name,breed\n";
  for (std::int64_t i = 0; i < 3 * kPets; ++i) {  // `--as P1` inserts the first third
    text += fmt::format("{}-{},Dog\n", stream, i);
  }
  return text;
}

}  // namespace

void KillFigures::add(const KillFigures& other) {
  for (std::size_t i = 0; i < kRoles; ++i) {
    kills.at(i) += other.kills.at(i);
    pauses.at(i) += other.pauses.at(i);
  }
  pauses_beyond_lease += other.pauses_beyond_lease;
  consumers_fenced += other.consumers_fenced;
  producers_fenced += other.producers_fenced;
  times_without_consumer += other.times_without_consumer;
  takeovers += other.takeovers;
  streams += other.streams;
  rows_acknowledged += other.rows_acknowledged;
  rows_present += other.rows_present;
  lost += other.lost;
  twice += other.twice;
  under_kills += other.under_kills;
  in_all += other.in_all;
}

int KillFigures::all_kills() const {
  return std::accumulate(kills.begin(), kills.end(), 0);
}

KillSystem::KillSystem(std::uint64_t seed) : random_(seed) {
  for (const Actor role : {Actor::broker, Actor::consumer, Actor::consumer, Actor::big_batches,
                           Actor::small_batches, Actor::rows, Actor::spooled, Actor::pets}) {
    Place& place = places_.emplace_back();
    place.role = role;
    place.start_at = Clock::now() + between(0us, 50ms);
  }
}

microseconds KillSystem::between(microseconds from, microseconds to) {
  return microseconds(
      std::uniform_int_distribution<microseconds::rep>(from.count(), to.count())(random_));
}

bool KillSystem::chance(double probability) {
  return std::bernoulli_distribution(probability)(random_);
}

// ---- processes

void KillSystem::start(Place& place) {
  place.start_at.reset();
  if (place.role == Actor::broker) {
    place.process = system_.broker({"--lease", "500ms", "--memory", "8MiB"});
  } else if (place.role == Actor::consumer) {
    place.process = system_.consumer();
  } else {
    start_producer(place);
  }
}

void KillSystem::begin_stream(Place& place) {
  Stream stream;
  stream.role = place.role;
  stream.name = "s" + std::to_string(streams_.size());
  stream.ledger = system_.folder.file(stream.name + ".ndjson");
  stream.first_id = static_cast<std::int64_t>(streams_.size()) * kIdsOfAStream + 1;
  stream.rows = rows_of(place.role);
  e2e::write_file(system_.folder.file(stream.name + ".csv"),
                  place.role == Actor::pets ? pets_csv(stream.name)
                                            : e2e::nutrients_csv(stream.rows, stream.first_id));
  place.stream = streams_.size();
  place.has_stream = true;
  streams_.push_back(std::move(stream));
}

void KillSystem::start_producer(Place& place) {
  if (!place.has_stream) {
    begin_stream(place);
  }
  const Stream& stream = streams_[place.stream];
  const std::string file = system_.folder.file(stream.name + ".csv");
  const auto with = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--ledger", stream.ledger, "--quiet"});
    place.process = system_.produce(std::move(arguments), std::string(name_of(place.role)));
  };
  const auto csv = [&](const std::string& batch_rows, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"csv",      file,        "--table",      "nutrients",
                                       "--resume", stream.name, "--batch-rows", batch_rows};
    arguments.insert(arguments.end(), more.begin(), more.end());
    with(std::move(arguments));
  };
  switch (place.role) {
    case Actor::big_batches:
      return csv("1000");
    case Actor::small_batches:
      return csv("20");
    case Actor::rows:
      return csv("1", {"--interval", "0ms..2ms"});
    case Actor::spooled:
      return csv("50", {"--spool", system_.folder.file(stream.name + ".spool")});
    default:
      return with({"pets", "--as", "P1", "--pets", file});
  }
}

// A process came to its end by itself.
void KillSystem::has_ended(Place& place) {
  const int code = place.process->wait(0ms).value_or(-1);
  const std::string said = place.process->err();
  place.process.reset();
  place.resume_at.reset();
  if (is_producer(place.role) && code == 0) {
    streams_[place.stream].is_finished = true;
    place.has_stream = false;
    ++figures_.streams;
    return;  // the next kill begins another
  }
  if (place.role == Actor::consumer && code == 1 &&
      said.find("another consumer") != std::string::npos) {
    ++figures_.consumers_fenced;
    place.start_at = Clock::now();
    return;
  }
  if (is_producer(place.role) && code == 1 && streams_[place.stream].has_had_two &&
      said.find("newer process") != std::string::npos) {
    // The one before it had been paused before its first hello: the later hello is the newer one.
    ++figures_.producers_fenced;
    place.start_at = Clock::now();
    return;
  }
  ADD_FAILURE() << name_of(place.role) << " ended with " << code << ":\n" << said;
}

void KillSystem::reap() {
  for (Place& place : places_) {
    if (place.process && !place.process->running()) {
      has_ended(place);
    }
  }
  std::erase_if(replaced_, [&](Replaced& old) {
    if (!old.is_resumed || old.process.running()) {
      return false;
    }
    // It may have had its last answer waiting while it was paused.
    const int code = old.process.wait(0ms).value_or(-1);
    const bool is_fenced = old.process.err().find("newer process") != std::string::npos;
    figures_.producers_fenced += is_fenced ? 1 : 0;
    EXPECT_TRUE(code == 0 || (code == 1 && is_fenced))
        << "a producer with a successor ended with " << code << ":\n"
        << old.process.err();
    return true;
  });
}

void KillSystem::do_what_is_due() {
  const TimePoint now = Clock::now();
  for (Place& place : places_) {
    if (place.resume_at && *place.resume_at <= now) {
      place.resume_at.reset();
      place.process->signal(SIGCONT);
    }
    if (place.start_at && *place.start_at <= now && !place.is_away) {
      start(place);
    }
  }
  for (Replaced& old : replaced_) {
    if (!old.is_resumed && old.resume_at <= now) {
      old.is_resumed = true;
      old.process.signal(SIGCONT);
    }
  }
}

// Returns when a process ends, when something is due, or then.
void KillSystem::wait_for_event(TimePoint until) {
  std::vector<pollfd> fds;
  for (const Place& place : places_) {
    if (place.process) {
      fds.push_back({place.process->pidfd(), POLLIN, 0});
    }
    if (place.resume_at) {
      until = std::min(until, *place.resume_at);
    }
    if (place.start_at && !place.is_away) {
      until = std::min(until, *place.start_at);
    }
  }
  for (const Replaced& old : replaced_) {
    fds.push_back({old.process.pidfd(), POLLIN, 0});
    if (!old.is_resumed) {
      until = std::min(until, old.resume_at);
    }
  }
  const auto left = std::max<std::chrono::nanoseconds>(until - Clock::now(), 0ns);
  const timespec wait{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
  ::ppoll(fds.data(), fds.size(), &wait, nullptr);
}

void KillSystem::step(TimePoint until) {
  wait_for_event(until);
  reap();
  do_what_is_due();
}

// ---- kills

std::vector<KillSystem::Place*> KillSystem::victims() {
  std::vector<Place*> out;
  for (Place& place : places_) {
    if (place.process) {
      // As many chances for the broker and the consumers as for all producers.
      const int chances = place.role == Actor::broker ? 5 : place.role == Actor::consumer ? 3 : 1;
      out.insert(out.end(), static_cast<std::size_t>(chances), &place);
    }
  }
  return out;
}

void KillSystem::kill(Place& place) {
  place.process->kill();
  place.process.reset();
  place.resume_at.reset();
  ++figures_.kills.at(index_of(place.role));
  // Pets have no name to go on with: others follow.
  place.has_stream = place.has_stream && place.role != Actor::pets;
  place.start_at = Clock::now() + (chance(0.5) ? 0us : between(0us, 100ms));
}

void KillSystem::pause(Place& place) {
  ++figures_.pauses.at(index_of(place.role));
  const bool is_long = chance(place.role == Actor::consumer ? 0.6 : 0.3);
  const auto length = is_long ? between(kLease + 100ms, 2 * kLease) : between(100us, 60ms);
  figures_.pauses_beyond_lease += is_long && place.role == Actor::consumer ? 1 : 0;
  place.process->signal(SIGSTOP);
  const TimePoint resume_at = Clock::now() + length;
  if (is_long && is_producer(place.role) && place.role != Actor::pets &&
      place.role != Actor::spooled && chance(0.5)) {
    // A successor of its name; a spool has a lock against that.
    replaced_.push_back({std::move(*place.process), resume_at, false});
    streams_[place.stream].has_had_two = true;
    place.process.reset();
    place.start_at = Clock::now();
    return;
  }
  place.resume_at = resume_at;
}

void KillSystem::leave_without_consumer() {
  ++figures_.times_without_consumer;
  without_consumer_for_ = std::uniform_int_distribution<int>(1, 3)(random_);
  for (Place& place : places_) {
    if (place.role == Actor::consumer) {
      if (place.process) {
        kill(place);
      }
      place.is_away = true;
    }
  }
}

// Kills or pauses somebody; whoever has nothing more to send begins another stream.
void KillSystem::strike() {
  const auto candidates = victims();
  if (!candidates.empty()) {
    Place& victim =
        *candidates[std::uniform_int_distribution<std::size_t>(0, candidates.size() - 1)(random_)];
    if (victim.role == Actor::consumer && without_consumer_for_ == 0 && chance(0.25)) {
      leave_without_consumer();
    } else if (!victim.resume_at && chance(0.35)) {
      pause(victim);
    } else {
      kill(victim);
      without_consumer_for_ = std::max(without_consumer_for_ - 1, 0);
    }
  }
  for (Place& place : places_) {
    if (place.is_away && without_consumer_for_ == 0) {
      place.is_away = false;
    }
    if (is_producer(place.role) && !place.process && !place.start_at) {
      place.start_at = Clock::now() + between(0us, 20ms);
    }
  }
}

void KillSystem::run(int kills) {
  const TimePoint begun = Clock::now();
  while (figures_.all_kills() < kills && !::testing::Test::HasFailure()) {
    // After a time, or after so many bytes of lines if these come before.
    const TimePoint moment = Clock::now() + between(0us, 300ms);
    const auto bytes = e2e::size_of(system_.folder.file("out9.txt")) +
                       std::uniform_int_distribution<std::uintmax_t>(1, 200'000)(random_);
    constexpr microseconds kLook{2000};
    while (Clock::now() < moment && !::testing::Test::HasFailure() &&
           e2e::size_of(system_.folder.file("out9.txt")) < bytes) {
      step(std::min(moment, Clock::now() + kLook));
    }
    strike();
  }
  figures_.under_kills += std::chrono::round<std::chrono::milliseconds>(Clock::now() - begun);
}

// ---- the end of a round

bool KillSystem::wait_until_all_ended(std::chrono::seconds patience) {
  const TimePoint end = Clock::now() + patience;
  const auto is_sending = [&] {
    return !replaced_.empty() || std::any_of(places_.begin(), places_.end(), [](const Place& p) {
      return is_producer(p.role) && (p.process || p.start_at);
    });
  };
  while (is_sending() && Clock::now() < end && !::testing::Test::HasFailure()) {
    step(end);
  }
  return !is_sending();
}

void KillSystem::drain() {
  for (Place& place : places_) {
    place.is_away = false;
    if (is_producer(place.role) && !place.process && !place.has_stream) {
      place.start_at.reset();
    }
  }
  do_what_is_due();
  ASSERT_TRUE(wait_until_all_ended(kEverybodyEnds)) << "producers do not come to their end";
  // What killed pets had sent may still be on its way.
  ASSERT_TRUE(system_.wait_for_status([&](const nlohmann::json& status) {
    step(Clock::now());
    return ::testing::Test::HasFailure() ||
           (status["journal"]["batches"] == 0 && status["window"]["batches"] == 0 &&
            status["consumer"]["attached"] == true);
  })) << "the queue does not drain";
  for (Place& place : places_) {
    if (place.resume_at) {
      place.process->signal(SIGCONT);
      place.resume_at.reset();
    }
  }
  for (const Actor role : {Actor::consumer, Actor::broker}) {
    for (Place& place : places_) {
      if (place.role == role && place.process) {
        // Not yet so far that it heeds the signal: it would end by it, as any process does.
        system_.folder.wait_until(
            [&] { return !place.process->err().empty() || !place.process->running(); });
        place.process->signal(SIGTERM);
        const auto code = place.process->wait();
        // It was paused, and is on its way out: with 1, or by this signal when it is that far.
        const bool is_late = place.role == Actor::consumer &&
                             place.process->err().find("has taken over") != std::string::npos;
        EXPECT_TRUE(code == 0 || is_late) << name_of(role) << ": " << place.process->err();
        place.process.reset();
      }
    }
  }
}

std::string KillSystem::logs() const {
  std::string text;
  for (const auto& entry : std::filesystem::directory_iterator(system_.folder.path())) {
    if (entry.path().extension() == ".err") {
      const std::string said = e2e::read_file(entry.path());
      constexpr std::size_t kEnd = 1000;
      text += fmt::format("---- {}\n{}\n", entry.path().filename().string(),
                          said.substr(said.size() - std::min(said.size(), kEnd)));
    }
  }
  return text;
}

}  // namespace turnstile::campaign
