#include "producers/report.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/counted.h"
#include "base/utf8.h"
#include "flags/options.h"

namespace turnstile {
namespace {

constexpr std::size_t kShown = 10;  // of dead letters or bad rows, in the text
constexpr std::size_t kShownBytes = 60;

double seconds_of(const Report& report) {
  return std::chrono::duration<double>(report.took).count();
}

// Dead letters are stored; rows lost in direct mode are stored nowhere.
std::uint64_t rows_stored(const Report& report) {
  return report.direct ? report.summary.applied : report.summary.stored;
}

double rate_of(const Report& report) {
  const double seconds = seconds_of(report);
  return seconds > 0 ? static_cast<double>(rows_stored(report)) / seconds : 0;
}

std::string more_of(std::uint64_t count, std::size_t shown) {
  return count > shown ? fmt::format("  ... and {} more\n", count - shown) : std::string();
}

std::string spooled_text(const Report& report) {
  const std::uint64_t count = report.summary.spooled;
  return count == 0 ? std::string()
                    : fmt::format("  {} {} kept in {} and sent by the next start\n",
                                  counted(count, "row"), is_or_are(count), report.spool);
}

// Rows that the broker has need this process no more.
std::string stored_text(const Report& report) {
  const Summary& s = report.summary;
  const std::uint64_t known = s.applied + s.dead_count;
  if (report.direct || report.interrupted || s.unacknowledged == 0 || s.stored <= known) {
    return {};
  }
  const std::uint64_t count = s.stored - known;
  return fmt::format("  {} {} stored and applied later, without this process\n",
                     counted(count, "row"), is_or_are(count));
}

std::string counts_text(const Report& report) {
  const Summary& s = report.summary;
  std::string text = fmt::format("{}: {} read for {}", report.producer,
                                 counted(report.rows_read, "row"), report.table);
  if (report.direct) {
    text += fmt::format(", {} written, {} lost", s.applied, rows_lost(report));
  } else {
    text += fmt::format(", {} sent, {} stored, {} applied", s.sent, s.stored, s.applied);
  }
  if (!report.direct && s.dead_count > 0) {
    text += ", " + counted(s.dead_count, "dead letter");
  }
  if (s.unacknowledged > 0) {
    text += fmt::format(", {} not acknowledged", s.unacknowledged);
  }
  return text + "\n" + stored_text(report) + spooled_text(report);
}

std::string dead_text(const Report& report) {
  std::string text;
  const char* kind = report.direct ? "lost" : "dead letter";
  const auto& dead = report.summary.dead;
  for (std::size_t i = 0; i < std::min(dead.size(), kShown); ++i) {
    text += fmt::format("  {}: {} row {}: {}\n", kind, report.table, dead[i].sequence.value,
                        dead[i].reason);
  }
  return text + more_of(report.summary.dead_count, kShown);
}

std::string bad_rows_text(const Report& report) {
  std::string text;
  for (std::size_t i = 0; i < std::min(report.bad_rows.size(), kShown); ++i) {
    text += fmt::format("  bad row: {}:{}: {}\n", report.input, report.bad_rows[i].line,
                        report.bad_rows[i].reason);
  }
  return text + more_of(report.bad_row_count, kShown);
}

std::string changed_text(const Report& report) {
  if (!report.first_changed) {
    return {};
  }
  const ChangedValue& first = *report.first_changed;
  return fmt::format("  {} changed form in a numeric column, the first in row {}: {} = {} ({})\n",
                     counted(report.changed_values, "value"), first.row, first.column,
                     printable(first.value, kShownBytes), first.type);
}

std::string unfinished_text(const Report& report) {
  return !report.unfinished_line
             ? std::string()
             : fmt::format(
                   "  {}:{}: the last line has no line feed yet and is left for the next run "
                   "(--final-line send sends it)\n",
                   report.input, *report.unfinished_line);
}

std::string interrupted_text(const Report& report) {
  const Summary& s = report.summary;
  std::string so_far = fmt::format("  interrupted: {} {} applied", counted(s.applied, "row"),
                                   was_or_were(s.applied));
  if (s.stored > s.applied + s.dead_count) {
    so_far += fmt::format(", {} more stored", s.stored - s.applied - s.dead_count);
  }
  if (!report.resume_name) {
    return so_far + "\n";
  }
  if (report.resume_name->empty()) {
    return so_far + "; to be able to continue, start with --resume NAME\n";
  }
  return so_far + fmt::format("; continue with --resume {}\n", *report.resume_name);
}

}  // namespace

std::uint64_t rows_lost(const Report& report) {
  return report.direct ? report.summary.appended - report.summary.applied : 0;
}

std::uint64_t error_count(const Report& report) {
  return report.summary.dead_count + report.bad_row_count + (report.failure ? 1U : 0U);
}

std::string bad_rows_of(const Report& report) {
  return bad_rows_text(report);
}

std::string text_of(const Report& report) {
  const Summary& s = report.summary;
  std::string text = counts_text(report);
  text += fmt::format("  waited {} in total, {} at most for one row; {:.2f} s, {}\n",
                      format_duration(s.waited_total), format_duration(s.waited_longest),
                      seconds_of(report), rows_per_second_text(rate_of(report)));
  text +=
      changed_text(report) + unfinished_text(report) + bad_rows_text(report) + dead_text(report);
  if (report.interrupted) {
    text += interrupted_text(report);
  }
  return text;
}

nlohmann::ordered_json json_of(const Report& report) {
  const Summary& s = report.summary;
  nlohmann::ordered_json json;
  json["producer"] = report.producer;
  json["table"] = report.table;
  json["rows_read"] = report.rows_read;
  json["rows_sent"] = s.sent;
  json["rows_stored"] = rows_stored(report);
  json["rows_applied"] = s.applied;
  json["rows_unacknowledged"] = s.unacknowledged;
  json["rows_spooled"] = s.spooled;
  json["rows_lost"] = rows_lost(report);
  json["dead_letters"] = nlohmann::ordered_json::array();
  for (const auto& dead : s.dead) {
    json["dead_letters"].push_back({{"sequence", dead.sequence.value}, {"reason", dead.reason}});
  }
  json["dead_letter_count"] = s.dead_count;
  json["bad_rows"] = nlohmann::ordered_json::array();
  for (const auto& bad : report.bad_rows) {
    json["bad_rows"].push_back({{"line", bad.line}, {"reason", bad.reason}});
  }
  json["bad_row_count"] = report.bad_row_count;
  json["changed_values"] = report.changed_values;
  json["first_changed"] = nullptr;
  if (const auto& first = report.first_changed) {
    json["first_changed"] = {{"row", first->row},
                             {"column", first->column},
                             {"value", first->value},
                             {"type", first->type}};
  }
  json["unfinished_line"] = nullptr;
  if (report.unfinished_line) {
    json["unfinished_line"] = *report.unfinished_line;
  }
  json["errors"] = error_count(report);
  json["error"] = report.failure ? nlohmann::ordered_json(report.failure->what) : nullptr;
  json["interrupted"] = report.interrupted;
  json["wait_ms_total"] = s.waited_total.count();
  json["wait_ms_longest"] = s.waited_longest.count();
  json["seconds"] = seconds_of(report);
  json["rows_per_second"] = rate_of(report);
  return json;
}

nlohmann::ordered_json sum_of(const std::vector<nlohmann::ordered_json>& reports) {
  nlohmann::ordered_json sum = nlohmann::ordered_json::object();
  double rows_stored = 0;
  for (const auto& report : reports) {
    for (const auto& [key, value] : report.items()) {
      if (key == "wait_ms_longest" || key == "seconds") {
        sum[key] = std::max(sum.value(key, 0.0), value.get<double>());
      } else if (value.is_number()) {
        sum[key] = sum.value(key, std::int64_t{0}) + value.get<std::int64_t>();
      } else if (value.is_array()) {
        if (!sum.contains(key)) {
          sum[key] = nlohmann::ordered_json::array();
        }
        sum[key].insert(sum[key].end(), value.begin(), value.end());
      } else if (value.is_boolean()) {
        sum[key] = sum.value(key, false) || value.get<bool>();
      } else if (!sum.contains(key) || sum[key].is_null()) {
        sum[key] = value;
      }
    }
    rows_stored += report.value("rows_stored", 0.0);
  }
  sum["producer"] = "pets";
  const double seconds = sum.value("seconds", 0.0);
  sum["rows_per_second"] = seconds > 0 ? rows_stored / seconds : 0.0;
  sum["processes"] = reports;
  return sum;
}

int exit_code_of(const Report& report) {
  if (report.interrupted) {
    return static_cast<int>(ExitCode::interrupted);
  }
  if (report.failure) {
    // Bad data is not wrong usage.
    return report.failure->code == Errc::bad_input ? static_cast<int>(ExitCode::refused)
                                                   : exit_code_for(*report.failure);
  }
  const bool is_all_done = error_count(report) == 0 && report.summary.unacknowledged == 0;
  return static_cast<int>(is_all_done ? ExitCode::done : ExitCode::refused);
}

}  // namespace turnstile
