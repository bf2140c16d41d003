#include "lab/live.h"

#include <algorithm>
#include <utility>

#include "lab/json.h"
#include "lab/sentence.h"

namespace turnstile::lab {
namespace {

constexpr std::size_t kTail = 12;
constexpr std::size_t kLanesWithGraph = 8;
// An event reaches the file a little after its timestamp.
constexpr std::int64_t kLateNs = 30'000'000;

}  // namespace

LiveRun::LiveRun(const RunInfo& run, std::uint64_t number, std::filesystem::path directory)
    : timeline_(run), number_(number), directory_(std::move(directory)) {}

LiveMessage LiveRun::begin() const {
  return {number_, "run", dump(json_of_run(timeline_.run(), number_)), {}, 0};
}

void LiveRun::add_older_than(std::int64_t time_ns) {
  std::stable_sort(pending_.begin(), pending_.end(),
                   [](const Event& a, const Event& b) { return a.time_ns < b.time_ns; });
  const auto end = std::find_if(pending_.begin(), pending_.end(),
                                [time_ns](const Event& event) { return event.time_ns >= time_ns; });
  for (auto event = pending_.begin(); event != end; ++event) {
    timeline_.add(*event);
  }
  pending_.erase(pending_.begin(), end);
}

LiveMessage LiveRun::segments(std::int64_t now_ns) {
  LiveMessage message{number_, "segments", {}, {}, to_ms(now_ns)};
  for (const LaneSegment& one : timeline_.take_done()) {
    message.data +=
        (message.data.empty() ? "" : ",") + dump(Json::array({one.lane, json_of(one.segment)}));
  }
  message.open = dump(json_of(timeline_.open(now_ns)));
  return message;
}

std::string LiveRun::counters(std::int64_t now_ns) const {
  const Numbers numbers = numbers_of(timeline_);
  const std::string holder = timeline_.holder();
  return dump({{"run", number_},
               {"now_ms", to_ms(now_ns)},
               {"rows_wanted", numbers.rows_wanted},
               {"tried", timeline_.rows().size()},
               {"committed", numbers.in_database},
               {"lost", count_refused(timeline_)},
               {"locked_errors", numbers.locked_errors},
               {"waiting", timeline_.waiting().size()},
               {"holding", holder.empty() ? Json(nullptr) : Json(holder)},
               {"longest_wait_ms", numbers.longest_wait_ms}});
}

std::string LiveRun::text(std::optional<TextFacts> facts) const {
  const auto lines = last_lines(directory_ / kTextLog, kTail);
  Json json{{"run", number_}, {"lines", lines}};
  if (!facts) {
    // Torn lines are recognised by the committed rows, which are read at the end.
    const std::string all = read_file(directory_ / kTextLog);
    facts = TextFacts{static_cast<std::size_t>(std::count(all.begin(), all.end(), '\n')), 0, 0, 0};
  }
  json["total"] = facts->lines;
  json["torn"] = facts->torn;
  return dump(json);
}

std::string LiveRun::table_from_events() const {
  const auto& commits = timeline_.commits();
  Json rows = Json::array();
  for (std::size_t i = commits.size() - std::min(commits.size(), kTail); i < commits.size(); ++i) {
    rows.push_back(Json::array({commits[i].first, commits[i].second}));
  }
  return dump({{"run", number_},
               {"columns", {"row", "process"}},
               {"rows", std::move(rows)},
               {"total", commits.size()},
               {"from", "events"}});
}

std::string LiveRun::table_from(const Table& table) const {
  const std::size_t first = table.rows.size() - std::min(table.rows.size(), kTail);
  Json rows = Json::array();
  for (std::size_t i = first; i < table.rows.size(); ++i) {
    rows.push_back(table.rows[i]);
  }
  return dump({{"run", number_},
               {"columns", table.columns},
               {"rows", std::move(rows)},
               {"total", table.rows.size()},
               {"from", "database"}});
}

void LiveRun::add_if_new(const char* event, std::string data, std::string& last,
                         std::vector<LiveMessage>& into) const {
  if (data != last) {
    last = data;
    into.push_back({number_, event, std::move(data), {}, 0});
  }
}

void LiveRun::describe(std::int64_t now_ns, std::vector<LiveMessage>& into) {
  into.push_back(segments(now_ns));
  add_if_new("counters", counters(now_ns), last_counters_, into);
  if (timeline_.run().has_text) {
    add_if_new("text", text({}), last_text_, into);
  }
  add_if_new("table", table_from_events(), last_table_, into);
  add_if_new("explain", dump({{"run", number_}, {"text", explain_now(timeline_, now_ns)}}),
             last_explain_, into);
  if (timeline_.lanes().size() > kLanesWithGraph) {
    return;
  }
  WaitGraph graph = timeline_.graph();
  if (!graph.same_as(last_graph_)) {
    Json json = json_of(graph);
    json["run"] = number_;
    into.push_back({number_, "graph", dump(json), {}, 0});
    last_graph_ = std::move(graph);
  }
}

std::vector<LiveMessage> LiveRun::take(std::span<const Event> events, std::int64_t now_ns) {
  pending_.insert(pending_.end(), events.begin(), events.end());
  add_older_than(now_ns - kLateNs);
  std::vector<LiveMessage> messages;
  describe(std::max(now_ns - kLateNs - timeline_.run().began_ns, timeline_.now_ns()), messages);
  return messages;
}

std::vector<LiveMessage> LiveRun::end(const Outcome& outcome, const Plan& plan,
                                      const std::vector<Table>& tables) {
  add_older_than(INT64_MAX);
  timeline_.finish(outcome.recording.events.empty() ? timeline_.run().began_ns
                                                    : outcome.recording.events.back().time_ns);
  std::vector<LiveMessage> messages;
  describe(timeline_.now_ns(), messages);
  if (timeline_.run().has_text) {
    add_if_new("text", text(outcome.numbers.text), last_text_, messages);
  }
  if (!tables.empty() && !plan.tables.empty()) {
    add_if_new("table", table_from(tables.front()), last_table_, messages);
  }
  messages.push_back(
      {number_, "explain", dump({{"run", number_}, {"text", explain_end(outcome)}}), {}, 0});
  messages.push_back({number_, "ended", dump(json_of_end(outcome, number_)), {}, 0});
  return messages;
}

}  // namespace turnstile::lab
