#include "lab/terminal.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/utf8.h"
#include "flags/options.h"
#include "lab/scenario.h"
#include "lab/sentence.h"

namespace turnstile::lab {
namespace {

constexpr std::size_t kLanesDrawn = 8;
constexpr std::size_t kNameColumns = 10;

struct Look {
  SegmentKind kind;
  char letter;            // tells the kinds apart without colours
  std::string_view code;  // ANSI colour; the colours differ in brightness too
  std::string_view word;
};

// From the lowest layer up: moments cover bars, and losses cover everything.
constexpr std::array kLooks{
    Look{SegmentKind::trying, ',', "90", "trying"},
    Look{SegmentKind::waiting, '.', "33", "waiting"},
    Look{SegmentKind::holding, '=', "36", "holding the lock"},
    Look{SegmentKind::acknowledged, '+', "32", "acknowledged"},
    Look{SegmentKind::committed, 'C', "1;32", "committed"},
    Look{SegmentKind::crashed, 'X', "1;7", "killed"},
    Look{SegmentKind::lost, 'L', "1;31", "LOST"},
};

std::size_t rank_of(SegmentKind kind) {
  const auto* found = std::find_if(kLooks.begin(), kLooks.end(),
                                   [kind](const Look& look) { return look.kind == kind; });
  return static_cast<std::size_t>(found - kLooks.begin());
}

std::string coloured(const std::string& text, std::string_view code, const TextStyle& style) {
  return style.colours ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : text;
}

// ---- the table

using Row = std::vector<std::string>;

std::string table_of(const std::vector<Row>& rows) {
  std::vector<std::size_t> widths(rows.front().size(), 0);
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line = " ";
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += i == 0 ? fmt::format(" {:<{}}", row[i], widths[i])
                     : fmt::format("  {:>{}}", row[i], widths[i]);
    }
    text += line + '\n';
  }
  return text;
}

std::vector<Row> transposed(const std::vector<Row>& rows) {
  std::vector<Row> out(rows.front().size());
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      out[i].push_back(row[i]);
    }
  }
  return out;
}

// `rows` have the same length. Transposed if the table would be wider than the terminal.
std::string fitting_table_of(const std::vector<Row>& rows, const TextStyle& style) {
  std::string text = table_of(rows);
  return text.find('\n') <= style.columns ? text : table_of(transposed(rows));
}

std::string done_by(const Numbers& numbers, const std::optional<std::size_t>& index) {
  if (!index) {
    return "-";
  }
  const ProcessNumbers& process = numbers.processes[*index];
  return fmt::format("{} {}", process.process, in_words(process.done_ms));
}

std::string numbers_table(const std::vector<Outcome>& outcomes, const TextStyle& style) {
  const bool has_text = outcomes.front().numbers.text.has_value();
  std::vector<Row> rows{{"mode", "rows wanted", "in database", "lost", "\"locked\"", "wall time",
                         "longest wait", "fastest", "slowest"}};
  if (has_text) {
    rows.front().insert(rows.front().end(), {"torn lines", "rows without line"});
  }
  for (const Outcome& outcome : outcomes) {
    const Numbers& n = outcome.numbers;
    Row row{std::string(name_of(outcome.recording.run.mode)),
            std::to_string(n.rows_wanted),
            std::to_string(n.in_database),
            std::to_string(n.lost),
            std::to_string(n.locked_errors),
            in_words(n.wall_ms),
            in_words(n.longest_wait_ms),
            done_by(n, n.fastest),
            done_by(n, n.slowest)};
    if (has_text) {
      row.push_back(n.text ? std::to_string(n.text->torn) : "-");
      row.push_back(n.text ? std::to_string(n.text->missing) : "-");
    }
    rows.push_back(std::move(row));
  }
  return fitting_table_of(rows, style);
}

// For runs with too many lanes to draw: the processes that finished first and last.
std::string ranking_of(const std::vector<Outcome>& outcomes) {
  constexpr std::size_t kListed = 3;
  std::vector<Row> rows{{"mode", "place", "process", "rows", "longest wait", "done after"}};
  for (const Outcome& outcome : outcomes) {
    std::vector<ProcessNumbers> processes;
    for (const ProcessNumbers& process : outcome.numbers.processes) {
      if (process.rows_wanted > 0 && process.unanswered == 0) {
        processes.push_back(process);
      }
    }
    std::stable_sort(processes.begin(), processes.end(),
                     [](const auto& a, const auto& b) { return a.done_ms < b.done_ms; });
    for (std::size_t i = 0; i < processes.size(); ++i) {
      if (i < kListed || i + kListed >= processes.size()) {
        const ProcessNumbers& one = processes[i];
        rows.push_back({std::string(name_of(outcome.recording.run.mode)), std::to_string(i + 1),
                        one.process, fmt::format("{}/{}", one.in_database, one.rows_wanted),
                        in_words(one.longest_wait_ms), in_words(one.done_ms)});
      }
    }
  }
  return '\n' + table_of(rows);
}

// ---- lanes

struct Cell {
  std::optional<SegmentKind> kind;
};

std::vector<Cell> cells_of(const Lane& lane, std::int64_t span_ns, std::size_t columns) {
  std::vector<Cell> cells(columns);
  const auto column = [&](std::int64_t at_ns) {
    const auto place = static_cast<double>(at_ns) / static_cast<double>(span_ns);
    return std::min(columns - 1, static_cast<std::size_t>(place * static_cast<double>(columns)));
  };
  for (const Segment& segment : lane.segments) {
    for (std::size_t i = column(segment.from_ns); i <= column(segment.to_ns); ++i) {
      auto& kind = cells[i].kind;
      if (!kind || rank_of(*kind) <= rank_of(segment.kind)) {
        kind = segment.kind;
      }
    }
  }
  return cells;
}

std::string line_of(const std::vector<Cell>& cells, const TextStyle& style) {
  std::string line;
  for (std::size_t i = 0; i < cells.size();) {
    std::size_t end = i;
    while (end < cells.size() && cells[end].kind == cells[i].kind) {
      ++end;
    }
    if (cells[i].kind) {
      const Look& look = kLooks.at(rank_of(*cells[i].kind));
      line += coloured(std::string(end - i, look.letter), look.code, style);
    } else {
      line += std::string(end - i, ' ');
    }
    i = end;
  }
  while (!line.empty() && line.back() == ' ') {
    line.pop_back();
  }
  return line;
}

// Empty for a segment that is neither a loss nor a crash.
std::string loss_in_words(const LaneInfo& lane, const Segment& segment) {
  if (segment.kind == SegmentKind::crashed) {
    return fmt::format("{} {}{}", lane.name, segment.error,
                       segment.row.empty() ? "" : " while writing " + segment.row);
  }
  if (segment.kind != SegmentKind::lost) {
    return {};
  }
  const bool has_holder = !segment.holder.empty() && segment.holder != lane.name;
  return fmt::format("{} lost {}: {}{}", lane.name, segment.row, printable(segment.error, 200),
                     has_holder ? fmt::format(", {} held the lock", segment.holder) : "");
}

// Lists lost rows and killed processes: name, time, and the process that held the lock.
std::string losses_of(const Outcome& outcome, const TextStyle& style) {
  constexpr std::size_t kListed = 6;
  std::vector<std::pair<std::int64_t, std::string>> losses;
  for (const Lane& lane : outcome.timeline.lanes()) {
    for (const Segment& segment : lane.segments) {
      if (auto words = loss_in_words(lane.info, segment); !words.empty()) {
        losses.emplace_back(segment.to_ns, std::move(words));
      }
    }
  }
  std::stable_sort(losses.begin(), losses.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string text;
  for (std::size_t i = 0; i < std::min(losses.size(), kListed); ++i) {
    text += fmt::format("  {:>8}  {}\n", in_words(static_cast<double>(losses[i].first) / 1e6),
                        coloured(losses[i].second, "1;31", style));
  }
  if (losses.size() > kListed) {
    text += fmt::format("            and {} more\n", losses.size() - kListed);
  }
  return text;
}

std::string lanes_of(const std::vector<Outcome>& outcomes, const TextStyle& style) {
  std::int64_t span_ns = 1;
  for (const Outcome& outcome : outcomes) {
    if (outcome.timeline.lanes().size() > kLanesDrawn) {
      return ranking_of(outcomes);
    }
    span_ns = std::max(span_ns, outcome.timeline.now_ns());
  }
  const std::size_t columns = style.columns - kNameColumns - 4;
  std::string text;
  for (const Outcome& outcome : outcomes) {
    text += fmt::format("\n  {}\n", title_of(outcome.recording.run.mode));
    for (const Lane& lane : outcome.timeline.lanes()) {
      text += fmt::format("  {:<{}} {}\n", lane.info.name, kNameColumns,
                          line_of(cells_of(lane, span_ns, columns), style));
    }
    text += losses_of(outcome, style);
  }
  const std::string end = in_words(static_cast<double>(span_ns) / 1e6);
  text += fmt::format("\n  {:<{}} 0{:>{}}\n", "", kNameColumns, end, columns - 1);
  text += "  ";
  for (const Look& look : kLooks) {
    text +=
        fmt::format("{} {}  ", coloured(std::string(1, look.letter), look.code, style), look.word);
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text + '\n';
}

std::string wrapped(const std::string& text, std::size_t columns, std::string_view indent) {
  std::string out;
  std::string line(indent);
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    if (line.size() > indent.size() && line.size() + 1 + word.size() > columns) {
      out += line + '\n';
      line = indent;
    }
    line += (line.size() > indent.size() ? " " : "") + word;
    at = end + 1;
  }
  return out + line + '\n';
}

std::string graph_text(const WaitGraph& graph) {
  std::string text = fmt::format("\n  who waits for whom, at {}:\n",
                                 in_words(static_cast<double>(graph.at_ns) / 1e6));
  for (const WaitEdge& edge : graph.edges) {
    text +=
        fmt::format("    {} --{}--> {}\n", edge.from,
                    edge.resource == Resource::text ? "out9.txt" : name_of(edge.resource), edge.to);
  }
  text +=
      fmt::format("    a cycle: {} -> {}\n", fmt::join(graph.cycle, " -> "), graph.cycle.front());
  return text;
}

std::string settings_of(const Settings& settings, const Scenario& scenario) {
  std::vector<std::string> said;
  for (const Setting setting : scenario.adjustable) {
    said.push_back(fmt::format("{} {}", info_of(setting).flag, value_of(settings, setting)));
  }
  return fmt::format("{}", fmt::join(said, ", "));
}

std::string agreement_of(const Outcome& outcome) {
  std::string text;
  const auto mode = name_of(outcome.recording.run.mode);
  if (outcome.disagreements.empty()) {
    return text;
  }
  text += fmt::format("  ERROR {}: events and database disagree:\n", mode);
  for (const auto& problem : outcome.disagreements) {
    text += fmt::format("    {}\n", printable(problem, 300));
  }
  return text;
}

}  // namespace

std::string text_of(const std::vector<Outcome>& outcomes, const TextStyle& style) {
  const RunInfo& run = outcomes.front().recording.run;
  const auto scenario = find_scenario(run.scenario);
  std::string text = coloured(run.scenario, "1", style);
  text += scenario ? fmt::format(": {}\n", (*scenario)->title) : "\n";
  if (scenario) {
    text += wrapped(std::string((*scenario)->about), style.columns, "  ");
    text += wrapped(settings_of(run.settings, **scenario), style.columns, "  ");
  }
  text += '\n' + numbers_table(outcomes, style);
  text += lanes_of(outcomes, style);
  bool all_agree = true;
  for (const Outcome& outcome : outcomes) {
    if (const auto& cycle = outcome.timeline.first_cycle()) {
      text += graph_text(*cycle);
    }
    all_agree = all_agree && outcome.disagreements.empty();
  }
  text += '\n';
  for (const Outcome& outcome : outcomes) {
    text +=
        wrapped(fmt::format("{}: {}", name_of(outcome.recording.run.mode), explain_end(outcome)),
                style.columns, "  ");
    text += agreement_of(outcome);
  }
  if (all_agree) {
    text += "  Events and database agree, row by row.\n";
  }
  return text;
}

std::string list_text(const TextStyle& style) {
  std::string text;
  const auto defaults = default_scenarios();
  for (const Scenario& scenario : scenarios()) {
    const bool is_default =
        std::find(defaults.begin(), defaults.end(), &scenario) != defaults.end();
    std::vector<std::string_view> flags;
    for (const Setting setting : scenario.adjustable) {
      flags.push_back(info_of(setting).flag);
    }
    std::vector<std::string_view> modes;
    for (const Mode mode : scenario.modes) {
      modes.push_back(name_of(mode));
    }
    text += fmt::format("{}: {} (about {}{})\n", coloured(std::string(scenario.name), "1", style),
                        scenario.title, format_duration(scenario.takes),
                        is_default ? "" : "; only when named");
    text += wrapped(std::string(scenario.about), style.columns, "  ");
    text += wrapped(std::string(scenario.claim), style.columns, "  ");
    text += fmt::format("  modes {}; {}\n\n", fmt::join(modes, ", "), fmt::join(flags, ", "));
  }
  text.pop_back();
  return text;
}

}  // namespace turnstile::lab
