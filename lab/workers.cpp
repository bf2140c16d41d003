#include "lab/workers.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <utility>

#include "base/descriptor.h"

namespace turnstile::lab {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

void meet(const WorkerFlags& flags, const std::string& place) {
  constexpr std::chrono::seconds kTimeout{5};
  const Descriptor changes(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  ::inotify_add_watch(changes.get(), ".", IN_CREATE);
  const auto file_of = [&](const std::string& name) { return "met-" + place + "-" + name; };
  std::ofstream(file_of(flags.as)).close();
  const auto all_are_there = [&] {
    return std::all_of(flags.with.begin(), flags.with.end(),
                       [&](const auto& name) { return std::filesystem::exists(file_of(name)); });
  };
  const auto until = Clock::now() + kTimeout;
  while (!all_are_there() && Clock::now() < until) {
    pollfd item{changes.get(), POLLIN, 0};
    ::poll(&item, 1, 100);
    std::array<char, 4096> ignored{};
    while (::read(changes.get(), ignored.data(), ignored.size()) > 0) {
    }
  }
}

void RowEvents::say(EventKind kind, Resource resource, const std::string& error) const {
  if (sink_ == nullptr) {
    return;
  }
  Event event;
  event.kind = kind;
  event.producer = process_;
  event.first = sequence_;
  event.rows = 1;
  event.row = row_;
  event.resource = resource;
  event.error = error;
  if (kind == EventKind::acknowledged) {
    event.level = "applied";
  }
  sink_->write(std::move(event));
}

Result<Database> open_database(const WorkerFlags& flags, const RowEvents& events) {
  return Database::open(flags.db, flags.busy_timeout).map([&events](Database database) {
    database.watch_waits([&events] { events.say(EventKind::waiting); });
    return database;
  });
}

}  // namespace turnstile::lab
