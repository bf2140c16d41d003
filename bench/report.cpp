#include "bench/report.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace turnstile::bench {
namespace {

using Cells = std::vector<std::string>;

std::string spread_text(const Spread& spread) {
  if (spread.min == spread.max) {
    return short_number(spread.median);
  }
  return fmt::format("{} ({} to {})", short_number(spread.median), short_number(spread.min),
                     short_number(spread.max));
}

// The width on a terminal: one column per code point.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  }));
}

std::string aligned_rows(const std::vector<Cells>& rows) {
  std::vector<std::size_t> widths(rows.front().size());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], width_of(row[i]));
    }
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - width_of(row[i]), ' ');
      line += i == 0 ? padding + row[i] : row[i] + padding;
      line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  return text;
}

Cells cells_of(const Figure& figure, bool first_of_line) {
  const Claim& claim = figure.claim();
  const auto theirs = figure.measured() ? figure.theirs() : std::nullopt;
  const auto ratio = figure.measured() ? figure.ratio() : std::nullopt;
  const bool skipped = !figure.measured();
  return {first_of_line ? std::to_string(claim.line) : "",
          std::string(claim.name),
          std::string(claim.unit),
          skipped ? "skipped" : spread_text(figure.ours()),
          theirs ? spread_text(*theirs) : "",
          std::string(skipped ? "" : claim.theirs),
          ratio && claim.judged == Judged::ratio ? spread_text(*ratio) : "",
          target_text(claim),
          skipped ? "" : (figure.met() ? "yes" : "NO")};
}

}  // namespace

std::string short_number(double value) {
  constexpr double kMillion = 1e6;
  constexpr double kThousand = 1e3;
  if (value >= kMillion) {
    return fmt::format("{:.2f} M", value / kMillion);
  }
  if (value >= 10 * kThousand) {
    return fmt::format("{:.1f} k", value / kThousand);
  }
  if (value >= 100 || value == std::floor(value)) {
    return fmt::format("{:.0f}", value);
  }
  constexpr double kSmall = 0.1;
  if (value < kSmall) {
    return fmt::format("{:.2g}", value);
  }
  return value >= 10 ? fmt::format("{:.1f}", value) : fmt::format("{:.2f}", value);
}

std::string target_text(const Claim& claim) {
  const std::string_view unit = claim.judged == Judged::ratio ? "x" : claim.unit;
  return fmt::format("{} {}{}{}", claim.sense == Sense::at_least ? ">=" : "<=", claim.bound,
                     unit == "x" ? "" : " ", unit);
}

std::string as_table(const std::vector<Figure>& figures, const Circumstances& with) {
  std::vector<Cells> rows{{"#", "what", "unit", "turnstile: median (min to max)", "the other",
                           "which is", "ratio in a round", "to reach", "reached"}};
  int line = 0;
  for (const auto& figure : figures) {
    rows.push_back(cells_of(figure, figure.claim().line != line));
    line = figure.claim().line;
  }
  std::string text =
      fmt::format("{}\n{}\n{}\n\n{}", with.work, with.machine, with.versions, aligned_rows(rows));
  for (const auto& figure : figures) {
    if (!figure.measured()) {
      text += fmt::format("line {} ({}) skipped: {}\n", figure.claim().line, figure.claim().name,
                          figure.skipped());
    }
  }
  return text;
}

nlohmann::json as_json(const std::vector<Figure>& figures) {
  auto array = nlohmann::json::array();
  for (const auto& figure : figures) {
    const Claim& claim = figure.claim();
    nlohmann::json object{
        {"line", claim.line},    {"key", claim.key},         {"name", claim.name},
        {"unit", claim.unit},    {"compared_with", nullptr}, {"ours", nullptr},
        {"ours_min", nullptr},   {"ours_max", nullptr},      {"theirs", nullptr},
        {"theirs_min", nullptr}, {"theirs_max", nullptr},    {"ratio_median", nullptr},
        {"ratio_min", nullptr},  {"ratio_max", nullptr},     {"target", target_text(claim)},
        {"met", nullptr},        {"skipped", nullptr}};
    const auto put = [&](const std::string& name, const std::string& median, const Spread& spread) {
      object[median] = spread.median;
      object[name + "_min"] = spread.min;
      object[name + "_max"] = spread.max;
    };
    if (!claim.theirs.empty()) {
      object["compared_with"] = claim.theirs;
    }
    if (figure.measured()) {
      put("ours", "ours", figure.ours());
      if (const auto theirs = figure.theirs()) {
        put("theirs", "theirs", *theirs);
      }
      if (const auto ratio = figure.ratio()) {
        put("ratio", "ratio_median", *ratio);
      }
      object["met"] = figure.met();
    } else {
      object["skipped"] = figure.skipped();
    }
    array.push_back(std::move(object));
  }
  return array;
}

}  // namespace turnstile::bench
