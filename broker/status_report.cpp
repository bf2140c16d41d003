// The status report: one map, made by the broker, shown by `turnstile status`.
#include <algorithm>
#include <initializer_list>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "broker/core.h"
#include "generated/version.h"

namespace turnstile::broker {
namespace {

constexpr std::size_t kProducersListed = 1000;

std::int64_t ms(std::chrono::nanoseconds duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

// The id of an unnamed process is its secret: a client that knows it could send rows as that
// process. A prefix is enough for people.
std::string shown(const ProducerId& id, bool is_named) {
  constexpr std::size_t kShown = 8;
  std::string text = id.text;
  if (!is_named && is_random_id(text)) {
    std::fill(text.begin() + kShown, text.end(), '0');
  }
  return text;
}

// A reason may name paths and other users' programs.
std::string without_reason(const std::string& problem) {
  return problem.empty() ? std::string()
                         : "the broker's user sees the reason in `turnstile status`";
}

// What other users see: numbers, no names, no paths.
nlohmann::json without_details(const nlohmann::json& report) {
  const auto copy = [](const nlohmann::json& from, std::initializer_list<const char*> keys) {
    nlohmann::json out = nlohmann::json::object();
    for (const char* key : keys) {
      out[key] = from.at(key);
    }
    return out;
  };
  nlohmann::json out =
      copy(report, {"version", "broker", "uptime_ms", "producers_connected", "window",
                    "oldest_waiting_ms", "dead_letters", "messages_rejected"});
  out["endpoint"] = "";
  out["producers"] = nlohmann::json::array();
  out["producers_stopped"] = nlohmann::json::array();
  out["journal"] = copy(report.at("journal"), {"batches", "rows", "bytes", "limit_bytes"});
  out["journal"]["path"] = "";
  out["journal"]["problem"] = without_reason(report.at("journal").at("problem"));
  out["consumer"] = copy(report.at("consumer"),
                         {"attached", "lease", "standing_by", "rows_applied", "rows_per_second"});
  out["consumer"]["target"] = "";
  out["consumer"]["problem"] = without_reason(report.at("consumer").at("problem"));
  out["consumer"]["tables"] = nlohmann::json::array();
  return out;
}

}  // namespace

double Core::rows_per_second(TimePoint now) const {
  if (rate_samples_.empty()) {
    return 0;
  }
  const auto& [since, rows] = rate_samples_.front();
  const double seconds = std::chrono::duration<double>(now - since).count();
  return seconds > 0 ? static_cast<double>(rows_settled_ - rows) / seconds : 0;
}

Bytes Core::status_report(TimePoint now, Reader reader) {
  nlohmann::json producers = nlohmann::json::array();
  for (const auto& [id, connection] : connections_) {
    if (reader != Reader::owner || producers.size() == kProducersListed) {
      break;
    }
    const Session& session = sessions_.at(connection);
    producers.push_back({{"producer", shown(id, session.hello.named)},
                         {"named", session.hello.named},
                         {"epoch", session.epoch.value},
                         {"stored_through", window_.stored_through(id).value},
                         {"applied_through", window_.applied_through(id).value}});
  }
  nlohmann::json stopped = nlohmann::json::array();
  for (const auto& id : window_.stopped_producers()) {
    if (reader != Reader::owner) {
      break;
    }
    stopped.push_back(shown(id, false));
  }

  nlohmann::json tables = nlohmann::json::array();
  for (const auto& trouble : consumer_stats_.tables) {
    tables.push_back({{"table", trouble.table}, {"reason", trouble.reason}});
  }

  std::int64_t oldest_ms = 0;
  if (const auto at = window_.oldest()) {
    oldest_ms = ms(now - *at);
  }
  if (!window_.cold().empty()) {
    if (const auto age = journal_.age(window_.cold().next)) {
      oldest_ms = std::max(oldest_ms, age->count());
    }
  }

  nlohmann::json report = {
      {"version", kVersion},
      {"broker", options_.broker_id},
      {"endpoint", options_.endpoint},
      {"uptime_ms", ms(now - started_)},
      {"producers_connected", connections_.size()},
      {"producers", std::move(producers)},
      {"producers_stopped", std::move(stopped)},
      {"window",
       {{"batches", window_.batches_in_memory()},
        {"rows", window_.rows_in_memory()},
        {"bytes", window_.memory_bytes()},
        {"limit_bytes", options_.window.memory_bytes}}},
      {"journal",
       {{"path", journal_.path().string()},
        {"batches", journal_.batches()},
        {"rows", journal_.rows()},
        {"bytes", journal_.bytes()},
        {"limit_bytes", journal_.limit_bytes()},
        {"problem", journal_problem_.empty() ? journal_loss_ : journal_problem_},
        {"loss", journal_loss_}}},
      {"oldest_waiting_ms", oldest_ms},
      {"consumer",
       {{"attached", window_.has_consumer()},
        {"target", consumer_stats_.target},
        {"lease", lease_.lease().value},
        {"standing_by", lease_.standing_by()},
        {"rows_applied", consumer_stats_.rows_applied},
        {"rows_per_second", rows_per_second(now)},
        {"problem", consumer_stats_.problem},
        {"tables", std::move(tables)}}},
      {"dead_letters", consumer_stats_.dead_letters},
      {"messages_rejected", messages_rejected_},
  };
  if (reader == Reader::other) {
    report = without_details(report);
  }
  const auto bytes = nlohmann::json::to_msgpack(report);
  return Bytes(std::string(bytes.begin(), bytes.end()));
}

}  // namespace turnstile::broker
