#include "client/wait_monitor.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/counted.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kAskAfter{1000};
constexpr milliseconds kAskEvery{2000};
constexpr milliseconds kReportAfter{2000};
constexpr milliseconds kReportAgainAfter{30'000};

}  // namespace

void WaitMonitor::begin(TimePoint now) {
  // This run already waited for an answer about the table from a consumer that could not give one.
  waiting_from_ = now - std::min(std::exchange(waited_for_table_, {}), options_.timeout / 2);
  seen_of_all_.reset();
  asked_.reset();
  reported_.reset();
  reported_reason_.clear();
}

void WaitMonitor::note_progress(Sequence last, TimePoint now) {
  const Resend& resend = session_.resend();
  // When all rows are stored, another `stored` is no progress for rows that wait to be applied.
  const bool has_stored =
      resend.stored_through() != std::exchange(seen_stored_, resend.stored_through());
  const bool has_applied =
      resend.applied_through() != std::exchange(seen_applied_, resend.applied_through());
  if (has_applied || (has_stored && seen_stored_ < last)) {
    waiting_from_ = now;
  }
}

bool WaitMonitor::waits_too_long(const WaitingRows& rows, TimePoint now) {
  const bool has_timeout = options_.timeout > milliseconds(0);
  const auto soon = [&](milliseconds usual) {
    return has_timeout ? std::min(usual, options_.timeout / 4) : usual;
  };
  if (now - waiting_from_ >= soon(kAskAfter) && (!asked_ || now - *asked_ >= soon(kAskEvery))) {
    asked_ = now;
    session_.ask_queue_state();
  }
  if (const auto& state = session_.queue_state()) {
    if (seen_of_all_ && state->rows_applied > *seen_of_all_) {
      waiting_from_ = now;
    }
    seen_of_all_ = state->rows_applied;
  }
  report_reason(rows, now);
  // The consumer keeps a transaction open for a task's duration before it answers.
  return has_timeout && now - waiting_from_ >= options_.timeout + options_.task_duration;
}

void WaitMonitor::report_reason(const WaitingRows& rows, TimePoint now) {
  // The session reports a silent broker itself.
  if (now - waiting_from_ < kReportAfter || session_.silent_for(now) >= kReportAfter) {
    return;
  }
  const std::string present = reason(rows);
  if (reported_ && now - *reported_ < kReportAgainAfter && present == reported_reason_) {
    return;
  }
  reported_ = now;
  reported_reason_ = present;
  const auto& state = session_.queue_state();
  const bool is_delayed = state && is_only_busy(*state, is_stored(rows), rows.table);
  session_.notice(is_delayed ? Notice::delayed : Notice::waiting, text_of(rows));
}

bool WaitMonitor::is_stored(const WaitingRows& rows) const {
  return session_.resend().stored_through() >= rows.last;
}

// Empty if unknown.
std::string WaitMonitor::reason(const WaitingRows& rows) const {
  const auto longest = options_.timeout > milliseconds(0) ? options_.timeout : kReportAfter;
  if (session_.silent_for(options_.clock()) >= std::min(longest, kReportAfter)) {
    return session_.silence().what;
  }
  const auto& state = session_.queue_state();
  return state ? reason_of(*state, is_stored(rows), rows.table) : std::string();
}

std::string WaitMonitor::text_of(const WaitingRows& rows) const {
  std::string text;
  if (rows.stored > 0) {
    text = fmt::format("{} {} stored", counted(rows.stored, "row"), is_or_are(rows.stored));
  }
  if (rows.not_stored > 0) {
    text += fmt::format("{}{} {} not stored yet", text.empty() ? "" : ", ",
                        counted(rows.not_stored, "row"), is_or_are(rows.not_stored));
  }
  if (text.empty()) {
    text = "the definition of the table is pending";
  }
  const std::string present = reason(rows);
  text += present.empty() ? " and not applied" : "; " + present;
  if (const auto& state = session_.queue_state(); state && state->oldest >= kReportAfter) {
    text += fmt::format("; the oldest row of the queue has waited {} s",
                        std::chrono::duration_cast<std::chrono::seconds>(state->oldest).count());
  }
  return text;
}

Error WaitMonitor::no_progress_error(const WaitingRows& rows) const {
  return {Errc::unreachable,
          fmt::format("no row was {} for {:g} s: {}",
                      options_.ack == Ack::stored ? "stored" : "applied",
                      std::chrono::duration<double>(options_.timeout).count(), text_of(rows)),
          {}};
}

}  // namespace turnstile
