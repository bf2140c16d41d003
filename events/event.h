// An event of the lab: what happened to rows, in which process, when. EVENTS.md is the format.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace turnstile {

enum class EventKind {
  trying,
  waiting,
  lock,
  holding,
  committed,
  released,
  refused,
  acknowledged,
  ready,
  started,
  ended,
  crashed,
};

enum class Resource { database, text, queue };

std::string_view name_of(EventKind kind);
std::string_view name_of(Resource resource);

struct Event {
  EventKind kind = EventKind::trying;
  std::int64_t time_ns = 0;  // of CLOCK_MONOTONIC
  std::string process;
  std::int64_t pid = 0;

  std::string producer;     // id; empty where it does not apply, as all below
  std::uint64_t first = 0;  // sequence; 0: about no row
  std::uint32_t rows = 0;
  std::string row;
  std::string table;
  Resource resource = Resource::database;
  std::string error;
  std::chrono::milliseconds hold{0};
  std::string level;  // stored, applied

  // Of processes, written by the lab.
  std::string role;
  int code = 0;  // exit code or signal
};

inline constexpr std::size_t kEventBytes = 4096;  // of a line, with its end
inline constexpr std::size_t kRowNameBytes = 64;

// One line with its end. Texts that would make it longer than kEventBytes are cut.
std::string to_line(const Event& event);

// Nothing for a line that is no event of these kinds: it is to be skipped.
std::optional<Event> parse_event(std::string_view line);

std::int64_t monotonic_ns();

}  // namespace turnstile
