#include "lab/numbers.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "base/counted.h"

namespace turnstile::lab {
namespace {

constexpr std::size_t kDisagreementsListed = 10;

// Rounded to microseconds.
double in_ms(std::int64_t ns) {
  constexpr double kNsInUs = 1000;
  constexpr double kUsInMs = 1000;
  return std::round(static_cast<double>(ns) / kNsInUs) / kUsInMs;
}

bool is_locked_error(const std::string& error) {
  return error.find("locked") != std::string::npos;
}

struct Spans {
  std::int64_t last_answer = 0;
  std::int64_t longest_wait = 0;
  std::int64_t longest_lock_wait = 0;
};

void add_row(const RowFate& row, std::int64_t now_ns, Numbers& numbers, Spans& spans,
             std::vector<std::int64_t>& waited) {
  ProcessNumbers& process = numbers.processes[row.lane];
  const bool is_answered = row.answered_ns >= 0;
  const std::int64_t until = is_answered         ? row.answered_ns
                             : row.ended_ns >= 0 ? row.ended_ns
                                                 : now_ns;
  const std::int64_t wait = until - row.tried_ns;
  const std::int64_t lock_wait = (row.lock_ns >= 0 ? row.lock_ns : until) - row.tried_ns;
  spans.last_answer = std::max(spans.last_answer, row.answered_ns);
  spans.longest_wait = std::max(spans.longest_wait, wait);
  spans.longest_lock_wait = std::max(spans.longest_lock_wait, lock_wait);
  waited[row.lane] += wait;
  process.longest_wait_ms = std::max(process.longest_wait_ms, in_ms(wait));
  process.done_ms = is_answered ? std::max(process.done_ms, in_ms(until)) : process.done_ms;
  process.unanswered -= is_answered && process.unanswered > 0 ? 1 : 0;
  if (row.committed && !row.refused) {
    ++process.in_database;
    ++numbers.in_database;
  }
  if (row.refused && is_locked_error(row.error)) {
    ++process.locked_errors;
    ++numbers.locked_errors;
  }
  numbers.most_turns_of_others = std::max(numbers.most_turns_of_others, row.turns_of_others);
}

// Among lanes that have rows to write, and an answer for each.
void find_slowest_and_fastest(Numbers& numbers) {
  for (std::size_t i = 0; i < numbers.processes.size(); ++i) {
    const ProcessNumbers& process = numbers.processes[i];
    if (process.rows_wanted == 0 || process.unanswered > 0) {
      continue;
    }
    if (!numbers.slowest || process.done_ms > numbers.processes[*numbers.slowest].done_ms) {
      numbers.slowest = i;
    }
    if (!numbers.fastest || process.done_ms < numbers.processes[*numbers.fastest].done_ms) {
      numbers.fastest = i;
    }
  }
}

std::vector<std::string> compare(const Recording& recording, const Timeline& timeline,
                                 const Numbers& numbers) {
  std::vector<std::string> problems;
  std::map<std::string, int> found;
  for (const FoundRow& row : recording.facts.rows) {
    ++found[row.row];
  }
  std::set<std::string> reported;
  std::set<std::string> unsure;
  for (const RowFate* row : timeline.rows()) {
    if (row->committed && !row->refused) {
      reported.insert(row->name);
    } else if (row->unsure || recording.stopped) {
      unsure.insert(row->name);
    }
  }
  std::size_t without_event = 0;
  for (const auto& [row, times] : found) {
    if (times > 1) {
      problems.push_back(fmt::format("{} is in the database {}", row,
                                     counted(static_cast<std::uint64_t>(times), "time")));
    }
    if (reported.contains(row)) {
      continue;
    }
    ++without_event;
    if (!unsure.contains(row)) {
      problems.push_back(
          fmt::format("{} is in the database, but no event says that it was committed", row));
    }
  }
  for (const auto& row : reported) {
    if (!found.contains(row)) {
      problems.push_back(
          fmt::format("the events say that {} was committed, but it is not in the database", row));
    }
  }
  if (problems.empty() && numbers.in_database + without_event != recording.facts.rows.size()) {
    problems.push_back(fmt::format("the events say {}, the database has {}",
                                   counted(numbers.in_database, "row"),
                                   recording.facts.rows.size()));
  }
  if (!recording.facts.integrity.empty() && recording.facts.integrity != "ok") {
    problems.push_back("the database is damaged: " + recording.facts.integrity);
  }
  if (problems.size() > kDisagreementsListed) {
    const std::size_t more = problems.size() - kDisagreementsListed;
    problems.resize(kDisagreementsListed);
    problems.push_back(fmt::format("and {} more", more));
  }
  return problems;
}

}  // namespace

std::size_t count_refused(const Timeline& timeline) {
  const auto rows = timeline.rows();
  return static_cast<std::size_t>(
      std::count_if(rows.begin(), rows.end(), [](const RowFate* row) { return row->refused; }));
}

Numbers numbers_of(const Timeline& timeline) {
  Numbers numbers;
  for (const Lane& lane : timeline.lanes()) {
    ProcessNumbers process;
    process.process = lane.info.name;
    process.rows_wanted = lane.info.wanted.size();
    process.unanswered = process.rows_wanted;
    numbers.processes.push_back(std::move(process));
  }
  numbers.rows_wanted = timeline.run().rows_wanted();
  Spans spans;
  std::vector<std::int64_t> waited(numbers.processes.size(), 0);
  for (const RowFate* row : timeline.rows()) {
    add_row(*row, timeline.now_ns(), numbers, spans, waited);
  }
  for (std::size_t i = 0; i < waited.size(); ++i) {
    numbers.processes[i].waited_ms = in_ms(waited[i]);
  }
  numbers.lost = numbers.rows_wanted - std::min(numbers.rows_wanted, numbers.in_database);
  numbers.wall_ms = in_ms(spans.last_answer);
  numbers.longest_wait_ms = in_ms(spans.longest_wait);
  numbers.longest_lock_wait_ms = in_ms(spans.longest_lock_wait);
  find_slowest_and_fastest(numbers);
  if (timeline.first_cycle()) {
    numbers.cycle = timeline.first_cycle()->cycle;
  }
  return numbers;
}

Outcome evaluate(Recording recording) {
  std::stable_sort(recording.events.begin(), recording.events.end(),
                   [](const Event& a, const Event& b) { return a.time_ns < b.time_ns; });
  Timeline timeline(recording.run);
  for (const Event& event : recording.events) {
    timeline.add(event);
  }
  timeline.finish(recording.events.empty() ? recording.run.began_ns
                                           : recording.events.back().time_ns);
  Numbers numbers = numbers_of(timeline);
  auto disagreements = compare(recording, timeline, numbers);
  // The figures come from the database; disagreements with the events are listed separately.
  numbers.in_database = recording.facts.rows.size();
  numbers.lost = recording.stopped
                     ? count_refused(timeline)
                     : numbers.rows_wanted - std::min(numbers.rows_wanted, numbers.in_database);
  numbers.text = recording.facts.text;
  return {std::move(recording), std::move(timeline), std::move(numbers), std::move(disagreements)};
}

}  // namespace turnstile::lab
