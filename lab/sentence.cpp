#include "lab/sentence.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/counted.h"

namespace turnstile::lab {
namespace {

constexpr std::int64_t kNewsLastNs = 2'000'000'000;
constexpr const char* kNobodyKilled = "no process held the lock long enough to be killed";

std::string_view verb(const std::vector<std::string>& names, std::string_view one,
                      std::string_view many) {
  return names.size() == 1 ? one : many;
}

std::string rows_in_words(std::size_t rows) {
  return counted(rows, "row");
}

// Drops the consumer, which the sentence about the queue names anyway.
std::vector<std::string> producers_among(const Timeline& timeline,
                                         const std::vector<std::string>& names) {
  std::vector<std::string> producers;
  for (const Lane& lane : timeline.lanes()) {
    if (lane.info.role == Role::producer &&
        std::find(names.begin(), names.end(), lane.info.name) != names.end()) {
      producers.push_back(lane.info.name);
    }
  }
  return producers;
}

std::string explain_loss(const Timeline& timeline, const LaneSegment& loss) {
  const std::string& process = timeline.lanes()[loss.lane].info.name;
  const Segment& lost = loss.segment;
  std::string text = fmt::format("{} lost {}: {}", process, lost.row, lost.error);
  if (!lost.holder.empty() && lost.holder != process) {
    text += fmt::format(", {} held the lock", lost.holder);
  }
  return text + ".";
}

std::string explain_crash(const Timeline& timeline, const LaneSegment& crash) {
  const LaneInfo& info = timeline.lanes()[crash.lane].info;
  if (info.role == Role::consumer) {
    return timeline.is_alive(info.name)
               ? "The consumer is back; the broker resends what was not committed."
               : fmt::format(
                     "The consumer was killed{}: the broker keeps the rows.",
                     crash.segment.row.empty() ? "" : " while writing " + crash.segment.row);
  }
  return fmt::format("{} was killed{}: the kernel releases its lock, its row is gone.", info.name,
                     crash.segment.row.empty() ? "" : " while writing " + crash.segment.row);
}

std::string explain_queue(const Timeline& timeline, const std::vector<std::string>& waiting) {
  const std::string row = timeline.row_held();
  const std::string writes = row.empty() ? "" : fmt::format("the consumer writes {}", row);
  if (waiting.empty()) {
    return writes.empty() ? "" : fmt::format("No producer waits: {}.", writes);
  }
  return fmt::format("{} {} rows in the queue{}; only the consumer needs the lock.",
                     list_names(waiting), verb(waiting, "has", "have"),
                     writes.empty() ? "" : ", " + writes);
}

// ---- at the end

std::string end_of_crowd(const Numbers& n) {
  if (!n.slowest || !n.fastest) {
    return "Nothing was written.";
  }
  const ProcessNumbers& slowest = n.processes[*n.slowest];
  const ProcessNumbers& fastest = n.processes[*n.fastest];
  return fmt::format(
      "one process keeps re-taking the lock before the others wake up: {} was done after {}, {} "
      "after {}, and others took the lock {} times while one row waited",
      fastest.process, in_words(fastest.done_ms), slowest.process, in_words(slowest.done_ms),
      n.most_turns_of_others);
}

std::string end_of_upgrade(const Outcome& outcome, const std::string& timeout) {
  const RunInfo& run = outcome.recording.run;
  if (run.mode == Mode::immediate) {
    return "BEGIN IMMEDIATE takes the write lock before it reads, so each process waits its turn";
  }
  return fmt::format(
      "a transaction that has read cannot wait for the write lock: {}. SQLite returns \"database "
      "is locked\" immediately (after at most {}), and a busy timeout of {} does not help",
      run.settings.journal == "wal" ? "after another write, what it read is out of date"
                                    : "the lock holder waits for the reader to finish",
      in_words(outcome.numbers.longest_lock_wait_ms), timeout);
}

std::string end_of_direct(const Outcome& outcome) {
  const Numbers& n = outcome.numbers;
  const RunInfo& run = outcome.recording.run;
  const std::string timeout = in_words(static_cast<double>(run.settings.busy_timeout.count()));
  if (run.scenario == "crowd") {
    return end_of_crowd(n);
  }
  if (run.scenario == "stream" && n.text) {
    return fmt::format(
        "each stream keeps its own position in out9.txt, so they overwrite each other: {} of {} "
        "lines are torn, {} {} no line",
        n.text->torn, n.text->lines, counted(n.text->missing, "row"),
        n.text->missing == 1 ? "has" : "have");
  }
  if (run.scenario == "upgrade") {
    return end_of_upgrade(outcome, timeout);
  }
  if (run.scenario == "deadlock") {
    return n.cycle.empty()
               ? "this time they took the two locks one after another, so there was no deadlock"
               : fmt::format("{} wait for each other, until a timeout of {} ends the deadlock",
                             list_names(n.cycle), timeout);
  }
  if (run.scenario == "crash") {
    return outcome.timeline.last_crash()
               ? "the killed process lost its rows; the kernel released its lock, and the others "
                 "went on"
               : kNobodyKilled;
  }
  if (n.lost == 0) {
    return "each process held the lock so briefly that none waited longer than the busy timeout "
           "of " +
           timeout;
  }
  return fmt::format(
      "only one process can hold the lock, for {} each time; a process that waits longer than the "
      "busy timeout of {} gets \"database is locked\", and its row is lost",
      in_words(static_cast<double>(run.settings.task_duration.count())), timeout);
}

std::string end_of_queued(const Outcome& outcome) {
  const std::string& scenario = outcome.recording.run.scenario;
  if (scenario == "stream") {
    return "one consumer writes the table and out9.txt, so lines cannot overwrite each other";
  }
  if (scenario == "crowd") {
    return "many rows share one commit, and no process competes for the lock";
  }
  if (scenario == "upgrade") {
    return "producers hold no read lock that they would have to upgrade to a write lock";
  }
  if (scenario == "deadlock") {
    return "producers hold no lock while they wait, so there can be no deadlock";
  }
  if (scenario == "crash") {
    return outcome.timeline.last_crash()
               ? "the broker kept the rows that the killed consumer had not committed, and sent "
                 "them again"
               : kNobodyKilled;
  }
  return "each row waits for its turn in the queue; only the consumer takes the lock";
}

}  // namespace

std::string list_names(const std::vector<std::string>& names, std::size_t at_most) {
  std::string text;
  const std::size_t listed = names.size() > at_most ? at_most - 1 : names.size();
  for (std::size_t i = 0; i < listed; ++i) {
    const bool is_last = i + 1 == names.size();
    text += (i == 0 ? "" : is_last ? " and " : ", ") + names[i];
  }
  if (listed < names.size()) {
    text += fmt::format(" and {} more", names.size() - listed);
  }
  return text;
}

std::string in_words(double ms) {
  constexpr double kMsInSecond = 1000;
  if (ms < 10) {
    return fmt::format("{:.1f} ms", ms);
  }
  return ms < kMsInSecond ? fmt::format("{:.0f} ms", ms)
                          : fmt::format("{:.1f} s", ms / kMsInSecond);
}

std::string explain_now(const Timeline& timeline, std::int64_t now_ns) {
  const auto is_news = [&](const std::optional<LaneSegment>& what) {
    return what && now_ns - what->segment.to_ns <= kNewsLastNs;
  };
  if (const auto& cycle = timeline.graph().cycle; !cycle.empty()) {
    return fmt::format("Deadlock: {} wait for each other; only a timeout ends it.",
                       list_names(cycle));
  }
  if (is_news(timeline.last_crash())) {
    return explain_crash(timeline, *timeline.last_crash());
  }
  if (is_news(timeline.last_loss())) {
    return explain_loss(timeline, *timeline.last_loss());
  }
  const auto waiting = producers_among(timeline, timeline.waiting());
  if (timeline.run().mode == Mode::queued) {
    return explain_queue(timeline, waiting);
  }
  const std::string holder = timeline.holder();
  if (holder.empty()) {
    return waiting.empty() ? ""
                           : fmt::format("{} {} for the lock.", list_names(waiting),
                                         verb(waiting, "waits", "wait"));
  }
  const std::string row = timeline.row_held();
  const std::string holds = row.empty() ? holder + " holds the database"
                                        : fmt::format("{} holds the database for {}", holder, row);
  return waiting.empty() ? holds + "; no process waits."
                         : fmt::format("{} {}: {}.", list_names(waiting),
                                       verb(waiting, "waits", "wait"), holds);
}

std::string explain_end(const Outcome& outcome) {
  const Numbers& n = outcome.numbers;
  const std::string fate = n.lost == 0
                               ? fmt::format("All {} arrived", rows_in_words(n.rows_wanted))
                               : fmt::format("{} of {} lost", n.lost, rows_in_words(n.rows_wanted));
  if (outcome.recording.stopped) {
    return fmt::format("The run was stopped early: {} of {} {} in the database{}.", n.in_database,
                       rows_in_words(n.rows_wanted), n.in_database == 1 ? "is" : "are",
                       n.lost == 0 ? "" : fmt::format(", {} lost", n.lost));
  }
  const bool is_queued = outcome.recording.run.mode == Mode::queued;
  if (is_queued && n.lost > 0) {
    return fate + ": this must not happen; see the disagreements and the log.";
  }
  return fmt::format("{}: {}.", fate, is_queued ? end_of_queued(outcome) : end_of_direct(outcome));
}

}  // namespace turnstile::lab
