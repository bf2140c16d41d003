#include <algorithm>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/counted.h"
#include "base/utf8.h"
#include "inspect/check.h"

namespace turnstile::check {
namespace {

using Json = nlohmann::ordered_json;

// 1234567 as 1,234,567
std::string grouped(std::uint64_t number) {
  std::string digits = std::to_string(number);
  constexpr std::size_t kGroup = 3;
  for (std::size_t at = digits.size(); at > kGroup;) {
    at -= kGroup;
    digits.insert(at, ",");
  }
  return digits;
}

std::string grouped(std::uint64_t number, std::string_view noun, std::string_view plural = {}) {
  return grouped(number) + " " + noun_for(number, noun, plural);
}

// What could not be read to its end has no count.
std::string count_or_unknown(bool is_read, std::uint64_t count, std::string_view noun) {
  return is_read ? grouped(count, noun) : fmt::format("an unknown number of {}", noun_for(0, noun));
}

Json json_count(bool is_read, std::uint64_t count) {
  return is_read ? Json(count) : Json(nullptr);
}

std::string producer_line(const std::string& id, const ProducerReport& p) {
  std::string line = fmt::format("  {:<32}  applied through {:>12}  rows {:>12}  dead {:>8}", id,
                                 grouped(p.through), grouped(p.rows_applied), grouped(p.rows_dead));
  const auto append = [&line](std::uint64_t count, std::string_view what) {
    if (count > 0) {
      line += fmt::format("  {} {}", what, grouped(count));
    }
  };
  append(p.waiting, "stored, not applied");
  append(p.missing + p.lost.count(), "LOST");
  append(p.twice, "TWICE");
  return line + (p.in_target ? "\n" : "  (not in the target)\n");
}

Json target_json(const Report& report) {
  const TargetReport& target = report.target;
  return {{"path", report.options.target.string()},
          {"generation", target.generation},
          {"rows_applied", json_count(target.has_progress, target.rows_applied)},
          {"rows_dead", json_count(target.has_progress, target.rows_dead)},
          {"dead_letters", json_count(target.has_letters, target.dead_letters)},
          {"table_rows", json_count(target.has_rows, target.table_rows)}};
}

Json journal_json(const Report& report) {
  if (!report.journal) {
    return nullptr;
  }
  const JournalReport& journal = *report.journal;
  return {{"path", report.options.journal.string()},
          {"batches", json_count(journal.is_read, journal.batches)},
          {"rows", json_count(journal.is_read, journal.rows)},
          {"first_offset", journal.first_offset},
          {"last_offset", json_count(journal.is_read, journal.last_offset)},
          {"missing_offsets", json_count(journal.is_read, journal.missing_offsets)},
          {"damaged", json_count(journal.is_read, journal.damaged)}};
}

Json text_log_json(const Report& report) {
  if (!report.text_log) {
    return nullptr;
  }
  const TextLogReport& log = *report.text_log;
  Json json{{"path", report.options.text_log.string()},
            {"table", log.table},
            {"recorded_bytes", log.recorded_bytes},
            {"file_bytes", log.file_bytes},
            {"lines", log.lines},
            {"first_difference", nullptr},
            {"rows_missing", log.rows_missing},
            {"rows_extra", log.rows_extra}};
  if (log.first_difference) {
    json["first_difference"] = *log.first_difference;
  }
  return json;
}

Json producers_json(const Report& report) {
  Json producers = Json::array();
  for (const auto& [id, p] : report.producers) {
    producers.push_back({{"producer", id},
                         {"in_target", p.in_target},
                         {"epoch", p.epoch},
                         {"through", p.through},
                         {"rows_applied", p.rows_applied},
                         {"rows_dead", p.rows_dead},
                         {"changes", p.changes},
                         {"letters_gone", p.letters_gone},
                         {"missing", p.missing},
                         {"twice", p.twice},
                         {"journaled", p.journaled.count()},
                         {"waiting", p.waiting},
                         {"lost", p.lost.count()}});
  }
  return producers;
}

}  // namespace

std::string verdict_line(const Verdict& verdict) {
  if (!verdict.is_known) {
    return "what is present cannot be counted: the files cannot be read to their end";
  }
  return fmt::format("{} acknowledged, {} present, {} lost, {} twice",
                     grouped(verdict.acknowledged), grouped(verdict.present), grouped(verdict.lost),
                     grouped(verdict.twice));
}

std::string problems_text(const Report& report) {
  std::string out;
  for (const Problem& problem : report.problems) {
    out += fmt::format("WRONG     {}: {}\n", breach_name(problem.breach), problem.what);
  }
  if (report.problem_count > report.problems.size()) {
    out +=
        fmt::format("WRONG     ... and {} more\n", report.problem_count - report.problems.size());
  }
  return out;
}

std::string text_report(const Report& report) {
  const TargetReport& target = report.target;
  std::string out =
      fmt::format("target    {}: {} applied, {} refused, {} in its tables, {}\n",
                  report.options.target.string(),
                  count_or_unknown(target.has_progress, target.rows_applied, "row"),
                  target.has_progress ? grouped(target.rows_dead) : "an unknown number",
                  count_or_unknown(target.has_rows, target.table_rows, "row"),
                  count_or_unknown(target.has_letters, target.dead_letters, "dead letter"));
  if (report.journal) {
    const JournalReport& journal = *report.journal;
    out += journal.is_read
               ? fmt::format(
                     "journal   {}: {}, {}, offsets {} to {}\n", report.options.journal.string(),
                     grouped(journal.batches, "batch", "batches"), grouped(journal.rows, "row"),
                     journal.first_offset, journal.last_offset)
               : fmt::format("journal   {}: cannot be read to its end\n",
                             report.options.journal.string());
  }
  if (report.text_log) {
    const TextLogReport& log = *report.text_log;
    out += fmt::format("text log  {}: {} of table {}, {}\n", report.options.text_log.string(),
                       grouped(log.lines, "line"), log.table, grouped(log.recorded_bytes, "byte"));
  }
  for (const LedgerFile& ledger : report.ledgers.files) {
    out += fmt::format("ledger    {}: {}\n", ledger.path.string(), grouped(ledger.lines, "line"));
  }
  out += fmt::format("producers {}\n", grouped(report.producers.size()));
  for (const auto& [id, producer] : report.producers) {
    out += producer_line(id, producer);
  }
  for (const std::string& note : report.notes) {
    out += "note      " + note + "\n";
  }
  return printable_lines(out + problems_text(report)) + verdict_line(report.verdict) + "\n";
}

std::string json_report(const Report& report) {
  Json ledgers = Json::array();
  for (const LedgerFile& ledger : report.ledgers.files) {
    ledgers.push_back({{"path", ledger.path.string()}, {"lines", ledger.lines}});
  }
  Json problems = Json::array();
  for (const Problem& problem : report.problems) {
    problems.push_back({{"breach", breach_name(problem.breach)}, {"what", problem.what}});
  }
  const Verdict& verdict = report.verdict;
  const Json json{{"sound", report.problem_count == 0},
                  {"verdict", verdict_line(verdict)},
                  {"acknowledged", json_count(verdict.is_known, verdict.acknowledged)},
                  {"present", json_count(verdict.is_known, verdict.present)},
                  {"lost", json_count(verdict.is_known, verdict.lost)},
                  {"twice", json_count(verdict.is_known, verdict.twice)},
                  {"target", target_json(report)},
                  {"journal", journal_json(report)},
                  {"text_log", text_log_json(report)},
                  {"producers", producers_json(report)},
                  {"ledgers", ledgers},
                  {"problem_count", report.problem_count},
                  {"problems", problems},
                  {"notes", report.notes}};
  // A path or a value need not be UTF-8; JSON must be. ASCII alone holds nothing that a terminal
  // obeys.
  return json.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace turnstile::check
