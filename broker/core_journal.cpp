// The core's use of the journal: storing, loading, what follows when it fails or vanishes.
#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include <spdlog/spdlog.h>

#include "base/counted.h"
#include "base/utf8.h"
#include "broker/core.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;

constexpr auto kJournalRetry = 500ms;
constexpr std::size_t kStoreGroupBytes = std::size_t{8} * 1024 * 1024;
constexpr std::size_t kLoadBytes = std::size_t{1} * 1024 * 1024;

using Ranges = std::map<std::uint64_t, std::uint64_t>;  // first to last; they do not overlap

void take_out(Ranges& ranges, std::uint64_t first, std::uint64_t last) {
  auto at = ranges.upper_bound(first);
  if (at == ranges.begin()) {
    return;
  }
  const auto [from, to] = *--at;
  if (to < first) {
    return;
  }
  ranges.erase(at);
  if (from < first) {
    ranges.emplace(from, first - 1);
  }
  if (last < to) {
    ranges.emplace(last + 1, to);
  }
}

// ": producer P1: rows 1 to 10, 12; producer P2: row 7"
std::string listed(const std::map<ProducerId, Ranges>& rows) {
  constexpr std::size_t kListed = 10;
  std::string out;
  std::size_t producers = 0;
  for (const auto& [producer, ranges] : rows) {
    if (++producers > kListed) {
      return out + "; and " + std::to_string(rows.size() - kListed) + " more producers";
    }
    out += (out.empty() ? ": producer " : "; producer ") + producer.text;
    std::size_t listed = 0;
    for (const auto& [first, last] : ranges) {
      if (++listed > kListed) {
        out += ", ...";
        break;
      }
      out += (listed == 1 ? ": rows " : ", ") + std::to_string(first);
      out += first == last ? "" : " to " + std::to_string(last);
    }
  }
  return out;
}

}  // namespace

Result<void> Core::read_journal_back() {
  auto contents = journal_.contents();
  if (!contents) {
    return tl::make_unexpected(contents.error());
  }
  window_.journal_opened(contents->range, contents->producers);
  retries_stopped_ = false;
  return {};
}

void Core::store(TimePoint now) {
  store_epochs(now);
  if (journal_retry_ && *journal_retry_ > now) {
    return;
  }
  if (must_reopen_journal_) {
    // Also when nothing is to be stored: what the journal holds may have to be delivered.
    reopen_journal();
    if (must_reopen_journal_) {
      journal_retry_ = now + kJournalRetry;
      return;
    }
  }
  if (window_.should_store(now)) {
    auto offsets = journal_.store(window_.to_store(std::min(kStoreGroupBytes, journal_.room())));
    if (!offsets) {
      journal_failed(offsets.error(), now);
      if (offsets.error().code == Errc::full && journal_.has_removed()) {
        (void)journal_.trim();  // may free enough room
      }
      return;
    }
    for (const auto& producer : window_.mark_stored(*offsets, now)) {
      if (const auto connection = connection_of(producer)) {
        send_stored(*connection, producer);
      }
    }
  }
  if (journal_.wants_trim()) {
    if (auto trimmed = journal_.trim(); !trimmed) {
      journal_failed(trimmed.error(), now);
      return;
    }
  }
  forget_names(now);
  journal_works_again();
}

void Core::journal_failed(const Error& error, TimePoint now) {
  if (journal_problem_logged_ != error.what && now >= next_journal_log_) {
    spdlog::error("{}; producers wait. {}", error.what, error.hint);
    journal_problem_logged_ = error.what;
    next_journal_log_ = now + kLogInterval;
  }
  journal_problem_ = error.what;
  journal_retry_ = now + kJournalRetry;
  if (error.code == Errc::io || error.code == Errc::corrupt) {
    reopen_journal();
  }
}

// Promise 8: what a failed sync wrote is known only after reading it back.
void Core::reopen_journal() {
  auto again = journal_.reopen();
  if (again) {
    if (const auto vanished = journal_.take_vanished()) {
      report_vanished(*vanished);
    }
    again = read_journal_back();
  }
  must_reopen_journal_ = !again;
  if (!again) {
    journal_problem_ = again.error().what;
  }
}

// Reports the lost rows and their producers, where promise 1 cannot be kept.
void Core::report_vanished(const DurableStore::Vanished& vanished) {
  std::map<ProducerId, std::map<std::uint64_t, std::uint64_t>> gone;
  for (const RowRange& rows : vanished.held) {
    gone[rows.producer].emplace(rows.first.value, rows.last.value);
  }
  const std::string path = journal_.path().string();
  if (vanished.is_kept) {
    spdlog::warn(
        "{} was moved or deleted while batches waited in it; they were read from the open "
        "file and stored in a new one, nothing is lost{}",
        path, listed(gone));
    return;
  }
  for (const RowRange& rows : window_.journal_vanished()) {
    take_out(gone[rows.producer], rows.first.value, rows.last.value);
  }
  std::erase_if(gone, [](const auto& producer) { return producer.second.empty(); });
  if (gone.empty() && vanished.held.empty() && vanished.problem.empty()) {
    return;
  }
  journal_loss_ = printable(path + " was moved, deleted or replaced while it was open (" +
                                vanished.problem + "): " +
                                (gone.empty() ? "no stored row is known to be lost"
                                              : "stored rows are lost" + listed(gone)),
                            limits::kReasonBytes);
  spdlog::error("{}", journal_loss_);
}

// Before a resent batch or a welcome is answered, no commit would notice that the file is gone.
void Core::look_at_journal(TimePoint now) {
  if (must_reopen_journal_) {
    return;  // store() tries it
  }
  if (auto there = journal_.look(); !there) {
    journal_failed(there.error(), now);
  }
}

void Core::journal_works_again() {
  journal_retry_.reset();
  journal_problem_.clear();
  if (!journal_problem_logged_.empty()) {
    spdlog::info("the journal works again; it holds {}",
                 counted(journal_.batches(), "batch", "batches"));
    journal_problem_logged_.clear();
  }
}

// Their rows are in the journal, and wait while it cannot be written or read.
void Core::retry_stopped_producers(TimePoint now) {
  if (!retries_stopped_ || (journal_retry_ && *journal_retry_ > now)) {
    return;
  }
  auto trimmed = journal_.trim();
  if (trimmed) {
    trimmed = read_journal_back();
  }
  if (!trimmed) {
    journal_failed(trimmed.error(), now);
  }
}

// A new consumer gets its lease with the first part that is read, and opens the target meanwhile.
void Core::load(TimePoint now) {
  const std::size_t bytes = std::min(kLoadBytes, options_.window.consumer_credit_bytes);
  bool is_old_lease = true;
  for (auto from = window_.wants_load(); from && is_old_lease; from = window_.wants_load()) {
    is_old_lease = !std::exchange(is_lease_new_, false);
    auto read = journal_.read(*from, window_.cold().last, bytes, now);
    if (!read) {
      journal_failed(read.error(), now);
      return;
    }
    window_.loaded(std::move(read->batches), read->through);
    if (read->damaged) {
      // Only its producer stops: the rows after the damaged batch follow a hole.
      spdlog::error(
          "the journal {} holds a damaged batch at offset {}; it stays there and producer "
          "{} is stopped",
          journal_.path().string(), read->through.value, read->damaged->text);
      window_.stop(*read->damaged);
    }
    deliver(now);
  }
}

void Core::finish(TimePoint now) {
  journal_retry_.reset();
  window_.consumer_gone();
  while (window_.should_store(now) && !journal_retry_) {
    store(now);
  }
  if (journal_.has_removed()) {
    (void)journal_.trim();  // a batch that stays is delivered again and changes nothing
  }
  send_applied();
}

}  // namespace turnstile::broker
