#include "events/event_sink.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "base/utf8.h"

namespace turnstile {
namespace {

std::string from_variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

}  // namespace

EventSink::EventSink(Descriptor fd, std::string process)
    : fd_(std::move(fd)), process_(std::move(process)), pid_(::getpid()) {}

Result<std::shared_ptr<EventSink>> EventSink::open(const std::string& path, std::string process) {
  constexpr mode_t kMode = 0600;
  Descriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, kMode));
  if (!fd) {
    return fail(Errc::unreachable,
                "cannot write events to " + path + ": " + std::generic_category().message(errno),
                "name a file that can be written");
  }
  return std::shared_ptr<EventSink>(new EventSink(std::move(fd), std::move(process)));
}

std::shared_ptr<EventSink> EventSink::from_environment() {
  const std::string path = from_variable("TURNSTILE_EVENTS");
  if (path.empty()) {
    return nullptr;
  }
  std::string process = from_variable("TURNSTILE_PROCESS");
  if (process.empty()) {
    process = "pid-" + std::to_string(::getpid());
  }
  auto opened = open(path, std::move(process));
  if (!opened) {
    std::fprintf(stderr, "turnstile: %s\n", printable(opened.error().what).c_str());
    return nullptr;
  }
  return std::move(*opened);
}

void EventSink::write(Event event) const {
  event.time_ns = monotonic_ns();
  if (event.process.empty()) {
    event.process = process_;
  }
  if (event.pid == 0) {
    event.pid = pid_;
  }
  const std::string line = to_line(event);
  // A part of a line would spoil the next one's, but a regular file takes all or has no room.
  [[maybe_unused]] const ssize_t written = ::write(fd_.get(), line.data(), line.size());
}

void EventSink::about(EventKind kind) const {
  Event event;
  event.kind = kind;
  write(std::move(event));
}

void EventSink::about(EventKind kind, const BatchHeader& header, std::string_view row) const {
  Event event;
  event.kind = kind;
  event.producer = header.producer.text;
  event.first = header.first.value;
  event.rows = header.rows;
  event.row = row;
  if (kind == EventKind::trying) {
    event.table = header.table;
  }
  event.hold = header.task_duration;
  write(std::move(event));
}

void EventSink::refused(const ProducerId& producer, Sequence row, const std::string& reason) const {
  Event event;
  event.kind = EventKind::refused;
  event.producer = producer.text;
  event.first = row.value;
  event.rows = 1;
  event.error = reason;
  write(std::move(event));
}

void EventSink::acknowledged(const ProducerId& producer, Sequence first, Sequence last,
                             std::string_view level) const {
  Event event;
  event.kind = EventKind::acknowledged;
  event.producer = producer.text;
  event.first = first.value;
  event.rows = static_cast<std::uint32_t>(last.value - first.value + 1);
  event.level = level;
  write(std::move(event));
}

std::string row_name(std::span<const std::string_view> row) {
  return row.empty() ? std::string() : std::string(row.front().substr(0, kRowNameBytes));
}

std::string row_name(std::span<const ValueRef> row) {
  if (row.empty()) {
    return {};
  }
  if (const auto* text = std::get_if<std::string_view>(&row.front())) {
    return row_name(std::span<const std::string_view>(text, 1));
  }
  if (const auto* integer = std::get_if<std::int64_t>(&row.front())) {
    return std::to_string(*integer);
  }
  return {};
}

}  // namespace turnstile
