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

namespace turnstile::lab {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

void meet(const WorkerFlags& flags, const std::string& place) {
  constexpr std::chrono::seconds kPatience{5};
  const int changes = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  ::inotify_add_watch(changes, ".", IN_CREATE);
  const auto file_of = [&](const std::string& name) { return "met-" + place + "-" + name; };
  std::ofstream(file_of(flags.as)).close();
  const auto all_are_there = [&] {
    return std::all_of(flags.with.begin(), flags.with.end(),
                       [&](const auto& name) { return std::filesystem::exists(file_of(name)); });
  };
  const auto until = Clock::now() + kPatience;
  while (!all_are_there() && Clock::now() < until) {
    pollfd item{changes, POLLIN, 0};
    ::poll(&item, 1, 100);
    std::array<char, 4096> ignored{};
    while (::read(changes, ignored.data(), ignored.size()) > 0) {
    }
  }
  ::close(changes);
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

Result<sqlite::Connection> open_database(const WorkerFlags& flags, const RowEvents& events) {
  auto opened = sqlite::Connection::open(flags.db, sqlite::Access::read_write);
  if (!opened) {
    return opened;
  }
  opened->on_busy([&events, timeout = flags.busy_timeout,
                   before = flags.busy_timeout](std::chrono::milliseconds waited) mutable {
    // A wait begins when the time waited is not longer than it was.
    if (waited < before || (waited == before && waited.count() == 0)) {
      events.say(EventKind::waiting);
    }
    before = waited;
    return waited < timeout;
  });
  return opened;
}

}  // namespace turnstile::lab
