#include "events/event.h"

#include <array>
#include <ctime>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/utf8.h"

namespace turnstile {
namespace {

using nlohmann::ordered_json;

constexpr std::array kKinds{
    std::pair{EventKind::trying, "trying"},
    std::pair{EventKind::waiting, "waiting"},
    std::pair{EventKind::lock, "lock"},
    std::pair{EventKind::holding, "holding"},
    std::pair{EventKind::committed, "committed"},
    std::pair{EventKind::released, "released"},
    std::pair{EventKind::refused, "refused"},
    std::pair{EventKind::acknowledged, "acknowledged"},
    std::pair{EventKind::ready, "ready"},
    std::pair{EventKind::started, "started"},
    std::pair{EventKind::ended, "ended"},
    std::pair{EventKind::crashed, "crashed"},
};

constexpr std::array kResources{
    std::pair{Resource::database, "database"},
    std::pair{Resource::text, "text"},
    std::pair{Resource::queue, "queue"},
};

template <typename Named, typename Value>
std::string_view find_name(const Named& names, Value value) {
  for (const auto& [known, name] : names) {
    if (known == value) {
      return name;
    }
  }
  return "?";
}

template <typename Value, typename Named>
std::optional<Value> find_value(const Named& names, std::string_view name) {
  for (const auto& [value, known] : names) {
    if (name == known) {
      return value;
    }
  }
  return std::nullopt;
}

constexpr std::size_t kTextBytes = 400;  // of an error; the rest of an event fits in what is left

// Cut, and fit for a line: bytes that are no UTF-8 become U+FFFD when it is dumped.
std::string cut(const std::string& text, std::size_t bytes) {
  return text.substr(0, bytes);
}

void put(ordered_json& line, const char* name, const std::string& text, std::size_t bytes) {
  if (!text.empty()) {
    line[name] = cut(text, bytes);
  }
}

template <typename T>
T value_or(const nlohmann::json& line, const char* name, T otherwise) {
  const auto found = line.find(name);
  if (found == line.end()) {
    return otherwise;
  }
  if constexpr (std::is_same_v<T, std::string>) {
    // A recording may be somebody else's.
    return found->is_string() ? printable(found->template get<std::string>()) : otherwise;
  } else {
    return found->is_number_integer() ? found->template get<T>() : otherwise;
  }
}

}  // namespace

std::string_view name_of(EventKind kind) {
  return find_name(kKinds, kind);
}

std::string_view name_of(Resource resource) {
  return find_name(kResources, resource);
}

std::string to_line(const Event& event) {
  ordered_json line;
  line["t"] = event.time_ns;
  line["kind"] = name_of(event.kind);
  line["process"] = cut(event.process, kRowNameBytes);
  line["pid"] = event.pid;
  put(line, "producer", event.producer, kRowNameBytes);
  if (event.rows > 0) {
    line["first"] = event.first;
    line["rows"] = event.rows;
  }
  put(line, "row", event.row, kRowNameBytes);
  put(line, "table", event.table, kRowNameBytes);
  if (event.resource != Resource::database) {
    line["resource"] = name_of(event.resource);
  }
  put(line, "error", event.error, kTextBytes);
  if (event.kind == EventKind::holding) {
    line["hold_ms"] = event.hold.count();
  }
  put(line, "level", event.level, kRowNameBytes);
  put(line, "role", event.role, kRowNameBytes);
  if (event.kind == EventKind::ended) {
    line["exit"] = event.code;
  } else if (event.kind == EventKind::crashed) {
    line["signal"] = event.code;
  }
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
}

std::optional<Event> parse_event(std::string_view line) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object()) {
    return std::nullopt;
  }
  const auto kind = find_value<EventKind>(kKinds, value_or(json, "kind", std::string()));
  Event event;
  event.time_ns = value_or<std::int64_t>(json, "t", -1);
  event.process = value_or(json, "process", std::string());
  if (!kind || event.time_ns < 0 || event.process.empty()) {
    return std::nullopt;
  }
  event.kind = *kind;
  event.pid = value_or<std::int64_t>(json, "pid", 0);
  event.producer = value_or(json, "producer", std::string());
  event.first = value_or<std::uint64_t>(json, "first", 0);
  event.rows = value_or<std::uint32_t>(json, "rows", 0);
  event.row = value_or(json, "row", std::string());
  event.table = value_or(json, "table", std::string());
  event.resource =
      find_value<Resource>(kResources, value_or(json, "resource", std::string("database")))
          .value_or(Resource::database);
  event.error = value_or(json, "error", std::string());
  event.hold = std::chrono::milliseconds(value_or<std::int64_t>(json, "hold_ms", 0));
  event.level = value_or(json, "level", std::string());
  event.role = value_or(json, "role", std::string());
  event.code = value_or<int>(json, event.kind == EventKind::crashed ? "signal" : "exit", 0);
  return event;
}

std::int64_t monotonic_ns() {
  constexpr std::int64_t kNsInSecond = 1'000'000'000;
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * kNsInSecond + now.tv_nsec;
}

}  // namespace turnstile
