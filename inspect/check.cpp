#include "inspect/check.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/counted.h"
#include "inspect/check_journal.h"
#include "inspect/check_sqlite.h"
#include "inspect/check_target.h"
#include "inspect/check_text.h"

namespace turnstile::check {
namespace {

constexpr std::array<std::string_view, 8> kBreachNames{
    "integrity", "format", "progress", "dead_letters", "journal", "text_log", "ledger", "rows"};

struct Files {
  Database target;
  std::optional<Database> journal;
};

// A text log without a line yet need not be there.
bool may_be_missing(const Database& target, const std::filesystem::path& text_log) {
  std::error_code failed;
  const auto record = find_text_record(target, text_log);
  return !std::filesystem::exists(text_log, failed) && record &&
         (!record->has_value() || (*record)->length == 0);
}

Result<Files> open_files(const CheckOptions& options) {
  auto target = Database::open(options.target);
  if (!target) {
    return tl::make_unexpected(std::move(target.error()));
  }
  if (auto known = recognise_target(*target); !known) {
    return tl::make_unexpected(std::move(known.error()));
  }
  Files files{std::move(*target), std::nullopt};
  if (!options.journal.empty()) {
    auto journal = Database::open(options.journal);
    if (!journal) {
      return tl::make_unexpected(std::move(journal.error()));
    }
    if (auto known = recognise_journal(*journal); !known) {
      return tl::make_unexpected(std::move(known.error()));
    }
    files.journal = std::move(*journal);
  }
  if (!options.text_log.empty() && !std::ifstream(options.text_log) &&
      !may_be_missing(files.target, options.text_log)) {
    return fail(Errc::unreachable,
                "the text log " + options.text_log.string() + " cannot be opened",
                "name the file that `turnstile consumer --text` writes");
  }
  return files;
}

void check_integrity(const Database& database, Report& report) {
  for (const std::string& line : database.integrity()) {
    report.add(Breach::integrity, database.path().string() + ": " + line);
  }
}

std::string listed(const Ranges& ranges) {
  constexpr std::size_t kListed = 5;
  std::string out;
  std::size_t listed = 0;
  for (const auto& [first, last] : ranges.ranges()) {
    if (listed++ == kListed) {
      return out + ", ...";
    }
    out += out.empty() ? "" : ", ";
    out += first == last ? fmt::format("{}", first) : fmt::format("{} to {}", first, last);
  }
  return out;
}

// Promise 1: what was acknowledged is on disk.
void hold_against_ledgers(Report& report) {
  for (const LedgerFile& ledger : report.ledgers.files) {
    for (const std::string& problem : ledger.problems) {
      report.add(Breach::ledger, problem);
    }
  }
  for (const auto& [id, told] : report.ledgers.producers) {
    ProducerReport& producer = report.producers[id];
    const Ranges not_applied = told.applied.behind(producer.through);
    if (!not_applied.empty()) {
      report.add(Breach::ledger,
                 fmt::format("producer {}: {} were acknowledged as applied, but the target has it "
                             "through {}",
                             id, listed(not_applied), producer.through));
    }
    const Ranges nowhere = told.stored.behind(producer.through).minus(producer.journaled);
    if (!nowhere.empty()) {
      report.add(Breach::ledger,
                 fmt::format("producer {}: {} were acknowledged as stored, but are neither in the "
                             "target nor in {}",
                             id, listed(nowhere),
                             report.journal ? "the journal" : "a journal (none was given)"));
    }
    producer.lost.add(not_applied.minus(producer.journaled));
    producer.lost.add(nowhere);
  }
}

void judge(Report& report) {
  Verdict& verdict = report.verdict;
  for (const auto& [id, producer] : report.producers) {
    if (report.ledgers.files.empty()) {
      verdict.acknowledged += std::max(producer.through, producer.journaled.greatest());
    }
    verdict.lost += producer.missing + producer.lost.count();
    verdict.twice += producer.twice;
  }
  for (const auto& [id, told] : report.ledgers.producers) {
    Ranges all = told.stored;
    all.add(told.applied);
    verdict.acknowledged += all.count();
  }
  const std::uint64_t applied = report.target.rows_applied;
  const std::uint64_t rows = report.target.table_rows;
  verdict.is_known = report.target.has_progress && (!report.journal || report.journal->is_read) &&
                     (!report.options.exclusive || report.target.has_rows);
  if (report.options.exclusive && verdict.is_known) {
    verdict.lost += applied > rows ? applied - rows : 0;
    verdict.twice += rows > applied ? rows - applied : 0;
    if (applied != rows) {
      report.add(Breach::rows, fmt::format("{} {} applied, but the tables have {}",
                                           counted(applied, "row"), was_or_were(applied), rows));
    }
  }
  verdict.present = verdict.acknowledged - std::min(verdict.acknowledged, verdict.lost);
}

void add_notes(Report& report) {
  const std::uint64_t applied = report.target.rows_applied;
  const std::uint64_t rows = report.target.table_rows;
  const bool is_read = report.target.has_progress && report.target.has_rows;
  if (!report.options.exclusive && is_read && applied != rows) {
    report.notes.push_back(fmt::format(
        "the tables have {} and {} {} applied by producers that the target knows: other "
        "programs and forgotten producers make the difference, or rows that are lost or twice",
        counted(rows, "row"), applied, was_or_were(applied)));
  }
  std::uint64_t waiting = 0;
  for (const auto& [id, producer] : report.producers) {
    waiting += producer.waiting;
  }
  if (waiting > 0) {
    report.notes.push_back(fmt::format("{} {} stored and not applied yet", counted(waiting, "row"),
                                       is_or_are(waiting)));
  }
}

}  // namespace

std::string_view breach_name(Breach breach) {
  return kBreachNames.at(static_cast<std::size_t>(breach));
}

void Report::add(Breach breach, std::string what) {
  if (problem_count++ < kProblemsListed) {
    problems.push_back({breach, std::move(what)});
  }
}

Result<Report> check(const CheckOptions& options) {
  Report report;
  report.options = options;
  for (const auto& ledger : options.ledgers) {
    if (auto read = read_ledger(ledger, report.ledgers); !read) {
      return tl::make_unexpected(std::move(read.error()));
    }
  }
  auto files = open_files(options);
  if (!files) {
    return tl::make_unexpected(std::move(files.error()));
  }
  // The journal's state first: what left it before had been applied, so the target's shows it.
  if (files->journal) {
    if (auto begun = files->journal->begin_snapshot(); !begun) {
      return tl::make_unexpected(std::move(begun.error()));
    }
  }
  if (auto begun = files->target.begin_snapshot(); !begun) {
    return tl::make_unexpected(std::move(begun.error()));
  }
  check_integrity(files->target, report);
  check_target(files->target, report);
  files->target.end_snapshot();
  if (files->journal) {
    check_integrity(*files->journal, report);
    check_journal(*files->journal, report);
    files->journal->end_snapshot();
  }
  if (!options.text_log.empty()) {
    check_text_log(files->target, report);
  }
  hold_against_ledgers(report);
  judge(report);
  add_notes(report);
  return report;
}

}  // namespace turnstile::check
