#include "lab/report.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "generated/version.h"
#include "lab/assets.h"
#include "lab/json.h"

namespace turnstile::lab {
namespace {

// JSON that is safe inside a script element.
std::string embedded(const Json& json) {
  std::string out;
  for (const char c : dump(json)) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

// A run as `lanes.js` takes it (HTTP.md, "The report").
Json data_of(const Outcome& outcome, std::uint64_t number) {
  Json run = json_of_run(outcome.recording.run, number);
  const auto& lanes = outcome.timeline.lanes();
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    Json segments = Json::array();
    for (const Segment& segment : lanes[i].segments) {
      segments.push_back(json_of(segment));
    }
    run["lanes"][i]["segments"] = std::move(segments);
  }
  run["open"] = Json::array();
  run["now_ms"] = to_ms(outcome.timeline.now_ns());
  run["ended"] = json_of_end(outcome, number);
  return run;
}

// Drops the import lines of a module: the report joins all modules into one script.
std::string without_imports(std::string_view module) {
  std::string out;
  while (!module.empty()) {
    const auto end = std::min(module.find('\n'), module.size() - 1) + 1;
    if (!module.starts_with("import ")) {
      out += module.substr(0, end);
    }
    module.remove_prefix(end);
  }
  return out;
}

}  // namespace

// Replaces each {{NAME}} in report.html: {{data}} by the runs, others by the page's file NAME.
std::string report_html(const std::vector<const Outcome*>& outcomes) {
  Json runs = Json::array();
  for (const Outcome* outcome : outcomes) {
    runs.push_back(data_of(*outcome, runs.size() + 1));
  }
  const Json data{{"version", kVersion}, {"runs", std::move(runs)}};
  constexpr std::string_view kOpen = "{{";
  constexpr std::string_view kClose = "}}";
  std::string html;
  std::string_view left = asset("report.html");
  while (!left.empty()) {
    const auto open = std::min(left.find(kOpen), left.size());
    html += left.substr(0, open);
    left.remove_prefix(open);
    const auto close = left.find(kClose);
    if (close == std::string_view::npos) {
      html += left;
      break;
    }
    const std::string_view name = left.substr(kOpen.size(), close - kOpen.size());
    html += name == "data" ? embedded(data) : without_imports(asset(name));
    left.remove_prefix(close + kClose.size());
  }
  return html;
}

}  // namespace turnstile::lab
