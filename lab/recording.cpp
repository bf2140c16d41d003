#include "lab/recording.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "lab/json.h"

namespace turnstile::lab {
namespace {

constexpr std::size_t kNamesBytes = 3000;  // in one line, so that the line stays below kEventBytes

Json line_of(std::string_view kind, std::int64_t time_ns) {
  return {{"t", time_ns}, {"kind", kind}, {"process", "lab"}};
}

// Appends lines that list `names`; long lists take several lines.
void append_names(std::string& lines, const Json& start, const std::vector<std::string>& names) {
  Json line = start;
  line["rows"] = Json::array();
  std::size_t bytes = 0;
  for (const auto& name : names) {
    line["rows"].push_back(name);
    bytes += name.size() + 3;
    if (bytes > kNamesBytes) {
      lines += dump(line) + '\n';
      line["rows"] = Json::array();
      bytes = 0;
    }
  }
  if (!line["rows"].empty()) {
    lines += dump(line) + '\n';
  }
}

std::string text_in(const nlohmann::json& line, const char* name) {
  const auto found = line.find(name);
  return found != line.end() && found->is_string() ? printable(found->get<std::string>())
                                                   : std::string();
}

std::size_t count_in(const nlohmann::json& line, const char* name) {
  const auto found = line.find(name);
  return found != line.end() && found->is_number_unsigned() ? found->get<std::size_t>() : 0;
}

std::vector<std::string> names_in(const nlohmann::json& line) {
  std::vector<std::string> names;
  const auto found = line.find("rows");
  if (found != line.end() && found->is_array()) {
    for (const auto& name : *found) {
      if (name.is_string()) {
        names.push_back(printable(name.get<std::string>()));
      }
    }
  }
  return names;
}

Role role_of(const std::string& name) {
  return name == name_of(Role::consumer) ? Role::consumer : Role::producer;
}

Result<RunInfo> run_in(const nlohmann::json& line) {
  const auto format = count_in(line, "format");
  if (format != kEventsFormat) {
    return fail(Errc::bad_input, fmt::format("the events have format {}, this program reads {}",
                                             format, kEventsFormat));
  }
  RunInfo run;
  run.scenario = text_in(line, "scenario");
  const auto mode = mode_of(text_in(line, "mode"));
  const auto settings = settings_from(line.value("settings", nlohmann::json::object()), Settings{});
  const auto lanes = line.find("lanes");
  const auto time = line.find("t");
  if (!mode || !settings || lanes == line.end() || !lanes->is_array() || time == line.end() ||
      !time->is_number_integer()) {
    return fail(Errc::bad_input, "the first line of a run is malformed");
  }
  run.mode = *mode;
  run.settings = *settings;
  run.began_ns = time->get<std::int64_t>();
  run.wall = text_in(line, "wall");
  const auto text = line.find("text");
  run.has_text = text != line.end() && text->is_boolean() && text->get<bool>();
  for (const auto& lane : *lanes) {
    if (lane.is_object()) {
      run.lanes.push_back({text_in(lane, "name"), role_of(text_in(lane, "role")), {}});
    }
  }
  return run;
}

void take_wanted(const nlohmann::json& line, RunInfo& run) {
  const std::string of = text_in(line, "of");
  for (LaneInfo& lane : run.lanes) {
    if (lane.name == of) {
      for (auto& name : names_in(line)) {
        lane.wanted.push_back(std::move(name));
      }
    }
  }
}

// Returns true after the last line of a run.
bool take_fact(const nlohmann::json& line, const std::string& kind, Recording& recording) {
  if (kind == "wanted") {
    take_wanted(line, recording.run);
  } else if (kind == "database") {
    for (auto& name : names_in(line)) {
      recording.facts.rows.push_back({text_in(line, "table"), std::move(name)});
    }
  } else if (kind == "text") {
    recording.facts.text = TextFacts{count_in(line, "lines"), count_in(line, "intact"),
                                     count_in(line, "torn"), count_in(line, "missing")};
  } else if (kind == "result") {
    recording.facts.integrity = text_in(line, "integrity");
    const auto stopped = line.find("stopped");
    recording.stopped = stopped != line.end() && stopped->is_boolean() && stopped->get<bool>();
    return true;
  }
  return false;
}

}  // namespace

std::string lines_before(const RunInfo& run) {
  Json lanes = Json::array();
  for (const LaneInfo& lane : run.lanes) {
    lanes.push_back({{"name", lane.name}, {"role", name_of(lane.role)}});
  }
  Json line = line_of("run", run.began_ns);
  line["format"] = kEventsFormat;
  line["scenario"] = run.scenario;
  line["mode"] = name_of(run.mode);
  line["settings"] = json_of(run.settings);
  line["lanes"] = std::move(lanes);
  line["text"] = run.has_text;
  line["wall"] = run.wall;
  std::string lines = dump(line) + '\n';
  for (const LaneInfo& lane : run.lanes) {
    Json wanted = line_of("wanted", run.began_ns);
    wanted["of"] = lane.name;
    append_names(lines, wanted, lane.wanted);
  }
  return lines;
}

std::string lines_after(const Recording& recording) {
  const std::int64_t now = monotonic_ns();
  std::string lines;
  std::vector<std::string> tables;
  for (const FoundRow& row : recording.facts.rows) {
    if (std::find(tables.begin(), tables.end(), row.table) == tables.end()) {
      tables.push_back(row.table);
    }
  }
  for (const auto& table : tables) {
    std::vector<std::string> names;
    for (const FoundRow& row : recording.facts.rows) {
      if (row.table == table) {
        names.push_back(row.row);
      }
    }
    Json line = line_of("database", now);
    line["table"] = table;
    append_names(lines, line, names);
  }
  if (const auto& text = recording.facts.text) {
    Json line = line_of("text", now);
    line["lines"] = text->lines;
    line["intact"] = text->intact;
    line["torn"] = text->torn;
    line["missing"] = text->missing;
    lines += dump(line) + '\n';
  }
  Json line = line_of("result", now);
  line["stopped"] = recording.stopped;
  line["integrity"] = recording.facts.integrity;
  return lines + dump(line) + '\n';
}

std::vector<std::string_view> LineReader::take(std::string_view bytes) {
  lines_ = std::exchange(rest_, {});
  lines_ += bytes;
  const std::size_t end = lines_.rfind('\n');
  if (end == std::string::npos) {
    rest_ = std::exchange(lines_, {});
    return {};
  }
  rest_ = lines_.substr(end + 1);
  std::vector<std::string_view> whole;
  std::string_view left(lines_.data(), end + 1);
  while (!left.empty()) {
    const std::size_t at = left.find('\n');
    whole.push_back(left.substr(0, at));
    left.remove_prefix(at + 1);
  }
  return whole;
}

Result<std::vector<Recording>> read_recordings(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return fail(Errc::unreachable, "cannot read " + path,
                "name a file that `turnstile lab run --events FILE` wrote");
  }
  std::vector<Recording> recordings;
  bool is_open = false;
  for (std::string text; std::getline(file, text);) {
    const auto line = nlohmann::json::parse(text, nullptr, false);
    if (!line.is_object()) {
      continue;
    }
    const std::string kind = text_in(line, "kind");
    if (kind == "run") {
      auto run = run_in(line);
      if (!run) {
        return fail(run.error().code, path + ": " + run.error().what);
      }
      recordings.push_back({std::move(*run), {}, {}, true});
      is_open = true;
    } else if (is_open) {
      if (auto event = parse_event(text)) {
        recordings.back().events.push_back(std::move(*event));
      } else if (take_fact(line, kind, recordings.back())) {
        is_open = false;
      }
    }
  }
  if (recordings.empty()) {
    return fail(Errc::bad_input, path + " holds no run",
                "name a file that `turnstile lab run --events FILE` wrote");
  }
  return recordings;
}

}  // namespace turnstile::lab
