#include "lab/json.h"

#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "lab/sentence.h"

namespace turnstile::lab {
namespace {

Result<void> take_number(const nlohmann::json& value, const std::string& name, std::int64_t& into) {
  if (!value.is_number_integer()) {
    return fail(Errc::bad_input, name + " must be a whole number");
  }
  into = value.get<std::int64_t>();
  return {};
}

Result<void> take_duration(const nlohmann::json& value, const std::string& name,
                           std::chrono::milliseconds& into) {
  std::int64_t ms = 0;
  return take_number(value, name, ms).map([&] { into = std::chrono::milliseconds(ms); });
}

Result<void> take_text(const nlohmann::json& value, const std::string& name, std::string& into) {
  if (!value.is_string()) {
    return fail(Errc::bad_input, name + " must be a string");
  }
  into = value.get<std::string>();
  return {};
}

Result<void> take_setting(const std::string& name, const nlohmann::json& value, Settings& into) {
  for (const SettingInfo& info : all_settings()) {
    if (info.name != name) {
      continue;
    }
    switch (info.setting) {
      case Setting::processes:
        return take_number(value, name, into.processes);
      case Setting::rows:
        return take_number(value, name, into.rows);
      case Setting::task_duration:
        return take_duration(value, name, into.task_duration);
      case Setting::busy_timeout:
        return take_duration(value, name, into.busy_timeout);
      case Setting::journal:
        return take_text(value, name, into.journal);
      case Setting::begin:
        return take_text(value, name, into.begin);
    }
  }
  return fail(Errc::bad_input, fmt::format("there is no setting '{}'", name));
}

Json json_of(const ProcessNumbers& process) {
  return {{"process", process.process},         {"rows_wanted", process.rows_wanted},
          {"in_database", process.in_database}, {"locked_errors", process.locked_errors},
          {"waited_ms", process.waited_ms},     {"longest_wait_ms", process.longest_wait_ms},
          {"done_ms", process.done_ms}};
}

Json json_of(const std::optional<TextFacts>& text) {
  if (!text) {
    return nullptr;
  }
  return {{"lines", text->lines},
          {"intact", text->intact},
          {"torn", text->torn},
          {"missing", text->missing}};
}

Json json_of_modes(const Scenario& scenario) {
  Json modes = Json::array();
  for (const Mode mode : scenario.modes) {
    modes.push_back({{"name", name_of(mode)}, {"title", title_of(mode)}});
  }
  return modes;
}

}  // namespace

double to_ms(std::int64_t ns) {
  constexpr double kNsInUs = 1000;
  constexpr double kUsInMs = 1000;
  return std::round(static_cast<double>(ns) / kNsInUs) / kUsInMs;
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json json_of(const Settings& settings) {
  return {{"processes", settings.processes},
          {"rows", settings.rows},
          {"task_duration_ms", settings.task_duration.count()},
          {"busy_timeout_ms", settings.busy_timeout.count()},
          {"journal", settings.journal},
          {"begin", settings.begin}};
}

Result<Settings> settings_from(const nlohmann::json& json, Settings defaults) {
  if (!json.is_object()) {
    return fail(Errc::bad_input, "settings must be an object");
  }
  for (const auto& [name, value] : json.items()) {
    if (auto taken = take_setting(name, value, defaults); !taken) {
      return tl::make_unexpected(taken.error());
    }
  }
  return defaults;
}

Json json_of_scenarios() {
  Json settings = Json::array();
  for (const SettingInfo& info : all_settings()) {
    Json one{{"name", info.name}, {"title", info.title}};
    if (info.choices.empty()) {
      one["type"] = "integer";
      if (info.is_duration) {
        one["unit"] = "ms";
      }
      one["min"] = info.min;
      one["max"] = info.max;
    } else {
      one["type"] = "choice";
      one["choices"] = info.choices;
    }
    settings.push_back(std::move(one));
  }
  Json all = Json::array();
  for (const Scenario& scenario : scenarios()) {
    Json adjustable = Json::array();
    for (const Setting setting : scenario.adjustable) {
      adjustable.push_back(info_of(setting).name);
    }
    all.push_back({{"name", scenario.name},
                   {"title", scenario.title},
                   {"about", scenario.about},
                   {"claim", scenario.claim},
                   {"modes", json_of_modes(scenario)},
                   {"settings", json_of(scenario.settings)},
                   {"adjustable", std::move(adjustable)},
                   {"takes_ms", scenario.takes.count()}});
  }
  return {{"settings", std::move(settings)}, {"scenarios", std::move(all)}};
}

Json json_of(const Numbers& numbers) {
  Json processes = Json::array();
  for (const ProcessNumbers& process : numbers.processes) {
    if (process.rows_wanted > 0) {
      processes.push_back(json_of(process));
    }
  }
  const auto one = [&](const std::optional<std::size_t>& index) {
    return index ? json_of(numbers.processes[*index]) : Json(nullptr);
  };
  return {{"rows_wanted", numbers.rows_wanted},
          {"in_database", numbers.in_database},
          {"lost", numbers.lost},
          {"locked_errors", numbers.locked_errors},
          {"wall_ms", numbers.wall_ms},
          {"longest_wait_ms", numbers.longest_wait_ms},
          {"longest_lock_wait_ms", numbers.longest_lock_wait_ms},
          {"most_turns_of_others", numbers.most_turns_of_others},
          {"slowest", one(numbers.slowest)},
          {"fastest", one(numbers.fastest)},
          {"processes", std::move(processes)},
          {"text", json_of(numbers.text)},
          {"cycle", numbers.cycle}};
}

Json json_of(const WaitGraph& graph) {
  Json edges = Json::array();
  for (const WaitEdge& edge : graph.edges) {
    edges.push_back({{"from", edge.from}, {"to", edge.to}, {"resource", name_of(edge.resource)}});
  }
  return {{"at_ms", to_ms(graph.at_ns)}, {"edges", std::move(edges)}, {"cycle", graph.cycle}};
}

Json json_of(const Segment& segment) {
  Json json = Json::array({std::string(1, static_cast<char>(segment.kind)), to_ms(segment.from_ns),
                           to_ms(segment.to_ns), segment.row});
  if (!segment.holder.empty() || !segment.error.empty()) {
    json.push_back(segment.holder.empty() ? Json(nullptr) : Json(segment.holder));
  }
  if (!segment.error.empty()) {
    json.push_back(segment.error);
  }
  return json;
}

Json json_of(const std::vector<LaneSegment>& segments) {
  Json json = Json::array();
  for (const LaneSegment& one : segments) {
    json.push_back(Json::array({one.lane, json_of(one.segment)}));
  }
  return json;
}

Json json_of_run(const RunInfo& run, std::uint64_t number) {
  Json lanes = Json::array();
  for (const LaneInfo& lane : run.lanes) {
    lanes.push_back(
        {{"name", lane.name}, {"role", name_of(lane.role)}, {"rows_wanted", lane.wanted.size()}});
  }
  const auto scenario = find_scenario(run.scenario);
  return {{"run", number},
          {"scenario", run.scenario},
          {"title", scenario ? std::string((*scenario)->title) : run.scenario},
          {"about", scenario ? std::string((*scenario)->about) : ""},
          {"mode", name_of(run.mode)},
          {"mode_title", title_of(run.mode)},
          {"settings", json_of(run.settings)},
          {"wall", run.wall},
          {"rows_wanted", run.rows_wanted()},
          {"lanes", std::move(lanes)}};
}

Json json_of_end(const Outcome& outcome, std::uint64_t number) {
  const auto& cycle = outcome.timeline.first_cycle();
  return {{"run", number},
          {"scenario", outcome.recording.run.scenario},
          {"mode", name_of(outcome.recording.run.mode)},
          {"numbers", json_of(outcome.numbers)},
          {"sentence", explain_end(outcome)},
          {"agrees", outcome.disagreements.empty()},
          {"disagreements", outcome.disagreements},
          {"stopped", outcome.recording.stopped},
          {"graph", cycle ? json_of(*cycle) : Json(nullptr)}};
}

}  // namespace turnstile::lab
